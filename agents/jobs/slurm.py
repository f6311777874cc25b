"""Points as jobs of SLURM, through submitit: one job a point, `jobs` of them queued at once.

DIRECTORY must be one that all machines see: a job writes its result there itself, so that jobs
that outlive the process that asked (kill -9) are not lost. Its logs are in DIRECTORY/slurm until
it has succeeded. Partition, account, time and memory are SLURM's own settings: SBATCH_PARTITION,
SBATCH_ACCOUNT, SBATCH_TIMELIMIT, SBATCH_MEM_PER_NODE and so on.
"""

import contextlib
import json
import shutil
import sys
import time
from pathlib import Path
from typing import Any

from agents.jobs.children import absolute_paths
from agents.jobs.scheduler import Executor
from agents.jobs.store import Store, canonical, key_of
from agents.jobs.worker import ERROR, KILLED, OK, Answer, execute, imported
from agents.runs.config import ConfigError
from envs import imports

POLL_S = 0.5
EXIT_S = 10.0
UNLIMITED = 1000  # jobs queued at once when the user sets no number
TIME_LIMIT_MIN = 24 * 60  # what a job asks for unless SBATCH_TIMELIMIT says otherwise


class Slurm(Executor):
    """Jobs of a SLURM cluster, at most `jobs` at once (0: all).

    `cluster="local"` runs the same jobs as processes of this machine, "debug" in this process.
    Further parameters go to submitit. Raises ConfigError without submitit or sbatch.
    """

    def __init__(self, jobs: int, directory: Path, cluster: str = "slurm", **parameters: Any):
        submitit = imported("submitit", "--executor slurm")
        if cluster == "slurm" and not shutil.which("sbatch"):
            raise ConfigError(
                "--executor slurm needs the command sbatch, which is not here: run on a machine "
                "that can submit SLURM jobs, or use --executor local"
            )
        self.slots = jobs or UNLIMITED
        self._store = Store(directory.absolute())
        self._folder = self._store.directory / "slurm"
        self._failed = submitit.core.utils.FailedJobError
        self._uncompleted = submitit.core.utils.UncompletedJobError
        self._executor = submitit.AutoExecutor(self._folder, cluster=cluster)
        settings = {"timeout_min": TIME_LIMIT_MIN, "name": "latentmpc"}
        self._executor.update_parameters(**settings | parameters)
        self._patience_s = EXIT_S if cluster == "local" else 0.0
        self._flying: dict[str, Any] = {}  # key to job

    def start(self, key: str, task: str) -> None:
        """Submit a job."""
        here = tuple(imports.permission()), absolute_paths(sys.path), str(self._store.directory)
        self._flying[key] = self._executor.submit(_job, *here, task)

    def wait(self) -> list[tuple[str, Answer]]:
        """Answers that have come in; returns after a moment even when there are none."""
        done = [(key, job) for key, job in self._flying.items() if job.done()]
        if not done:
            time.sleep(POLL_S)
        for key, _ in done:
            del self._flying[key]
        return [(key, self._answer(key, job)) for key, job in done]

    def abandon(self) -> None:
        """Cancel the jobs under way; processes of this machine are seen off."""
        for job in self._flying.values():
            job.cancel(check=False)
        deadline = time.monotonic() + self._patience_s
        for job in self._flying.values():
            while time.monotonic() < deadline and not job.done():
                time.sleep(0.05)
        self._flying = {}

    def close(self) -> None:
        """Cancel what is under way; the folder of logs stays if there are any."""
        self.abandon()
        with contextlib.suppress(OSError):
            self._folder.rmdir()

    def _answer(self, key: str, job: Any) -> Answer:
        """The answer of a job; its files go when that is a result."""
        try:
            answer = Answer(*job.result())
        except self._failed as error:  # the job itself, not the worker: last line of a traceback
            lines = str(error).strip().splitlines()
            answer = Answer(ERROR, lines[-1] if lines else "the job failed")
        except self._uncompleted:
            answer = Answer(KILLED, f"ended without an answer (logs: {self._folder})")
        if answer.status == OK:
            for path in self._folder.glob(f"{job.job_id}_*"):
                path.unlink(missing_ok=True)
        return answer


def _job(permission: tuple, paths: list[str], directory: str, task: str) -> list[str]:
    """A job: finds modules as we do, answers one task, keeps a result."""
    sys.path.extend(path for path in paths if path not in sys.path)
    imports.permit(*permission)
    _, point = json.loads(task)
    store, key = Store(directory), key_of(point)
    if (result := store.result(key)) is not None:  # of a job that outlived who asked for it
        return [OK, canonical(result)]
    answer = execute(task)
    if answer.status == OK:
        store.write(key, point, json.loads(answer.text))
    return list(answer)
