"""What a verb says of itself: typed settings, one call, its texts, how its result is shown."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, make_dataclass
from functools import cache
from typing import Annotated, Any, get_type_hints

import tyro

from agents.deployment.guard.config import ImportTrust


@dataclass(frozen=True)
class VerbSpec:
    """A verb of the command. Nothing in it imports jax before `call`."""

    name: str
    """As it is typed after `latentmpc`."""
    config: type
    """Dataclass of its settings: flags, TOML keys and help come from it."""
    call: Callable[[Any, Any], Any]
    """(settings, `Output`) -> a JSON-ready result; None where nothing is left to be shown."""
    about: str
    """What it does; the first lines of its help."""
    example: str
    """A command line that works where the named folders exist."""
    common: str
    """Names of the settings that people change, with spaces between; `--help` shows these."""
    positional: str = ""
    """Names of the settings that are given without their flags, in order."""
    metavar: str = ""
    """What the help calls these."""
    title: str = ""
    """Title of the result, formatted with the settings: "{0.env_id}: {0.out}"."""
    base: Callable[[Mapping[str, Any]], Any] | None = None
    """(settings given so far) -> defaults of the others."""
    prepare: Callable[[Sequence[str]], Sequence[str]] = list
    """Rewrites the command line before it is read."""
    check: Callable[[Any], None] = lambda settings: None
    """Raises for settings that cannot work here, before anything heavy is loaded."""
    show: Callable[[Any, Any], None] | None = None
    """Prints (settings, result); default: the single-valued entries as a table."""
    trust: bool = False
    """Whether it simulates the tasks that stored files name, so that it takes --trust."""
    prints: bool = False
    """Whether it writes on standard output while it works, and has no result."""
    code: Callable[[Any], int] = lambda result: 0
    """Exit code of a result."""


@dataclass(frozen=True)
class Own:
    """Flags of the command line itself, which a TOML file cannot set."""

    config: Annotated[str, tyro.conf.arg(metavar="FILE.toml")] = ""
    """Settings from a file with these names as keys (blocks, as in `[planner]`, as tables)."""
    recipe: Annotated[str, tyro.conf.arg(metavar="NAME[/STAGE]")] = ""
    """Settings of a recipe (`latentmpc recipes` lists them), or of one in a file of yours."""
    json: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Print the result, and nothing else, as JSON on standard output."""


@cache
def flags_class(verb: VerbSpec) -> type:
    """The settings of a verb, some of them positional, and the command line's own."""
    hints, positional = get_type_hints(verb.config, include_extras=True), []
    for name, metavar in zip(verb.positional.split(), verb.metavar.split(), strict=True):
        kind = Annotated[hints[name], tyro.conf.Positional, tyro.conf.arg(metavar=metavar)]
        positional.append((name, kind, field(default=getattr(verb.config, name))))
    space = {"__doc__": verb.about}
    bases = (Own, *([ImportTrust] if verb.trust else []), verb.config)
    return make_dataclass("F", positional, bases=bases, frozen=True, namespace=space)
