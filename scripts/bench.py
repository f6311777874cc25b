"""`latentmpc bench`: agents on a suite of tasks, with intervals, latency and an oracle."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import tyro

from agents.benchmarks.config import BenchConfig, suite_base
from agents.deployment.guard.trust_config import ImportTrust
from agents.goals.config import goal_planner
from agents.goals.robustness.config import ShiftConfig
from agents.runs import needs
from agents.runs.bounds import TaskId
from agents.runs.config import ConfigError
from agents.runs.pretrain_config import is_pretrained
from planning.config import PlannerConfig
from scripts.flags import check_planner, parse, settings_of


@dataclass(frozen=True)
class BenchFlags(BenchConfig, ImportTrust):
    """How good is a controller, and how much of it is model and how much planner?

    With --shift: a pretrained model in shifted worlds (latentmpc bench --shift --help).
    """

    tasks: Annotated[TaskId, tyro.conf.Positional, tyro.conf.arg(metavar="[TASK,TASK...]")] = ""
    """Task ids, comma-separated; default: those of the suite, or of the runs."""
    config: Annotated[str, tyro.conf.arg(metavar="FILE.toml")] = ""
    """Settings from a file with these names as keys (`[planner]` and `[train]` as tables)."""
    json: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Print the summary, and nothing else, as JSON on standard output."""

    def config_of(self) -> BenchConfig:
        """The settings alone."""
        return settings_of(BenchConfig, self)


def parse_bench(argv: Sequence[str]) -> BenchFlags:
    """Settings from the command line. Raises ConfigError."""
    flags = parse("bench", BenchFlags, BenchConfig, argv, positional="tasks", base=suite_base)
    needs.require(needs.workers(flags.jobs, flags.executor))
    if not flags.run_list:
        needs.require(needs.training(flags.train))
    for path in flags.run_list:
        check_planner(path, flags.planner)
    if "oracle" in flags.agent_list:
        planner = flags.planner.apply(PlannerConfig(num_prior_samples=0))
        needs.require(needs.reaching(planner, 1, oracle=True))
    return flags


@dataclass(frozen=True)
class ShiftFlags(ShiftConfig, ImportTrust):
    """Success in worlds that a pretrained model was not trained in, and whether it notices."""

    path: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="PRETRAIN_RUN")] = ""
    """Run directory of `latentmpc pretrain` or one of its checkpoints."""
    config: Annotated[str, tyro.conf.arg(metavar="FILE.toml")] = ""
    """Settings from a file with these names as keys (`[planner]` and `[objective]` as tables)."""
    json: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Print the summary, and nothing else, as JSON on standard output."""

    def config_of(self) -> ShiftConfig:
        """The settings alone."""
        return settings_of(ShiftConfig, self)


def parse_shift(argv: Sequence[str]) -> ShiftFlags:
    """Settings of `bench --shift`. Raises ConfigError."""
    flags = parse("bench --shift", ShiftFlags, ShiftConfig, argv, positional="path")
    if not flags.path or not is_pretrained(flags.path):
        raise ConfigError(
            f"{flags.path or 'bench --shift'}: give a run of `latentmpc pretrain`, as in "
            "latentmpc bench --shift runs/ID"
        )
    planner = goal_planner(flags.planner, guided=True)
    needs.require(needs.reaching(planner, min(flags.slots, flags.goals)))
    return flags


def main(argv: Sequence[str]) -> int:
    """Run or resume the bench; 0 when every point has a result, else 1."""
    if "--shift" in argv:
        return _main_shift([token for token in argv if token != "--shift"])
    flags = parse_bench(argv)
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
        for task in flags.task_list:
            require_task(task)
        from agents.benchmarks.bench import bench
        from agents.benchmarks.tables import tables

        summary = bench(flags.config_of(), lambda line: console.print(line, markup=False))
    if flags.json:
        print_json(summary)
    else:
        for table in tables(summary).values():
            print_table(report_table(table))
        print(f"report: {flags.directory}/report.html")
    return 1 if summary["failures"] else 0


def _main_shift(argv: Sequence[str]) -> int:
    """One pretrained model in shifted worlds."""
    flags = parse_shift(argv)
    from scripts.output import (
        print_json,
        print_table,
        report_table,
        stderr_console,
        stdout_to_stderr,
    )

    console = stderr_console()
    with stdout_to_stderr(flags.json):
        from agents.goals.robustness.report import table
        from agents.goals.robustness.shift import bench_shift

        summary = bench_shift(flags.config_of(), lambda line: console.print(line, markup=False))
    if flags.json:
        print_json(summary)
    else:
        print_table(report_table(table(summary)))
    return 0
