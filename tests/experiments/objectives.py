"""All objectives on the same data, with the same planner and the same goals: one row a run.

A row is kept in a file of its own as soon as it is measured and is never measured twice, so a
comparison that was stopped goes on where it was.
"""

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

import jax
import numpy as np

from agents.data.dataset import Dataset
from agents.goals.config import DistillConfig, GoalEvalConfig, GoalHeadsConfig
from agents.goals.distill import distill_path
from agents.goals.evaluate import evaluate_goals
from agents.inspection import probes
from agents.inspection.model import of_jepa, rows_of
from agents.pretraining.pretrain import pretrain
from agents.pretraining.pretrainer import Pretrainer
from agents.runs.bounds import Few, Settings, Total
from agents.runs.config import ConfigError
from agents.runs.directory import plain
from agents.runs.load_pretrained import load
from agents.runs.pretrain_config import PretrainConfig, preset_config
from agents.storage import encoder_file
from agents.storage.files import write_atomically
from wm.jepa.config import Objective

Preset = Literal["state", "pixels"]
BASELINE = "random"
"""Row of random actions on the same goals."""
SEED_STRIDE = 10_000
"""Between the first goals of two seeds, and between a run's seed and that of its frozen encoder."""
GUIDES = GoalHeadsConfig(updates=600, batch_size=256)
TIMED_CALLS = 4
PROBE_ROWS = {"train": 4000, "validation": 2000, "test": 2000}


@dataclass(frozen=True)
class CompareConfig(Settings):
    """Settings of a comparison; everything else is the same for all objectives."""

    data: str
    """Episodes that models learn from, are probed on, and guides too where `guide_data` is not."""
    out: str
    guide_data: str = ""
    preset: Preset = "state"
    objectives: tuple[str, ...] = get_args(Objective)
    """For state vectors `frozen` has no encoder: latents are the observed vector."""
    seeds: Few = 3
    updates: Total = 1_000
    goals: Few = 100

    @property
    def shared(self) -> dict[str, Any]:
        """The settings that rows of one table share, as stored with each."""
        names = ("data", "guide_data", "preset", "updates", "goals")
        return {name: getattr(self, name) for name in names}


def settings(config: CompareConfig, objective: str, seed: int, run: Path) -> PretrainConfig:
    """One training: small enough for minutes on one core."""
    made = preset_config(config.preset, data=config.data, run_dir=str(run), seed=seed)
    sizes: dict[str, Any] = {"latent_dim": 32, "action_block": 4}
    if config.preset == "state":  # velocity is in the observation
        sizes |= {"history": 1, "encoder_width": 128, "predictor_width": 128}
        if objective == "frozen":
            sizes["encoder"] = "identity"
    else:
        sizes |= {"history": 2, "cnn_patch": 8}
    learner = replace(made.learner, rollout=2, warmup=50, sigreg_directions=128)
    return replace(
        made,
        objective=objective,
        updates=config.updates,
        save_every=config.updates,
        model=replace(made.model, **sizes),
        learner=learner,
    )


def compare(config: CompareConfig, log: Callable[[str], None]) -> list[dict[str, Any]]:
    """Rows of all cases, those measured before included.

    Raises ConfigError, CheckpointError, EnvError, StorageError.
    """
    paths = [Path(config.out) / f"{name}-{seed}" / "row.json" for seed, name in _cases(config)]
    for path in paths:
        _check_kept(config, path)
    for data in {config.data, config.guide_data} - {""}:
        Dataset.open(data)  # mistakes come before work
    rows = []
    for (seed, objective), kept in zip(_cases(config), paths, strict=True):
        if not kept.is_file():
            log(f"{objective}, seed {seed}")
            found = _measure(config, objective, seed, kept.parent)
            row = {"objective": objective, "seed": seed, "settings": config.shared, **found}
            kept.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(kept, json.dumps(plain(row), indent=1).encode() + b"\n")
        rows.append(json.loads(kept.read_bytes()))
    return rows


def _check_kept(config: CompareConfig, path: Path) -> None:
    """Raise ConfigError for a row that was measured with other settings."""
    if not path.is_file():
        return
    stored = json.loads(path.read_bytes()).get("settings", {})
    for name, value in config.shared.items():
        if stored.get(name) != value:
            raise ConfigError(
                f"{path} was measured with {name} {stored.get(name)!r}, now {value!r}: "
                "give another --out, or the settings that it has"
            )


