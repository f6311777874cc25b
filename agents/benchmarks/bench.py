"""`bench`: train where no checkpoint is given, evaluate every agent, summarise with evidence.

OUT/ results.jsonl  one row an episode, in one order whatever ran first
     summary.json  summary.md  report.html
     points/ train/  what is finished; the same command goes on from there
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from agents.benchmarks.aggregate import aggregate
from agents.benchmarks.config import BenchConfig
from agents.benchmarks.points import WORKER, eval_point, train_point
from agents.benchmarks.report import write_bench_html, write_summary_md
from agents.benchmarks.result_sets import write_results
from agents.benchmarks.results import grouped
from agents.jobs.queue import JobQueue, JobResult
from agents.runs.config import ConfigError
from agents.runs.directory import RunDir
from agents.runs.load import find_checkpoint, stored_spec
from agents.runs.settings import train_config_from
from agents.storage import checkpoint
from envs.registry import make_spec

Row = dict[str, Any]
Told = Callable[[str], object]


def bench(config: BenchConfig, say: Told = lambda line: None) -> Row:
    """Run or resume a bench; the summary as in summary.json.

    `say` gets one line for every finished point. Failed points are listed in the summary; the
    rest goes on. Raises ConfigError, UnknownTaskError, StorageError and RunLockedError.
    """
    given = _given_runs(config)
    if given and not (config.tasks or config.suite):
        config = replace(config, tasks=",".join(dict.fromkeys(task for task, _ in given)))
    for task in config.task_list:
        make_spec(task)  # a wrong id is told before anything runs
    out = Path(config.directory)
    with JobQueue(
        WORKER, out, executor=config.executor, jobs=config.jobs, on_done=_teller(say)
    ) as session:
        models, failures = _models(config, given, session)
        outcomes = session.submit(_evaluations(config, models))
    failures += [_failure(outcome) for outcome in outcomes if outcome.result is None]
    done = [outcome.result for outcome in outcomes if outcome.result is not None]
    rows = [row for result in done for row in result["rows"]]
    summary = aggregate(rows, failures)
    summary["compile_s"] = sum(result["compile_s"] for result in done)
    summary["jobs"] = config.jobs
    _write(out, rows, summary, models)
    return summary


def _teller(say: Told) -> Callable[[str, Mapping[str, Any], JobResult], None]:
    def told(key: str, point: Mapping[str, Any], outcome: JobResult) -> None:
        del key
        state = "done before" if outcome.cached else "done"
        if outcome.result is None:
            state = f"failed: {outcome.error}"
        elif point["kind"] == "eval":
            returns = [row["return"] for row in outcome.result["rows"]]
            state += f", return {sum(returns) / len(returns):.1f} over {len(returns)} episodes"
        say(f"{point['name']}: {state}")

    return told


def _given_runs(config: BenchConfig) -> dict[tuple[str, int], str]:
    """(task, training seed) to the path of a given checkpoint. Raises ConfigError."""
    given = {}
    for path in config.run_list:
        found = find_checkpoint(path)
        trained = train_config_from(checkpoint.read_json(found, "config.json"), str(found))
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


def _models(
    config: BenchConfig, given: Mapping[tuple[str, int], str], session: JobQueue
) -> tuple[dict[tuple[str, int], str], list[Row]]:
    """Checkpoint of every (task, seed), trained here where none is given; and what failed."""
    models, needed = dict(given), {"plan", "prior"} & set(config.agent_list)
    tasks_given = {task for task, _ in given}
    wanted = [
        (task, seed)
        for task in config.task_list
        for seed in config.seed_list
        if needed and task not in tasks_given
    ]
    outcomes = session.submit([train_point(config.training(*key)) for key in wanted])
    failures = []
    for key, outcome in zip(wanted, outcomes, strict=True):
        if outcome.result is None:
            failures.append({"task": key[0], "agent": "train", "reason": outcome.error})
        else:
            models[key] = outcome.result["run_dir"]
    return models, failures


def _evaluations(config: BenchConfig, models: Mapping[tuple[str, int], str]) -> list[Row]:
    """Points of every task, agent, model and clock that there is something to learn from."""
    points = []
    for task in config.task_list:
        trained = {seed: path for (name, seed), path in sorted(models.items()) if name == task}
        for agent in config.agent_list:
            points += _of_agent(config, task, agent, trained)
    return points


def _of_agent(config: BenchConfig, task: str, agent: str, trained: dict[int, str]) -> list[Row]:
    count = config.oracle_episodes if agent == "oracle" else config.episodes
    common = {
        "seeds": range(config.eval_seed, config.eval_seed + count),
        "meanwhile": config.meanwhile,
        "action_repeat": config.train.action_repeat,
        "planner": config.planner.given,
    }
    if agent in ("random", "zero"):
        return [eval_point(task, agent, **{**common, "planner": {}, **_repeat_of(trained)})]
    if agent == "oracle":  # with the critic of the first model, if there is one
        first = next(iter(trained.items()), (None, ""))
        return [eval_point(task, agent, checkpoint=first[1], train_seed=first[0], **common)]
    return [
        eval_point(task, agent, clock=clock, checkpoint=path, train_seed=seed, **common)
        for seed, path in trained.items()
        for clock in config.clock_list
        if agent == "plan" or not clock.startswith("fixed")  # the prior does not plan
    ]


def _repeat_of(trained: Mapping[int, str]) -> Row:
    """Floors act as often as the models they are compared with."""
    for path in trained.values():
        return {"action_repeat": stored_spec(find_checkpoint(path)).action_repeat}
    return {}


def _failure(outcome: JobResult) -> Row:
    point = outcome.point
    names = {name: point[name] for name in ("task", "agent", "clock", "train_seed")}
    return {**names, "reason": outcome.error}


def _write(
    out: Path, rows: Iterable[Row], summary: Row, models: Mapping[tuple[str, int], str]
) -> None:
    """Everything that people and programs read."""
    ordered = [row for group in grouped(rows).values() for row in group]
    write_results(out, ordered, summary, write_summary_md(summary))
    curves: dict[str, list[Row]] = {}
    videos = {}
    for (task, seed), path in sorted(models.items()):
        run = RunDir(path)
        evals = [row for row in run.read_metrics() if row.get("kind") == "eval"]
        if evals:
            curve = {"label": f"seed {seed}", "frames": [row["frames"] for row in evals]}
            curves.setdefault(task, []).append(
                curve | {"returns": [row["return_mean"] for row in evals]}
            )
        if run.video.exists():
            videos[f"{task}, seed {seed}"] = run.video
    write_bench_html(out / "report.html", summary, curves, videos)
