"""`inspect`: all figures of a trained model's latents, in one dict and one page."""

import os
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from agents.data.dataset import Dataset
from agents.evaluation.stored_task import settle
from agents.goals.held_out import unlearned
from agents.inspection import decoder, probes, rollout, surprise
from agents.inspection import model as inspected
from agents.inspection.config import InspectConfig
from agents.inspection.model import InspectedModel
from agents.inspection.report import page
from agents.runs import load, load_pretrained
from agents.runs.config import ConfigError
from agents.runs.directory import RunDir, plain
from agents.runs.pretrain_config import is_pretrained
from agents.runs.versions import installed
from agents.storage.files import made_directory, own_directory
from envs.spec import EnvError, EnvSpec

Progress = Callable[[str, int, int], None]
"""Gets a stage, how much of it is done, and of how much."""


def inspect(config: InspectConfig, progress: Progress = lambda *_: None) -> dict[str, Any]:
    """Look into a run, write inspect.html and inspect.json, and return what the latter holds.

    Raises ConfigError, CheckpointError, EnvError, StorageError.
    """
    out = output_of(config)
    model, dataset, about = open_run(config, out, progress)
    result, pictures = examine(model, dataset, config, progress)
    result = {**about, **result, "versions": installed()}
    RunDir(out).write_json("inspect.json", result)
    page(plain(result), pictures).write(out / "inspect.html")
    return {**result, "report": str(out / "inspect.html")}


def output_of(config: InspectConfig) -> Path:
    """The directory to write into, made. Raises StorageError, CheckpointError (a run's link)."""
    if config.out:
        return made_directory(Path(config.out))
    run = Path(config.path)
    run = run.parent.parent if run.parent.name == "checkpoints" else run
    return own_directory(run / "inspect")


def open_run(
    config: InspectConfig, out: Path, progress: Progress
) -> tuple[InspectedModel, Dataset, dict[str, Any]]:
    """The model, a dataset to examine it on, and what both are."""
    if is_pretrained(config.path):
        run = load_pretrained.load(config.path)
        model = inspected.of_jepa(run.net, run.params)
        learned, objective = run.config.data, run.config.objective
        path = config.data or learned
    else:
        run = load.load(config.path)
        settle(run.path, run.spec.env_id)
        model = inspected.of_tdmpc(run.net, run.params)
        learned, objective = "", "reward"  # its episodes were never recorded
        path = config.data or _recorded(config, run.spec, out, progress)
    dataset = Dataset.open(path)
    if run.spec is not None and (found := run.spec.difference(dataset.spec)):
        raise ConfigError(
            f"{path} ({dataset.spec.env_id}) does not fit {config.path}, which differs in "
            f"{'; '.join(found)}: give --data of the same task"
        )
    inspected.require_frames(model, dataset)
    if config.data and learned:
        dataset = unlearned(dataset, learned)
    about = {
        "run": config.path,
        "checkpoint": str(run.path),
        "kind": model.kind,
        "objective": objective,
        "env_id": dataset.spec.env_id,
        "dataset": str(path),
        "sees": model.field,
        "history": model.history,
        "action_block": model.block,
        "test_episodes": len(dataset.split("test")),
    }
    return model, dataset, about


def _recorded(config: InspectConfig, spec: EnvSpec, out: Path, progress: Progress) -> str:
    """Episodes of the run itself, exploring, with some random decisions."""
    from agents.data.collect import collect
    from agents.data.config import CollectConfig

    path = str(out / "data")
    settings = CollectConfig(
        spec.env_id,
        path,
        config.record_episodes,
        "checkpoint",
        checkpoint=config.path,
        action_repeat=spec.action_repeat,
        epsilon=0.1,
        seed=config.seed,
        pixels=False,
        validation=0.2,
        test=0.3,
        planner=config.planner,
    )
    collect(settings, progress)
    return path


def examine(
    model: InspectedModel,
    dataset: Dataset,
    config: InspectConfig,
    progress: Progress = lambda *_: None,
) -> tuple[dict[str, Any], np.ndarray | None]:
    """All figures, and the decoder's pictures (None without)."""
    os.environ.setdefault("LP_NUM_THREADS", "0")  # Mesa's own threads only wait for each other
    splits, names = _splits(model, dataset, config)
    given = model, dataset, config
    stages = {
        "probes": lambda: probes.probe(splits, names, config.seed),
        "open loop": lambda: rollout.open_loop(*given),
        "geometry": lambda: rollout.geometry(splits[2].latent, *given),
        "counterfactuals": lambda: _simulated(rollout.counterfactuals, *given),
        "events": lambda: _simulated(surprise.violations, *given),
        "decoder": lambda: decoder.decoded(*given),
    }
    result, seconds = {}, {}
    for name, work in stages.items():
        progress(name, 0, 1)
        began = time.perf_counter()
        result[name.replace(" ", "_")] = work()
        seconds[name] = time.perf_counter() - began
        progress(name, 1, 1)
    pictures = result["decoder"].pop("clips", None)
    settings = {k: v for k, v in asdict(config).items() if k not in ("path", "out", "data")}
    return {**result, "seconds": seconds, "settings": settings}, pictures


def _simulated(work: Callable[..., Any], model: Any, dataset: Dataset, config: Any) -> Any:
    """Result of a stage in the simulator, or a note why there is none (no physics, no OpenGL)."""
    if "physics" not in dataset.arrays:
        return {"note": "the dataset has no physics: its task has no native simulator"}
    try:
        return work(model, dataset, config)
    except EnvError as error:
        return {"note": str(error)}


def _splits(
    model: InspectedModel, dataset: Dataset, config: InspectConfig
) -> tuple[list[probes.Split], list]:
    """Latents, targets and episodes of the three splits; names and kinds of the targets."""
    state = np.asarray(dataset.arrays["state"])
    targets, names = probes.targets_of(state, dataset.info.state)
    splits = []
    for split, share in (("train", 1.0), ("validation", 0.5), ("test", 0.5)):
        count = int(config.rows * share)
        row, owner = inspected.rows_of(dataset, split, model, count, config.seed)
        latent = model.embeddings(dataset.arrays[model.field], row)
        if not np.isfinite(latent).all():
            raise ConfigError(f"{config.path}: latents of split {split} are not finite")
        splits.append(probes.Split(latent.astype(np.float64), targets[row], owner))
    return splits, names
