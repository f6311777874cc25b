"""`latentmpc bench`: agents on a suite of tasks, with intervals, latency and an oracle."""

from collections.abc import Sequence
from typing import Any

from agents.benchmarks.config import BenchConfig, suite_base
from agents.goals.config import goal_planner
from agents.goals.robustness.config import ShiftConfig
from agents.reports.tables import Table
from agents.runs import needs
from agents.runs.config import ConfigError
from agents.runs.pretrain_config import is_pretrained
from planning.config import PlannerConfig
from scripts.checks import check_planner
from scripts.verb import Verb


def check(config: BenchConfig) -> None:
    """Raise ConfigError for what this machine has no memory for."""
    needs.require(needs.workers(config.jobs, config.executor))
    if not config.run_list:
        needs.require(needs.training(config.train))
    for path in config.run_list:
        check_planner(path, config.planner)
    if "oracle" in config.agent_list:
        planner = config.planner.apply(PlannerConfig(num_prior_samples=0))
        needs.require(needs.reaching(planner, 1, oracle=True))


def show(config: BenchConfig, summary: dict[str, Any]) -> list[Table | str]:
    """Its tables, and where to read on."""
    from agents.benchmarks.tables import tables

    return [*tables(summary).values(), f"report: {config.directory}/report.html"]


def check_shift(config: ShiftConfig) -> None:
    """Raise ConfigError for what is no run of `pretrain`, or needs more memory than there is."""
    if not config.path or not is_pretrained(config.path):
        raise ConfigError(
            f"{config.path or 'bench --shift'}: give a run of `latentmpc pretrain`, as in "
            "latentmpc bench --shift runs/ID"
        )
    planner = goal_planner(config.planner, with_policy=True)
    needs.require(needs.reaching(planner, min(config.slots, config.goals)))


def show_shift(config: ShiftConfig, summary: dict[str, Any]) -> list[Table]:
    """Its table."""
    from agents.goals.robustness.report import table

    return [table(summary)]


VERB = Verb(
    "bench",
    BenchConfig,
    "agents.benchmarks.bench:bench",
    tell="say",
    tasks=lambda config: config.task_list,
    check=check,
    show=show,
    trust=True,
    code=lambda summary: 1 if summary["failures"] else 0,
    base=suite_base,
    positional="tasks",
    metavar="[TASK,TASK...]",
    about="""How good is a controller, and how much of it is model and how much planner? With
    --shift: a pretrained model in shifted worlds (latentmpc bench --shift --help).""",
    example="latentmpc bench walker-walk --runs runs/walker --latency measured --out runs/bench",
    common="""suite runs agents seeds episodes oracle_episodes eval_seed latency out jobs
    planner.horizon train.env_steps""",
)
SHIFT = Verb(
    "bench --shift",
    ShiftConfig,
    "agents.goals.robustness.shift:bench_shift",
    tell="say",
    check=check_shift,
    show=show_shift,
    trust=True,
    prepare=lambda argv: [token for token in argv if token != "--shift"],
    positional="path",
    metavar="PRETRAIN_RUN",
    about="Success in worlds that a pretrained model was not trained in, and whether it notices.",
    example="latentmpc bench --shift runs/rooms --out runs/rooms-shift",
    common="kinds goals seed mode slots out planner.method planner.horizon planner.num_samples",
)


def choose(argv: Sequence[str]) -> Verb:
    """The bench that a command line asks for."""
    return SHIFT if "--shift" in argv else VERB
