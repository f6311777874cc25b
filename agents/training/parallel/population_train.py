"""`train --seeds N`: a population, each member in a run directory like any other.

A member's directory can be evaluated, exported or trained on alone; killed and typed again, the
same command resumes every member from its own newest checkpoint.
"""

import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from agents.evaluation import stats
from agents.runs import compile as compiling
from agents.runs.config import TrainConfig
from agents.runs.directory import RunDir
from agents.runs.progress import TrainProgress
from agents.runs.signals import InterruptedRunError, LearningError, StopSignal
from agents.training.driver import Cycle
from agents.training.finish import finish
from agents.training.parallel.population import Population
from agents.training.parallel.population_config import VARIABLE
from agents.training.setup import check_memory
from agents.training.train import Session
from agents.training.trainer import Trainer

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
        trainers = [Trainer(members[0])]
        check_memory(members[0], trainers[0].spec, len(members))
        trainers += [Trainer(config) for config in members[1:]]
        bar = TrainProgress(members[0].env_steps, console, quiet=json_mode)
        silent = TrainProgress(members[0].env_steps, quiet=True)
        stack.enter_context(bar)
        bars = [bar] + [silent] * (len(members) - 1)
        sessions = [
            Session(c, r, t, b, began)
            for c, r, t, b in zip(members, runs, trainers, bars, strict=True)
        ]
        for session in sessions:
            session.compiled = compiled
            session.open()
        lost = _run_to_end(sessions, Population(trainers), bar, str(root.path))
        done = [s for m, s in enumerate(sessions) if m not in lost]
        results = [finish(s.config, s.run, s.trainer, s.clock, s.bar) for s in done]
        if lost:
            raise _diverged(sessions, lost)
        summary = _summarise(root, [s.config for s in sessions], results)
        return summary | {"total_wall_s": time.perf_counter() - began}


def _run_to_end(
    sessions: list[Session], pop: Population, bar: TrainProgress, root: str
) -> dict[int, LearningError]:
    """Cycles until every member has its env_steps; which diverged, and are left where they were.

    A member that is done is saved and left alone.
    """
    live, lost = np.ones(len(sessions), bool), {}
    _leave(sessions, pop, live, lost)
    with StopSignal() as stop:
        while live.any():
            for m, cycle in enumerate(pop.cycle(live)):
                if cycle is not None:
                    _guarded(_account, sessions, pop, m, live, lost, cycle)
            _leave(sessions, pop, live, lost)
            if stop.name:
                for m in np.flatnonzero(live):
                    _guarded(_save, sessions, pop, int(m), live, lost)
                raise InterruptedRunError(
                    f"stopped by {stop.name}, every member saved in {root}: the same command "
                    "resumes"
                )
    return lost


def _guarded(do: Callable[..., None], sessions, pop: Population, m: int, live, lost, *more) -> None:
    """Do something for a member; if it has diverged it is lost, and the others go on."""
    try:
        do(sessions[m], pop, m, *more)
    except LearningError as error:
        live[m], lost[m] = False, error
        pop.release(m)
        sessions[0].bar.message(f"{sessions[m].run.path.name} is left: {error}")


def _diverged(sessions: list[Session], lost: dict[int, LearningError]) -> LearningError:
    names = ", ".join(sessions[m].run.path.name for m in lost)
    first = str(next(iter(lost.values()))).partition(";")[0]
    return LearningError(
        f"{len(lost)} of {len(sessions)} members diverged ({names}: {first}); the others are "
        "finished, each in its folder; leave these settings out, or lower their learning rate"
    )


def _account(session: Session, pop: Population, m: int, cycle: Cycle) -> None:
    """Log, evaluate and save a member where that is due."""
    steps = session.trainer.counters.env_steps
    for episode in cycle.episodes:
        session.note(steps, episode)
    if steps >= session.next_due():
        pop.member(m)
        session.do_due()
        pop.release(m)


def _leave(sessions: list[Session], pop: Population, live: np.ndarray, lost: dict) -> None:
    """Take members that are done out of the live ones, saved."""
    for m, session in enumerate(sessions):
        if live[m] and session.trainer.counters.env_steps >= session.config.env_steps:
            live[m] = False
            _guarded(_save, sessions, pop, m, live, lost)


def _save(session: Session, pop: Population, m: int) -> None:
    """Bring a member's trainer up to date and save it where it is not."""
    pop.member(m)
    if session.saved_at != session.trainer.counters.env_steps:
        session.save()
    pop.release(m)


def _summarise(
    root: RunDir, configs: list[TrainConfig], results: list[dict[str, Any]]
) -> dict[str, Any]:
    """What the members came to, and the mean over seeds of each setting; written beside them."""
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
