"""Settings of a bench: which tasks, agents and seeds, under which latencies. Imports no jax."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

from agents.evaluation.latency_model import LatencyModel
from agents.jobs.queue import known_executor
from agents.runs.bounds import Episodes, FewOrNone, Seed, Settings, TaskId, check
from agents.runs.config import ConfigError, PlannerOverrides, TrainConfig
from agents.runs.settings import unknown
from planning.config import PlannerConfig
from wm.tdmpc.config import LearnerConfig

AGENTS = ("plan", "prior", "oracle", "random", "zero")
"""In the order of reports."""


class Suite(NamedTuple):
    """Tasks, and how they are trained where no checkpoint is given."""

    tasks: tuple[str, ...]
    train: TrainConfig


QUICK = TrainConfig(
    action_repeat=4,
    env_steps=8_000,
    eval_every=2_000,
    learner=LearnerConfig(batch_size=64, target_rate=0.02),
    planner=PlannerConfig(horizon=4),
)
CORE = (
    "cartpole-swingup ball_in_cup-catch reacher-easy finger-spin walker-walk cheetah-run "
    "pendulum-swingup"
)
GYM = "InvertedPendulum-v5 Hopper-v5 HalfCheetah-v5 Walker2d-v5 Ant-v5"
SUITES = {
    "quick": Suite(("cartpole-swingup", "pendulum-swingup", "ball_in_cup-catch"), QUICK),
    "dmc-core": Suite(tuple(CORE.split()), TrainConfig()),
    "gym-v5": Suite(tuple(GYM.split()), TrainConfig()),
}
SET_BY_BENCH = {
    "env_id": "name the tasks, as in latentmpc bench walker-walk",
    "seed": "give --seeds",
    "run_dir": "trainings live in --out",
}
"""Training settings that a bench sets itself, and where they come from."""


@dataclass(frozen=True)
class BenchConfig(Settings):
    """Settings of one bench."""

    tasks: TaskId = ""
    """Task ids, comma-separated; default: those of the suite, or of the runs."""
    suite: str = ""
    """quick (default), dmc-core or gym-v5: tasks, and the training settings below for them."""
    agents: str = "plan,prior,random,zero,oracle"
    """Any of plan, prior, random, zero and oracle (the planner on the true simulator)."""
    seeds: str = "0"
    """Training seeds, comma-separated: one model each a task."""
    runs: str = ""
    """Runs or checkpoints, comma-separated, to evaluate instead of training their task."""
    episodes: Episodes = 10
    """Evaluation episodes of each agent, on the same starts for all."""
    oracle_episodes: Episodes = 3
    """Episodes of the oracle, which is slow."""
    eval_seed: Seed = 1000
    """Seed of the first episode; episode i starts from seed + i."""
    latency: str = "free"
    """free, measured or fixed:MS, or several: what thinking costs. free is always run beside."""
    latency_policy: Literal["hold", "plan"] = "hold"
    """While the planner thinks: hold the last action, or play the rest of the last plan."""
    out: str = ""
    """Output directory; the same command resumes it. Default: runs/bench-RUN, -TASK or -SUITE."""
    executor: str = "local"
    """local, ray or slurm."""
    jobs: FewOrNone = 1
    """Cases at once; more than one share the cores, and their latencies say so. 0: one by one
    in this process; on Ray and SLURM, as many as there is room for."""
    planner: PlannerOverrides = field(default_factory=PlannerOverrides)
    train: TrainConfig = QUICK

    def __post_init__(self):
        """Reject what cannot be run. Raises ConfigError naming the setting."""
        super().__post_init__()
        _known("suite", [self.suite_name], SUITES)
        _known("agent", self.agent_list, AGENTS)
        for name, instead in SET_BY_BENCH.items():
            if getattr(self.train, name) != getattr(TrainConfig, name):
                raise ConfigError(f"train.{name} is not used by a bench: {instead}")
        for text in self.latency_list:
            LatencyModel.parse(text)
        for seed in self.seed_list:
            check("seed", seed, Seed)
        known_executor(self.executor)

    @property
    def suite_name(self) -> str:
        """`suite`, or quick where it was not given."""
        return self.suite or "quick"

    @property
    def task_list(self) -> tuple[str, ...]:
        """Ids of the tasks."""
        return _items(self.tasks) or SUITES[self.suite_name].tasks

    @property
    def agent_list(self) -> tuple[str, ...]:
        """Agents, in the order given. Raises ConfigError when there is none."""
        if not (found := _items(self.agents)):
            raise ConfigError(f"agents must name at least one of {', '.join(AGENTS)}")
        return found

    @property
    def latency_list(self) -> tuple[str, ...]:
        """Clocks, free first."""
        return tuple(dict.fromkeys(("free", *_items(self.latency))))

    @property
    def seed_list(self) -> tuple[int, ...]:
        """Training seeds. Raises ConfigError for what is no integer."""
        if not (seeds := _items(self.seeds)):
            raise ConfigError("seeds must name at least one training seed, as in 0,1")
        try:
            return tuple(map(int, seeds))
        except ValueError:
            raise ConfigError(
                f"seeds must be integers, comma-separated, got {self.seeds!r}"
            ) from None

    @property
    def run_list(self) -> tuple[str, ...]:
        """Paths of the given runs and checkpoints."""
        return _items(self.runs)

    @property
    def directory(self) -> str:
        """`out`; where it was not given, runs/bench- and what is benched: runs, tasks or suite."""
        if self.out:
            return self.out
        runs = [Path(run).resolve().name for run in self.run_list]
        tasks = [task.replace("/", "-") for task in _items(self.tasks)]
        return "runs/bench-" + ("+".join(runs or tasks) or self.suite_name)

    def training(self, task: str, seed: int) -> TrainConfig:
        """Settings of the training of one task and seed, which lives inside the bench."""
        run_dir = f"{self.directory}/train/{task.replace('/', '-')}-{seed}"
        return replace(self.train, env_id=task, seed=seed, run_dir=run_dir)


def suite_base(given: Mapping[str, Any]) -> BenchConfig:
    """Defaults for settings given so far: those of the suite. Raises ConfigError."""
    base = BenchConfig(suite=str(given.get("suite", "")))
    return replace(base, train=SUITES[base.suite_name].train)


def _items(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(item.strip() for item in text.split(",") if item.strip()))


def _known(what: str, names: Any, known: Any) -> None:
    for name in names:
        if name not in known:
            raise unknown(what, name, known, f"expected {', '.join(known)}")
