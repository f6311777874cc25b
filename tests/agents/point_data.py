"""Recorded episodes in memory: a point with inertia in a box, as vectors and as small pictures."""

import numpy as np

SIZE = 16


class PointData:
    """Episodes [E, T + 1, ...] with the fields of a dataset; a fifth of them for validation."""

    def __init__(self, episodes=40, steps=40, seed=0, velocity=False, pixels=False):
        rng = np.random.default_rng(seed)
        action = np.zeros((episodes, steps + 1, 2), np.float32)
        state = np.zeros((episodes, steps + 1, 4), np.float32)
        position = rng.uniform(-0.8, 0.8, (episodes, 2))
        speed = rng.uniform(-0.1, 0.1, (episodes, 2))
        force = np.zeros((episodes, 2))
        for t in range(steps + 1):
            state[:, t] = np.concatenate([position, speed], -1)
            if t == steps:
                break
            force = 0.7 * force + 0.5 * rng.normal(size=force.shape)
            action[:, t] = np.clip(force, -1, 1)
            speed = 0.9 * speed + 0.03 * action[:, t]
            position = position + speed
            outside = np.abs(position) > 1
            position, speed = np.clip(position, -1, 1), np.where(outside, 0.0, speed)
        obs = state if velocity else state[..., :2]
        self.arrays = {"obs": obs, "action": action, "state": state}
        if pixels:
            self.arrays["pixels"] = draw(state[..., :2])
        count = max(episodes // 5, 1)
        self.ids = {"validation": np.arange(count), "train": np.arange(count, episodes)}

    def slices(self, rng, split, batch, length, fields=("obs", "action", "state")):
        episode = rng.choice(self.ids[split], batch)
        start = rng.integers(0, self.arrays["obs"].shape[1] - length + 1, batch)
        rows = start[:, None] + np.arange(length)
        return {k: self.arrays[k][episode[:, None], rows] for k in fields}


def draw(position):
    """Pictures uint8 [..., SIZE, SIZE, 3] of a blurred dot."""
    grid = np.linspace(-1.1, 1.1, SIZE)
    x = np.exp(-(((grid - position[..., :1]) / 0.15) ** 2))
    y = np.exp(-(((grid - position[..., 1:]) / 0.15) ** 2))
    dot = 255 * y[..., :, None] * x[..., None, :]
    return np.repeat(dot[..., None], 3, -1).astype(np.uint8)
