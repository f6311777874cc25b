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

from agents.data import files as dataset_files
from agents.data import render as collect_render
from agents.data import simulate as collect_simulate
from agents.data import writer as dataset_write
from agents.data.config import CollectConfig
from agents.data.dataset import Dataset, Episode, Info, split_names
from agents.jobs.queue import JobQueue
from agents.runs.config import ConfigError
from agents.runs.directory import RunDir
from agents.runs.versions import installed
from agents.storage import sealed
from agents.storage.files import CheckpointError, StorageError, own_directory, write_atomically
from envs.cores import usable_cores
from envs.registry import make_vec
from envs.spec import EnvError

Told = Callable[[str, int, int], None]
"""(what is being done, done, of how many)"""
ELSEWHERE = ("out", "jobs")
"""Settings that do not change a dataset."""
CHUNK = 256  # pictures between two notes of what is done


def collect(config: CollectConfig, told: Told = lambda what, done, total: None) -> dict[str, Any]:
    """Make or finish the dataset of `config`; a summary of it as JSON-ready dict.

    Raises ConfigError, EnvError, StorageError, RunLockedError.
    """
    folder = Path(config.resolved_out)
    if (folder / dataset_files.MANIFEST).exists():
        return _finished(config, folder)
    if (folder / dataset_files.DATA).exists() or (folder / "config.json").exists():
        raise ConfigError(f"--out {folder} holds something else: give another")
    own_directory(folder / dataset_write.WORK)
    with RunDir(folder / dataset_write.WORK):
        _ensure_settings(config, folder)
        info, rerender = _describe(config, folder, told)
        if config.pixels and rerender:
            _render(config, folder, info, told)
        told("checking", 0, 1)
        dataset_write.finish(folder, info)
        told("checking", 1, 1)
    return summarise(Dataset.open(folder))


def settings_of(config: CollectConfig) -> dict[str, Any]:
    """What decides the content."""
    settings = {k: v for k, v in asdict(config).items() if k not in ELSEWHERE}
    return settings | {"planner": config.planner.given or None}  # None: as before there were any


def _finished(config: CollectConfig, folder: Path) -> dict[str, Any]:
    dataset = Dataset.open(folder)
    _compare(settings_of(config), dict(dataset.info.origin), folder)
    return summarise(dataset)


def _ensure_settings(config: CollectConfig, folder: Path) -> None:
    path, mine = folder / dataset_write.WORK / "settings.json", settings_of(config)
    if not path.exists():
        write_atomically(path, json.dumps(mine, indent=1).encode())
        return
    _compare(mine, sealed.read_json(path), folder)


def _compare(mine: dict[str, Any], stored: dict[str, Any], folder: Path) -> None:
    """Raise ConfigError naming the first setting that differs."""
    if not isinstance(stored, dict):
        raise CheckpointError(f"{folder}: its stored settings are no table")
    for name in mine:
        if stored.get(name) != mine[name]:
            raise ConfigError(
                f"{name} is {mine[name]!r}, but {folder} was begun with {stored.get(name)!r}: set "
                f"it back, use another --out, or delete {shlex.quote(str(folder))} to start again"
            )


def _describe(config: CollectConfig, folder: Path, told: Told) -> tuple[Info, bool]:
    """Simulate what is missing and write all arrays but pixels; also whether to render them."""
    env = make_vec(config.env_id, 1, action_repeat=config.action_repeat)
    steps = collect_simulate.episode_steps(config, env.env_spec)
    rerender = collect_simulate.simulators_of(env) is not None
    _require_space(config, folder, env, steps)
    shards = [
        range(first, min(first + config.shard, config.episodes))
        for first in range(0, config.episodes, config.shard)
    ]
    for number, episodes in enumerate(shards):
        told("simulating", episodes.start, config.episodes)
        if dataset_write.read_shard(folder, number) is None:
            rows = collect_simulate.simulate(config, episodes)
            dataset_write.write_shard(folder, number, rows)
    told("simulating", config.episodes, config.episodes)
    lengths, invalid = dataset_write.assemble(folder, len(shards))
    changes = ()
    if rerender:
        model, fields = env.simulators.task.model, env.simulators.task.model_fields
        changes = tuple((name, getattr(model, name).shape) for name in fields)
    info = Info(
        env.env_spec,
        _episodes(config, folder, lengths, invalid),
        collect_simulate.describe_state(env),
        changes,
        settings_of(config),
        installed(),
    )
    env.close()
    return info, rerender


