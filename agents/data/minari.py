"""Datasets to and from Minari's format (extra `data`), without any network.

An export holds everything: observations as they were, pictures uncompressed, state and physics as
infos, and our data.json in the metadata, so that importing it gives the same dataset. An import
takes any local Minari dataset of flat observations and continuous actions.
"""

import importlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from agents.data import writer
from agents.data.collect import Progress, summarise
from agents.data.dataset import Dataset, DatasetError, Episode, Info, split_names
from agents.data.files import MAX_DATA
from agents.data.simulate import obs_quantities
from agents.runs.config import ConfigError
from agents.runs.versions import installed
from agents.storage import sealed
from agents.storage.files import made_directory, storage_error
from envs.registry import NAMESPACE, VERSION, make_spec, register
from envs.spec import EnvError, EnvSpec

Rows = dict[str, np.ndarray]
_KEY, _INFOS, _SHARD = "latentmpc", ("state", "physics"), 16


def export(dataset: Dataset, out: Path, progress: Progress = lambda *_: None) -> dict[str, Any]:
    """Write `out` (a new Minari dataset directory) and return a summary.

    Raises ConfigError (extra missing, `out` not empty), StorageError.
    """
    storage_of = _minari("minari.dataset.minari_storage").MinariStorage
    buffer_of = _minari("minari.data_collector").EpisodeBuffer
    _require_empty(out)
    made_directory(out)
    observation, action = _spaces(dataset)
    try:
        storage = storage_of.new(
            (out / "data").absolute(), observation, action, _env_spec(dataset), jpeg_encoding=False
        )
        storage.update_metadata(
            {
                "dataset_id": f"{dataset.path.name}-v0",
                "minari_version": _minari("minari").__version__,
                "algorithm_name": str(dataset.info.origin.get("policy", "unknown")),
                "description": "Exported by latentmpc; `latentmpc` holds its data.json.",
                _KEY: json.dumps(dataset.info.to_json()),
            }
        )
        for i, episode in enumerate(dataset.episodes):
            storage.update_episodes([buffer_of(**_to_buffer(dataset, i, episode))])
            progress("exporting", i + 1, len(dataset.episodes))
    except OSError as error:
        raise storage_error(out, error) from error
    return {"minari": str(out), "episodes": len(dataset.episodes)}


def _to_buffer(dataset: Dataset, index: int, episode: Episode) -> dict[str, Any]:
    """The fields of a Minari episode: L + 1 observations and infos, L of the rest."""
    rows = dataset.episode(index)
    taken = slice(0, episode.length)
    terminated = np.array(rows["terminated"][taken])
    truncated = np.zeros(episode.length, bool)
    truncated[-1:] = not episode.terminated
    obs: Any = np.array(rows["obs"])
    if dataset.has_pixels:
        obs = {"observation": obs, "pixels": np.array(rows["pixels"])}
    return {
        "id": index,
        "seed": episode.seed,
        "observations": obs,
        "actions": np.array(rows["action"][taken]),
        "rewards": np.array(rows["reward"][taken], np.float64),
        "terminations": terminated,
        "truncations": truncated,
        "infos": {name: np.array(rows[name]) for name in _INFOS if name in rows},
    }


def _spaces(dataset: Dataset) -> tuple[Any, Any]:
    from gymnasium import spaces

    vector = spaces.Box(-np.inf, np.inf, (dataset.spec.obs_dim,), np.float32)
    action = spaces.Box(-1, 1, (dataset.spec.action_dim,), np.float32)
    if not dataset.has_pixels:
        return vector, action
    pixels = spaces.Box(0, 255, dataset.arrays["pixels"].shape[1:], np.uint8)
    return spaces.Dict({"observation": vector, "pixels": pixels}), action


def _env_spec(dataset: Dataset) -> Any:
    """Gymnasium's spec of the environment; None where it does not know it."""
    import gymnasium

    register()
    name = dataset.spec.env_id
    for known in (f"{NAMESPACE}{name}{VERSION}", name):
        if known in gymnasium.registry:
            return gymnasium.spec(known)
    return None


