"""`latentmpc run BUNDLE --env ID --rate HZ`: a controller in real time."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Annotated

import tyro

from agents.deployment.realtime.config import RunConfig
from agents.runs.config import ConfigError
from scripts.flags import parse, require_controller

EXIT_STOPPED, EXIT_DIFFERS, EXIT_INTERRUPTED = 5, 1, 130


@dataclass(frozen=True)
class RunFlags(RunConfig):
    """Control a simulator that moves in wall-clock time, at a fixed rate, and account for it.

    Exit code 5 says that a missed deadline or the safety layer ended the run. With --replay, 1
    says that the recording was not reproduced.
    """

    path: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="BUNDLE")] = ""
    """Bundle, run directory or checkpoint."""
    config: Annotated[str, tyro.conf.arg(metavar="FILE.toml")] = ""
    """Settings from a file with these names as keys (`[planner]`, `[safety]` as tables)."""
    json: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Print the result, and nothing else, as JSON on standard output."""

    def config_of(self) -> RunConfig:
        """The settings alone."""
        return RunConfig(**{f.name: getattr(self, f.name) for f in fields(RunConfig)})


def parse_run(argv: Sequence[str]) -> RunFlags:
    """Settings from the command line. Raises ConfigError."""
    flags = parse("run", RunFlags, RunConfig, argv, positional="path")
    if not flags.path:
        raise ConfigError("which bundle? latentmpc run BUNDLE --env ID --rate HZ")
    require_controller(flags, flags.path)
    return flags


def main(argv: Sequence[str]) -> int:
    """Run; 0 when it went through, 5 after a stop, 1 when a replay differs."""
    flags = parse_run(argv)

    from scripts.output import print_json, print_table, stderr_console, stdout_to_stderr, summary
    from scripts.tasks import require_task

    console = stderr_console()
    with stdout_to_stderr(flags.json):
        if flags.env:
            require_task(flags.env)
        from agents.deployment.realtime.run import run

        result = run(
            flags.config_of(), lambda line: console.print(line, markup=False, soft_wrap=True)
        )
    if flags.json:
        print_json(result)
    else:
        print_table(summary(f"{flags.path} ({flags.replay or flags.mode})", result))
    if flags.replay:
        return _told(console, result)
    if result["recording"]:
        console.print(f"recording: {result['recording']}", markup=False, soft_wrap=True)
    if result["stopped"]:
        console.print(f"stopped: {result['stopped']}", markup=False)
        return EXIT_STOPPED
    if result["interrupted"]:
        console.print(f"interrupted by {result['signal']}: the safe action was sent last")
        return EXIT_INTERRUPTED
    return 0


def _told(console, result: dict) -> int:
    if result["identical"]:
        console.print(f"{result['ticks']} ticks replayed, identical to the last bit")
        return 0
    found = result["difference"]
    console.print(
        f"tick {found['tick']} differs first, in {found['what']}: recorded {found['recorded']}, "
        f"replayed {found['replayed']}",
        markup=False,
    )
    return EXIT_DIFFERS