def _episodes(
    config: CollectConfig, folder: Path, lengths: list[int], invalid: list[bool]
) -> tuple[Episode, ...]:
    load = {
        name: np.load(folder / dataset_files.ARRAYS / f"{name}.npy", mmap_mode="r")
        for name in ("reward", "terminated")
    }
    splits = split_names(config.episodes, config.seed, config.validation, config.test)
    found, start = [], 0
    for i, length in enumerate(lengths):
        rows = slice(start, start + length + 1)
        ret = float(load["reward"][rows].sum(dtype=np.float64))
        ended = bool(load["terminated"][rows].any())
        seed = collect_simulate.episode_seed(config.seed, i)
        found.append(
            Episode(start, length, seed, splits[i], config.policy, ret, ended, bool(invalid[i]))
        )
        start = rows.stop
    return tuple(found)


def _require_space(config: CollectConfig, folder: Path, env: Any, steps: int) -> None:
    """Raise StorageError at once rather than when the disk is full."""
    rows = config.episodes * (steps + 1)
    spec = env.env_spec
    simulators = collect_simulate.simulators_of(env)
    physics = simulators.get_moments().shape[1] if simulators else 0
    small = 2 * (8 * physics + 4 * (2 * spec.obs_dim + spec.action_dim + 8))
    picture = 3 * config.size**2 if config.pixels else 0
    dataset_write.require_space(folder, rows * (small + picture))


def _render(config: CollectConfig, folder: Path, info: Info, told: Told) -> None:
    """Fill the file of pixels; OSMesa where EGL does not work and MUJOCO_GL asks for nothing."""
    last = info.episodes[-1]
    rows, arrays = last.rows.stop, folder / dataset_files.ARRAYS
    collect_render.pixel_file(arrays / "pixels.npy", rows, config.size)
    asked = os.environ.get("MUJOCO_GL", "").lower().strip()
    backends = (asked,) if asked else collect_render.BACKENDS
    for number, gl in enumerate(backends):
        error = _render_with(gl, config, folder, rows, told)
        if not error:
            return
        if "cannot use" in error:  # the disk, not OpenGL
            raise StorageError(error)
        if number + 1 == len(backends):
            raise EnvError(f"{error}; or collect with --no-pixels")


def _render_with(gl: str, config: CollectConfig, folder: Path, rows: int, told: Told) -> str:
    """Render all chunks with an OpenGL back-end; what went wrong first, or ""."""
    arrays = folder / dataset_files.ARRAYS
    points = [
        {
            "env_id": info_id(config.env_id),
            "gl": gl,
            "size": config.size,
            "start": start,
            "stop": min(start + CHUNK, rows),
            "physics": str(arrays / "physics.npy"),
            "pixels": str(arrays / "pixels.npy"),
        }
        for start in range(0, rows, CHUNK)
    ]
    done = [0]

    def on_done(key: str, point: Any, outcome: Any) -> None:
        done[0] += point["stop"] - point["start"]
        told("rendering", min(done[0], rows), rows)

    jobs = min(config.jobs or usable_cores(), len(points))
    where = folder / dataset_write.WORK / "pictures"
    with JobQueue(
        "agents.data.render:execute", where, jobs=jobs, recycle=10_000, on_done=on_done
    ) as session:
        first = session.submit(points[:1])  # does OpenGL work at all?
        done[0] = 0
        outcomes = first if first[0].error else session.submit(points)
    return next((o.error for o in outcomes if o.error), "")


def info_id(env_id: str) -> str:
    """The plain id of a native task."""
    from envs.registry import resolve

    return resolve(env_id)[1]


def summarise(dataset: Dataset) -> dict[str, Any]:
    """What a dataset holds, as a JSON-ready dict."""
    episodes = dataset.episodes
    names = ("train", "validation", "test")
    size = sum(array.nbytes for array in dataset.arrays.values())
    return {
        "dataset": str(dataset.path),
        "env_id": dataset.spec.env_id,
        "episodes": len(episodes),
        "decisions": sum(e.length for e in episodes),
        "splits": {name: len(dataset.split(name)) for name in names},
        "return_mean": float(np.mean([e.ret for e in episodes])),
        "terminated": sum(e.terminated for e in episodes),
        "invalid": sum(e.invalid for e in episodes),
        "arrays": {n: f"{a.dtype}{list(a.shape)}" for n, a in dataset.arrays.items()},
        "state": [q.name for q in dataset.info.state],
        "megabytes": size / 1e6,
    }
