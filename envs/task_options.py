"""What an id says beside the name of an environment: `Ant-v5?frame_skip=25#episode_steps=200`.

After `?` stand arguments of the environment's constructor, after `#` settings of ours; texts are
quoted as in addresses. So an id is all that is needed to make an environment again. Imports
nothing heavy.
"""

import ast
import contextlib
import math
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, quote

from envs.spec import MOST_FRAMES, UnknownTaskError

SETTINGS = ("episode_steps", "control_dt", "action_range")
WORDS = {"true": True, "false": False, "null": None}
MOST_ARGUMENTS, MOST_TEXT = 32, 500
OURS = ("render_mode", "max_episode_steps", "disable_env_checker", "additional_wrappers", "id")
"""Arguments of gymnasium.make that are chosen here."""


class TaskOptions(NamedTuple):
    """An id in its parts."""

    name: str
    """The id without options."""
    arguments: dict[str, Any]
    """Of the constructor."""
    episode_steps: int = 0
    """Time limit in decisions in place of the environment's own; 0: that one."""
    control_dt: float = 0.0
    """Seconds of a frame; 0: what the environment says."""
    action_range: tuple[float, float] | None = None
    """For actions without bounds."""


def without_options(env_id: str) -> str:
    """The id alone."""
    return env_id.partition("#")[0].partition("?")[0]


def arguments_of(env_id: str) -> str:
    """The constructor's arguments as the id has them, "" for none."""
    return env_id.partition("#")[0].partition("?")[2]


def task_options(env_id: str) -> TaskOptions:
    """The parts of an id. Raises UnknownTaskError for options that cannot be."""
    arguments, settings = _pairs(arguments_of(env_id), env_id), env_id.partition("#")[2]
    return TaskOptions(
        without_options(env_id),
        {name: _value(text) for name, text in _checked(arguments).items()},
        **{name: _setting(name, text) for name, text in _pairs(settings, env_id).items()},
    )


def with_options(env_id: str, arguments: Mapping[str, str], settings: Mapping[str, Any]) -> str:
    """The id with these options beside those it has. Raises UnknownTaskError as `task_options`."""
    old_arguments = _pairs(arguments_of(env_id), env_id)
    old_settings = _pairs(env_id.partition("#")[2], env_id)
    given = {name: str(value) for name, value in settings.items()}
    query, fragment = _joined({**old_arguments, **arguments}), _joined(old_settings | given)
    whole = without_options(env_id)
    whole += (f"?{query}" if query else "") + (f"#{fragment}" if fragment else "")
    task_options(whole)
    return whole


def _joined(pairs: Mapping[str, str]) -> str:
    return "&".join(f"{name}={quote(text, safe='')}" for name, text in sorted(pairs.items()))


def _pairs(text: str, env_id: str) -> dict[str, str]:
    try:
        return dict(parse_qsl(text, strict_parsing=True, keep_blank_values=True)) if text else {}
    except ValueError as error:
        raise UnknownTaskError(
            f"{env_id!r}: options are NAME=VALUE with & between them ({error})"
        ) from error


def _checked(arguments: Mapping[str, str]) -> Mapping[str, str]:
    for name, text in arguments.items():
        if not name.isidentifier() or name.startswith("_") or name in OURS:
            raise UnknownTaskError(f"--env.{name} is no argument of an environment's constructor")
        if len(text) > MOST_TEXT or len(arguments) > MOST_ARGUMENTS:
            raise UnknownTaskError(
                f"--env.{name}: at most {MOST_ARGUMENTS} arguments of {MOST_TEXT} characters"
            )
    return arguments


def _value(text: str) -> Any:
    """A number, word, text in quotes, list or table of these; anything else is text as it is."""
    if text in WORDS:
        return WORDS[text]
    with contextlib.suppress(ValueError, SyntaxError, MemoryError, RecursionError):
        return ast.literal_eval(text)
    return text


def _setting(name: str, text: str) -> Any:
    """A setting of ours. Raises UnknownTaskError unless it is one, with a value that can be."""
    flag = f"--{name.replace('_', '-')}"
    with contextlib.suppress(ValueError):
        if name == "episode_steps" and 0 < int(text) < MOST_FRAMES:
            return int(text)
        if name == "control_dt" and 1e-6 <= float(text) <= 3600:
            return float(text)
        if name == "action_range":
            low, high = map(float, text.split(":"))
            if low < high and math.isfinite(high - low):
                return low, high
    expected = {
        "episode_steps": "a number of decisions",
        "control_dt": "seconds of a frame",
        "action_range": "LOW:HIGH, as in -2:2",
    }
    if name not in expected:
        raise UnknownTaskError(f"{name!r} is no setting of a task: {', '.join(SETTINGS)} are")
    raise UnknownTaskError(f"{flag} must be {expected[name]}, got {text!r}")
