"""Violation of expectation: is the model more surprised by what cannot happen?

Every event is made from recorded moments of test episodes, beside a control that is the same in
everything but the event: same history, same actions, same simulator. Surprise is the squared
distance between the embedding that was predicted a step ahead and the one that is then encoded; a
clip scores the largest of the steps from the event on. AUROC is the probability that an event
scores above a control; 0.5 is no better than chance.
"""

from typing import Any, NamedTuple

import numpy as np

from agents.data.dataset import Dataset
from agents.evaluation import stats
from agents.inspection.config import InspectConfig
from agents.inspection.model import InspectedModel, rows_of
from envs.native.recorded import (
    Edit,
    EditedSimulator,
    ObservationSource,
    heavier,
    hide,
    recolour,
    sideways,
)

BEFORE = 2
"""Steps of the model that are watched before the event."""
MIN_CHANGE = 1e-3
"""Of the joints' spread: an event that moves them less within a clip does not apply to a task."""
Score = dict[str, Any]
"""Of an event, or a note why there is none."""


class Clips(NamedTuple):
    """N moments at which something happens."""

    row: np.ndarray
    """[N] rows of the dataset."""
    physics: np.ndarray
    """[N, K] physics there."""
    action: np.ndarray
    """[N, W, A] recorded actions from there on."""
    before: np.ndarray
    """[N, P, ...] frames before, the last of them one decision earlier."""


