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
from agents.deployment.realtime.recorder import FLOAT32, FORMAT, MAX_ROWS, MISSING, UNUSABLE
from agents.runs.bounds import shown
from agents.runs.config import ConfigError, PlannerOverrides
from agents.runs.settings import flatten, overlay
from agents.storage import manifest, sealed
from agents.storage import npy as npy_files
from agents.storage.files import CheckpointError

ABOUT = "recording.json"
MAX_COLUMN = 1 << 32
_NAME = re.compile(r"(columns|state)/\w{1,64}\.npy")
LISTED = manifest.Kind(
    lambda name: sealed.MOST_TEXT if name == ABOUT else MAX_COLUMN * bool(_NAME.fullmatch(name)),
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
        if not 0 <= ticks <= MAX_ROWS:
            raise RecordingError(f"{path}: {ticks} ticks, expected at most {MAX_ROWS}")
        state = about["state"] | _arrays(path, "state")
        columns = _arrays(path, "columns")
        row = recorder.row_type(columns["obs"].shape[1], columns["action"].shape[1])
    except (OSError, ValueError, KeyError, TypeError, IndexError, OverflowError) as error:
        raise RecordingError(f"{path} cannot be read: {error!r}") from None
    for name, (kind, *_) in (row.fields or {}).items():
        found, shape = columns.get(name), (ticks, *kind.shape)
        if found is None or (found.dtype, found.shape) != (kind.base, shape):
            raise RecordingError(
                f"{path}: columns/{name}.npy is missing or not {kind.base} {shape}"
            )
    return Recording(path, about, {name: columns[name] for name in row.fields or ()}, state)


def _arrays(path: Path, folder: str) -> dict[str, np.ndarray]:
    """The arrays of a folder of a verified recording. Raises ValueError naming the file."""
    arrays = {}
    for file in sorted((path / folder).glob("*.npy")):
        name = f"{folder}/{file.name}"
        try:
            arrays[file.stem] = npy_files.array(sealed.read(path, name, MAX_COLUMN))
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
        settings = {
            "mode": about["mode"],
            "deadline_ms": about["deadline_ms"],
            "planner": PlannerOverrides(**about["planner"]),
            "safety": overlay(SafetyConfig(), flatten(SafetyConfig, about["safety"], "safety")),
        }
        known = frozenset(about.get("faults", FAULTS[: FAULTS.index("no_plan")]))
        params = about["params_digest"]
    except (KeyError, TypeError, ValueError) as error:
        raise RecordingError(f"{recording.path}/recording.json cannot be used: {error}") from None
    made = Controller.load(path, **settings, trust=trust, digest=digest)
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
    ticks = len(recording.columns["now"])
    differences = (_replayed(recording, row, controller) for row in range(ticks))
    difference = next(filter(None, differences), None) or _last_command(
        recording, ticks, controller
    )
    return {
        "recording": str(recording.path),
        "reason": recording.about["reason"],
        "ticks": ticks,
        "identical": difference is None,
        "difference": difference,
    }


def _replayed(recording: Recording, row: int, controller: Controller) -> dict[str, Any] | None:
    """Do a tick again; how it differs, None if it does not."""
    then = {name: column[row] for name, column in recording.columns.items()}
    if then["reset_seed"] >= 0:
        controller.reset(int(then["reset_seed"]))
    obs = then["obs"].astype(np.float32) if then["kind"] == FLOAT32 else then["obs"]
    if then["kind"] in (MISSING, UNUSABLE):
        obs = None
    stamp = None if np.isnan(then["stamp"]) else float(then["stamp"])
    sequence = None if then["sequence"] < 0 else int(then["sequence"])
    now, work = float(then["now"]), int(then["work"])
    action = controller.act(obs, stamp, sequence, now=now, work=work)
    assert controller.last is not None
    given = recorder.answer(controller.last, action)
    if then["kind"] == UNUSABLE:  # it was not kept, so the fault has another name
        given["faults"] = then["faults"]
    for name, value in given.items():
        here = np.asarray(value, then[name].dtype)
        if then[name].tobytes() != here.tobytes():
            return _difference(recording, row, name, *(_words(name, x) for x in (then[name], here)))
    return None


def _last_command(recording: Recording, ticks: int, controller: Controller) -> dict | None:
    """How the command that ended the run differs from what would end it now; None if it does not.

    A recording of a fault in the middle of a run has none.
    """
    then, here = recording.about.get("last_command") or {}, controller.guard.safe.tolist()
    if not then or then.get("action") == here:
        return None
    return _difference(recording, ticks, "last_command", then.get("action"), here)


def _difference(recording: Recording, row: int, what: str, then: Any, here: Any) -> dict[str, Any]:
    tick = recording.about["first_tick"] + row
    return {"tick": tick, "what": what, "recorded": then, "replayed": here}


def _words(name: str, value: np.ndarray) -> Any:
    """A value of a row for people."""
    names = {"source": recorder.SOURCES, "state": recorder.STATES}
    flags = {"faults": FAULTS, "interventions": INTERVENTIONS}
    if name in names:
        return names[name][int(value)]
    if name in flags:
        return [kind for i, kind in enumerate(flags[name]) if int(value) >> i & 1]
    return value.tolist()
