"""Replay a flight recording through a controller, and say where it first differs."""

import os
import re
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from agents.deployment.controller import Controller
from agents.deployment.guard.config import SafetyConfig
from agents.deployment.guard.safety import FAULTS, INTERVENTIONS
from agents.deployment.realtime import recorder
from agents.deployment.realtime.recorder import FLOAT32, FORMAT, MISSING, MOST_ROWS, UNUSABLE
from agents.runs.bounds import shown
from agents.runs.config import ConfigError, PlannerOverrides
from agents.runs.settings import flatten, overlay
from agents.storage import manifest, sealed
from agents.storage import npy as npy_files
from agents.storage.files import CheckpointError

ABOUT = "recording.json"
MOST_COLUMN = 1 << 32
_NAME = re.compile(r"(columns|state)/\w{1,64}\.npy")
LISTED = manifest.Kind(
    lambda name: sealed.MOST_TEXT if name == ABOUT else MOST_COLUMN * bool(_NAME.fullmatch(name)),
    required=(ABOUT,),
)


class Recording(NamedTuple):
    """A recording as it was written, verified."""

    path: Path
    about: dict[str, Any]
    columns: dict[str, np.ndarray]
    state: dict[str, Any]


class RecordingError(CheckpointError):
    """A recording that cannot be replayed; shown as one line."""


def load(path: Path | str) -> Recording:
    """Read and verify a recording. Raises ConfigError (no recording), RecordingError."""
    path = Path(path)
    if not os.path.lexists(path / ABOUT):
        raise ConfigError(f"{path} is no recording (no recording.json in it)")
    if problem := manifest.problem(path, LISTED):
        raise RecordingError(f"{path} is damaged: {problem}")
    try:
        about = sealed.parse(sealed.read(path, ABOUT))
        if about["format"] != FORMAT:
            raise RecordingError(f"{path} has format {shown(about['format'])}, expected {FORMAT}")
        ticks = int(about["ticks"])
        if not 0 <= ticks <= MOST_ROWS:
            raise RecordingError(f"{path}: {ticks} ticks, expected at most {MOST_ROWS}")
        state = dict(about["state"])
        state |= _arrays(path, "state")
        found = _arrays(path, "columns")
        expected = recorder.columns(ticks, found["obs"].shape[1], found["action"].shape[1])
    except (OSError, ValueError, KeyError, TypeError, IndexError, OverflowError) as error:
        raise RecordingError(f"{path} cannot be read: {error!r}") from None
    for name, column in expected.items():
        kind = (column.dtype, column.shape)
        if name not in found or (found[name].dtype, found[name].shape) != kind:
            raise RecordingError(
                f"{path}: columns/{name}.npy is missing or not {column.dtype} {column.shape}"
            )
    return Recording(path, about, found, state)


def _arrays(path: Path, folder: str) -> dict[str, np.ndarray]:
    """The arrays of a folder of a verified recording. Raises ValueError naming the file."""
    arrays = {}
    for file in sorted((path / folder).glob("*.npy")):
        name = f"{folder}/{file.name}"
        try:
            arrays[file.stem] = npy_files.array(sealed.read(path, name, MOST_COLUMN))
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
    return arrays


def controller_for(
    recording: Recording, path: str, trust: bool = False, digest: str = ""
) -> Controller:
    """The controller that was recorded, from `path`, warm, in the state of the first row.

    Raises ConfigError when `path` holds other parameters.
    """
    about = recording.about
    try:
        safety = overlay(SafetyConfig(), flatten(SafetyConfig, about["safety"], "safety"))
        planner = PlannerOverrides(**about["planner"])
        known = frozenset(about.get("faults", FAULTS[: FAULTS.index("no_plan")]))
        mode, deadline_ms, params = about["mode"], about["deadline_ms"], about["params_digest"]
    except (KeyError, TypeError, ValueError) as error:
        raise RecordingError(f"{recording.path}/recording.json cannot be used: {error}") from None
    made = Controller.load(
        path,
        mode=mode,
        deadline_ms=deadline_ms,
        planner=planner,
        safety=safety,
        trust=trust,
        digest=digest,
    )
    if made.contract.params_digest != params:
        raise ConfigError(
            f"{recording.path} was recorded with parameters {params[:12]} ({about['path']}), but "
            f"{path} has {made.contract.params_digest[:12]}: give the bundle that was running"
        )
    made.warmup()
    made.guard.known = known  # a newer fault would be another answer
    try:
        made.set_state(recording.state)
    except (KeyError, ValueError, TypeError) as error:
        raise RecordingError(f"{recording.path}: its state does not fit: {error!r}") from None
    return made


def replay(recording: Recording, controller: Controller) -> dict[str, Any]:
    """Give the controller what it was given then. The result: ticks, and the first difference.

    Compared bit by bit: the action, who acted, the guard's state, faults, interventions, surprise
    and the planner's work.
    """
    rows = recording.columns
    ticks = len(rows["now"])
    for row in range(ticks):
        if rows["reset_seed"][row] >= 0:
            controller.reset(int(rows["reset_seed"][row]))
        obs, stamp, sequence = _seen(rows, row)
        now, work = float(rows["now"][row]), int(rows["work"][row])
        action = controller.act(obs, stamp, sequence, now=now, work=work)
        given = recorder.answer(controller, action)
        if rows["kind"][row] == UNUSABLE:  # it was not kept, so the fault has another name
            given["faults"] = rows["faults"][row]
        for name, value in given.items():
            then, here = rows[name][row], np.asarray(value, rows[name].dtype)
            if then.tobytes() != here.tobytes():
                return _result(recording, ticks, _difference(recording, row, name, here))
    return _result(recording, ticks, _last_command(recording, ticks, controller))


def _last_command(recording: Recording, ticks: int, controller: Controller) -> dict | None:
    """How the command that ended the run differs from what would end it now; None if it does not.

    A recording of a fault in the middle of a run has none.
    """
    then, here = recording.about.get("last_command") or {}, controller.guard.safe.tolist()
    if not then or then.get("action") == here:
        return None
    tick = recording.about["first_tick"] + ticks
    recorded = then.get("action")
    return {"tick": tick, "what": "last_command", "recorded": recorded, "replayed": here}


def _seen(rows: dict[str, np.ndarray], row: int) -> tuple[Any, float | None, int | None]:
    stamp, sequence = float(rows["stamp"][row]), int(rows["sequence"][row])
    obs = rows["obs"][row]
    if rows["kind"][row] in (MISSING, UNUSABLE):
        obs = None
    elif rows["kind"][row] == FLOAT32:
        obs = obs.astype(np.float32)
    return obs, None if np.isnan(stamp) else stamp, None if sequence < 0 else sequence


def _difference(recording: Recording, row: int, name: str, here: np.ndarray) -> dict[str, Any]:
    then = recording.columns[name][row]
    words = {"source": recorder.SOURCES, "state": recorder.STATES}
    flags = {"faults": FAULTS, "interventions": INTERVENTIONS}

    def say(value: np.ndarray) -> Any:
        if name in words:
            return words[name][int(value)]
        if name in flags:
            return [kind for i, kind in enumerate(flags[name]) if int(value) >> i & 1]
        return value.tolist()

    tick = recording.about["first_tick"] + row
    return {"tick": tick, "what": name, "recorded": say(then), "replayed": say(here)}


def _result(recording: Recording, ticks: int, difference: dict | None) -> dict[str, Any]:
    return {
        "recording": str(recording.path),
        "reason": recording.about["reason"],
        "ticks": ticks,
        "identical": difference is None,
        "difference": difference,
    }
