"""Command lines and TOML files to typed settings: defaults < preset < TOML < flags.

The names, types and help come from the dataclass; tyro prints the help. Flags and files are read by
the same rules, so that mistakes in both are told in the same words, in one line.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from typing import Any, TypeVar

import tyro

from agents.deployment.bundle.files import known_digest
from agents.deployment.realtime.config import RunConfig
from agents.deployment.serving.config import ServeConfig
from agents.runs import needs
from agents.runs.bounds import read
from agents.runs.config import ConfigError, PlannerOverrides
from agents.runs.settings import flat_types, overlay, peek, read_toml, unknown
from agents.storage.files import require_directory as require_directory
from envs import imports

T = TypeVar("T")
OWN = ("config", "json")
"""Flags of the command line itself, which a TOML file cannot set."""
TRUST = ("trust", "digest")
"""Settings that vouch for files: no file can say them."""
IDS = ("env_id", "env", "tasks", "target")
"""Settings that name environments: what is typed for them may be imported."""


def parse(
    verb: str,
    cls: type[T],
    config_cls: type,
    argv: Sequence[str],
    *,
    positional: str = "",
    base: Callable[[Mapping[str, Any]], Any] | None = None,
) -> T:
    """Settings of class `cls` (a `config_cls` plus `OWN`) from flags and the --config file.

    `positional` is the setting that may be given without its flag. `base` maps the settings
    given so far to the defaults of the others. Raises ConfigError; exits after --help.
    """
    types = flat_types(cls)
    wants_help = "-h" in argv or "--help" in argv
    given = {} if wants_help else scan(argv, types, positional, verb)
    permit(verb, types, positional, given)
    toml = read_toml(config_cls, given["config"]) if given.get("config") else {}
    if said := [name for name in TRUST if name in toml]:
        raise ConfigError(f"{given['config']}: {said[0]} is for the command line: --{said[0]}")
    merged = {**toml, **given}
    if str(merged.get(positional, "")).startswith("-"):
        raise ConfigError(f"{positional} must not begin with a dash, got {merged[positional]!r}")
    default = cls(**vars(base(merged))) if base else cls()
    if wants_help:
        tyro.cli(cls, prog=f"latentmpc {verb}", args=["--help"], default=default)
    return overlay(default, merged)


def permit(verb: str, types: Mapping[str, Any], positional: str, given: Mapping[str, Any]) -> None:
    """Let ids import the modules that were typed, all with --trust, and say how to ask for more."""
    typed = [module for name in IDS for module in imports.modules_of(given.get(name) or "")]
    ways = [
        f"latentmpc {verb} {{id}}" if name == positional else f"--{name.replace('_', '-')} {{id}}"
        for name in IDS
        if name in types
    ]
    ways += ["--trust"] * ("trust" in types)
    imports.permit([imports.ANY] if given.get("trust") else typed, f"type {' or '.join(ways)}")


def require_controller(flags: RunConfig | ServeConfig, path: str, clients: int = 1) -> None:
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
            if not positional or positional in given:
                raise ConfigError(f"unexpected argument {token!r}; {see}")
            given[positional] = token
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
