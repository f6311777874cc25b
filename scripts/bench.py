"""`latentmpc bench`: agents on a suite of tasks, with intervals, latency and an oracle."""

from collections.abc import Sequence
from typing import Any

from agents.benchmarks.config import BenchConfig, suite_base
from agents.goals.config import goal_planner
from agents.goals.robustness.config import ShiftConfig
from agents.runs import needs
from agents.runs.config import ConfigError
from agents.runs.pretrain_config import is_pretrained
from planning.config import PlannerConfig
from scripts.flags import check_planner
from scripts.verb import Output, Verb


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


def call(config: BenchConfig, output: Output):
    """The summary of all points."""
    from scripts.tasks import require_task

    for task in config.task_list:
        require_task(task)
    from agents.benchmarks.bench import bench

    return bench(config, output.say)


def show(config: BenchConfig, summary: dict[str, Any]) -> None:
    """Its tables, and where to read on."""
    from agents.benchmarks.tables import tables
    from scripts.output import print_table, report_table

    for table in tables(summary).values():
        print_table(report_table(table))
    print(f"report: {config.directory}/report.html")


def check_shift(config: ShiftConfig) -> None:
    """Raise ConfigError for what is no run of `pretrain`, or needs more memory than there is."""
    if not config.path or not is_pretrained(config.path):
        raise ConfigError(
            f"{config.path or 'bench --shift'}: give a run of `latentmpc pretrain`, as in "
            "latentmpc bench --shift runs/ID"
        )
    planner = goal_planner(config.planner, with_policy=True)
    needs.require(needs.reaching(planner, min(config.slots, config.goals)))


def call_shift(config: ShiftConfig, output: Output):
    """One pretrained model in shifted worlds."""
    from agents.goals.robustness.shift import bench_shift

    return bench_shift(config, output.say)


def show_shift(config: ShiftConfig, summary: dict[str, Any]) -> None:
    """Its table."""
    from agents.goals.robustness.report import table
    from scripts.output import print_table, report_table

    print_table(report_table(table(summary)))


VERB = Verb(
    "bench",
    BenchConfig,
    call,
    check=check,
    show=show,
    trust=True,
    code=lambda summary: 1 if summary["failures"] else 0,
    base=suite_base,
    positional="tasks",
    metavar="[TASK,TASK...]",
    about="""How good is a controller, and how much of it is model and how much planner? With
    --shift: a pretrained model in shifted worlds (latentmpc bench --shift --help).""",
    example="latentmpc bench walker-walk --runs runs/walker --clock measured --out runs/bench",
    common="""suite runs agents seeds episodes oracle_episodes eval_seed clock out jobs
    planner.horizon train.env_steps""",
)
SHIFT = Verb(
    "bench --shift",
    ShiftConfig,
    call_shift,
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
parse_bench, parse_shift = VERB.settings, SHIFT.settings


def choose(argv: Sequence[str]) -> Verb:
    """What a command line is about."""
    return SHIFT if "--shift" in argv else VERB


def main(argv: Sequence[str]) -> int:
    """Run or resume the bench; 0 when every point has a result, else 1."""
    return choose(argv).main(argv)
