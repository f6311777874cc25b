"""`latentmpc train ENV`: learn a world model on a task, evaluate it, write a run directory."""

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Annotated, Any

import tyro

from agents.runs import needs
from agents.runs.bounds import Few, TaskId
from agents.runs.config import ConfigError, TrainConfig, preset_config
from agents.training.parallel.population_config import Members, members
from agents.training.parallel.process_config import ProcessConfig, ProcessId
from envs.task_list import multi_id, task_names
from scripts.flags import parse


@dataclass(frozen=True)
class TrainFlags(TrainConfig):
    """Learn a world model on a task, evaluate it closed-loop and write a run directory.

    The same command resumes a run that was stopped. Priority: defaults, preset, TOML file, flags.
    """

    env_id: Annotated[
        TaskId, tyro.conf.Positional, tyro.conf.arg(metavar="ENV", help_behavior_hint="(required)")
    ] = TrainConfig.env_id
    """Task to learn (`latentmpc tasks` lists them); a file may name it, as env_id."""
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
    config: Annotated[str, tyro.conf.arg(metavar="FILE.toml")] = ""
    """Settings from a file with these names as keys (`[model]` and so on as tables)."""
    json: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Print the result, and nothing else, as JSON on standard output."""

    @property
    def base(self) -> TrainConfig:
        """The settings alone; every process has at least one device."""
        settings = {f.name: getattr(self, f.name) for f in fields(TrainConfig)}
        if self.devices == 1 and self.processes > 1:
            settings["devices"] = self.processes
        config = TrainConfig(**settings)
        return replace(config, env_id=multi_id(self.tasks)) if self.tasks else config

    @property
    def many(self) -> bool:
        """Whether more than one training is asked for."""
        return self.seeds != 1 or bool(self.vary)

    def config_of(self) -> TrainConfig:
        """The settings of one training, with the run directory filled in."""
        return replace(self.base, run_dir=self.base.resolved_run_dir)

    def members(self) -> list[TrainConfig]:
        """The trainings of a population; empty where it is one training. Raises ConfigError."""
        return members(self.base, self.seeds, self.vary) if self.many else []

    def require_memory(self, *sizes: int, backend: str = "") -> None:
        """Raise ConfigError unless this machine has what the trainings need (`needs.training`)."""
        many = {"members": len(self.members()) or 1, "shares": self.processes}
        needs.require(needs.training(self.base, *sizes, backend=backend, **many))

    def process(self) -> ProcessConfig:
        """Which of several processes this one is. Raises ConfigError for what does not fit."""
        if self.many and (self.processes > 1 or self.devices > 1):
            flag = "--processes" if self.processes > 1 else "--devices"
            raise ConfigError(f"{flag} splits one training: leave out --seeds and --vary")
        process = ProcessConfig(self.processes, self.process_id, self.coordinator)
        process.check(self)
        return process


def parse_train(argv: Sequence[str]) -> TrainFlags:
    """Settings from the command line. Raises ConfigError, without a task too."""
    given: dict[str, Any] = {}

    def defaults(found: Mapping[str, Any]) -> TrainConfig:
        given.update(found)
        return _defaults(found)

    flags = parse("train", TrainFlags, TrainConfig, argv, positional="env_id", base=defaults)
    if not given.keys() & {"env_id", "tasks"}:
        raise ConfigError(
            "which task? latentmpc train ENV, as in latentmpc train cartpole-swingup "
            "(latentmpc tasks lists them)"
        )
    if flags.randomize:
        from agents.training.randomize import parse_ranges

        parse_ranges(flags.randomize)
    flags.require_memory()
    return flags


def _defaults(given: Mapping[str, Any]) -> TrainConfig:
    """What is not given: a preset's settings, and for several tasks simulators for each.

    Raises ConfigError for ENV and --tasks together, TaskListError for a list that is none.
    """
    config = preset_config(given.get("preset", "tiny"))
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


def main(argv: Sequence[str]) -> int:
    """Train; 0 when the run is complete."""
    began = time.perf_counter()
    flags = parse_train(argv)
    process, config, runs = flags.process(), flags.config_of(), flags.members()

    from scripts.output import print_json, print_table, stderr_console, stdout_to_stderr, summary
    from scripts.tasks import require_task

    with stdout_to_stderr(flags.json):
        spec = require_task(config.env_id)
        sizes = spec.obs_dim, spec.action_dim
        flags.require_memory(*sizes, backend=spec.backend)
        told = {"console": stderr_console(), "json_mode": flags.json, "began": began}
        if runs:
            from agents.training.parallel.population_train import train_population

            result, where = train_population(runs, **told), os.path.dirname(runs[0].run_dir)
        else:
            from agents.training.parallel.processes import joined
            from agents.training.train import train

            with joined(process) as group:
                result, where = train(config, **told, group=group), config.run_dir
            if not group.first:
                return 0
    if flags.json:
        print_json(result)
    else:
        print_table(summary(f"{config.env_id}: {where}", result))
    return 0
