"""`latentmpc train ENV`: learn a world model on a task, evaluate it, write a run directory."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Any

import tyro

from agents.runs import needs
from agents.runs.bounds import Few
from agents.runs.config import ConfigError, TrainConfig, preset_config
from agents.training.parallel.population_config import Members, members
from agents.training.parallel.process_config import ProcessConfig, ProcessId
from envs.task_list import multi_id, task_names
from scripts.verb import Output, Verb

UNNAMED = "ENV"
"""Stands for the task where none was given."""


@dataclass(frozen=True)
class TrainCommand(TrainConfig):
    """One training, or several: of several tasks, a population, the processes of one."""

    tasks: Annotated[str, tyro.conf.arg(metavar="A,B,C")] = ""
    """Learn these tasks, in place of ENV, with one model."""
    seeds: Members = 1
    """Trainings in one program, seeds --seed, --seed + 1, ...; each in RUN_DIR/seed-N."""
    vary: Annotated[str, tyro.conf.arg(metavar="'NAME=V1,V2 ...'")] = ""
    """Learner settings that members differ in, as in learner.learning_rate=1e-3,3e-4."""
    processes: Annotated[Few, tyro.conf.arg(metavar="N")] = ProcessConfig.processes
    """Processes that train together, each started with this command and its own --process-id."""
    process_id: Annotated[ProcessId, tyro.conf.arg(metavar="I")] = ProcessConfig.process_id
    """Which of the --processes this one is: 0, which writes the run, to N - 1."""
    coordinator: Annotated[str, tyro.conf.arg(metavar="HOST:PORT")] = ProcessConfig.coordinator
    """Where process 0 of several is found: its machine, and a port that is free there."""

    @property
    def base(self) -> TrainConfig:
        """The settings alone; every process has at least one device."""
        config = TrainConfig(**{f.name: getattr(self, f.name) for f in fields(TrainConfig)})
        if self.devices == 1 and self.processes > 1:
            config = replace(config, devices=self.processes)
        return replace(config, env_id=multi_id(self.tasks)) if self.tasks else config

    @property
    def many(self) -> bool:
        """Whether more than one training is asked for."""
        return self.seeds != 1 or bool(self.vary)

    @property
    def members(self) -> list[TrainConfig]:
        """The trainings of a population; none for a single one."""
        return members(self.base, self.seeds, self.vary) if self.many else []

    @property
    def where(self) -> str:
        """The run directory, or the folder of those of a population."""
        return str(Path(self.members[0].run_dir).parent) if self.many else self.config_of().run_dir

    def config_of(self) -> TrainConfig:
        """The settings of one training, with the run directory filled in."""
        return replace(self.base, run_dir=self.base.resolved_run_dir)

    def require_memory(self, *sizes: int, backend: str = "") -> None:
        """Raise ConfigError unless this machine has what the trainings need (`needs.training`)."""
        many = {"members": len(self.members) or 1, "shares": self.processes}
        needs.require(needs.training(self.base, *sizes, backend=backend, **many))

    def process(self) -> ProcessConfig:
        """Which of several processes this one is. Raises ConfigError for what does not fit."""
        if self.many and (self.processes > 1 or self.devices > 1):
            flag = "--processes" if self.processes > 1 else "--devices"
            raise ConfigError(f"{flag} splits one training: leave out --seeds and --vary")
        process = ProcessConfig(self.processes, self.process_id, self.coordinator)
        process.check(self)
        return process


def defaults(given: Mapping[str, Any]) -> TrainConfig:
    """Defaults: a preset's settings, and for several tasks simulators for each.

    Raises ConfigError for ENV and --tasks together, TaskListError for a list that is none.
    """
    config = preset_config(given.get("preset", "tiny"), env_id=UNNAMED)
    if "tasks" not in given:
        names = task_names(given.get("env_id", ""))
    elif "env_id" in given:
        raise ConfigError(
            f"ENV ({given['env_id']}) and --tasks are both given: one task, or a list of several"
        )
    else:
        names = task_names(multi_id(given["tasks"]))
    each = -(-config.num_envs // max(1, len(names)))
    return replace(config, num_envs=each * len(names)) if names else config


def check(command: TrainCommand) -> None:
    """Raise ConfigError without a task, for what cannot be trained together, or not here."""
    if command.env_id == UNNAMED and not command.tasks:
        raise ConfigError(
            "which task? latentmpc train ENV, as in latentmpc train cartpole-swingup "
            "(latentmpc tasks lists them)"
        )
    if command.randomize:
        from agents.training.randomize import OF_TASK, parse_ranges

        if command.randomize != OF_TASK:  # those are read when the task is
            parse_ranges(command.randomize)
    command.process()
    command.require_memory()
    _ = command.where


def call(command: TrainCommand, output: Output):
    """The result of the training; None in a process that only helps."""
    from envs.registry import make_spec

    config = command.config_of()
    spec = make_spec(config.env_id)
    command.require_memory(spec.obs_dim, spec.action_dim, backend=spec.backend)
    told = {"console": output.console, "json_mode": output.json, "began": output.began}
    if command.many:
        from agents.training.parallel.population_train import train_population

        return train_population(command.members, **told)
    from agents.training.parallel.processes import joined
    from agents.training.train import train

    with joined(command.process()) as group:
        result = train(config, **told, group=group)
    return result if group.first else None


VERB = Verb(
    "train",
    TrainCommand,
    call,
    check=check,
    base=defaults,
    positional="env_id",
    metavar="ENV",
    title="{0.base.env_id}: {0.where}",
    about="""Learn a world model on a task, evaluate it closed-loop and write a run directory. The
    same command resumes a run that was stopped. Priority: defaults, preset, recipe, TOML file,
    flags.""",
    example="latentmpc train cartpole-swingup --env-steps 20000 --run-dir runs/cartpole",
    common="""run_dir env_steps seed seeds preset num_envs action_repeat planner.horizon
    planner.num_samples learner.batch_size learner.learning_rate loop""",
)
