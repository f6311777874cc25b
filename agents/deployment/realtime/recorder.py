"""A flight recorder: the last seconds of a controller, and their replay to the last bit.

What a controller was given and what it answered goes into arrays that exist from the beginning;
its state is noted now and then (references to arrays that never change, so that costs nothing).
A recording is a folder:

    recording.json   what ran, how, and why it was written
    columns/*.npy    one row a tick
    state/*.npy      the controller before the first row
    MANIFEST.json    sizes and SHA-256 of all that
"""

import json
import math
from collections import deque
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from agents.deployment.contract import Contract
from agents.deployment.controller import Controller, Tick
from agents.deployment.guard.safety import FAULTS, INTERVENTIONS
from agents.runs.directory import plain
from agents.runs.versions import installed
from agents.storage import manifest
from agents.storage.files import CheckpointError, storage_error, write_synced

FORMAT = 1
PAGES = 8
SOURCES = ("plan", "prior", "shifted", "hold", "fallback", "stop")
STATES = ("ok", "hold", "fallback", "stopped")
MISSING, FLOAT32, FLOAT64, UNUSABLE = range(4)
"""Kinds of observation. What had another shape or type than any contract's is not kept."""
AFTER_FAULT_S = 1.0
MAX_ROWS = 10_000_000


class Snapshot(NamedTuple):
    """A recording that has not been written yet; nothing in it changes any more."""

    about: dict[str, Any]
    arrays: dict[str, np.ndarray]


class Recorder:
    """Remembers the last `seconds` of one controller.

    Call `before` and `after` around every `act`. A fault is that the guard falls back or stops: a
    second after it `keep(recorder, controller)` is told to take a `snapshot`, for that is what one
    wants to see; a fault within that second is in the same recording. `reason` is the fault whose
    second is not over, and `faults` counts them all.
    """

    def __init__(
        self,
        contract: Contract,
        seconds: float,
        keep: Callable[["Recorder", Controller], None] = lambda recorder, controller: None,
    ):
        self._rate = 1.0 / contract.period
        self._page = max(1, math.ceil(seconds * self._rate / (PAGES - 1)))
        row = row_type(contract.obs.shape[0], contract.action.dim)
        self._rows, self._count = np.zeros(self._page * PAGES, row), 0
        self._states: deque[tuple[int, dict[str, Any]]] = deque(maxlen=PAGES)
        self._keep, self._left, self._before = keep, 0, STATES.index("ok")
        self.reason, self.faults = "", 0
        self.last_command: dict[str, Any] = {}

    def before(self, controller: Controller) -> None:
        """A tick begins (before the `reset` of a new episode, if there is one)."""
        if self._count % self._page == 0:
            self._states.append((self._count, controller.get_state()))

    def after(
        self,
        controller: Controller,
        now: float,
        seen: tuple[Any, float | None, int | None],
        reset_seed: int,
        action: np.ndarray,
        lateness: float,
    ) -> None:
        """A tick is over: what `act` was given (obs, stamp, sequence) and what came of it.

        `reset_seed` is that of the reset before it, -1 without one.
        """
        if (tick := controller.last) is None:
            return
        obs, stamp, sequence = seen
        row = self._rows[self._count % len(self._rows)]
        row["kind"] = kind = _kind(obs, row["obs"].shape)
        row["obs"] = obs if kind in (FLOAT32, FLOAT64) else 0.0
        row["now"] = now
        row["stamp"] = math.nan if stamp is None else stamp
        row["sequence"] = -1 if sequence is None else sequence
        row["reset_seed"] = reset_seed
        row["lateness_ms"], row["compute_ms"] = 1e3 * lateness, tick.compute_ms
        for name, value in answer(tick, action).items():
            row[name] = value
        self._count += 1
        self._watch(controller, tick)

    def _watch(self, controller: Controller, tick: Tick) -> None:
        """Notice that the guard takes over; when a second has passed since, keep what there is."""
        state, before = STATES.index(tick.state), self._before
        self._before = state
        new = state > before and state >= STATES.index("fallback")
        self.faults += new
        if self.reason:
            self._left -= 1
            if not self._left:
                self._keep(self, controller)
                self.reason = ""
        elif new:
            self.reason = f"{tick.state} after {', '.join(tick.faults) or 'a fault'}"
            self._left = max(1, round(AFTER_FAULT_S * self._rate))

    def dump(self, path: Path | str, controller: Controller, where: str) -> Path:
        """Write the recording into the new folder `path`; `where` is what was run.

        Raises StorageError.
        """
        return write(Path(path), self.snapshot(controller, where))

    def snapshot(self, controller: Controller, where: str) -> Snapshot:
        """A copy of what is remembered now."""
        states = [s for s in self._states if s[0] >= self._count - len(self._rows)]
        first, state = states[0] if states else (0, controller.get_state())
        rows = self._rows[np.arange(first, self._count) % len(self._rows)]
        arrays = {k: np.asarray(v) for k, v in state.items() if _is_array(v)}
        about = {
            "format": FORMAT,
            "path": where,
            "env_id": controller.contract.env_id,
            "params_digest": controller.contract.params_digest,
            "mode": controller.policy.mode,
            "seed": controller.seed,
            "deadline_ms": controller.deadline_ms,
            "planner": asdict(controller.policy.planner),
            "safety": asdict(controller.guard.config),
            "faults": FAULTS,
            "reason": self.reason or "asked for",
            "last_command": self.last_command,
            "ticks": len(rows),
            "first_tick": first,
            "rate_hz": self._rate,
            "versions": installed(),
            "state": {k: v for k, v in state.items() if k not in arrays},
        }
        columns = {f"columns/{name}": rows[name] for name in rows.dtype.fields or ()}
        return Snapshot(about, columns | {f"state/{k}": v for k, v in arrays.items()})


