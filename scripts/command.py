"""A command line to a result: its settings read and checked, its call made, its result shown.

Defaults < preset < recipe < TOML < flags. Flags and files are read by the same rules, so that
mistakes in both are told in the same words, in one line; tyro prints the long help.
"""

import os
import re
import time
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any, NoReturn

import tyro

from agents.runs.bounds import read
from agents.runs.config import ConfigError
from agents.runs.settings import Told, current, flat_types, overlay, read_toml, unknown
from agents.storage.files import require_directory
from envs import imports
from envs.task_list import PREFIX
from envs.task_options import SETTINGS, with_options
from scripts.help import short
from scripts.recipes.read import IDS, stage_settings
from scripts.verb import Output, Verb, flags_class

ARGUMENT = "env."
"""Begins the name of an argument for a Gymnasium environment's constructor."""
TRUST = ("trust", "digest")
"""Settings that vouch for files: no file can say them."""


def settings_of(verb: Verb, argv: Sequence[str]) -> Any:
    """Checked settings from a command line. Raises ConfigError; exits after --help."""
    settings, _ = parse(verb, argv)
    check(verb, settings)
    return settings


def run(verb: Verb, argv: Sequence[str], quiet: bool = False) -> tuple[Any, int]:
    """Result and exit code of a command line; `quiet` leaves standard output alone."""
    began = time.perf_counter()
    settings, own = parse(verb, argv)
    json = own.get("json", False)
    check(verb, settings)
    from scripts.output import print_json, print_parts, stdout_to_stderr, summary

    with stdout_to_stderr((json or quiet) and not verb.prints):
        require_tasks(verb, settings)
        if verb.computes:
            _prepare(own.get("program_cache", True))
        result = _call(verb, settings, Output(json, began))
    if result is None:
        return None, 0
    if quiet:
        pass
    elif json:
        print_json(result)
    elif verb.show:
        print_parts(verb.show(settings, result))
    else:
        print_parts([summary(verb.title.format(settings), result)])
    return result, verb.code(result)


def parse(verb: Verb, argv: Sequence[str]) -> tuple[Any, dict[str, Any]]:
    """Settings of a verb, an instance of its `config`, and what was given for the command itself.

    Raises ConfigError; exits after --help and --help-all.
    """
    argv = verb.prepare(argv)
    if asked := {"-h", "--help", "--help-all"}.intersection(argv):
        _help(verb, everything="--help-all" in asked)
    types = flat_types(flags_class(verb))
    told = Output().say
    given = scan(argv, types, verb.positional, verb.name, told)
    given |= {name: imports.absolute(given[name]) for name in IDS if given.get(name)}
    given = with_task_options(given)
    permit(verb, types, given)
    file, reference = given.get("config"), given.get("recipe")
    toml = read_toml(verb.config, file, told) if file else {}
    recipe = stage_settings(verb, reference) if reference else {}
    for source, settings in ((file, toml), (reference, recipe)):
        if said := [name for name in TRUST if name in settings]:
            raise ConfigError(f"{source}: {said[0]} is for the command line: --{said[0]}")
    merged = {**recipe, **toml, **given}
    for name in verb.positional.split():
        if str(merged.get(name, "")).startswith("-"):
            raise ConfigError(f"{name} must not begin with a dash, got {merged[name]!r}")
    return overlay(verb.defaults(merged), merged), given


def check(verb: Verb, settings: Any) -> None:
    """Raise ConfigError or CheckpointError for settings that cannot work here."""
    first = next((getattr(settings, name) for name in verb.positional.split()), "")
    if verb.missing and not first:
        raise ConfigError(" ".join(verb.missing.split()))
    if verb.folder:
        require_directory(first, verb.folder)
    verb.check(settings)


def require_tasks(verb: Verb, settings: Any) -> None:
    """Raise UnknownTaskError, with the nearest name, unless the tasks of a verb exist."""
    if named := verb.tasks(settings):
        from envs import registry

        for env_id in [named] if isinstance(named, str) else named:
            registry.make_spec(env_id)


