"""Held-out starts, goals and episodes, which nothing was learned from."""

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np

from agents.data.dataset import Dataset
from agents.data.files import MAX_DATA
from agents.goals.config import HELD_OUT, GoalEvalConfig
from agents.goals.model import goal_heads_data
from agents.runs.config import ConfigError
from agents.runs.load_pretrained import JepaTrained
from agents.storage import sealed
from agents.storage.files import CheckpointError


def held_out(config: GoalEvalConfig, recorded: frozenset[int]) -> list[int]:
    """Seeds of the pairs of start and goal: none is that of a recorded episode."""
    free = (s for s in itertools.count(HELD_OUT + config.seed) if s not in recorded)
    return list(itertools.islice(free, config.goals))


def recorded_seeds(trained: JepaTrained) -> frozenset[int]:
    """Seeds of the episodes that model and heads learned from; none where data is not here."""

    def of(data: str) -> list[int]:
        try:
            stored = sealed.read_json(Path(data, "data.json"), MAX_DATA)
            return [int(episode["seed"]) for episode in stored["episodes"]]
        except (CheckpointError, ValueError, KeyError, TypeError):
            return []

    return frozenset(of(trained.data_info.get("path", "")) + of(goal_heads_data(trained)))


def unlearned(dataset: Dataset, learned: str) -> Dataset:
    """`dataset`, its test episodes that are also among those learned from in `learned` in train.

    The same settings record the same episodes again, however many there are, and the splits of
    more of them are others. Where `learned` is no longer there, it is taken as it is.

    Raises ConfigError where no test episode is left.
    """
    try:
        other = Dataset.open(learned)
    except ConfigError:
        return dataset
    known = {other.episodes[i].seed: other.episode(int(i))["obs"] for i in other.split("train")}

    def is_known(number: int, seed: int) -> bool:
        there = known.get(seed)
        return there is not None and np.array_equal(dataset.episode(number)["obs"], there)

    episodes = tuple(
        replace(e, split="train") if e.split == "test" and is_known(i, e.seed) else e
        for i, e in enumerate(dataset.episodes)
    )
    if not any(e.split == "test" for e in episodes):
        raise ConfigError(
            f"every test episode of {dataset.path} is one that the model learned from: "
            "collect others with another --seed"
        )
    return Dataset(dataset.path, replace(dataset.info, episodes=episodes), dataset.arrays)