def load(
    source: str, out: Path, env_id: str = "", progress: Progress = lambda *_: None
) -> dict[str, Any]:
    """Make the dataset `out` from a Minari dataset: a directory, or the id of a local one.

    `env_id` names its task where the data do not say, or say something unknown here. Raises
    ConfigError, StorageError.
    """
    minari = _minari("minari")
    _require_empty(out)
    try:
        stored = _open(minari, source)
    except (ValueError, FileNotFoundError, OSError, KeyError, AssertionError) as error:
        raise ConfigError(f"{source} is no local Minari dataset ({_line(error)})") from None
    ours = stored.storage.metadata.get(_KEY)
    try:
        old = None
        if isinstance(ours, str):
            old = Info.from_json(sealed.parse(ours.encode(), MAX_DATA))
    except (ValueError, RuntimeError) as error:
        raise DatasetError(f"{source}: {_KEY} is not of this version ({error})") from None
    spec, indices = old.spec if old else _spec_of(stored, env_id), stored.episode_indices
    starts = range(0, len(indices), _SHARD)
    for number, first in enumerate(starts):
        part = stored.iterate_episodes(indices[first : first + _SHARD])
        writer.write_shard(out, number, [_from_buffer(d, spec, stored.action_space) for d in part])
        progress("importing", min(first + _SHARD, len(indices)), len(indices))
    lengths, invalid = writer.assemble(out, len(starts))
    if old is None:
        splits, seeds = split_names(len(indices), 0, 0.1, 0.1), [0] * len(indices)
        episodes = writer.episodes(out, lengths, invalid, splits, seeds, "minari")
        state, origin = obs_quantities(spec), {"minari": source}
        old = Info(spec, episodes, state, (), origin, installed())
    writer.finish(out, old)
    return summarise(Dataset.open(out))


def _require_empty(out: Path) -> None:
    if out.exists() and any(out.iterdir()):
        raise ConfigError(f"{out} is not empty: give a new directory")


def _open(minari: Any, source: str) -> Any:
    """A Minari dataset by directory or id, never from the network."""
    for folder in (Path(source, "data"), Path(source)):
        if (folder / "metadata.json").exists():
            return minari.MinariDataset(folder)
    return minari.load_dataset(source, download=False)


def _from_buffer(data: Any, spec: EnvSpec, actions: Any) -> Rows:
    """Rows [L + 1, ...] of a Minari episode; actions in a Box `actions` are scaled to [-1, 1]."""
    low, high = actions.low, actions.high
    obs, length = data.observations, len(data.rewards)
    infos = data.infos or {}
    pixels = obs.get("pixels") if isinstance(obs, dict) else None
    vector = np.asarray(obs["observation"] if isinstance(obs, dict) else obs, np.float32)
    vector = vector.reshape(length + 1, -1)
    if vector.shape[1] != spec.obs_dim:
        raise ConfigError(
            f"its observations have {vector.shape[1]} numbers, {spec.env_id} has {spec.obs_dim}: "
            "give the task with --env-id"
        )
    unit = np.isfinite(low) & np.isfinite(high) & ((low != -1) | (high != 1))
    action = np.asarray(data.actions, np.float32).reshape(length, -1)
    scaled = 2 * (action - np.where(unit, low, 0)) / np.where(unit, high - low, 1) - 1
    rows = {
        "obs": vector,
        "action": _with_last(np.where(unit, scaled, action).astype(np.float32)),
        "reward": _with_last(np.asarray(data.rewards, np.float32)),
        "terminated": _with_last(np.asarray(data.terminations, bool)),
        "state": np.asarray(infos.get("state", vector), np.float32),
        "invalid": np.asarray(False),
    }
    if "physics" in infos:
        rows["physics"] = np.asarray(infos["physics"], np.float64)
    return rows if pixels is None else {**rows, "pixels": np.asarray(pixels, np.uint8)}


def _with_last(values: np.ndarray) -> np.ndarray:
    """One row of zeros more."""
    return np.concatenate([values, np.zeros((1, *values.shape[1:]), values.dtype)])


def _spec_of(stored: Any, env_id: str) -> EnvSpec:
    """The task of a dataset that is not ours. Raises ConfigError."""
    from gymnasium.spaces import Box

    name = env_id or (stored.spec.env_spec.id if stored.spec.env_spec else "")
    if not isinstance(stored.action_space, Box):
        raise ConfigError(f"its actions are {stored.action_space}, expected a Box")
    if not name:
        raise ConfigError("it does not say which task it is of: give --env-id")
    try:
        return make_spec(name)
    except EnvError as error:
        raise ConfigError(f"{_line(error)}; give --env-id") from None


def _line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _minari(module: str) -> Any:
    """A module of the extra `data`. Raises ConfigError with what to type without it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ConfigError(
            f"Minari exchange needs the package {error.name}, which is not installed: "
            "pip install 'latentmpc[data]'"
        ) from None
