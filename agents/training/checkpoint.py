"""Save a trainer and bring it back to exactly where it was."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import jax.numpy as jnp
import msgspec
import numpy as np

from agents.runs.config import digest
from agents.runs.directory import RunDir
from agents.runs.versions import installed
from agents.storage import checkpoint, segments
from agents.storage.checkpoint import CheckpointError
from agents.storage.segments import SegmentRef
from agents.training.replay import Replay
from agents.training.trainer import Counters, Trainer

T = TypeVar("T")
KEEP = 2
SEGMENTS, PROGRESS = "replay.json", "progress.json"


class Progress(msgspec.Struct):
    """What progress.json of a training holds."""

    counters: Counters
    wall: dict[str, float]

    def __post_init__(self):
        """Raises ValueError for counts that no run reaches."""
        for name, count in asdict(self.counters).items():
            if not 0 <= count < 1 << 53:
                raise ValueError(f"counters.{name} is {count}")


class Saver:
    """Writes checkpoints of one run; replay rows go to disk once."""

    def __init__(self, run: RunDir):
        """Start with no replay on disk."""
        self.run = run
        self.refs: list[SegmentRef] = []
        self.previous_rows = 0

    def save(self, trainer: Trainer, wall: dict[str, float]) -> None:
        """Write a checkpoint at the trainer's env_steps. Raises StorageError.

        Of several processes all call it, and the first writes.
        """
        arrays = _arrays(trainer)
        with trainer.group.guard():
            if trainer.group.first:
                self._write(trainer, arrays, wall)

    def _write(self, trainer: Trainer, arrays: dict[str, Any], wall: dict[str, float]) -> None:
        counters, capacity = trainer.counters, trainer.replay.rows.shape[0]
        self._write_rows(trainer)
        # Rows that the ring has overwritten belong to no checkpoint from this one on.
        self.refs = [ref for ref in self.refs if ref.stop > counters.rows - capacity]
        progress = {"counters": asdict(counters), "wall": wall}
        checkpoint.save(
            self.run.checkpoints,
            counters.env_steps,
            arrays,
            config={
                "settings": asdict(trainer.config),
                "digest": digest(trainer.config),
                "versions": installed(),
            },
            spec=trainer.spec.to_json(),
            extra_files={
                SEGMENTS: segments.dump_refs(self.refs),
                PROGRESS: json.dumps(progress).encode(),
            },
        )
        checkpoint.prune(self.run.checkpoints, KEEP)
        # The older checkpoint that is kept still needs the rows it could see.
        segments.drop_before(self.run.replay, self.previous_rows - capacity)
        self.previous_rows = counters.rows

    def _write_rows(self, trainer: Trainer) -> None:
        start = self.refs[-1].stop if self.refs else 0
        stop, capacity = trainer.counters.rows, trainer.replay.rows.shape[0]
        start = max(start, stop - capacity)
        if stop > start:
            index = np.arange(start, stop) % capacity
            rows = np.array(trainer.replay.rows)[index]
            self.refs.append(segments.write_segment(self.run.replay, start, {"rows": rows}))

    def restore(self, trainer: Trainer) -> dict[str, float] | None:
        """Bring `trainer` to the newest checkpoint; its wall times, or None without one.

        What is newer than it is cleared away, by the first of several processes. Raises
        CheckpointError naming the damaged file and the last good checkpoint.
        """
        path = checkpoint.recover(self.run.checkpoints)
        if path is None:
            return None
        driver = checkpoint.restore(path, at=("driver",))  # simulators check their own state
        like = {"train": trainer.state, "carry": trainer.carry, "driver": driver}
        arrays = checkpoint.restore(path, like)
        progress = read_progress(path, Progress)
        self.refs = segments.load_refs(checkpoint.read_file(path, SEGMENTS))
        stop = self.refs[-1].stop if self.refs else 0
        if stop != progress.counters.rows:
            raise CheckpointError(
                f"{path / SEGMENTS}: rows up to {stop}, {PROGRESS} says {progress.counters.rows}"
            )
        rows = self._read_rows(path)
        trainer.state, trainer.carry = arrays["train"], arrays["carry"]
        trainer.driver.set_state(arrays["driver"])
        trainer.counters = progress.counters
        first = self.refs[0].start if self.refs else 0
        _check_rows(path, trainer.replay, rows)
        trainer.replay = _refill(trainer.replay, rows.get("rows"), first)
        self.previous_rows = trainer.counters.rows
        if trainer.group.first:
            segments.drop_after(self.run.replay, self.refs)
            self.run.truncate_metrics(trainer.counters.env_steps)
        return progress.wall

    def _read_rows(self, path: Path) -> dict[str, np.ndarray]:
        """Replay rows of a checkpoint. Raises CheckpointError, naming one that can be resumed."""
        try:
            return segments.read_segments(self.run.replay, self.refs)
        except CheckpointError as error:
            for older in checkpoint.committed(self.run.checkpoints):
                if older != path and self._sound(older):
                    raise CheckpointError(
                        f"{error}; last good checkpoint: {older}, to go on from it type: "
                        f"{checkpoint.removal(path)}"
                    ) from None
            raise

    def _sound(self, path: Path) -> bool:
        """Whether a checkpoint and all of its replay can be read."""
        try:
            refs = segments.load_refs(checkpoint.read_file(path, SEGMENTS))
            segments.read_segments(self.run.replay, refs)
            checkpoint.verify(path)
        except CheckpointError:
            return False
        return True


def read_progress(path: Path, kind: type[T]) -> T:
    """What a checkpoint says of the run, typed. Raises CheckpointError naming the file."""
    try:
        return msgspec.convert(checkpoint.read_table(path, PROGRESS), kind)
    except ValueError as error:
        raise CheckpointError(f"{path / PROGRESS} cannot be used: {error}") from None


def _check_rows(path: Path, replay: Replay, rows: dict[str, np.ndarray]) -> None:
    """Raise CheckpointError for replay rows of another width or type than the trainer's."""
    found, wanted = rows.get("rows"), replay.rows
    expected = (wanted.shape[1:], wanted.dtype)
    if rows and (found is None or (found.shape[1:], found.dtype) != expected):
        raise CheckpointError(
            f"{path / SEGMENTS}: its replay segments do not hold rows of {wanted.dtype} "
            f"{list(wanted.shape[1:])}"
        )


def _arrays(trainer: Trainer) -> dict[str, Any]:
    driver = trainer.driver.get_state()
    return {"train": trainer.state, "carry": trainer.carry, "driver": driver}


def _refill(replay: Replay, rows: np.ndarray | None, first: int) -> Replay:
    """The ring buffer that held `rows`, of which the oldest is row `first` of the run."""
    if rows is None:
        return replay
    ring, capacity = np.array(replay.rows), replay.rows.shape[0]
    stop = first + len(rows)
    kept = rows[-capacity:]
    ring[np.arange(stop - len(kept), stop) % capacity] = kept
    return Replay(jnp.asarray(ring), jnp.asarray(stop, jnp.int32))
