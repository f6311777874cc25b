"""`train --seeds N`: a population, each member in a run directory like any other.

A member's directory can be evaluated, exported or trained on alone; killed and typed again, the
same command resumes every member from its own newest checkpoint.
"""

import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from agents.evaluation import stats
from agents.runs import compile as compiling
from agents.runs.config import TrainConfig
from agents.runs.directory import RunDir
from agents.runs.progress import TrainProgress
from agents.runs.signals import InterruptedRunError, LearningError, StopSignal
from agents.training.finish import finish
from agents.training.parallel.population import Population
from agents.training.parallel.population_config import VARIABLE
from agents.training.setup import check_memory
from agents.training.train import TrainSession, open_trainer

RESULT = "population.json"


def train_population(
    members: list[TrainConfig],
    *,
    console=None,
    json_mode: bool = False,
    began: float | None = None,
) -> dict[str, Any]:
    """Train every member to its env_steps in one program; the summary of population.json.

    Raises what `agents.training.train.train` raises.
    """
    began = time.perf_counter() if began is None else began
    compiling.cores_as_devices(len(members))
    root = RunDir(Path(members[0].run_dir).parent)
    with ExitStack() as stack:
        runs = [stack.enter_context(RunDir.create(c.run_dir)) for c in members]
        compiled = stack.enter_context(compiling.counted())
        first = open_trainer(members[0], runs[0])
        check_memory(members[0], first.spec, len(members))
        others = zip(members[1:], runs[1:], strict=True)
        trainers = [first, *(open_trainer(config, run) for config, run in others)]
        bar = TrainProgress(members[0].env_steps, console, quiet=json_mode)
        silent = TrainProgress(members[0].env_steps, quiet=True)
        stack.enter_context(bar)
        sessions = [
            TrainSession(run, trainer, silent if m else bar, began, compiled)
            for m, (run, trainer) in enumerate(zip(runs, trainers, strict=True))
        ]
        for session in sessions:
            session.open()
        lost = _run_to_end(sessions, Population(trainers), str(root.path))
        done = [s for s in sessions if s.run.path.name not in lost]
        results = [finish(s.trainer, s.run, s.bar, s.clock) for s in done]
        if lost:
            raise _diverged(lost, len(sessions))
        summary = _summarise(root, members, results)
        return summary | {"total_wall_s": time.perf_counter() - began}


def _run_to_end(
    sessions: list[TrainSession], pop: Population, root: str
) -> dict[str, LearningError]:
    """Cycles until every member is done, and saved, or has diverged: those that have, by name."""
    lost: dict[str, LearningError] = {}
    live = np.ones(len(sessions), bool)

    def guarded(m: int, do: Callable[[], None]) -> None:
        try:
            do()
        except LearningError as error:  # the others go on
            name, live[m] = sessions[m].run.path.name, False
            lost[name] = error
            sessions[0].bar.message(f"{name} is left: {error}")

    def leave() -> None:
        for m, session in enumerate(sessions):
            if live[m] and session.done >= session.config.env_steps:
                live[m] = False
                guarded(m, session.save_if_new)

    leave()
    with StopSignal() as stop:
        while live.any():
            for m, cycle in enumerate(pop.cycle(live)):
                if cycle is not None:
                    ended = [(sessions[m].done, episode) for episode in cycle.episodes]
                    guarded(m, partial(sessions[m].account, ended))
            leave()
            if stop.name:
                for m in np.flatnonzero(live):
                    guarded(int(m), sessions[m].save_if_new)
                raise InterruptedRunError(
                    f"stopped by {stop.name}, every member saved in {root}: the same command "
                    "resumes"
                )
    return lost


def _diverged(lost: dict[str, LearningError], count: int) -> LearningError:
    first = str(next(iter(lost.values()))).partition(";")[0]
    return LearningError(
        f"{len(lost)} of {count} members diverged ({', '.join(lost)}: {first}); the others are "
        "finished, each in its folder; leave these settings out, or lower their learning rate"
    )


def _summarise(
    root: RunDir, configs: list[TrainConfig], results: list[dict[str, Any]]
) -> dict[str, Any]:
    """Results of the members, and the mean over seeds of each setting; written beside them."""
    varied = [_varied(config, configs) for config in configs]
    runs = [
        {"run": Path(c.run_dir).name, **v, "seed": c.seed, "return_mean": r["return_mean"]}
        for c, v, r in zip(configs, varied, results, strict=True)
    ]
    returns = [r["return_mean"] for r in results]
    summary = {
        "env_id": results[0]["env_id"],
        "members": len(results),
        **_over_seeds(returns, varied),
        "member_returns": returns,
        "member_seeds": [r["seed"] for r in results],
        "runs": runs,
        "prior_return_mean": float(np.mean([r["prior_return_mean"] for r in results])),
        "random_return_mean": float(np.mean([r["random_return_mean"] for r in results])),
        "env_steps": [r["env_steps"] for r in results],
        "versions": results[0]["versions"],
        "command": results[0]["command"],
    }
    root.write_json(RESULT, summary)
    return summary


def _varied(config: TrainConfig, configs: list[TrainConfig]) -> dict[str, float]:
    """The settings of the learner in which this member differs from another."""
    return {
        name: getattr(config.learner, name)
        for name in VARIABLE
        if len({getattr(c.learner, name) for c in configs}) > 1
    }


def _over_seeds(returns: list[float], varied: list[dict[str, float]]) -> dict[str, Any]:
    """Mean and interval over the seeds; with several settings, of each of them."""
    groups: dict[tuple, list[float]] = {}
    for value, setting in zip(returns, varied, strict=True):
        groups.setdefault(tuple(setting.items()), []).append(value)
    found = []
    for setting, values in groups.items():
        mean, low, high = stats.mean_ci(values)
        found.append(dict(setting) | {"return_mean": mean, "return_ci95": [low, high]})
    return found[0] if len(found) == 1 else {"settings": found}
