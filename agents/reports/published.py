"""Published returns on DMControl tasks, to stand beside ours.

`data/published_returns.csv` holds figures only, read off published tables and result files:
TD-MPC2 (arXiv 2310.16828), BMPC (arXiv 2503.18871, with its own TD-MPC2 runs), DreamerV3
(arXiv 2301.04104, and as run for TD-MPC2), DC-MPC (arXiv 2503.00653), SimbaV2 (arXiv
2502.15280), MR.Q (arXiv 2501.16142), TD-MPC (arXiv 2203.04955) and SAC as run for TD-MPC2.
"""

import csv
from importlib.resources import files
from typing import NamedTuple

REFERENCE = "TD-MPC2"
_OURS = {"cup-catch": "ball_in_cup-catch"}


class Point(NamedTuple):
    """A published mean return at a number of frames."""

    frames: int
    mean: float
    std: float | None


def our_name(task: str) -> str:
    """A published task name as we write it: the first hyphen parts domain and task."""
    if task in _OURS:
        return _OURS[task]
    domain, _, rest = task.partition("-")
    return f"{domain}-{rest.replace('-', '_')}"


def published_curves(env_id: str) -> dict[str, list[Point]]:
    """Method to its points, by frames; empty for a task without published figures."""
    text = files("agents.reports").joinpath("data/published_returns.csv").read_text("utf-8")
    curves: dict[str, list[Point]] = {}
    for row in csv.DictReader(text.splitlines()):
        if our_name(row["task"]) == env_id.removeprefix("dmc/"):
            std = row["return_std_or_blank"]
            point = Point(
                int(row["env_frames"]), float(row["return_mean"]), float(std) if std else None
            )
            curves.setdefault(row["method"], []).append(point)
    return {method: sorted(points) for method, points in curves.items()}


def published_at(env_id: str, frames: int) -> Point | None:
    """The reference method's point with the number of frames nearest to `frames`."""
    points = published_curves(env_id).get(REFERENCE, [])
    return min(points, key=lambda p: abs(p.frames - frames), default=None)
