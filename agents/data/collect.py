"""`collect`: simulate shards of episodes, assemble them, render them, seal them.

Simulation is batched and takes seconds; rendering takes the rest, from recorded physics, in
parallel processes. Every step skips what a killed run has finished and is a function of the
settings, so that the same command ends in the same bytes.
"""

import json
import os
import shlex
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from agents.data import files, render, simulate, writer
from agents.data.config import CollectConfig
from agents.data.dataset import SPLITS, Dataset, Info, split_names
from agents.jobs.queue import JobQueue
from agents.runs.config import ConfigError
from agents.runs.directory import RunDir
from agents.runs.versions import installed
from agents.storage import sealed
from agents.storage.files import CheckpointError, StorageError, own_directory, write_atomically
from envs.cores import usable_cores
from envs.registry import make_vec, resolve
from envs.spec import EnvError

Progress = Callable[[str, int, int], None]
"""(what is being done, done, of how many)"""
ELSEWHERE = ("out", "jobs")
"""Settings that do not change a dataset."""
CHUNK = 256  # pictures between two notes of what is done


def collect(config: CollectConfig, progress: Progress = lambda *_: None) -> dict[str, Any]:
    """Make or finish the dataset of `config`; a summary of it as JSON-ready dict.

    Raises ConfigError, EnvError, StorageError, RunLockedError.
    """
    folder = Path(config.resolved_out)
    if (folder / files.MANIFEST).exists():
        dataset = Dataset.open(folder)
        _check_settings(config, dict(dataset.info.origin), folder)
        return summarise(dataset)
    if (folder / files.DATA).exists() or (folder / "config.json").exists():
        raise ConfigError(f"--out {folder} holds something else: give another")
    work = own_directory(folder / writer.WORK)
    with RunDir(work):
        if (settings := work / "settings.json").exists():
            _check_settings(config, sealed.read_json(settings), folder)
        else:
            write_atomically(settings, json.dumps(settings_of(config), indent=1).encode())
        info, rerender = _simulate(config, folder, progress)
        if config.pixels and rerender:
            _render(config, folder, info.episodes[-1].rows.stop, progress)
        progress("checking", 0, 1)
        writer.finish(folder, info)
        progress("checking", 1, 1)
    return summarise(Dataset.open(folder))


def settings_of(config: CollectConfig) -> dict[str, Any]:
    """The settings that decide the content."""
    settings = {k: v for k, v in asdict(config).items() if k not in ELSEWHERE}
    return settings | {"planner": config.planner.given or None}  # None: as before there were any


def _check_settings(config: CollectConfig, stored: Any, folder: Path) -> None:
    """Raise ConfigError naming the first setting that differs from those stored."""
    if not isinstance(stored, dict):
        raise CheckpointError(f"{folder}: its stored settings are no table")
    for name, value in settings_of(config).items():
        if stored.get(name) != value:
            raise ConfigError(
                f"{name} is {value!r}, but {folder} was begun with {stored.get(name)!r}: set "
                f"it back, use another --out, or delete {shlex.quote(str(folder))} to start again"
            )


def _simulate(config: CollectConfig, folder: Path, progress: Progress) -> tuple[Info, bool]:
    """Simulate what is missing and write all arrays but pixels; also whether to render them."""
    env = make_vec(config.env_id, 1, action_repeat=config.action_repeat, endless=True)
    simulators = simulate.simulators_of(env)
    _require_space(config, folder, env)
    starts = range(0, config.episodes, config.shard)
    for number, first in enumerate(starts):
        progress("simulating", first, config.episodes)
        if writer.read_shard(folder, number) is None:
            episodes = range(first, min(first + config.shard, config.episodes))
            writer.write_shard(folder, number, simulate.simulate(config, episodes))
    progress("simulating", config.episodes, config.episodes)
    lengths, invalid = writer.assemble(folder, len(starts))
    splits = split_names(config.episodes, config.seed, config.validation, config.test)
    seeds = [simulate.episode_seed(config.seed, i) for i in range(config.episodes)]
    episodes = writer.episodes(folder, lengths, invalid, splits, seeds, config.policy)
    changes = ()
    if simulators is not None:
        task = simulators.task
        changes = tuple((name, getattr(task.model, name).shape) for name in task.model_fields)
    state, origin = simulate.describe_state(env), settings_of(config)
    env.close()
    info = Info(env.env_spec, episodes, state, changes, origin, installed())
    return info, simulators is not None


