"""`bench --shift`: success in worlds that the model was not trained in, and whether it notices.

Each kind of shift (mass, friction, delay, ...) is tried alone at several levels, on the same
held-out goals. Surprise, the error of the model's own predictions, is compared with that in the
usual world: an alarm is worth having where it rises before or as success falls.
"""

import json
import time
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from typing import Any

import numpy as np

from agents.evaluation import stats
from agents.evaluation.evaluate import output_directory
from agents.goals.evaluate import (
    Actor,
    actor_for,
    scales,
    source_of,
    success_summary,
    task_spec,
)
from agents.goals.held_out import held_out, recorded_seeds
from agents.goals.model import goal_model, load_goal_heads
from agents.goals.robustness.config import OF_SIGHT, ShiftConfig
from agents.goals.robustness.report import write_shift_html
from agents.goals.rollout import ObservationSource, disturbed, picture_source, run_goals
from agents.goals.surprise import Log, surprises
from agents.runs import load_pretrained as jepa_load
from agents.runs.directory import plain
from agents.runs.load_pretrained import JepaTrained
from agents.runs.versions import installed
from agents.storage.files import write_atomically
from agents.training.randomize import parse_ranges
from envs.native.shift import Shift, shift_looks
from envs.registry import make_vec
from envs.spec import EnvSpec
from envs.tasks import native_task

FLAGGED = 0.95
"""Quantile of surprise in the usual world above which an episode is flagged."""
Row = dict[str, Any]


def bench_shift(config: ShiftConfig, say: Callable[[str], None] = lambda line: None) -> Row:
    """Success and surprise in every world; JSON-ready.

    Raises ConfigError, CheckpointError, EnvError.
    """
    out = output_directory(config.out) if config.out else None
    trained = jepa_load.load(config.path)
    spec = task_spec(trained)
    worlds = config.worlds(trained.net.config.pixels, ends_of(spec.env_id))
    actor = actor_for(config.evaluation(), trained, spec)
    scale = scales(trained, spec, source_of(trained, spec), load_goal_heads(trained))["scale"]
    began, rows = time.perf_counter(), []
    usual = np.zeros(0)
    for kind, level in [("", 0.0), *worlds]:
        row, found = _world(config, trained, spec, actor, scale, kind, level)
        usual = usual if kind else found
        row |= _noticed(usual, found)
        rows.append(row)
        say(
            f"{row['shift'] or 'as trained'}: success {row['success']:.3f}, "
            f"surprise {row['surprise']:.3g}, AUROC {row['auroc']:.3f}"
        )
    summary = {
        "env_id": spec.env_id,
        "checkpoint": str(trained.path),
        "mode": config.mode,
        "goals": config.goals,
        "worlds": rows,
        "drop_surprise_rank": drop_rank(rows),
        "wall_s": time.perf_counter() - began,
        "settings": asdict(config),
        "versions": installed(),
    }
    if out:
        write_atomically(
            out.path / "shift.json", json.dumps(plain(summary), indent=2).encode() + b"\n"
        )
        write_shift_html(out.path / "shift.html", summary)
    return summary


def ends_of(env_id: str) -> dict[str, tuple[float, ...]]:
    """Both ends of each range that the task's class names, but for the usual world's value."""
    task = native_task(env_id)
    ranges = parse_ranges(task.randomize if task else "")
    return {kind: tuple(sorted({*ends} - {getattr(Shift, kind)})) for kind, ends in ranges.items()}


def _world(
    config: ShiftConfig,
    trained: JepaTrained,
    spec: EnvSpec,
    actor: Actor,
    scale: Any,
    kind: str,
    level: float,
) -> tuple[Row, np.ndarray]:
    """All goals in one world: its row, and the surprise of each episode."""
    shift = Shift.parse(f"{kind}={level:g}" if kind else "")
    count, source, world = min(config.slots, config.goals), actor.source, str(shift)
    if trained.net.config.pixels and kind in OF_SIGHT:  # the simulators stay as they are
        source, world = _other_sight(trained, spec, shift, config.seed), ""
    env = make_vec(spec.env_id, count, action_repeat=spec.action_repeat, shift=world)
    log, seeds = Log(), held_out(config.evaluation(), recorded_seeds(trained))
    outcomes = run_goals(actor._replace(source=source), env, seeds, config.seed, log)
    env.close()
    by_goal = surprises(goal_model(trained.net), trained.params, scale, log)
    found = np.array([by_goal[i] for i in range(len(outcomes))])
    row = {"shift": str(shift), "kind": kind, "level": level, **success_summary(outcomes, spec)}
    return row | {"surprise": stats.mean(found)}, found


def _other_sight(trained: JepaTrained, spec: EnvSpec, shift: Shift, seed: int) -> ObservationSource:
    """Pictures as a model sees them, of a world that looks or is seen differently."""
    size, looks = trained.net.spec.frame_shape[0], partial(shift_looks, shift=shift)
    source = picture_source(spec.env_id, size, looks)
    return disturbed(source, shift.obs_noise, shift.obs_delay, seed)


def _noticed(usual: np.ndarray, found: np.ndarray) -> Row:
    """How well episodes of this world are told from those of the usual one by surprise."""
    threshold = np.nanquantile(usual, FLAGGED) if np.isfinite(usual).any() else np.nan
    known = found[np.isfinite(found)]
    return {
        "auroc": stats.auroc(found, usual),
        "flagged": float(np.mean(known > threshold)) if len(known) else float("nan"),
    }


def drop_rank(rows: list[Row]) -> float:
    """Rank correlation over worlds of lost success with surprise; NaN when nothing was lost."""
    drops = [rows[0]["success"] - row["success"] for row in rows[1:]]
    return stats.rank_correlation(drops, [row["auroc"] for row in rows[1:]])
