"""Static settings of the world model and its learner. Imports no jax."""

from dataclasses import dataclass, fields
from typing import Literal

Regularizer = Literal["simnorm", "sigreg"]
Compute = Literal["float32", "bfloat16"]


@dataclass(frozen=True)
class ModelConfig:
    """Network sizes and output heads (arXiv 2310.16828, table of model sizes)."""

    encoder_width: int = 128
    """Hidden width of the observation encoder."""
    mlp_width: int = 128
    """Hidden width of dynamics, reward, prior, value and termination heads."""
    latent_dim: int = 64
    """Size of the latent state."""
    num_heads: int = 2
    """Members of the value ensemble."""
    regularizer: Regularizer = "simnorm"
    """What keeps latents from collapsing: simnorm (stop-gradient targets) or sigreg."""
    simnorm_group: int = 8
    """Latents are softmaxed in groups of this size (simnorm only)."""
    num_bins: int = 101
    """Bins of the two-hot reward and value heads."""
    bin_limit: float = 10.0
    """Bins span [-bin_limit, bin_limit] in symlog space."""
    dropout: float = 0.01
    """Dropout in the first hidden layer of each value head, while learning."""
    compute: Compute = "float32"
    """Type of the matrix products; parameters and statistics stay float32."""
    episodic: bool = False
    """Learn a termination head and use it in planning (set from the task when training)."""
    task_dim: int = 32
    """Size of a task's learned embedding, in a model of several tasks (TD-MPC2: 96 for 80)."""

    def __post_init__(self):
        """Reject impossible sizes. Raises ValueError naming the field."""
        widths = ("encoder_width", "mlp_width", "latent_dim", "task_dim")
        for field in (*widths, "num_heads", "simnorm_group"):
            if getattr(self, field) < 1:
                raise ValueError(f"model.{field} must be at least 1, got {getattr(self, field)}")
        if self.num_bins < 2 or not self.bin_limit > 0:
            raise ValueError("model.num_bins must be at least 2 and model.bin_limit positive")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"model.dropout must lie in [0, 1), got {self.dropout}")
        if self.regularizer not in ("simnorm", "sigreg"):
            raise ValueError(f"model.regularizer must be simnorm or sigreg, got {self.regularizer}")
        if self.compute not in ("float32", "bfloat16"):
            raise ValueError(f"model.compute must be float32 or bfloat16, got {self.compute}")
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

    horizon: int = 3
    """Latent steps unrolled while learning."""
    batch_size: int = 128
    """Slices per update."""
    learning_rate: float = 1e-3
    """Adam step size; TD-MPC2 uses 3e-4 with its larger networks."""
    encoder_lr_scale: float = 0.3
    """The encoder learns this much slower."""
    max_grad_norm: float = 20.0
    """Global gradient clip."""
    consistency_coef: float = 20.0
    reward_coef: float = 0.1
    value_coef: float = 0.1
    termination_coef: float = 1.0
    sigreg_coef: float = 0.09
    """Weight of SIGReg at batch 128 (scaled as 128 / batch, as the statistic grows with it)."""
    sigreg_consistency_coef: float = 1.0
    """Replaces consistency_coef under sigreg, whose latents have unit variance."""
    sigreg_directions: int = 256
    """Random directions SIGReg projects on, redrawn every update."""
    time_decay: float = 0.5
    """Step t of the unroll weighs time_decay**t."""
    target_rate: float = 0.01
    """EMA rate of the target value heads."""
    average_rate: float = 0.005
    """Rate of the running average of all parameters that is evaluated; 1 takes the latest."""
    td_lambda: float = 0.9
    """Mixes value targets with those one step later in the slice; 0 is TD-MPC2's one step."""
    entropy_coef: float = 1e-4
    log_std_min: float = -10.0
    log_std_max: float = 2.0

    def __post_init__(self):
        """Reject settings that cannot learn. Raises ValueError naming the field."""
        for field in ("horizon", "batch_size", "sigreg_directions"):
            if getattr(self, field) < 1:
                raise ValueError(f"learner.{field} must be at least 1, got {getattr(self, field)}")
        if not self.learning_rate > 0:
            raise ValueError(f"learner.learning_rate must be positive, got {self.learning_rate}")
        for field in ("max_grad_norm", "time_decay"):
            if not getattr(self, field) > 0:
                raise ValueError(f"learner.{field} must be positive, got {getattr(self, field)}")
        for field in (f.name for f in fields(self) if f.name.endswith("_coef")):
            if not getattr(self, field) >= 0:
                raise ValueError(
                    f"learner.{field} must not be negative, got {getattr(self, field)}"
                )
        if not 0 <= self.td_lambda <= 1:
            raise ValueError(f"learner.td_lambda must lie in [0, 1], got {self.td_lambda}")
        if not self.log_std_min < self.log_std_max:
            raise ValueError(
                f"learner.log_std_min ({self.log_std_min}) must be below "
                f"learner.log_std_max ({self.log_std_max})"
            )
        for field in ("target_rate", "average_rate"):
            if not 0 < getattr(self, field) <= 1:
                raise ValueError(f"learner.{field} must lie in (0, 1], got {getattr(self, field)}")
