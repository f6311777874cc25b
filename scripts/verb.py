"""The description of a verb: typed settings, one call, its texts, how its result is shown."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, make_dataclass
from functools import cache, cached_property
from typing import Annotated, Any, Literal, get_type_hints

import tyro
from msgspec import Meta

from agents.deployment.guard.config import ImportTrust
from agents.reports.tables import Table
from agents.runs.bounds import Period, Settings


class Output:
    """Where a verb says what it does while it works: standard error."""

    def __init__(self, json: bool = False, began: float | None = None):
        self.json = json
        """Whether the result alone is wanted, so that progress is not shown."""
        self.began = time.perf_counter() if began is None else began

    @cached_property
    def console(self) -> Any:
        """Standard error."""
        from rich.console import Console

        return Console(stderr=True, highlight=False)

    def say(self, line: str) -> None:
        """A line, as it is."""
        self.console.print(line, markup=False, soft_wrap=True)

    def stages(self) -> Any:
        """Progress of a job in stages: a context manager with `told(stage, done, total)`."""
        from agents.runs.progress import Stages

        return Stages(self.console, quiet=self.json)


@dataclass(frozen=True)
class Verb:
    """A verb of the command. Nothing in it imports jax before `call`."""

    name: str
    """As it is typed after `latentmpc`."""
    config: type
    """Dataclass of its settings: flags, TOML keys and help come from it."""
    call: str | Callable[[Any, Output], Any]
    """"module:function" of the settings and what `tell` names, or (settings, `Output`) -> result.

    A result is JSON-ready; None where nothing is left to be shown."""
    about: str
    """The first lines of its help."""
    example: str
    """A command line that works where the named folders exist."""
    common: str = ""
    """Names of the settings that people change, with spaces between; `--help` shows these."""
    tell: Literal["", "say", "stages", "console"] = ""
    """How a "module:function" says what it does: a function of a line, of stages, a console."""
    positional: str = ""
    """Names of the settings that are given without their flags, in order."""
    metavar: str = ""
    """Their names in the help."""
    missing: str = ""
    """The error where the first of them is empty; "" where it may be."""
    folder: str = ""
    """Where the first must be a directory: the error says of what."""
    tasks: Callable[[Any], str | Iterable[str]] = lambda settings: ""
    """(settings) -> the id, or ids, of tasks that must exist."""
    title: str = ""
    """Title of the result, formatted with the settings: "{0.env_id}: {0.out}"."""
    base: Callable[[Mapping[str, Any]], Any] | None = None
    """(settings given so far) -> defaults of the others."""
    prepare: Callable[[Sequence[str]], Sequence[str]] = list
    """Rewrites the command line before it is read."""
    check: Callable[[Any], None] = lambda settings: None
    """Raises for settings that cannot work here, before anything heavy is loaded."""
    show: Callable[[Any, Any], Iterable[Table | str]] | None = None
    """(settings, result) -> tables and lines; default: the single-valued entries as a table."""
    computes: bool = True
    """Whether it compiles and runs programs of jax."""
    trust: bool = False
    """Whether it simulates the tasks that stored files name, so that it takes --trust."""
    prints: bool = False
    """Whether it writes on standard output while it works, and has no result."""
    code: Callable[[Any], int] = lambda result: 0
    """Exit code of a result."""

    def defaults(self, given: Mapping[str, Any]) -> Any:
        """The settings where nothing else is said; `given` may choose among presets."""
        return self.config(**vars(self.base(given))) if self.base else self.config()


@dataclass(frozen=True)
class Own:
    """Flags of the command line itself, which a TOML file cannot set."""

    config: Annotated[str, tyro.conf.arg(metavar="FILE.toml")] = ""
    """Settings from a file with these names as keys (blocks, as in `[planner]`, as tables)."""
    recipe: Annotated[str, tyro.conf.arg(metavar="NAME[/STAGE]")] = ""
    """Settings of a recipe (`latentmpc recipes` lists them), or of one in a file of yours."""
    json: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Print the result, and nothing else, as JSON on standard output."""
    program_cache: bool = True
    """Keep compiled programs in the user's cache folder, so that none is compiled twice."""


@dataclass(frozen=True)
class TaskFlags(Settings):
    """Flags for the Gymnasium environment that is named; they become part of its id.

    `--env.NAME VALUE` gives its constructor an argument.
    """

    episode_steps: Annotated[Period, tyro.conf.arg(metavar="N")] = 0
    """Time limit of a Gymnasium environment in decisions; 0 takes its own."""
    control_dt: Annotated[float, Meta(ge=0, le=3600), tyro.conf.arg(metavar="SECONDS")] = 0.0
    """Seconds of a frame of one that does not say; 0 takes what it says."""
    action_range: Annotated[str, tyro.conf.arg(metavar="LOW:HIGH")] = ""
    """Range of its actions that have no bounds; by default -1:1."""


@cache
def flags_class(verb: Verb) -> type:
    """The settings of a verb, some of them positional, and the command line's own."""
    hints, positional = get_type_hints(verb.config, include_extras=True), []
    for name, metavar in zip(verb.positional.split(), verb.metavar.split(), strict=True):
        kind = Annotated[hints[name], tyro.conf.Positional, tyro.conf.arg(metavar=metavar)]
        positional.append((name, kind, field(default=getattr(verb.config, name))))
    space = {"__doc__": verb.about}
    of_tasks = [TaskFlags] if hints.keys() & {"env_id", "env", "tasks"} else []
    bases = (Own, *of_tasks, *([ImportTrust] if verb.trust else []), verb.config)
    return make_dataclass("F", positional, bases=bases, frozen=True, namespace=space)
