"""Environments that others wrote: what their code raises and returns, told in one line."""

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

from envs.spec import EnvError

_BETWEEN = tuple(str(Path(p).parent) for p in (gymnasium.__file__, np.__file__, __file__))
"""Folders of code that is not the user's: an error is told at the line that came before it."""


@contextmanager
def calling(env_id: str, call: str) -> Iterator[None]:
    """Make one EnvError of whatever somebody's code raises, with its line; SystemExit too."""
    try:
        yield
    except (EnvError, KeyboardInterrupt):
        raise
    except BaseException as error:
        text = " ".join(str(error).split()) or "without a word"
        raise EnvError(
            f"{env_id}: {call} raised {type(error).__name__}: {text[:500]}{_line(error)}"
        ) from error


def _line(error: BaseException) -> str:
    """Where the user's code raised, or whoever did where none of it was running."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename != __file__]
    theirs = [f for f in frames if not f.filename.startswith((*_BETWEEN, "<"))]
    last = (theirs or frames)[-1:]
    return f" ({last[0].filename}:{last[0].lineno})" if last else ""


def begun(env_id: str, outcome: Any) -> Any:
    """The observation of what reset() gave. Raises EnvError."""
    if not isinstance(outcome, tuple) or len(outcome) != 2:
        raise EnvError(f"{env_id}: reset() gave {_shown(outcome)}; expected (obs, info)")
    return outcome[0]


def stepped(env_id: str, outcome: Any) -> tuple[Any, float, bool, bool]:
    """obs, reward, terminated and truncated of what step() gave. Raises EnvError."""
    if not isinstance(outcome, tuple) or len(outcome) != 5:
        raise EnvError(
            f"{env_id}: step() gave {_shown(outcome)}; expected (obs, reward, terminated, "
            "truncated, info)"
        )
    obs, reward, *ends, _ = outcome
    number = isinstance(reward, int | float | np.number | np.bool_)
    if not number and not (isinstance(reward, np.ndarray) and reward.shape == ()):
        raise EnvError(f"{env_id}: step() gave the reward {_shown(reward)}; expected a number")
    for name, end in zip(("terminated", "truncated"), ends, strict=True):
        if np.shape(end) or not isinstance(end, bool | np.bool_ | int | np.integer | np.ndarray):
            raise EnvError(f"{env_id}: step() gave {name} {_shown(end)}; expected True or False")
    return obs, float(reward), bool(ends[0]), bool(ends[1])


def _shown(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"an array of shape {value.shape}"
    if isinstance(value, tuple):
        return f"a tuple of {len(value)}"
    text = " ".join(repr(value).split())
    return text if len(text) < 60 else f"a {type(value).__name__}"


def unheld(values: np.ndarray, name: str) -> str:
    """The first of the values that single precision, in which they are stored, cannot hold."""
    with np.errstate(over="ignore"):
        bad = np.flatnonzero(~np.isfinite(values.astype(np.float32)))
    if not len(bad):
        return ""
    where, value = f"{name}[{bad[0]}]" if values.ndim else name, np.ravel(values)[bad[0]]
    return f"{where} is {'too large for float32' if np.isfinite(value) else value}"