def row_type(obs_dim: int, action_dim: int) -> np.dtype:
    """The record of one tick."""
    numbers = "kind u1, now f8, stamp f8, sequence i8, reset_seed i8, source u1, state u1, "
    numbers += "faults u4, interventions u1, surprise f4, work i4, compute_ms f4, lateness_ms f4"
    fields = [tuple(field.split()) for field in numbers.split(", ")]
    return np.dtype([("obs", "f8", (obs_dim,)), ("action", "f4", (action_dim,)), *fields])


def answer(tick: Tick, action: np.ndarray) -> dict[str, Any]:
    """The part of a row that a replay has to reproduce."""
    return {
        "action": action,
        "source": SOURCES.index(tick.source),
        "state": STATES.index(tick.state),
        "faults": sum(1 << FAULTS.index(kind) for kind in set(tick.faults)),
        "interventions": sum(1 << INTERVENTIONS.index(kind) for kind in set(tick.interventions)),
        "surprise": np.float32(tick.surprise),
        "work": tick.work,
    }


def _kind(obs: Any, shape: tuple[int, ...]) -> int:
    if obs is None:
        return MISSING
    if isinstance(obs, np.ndarray) and obs.shape == shape:
        return {np.dtype("f4"): FLOAT32, np.dtype("f8"): FLOAT64}.get(obs.dtype, UNUSABLE)
    return UNUSABLE


def _is_array(value: Any) -> bool:
    return hasattr(value, "__array__") and not isinstance(value, float | int)


def write(path: Path, snapshot: Snapshot) -> Path:
    """Write a recording into the new folder `path`. Raises StorageError."""
    try:
        for folder in ("columns", "state"):
            (path / folder).mkdir(parents=True, exist_ok=True)
        for name, array in snapshot.arrays.items():
            np.save(path / f"{name}.npy", array, allow_pickle=False)
        text = json.dumps(plain(snapshot.about), indent=1).encode()
        write_synced(path / "recording.json", text)
        manifest.write(path, 0)
    except (OSError, CheckpointError) as error:
        raise storage_error(path, error) from error
    return path
