"""From settings and an environment's spec to networks."""

from dataclasses import replace

from agents.runs.config import ConfigError, TrainConfig
from agents.runs.pretrain_config import PretrainConfig
from agents.storage import encoder_file
from envs.spec import EnvSpec
from envs.wrappers.multi import num_tasks
from wm.jepa import model as jepa
from wm.jepa.frozen import Frozen
from wm.jepa.model import JepaNetworks, JepaSpec
from wm.tdmpc import model as tdmpc
from wm.tdmpc.model import Networks
from wm.types import Spec, discount_for

EVAL_SEED = 10_000  # seeds of evaluation episodes start here, apart from those of training


def build_networks(config: TrainConfig, spec: EnvSpec) -> Networks:
    """Networks for the task; a termination head where its episodes can end early."""
    model = replace(config.model, episodic=config.model.episodic or spec.episodic)
    discount = discount_for(spec.episode_steps)
    task = Spec(spec.obs_dim, spec.action_dim, discount, num_tasks(spec))
    return tdmpc.build(model, config.learner, task)


def build_jepa(
    config: PretrainConfig, frame_shape, action_dim: int, frozen: Frozen | None = None
) -> JepaNetworks:
    """Reward-free networks for data of these sizes. Raises ConfigError, CheckpointError (bad file).

    A frozen encoder is read from the file that the settings name unless it is given.
    """
    if frozen is None and config.model.encoder == "frozen" and config.model.frozen_file:
        frozen = encoder_file.load(config.model.frozen_file)
    spec = JepaSpec(tuple(frame_shape), action_dim)
    try:
        return jepa.build(config.model, config.learner, spec, config.objective, frozen)
    except ValueError as error:
        raise ConfigError(str(error)) from error
