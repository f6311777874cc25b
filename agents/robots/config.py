"""Settings of `latentmpc new` and `latentmpc check`. Imports nothing heavy."""

from dataclasses import dataclass
from typing import Annotated, Literal

from msgspec import Meta

from agents.runs import bounds

Kind = Literal["", "reach", "walk", "hold"]


@dataclass(frozen=True)
class NewConfig(bounds.Settings):
    """A task file for a robot's model."""

    file: str = ""
    """The Python file to write."""
    model: str = ""
    """The robot's MJCF or URDF file, or `PACKAGE:PATH` of one that an installed package has."""
    task: Kind = ""
    """What is rewarded; by default what the model has: a free body walks, an arm reaches."""
    site: str = ""
    """The site of an arm that is to reach; by default the one that is named as an end effector."""
    overwrite: bool = False
    """Write over a file that is there."""


@dataclass(frozen=True)
class CheckConfig(bounds.Settings):
    """A look at a task before training."""

    env_id: bounds.TaskId = ""
    """The task: FILE.py:CLASS, any native task's id, or a Gymnasium environment's (MODULE:ID)."""
    steps: Annotated[int, Meta(ge=10, le=100_000)] = 2000
    """Decisions with random actions, over all simulators."""
    film: str = ""
    """Write a film of random actions there (mp4); of native tasks."""
    seed: bounds.Seed = 0
