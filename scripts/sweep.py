"""`latentmpc sweep RUN --grid NAME=V1,V2 ...`: which planner settings to run on this machine."""

from collections.abc import Sequence
from typing import Any

from agents.benchmarks.sweep.config import SweepConfig, plan_sweep
from agents.runs.config import ConfigError
from scripts.verb import Output, Verb

EXIT_NO_SETTING = 5


def check(config: SweepConfig) -> None:
    """Check the grid against the run. Raises ConfigError, CheckpointError."""
    plan_sweep(config)


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


def call(config: SweepConfig, output: Output):
    """The summary of all settings."""
    from scripts.tasks import require_task

    require_task(plan_sweep(config).base.env_id)
    from agents.benchmarks.sweep.sweep import sweep

    return sweep(config, output.say)


def show(config: SweepConfig, summary: dict[str, Any]) -> None:
    """The settings that matter, and the verdict."""
    from agents.benchmarks.sweep.tables import short_tables
    from scripts.output import print_table, report_table

    for table in short_tables(summary):
        print_table(report_table(table))
    print(summary["verdict"])
    print(_where(summary))


def code(summary: dict[str, Any]) -> int:
    """0 with a recommendation, 1 if settings failed, 5 without one."""
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


VERB = Verb(
    "sweep",
    SweepConfig,
    call,
    check=check,
    trust=True,
    show=show,
    code=code,
    prepare=gathered,
    positional="path",
    metavar="RUN",
    about="""Which planner (or training) settings are worth running under a latency budget? Planner
    settings given below hold for all combinations, where the grid does not vary them. The same
    command resumes.""",
    example="latentmpc sweep runs/walker --grid planner.horizon=1,3,6 planner.num_samples=32,128",
    common="grid episodes seed budget_ms rate_hz clock eliminate out jobs executor planner.method",
)
main, parse_sweep = VERB.main, VERB.settings
