"""A medium maze: bring a point to a place that is often behind several corners.

In the spirit of the medium mazes of D4RL and OGBench, with a layout of our own; as there, success
is to be within about half a cell.
"""

import re
from typing import Any

import numpy as np

from envs.tasks.base import Start
from envs.tasks.engine import compile_model
from envs.tasks.goals.planar import PointTask, Wall, point_xml, walls_xml, world_xml

LAYOUT = (
    "########",
    "#...#..#",
    "#.#...##",
    "#.##.#.#",
    "#..#...#",
    "##.#.#.#",
    "#....#.#",
    "########",
)
CELL = 0.25
"""Side of a cell, metres."""
TOLERANCE = 0.45 * CELL
_SIDE = len(LAYOUT)
_RADIUS = 0.06
_MIN_CELLS = 4  # from start to goal


def model_xml() -> str:
    """The MJCF of the maze."""
    walls = [
        Wall(*_middle((row, (run.start() + run.end() - 1) / 2)), len(run[0]) * CELL / 2, CELL / 2)
        for row, marks in enumerate(LAYOUT)
        for run in re.finditer("#+", marks)
    ]
    content = walls_xml(walls, height=2 * _RADIUS) + point_xml(_RADIUS)
    return world_xml("point-maze", _SIDE * CELL, 0.01, 2, content)


def _middle(cell: tuple[float, float]) -> tuple[float, float]:
    """Where the middle of a cell (row, column) is; row 0 is at the top of the picture."""
    row, column = cell
    return (column + 0.5 - _SIDE / 2) * CELL, (_SIDE / 2 - row - 0.5) * CELL


def _cell(place: np.ndarray) -> tuple[int, int]:
    """The cell (row, column) that holds a place [2]."""
    column, row = np.floor(np.array([place[0], -place[1]]) / CELL + _SIDE / 2).astype(int)
    return int(row), int(column)


class PointMaze(PointTask):
    """Be within 0.45 of a cell of a place, at least four cells of path away at the start."""

    control_dt, time_limit = 0.05, 20
    radius = TOLERANCE
    script_gains = (8.0, 0.5)

    def __init__(self) -> None:
        super().__init__()
        marks = enumerate(LAYOUT)
        self._free = [(r, c) for r, row in marks for c, mark in enumerate(row) if mark == "."]
        self._steps = {cell: self._distances(cell) for cell in self._free}

    def load(self) -> Any:
        """The maze."""
        return compile_model(model_xml())

    def far_enough(self, start: np.ndarray, goal: np.ndarray, rng: np.random.Generator) -> bool:
        """The path is at least four cells long."""
        return self.path_cells(start, goal) >= _MIN_CELLS

    def path_cells(self, start: np.ndarray, goal: np.ndarray) -> int:
        """Length of the shortest path between two places [2], in cells."""
        return self._steps[_cell(goal)][_cell(start)]

    def free_start(self, rng: np.random.Generator) -> Start:
        """Anywhere in a free cell, at rest, clear of its walls."""
        middle = _middle(self._free[rng.integers(len(self._free))])
        clear = CELL / 2 - _RADIUS
        return self.at_rest(middle + rng.uniform(-clear, clear, 2))

    def to_go(self, qpos: np.ndarray, place: np.ndarray) -> np.ndarray:
        """By the shortest path: to the place, or to the middle of the next cell on the way."""
        steps, cell = self._steps[_cell(place)], _cell(qpos)
        if steps.get(cell, 0) == 0:
            return place - qpos
        nearest = min(_neighbours(cell), key=lambda n: steps.get(n, np.inf))
        return np.array(_middle(nearest)) - qpos

    def _distances(self, goal: tuple[int, int]) -> dict[tuple[int, int], int]:
        """Length of the shortest path from every free cell to `goal`, in cells."""
        found, front = {goal: 0}, [goal]
        for cell in front:
            for neighbour in _neighbours(cell):
                if neighbour in self._free and neighbour not in found:
                    found[neighbour] = found[cell] + 1
                    front.append(neighbour)
        return found


def _neighbours(cell: tuple[int, int]) -> list[tuple[int, int]]:
    row, column = cell
    return [(row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1)]
