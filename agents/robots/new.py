"""`latentmpc new`: a task file for a robot's model, from what the model has."""

import os
from importlib.resources import files
from pathlib import Path
from typing import Any

from agents.robots.config import NewConfig
from agents.runs.config import ConfigError
from agents.storage.files import write_atomically
from envs.tasks.model_file import ModelError, locate
from envs.tasks.survey import Survey, survey

TITLES = {"reach": "Reach", "walk": "Walk", "hold": "Hold"}
FRAME = {"reach": 0.04, "walk": 0.02, "hold": 0.02}
"""Seconds of a frame; an agent's decision is two of them."""
SPAN = {"reach": 1.6, "walk": 0.4, "hold": 0.8}
"""Radians that an action may move a joint from its pose, where servos are added."""


def write_task(config: NewConfig) -> dict[str, Any]:
    """Write the file; returns what it is and what to type next. Raises ConfigError, ModelError."""
    out, model = Path(config.file), locate(config.model)
    if out.suffix != ".py":
        raise ConfigError(f"the task's file ends in .py, as in latentmpc new my_arm.py; got {out}")
    if out.exists() and not config.overwrite:
        raise ConfigError(f"{out} exists: choose another name, or --overwrite it")
    if not model.is_file():
        raise ConfigError(f"--model: {model} is no file; give the robot's MJCF or URDF")
    installed = config.model if model != Path(config.model) else ""
    facts = survey(model)
    kind = config.task or ("walk" if facts.free else "reach")
    named = installed or os.path.relpath(model, out.parent or ".")
    text = render(out, named, facts, kind, config.site)
    write_atomically(out, text.encode())
    name = f"{out}:{TITLES[kind]}"
    return {
        "task": name,
        "kind": kind,
        "lines": len(text.splitlines()),
        "joints": facts.joints,
        "actuators": facts.actuators,
        "next": f"latentmpc check {name}",
    }


def render(out: Path, model_file: str, facts: Survey, kind: str, site: str) -> str:
    """The text of the file. Raises ModelError for a model that cannot do this."""
    from jinja2 import Environment, StrictUndefined

    if kind == "walk" and not facts.free:
        raise ModelError(f"{model_file} has no free joint, so it cannot walk: --task reach or hold")
    if not facts.joints:
        raise ModelError(f"{model_file} has no joint to move: name the file of the whole robot")
    servo = not facts.actuators or (kind == "walk" and facts.motors > 0)
    text = files("agents.robots").joinpath("task.py.jinja").read_text("utf-8")
    strict = Environment(undefined=StrictUndefined, trim_blocks=True, keep_trailing_newline=True)
    stiffness = facts.force / (0.1 if kind == "reach" else SPAN[kind])
    return strict.from_string(text).render(
        file=out.name, name=TITLES[kind], kind=kind, model_file=model_file,
        about=ABOUT[kind], helpers=HELPERS[kind], free=facts.free, hand=facts.hand,
        tool=site or facts.tool, control_dt=frame_time(kind, facts.timestep),
        time_limit={"reach": 6.0}.get(kind, 10.0), radius=0.02, view=_round(2 * facts.size),
        servo=servo, stiffness=_round(stiffness), damping=_round(stiffness / 40), span=SPAN[kind],
        paced=kind == "reach" and (servo or facts.positions > 0), scale=_round(4 / facts.size, 1),
        margin=_round(0.4 * facts.size), hangs=facts.hangs, tall=_round(0.8 * facts.height),
        fallen=_round(0.4 * facts.height),
    )  # fmt: skip


ABOUT = {
    "reach": "Bring the end of the arm to a target, drawn anew in each episode.",
    "walk": "Walk forward, upright.",
    "hold": "Hold the model's first pose.",
}
HELPERS = {
    "reach": "between, norm, tolerance",
    "walk": "in_body, tolerance, up_seen, upright",
    "hold": "norm, tolerance",
}


def frame_time(kind: str, timestep: float) -> float:
    """The whole number of physics steps nearest to what is customary, in seconds."""
    return _round(max(1, round(FRAME[kind] / timestep)) * timestep, 6)


def _round(value: float, digits: int = 2) -> float:
    return float(f"{value:.{digits}g}")
