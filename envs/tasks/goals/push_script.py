"""A behaviour for pushing a block: go around it, then push through it, again and again.

It gathers contacts of all kinds; as an expert it is a rough one.
"""

from typing import NamedTuple

import numpy as np

from envs.tasks.helpers import angle_difference, norm

_LEVER, _MAX_LEVER = 0.1, 0.08  # metres aside of the middle for each radian to turn
_MAX_APPROACH, _MAX_PUSH = 25, 12  # decisions
_AIM_NOISE = 0.15


class Push(NamedTuple):
    """One push: go to `origin`, then along `direction` until the block has moved enough."""

    pose: np.ndarray
    """[3] pose of the block that it serves."""
    origin: np.ndarray
    direction: np.ndarray
    before: np.ndarray
    """[3] pose of the block when it was planned."""
    shift: float
    turn: float
    pushing: bool
    decisions: int


def plan(rng: np.random.Generator, block: np.ndarray, pose: np.ndarray, away: float) -> Push:
    """A push that brings a block [3] nearer to a pose [3]; it starts `away` from its middle."""
    offset = pose[:2] - block[:2]
    shift, turn = float(norm(np, offset)), float(angle_difference(np, pose[2], block[2]))
    angle = np.arctan2(offset[1], offset[0]) + _AIM_NOISE * rng.standard_normal()
    direction = np.array([np.cos(angle), np.sin(angle)])
    aside = np.clip(-_LEVER * turn, -_MAX_LEVER, _MAX_LEVER) * np.array(
        [-direction[1], direction[0]]
    )
    origin = block[:2] + aside - away * direction
    return Push(pose, origin, direction, block.copy(), shift, turn, False, 0)


def advance(push: Push, pusher: np.ndarray, block: np.ndarray) -> Push | None:
    """The push after one more decision; None when it is over."""
    push = push._replace(decisions=push.decisions + 1)
    if not push.pushing:
        if norm(np, push.origin - pusher) < 0.025:
            return push._replace(pushing=True, decisions=0)
        return push if push.decisions < _MAX_APPROACH else None
    moved = (block[:2] - push.before[:2]) @ push.direction
    turned = angle_difference(np, block[2], push.before[2]) * np.sign(push.turn)
    enough = moved >= push.shift or turned >= max(abs(push.turn), 0.3)
    return None if enough or push.decisions >= _MAX_PUSH else push


def heading(push: Push, pusher: np.ndarray, block: np.ndarray, around: float) -> np.ndarray:
    """The place [2] to move the pusher to; it keeps `around` from the block until it pushes."""
    if push.pushing:
        along = (pusher - push.origin) @ push.direction
        return push.origin + (along + 0.05) * push.direction
    here, there = pusher - block[:2], push.origin - block[:2]
    bearing, wanted = np.arctan2(here[1], here[0]), np.arctan2(there[1], there[0])
    turn = angle_difference(np, wanted, bearing)
    if abs(turn) < 0.35:
        return push.origin
    angle = bearing + np.clip(turn, -0.35, 0.35)
    return block[:2] + around * 1.03 * np.array([np.cos(angle), np.sin(angle)])
