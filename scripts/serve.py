"""`latentmpc serve BUNDLE`: a controller for clients on a network."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import tyro

from agents.deployment.serving.config import ServeConfig, token_of
from agents.runs.config import ConfigError
from scripts.flags import parse, require_controller, settings_of


@dataclass(frozen=True)
class ServeFlags(ServeConfig):
    """Serve a controller over websockets (msgpack, the wire of openpi's client).

    http://HOST:PORT/healthz says whether it lives, /metrics what it does. Ctrl-C ends it.
    """

    path: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="BUNDLE")] = ""
    """Bundle, run directory or checkpoint."""
    config: Annotated[str, tyro.conf.arg(metavar="FILE.toml")] = ""
    """Settings from a file with these names as keys (`[planner]`, `[safety]` as tables)."""
    json: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Print the counters, and nothing else, as JSON on standard output at the end."""

    def config_of(self) -> ServeConfig:
        """The settings alone."""
        return settings_of(ServeConfig, self)


def parse_serve(argv: Sequence[str]) -> ServeFlags:
    """Settings from the command line. Raises ConfigError."""
    flags = parse("serve", ServeFlags, ServeConfig, argv, positional="path")
    if not flags.path:
        raise ConfigError("which bundle? latentmpc serve BUNDLE")
    require_controller(flags, flags.path, flags.clients)
    token_of(flags)
    return flags


def main(argv: Sequence[str]) -> int:
    """Serve until Ctrl-C; 0."""
    flags = parse_serve(argv)

    from scripts.output import print_json, print_table, stderr_console, stdout_to_stderr, summary

    console = stderr_console()
    with stdout_to_stderr(flags.json):
        from agents.deployment.serving.serve import run_server

        result = run_server(
            flags.config_of(), lambda line: console.print(line, markup=False, soft_wrap=True)
        )
    if flags.json:
        print_json(result)
    else:
        print_table(summary(flags.path, result))
    return 0
