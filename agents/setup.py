"""From settings and an environment's spec to networks and agents."""

import os
from dataclasses import replace

from agents.config import ConfigError, TrainConfig
from agents.replay import FLAGS
from envs.spec import EnvSpec
from wm import tdmpc
from wm.tdmpc import Networks
from wm.types import Spec, discount_for

EVAL_SEED = 10_000  # seeds of evaluation episodes start here, apart from those of training


def build_networks(config: TrainConfig, spec: EnvSpec) -> Networks:
    """Networks for the task; a termination head where its episodes can end early."""
    model = replace(config.model, episodic=config.model.episodic or spec.episodic)
    task = Spec(spec.obs_dim, spec.action_dim, discount_for(spec.episode_steps))
    return tdmpc.build(model, config.learner, task)


def seed_steps(config: TrainConfig, spec: EnvSpec) -> int:
    """Random decisions before learning (TD-MPC2: five episodes, at least 1000)."""
    least = config.num_envs * (config.learner.horizon + 2)
    return max(config.seed_steps or max(1000, 5 * spec.episode_steps), least)


def updates_per_call(config: TrainConfig) -> int:
    """Updates in one jitted call: those that one decision of every simulator earns."""
    return max(1, round(config.num_envs * config.utd))


def check_memory(config: TrainConfig, spec: EnvSpec) -> None:
    """Raise ConfigError when the replay could not be held in this machine's memory."""
    width = spec.obs_dim + spec.action_dim + FLAGS
    needed = 4 * config.replay_capacity * width
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > memory // 2:
        raise ConfigError(
            f"replay_capacity {config.replay_capacity} needs {needed / 2**30:.1f} GiB, this "
            f"machine has {memory / 2**30:.1f} GiB: ask for at most half of it"
        )
