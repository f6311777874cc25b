"""Which starts and goals are held out: those of no episode that anything was learned from."""

import itertools
import json
from pathlib import Path

from agents.goal_config import HELD_OUT, GoalEvalConfig
from agents.goal_model import guide_data
from agents.jepa_load import JepaTrained


def held_out(config: GoalEvalConfig, recorded: frozenset[int], count: int = 0) -> list[int]:
    """Seeds of the pairs of start and goal: none is that of a recorded episode."""
    free = (s for s in itertools.count(HELD_OUT + config.seed) if s not in recorded)
    return list(itertools.islice(free, count or config.goals))


def recorded_seeds(trained: JepaTrained) -> frozenset[int]:
    """Seeds of the episodes that model and guides learned from; none where data is not here."""

    def of(data: str) -> list[int]:
        try:
            episodes = json.loads(Path(data, "data.json").read_bytes())["episodes"]
            return [int(episode["seed"]) for episode in episodes]
        except (OSError, ValueError, KeyError, TypeError):
            return []

    return frozenset(of(trained.data_info.get("path", "")) + of(guide_data(trained)))
