"""The tasks that one model is evaluated on, and their results together."""

import difflib
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import Any, NamedTuple

import numpy as np

from agents.evaluation import stats
from agents.evaluation.result import EvalResult
from agents.runs.config import ConfigError
from envs.registry import make_spec
from envs.task_list import task_names, view_id
from wm.types import discount_for


class EvalTask(NamedTuple):
    """One task of a model."""

    name: str
    env_id: str
    """Id with which `make_vec` simulates it as the model sees it."""
    discount: float


def eval_tasks(env_id: str, action_repeat: int, discount: float, only: str = "") -> list[EvalTask]:
    """The tasks behind a run's `env_id`: one as a rule, each of them in a model of several.

    `only` takes one task: of several, one among them; else any task in place of the run's own.
    `discount` is that of the model of a single task; each of several has its own. Raises
    ConfigError naming the nearest where a model of several has no such task.
    """
    names = task_names(env_id)
    if not names:
        return [EvalTask(only or env_id, only or env_id, discount)]
    if only and only not in names:
        near = difflib.get_close_matches(only, names, n=1, cutoff=0.0)[0]
        raise ConfigError(
            f"{only} is none of the tasks of this run ({', '.join(names)}): did you mean {near}?"
        )
    return [
        EvalTask(
            name, view_id(env_id, name), discount_for(make_spec(name, action_repeat).episode_steps)
        )
        for name in ([only] if only else names)
    ]


def pooled(results: Sequence[EvalResult]) -> EvalResult:
    """Evaluation results of several tasks as one: all episodes; latent errors are averaged."""
    if len(results) == 1:
        return results[0]
    joined = {
        name: [x for result in results for x in getattr(result, name)]
        for name in results[0].to_json()
    }
    errors = zip_longest(*[r.k_step_error for r in results], fillvalue=np.nan)
    joined["k_step_error"] = [float(np.nanmean(row)) for row in errors]
    return type(results[0])(**joined)


def by_task(results: Mapping[str, Mapping[str, EvalResult]]) -> dict[str, dict[str, Any]]:
    """{task: summary} of {task: {agent: result}}, as in result.json."""
    return {
        task: {
            **stats.return_summary(own["plan"]),
            **{
                f"{name}_return_mean": stats.return_summary(result)["return_mean"]
                for name, result in own.items()
                if name != "plan"
            },
        }
        for task, own in results.items()
    }
