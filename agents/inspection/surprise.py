"""Violation of expectation: is the model more surprised by what cannot happen?

Every event is made from recorded moments of test episodes, beside a control that is the same in
everything but the event: same history, same actions, same simulator. Surprise is the squared
distance between the embedding that was predicted a step ahead and the one that is then encoded; a
clip scores the largest of the steps from the event on. AUROC is the probability that an event
scores above a control; 0.5 is no better than chance.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from agents.data.dataset import Dataset
from agents.evaluation import stats
from agents.inspection.config import InspectConfig
from agents.inspection.model import Viewed, rows_of
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


class Clips(NamedTuple):
    """N moments at which something happens."""

    row: np.ndarray
    """[N] rows of the dataset."""
    moment: np.ndarray
    """[N, K] physics there."""
    action: np.ndarray
    """[N, W, A] recorded actions from there on."""
    before: np.ndarray
    """[N, P, ...] frames before, the last of them one decision earlier."""


class Timeline(NamedTuple):
    """Frames of clips from the event on, for an event and its control, [N, W + 1, ...] each."""

    event: np.ndarray
    control: np.ndarray
    before: np.ndarray


class Studio:
    """Where events are staged for one model and one dataset."""

    def __init__(self, model: Viewed, dataset: Dataset, config: InspectConfig):
        self.model, self.dataset, self.config = model, dataset, config
        self.world = EditedSimulator(dataset.spec)
        self.pixels = model.field == "pixels"
        self.size = dataset.arrays["pixels"].shape[1] if self.pixels else 0
        self.length = config.window * model.block
        self.lead = BEFORE * model.block + model.span
        state = np.asarray(
            dataset.arrays["physics"][:: max(1, len(dataset.arrays["physics"]) // 4096)]
        )
        nq, nv = self.world.model.nq, self.world.model.nv
        self.qpos, self.qvel = slice(1, 1 + nq), slice(1 + nq, 1 + nq + nv)  # after the time
        self.qpos_std = np.maximum(state[:, self.qpos].std(0), 1e-9)
        self.qvel_std = np.maximum(state[:, self.qvel].std(0), 1e-9)

    def clips(self, fast: bool = False) -> Clips:
        """Test moments; `fast`: the fastest of four times as many, at most half of all."""
        want = self.config.clips * (4 if fast else 1)
        model, rows = self.model, self._rows(want)
        physics = np.asarray(self.dataset.arrays["physics"][rows])
        if fast:
            speed = np.linalg.norm(physics[:, self.qvel] / self.qvel_std, axis=1)
            keep = np.sort(np.argsort(-speed)[: max(1, min(self.config.clips, len(rows) // 2))])
            rows, physics = rows[keep], physics[keep]
        ahead = rows[:, None] + np.arange(self.length)
        behind = rows[:, None] + np.arange(-self.lead, 0)
        frames = self.dataset.arrays[model.field]
        action = np.asarray(self.dataset.arrays["action"][ahead])
        return Clips(rows, physics, action, np.asarray(frames[behind]))

    def _rows(self, want: int) -> np.ndarray:
        """Test rows with enough before and behind them."""
        after, seed = self.length, self.config.seed
        rows, owner = rows_of(self.dataset, "test", self.model, 1 << 30, seed, after)
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
        """Frames and moments of every clip, [N, W + 1, ...], with an edit each, in a world."""
        moments, obs, world = [], [], world or self.world
        for number, (moment, action) in enumerate(zip(clips.moment, clips.action, strict=True)):
            ran = world.run(moment, action, edits[number] if edits else None)
            moments.append(ran[0])
            obs.append(ran[1])
        return views.of(np.stack(moments), np.stack(obs)), np.stack(moments)

    def score(self, clips: Clips, line: Timeline) -> dict[str, Any]:
        """AUROC with its interval, and the mean surprise of every step, of both kinds."""
        event = self._surprise(line.before, line.event, clips)
        control = self._surprise(line.before, line.control, clips)
        tops = event[:, BEFORE - 1 :].max(1), control[:, BEFORE - 1 :].max(1)
        low, high = stats.auroc_interval(*tops)
        return {
            "auroc": stats.auroc(*tops),
            "low": low,
            "high": high,
            "clips": len(event),
            "event": event.mean(0).tolist(),
            "control": control.mean(0).tolist(),
        }

    def _surprise(self, before: np.ndarray, after: np.ndarray, clips: Clips) -> np.ndarray:
        """[N, BEFORE + window] squared errors one step ahead; column BEFORE - 1 is the event's."""
        model, count = self.model, len(before)
        frames = np.concatenate([before, after], axis=1)
        length, block = frames.shape[1], model.block
        flat = frames.reshape(count * length, *frames.shape[2:])
        steps = BEFORE + self.config.window
        at = model.span + block * np.arange(steps + 1)  # in the clip; the event is at `lead`
        rows = np.arange(count)[:, None] * length + at
        seen = model.embeddings(flat, rows)
        first = clips.row[:, None] - self.lead + at[:-1]
        taken = first[..., None] + np.arange(block)
        actions = np.asarray(self.dataset.arrays["action"][taken])  # [N, steps, block, A]
        told = model.rollout(
            flat, rows[:, :-1].reshape(-1), actions.reshape(count * steps, block, -1), 1
        )[:, 1]
        return np.sum((told.reshape(count, steps, -1) - seen[:, 1:]) ** 2, -1)

    def teleport(self, clips: Clips) -> list[Edit]:
        """To the pose of another moment, at least the usual distance away; speeds are kept."""
        physics = self.dataset.arrays["physics"]
        rng = np.random.default_rng([self.config.seed, 2])
        pool = np.asarray(physics[np.sort(rng.choice(len(physics), min(512, len(physics)), False))])
        edits: list[Edit] = []
        for moment in clips.moment:
            gap = (pool[:, self.qpos] - moment[self.qpos]) / self.qpos_std
            distance = np.linalg.norm(gap, axis=1)
            far = np.flatnonzero(distance >= np.median(distance))
            edits.append(_set_qpos(pool[rng.choice(far), self.qpos]))
        return edits


