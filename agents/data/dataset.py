"""Recorded episodes on disk, memory-mapped: the one format that offline learning reads.

Rows of all episodes lie one after the other. An episode of L decisions has L + 1 rows: row t is
the moment before decision t, `action[t]`, `reward[t]`, `terminated[t]` belong to the decision taken
there; in the last row, where none is taken, they are zero. Every field is in
docs/reference/dataset.md.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, get_args

import msgspec
import numpy as np

from agents.data import files as files
from agents.data.files import DatasetError as DatasetError
from agents.runs.config import ConfigError
from agents.storage import npy as npy_files
from agents.storage import sealed
from agents.storage.manifest import Entry
from envs.spec import EnvSpec

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)
ROW_FIELDS = ("obs", "action", "reward", "terminated", "state")
"""Arrays of every dataset; `pixels` and `physics` are there when they were recorded."""


@dataclass(frozen=True)
class Quantity:
    """A dimension of `state`: its name and kind.

    Kinds: position (metres), angle (radians), velocity, quaternion, contact (0 or 1), achieved
    (a goal task's own quantities), extra, and obs where the simulator tells nothing else.
    """

    name: str
    kind: str


@dataclass(frozen=True)
class Episode:
    """One episode: its rows are [start, start + length], both ends included.

    Attributes:
        start: first row.
        length: decisions L.
        seed: of the simulator's first state.
        split: train, validation or test.
        policy: what chose the actions.
        ret: sum of rewards.
        terminated: whether the task ended it (otherwise the clock did).
        invalid: whether the physics broke down; that last decision is cut off.
    """

    start: int
    length: int
    seed: int
    split: str
    policy: str
    ret: float
    terminated: bool
    invalid: bool

    @property
    def rows(self) -> slice:
        """The L + 1 rows."""
        return slice(self.start, self.start + self.length + 1)


@dataclass(frozen=True)
class Info:
    """Content of data.json.

    Attributes:
        spec: of the environment, `control_dt` and `action_repeat` included.
        episodes: all of them, in the order of their rows.
        state: name and kind of each dimension of `state`.
        changes: (name, shape) of the model fields that `physics` rows hold after the simulator's
            integration state, as `Simulators.get_moments` packs them.
        origin: settings of the collection, or where it was imported from.
        versions: of the software that made it.
    """

    spec: EnvSpec
    episodes: tuple[Episode, ...]
    state: tuple[Quantity, ...]
    changes: tuple[tuple[str, tuple[int, ...]], ...]
    origin: Mapping[str, Any]
    versions: Mapping[str, str]

    def to_json(self) -> dict[str, Any]:
        """As `json.dumps` accepts it."""
        about = {"format": files.FORMAT, "env_id": self.spec.env_id}
        return {**about, **asdict(self), "spec": self.spec.to_json()}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Info":
        """The inverse of `to_json`. Raises EnvError or ValueError for anything else."""
        found = msgspec.convert(data, _Stored)
        if found.format != files.FORMAT:
            raise ValueError(f"format {found.format!r}, expected {files.FORMAT}")
        start = 0
        for episode in found.episodes:
            if episode.start != start or episode.length < 0:
                raise ValueError(f"an episode at row {episode.start}, expected {start}")
            start = episode.rows.stop
        spec = EnvSpec.from_json(found.spec)
        return cls(spec, found.episodes, found.state, found.changes, found.origin, found.versions)


class _Stored(msgspec.Struct):
    """data.json as it is typed."""

    format: Any
    spec: dict[str, Any]
    episodes: tuple[Episode, ...]
    state: tuple[Quantity, ...]
    changes: tuple[tuple[str, tuple[int, ...]], ...]
    origin: dict[str, Any]
    versions: dict[str, str]


class Data(Protocol):
    """Data to learn from: the dataset below, or arrays in memory."""

    def slices(
        self,
        rng: np.random.Generator,
        split: Split,
        batch: int,
        length: int,
        *,
        fields: Sequence[str],
    ) -> dict[str, np.ndarray]:
        """Random stretches of consecutive rows, [B, length, ...] of each field."""
        ...


class Dataset:
    """An opened dataset; nothing is loaded until it is asked for.

    Attributes:
        path: the folder.
        info: content of data.json.
        arrays: memory-mapped rows by field: obs [N, O] float32, action [N, A] float32, reward [N]
            float32, terminated [N] bool, state [N, S] float32, and where recorded pixels
            [N, H, W, 3] uint8, physics [N, K] float64.
    """

    def __init__(self, path: Path, info: Info, arrays: dict[str, np.ndarray]):
        self.path, self.info, self.arrays = path, info, arrays
        self.spec, self.episodes = info.spec, info.episodes
        self._starts: dict[tuple[str, int], tuple[np.ndarray, np.ndarray]] = {}

    @classmethod
    def open(cls, path: Path | str, full: bool = False) -> "Dataset":
        """Check (`full`: sums even if they were compared before) and map.

        Raises ConfigError where there is no dataset, DatasetError for a damaged one.
        """
        folder = Path(path)
        if not os.path.lexists(folder / files.MANIFEST):
            unfinished = (folder / "work").is_dir()
            raise ConfigError(
                f"{path} is no dataset (no {files.MANIFEST} in it): "
                + ("the same `latentmpc collect` finishes it" if unfinished else "")
                + ("" if unfinished else "make one with `latentmpc collect ENV --out DIR`")
            )
        entries = files.check(folder, full)
        try:
            raw = sealed.read(folder, files.DATA, files.MAX_DATA)
            info = Info.from_json(sealed.parse(raw, files.MAX_DATA))
        except (ValueError, RuntimeError) as error:
            where = folder / files.DATA
            raise DatasetError(f"{where} is not of this version ({error})") from None
        mapped = {n: _mapped(folder, n, e) for n, e in entries.items() if n != files.DATA}
        arrays = {Path(name).stem: array for name, array in mapped.items()}
        _check_arrays(folder, info, arrays)
        return cls(folder, info, arrays)

    @property
    def has_pixels(self) -> bool:
        """Whether pictures were recorded."""
        return "pixels" in self.arrays

    def split(self, name: Split) -> np.ndarray:
        """Numbers of the episodes of a split."""
        if name not in SPLITS:
            raise ConfigError(f"split must be one of {', '.join(SPLITS)}, got {name!r}")
        return np.array([i for i, e in enumerate(self.episodes) if e.split == name], np.int64)

    def episode(self, index: int, pixels: bool = True) -> dict[str, np.ndarray]:
        """Rows [L + 1, ...] of one episode, by field (views of the maps, read only)."""
        rows = self.episodes[index].rows
        return {n: a[rows] for n, a in self.arrays.items() if pixels or n != "pixels"}

    def slices(
        self,
        rng: np.random.Generator,
        split: Split,
        batch: int,
        length: int,
        pixels: bool = False,
        fields: Sequence[str] = ROW_FIELDS,
    ) -> dict[str, np.ndarray]:
        """`batch` random stretches of `length` rows within episodes, every one equally likely.

        Returns arrays [B, T, ...] of `fields`, and of "pixels" too where `pixels` asks for them.
        Where a stretch ends with its episode the last action is zero; it leads nowhere in the
        stretch. Raises ConfigError when the split has no episode as long, or pixels were not
        recorded.
        """
        rows = self.slice_rows(rng, split, batch, length)
        fields = (*fields, "pixels") if pixels else fields
        if "pixels" in fields and not self.has_pixels:
            raise ConfigError(f"{self.path} has no pixels: collect without --no-pixels")
        return {name: self.arrays[name][rows] for name in fields}

    def slice_rows(
        self, rng: np.random.Generator, split: Split, batch: int, length: int
    ) -> np.ndarray:
        """Row numbers [B, T] of such stretches."""
        first, ends = self._stretches(split, length)
        drawn = rng.integers(0, ends[-1], batch)
        episode = np.searchsorted(ends, drawn, side="right")
        start = first[episode] + drawn - np.concatenate([[0], ends])[episode]
        return start[:, None] + np.arange(length)

    def _stretches(self, split: Split, length: int) -> tuple[np.ndarray, np.ndarray]:
        """First row of every long enough episode, and running counts of stretches in them."""
        if (split, length) not in self._starts:
            chosen = [self.episodes[i] for i in self.split(split)]
            fits = [e for e in chosen if e.length + 1 >= length > 0]
            if not fits:
                longest = max((e.length + 1 for e in chosen), default=0)
                raise ConfigError(
                    f"{self.path} has no stretch of {length} rows in split {split} (the longest of "
                    f"{len(chosen)} episodes has {longest}): collect more or longer episodes"
                )
            counts = [e.length + 2 - length for e in fits]
            self._starts[split, length] = (np.array([e.start for e in fits]), np.cumsum(counts))
        return self._starts[split, length]


def _mapped(folder: Path, name: str, entry: Entry) -> np.ndarray:
    """An array as a map of its file. Raises DatasetError naming it."""
    try:
        with sealed.opened(folder, name, entry.size) as (file, size):
            found = npy_files.header(file, size)
            if not size - found.offset:  # nothing can be mapped
                return np.zeros(found.shape, found.dtype)
            return np.memmap(file, found.dtype, "r", found.offset, found.shape, found.order)  # pyright: ignore
    except (ValueError, RuntimeError) as error:
        raise DatasetError(f"{folder / name} cannot be used: {error}; {files.HOW}") from None


def _check_arrays(folder: Path, info: Info, arrays: Mapping[str, np.ndarray]) -> None:
    """Raise DatasetError for an array that is missing or not as data.json asks for."""
    rows = info.episodes[-1].rows.stop if info.episodes else 0
    sizes = {"obs": info.spec.obs_dim, "action": info.spec.action_dim, "state": len(info.state)}
    expected = {name: ("f", [rows, sizes[name]]) for name in sizes}
    expected |= {"reward": ("f", [rows]), "terminated": ("b", [rows])}
    for name in (*ROW_FIELDS, *arrays):
        where = f"{folder / files.ARRAYS / name}.npy"
        if name not in arrays or arrays[name].shape[:1] != (rows,):
            raise DatasetError(f"{where}: array {name} should have {rows} rows; {files.HOW}")
        found = (arrays[name].dtype.kind, list(arrays[name].shape))
        if found != expected.get(name, found):
            raise DatasetError(
                f"{where} holds {arrays[name].dtype} {found[1]}, {files.DATA} asks for "
                f"{expected[name][1]}; {files.HOW}"
            )


def split_names(count: int, seed: int, validation: float, test: float) -> list[str]:
    """A split for each of `count` episodes, drawn by seed alone; no split asked for stays empty.

    With fewer than three episodes all that are there go to train first.
    """
    order = np.random.default_rng([seed, 0x5EED]).permutation(count)
    sizes = [max(1, round(count * share)) if share > 0 else 0 for share in (validation, test)]
    while sum(sizes) >= count and sum(sizes):
        sizes[sizes.index(max(sizes))] -= 1
    names = ["train"] * count
    for i in order[: sizes[0]]:
        names[i] = "validation"
    for i in order[sizes[0] : sum(sizes)]:
        names[i] = "test"
    return names
