"""`latentmpc play RUN`: watch a trained model in the browser, and its plans."""

import importlib.util
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import tyro

from agents.deployment.guard.trust_config import ImportTrust
from agents.deployment.viewer.config import PlayConfig
from agents.runs.config import ConfigError
from scripts.flags import check_planner, parse, require_directory, settings_of


@dataclass(frozen=True)
class PlayFlags(PlayConfig, ImportTrust):
    """Watch a run, checkpoint or bundle live in the browser: the robot, its plans, latency.

    The planner's settings can be changed while it runs. Needs the extra [viewer].
    """

    path: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")] = ""
    """Run directory (its newest checkpoint), checkpoint directory or bundle."""
    config: Annotated[str, tyro.conf.arg(metavar="FILE.toml")] = ""
    """Settings from a file with these names as keys (`[planner]` as a table)."""
    json: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Print the address as JSON on standard output."""

    def config_of(self) -> PlayConfig:
        """The settings alone."""
        return settings_of(PlayConfig, self)


def parse_play(argv: Sequence[str]) -> PlayFlags:
    """Settings from the command line. Raises ConfigError."""
    flags = parse("play", PlayFlags, PlayConfig, argv, positional="path")
    if not flags.path:
        raise ConfigError("which run? give a run directory, checkpoint or bundle: play runs/ID")
    require_directory(flags.path, "a run, a checkpoint or a bundle")
    check_planner(flags.path, flags.planner)
    if importlib.util.find_spec("viser") is None:
        raise ConfigError("the viewer needs viser: pip install 'latentmpc[viewer]'")
    return flags


def main(argv: Sequence[str]) -> int:
    """Serve until Ctrl-C (130) or --seconds (0)."""
    flags = parse_play(argv)

    from agents.deployment.viewer.viewer import play

    def opened(url: str) -> None:
        if flags.json:
            print(json.dumps({"url": url}), flush=True)

    play(flags.config_of(), lambda line: print(line, file=sys.stderr, flush=True), opened)
    return 0
