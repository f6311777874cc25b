"""`latentmpc sweep RUN --grid NAME=V1,V2 ...`: which planner settings to run on this machine."""

from collections.abc import Sequence
from typing import Any

from agents.benchmarks.sweep.config import SweepConfig, has_model, plan_sweep
from agents.reports.tables import Table
from agents.runs.config import ConfigError
from scripts.verb import Verb

EXIT_NO_SETTING = 5


def check(config: SweepConfig) -> None:
    """Check the grid against the run. Raises ConfigError, CheckpointError."""
    plan_sweep(config)


def task_of(config: SweepConfig) -> str:
    """The task of the run, as the run has stored it where it is not here."""
    env_id = plan_sweep(config).base.env_id
    if has_model(config.path):
        from agents.evaluation.stored_task import settle
        from agents.runs.load import find_checkpoint

        settle(find_checkpoint(config.path), env_id)
    return env_id


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


def show(config: SweepConfig, summary: dict[str, Any]) -> list[Table | str]:
    """The settings that matter, the verdict, where to read on, and what to type next."""
    from agents.benchmarks.sweep.tables import short_tables

    out, chosen = summary["out"], summary["recommendation"]
    shown = [*short_tables(summary), summary["verdict"], f"report: {out}/report.html"]
    if chosen:
        model = "RUN" if chosen["training"] else summary["path"]
        shown.append(f"use it: latentmpc eval {model} --config {out}/recommended.toml")
    return shown


def code(summary: dict[str, Any]) -> int:
    """0 with a recommendation, 1 if settings failed, 5 without one."""
    if summary["recommendation"] is None:
        return EXIT_NO_SETTING
    return 1 if summary["failures"] else 0


VERB = Verb(
    "sweep",
    SweepConfig,
    "agents.benchmarks.sweep.sweep:sweep",
    tell="say",
    tasks=task_of,
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
    common="""grid episodes seed budget_ms rate_hz latency eliminate out jobs executor
        planner.method""",
)
