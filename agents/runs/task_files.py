"""What a checkpoint or bundle holds of a user's own task, beside the model that learned it.

`task.mjb` and `task.msgpack`, as `envs.native.store` writes them: data, in the folder's manifest.
Built-in tasks, and those of other simulators, have none. Imports no jax.
"""

from functools import cache
from pathlib import Path
from typing import NamedTuple

from agents.storage import manifest
from agents.storage.files import CheckpointError, sha256_bytes
from envs import imports
from envs.imports import DESCRIPTION, MODEL, MOST_BYTES
from envs.native.store import source_digest, store
from envs.spec import EnvError
from envs.tasks import TASKS, Task, native_task
from envs.tasks.engine import engine
from envs.tasks.stored import (
    Description,
    model_digest,
    read_description,
)

SIZES = {DESCRIPTION: MOST_BYTES, MODEL: MOST_BYTES}
"""Most bytes of these files."""
KIND = manifest.Kind(lambda name: SIZES.get(name, manifest.MOST_FILE), closed=False)


class TaskFiles(NamedTuple):
    """The task in a folder."""

    folder: Path
    digest: str
    """SHA-256 of its description."""
    about: Description

    @property
    def whole(self) -> bool:
        """Whether the task can be simulated without its file."""
        return bool(self.about.functions and self.about.model)


@cache
def files_of(env_id: str) -> dict[str, bytes]:
    """The files of a task by name; none for a task that every machine has. Raises EnvError."""
    if kept := imports.stored(env_id):  # training goes on with what is stored
        return contents(Path(kept.folder))
    task = None if env_id in TASKS else native_task(env_id)
    return store(task) if task else {}


def contents(folder: Path) -> dict[str, bytes]:
    """The files of a task in a sealed folder, by name; none where there is no such folder.

    Raises CheckpointError for one that is not as the manifest has it.
    """
    if not (folder / manifest.MANIFEST).exists():
        return {}
    entries = manifest.read(folder, KIND)
    names = [name for name in SIZES if name in entries]
    return {name: manifest.content(folder, name, entries[name], KIND) for name in names}


def read(folder: Path) -> TaskFiles | None:
    """The task of a checkpoint or bundle, if it holds one. Raises CheckpointError."""
    files = contents(folder)
    if DESCRIPTION not in files:
        return None
    try:
        about = read_description(files[DESCRIPTION], f"{folder}/{DESCRIPTION}")
    except EnvError as error:
        raise CheckpointError(str(error)) from None
    return TaskFiles(folder, sha256_bytes(files[DESCRIPTION]), about)


def changed(stored: Description, task: type[Task], compiled: Task | None) -> str:
    """What of a task is another than was stored, in words; "" if nothing is."""
    if stored.source != source_digest(task):
        return "the task's file"
    if compiled and stored.mujoco == engine().__version__:
        return "" if model_digest(compiled.model) == stored.simulates else "the task's model"
    return ""
