"""Checkpoints that explain themselves and are verified before use.

    DIRECTORY/000012345/   arrays/        Orbax (see array_store)
                           tree.json      place, shape and dtype of every leaf
                           config.json    settings of the run
                           spec.json      environment: id, spaces, control_dt, versions
                           (extra files)
                           MANIFEST.json  SHA-256 and size of every other file

A checkpoint is written in a hidden directory, synced, then renamed: under its final name it is
complete. Nothing is ever unpickled. Imports jax and Orbax only when saving or restoring.
"""

import contextlib
import os
import re
import shlex
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from agents.storage import arrays as array_store
from agents.storage import files as durable
from agents.storage import manifest, sealed
from agents.storage.files import CheckpointError as CheckpointError
from agents.storage.files import StorageError as StorageError
from agents.storage.files import sha256_bytes as sha256_bytes
from agents.storage.files import sha256_file as sha256_file

RESERVED = ("arrays", "tree.json", "config.json", "spec.json", manifest.MANIFEST)
TEMPORARY, REPLACED = ".tmp-", ".old-"
MOST_INDEX, MOST_FILE = 8 << 20, 1 << 40
TEXTS = ("config.json", "spec.json")


def _most(name: str) -> int:
    """Bytes that a file of a checkpoint may have."""
    return {"tree.json": MOST_INDEX}.get(name, sealed.MOST_TEXT if name in TEXTS else MOST_FILE)


KIND = manifest.Kind(_most, required=("tree.json", *TEXTS))


def save(
    directory: Path | str,
    step: int,
    arrays: Any,
    *,
    config: dict,
    spec: dict,
    extra_files: Mapping[str, bytes] | None = None,
) -> Path:
    """Write checkpoint `step` and return its path; one of the same step is replaced.

    `arrays` is a pytree of jax or numpy arrays. Raises StorageError (disk full, no permission)
    with earlier checkpoints intact, ValueError for what cannot be stored.
    """
    directory = Path(directory)
    index, leaves = array_store.to_host(arrays)
    files = _texts(index, config, spec, extra_files or {})
    final = directory / f"{step:09d}"
    temporary = directory / f"{TEMPORARY}{final.name}"
    try:
        durable.refuse_link(directory)
        directory.mkdir(parents=True, exist_ok=True)
        with durable.locked_directory(directory, wait=True):
            _tidy(directory)
            temporary.mkdir()
            try:
                _write_all(temporary, step, leaves, files)
                _commit(temporary, final)
            except OSError:
                _tidy(directory)
                raise
    except OSError as error:
        raise durable.storage_error(final, error, _intact(directory)) from error
    return final


def restore(path: Path | str, like: Any = None, at: Sequence[str] = ()) -> Any:
    """Verify a checkpoint and read its arrays, or those below the place `at` alone.

    With `like` (a pytree of arrays or ShapeDtypeStruct) structure, shapes and dtypes must match,
    and the result has its structure, with jax arrays where `like` has them; otherwise dicts and
    lists of numpy arrays. No array is read before its shape was compared. Raises CheckpointError
    naming the file or the first differing leaf.
    """
    path = Path(path)
    verify(path)
    index = array_store.below(_read_index(path), at)
    if like is not None and (found := array_store.difference(index, like)):
        raise CheckpointError(
            f"{path} does not fit its settings: tree.json: {found}; was it saved with others?"
        )
    try:
        leaves = array_store.read(path / "arrays", index)
    except CheckpointError as error:
        raise _refusal(path, str(error)) from None
    if like is None:
        return array_store.plain_tree(index, leaves)
    return array_store.like_tree(index, leaves, like)


def verify(path: Path | str) -> None:
    """Recompute every digest. Raises CheckpointError naming the file and the last good one."""
    path = Path(path)
    if found := manifest.problem(path, KIND):
        raise _refusal(path, found)


def latest(directory: Path | str) -> Path | None:
    """Newest checkpoint, verified; None when there is none. Raises CheckpointError if damaged.

    Nothing is changed on the disk. A directory of checkpoints that is a link is refused.
    """
    directory = Path(directory)
    try:
        if directory.is_symlink():
            raise CheckpointError(
                f"{directory} is a link, which is not followed: give a checkpoint in its target, "
                f"{shlex.quote(os.path.realpath(directory))}/NUMBER"
            )
        newest = next(iter(committed(directory)), None)
    except OSError as error:
        raise durable.storage_error(directory, error) from error
    if newest is not None:
        verify(newest)
    return newest


def recover(directory: Path | str) -> Path | None:
    """`latest` for who goes on writing: what interrupted saves left behind is cleared first.

    Nothing is cleared while a save is going on.
    """
    directory = Path(directory)
    try:
        if directory.is_dir() and not directory.is_symlink():
            with durable.locked_directory(directory, wait=False) as alone:
                if alone:
                    _tidy(directory)
    except OSError as error:
        raise durable.storage_error(directory, error) from error
    return latest(directory)


