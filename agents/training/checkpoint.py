"""Save a trainer and bring it back to exactly where it was."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import msgspec
import numpy as np

from agents.runs.config import digest
from agents.runs.directory import RunDir
from agents.runs.task_files import files_of
from agents.storage import checkpoint, segments
from agents.storage.checkpoint import CheckpointError
from agents.storage.segments import SegmentRef
from agents.training.loop import Counters
from agents.training.replay import Replay
from agents.training.session import PROGRESS, read_progress, write_checkpoint
from agents.training.trainer import Trainer

SEGMENTS = "replay.json"


class Progress(msgspec.Struct):
    """Content of progress.json of a training."""

    counters: Counters
    wall: dict[str, float]


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
        driver = trainer.driver.get_state()
        arrays = {"train": trainer.loop.train, "carry": trainer.loop.carry, "driver": driver}
        with trainer.group.guard():
            if trainer.group.first:
                self._write(trainer, arrays, wall)

    def _write(self, trainer: Trainer, arrays: dict[str, Any], wall: dict[str, float]) -> None:
        config, counters = trainer.config, trainer.counters
        ring = np.array(trainer.loop.replay.rows)
        self._write_rows(ring, counters.rows)
        # Rows that the ring has overwritten belong to no checkpoint from this one on.
        self.refs = [ref for ref in self.refs if ref.stop > counters.rows - len(ring)]
        write_checkpoint(
            self.run,
            counters.env_steps,
            arrays,
            {"settings": asdict(config), "digest": digest(config)},
            trainer.spec.to_json(),
            {"counters": asdict(counters), "wall": wall},
            {SEGMENTS: segments.dump_refs(self.refs), **files_of(config.env_id)},
        )
        # The older checkpoint that is kept still needs the rows it could see.
        segments.drop_before(self.run.replay, self.previous_rows - len(ring))
        self.previous_rows = counters.rows

    def _write_rows(self, ring: np.ndarray, stop: int) -> None:
        """Store the rows of the ring buffer that are not on disk, up to row `stop` of the run."""
        start = max(self.refs[-1].stop if self.refs else 0, stop - len(ring))
        if stop > start:
            rows = {"rows": ring[np.arange(start, stop) % len(ring)]}
            self.refs.append(segments.write_segment(self.run.replay, start, rows))

    def restore(self, trainer: Trainer) -> dict[str, float] | None:
        """Bring `trainer` to the newest checkpoint; its wall times, or None without one.

        What is newer than it is cleared away, by the first of several processes. Raises
        CheckpointError naming the damaged file and the last good checkpoint.
        """
        path = checkpoint.recover(self.run.checkpoints)
        if path is None:
            return None
        driver = checkpoint.restore(path, at=("driver",))  # simulators check their own state
        like = {"train": trainer.loop.train, "carry": trainer.loop.carry, "driver": driver}
        arrays = checkpoint.restore(path, like)
        progress = read_progress(path, Progress)
        self.refs = segments.load_refs(checkpoint.read_file(path, SEGMENTS))
        stop = self.refs[-1].stop if self.refs else 0
        if stop != progress.counters.rows:
            raise CheckpointError(
                f"{path / SEGMENTS}: rows up to {stop}, {PROGRESS} says {progress.counters.rows}"
            )
        replay = _refilled(path, trainer.loop.replay, self._read_rows(path), stop)
        trainer.driver.set_state(arrays["driver"])
        trainer.loop = trainer.loop._replace(
            train=arrays["train"], carry=arrays["carry"], replay=replay
        )
        trainer.counters, self.previous_rows = progress.counters, stop
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


def _refilled(path: Path, replay: Replay, stored: dict[str, np.ndarray], stop: int) -> Replay:
    """The ring buffer that held the stored rows, the last of them row `stop` - 1 of the run.

    Raises CheckpointError for rows of another width or type than the trainer's.
    """
    if not stored:
        return replay
    rows, ring = stored.get("rows"), np.array(replay.rows)
    if rows is None or (rows.shape[1:], rows.dtype) != (ring.shape[1:], ring.dtype):
        raise CheckpointError(
            f"{path / SEGMENTS}: its replay segments do not hold rows of {ring.dtype} "
            f"{list(ring.shape[1:])}"
        )
    kept = rows[-len(ring) :]
    ring[np.arange(stop - len(kept), stop) % len(ring)] = kept
    return Replay(jnp.asarray(ring), jnp.asarray(stop, jnp.int32))
