"""`inspect`: everything that is looked at of a trained model, in one dict and one page."""

import json
import os
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from agents.data.dataset import Dataset
from agents.goals.held_out import unlearned
from agents.inspection import decoder as inspect_decoder
from agents.inspection import model as inspect_model
from agents.inspection import probes as inspect_probes
from agents.inspection import rollout as inspect_rollout
from agents.inspection import surprise as inspect_events
from agents.inspection.config import InspectConfig
from agents.inspection.model import Viewed, rows_of
from agents.inspection.report import page
from agents.runs.config import ConfigError
from agents.runs.directory import plain
from agents.runs.pretrain_config import is_pretrained
from agents.runs.versions import installed
from agents.storage.files import made_directory, own_directory, write_atomically
from envs.spec import EnvError, EnvSpec

Told = Callable[[str, int, int], None]


def inspect(config: InspectConfig, told: Told = lambda *_: None) -> dict[str, Any]:
    """Look into a run, write inspect.html and inspect.json, and return what the latter holds.

    Raises ConfigError, CheckpointError, EnvError, StorageError.
    """
    out = output_of(config)
    model, dataset, about = open_run(config, out, told)
    result, pictures = examine(model, dataset, config, told)
    result = {**about, **result, "versions": installed()}
    write_atomically(out / "inspect.json", json.dumps(plain(result), indent=1).encode() + b"\n")
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
    config: InspectConfig, out: Path, told: Told
) -> tuple[Viewed, Dataset, dict[str, Any]]:
    """The model, a dataset to examine it on, and what both are."""
    if is_pretrained(config.path):
        from agents.runs.load_pretrained import load as load_jepa

        run = load_jepa(config.path)
        model, spec = inspect_model.view_jepa(run.net, run.params), run.spec
        learned = run.config.data
        path, objective = config.data or learned, run.config.objective
    else:
        from agents.runs.load import load

        trained = load(config.path)
        model, spec = inspect_model.view_reward(trained.net, trained.params), trained.spec
        learned = ""  # its episodes were never recorded
        path, objective = config.data or _recorded(config, spec, out, told), "reward"
        run = trained
    dataset = Dataset.open(path)
    if spec is not None and (found := spec.difference(dataset.spec)):
        raise ConfigError(
            f"{path} ({dataset.spec.env_id}) does not fit {config.path}, which differs in "
            f"{'; '.join(found)}: give --data of the same task"
        )
    inspect_model.require_frames(model, dataset)
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


def _recorded(config: InspectConfig, spec: EnvSpec, out: Path, told: Told) -> str:
    """Episodes of the run itself, exploring, with some random decisions."""
    from agents.data.collect import collect
    from agents.data.config import CollectConfig

    path = str(out / "data")
    collect(
        CollectConfig(
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
        ),
        told,
    )
    return path


def examine(
    model: Viewed, dataset: Dataset, config: InspectConfig, told: Told = lambda *_: None
) -> tuple[dict[str, Any], np.ndarray | None]:
    """All figures, and the decoder's pictures (None without)."""
    os.environ.setdefault("LP_NUM_THREADS", "0")  # Mesa's own threads only wait for each other
    parts, given = _parts(model, dataset, config), (model, dataset, config)
    _, names = inspect_probes.targets_of(np.asarray(dataset.arrays["state"]), dataset.info.state)
    stages = {
        "probes": lambda: inspect_probes.probe(parts, names, config.seed),
        "open loop": lambda: inspect_rollout.open_loop(*given),
        "geometry": lambda: inspect_rollout.geometry(parts[2].latent, *given),
        "counterfactuals": lambda: _simulated(inspect_rollout.counterfactuals, *given),
        "events": lambda: _simulated(inspect_events.violations, *given),
        "decoder": lambda: inspect_decoder.look(*given),
    }
    result, seconds = {}, {}
    for name, work in stages.items():
        told(name, 0, 1)
        began = time.perf_counter()
        result[name.replace(" ", "_")] = work()
        seconds[name] = time.perf_counter() - began
        told(name, 1, 1)
    pictures = result["decoder"].pop("clips", None)
    settings = {k: v for k, v in asdict(config).items() if k not in ("path", "out", "data")}
    return {**result, "seconds": seconds, "settings": settings}, pictures


def _simulated(work: Callable[..., Any], model: Viewed, dataset: Dataset, *given: Any) -> Any:
    """What a stage in the simulator gives, or a note why there is none (no physics, no OpenGL)."""
    if "physics" not in dataset.arrays:
        return {"note": "the dataset has no physics: its task has no native simulator"}
    try:
        return work(model, dataset, *given)
    except EnvError as error:
        return {"note": str(error)}


def _parts(model: Viewed, dataset: Dataset, config: InspectConfig) -> list[inspect_probes.Part]:
    """Latents, targets and episodes of the three splits."""
    targets, _ = inspect_probes.targets_of(np.asarray(dataset.arrays["state"]), dataset.info.state)
    parts = []
    for split, most in (("train", 1.0), ("validation", 0.5), ("test", 0.5)):
        row, owner = rows_of(dataset, split, model, int(config.rows * most), config.seed)
        latent = model.embeddings(dataset.arrays[model.field], row)
        if not np.isfinite(latent).all():
            raise ConfigError(f"{config.path}: latents of split {split} are not finite")
        parts.append(inspect_probes.Part(latent.astype(np.float64), targets[row], owner))
    return parts