def _require_space(config: CollectConfig, folder: Path, env: Any) -> None:
    """Raise StorageError at once rather than when the disk is full."""
    spec, simulators = env.env_spec, simulate.simulators_of(env)
    rows = config.episodes * (simulate.episode_steps(config, spec) + 1)
    physics = simulators.get_moments().shape[1] if simulators else 0
    small = 2 * (8 * physics + 4 * (2 * spec.obs_dim + spec.action_dim + 8))
    picture = 3 * config.size**2 if config.pixels else 0
    writer.require_space(folder, rows * (small + picture))


def _render(config: CollectConfig, folder: Path, rows: int, progress: Progress) -> None:
    """Fill the file of pixels; OSMesa where EGL does not work and MUJOCO_GL asks for nothing."""
    render.pixel_file(folder / files.ARRAYS / "pixels.npy", rows, config.size)
    asked = os.environ.get("MUJOCO_GL", "").lower().strip()
    error = ""
    for gl in (asked,) if asked else render.BACKENDS:
        error = _render_with(gl, config, folder, rows, progress)
        if not error:
            return
        if "cannot use" in error:  # the disk, not OpenGL
            raise StorageError(error)
    raise EnvError(f"{error}; or collect with --no-pixels")


def _render_with(
    gl: str, config: CollectConfig, folder: Path, rows: int, progress: Progress
) -> str:
    """Render all chunks with an OpenGL back-end; what went wrong first, or ""."""
    arrays = folder / files.ARRAYS
    shared = {
        "env_id": resolve(config.env_id)[1],
        "gl": gl,
        "size": config.size,
        "physics": str(arrays / "physics.npy"),
        "pixels": str(arrays / "pixels.npy"),
    }
    chunks = [
        {**shared, "start": start, "stop": min(start + CHUNK, rows)}
        for start in range(0, rows, CHUNK)
    ]
    done: dict[str, int] = {}

    def on_done(key: str, chunk: Any, outcome: Any) -> None:
        done[key] = chunk["stop"] - chunk["start"]
        progress("rendering", sum(done.values()), rows)

    jobs, where = min(config.jobs or usable_cores(), len(chunks)), folder / writer.WORK / "pictures"
    with JobQueue(
        "agents.data.render:execute", where, jobs=jobs, recycle=10_000, on_done=on_done
    ) as session:
        first = session.submit(chunks[:1])  # does OpenGL work at all?
        outcomes = first if first[0].error else session.submit(chunks)
    return next((o.error for o in outcomes if o.error), "")


def summarise(dataset: Dataset) -> dict[str, Any]:
    """Contents of a dataset, as a JSON-ready dict."""
    episodes = dataset.episodes
    size = sum(array.nbytes for array in dataset.arrays.values())
    return {
        "dataset": str(dataset.path),
        "env_id": dataset.spec.env_id,
        "episodes": len(episodes),
        "decisions": sum(e.length for e in episodes),
        "splits": {name: len(dataset.split(name)) for name in SPLITS},
        "return_mean": float(np.mean([e.ret for e in episodes])),
        "terminated": sum(e.terminated for e in episodes),
        "invalid": sum(e.invalid for e in episodes),
        "arrays": {n: f"{a.dtype}{list(a.shape)}" for n, a in dataset.arrays.items()},
        "state": [q.name for q in dataset.info.state],
        "megabytes": size / 1e6,
    }