class EventStage:
    """Simulators in which events are staged, and their scores, for one model and one dataset."""

    def __init__(self, model: InspectedModel, dataset: Dataset, config: InspectConfig):
        self.model, self.dataset, self.config = model, dataset, config
        self.world = EditedSimulator(dataset.spec)
        self.physics, self.frames = dataset.arrays["physics"], dataset.arrays[model.field]
        self.pixels = model.field == "pixels"
        self.size = self.frames.shape[1] if self.pixels else 0
        self.length = config.window * model.block
        self.lead = BEFORE * model.block + model.span
        state = np.asarray(self.physics[:: max(1, len(self.physics) // 4096)])
        nq, nv = self.world.model.nq, self.world.model.nv
        self.qpos, self.qvel = slice(1, 1 + nq), slice(1 + nq, 1 + nq + nv)  # after the time
        self.qpos_std = np.maximum(state[:, self.qpos].std(0), 1e-9)
        self.qvel_std = np.maximum(state[:, self.qvel].std(0), 1e-9)

    def clips(self, fast: bool = False) -> Clips:
        """Test moments; `fast`: the fastest of four times as many, at most half of all."""
        rows = self._rows(self.config.clips * (4 if fast else 1))
        if fast:
            speed = np.linalg.norm(self.physics[rows][:, self.qvel] / self.qvel_std, axis=1)
            rows = rows[
                np.sort(np.argsort(-speed)[: max(1, min(self.config.clips, len(rows) // 2))])
            ]
        action = self.dataset.arrays["action"][rows[:, None] + np.arange(self.length)]
        before = self.frames[rows[:, None] + np.arange(-self.lead, 0)]
        return Clips(rows, *map(np.asarray, (self.physics[rows], action, before)))

    def _rows(self, want: int) -> np.ndarray:
        """Test rows with enough before and behind them."""
        seed = self.config.seed
        rows, owner = rows_of(self.dataset, "test", self.model, 1 << 30, seed, self.length)
        starts = np.array([self.dataset.episodes[i].start for i in owner])
        rows = rows[rows - starts >= self.lead]
        rng = np.random.default_rng([seed, 1])
        return np.sort(rng.choice(rows, min(want, len(rows)), replace=False)) if len(rows) else rows

    def play(
        self,
        clips: Clips,
        views: ObservationSource,
        edits: list | None = None,
        world: EditedSimulator | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Frames and physics of every clip, [N, W + 1, ...], with an edit each, in a world."""
        ran = [
            (world or self.world).run(start, action, edit)
            for start, action, edit in zip(
                clips.physics, clips.action, edits or [None] * len(clips.row), strict=True
            )
        ]
        physics, obs = (np.stack(arrays) for arrays in zip(*ran, strict=True))
        return views.of(physics, obs), physics

    def score(
        self, clips: Clips, event: np.ndarray, control: np.ndarray, before: np.ndarray | None = None
    ) -> Score:
        """AUROC with its interval, and the mean surprise of every step, of event and control.

        Frames of both [N, W + 1, ...]; `before` in place of those that came before.
        """
        before = clips.before if before is None else before
        surprise = [self._surprise(before, frames, clips) for frames in (event, control)]
        tops = [values[:, BEFORE - 1 :].max(1) for values in surprise]
        low, high = stats.auroc_interval(*tops)
        means = {k: v.mean(0).tolist() for k, v in zip(("event", "control"), surprise, strict=True)}
        return {"auroc": stats.auroc(*tops), "low": low, "high": high, "clips": len(event), **means}

    def _surprise(self, before: np.ndarray, after: np.ndarray, clips: Clips) -> np.ndarray:
        """[N, BEFORE + window] squared errors one step ahead; column BEFORE - 1 is the event's."""
        model, count = self.model, len(before)
        frames = np.concatenate([before, after], axis=1)
        length, block = frames.shape[1], model.block
        flat = frames.reshape(count * length, *frames.shape[2:])
        steps = BEFORE + self.config.window
        at = model.span + block * np.arange(steps + 1)  # in the clip; the event is at `lead`
        rows = np.arange(count)[:, None] * length + at
        encoded = model.embeddings(flat, rows)
        first = clips.row[:, None] - self.lead + at[:-1]
        actions = np.asarray(self.dataset.arrays["action"][first[..., None] + np.arange(block)])
        predicted = model.rollout(
            flat, rows[:, :-1].reshape(-1), actions.reshape(count * steps, block, -1), 1
        )[:, 1]
        return np.sum((predicted.reshape(count, steps, -1) - encoded[:, 1:]) ** 2, -1)

    def teleport(self, clips: Clips) -> list[Edit]:
        """To the pose of another moment, at least the usual distance away; speeds are kept."""
        rng, total = np.random.default_rng([self.config.seed, 2]), len(self.physics)
        chosen = np.sort(rng.choice(total, min(512, total), replace=False))
        poses = np.asarray(self.physics[chosen])[:, self.qpos]
        edits: list[Edit] = []
        for start in clips.physics:
            distance = np.linalg.norm((poses - start[self.qpos]) / self.qpos_std, axis=1)
            far = np.flatnonzero(distance >= np.median(distance))
            edits.append(_set_qpos(poses[rng.choice(far)]))
        return edits


def _set_qpos(qpos: np.ndarray) -> Edit:
    def edit(data: Any) -> None:
        data.qpos[:] = qpos

    return edit


def _reverse(data: Any) -> None:
    data.qvel[:] = -data.qvel


def violations(model: InspectedModel, dataset: Dataset, config: InspectConfig) -> dict[str, Score]:
    """{event: its score, or a note why there is none}."""
    stage = EventStage(model, dataset, config)
    clips, fast = stage.clips(), stage.clips(fast=True)
    if len(clips.row) < 2:
        need = stage.lead + stage.length + 1
        return {"note": {"note": f"no test episode has {need} rows for a clip"}}
    views = ObservationSource(dataset.spec, stage.size)
    heavy, tilted = (
        EditedSimulator(dataset.spec, edit) for edit in (heavier(config.mass_factor), sideways)
    )
    found = {
        "teleport": _physical(stage, clips, views, edits=stage.teleport(clips)),
        "velocity reversal": _physical(stage, fast, views, edits=[_reverse] * len(fast.row)),
        "mass": _physical(stage, fast, views, world=heavy),
        "gravity": _physical(stage, fast, views, world=tilted),
        "vanishing": _vanishing(stage, clips, views),
        "colour (control)": _colour(stage, clips, views),
    }
    views.close()
    return found


def _physical(stage: EventStage, clips: Clips, views: ObservationSource, **event_of: Any) -> Score:
    """An event that changes the physics, beside the same clips without it."""
    control, calm = stage.play(clips, views)
    event, moved = stage.play(clips, views, **event_of)
    change = np.abs((moved - calm)[..., stage.qpos] / stage.qpos_std).max((1, 2))
    if np.median(change) < MIN_CHANGE:
        return {"note": "changes nothing that moves in this task"}
    return stage.score(clips, event, control) | {"change": float(np.median(change))}


def _colour(stage: EventStage, clips: Clips, views: ObservationSource) -> Score:
    if not stage.pixels:
        return {"note": "the model does not see colours"}
    control, _ = stage.play(clips, views)
    other = ObservationSource(stage.dataset.spec, stage.size, recolour(stage.config.colour_shift))
    event, _ = stage.play(clips, other)
    other.close()
    return stage.score(clips, event, control)


def _vanishing(stage: EventStage, clips: Clips, views: ObservationSource) -> Score:
    """A grey screen hides the object for a while; when it goes, the object is there or is not."""
    if not stage.pixels:
        return {"note": "the model does not see objects"}
    control, physics = stage.play(clips, views)
    empty = ObservationSource(stage.dataset.spec, stage.size, hide)
    event = empty.of(physics, physics)
    hidden = stage.model.block * (1 + stage.model.span // stage.model.block)
    past = np.asarray(stage.physics[clips.row[:, None] + np.arange(-hidden, 0)])
    shown, gone = views.of(past, past), empty.of(past, past)
    empty.close()
    before = clips.before.copy()
    differs = np.concatenate([(shown != gone), (control != event)[:, :1]], 1)
    where: np.ndarray = np.max(differs, axis=(1, -1))  # [N, H, W]
    for picture, mask in zip(before[:, -hidden:], where, strict=True):
        y, x = np.nonzero(mask)
        if len(y):
            picture[:, max(y.min() - 1, 0) : y.max() + 2, max(x.min() - 1, 0) : x.max() + 2] = 128
    if np.max(where, axis=(1, 2)).mean() < 0.5:
        return {"note": "the object is too small to be seen in the pictures"}
    return stage.score(clips, event, control, before)
