"""`sweep`: settings against return and latency, hopeless ones stopped early, one recommended.

OUT/ results.jsonl  one row an episode, in the grid's order
     summary.json  summary.md  report.html  recommended.toml
     points/ train/  what is finished; the same command, or one with another grid, reuses it

Episodes come in rounds, on the same seeds for every setting.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from agents.benchmarks.cases import WORKER, Case, evaluation_case, training_case
from agents.benchmarks.results import Row
from agents.benchmarks.sweep.config import SweepConfig, SweepPlan, has_model, plan_sweep
from agents.benchmarks.sweep.decide import Candidate, finish, stop_after_round
from agents.benchmarks.sweep.report import write_outputs
from agents.benchmarks.sweep.summary import sweep_summary
from agents.jobs.queue import JobQueue, JobResult
from agents.jobs.store import key_of
from agents.runs.load import find_checkpoint

Log = Callable[[str], object]


class SweepError(RuntimeError):
    """A sweep without a single result; shown as one line."""

    exit_code = 4


def sweep(config: SweepConfig, log: Log = lambda line: None, worker: str = WORKER) -> Row:
    """Run or resume a sweep; the summary as in summary.json.

    `log` gets one line for every case and every setting that is stopped. Settings that fail are
    in the summary; the rest goes on. When interrupted, what is done is written before
    KeyboardInterrupt goes on. Raises ConfigError, CheckpointError, StorageError, RunLockedError,
    and SweepError when every setting fails.
    """
    plan = plan_sweep(config)
    candidates = [Candidate(setting) for setting in plan.settings]
    running = _Running(plan, candidates, log)
    with JobQueue(
        worker, plan.directory, executor=config.executor, jobs=config.jobs, on_done=running.done
    ) as session:
        try:
            running.train(session)
            for number, seeds in enumerate(plan.rounds, 1):
                running.round(session, number, seeds)
            finish(candidates)
        except KeyboardInterrupt:
            _write(plan, candidates, complete=False)
            raise
        summary = _write(plan, candidates, complete=True)
    if summary is None:
        raise SweepError(f"every setting failed; the first: {candidates[0].note}")
    return summary


class _Running:
    """A sweep under way."""

    def __init__(self, plan: SweepPlan, candidates: Sequence[Candidate], log: Log):
        self.plan, self.candidates, self.log = plan, candidates, log
        self.models: dict[str, str] = {}
        self._of_key: dict[str, Candidate] = {}
        self._number = 0

    def train(self, session: JobQueue) -> None:
        """Find the base's model and train every other that the settings need."""
        needed = {c.setting.model: c.setting for c in self.candidates}
        if "" in needed and (found := _base_model(self.plan)):
            self.models[""] = found
            del needed[""]
        configs = {
            model: replace(
                setting.config,
                planner=self.plan.base.planner,
                run_dir=str(self.plan.directory.absolute() / "train" / (model or "base")),
            )
            for model, setting in needed.items()
        }
        outcomes = session.submit([training_case(config) for config in configs.values()])
        for model, outcome in zip(configs, outcomes, strict=True):
            if outcome.result is not None:
                self.models[model] = outcome.result["run_dir"]
                continue
            for candidate in self.candidates:
                if candidate.setting.model == model:
                    candidate.status, candidate.note = "failed", f"training: {outcome.error}"

    def round(self, session: JobQueue, number: int, seeds: range) -> None:
        """Episodes of every setting that still runs, then the decisions."""
        running = [c for c in self.candidates if c.status == "running"]
        cases = [self._case(candidate, seeds) for candidate in running]
        self._of_key = dict(zip(map(key_of, cases), running, strict=True))
        self._number = number
        session.submit(cases)
        if self.plan.config.eliminate:
            stop_after_round(self.candidates, self.plan.budget_ms, number)
            for candidate in running:
                if candidate.status in ("stopped", "over budget"):
                    self.log(f"{candidate.name}: {candidate.note}")

    def _case(self, candidate: Candidate, seeds: range) -> Case:
        setting = candidate.setting
        return evaluation_case(
            self.plan.base.env_id,
            "plan",
            clock=self.plan.config.latency,
            checkpoint=self.models[setting.model],
            train_seed=setting.config.seed,
            seeds=seeds,
            planner=setting.planner,
        )

    def done(self, key: str, case: Mapping[str, Any], outcome: JobResult) -> None:
        """Take the outcome of a case."""
        before = " (done before)" if outcome.cached else ""
        if case["kind"] == "train":
            state = f"failed: {outcome.error}" if outcome.result is None else f"trained{before}"
            self.log(f"{Path(case['config']['run_dir']).name}: {state}")
            return
        candidate = self._of_key[key]
        where = f"round {self._number}/{len(self.plan.rounds)}, {candidate.name}"
        if outcome.result is None:
            candidate.status, candidate.note = "failed", outcome.error
            self.log(f"{where}: failed: {outcome.error}")
            return
        candidate.rows += _rows(candidate, outcome.result["rows"])
        candidate.compile_s += outcome.result["compile_s"]
        self.log(
            f"{where}: return {candidate.mean:.1f} over {len(candidate.rows)} episodes, "
            f"p99 {candidate.milliseconds():.3g} ms{before}"
        )


def _base_model(plan: SweepPlan) -> str:
    """The checkpoint that RUN means now, so that all settings use one; "" if it is to be trained.

    Raises ConfigError or CheckpointError.
    """
    trains = any(name.partition(".")[0] != "planner" for name in plan.axes)
    if trains and not has_model(plan.config.path):
        return ""
    return str(find_checkpoint(os.path.abspath(plan.config.path)))


def _rows(candidate: Candidate, rows: Sequence[Row]) -> list[Row]:
    """Rows of a round as they stand in results.jsonl."""
    begin = len(candidate.rows)
    return [
        {
            **row,
            "key": f"{row['task']}/{candidate.name}/{row['clock']}/{row['seed']}",
            "setting": candidate.name,
            "episode": begin + i,
        }
        for i, row in enumerate(rows)
    ]


def _write(plan: SweepPlan, candidates: Sequence[Candidate], complete: bool) -> Row | None:
    """Write all outputs; the summary, or None when there is not one episode."""
    if not any(c.rows for c in candidates):
        return None
    summary = sweep_summary(plan, candidates, complete)
    write_outputs(plan, candidates, summary)
    return summary