def _prepare(keep_programs: bool) -> None:
    """What this process needs before it computes."""
    from agents.machine import programs

    if keep_programs:
        programs.keep_programs()
        programs.write_whole()
    programs.keep_memory()


def _call(verb: Verb, settings: Any, output: Output) -> Any:
    """The result of a verb."""
    if callable(verb.call):
        return verb.call(settings, output)
    module, _, name = verb.call.partition(":")
    function = getattr(import_module(module), name)
    if verb.tell == "stages":
        with output.stages() as stages:
            return function(settings, stages.told)
    return function(settings, getattr(output, verb.tell)) if verb.tell else function(settings)


def _help(verb: Verb, everything: bool) -> NoReturn:
    """Print the short help, or all that tyro knows, and exit."""
    if not everything:
        print(short(verb), end="")
        raise SystemExit(0)
    cls = flags_class(verb)
    default = cls(**vars(verb.defaults({})))
    tyro.cli(cls, prog=f"latentmpc {verb.name}", args=["--help"], default=default)
    raise SystemExit(0)


def scan(
    argv: Sequence[str],
    types: Mapping[str, Any],
    positional: str,
    verb: str,
    told: Told = lambda line: None,
) -> dict[str, Any]:
    """{"model.latent_dim": 64, "video": False} from tokens; the last of a repeated flag wins.

    Names of 0.1.0 are understood, and said to `told`. Raises ConfigError: no such name, a missing
    or wrong value, a stray argument.
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
        name = current(flag.replace("-", "_"), types, told)
        negated = current(re.sub(r"(^|\.)no_", r"\1", name), types, told)
        if types.get(name) is bool or (name not in types and types.get(negated) is bool):
            if has_value:
                raise ConfigError(f"--{flag} takes no value; use --{flag} or {_opposite(name)}")
            given[name if name in types else negated] = name in types
        elif not token.startswith("--") or not (
            name in types or (name.startswith(ARGUMENT) and SETTINGS[0] in types)
        ):
            known = ["--" + known.replace("_", "-") for known in types]
            raise unknown("flag", token.partition("=")[0], known, see)
        else:
            given[name] = value if has_value else next(tokens, None)
            if given[name] is None or (not has_value and given[name].startswith("--")):
                raise ConfigError(f"--{flag} needs a value; {see}")
            value = given[name]
            given[name] = (
                read(f"--{flag}", value, types[name]) if name in types else _argument(value)
            )
    return given


def with_task_options(given: Mapping[str, Any]) -> dict[str, Any]:
    """The same with --env.NAME and the settings of `TaskFlags` in the id of the task.

    Raises ConfigError unless a task was typed that can take them.
    """
    arguments = {n.partition(".")[2]: v for n, v in given.items() if n.startswith(ARGUMENT)}
    settings = {name: given[name] for name in SETTINGS if given.get(name)}
    rest = {n: v for n, v in given.items() if n not in SETTINGS and not n.startswith(ARGUMENT)}
    if not (arguments or settings):
        return rest
    first = f"--env.{next(iter(arguments))}" if arguments else f"--{next(iter(settings))}"
    first, typed = first.replace("_", "-"), [name for name in IDS if rest.get(name)]
    if not typed or any(rest[name].startswith(PREFIX) for name in typed):
        raise ConfigError(f"{first} is for a Gymnasium environment that is typed beside it")
    for name in typed:
        ids = [with_options(one.strip(), arguments, settings) for one in rest[name].split(",")]
        rest[name] = ",".join(ids)
    return rest


def _argument(text: str) -> str:
    """The value of a constructor's argument; the path of a file that is there is made whole."""
    return os.path.abspath(text) if "." in text and os.path.isfile(text) else text


def _opposite(name: str) -> str:
    block, dot, last = name.rpartition(".")
    last = last.removeprefix("no_") if last.startswith("no_") else f"no_{last}"
    return f"--{block}{dot}{last}".replace("_", "-")


def permit(verb: Verb, types: Mapping[str, Any], given: Mapping[str, Any]) -> None:
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
