"""From settings and an environment's spec to networks and agents."""

from dataclasses import replace

from agents.config import TrainConfig
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