def _cases(config: CompareConfig) -> Iterator[tuple[int, str]]:
    for seed in range(config.seeds):
        for objective in (*config.objectives, BASELINE):
            yield seed, objective


def _measure(config: CompareConfig, objective: str, seed: int, run: Path) -> dict[str, Any]:
    """Train, learn guides, reach for goals with and without them, and probe."""
    goals = GoalEvalConfig(str(run), config.goals, seed=SEED_STRIDE * seed, floor=False)
    if objective == BASELINE:
        any_run = str(Path(config.out) / f"{config.objectives[0]}-{seed}")
        found = evaluate_goals(replace(goals, path=any_run, mode="random", goal_heads=False))
        return {"guided": _success(found), "plain": _success(found)}
    chosen = settings(config, objective, seed, run)
    if objective == "frozen" and config.preset == "pixels":
        chosen = _with_encoder(config, chosen, Path(config.out) / f"encoder-{seed}")
    trained = pretrain(chosen, json_mode=True)
    distill_path(DistillConfig(str(run), config.guide_data, replace(GUIDES, seed=seed)))
    data = Dataset.open(config.data)
    guided = evaluate_goals(goals)
    straight = evaluate_goals(replace(goals, goal_heads=False))
    return {
        "guided": _success(guided),
        "plain": _success(straight),
        "rank": trained["latent/effective_rank"],
        "rank_share": trained["latent/effective_rank_share"],
        "std": trained["latent/std_mean"],
        "openloop_relative": trained["validation/openloop_relative"],
        **probe_scores(run, data),
        "train_core_s": config.updates * _core_seconds(chosen, data),
        "num_params": trained["num_params"],
        "plan_ms": straight["plan_ms"]["p50"],
        "guided_plan_ms": guided["plan_ms"]["p50"],
    }


def _core_seconds(chosen: PretrainConfig, data: Dataset) -> float:
    """Of one update, data included and compilation not: what other work does not change much."""
    updates = (1 + TIMED_CALLS) * chosen.updates_per_call
    trainer = Pretrainer(replace(chosen, updates=updates), data)
    for calls in (1, TIMED_CALLS):
        began = time.process_time()
        for _ in range(calls):
            trainer.advance()
        jax.block_until_ready(trainer.state)
    return (time.process_time() - began) / (TIMED_CALLS * chosen.updates_per_call)


def _success(result: dict[str, Any]) -> list[int]:
    return [result["successes"], result["goals"]]


def _with_encoder(config: CompareConfig, chosen: PretrainConfig, run: Path) -> PretrainConfig:
    """Settings with an encoder of single pictures from a training of its own, other seed."""
    alone = settings(config, "lewm", chosen.seed + SEED_STRIDE, run)
    alone = replace(alone, model=replace(alone.model, history=1))
    pretrain(alone, json_mode=True)
    trained, file = load(run), run / "encoder.safetensors"
    encoder_file.save(file, trained.net.config, trained.params["encoder"])
    return replace(chosen, model=replace(chosen.model, encoder="frozen", frozen_file=str(file)))


def probe_scores(run: Path, data: Dataset) -> dict[str, float]:
    """R2 of ridge regressions on test episodes, mean over coordinates: position and velocity."""
    trained = load(run)
    model = of_jepa(trained.net, trained.params)
    values, names = probes.targets_of(np.asarray(data.arrays["state"]), data.info.state)
    scaled = (values - values.mean(0)) / np.maximum(values.std(0), 1e-9)
    parts, spread = [], None
    for split, most in PROBE_ROWS.items():
        row, owner = rows_of(data, split, model, most, 0)
        latent = model.embeddings(data.arrays[model.field], row).astype(float)
        spread = spread or (latent.mean(0), np.maximum(latent.std(0), 1e-12))
        parts.append(probes.Split((latent - spread[0]) / spread[1], scaled[row], owner))
    predicted, _ = probes.ridge(*parts)
    true = parts[2].target
    r2 = 1 - ((predicted - true) ** 2).sum(0) / ((true - true.mean(0)) ** 2).sum(0)
    kinds = [kind for _, kind in names]
    return {
        f"{kind}_r2": float(np.mean([r for r, k in zip(r2, kinds, strict=True) if k == kind]))
        for kind in ("position", "velocity")
    }
