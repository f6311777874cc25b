"""`train --seeds N`: a population, each member in a run directory like any other.

A member's directory can be evaluated, exported or trained on alone; killed and typed again, the
same command resumes every member from its own newest checkpoint.
"""

import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from agents import compiling, stats
from agents.config import TrainConfig
from agents.driver import Cycle
from agents.population import Population
from agents.progress import TrainProgress
from agents.result import finish
from agents.rundir import RunDir
from agents.setup import check_memory
from agents.stopping import InterruptedRunError, StopSignal
from agents.train import Session
from agents.trainer import Trainer

RESULT = "population.json"


def train_population(
    members: list[TrainConfig],
    *,
    console=None,
    json_mode: bool = False,
    began: float | None = None,
) -> dict[str, Any]:
    """Train every member to its env_steps in one program; the summary of population.json.

    Raises what `agents.train.train` raises.
    """
    began = time.perf_counter() if began is None else began
    compiling.cores_as_devices(len(members))
    root = RunDir(Path(members[0].run_dir).parent)
    with ExitStack() as stack:
        runs = [stack.enter_context(RunDir.create(c.run_dir)) for c in members]
        compiled = stack.enter_context(compiling.counted())
        trainers = [Trainer(config) for config in members]
        check_memory(members[0], trainers[0].spec, len(members))
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
        _run_to_end(sessions, Population(trainers), bar, str(root.path))
        results = [finish(s.config, s.run, s.trainer, s.clock, s.bar) for s in sessions]
        return _summarise(root, results) | {"total_wall_s": time.perf_counter() - began}


def _run_to_end(sessions: list[Session], pop: Population, bar: TrainProgress, root: str) -> None:
    """Cycles until every member has its env_steps; a member that has is saved and left alone."""
    live = np.ones(len(sessions), bool)
    _leave(sessions, pop, live)
    with StopSignal() as stop:
        while live.any():
            for m, cycle in enumerate(pop.cycle(live)):
                if cycle is not None:
                    _account(sessions[m], pop, m, cycle)
            _leave(sessions, pop, live)
            if stop.name:
                for m in np.flatnonzero(live):
                    _save(sessions[m], pop, int(m))
                raise InterruptedRunError(
                    f"stopped by {stop.name}, every member saved in {root}: the same command "
                    "resumes"
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


def _leave(sessions: list[Session], pop: Population, live: np.ndarray) -> None:
    """Take members that are done out of the live ones, saved."""
    for m, session in enumerate(sessions):
        if live[m] and session.trainer.counters.env_steps >= session.config.env_steps:
            live[m] = False
            _save(session, pop, m)


def _save(session: Session, pop: Population, m: int) -> None:
    """Bring a member's trainer up to date and save it where it is not."""
    pop.member(m)
    if session.saved_at != session.trainer.counters.env_steps:
        session.save()
    pop.release(m)


def _summarise(root: RunDir, results: list[dict[str, Any]]) -> dict[str, Any]:
    """What the members came to; written beside them."""
    returns = [r["return_mean"] for r in results]
    mean, low, high = stats.mean_ci(returns)
    summary = {
        "env_id": results[0]["env_id"],
        "members": len(results),
        "return_mean": mean,
        "return_ci95": [low, high],
        "member_returns": returns,
        "member_seeds": [r["seed"] for r in results],
        "prior_return_mean": float(np.mean([r["prior_return_mean"] for r in results])),
        "random_return_mean": float(np.mean([r["random_return_mean"] for r in results])),
        "env_steps": [r["env_steps"] for r in results],
        "versions": results[0]["versions"],
        "command": results[0]["command"],
    }
    root.write_json(RESULT, summary)
    return summary
