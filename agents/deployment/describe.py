"""The contract of a trained model."""

import hashlib
from dataclasses import asdict, replace
from datetime import date
from typing import Any

import jax
import numpy as np

from agents.deployment.contract import ActionLimits, Contract, ObsSchema
from agents.runs import task_files
from agents.runs.config import digest
from agents.runs.load import Trained
from agents.runs.versions import installed
from envs.spec import Robot
from envs.tasks import TASKS
from envs.tasks.interface import robot_of

STALE_AFTER = 2.0
"""Decision periods after which an observation is stale, unless told otherwise."""


def params_digest(params: Any) -> str:
    """SHA-256 of parameters: name, type, shape and bytes of every leaf, in the order of names."""
    found = {jax.tree_util.keystr(k): np.asarray(v) for k, v in jax.tree.leaves_with_path(params)}
    sha256 = hashlib.sha256()
    for name in sorted(found):
        leaf = np.ascontiguousarray(found[name])
        sha256.update(f"{name} {leaf.dtype.name} {list(found[name].shape)}\n".encode())
        sha256.update(leaf.tobytes())
    return sha256.hexdigest()


def robot(trained: Trained) -> Robot | None:
    """Joints and actuators of what a model was trained on; None of another simulator's."""
    task = TASKS.get(trained.spec.env_id)
    if task is not None:
        return robot_of(task())
    stored = task_files.read(trained.path)
    return stored.about.robot if stored else None


def contract_for(trained: Trained, **changes: Any) -> Contract:
    """The contract of a trained model: its spec's sizes and times, actions in [-1, 1].

    Ranges of observations and the threshold of surprise are unknown (unbounded, none) until
    they are calibrated (`agents.deployment.guard.surprise`); `changes` replaces fields.
    """
    spec, config = trained.spec, trained.config
    contract = Contract(
        env_id=spec.env_id,
        obs=ObsSchema(names=spec.obs_names, shape=(spec.obs_dim,)),
        action=ActionLimits(low=(-1.0,) * spec.action_dim, high=(1.0,) * spec.action_dim),
        control_dt=spec.control_dt,
        action_repeat=spec.action_repeat,
        max_obs_age=STALE_AFTER * spec.control_dt * spec.action_repeat,
        params_digest=params_digest(trained.params),
        config_digest=digest(config),
        settings=asdict(config) | {"run_dir": ""},  # where it lay is nobody's business
        spec=spec.to_json(),
        versions=installed(),
        training={name: getattr(config, name) for name in ("preset", "env_steps", "seed")}
        | {"checkpoint": trained.path.name},
        robot=robot(trained),
        created=date.today().isoformat(),
    )
    return replace(contract, **changes)
