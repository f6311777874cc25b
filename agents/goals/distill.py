"""`distill`: learn a critic and a policy for goals on a pretrain run, and store them with it."""

import time
from typing import Any

import numpy as np

from agents.data.dataset import Dataset
from agents.evaluation import stats
from agents.goals import critic as goal_critic
from agents.goals.config import DistillConfig, GoalHeadsConfig
from agents.goals.hindsight import Table
from agents.goals.model import (
    GoalHeads,
    goal_heads_folder,
    learn_goal_heads,
    save_goal_heads,
    table_of,
)
from agents.runs import load_pretrained as jepa_load
from agents.runs.config import ConfigError

PAIRS = 4096
"""Pairs of moments of validation episodes that the critic is judged on."""


def distill_path(config: DistillConfig, console: Any = None) -> dict[str, Any]:
    """Learn the heads of a run from its data; the result as a JSON-ready dict.

    Raises ConfigError, CheckpointError (a damaged run or dataset), StorageError.
    """
    trained = jepa_load.load(config.path)
    path = config.data or trained.data_info.get("path", "")
    if not path:
        raise ConfigError(f"{config.path} does not know its data: give it with --data DIR")
    data = Dataset.open(path)
    if trained.spec and (found := trained.spec.difference(data.spec)):
        raise ConfigError(f"{path} does not fit {config.path}, it differs in {'; '.join(found)}")
    began = time.perf_counter()
    table = table_of(trained, data, turns=config.goal_heads.turns)
    embedded = time.perf_counter()
    heads, losses = learn_goal_heads(
        config.goal_heads, table, _reporter(config.goal_heads, console), trained
    )
    judged = judge(heads, table_of(trained, data, "validation"))
    heads.data = str(path)
    save_goal_heads(trained, heads)
    return {
        "checkpoint": str(trained.path),
        "guides": str(goal_heads_folder(trained.path) / trained.path.name),
        "data": str(path),
        "rows": int(table.last.shape[0]),
        **losses,
        **judged,
        "embed_s": embedded - began,
        "learn_s": time.perf_counter() - embedded,
    }


def judge(heads: GoalHeads, table: Table) -> dict[str, float]:
    """The critic on moments of the same unseen episode.

    critic_bound: share of pairs whose predicted decisions do not exceed the real ones by more than
    a tenth (what it took is an upper bound). critic_rank: rank correlation of the two.
    """
    rng, rows = np.random.default_rng(heads.config.seed), len(table.last)
    at = rng.integers(0, rows, PAIRS)
    last = np.asarray(table.last)[at]
    goal = np.minimum(at + rng.integers(1, int(3 / heads.config.nearness), PAIRS), last)
    at, goal = at[goal > at], goal[goal > at]
    if len(at) < 2:
        raise ConfigError("the validation episodes are too short to judge a critic on")
    cost = goal_critic.cost_to_go(
        heads.arrays["critic"], heads.config, table.embedding[at], table.goal[goal]
    )
    found = np.asarray(goal_critic.decisions(cost, heads.config.discount))
    steps = goal - at
    return {
        "critic_bound": float(np.mean(found <= 1.1 * steps + 1)),
        "critic_rank": stats.rank_correlation(found, steps),
    }


def _reporter(config: GoalHeadsConfig, console: Any):
    """Says now and then how far it is."""
    if console is None:
        return None
    every = max(config.updates // 5 // goal_critic.BATCH, 1) * goal_critic.BATCH

    def report(stage: str, done: int, loss: float) -> None:
        if done % every == 0 or done == config.updates:
            console.print(f"{stage}: {done} of {config.updates} updates, loss {loss:.3g}")

    return report
