"""Command lines and TOML files to typed settings: defaults < preset < recipe < TOML < flags.

The names, types and help come from the dataclass; tyro prints the help. Flags and files are read by
the same rules, so that mistakes in both are told in the same words, in one line.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import tyro

from agents.deployment.bundle.files import known_digest
from agents.runs import needs
from agents.runs.bounds import read
from agents.runs.config import ConfigError, PlannerOverrides
from agents.runs.settings import flat_types, overlay, peek, read_toml, unknown
from agents.storage.files import require_directory as require_directory
from envs import imports
from scripts.help import short
from scripts.recipes.read import IDS, stage_settings
from scripts.verb_spec import VerbSpec, flags_class

if TYPE_CHECKING:
    from agents.deployment.realtime.config import RunConfig
    from agents.deployment.serving.config import ServeConfig

T = TypeVar("T")
TRUST = ("trust", "digest")
"""Settings that vouch for files: no file can say them."""


def parse(verb: VerbSpec, argv: Sequence[str]) -> tuple[Any, bool]:
    """Settings of a verb, an instance of its `config`, and whether JSON is wanted.

    Raises ConfigError; exits after --help and --help-all.
    """
    cls, argv = flags_class(verb), verb.prepare(argv)
    if asked := {"-h", "--help", "--help-all"}.intersection(argv):
        _help(verb, cls, everything="--help-all" in asked)
    types = flat_types(cls)
    given = scan(argv, types, verb.positional, verb.name)
    given |= {name: imports.absolute(given[name]) for name in IDS if given.get(name)}
    permit(verb, types, given)
    file, reference = given.get("config"), given.get("recipe")
    toml = read_toml(verb.config, file) if file else {}
    recipe = stage_settings(verb, reference) if reference else {}
    for source, settings in ((file, toml), (reference, recipe)):
        if said := [name for name in TRUST if name in settings]:
            raise ConfigError(f"{source}: {said[0]} is for the command line: --{said[0]}")
    merged = {**recipe, **toml, **given}
    for name in verb.positional.split():
        if str(merged.get(name, "")).startswith("-"):
            raise ConfigError(f"{name} must not begin with a dash, got {merged[name]!r}")
    default = cls(**vars(verb.base(merged))) if verb.base else cls()
    flags = overlay(default, merged)
    return settings_of(verb.config, flags), flags.json


def _help(verb: VerbSpec, cls: type, everything: bool) -> NoReturn:
    """Print the short help, or all that tyro knows, and exit."""
    if not everything:
        print(short(verb), end="")
        raise SystemExit(0)
    default = cls(**vars(verb.base({}))) if verb.base else cls()
    tyro.cli(cls, prog=f"latentmpc {verb.name}", args=["--help"], default=default)
    raise SystemExit(0)


def permit(verb: VerbSpec, types: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    """Let ids import the modules that were typed, all with --trust, and say how to ask for more."""
    typed = [module for name in IDS for module in imports.modules_of(given.get(name) or "")]
    bare = verb.positional.split()
    ways = [
        f"latentmpc {verb.name} {{id}}" if name in bare else f"--{name.replace('_', '-')} {{id}}"
        for name in IDS
        if name in types
    ]
    ways += ["--trust"] * ("trust" in types)
    imports.permit([imports.ANY] if given.get("trust") else typed, f"type {' or '.join(ways)}")


def require_controller(flags: "RunConfig | ServeConfig", path: str, clients: int = 1) -> None:
    """Raise CheckpointError unless `path` may be a controller and the digest may be one.

    What is in them is verified when it is loaded; this much can be said at once.
    """
    require_directory(path, "a bundle, a run or a checkpoint")
    if flags.digest:
        known_digest(flags.digest)
    check_planner(path, flags.planner, clients, "--clients")


def check_planner(
    path: str, planner: PlannerOverrides, sims: int = 1, lower: str = "--episodes"
) -> None:
    """Refuse planner settings that do not fit a stored run or this machine, before jax is loaded.

    `sims` simulators are planned for at once, as many as the flag `lower` says.
    """
    if stored := peek(path):
        needs.require(needs.evaluation(stored, planner.apply(stored.planner), sims, lower))


def scan(
    argv: Sequence[str], types: Mapping[str, Any], positional: str, verb: str
) -> dict[str, Any]:
    """{"model.latent_dim": 64, "video": False} from tokens; the last of a repeated flag wins.

    Raises ConfigError: no such name, a missing or wrong value, a stray argument.
    """
    given: dict[str, Any] = {}
    tokens, see = iter(argv), f"see latentmpc {verb} --help"
    for token in tokens:
        if not token.startswith("-"):
            missing = [name for name in positional.split() if name not in given]
            if not missing:
                raise ConfigError(f"unexpected argument {token!r}; {see}")
            given[missing[0]] = read(missing[0], token, types[missing[0]])
            continue
        flag, has_value, value = token.removeprefix("-").removeprefix("-").partition("=")
        name = flag.replace("-", "_")
        negated = re.sub(r"(^|\.)no_", r"\1", name)
        if types.get(name) is bool or (name not in types and types.get(negated) is bool):
            if has_value:
                raise ConfigError(f"--{flag} takes no value; use --{flag} or {_opposite(name)}")
            given[name if name in types else negated] = name in types
        elif name not in types or not token.startswith("--"):
            known = ["--" + known.replace("_", "-") for known in types]
            raise unknown("flag", token.partition("=")[0], known, see)
        else:
            given[name] = value if has_value else next(tokens, None)
            if given[name] is None or (not has_value and given[name].startswith("--")):
                raise ConfigError(f"--{flag} needs a value; {see}")
            given[name] = read(f"--{flag}", given[name], types[name])
    return given


def _opposite(name: str) -> str:
    block, dot, last = name.rpartition(".")
    last = last.removeprefix("no_") if last.startswith("no_") else f"no_{last}"
    return f"--{block}{dot}{last}".replace("_", "-")


def settings_of(cls: type[T], flags: Any) -> T:
    """The settings of class `cls` alone, of flags that have more."""
    return cls(**{field.name: getattr(flags, field.name) for field in fields(cls)})  # type: ignore[arg-type]
