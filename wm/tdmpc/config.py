"""Static settings of the world model and its learner. Imports no jax."""

from dataclasses import dataclass
from typing import Annotated, Literal

from msgspec import Meta

from wm.limits import Count, Few, PositiveShare, Rate, Share, Weight, Width, check

Regularizer = Literal["simnorm", "sigreg"]
Compute = Literal["float32", "bfloat16"]
LogStd = Annotated[float, Meta(ge=-50, le=50)]


@dataclass(frozen=True)
class ModelConfig:
    """Network sizes and output heads (arXiv 2310.16828, table of model sizes)."""

    encoder_width: Width = 128
    """Hidden width of the observation encoder."""
    mlp_width: Width = 128
    """Hidden width of dynamics, reward, prior, value and termination heads."""
    latent_dim: Width = 64
    """Size of the latent state."""
    num_heads: Few = 2
    """Members of the value ensemble."""
    regularizer: Regularizer = "simnorm"
    """What keeps latents from collapsing: simnorm (stop-gradient targets) or sigreg."""
    simnorm_group: Width = 8
    """Latents are softmaxed in groups of this size (simnorm only)."""
    num_bins: Annotated[int, Meta(ge=2, le=10_001)] = 101
    """Bins of the two-hot reward and value heads."""
    bin_limit: Annotated[float, Meta(gt=0, le=80)] = 10.0
    """Bins span [-bin_limit, bin_limit] in symlog space (whose inverse leaves float32 at 88)."""
    dropout: Annotated[float, Meta(ge=0, lt=1)] = 0.01
    """Dropout in the first hidden layer of each value head, while learning."""
    compute: Compute = "float32"
    """Type of the matrix products; parameters and statistics stay float32."""
    episodic: bool = False
    """Learn a termination head and use it in planning (set from the task when training)."""
    task_dim: Width = 32
    """Size of a task's learned embedding, in a model of several tasks (TD-MPC2: 96 for 80)."""

    def __post_init__(self):
        """Reject impossible sizes. Raises ValueError naming the field."""
        check(self, "model")
        if self.regularizer == "simnorm" and self.latent_dim % self.simnorm_group:
            raise ValueError(
                f"model.latent_dim ({self.latent_dim}) must be a multiple of "
                f"model.simnorm_group ({self.simnorm_group})"
            )


PRESETS: dict[str, ModelConfig] = {
    "tiny": ModelConfig(),
    "1M": ModelConfig(encoder_width=256, mlp_width=384, latent_dim=128, num_heads=2),
    "5M": ModelConfig(encoder_width=256, mlp_width=512, latent_dim=512, num_heads=5),
    "19M": ModelConfig(encoder_width=1024, mlp_width=1024, latent_dim=768, num_heads=5),
    "48M": ModelConfig(encoder_width=1792, mlp_width=1792, latent_dim=768, num_heads=5),
    "317M": ModelConfig(encoder_width=4096, mlp_width=4096, latent_dim=1376, num_heads=8),
}


REGULARIZER_OF = {
    "model.simnorm_group": "simnorm",
    "learner.consistency_coef": "simnorm",
    "learner.sigreg_coef": "sigreg",
    "learner.sigreg_consistency_coef": "sigreg",
    "learner.sigreg_directions": "sigreg",
}
"""Settings that only one regulariser knows."""


def unused(model: ModelConfig) -> dict[str, str]:
    """Settings that change nothing about a model and its learning, and why."""
    return {
        name: f"it belongs to {owner}, and model.regularizer is {model.regularizer}"
        for name, owner in REGULARIZER_OF.items()
        if model.regularizer != owner
    }


@dataclass(frozen=True)
class LearnerConfig:
    """How the world model learns (arXiv 2310.16828, section 3 and its hyper-parameter table)."""

    horizon: Few = 3
    """Latent steps unrolled while learning."""
    batch_size: Count = 128
    """Slices per update."""
    learning_rate: Rate = 1e-3
    """Adam step size; TD-MPC2 uses 3e-4 with its larger networks."""
    encoder_lr_scale: Weight = 0.3
    """The encoder learns this much slower."""
    max_grad_norm: Annotated[float, Meta(gt=0, le=1e12)] = 20.0
    """Global gradient clip."""
    consistency_coef: Weight = 20.0
    reward_coef: Weight = 0.1
    value_coef: Weight = 0.1
    termination_coef: Weight = 1.0
    sigreg_coef: Weight = 0.09
    """Weight of SIGReg at batch 128 (scaled as 128 / batch, as the statistic grows with it)."""
    sigreg_consistency_coef: Weight = 1.0
    """Replaces consistency_coef under sigreg, whose latents have unit variance."""
    sigreg_directions: Count = 256
    """Random directions SIGReg projects on, redrawn every update."""
    time_decay: Annotated[float, Meta(gt=0, le=10)] = 0.5
    """Step t of the unroll weighs time_decay**t."""
    target_rate: PositiveShare = 0.01
    """EMA rate of the target value heads."""
    average_rate: PositiveShare = 0.005
    """Rate of the running average of all parameters that is evaluated; 1 takes the latest."""
    td_lambda: Share = 0.9
    """Mixes value targets with those one step later in the slice; 0 is TD-MPC2's one step."""
    entropy_coef: Weight = 1e-4
    log_std_min: LogStd = -10.0
    log_std_max: LogStd = 2.0

    def __post_init__(self):
        """Reject settings that cannot learn. Raises ValueError naming the field."""
        check(self, "learner")
        if not self.log_std_min < self.log_std_max:
            raise ValueError(
                f"learner.log_std_min ({self.log_std_min}) must be below "
                f"learner.log_std_max ({self.log_std_max})"
            )
