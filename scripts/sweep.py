"""`latentmpc sweep RUN --grid NAME=V1,V2 ...`: which planner settings to run on this machine."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import tyro

from agents.benchmarks.sweep.config import SweepConfig, plan_sweep
from agents.deployment.guard.trust_config import ImportTrust
from agents.runs.config import ConfigError
from scripts.flags import parse, settings_of

EXIT_NO_SETTING = 5


@dataclass(frozen=True)
class SweepFlags(SweepConfig, ImportTrust):
    """Which planner (or training) settings are worth running under a latency budget?

    Planner settings given below hold for all combinations, where the grid does not vary them.
    Example: latentmpc sweep runs/cartpole --grid planner.horizon=1,3,5 planner.num_samples=32,128
    """

    path: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")] = ""
    """Run directory or checkpoint whose settings are varied."""
    grid: Annotated[str, tyro.conf.arg(metavar="NAME=V1,V2 ...")] = ""
    """Settings and their values; every combination is tried. Training settings train first."""
    config: Annotated[str, tyro.conf.arg(metavar="FILE.toml")] = ""
    """Settings from a file with these names as keys (`grid` as one text, `[planner]` a table)."""
    json: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Print the summary, and nothing else, as JSON on standard output."""

    def config_of(self) -> SweepConfig:
        """The settings alone."""
        return settings_of(SweepConfig, self)


def parse_sweep(argv: Sequence[str]) -> SweepFlags:
    """Settings from the command line, the grid checked against the run. Raises ConfigError."""
    flags = parse("sweep", SweepFlags, SweepConfig, gathered(argv), positional="path")
    plan_sweep(flags.config_of())
    return flags


def gathered(argv: Sequence[str]) -> list[str]:
    """The command line with what follows --grid, up to the next flag, as its one value.

    Raises ConfigError for --grid without a value.
    """
    tokens, grid, rest = list(argv), [], []
    while tokens:
        token = tokens.pop(0)
        if token.startswith("--grid="):
            grid.append(token.removeprefix("--grid="))
        elif token != "--grid":
            rest.append(token)
            continue
        elif not tokens or tokens[0].startswith("-"):
            raise ConfigError("--grid needs a value: NAME=V1,V2 ..., as in planner.horizon=1,2,3")
        while tokens and not tokens[0].startswith("-"):
            grid.append(tokens.pop(0))
    return [*rest, "--grid=" + " ".join(grid)] if grid else rest


def main(argv: Sequence[str]) -> int:
    """Run or resume the sweep; 0 with a recommendation, 1 if settings failed, 5 without one."""
    flags = parse_sweep(argv)
    from scripts.output import (
        print_json,
        print_table,
        report_table,
        stderr_console,
        stdout_to_stderr,
    )
    from scripts.tasks import require_task

    console = stderr_console()
    with stdout_to_stderr(flags.json):
        require_task(plan_sweep(flags.config_of()).base.env_id)
        from agents.benchmarks.sweep.sweep import sweep
        from agents.benchmarks.sweep.tables import short_tables

        summary = sweep(flags.config_of(), lambda line: console.print(line, markup=False))
    if flags.json:
        print_json(summary)
    else:
        for table in short_tables(summary):
            print_table(report_table(table))
        print(summary["verdict"])
        print(_where(summary))
    if summary["recommendation"] is None:
        return EXIT_NO_SETTING
    return 1 if summary["failures"] else 0


def _where(summary) -> str:
    """Where to read on, and what to type next."""
    out = summary["out"]
    lines = [f"report: {out}/report.html"]
    if summary["recommendation"]:
        model = summary["path"] if not summary["recommendation"]["training"] else "RUN"
        lines.append(f"use it: latentmpc eval {model} --config {out}/recommended.toml")
    return "\n".join(lines)
