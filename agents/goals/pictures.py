"""Recorded moments as goals show them, where a goal leaves something open.

In hindsight the pusher always stands where it just pushed, which no goal that is given tells. So
that nothing is learned of it, goals are drawn again with what is open somewhere else.
"""

import numpy as np

from agents.data.dataset import Dataset
from envs.native.recorded import OffscreenRenderer

OPEN = 0x60A1


class GoalPictures:
    """Pictures [N, H, W, 3] of the rows of a dataset as goals, drawn when they are first asked for.

    What a row looks like depends on its number alone. Raises EnvError when OpenGL does not work.
    """

    def __init__(self, data: Dataset):
        self._physics = data.arrays["physics"]
        shape = data.arrays["pixels"].shape
        self._film = OffscreenRenderer(data.spec.env_id, shape[1])
        self._pictures, self._drawn = np.empty(shape, np.uint8), np.zeros(shape[0], bool)

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        """Pictures [n, K, H, W, 3] of rows [n, K]."""
        for row in np.unique(rows[~self._drawn[rows]]):
            rng = np.random.default_rng([row, OPEN])
            self._pictures[row] = self._film.goal_picture(self._physics[row], rng)
            self._drawn[row] = True
        return self._pictures[rows]

    def close(self) -> None:
        """Give OpenGL back."""
        self._film.close()