def read_file(path: Path | str, name: str) -> bytes:
    """One file of a checkpoint, checked against the manifest. Raises CheckpointError."""
    path = Path(path)
    try:
        return manifest.read_file(path, name, KIND)
    except CheckpointError as error:
        raise _refusal(path, str(error)) from None


def read_json(path: Path | str, name: str, most: int = sealed.MOST_TEXT) -> Any:
    """A JSON file of a checkpoint ("config.json", "spec.json"). Raises CheckpointError."""
    data = read_file(path, name)
    try:
        return sealed.parse(data, most, constants=True)
    except ValueError as error:
        raise _refusal(Path(path), f"{name}: not JSON ({error})") from None


def read_table(path: Path | str, name: str) -> dict[str, Any]:
    """A JSON file of a checkpoint that is a table. Raises CheckpointError."""
    value = read_json(path, name)
    if not isinstance(value, dict):
        raise _refusal(Path(path), f"{name}: expected a table")
    return value


def prune(directory: Path | str, keep: int = 2) -> None:
    """Remove all but the newest `keep` checkpoints."""
    for path in committed(directory)[max(keep, 1) :]:
        _remove(path)


def committed(directory: Path | str) -> list[Path]:
    """Checkpoints of a directory, newest first; not verified."""
    directory = Path(directory)
    if not directory.exists():
        return []
    found = [p for p in directory.iterdir() if re.fullmatch(r"[0-9]{9,18}", p.name)]
    real = [path for path in found if path.is_dir() and not path.is_symlink()]
    return sorted(real, key=lambda path: int(path.name), reverse=True)


def _read_index(path: Path) -> array_store.Index:
    """The list of leaves. Raises CheckpointError if it is something else."""
    index = read_json(path, "tree.json", MOST_INDEX)
    try:
        array_store.check_index(index)
    except ValueError as error:
        raise _refusal(path, f"tree.json: {error}") from None
    return index


def _texts(index, config: dict, spec: dict, extra: Mapping[str, bytes]) -> dict[str, bytes]:
    """All files but arrays and manifest. Raises ValueError for an impossible name."""
    for name in extra:
        if name in RESERVED or "/" in name or name in ("", ".", ".."):
            raise ValueError(f"extra file {name!r} must be a plain name not in {RESERVED}")
    texts = {"tree.json": index, "config.json": config, "spec.json": spec}
    return {name: manifest.encode(value) for name, value in texts.items()} | dict(extra)


def _write_all(directory: Path, step: int, leaves, files: dict[str, bytes]) -> None:
    """Fill the hidden directory; the manifest comes last."""
    array_store.write(directory / "arrays", leaves)
    for name, data in files.items():
        (directory / name).write_bytes(data)
    manifest.write(directory, step)
    for folder, _, _ in os.walk(directory):
        durable.sync_directory(Path(folder))


def _commit(temporary: Path, final: Path) -> None:
    """Give the finished directory its name. An older one of that name steps aside first."""
    replaced = final.with_name(f"{REPLACED}{final.name}")
    if final.exists():
        os.rename(final, replaced)
    os.rename(temporary, final)
    durable.sync_directory(final.parent)
    shutil.rmtree(replaced, ignore_errors=True)


def _tidy(directory: Path) -> None:
    """Clear what an interrupted save, replacement or removal left behind (holding the lock)."""
    for path in directory.glob(f"{TEMPORARY}*"):
        shutil.rmtree(path, ignore_errors=True)
    for path in directory.glob(f"{REPLACED}*"):
        original = path.with_name(path.name.removeprefix(REPLACED))
        with contextlib.suppress(OSError):
            if original.exists():
                shutil.rmtree(path)
            else:
                os.rename(path, original)


def _remove(path: Path) -> None:
    """Remove a checkpoint; a kill half-way leaves no half checkpoint under its name."""
    hidden = path.with_name(f"{TEMPORARY}{path.name}-removed")
    try:
        os.rename(path, hidden)
    except OSError as error:
        raise durable.storage_error(path, error) from error
    shutil.rmtree(hidden, ignore_errors=True)


def _refusal(path: Path, problem: str) -> CheckpointError:
    """The one line shown for a damaged checkpoint."""
    others = committed(path.parent)
    good = next((p for p in others if p.name != path.name and not manifest.problem(p, KIND)), None)
    way = "no other good checkpoint there: start again with another --run-dir"
    if good:
        way = f"last good checkpoint: {good}, to go on from it type: {removal(path)}"
    return CheckpointError(f"checkpoint {path} refused: {problem}; {way}")


def removal(path: Path) -> str:
    """The command that removes a folder, as it can be typed."""
    return f"rm -r {shlex.quote(str(path))}"


def _intact(directory: Path) -> str:
    """The checkpoint that still stands after a failed save, in words."""
    with contextlib.suppress(OSError, StorageError):
        if found := committed(directory):
            return f"the previous checkpoint {found[0]} is intact"
    return "no earlier checkpoint"
