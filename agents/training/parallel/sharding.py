"""One training over many devices: each plans for, and learns from, its share of the data.

The simulators of a decision and the batch of an update are split along the mesh axis `data`;
parameters are replicated, and XLA adds the gradients up. What crosses to the host (actions, plans,
replay, learner) is replicated too, so checkpoints know nothing of devices and restore onto any
number of them.
"""

from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from agents.acting.agent import Agent
from agents.runs.config import ConfigError, TrainConfig

AXIS = "data"


def make_mesh(config: TrainConfig) -> Mesh | None:
    """The devices of a training, of all its processes; None for one device.

    Raises ConfigError when there are not as many as asked for, or a process would have no share.
    """
    found, asked = jax.device_count(), config.devices
    if found < asked:
        raise ConfigError(
            f"--devices {asked}, but jax has {found} ({jax.default_backend()}): ask for at most "
            f"{found}; a CPU counts as {asked} with "
            f"XLA_FLAGS=--xla_force_host_platform_device_count={asked}"
        )
    if jax.process_count() > 1 and found != asked:
        raise ConfigError(
            f"--devices {asked}, but the {jax.process_count()} processes have {found} together: "
            f"give --devices {found}, as every device of every process takes part"
        )
    return Mesh(np.array(jax.devices()[:asked]), (AXIS,)) if asked > 1 else None


def whole(mesh: Mesh | None) -> dict[str, Any]:
    """Arguments of jax.jit: every input and output is held whole on each device."""
    if mesh is None:
        return {}
    sharding = NamedSharding(mesh, PartitionSpec())
    return {"in_shardings": sharding, "out_shardings": sharding}


def split(mesh: Mesh | None, tree: Any) -> Any:
    """Inside a program: `tree` with the leading axis of its leaves over the devices."""
    if mesh is None:
        return tree
    return jax.lax.with_sharding_constraint(tree, NamedSharding(mesh, PartitionSpec(AXIS)))


def over_devices(agent: Agent, mesh: Mesh | None) -> Agent:
    """`agent`, inside a program, deciding for E / devices of its simulators on each device."""
    if mesh is None:
        return agent

    def act(params: Any, carry: Any, obs: Any, is_first: Any, key: Any) -> Any:
        carry, obs, is_first = split(mesh, (carry, obs, is_first))
        return agent.act(params, carry, obs, is_first, key)

    return agent._replace(act=act)


def on_one(mesh: Mesh | None, tree: Any) -> Any:
    """Replicated arrays as this process's default device has them, to evaluate with."""
    return tree if mesh is None else jax.device_put(jax.device_get(tree), jax.local_devices()[0])
