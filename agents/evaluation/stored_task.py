"""Which task is simulated for a run or bundle: its file, or what was stored of it."""

import logging
import subprocess
from pathlib import Path

from agents.jobs import children
from agents.runs import task_files
from agents.runs.config import ConfigError
from agents.runs.task_files import TaskFiles
from agents.storage.files import CheckpointError
from envs import imports
from envs.registry import resolve
from envs.spec import EnvError, UnknownTaskError
from envs.tasks import Task, native_task

TRIAL_S = 120.0
log = logging.getLogger("latentmpc.tasks")
"""Its warnings stand on standard error, a line each."""


def settle(folder: Path, trained: str, typed: str = "") -> None:
    """Choose what `typed`, or the id `trained` of the model in `folder`, means from here on.

    The task's own file, where it may be run (it was typed, or trusted) and can be; else what was
    stored, after a trial in a process of its own. A line tells what is not as it was trained.
    Raises UnknownTaskError, CheckpointError, EnvError; ConfigError where the id means already what
    was stored elsewhere.
    """
    env_id, stored = typed or trained, task_files.read(folder)
    if stored is None:
        return
    if known := imports.stored(env_id):
        if known.digest != stored.digest:
            raise ConfigError(
                f"{env_id} was stored in {known.folder} and in {folder}, and differs: give one "
                "command to each"
            )
        return
    if typed not in ("", trained) and typed.rpartition(":")[2] != stored.about.name:
        return  # another task, which has to fit as any other
    task, why = _own(env_id, typed)
    if task is None and not why:
        return  # of another simulator
    if task is None:
        if not stored.whole:
            raise UnknownTaskError(f"{why} (it was not stored whole: {stored.about.why})")
        _use(stored, env_id, model_only=False)
        log.warning("%s: simulated as it was stored in %s; %s", env_id, folder, why)
        return
    try:
        compiled = task()
    except Exception as error:  # the class is the user's
        if not stored.about.model:
            raise
        _use(stored, env_id, model_only=True)
        said = str(error) if isinstance(error, EnvError) else " ".join(repr(error).split())[:300]
        log.warning("%s: on the model that was stored in %s; %s", env_id, folder, said)
        compiled = None
    if what := task_files.changed(stored.about, task, compiled):
        log.warning("%s: %s has changed since %s was trained", env_id, what, folder)


def _own(env_id: str, typed: str) -> tuple[type[Task] | None, str]:
    """The class of an id, or None and why nothing here has it; "" where another simulator has.

    Raises UnknownTaskError where a file that was typed is not there or wrong, other than by what
    it imports.
    """
    try:
        if (task := native_task(env_id)) is None:
            resolve(env_id)
        return task, ""
    except UnknownTaskError as error:
        if typed and not isinstance(error.__cause__, ImportError):
            raise
        return None, str(error)


def _use(stored: TaskFiles, env_id: str, model_only: bool) -> None:
    """Let the id mean what was stored. Raises CheckpointError if that cannot be simulated."""
    folder = str(stored.folder.absolute())
    main = "envs.native.store:trial"
    try:
        tried = subprocess.run(
            children.calling(main, folder, stored.digest),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=TRIAL_S,
            check=False,
        )
        said = (tried.stderr.strip().splitlines() or ["it said nothing"])[-1][:300]
        died = f"it died of signal {-tried.returncode}" if tried.returncode < 0 else said
        problem = died if tried.returncode else ""
    except subprocess.TimeoutExpired:
        problem = f"it took more than {TRIAL_S:.0f} s"
    if problem:
        raise CheckpointError(
            f"{folder}: its stored task is refused, a trial in a process of its own failed: "
            f"{problem}; name the task's file instead"
        )
    imports.use_stored(imports.Stored(env_id, folder, stored.digest, model_only))