def _set_qpos(qpos: np.ndarray) -> Edit:
    def edit(data: Any) -> None:
        data.qpos[:] = qpos

    return edit


def _reverse(data: Any) -> None:
    data.qvel[:] = -data.qvel


def violations(
    model: Viewed,
    dataset: Dataset,
    config: InspectConfig,
    told: Callable[[str, int, int], None] = lambda *_: None,
) -> dict[str, dict[str, Any]]:
    """{event: its score, or a note why there is none}."""
    studio = Studio(model, dataset, config)
    clips, fast = studio.clips(), studio.clips(fast=True)
    if len(clips.row) < 2:
        need = studio.lead + studio.length + 1
        return {"note": {"note": f"no test episode has {need} rows for a clip"}}
    views = ObservationSource(dataset.spec, studio.size)
    stages = {
        "teleport": lambda: _physical(studio, clips, views, edits=studio.teleport(clips)),
        "velocity reversal": lambda: _physical(
            studio, fast, views, edits=[_reverse] * len(fast.row)
        ),
        "mass": lambda: _physical(
            studio, fast, views, world=EditedSimulator(dataset.spec, heavier(config.mass_factor))
        ),
        "gravity": lambda: _physical(
            studio, fast, views, world=EditedSimulator(dataset.spec, sideways)
        ),
        "vanishing": lambda: _vanishing(studio, clips, views),
        "colour (control)": lambda: _colour(studio, clips, views),
    }
    found = {}
    for number, (name, stage) in enumerate(stages.items()):
        found[name] = stage()
        told("events", number + 1, len(stages))
    views.close()
    return found


def _physical(
    studio: Studio, clips: Clips, views: ObservationSource, **event_of: Any
) -> dict[str, Any]:
    """An event that changes the physics, beside the same clips without it."""
    control, calm = studio.play(clips, views)
    event, moved = studio.play(clips, views, **event_of)
    change = np.abs((moved - calm)[..., studio.qpos] / studio.qpos_std).max((1, 2))
    if np.median(change) < MIN_CHANGE:
        return {"note": "changes nothing that moves in this task"}
    line = Timeline(event, control, clips.before)
    return studio.score(clips, line) | {"change": float(np.median(change))}


def _colour(studio: Studio, clips: Clips, views: ObservationSource) -> dict[str, Any]:
    if not studio.pixels:
        return {"note": "the model does not see colours"}
    control, _ = studio.play(clips, views)
    other = ObservationSource(
        studio.dataset.spec, studio.size, recolour(studio.config.colour_shift)
    )
    event, _ = studio.play(clips, other)
    other.close()
    return studio.score(clips, Timeline(event, control, clips.before))


def _vanishing(studio: Studio, clips: Clips, views: ObservationSource) -> dict[str, Any]:
    """A grey screen hides the object for a while; when it goes, the object is there or is not."""
    if not studio.pixels:
        return {"note": "the model does not see objects"}
    control, moments = studio.play(clips, views)
    empty = ObservationSource(studio.dataset.spec, studio.size, hide)
    event = empty.of(moments, moments)
    hidden = studio.model.block * (1 + studio.model.span // studio.model.block)
    rows = clips.row[:, None] + np.arange(-hidden, 0)
    past = np.asarray(studio.dataset.arrays["physics"][rows])
    shown, gone = views.of(past, past), empty.of(past, past)
    empty.close()
    before = clips.before.copy()
    tail = before[:, -hidden:]
    differs = np.concatenate([(shown != gone), (control != event)[:, :1]], 1)
    everywhere: np.ndarray = np.max(differs, axis=(1, -1))  # [N, H, W]
    for picture, mask in zip(tail, everywhere, strict=True):
        y, x = np.nonzero(mask)
        if len(y):
            picture[:, max(y.min() - 1, 0) : y.max() + 2, max(x.min() - 1, 0) : x.max() + 2] = 128
    if np.max(everywhere, axis=(1, 2)).mean() < 0.5:
        return {"note": "the object is too small to be seen in the pictures"}
    return studio.score(clips, Timeline(event, control, before))
