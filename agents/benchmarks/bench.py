"""`bench`: train where no checkpoint is given, evaluate every agent, summarise with evidence.

OUT/ results.jsonl  one row an episode, in one order whatever ran first
     summary.json  summary.md  report.html
     points/ train/  what is finished; the same command goes on from there
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from agents.benchmarks.aggregate import aggregate
from agents.benchmarks.cases import WORKER, Case, evaluation_case, training_case
from agents.benchmarks.config import BenchConfig
from agents.benchmarks.report import write_bench_html, write_summary_md
from agents.benchmarks.result_sets import write_results
from agents.benchmarks.results import Row, grouped
from agents.evaluation.stored_task import settle
from agents.jobs.queue import JobQueue, JobResult
from agents.runs.config import ConfigError
from agents.runs.directory import RunDir
from agents.runs.load import find_checkpoint, stored_spec
from agents.runs.settings import train_config_from
from agents.storage import checkpoint
from envs.registry import make_spec

Models = dict[tuple[str, int], str]
"""(task, training seed) to the path of a run or checkpoint."""


def bench(config: BenchConfig, log: Callable[[str], object] = lambda line: None) -> Row:
    """Run or resume a bench; the summary as in summary.json.

    `log` gets one line for every finished case. Failed cases are listed in the summary; the
    rest goes on. Raises ConfigError, UnknownTaskError, StorageError and RunLockedError.
    """
    models = _given_runs(config)
    if models and not (config.tasks or config.suite):
        config = replace(config, tasks=",".join(dict.fromkeys(task for task, _ in models)))
    for task in config.task_list:
        make_spec(task).require_limit()  # a wrong id is told before anything runs
    out = Path(config.directory)

    def on_done(key: str, case: Mapping[str, Any], outcome: JobResult) -> None:
        del key
        log(f"{case['name']}: {_state(case, outcome)}")

    with JobQueue(
        WORKER, out, executor=config.executor, jobs=config.jobs, on_done=on_done
    ) as session:
        failures = _train_missing(config, models, session)
        outcomes = session.submit(_evaluations(config, models))
    names = ("task", "agent", "clock", "train_seed")
    failures += [
        {**{name: o.point[name] for name in names}, "reason": o.error}
        for o in outcomes
        if o.result is None
    ]
    done = [outcome.result for outcome in outcomes if outcome.result is not None]
    rows = [row for result in done for row in result["rows"]]
    summary = aggregate(rows, failures)
    summary["compile_s"] = sum(result["compile_s"] for result in done)
    summary["jobs"] = config.jobs
    _write(out, rows, summary, models)
    return summary


def _state(case: Mapping[str, Any], outcome: JobResult) -> str:
    """The end of a case in a line."""
    if outcome.result is None:
        return f"failed: {outcome.error}"
    state = "done before" if outcome.cached else "done"
    if case["kind"] == "train":
        return state
    returns = [row["return"] for row in outcome.result["rows"]]
    return f"{state}, return {sum(returns) / len(returns):.1f} over {len(returns)} episodes"


def _given_runs(config: BenchConfig) -> Models:
    """The checkpoints that are given. Raises ConfigError."""
    given: Models = {}
    for path in config.run_list:
        found = find_checkpoint(path)
        trained = train_config_from(checkpoint.read_json(found, "config.json"), str(found))
        settle(found, trained.env_id)
        key = trained.env_id, trained.seed
        if (config.tasks or config.suite) and key[0] not in config.task_list:
            raise ConfigError(
                f"{path} was trained on {key[0]}, which is none of the tasks: add it to them "
                f"({','.join(config.task_list)})"
            )
        if key in given:
            raise ConfigError(f"{path} and {given[key]} are both {key[0]} with seed {key[1]}")
        given[key] = path
    return given


def _train_missing(config: BenchConfig, models: Models, session: JobQueue) -> list[Row]:
    """Add a model of every seed for the tasks that have none; the failures."""
    if not {"plan", "prior"} & set(config.agent_list):
        return []
    given = {task for task, _ in models}
    wanted = [
        (task, seed) for task in config.task_list for seed in config.seed_list if task not in given
    ]
    outcomes = session.submit([training_case(config.training(*key)) for key in wanted])
    failures = []
    for key, outcome in zip(wanted, outcomes, strict=True):
        if outcome.result is None:
            failures.append({"task": key[0], "agent": "train", "reason": outcome.error})
        else:
            models[key] = outcome.result["run_dir"]
    return failures


def _evaluations(config: BenchConfig, models: Models) -> list[Case]:
    """Cases of every task, agent, model and clock that there is something to learn from."""
    return [
        case
        for task in config.task_list
        for agent in config.agent_list
        for case in _of_agent(
            config, task, agent, {s: path for (t, s), path in sorted(models.items()) if t == task}
        )
    ]


def _of_agent(config: BenchConfig, task: str, agent: str, trained: dict[int, str]) -> list[Case]:
    count = config.oracle_episodes if agent == "oracle" else config.episodes
    common = {
        "seeds": range(config.eval_seed, config.eval_seed + count),
        "meanwhile": config.latency_policy,
        "action_repeat": config.train.action_repeat,
        "planner": config.planner.given,
    }
    seed, path = next(iter(trained.items()), (None, ""))
    if agent in ("random", "zero"):  # which act as often as the models they are compared with
        common["planner"] = {}
        if path:
            common["action_repeat"] = stored_spec(find_checkpoint(path)).action_repeat
        return [evaluation_case(task, agent, **common)]
    if agent == "oracle":  # with the critic of the first model, if there is one
        return [evaluation_case(task, agent, checkpoint=path, train_seed=seed, **common)]
    return [
        evaluation_case(task, agent, clock=clock, checkpoint=path, train_seed=seed, **common)
        for seed, path in trained.items()
        for clock in config.latency_list
        if agent == "plan" or not clock.startswith("fixed")  # the prior does not plan
    ]


def _write(out: Path, rows: Sequence[Row], summary: Row, models: Models) -> None:
    """The files that people and programs read."""
    ordered = [row for group in grouped(rows).values() for row in group]
    write_results(out, ordered, summary, write_summary_md(summary))
    curves: dict[str, list[Row]] = {}
    videos = {}
    for (task, seed), path in sorted(models.items()):
        run = RunDir(path)
        if evals := [row for row in run.read_metrics() if row.get("kind") == "eval"]:
            frames, returns = ([row[k] for row in evals] for k in ("frames", "return_mean"))
            curve = {"label": f"seed {seed}", "frames": frames, "returns": returns}
            curves.setdefault(task, []).append(curve)
        if run.video.exists():
            videos[f"{task}, seed {seed}"] = run.video
    write_bench_html(out / "report.html", summary, curves, videos)
