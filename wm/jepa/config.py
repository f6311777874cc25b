"""Static settings of reward-free world models and their learner. Imports no jax."""

from dataclasses import dataclass
from typing import Annotated, Literal

from msgspec import Meta

from wm.limits import Count, Few, Period, Rate, Share, Weight, Width, check

Encoder = Literal["mlp", "cnn", "vit", "identity", "frozen"]
Predictor = Literal["mlp", "gru", "transformer"]
Objective = Literal["lewm", "vicreg", "consistency", "ema", "frozen", "reconstruction", "none"]


Layers = Annotated[int, Meta(ge=1, le=128)]


@dataclass(frozen=True)
class JepaConfig:
    """Encoder and predictor."""

    encoder: Encoder = "mlp"
    """mlp and identity (the normalised vector itself is the latent, objective frozen) read the
    observation vector; cnn, vit and frozen read pixels."""
    predictor: Predictor = "mlp"
    """mlp and gru step one latent; transformer steps a window of the last `history` latents."""
    latent_dim: Width = 64
    """Size of the latent."""
    history: Few = 3
    """Frames a latent is made of (1 leaves velocity out)."""
    frame_spacing: Few = 1
    """Decisions between the frames of the history (a transformer's are `action_block` apart)."""
    action_block: Few = 1
    """Decisions one step of the predictor spans; it sees all their actions."""
    encoder_width: Width = 256
    """Hidden width of the state encoder and of the last layer over CNN features."""
    encoder_layers: Layers = 2
    """Hidden layers of the state encoder; blocks of the ViT."""
    frame_differences: bool = False
    """The CNN sees the latest frame and the changes that led to it: velocity is learned sooner."""
    cnn_channels: Width = 32
    """Channels of the CNN's first layer; the others have twice as many."""
    cnn_patch: Literal[2, 4, 8, 16] = 4
    """Side of the first patches of the CNN in pixels: 2, 4, 8 (learns angles sooner) or 16."""
    patch: Few = 8
    """Side of a ViT patch in pixels."""
    embed_dim: Width = 192
    """Width of the ViT's tokens."""
    num_heads: Few = 3
    """Attention heads of the ViT."""
    projector_width: Annotated[int, Meta(ge=0, le=2**14)] = 0
    """Hidden width of the projector behind the ViT; 0 is one dense layer."""
    predictor_width: Width = 256
    """Hidden width of the predictor (of a transformer's feed-forward layers)."""
    predictor_layers: Layers = 2
    """Hidden layers of the MLP; blocks of the transformer."""
    predictor_heads: Few = 4
    """Attention heads of the transformer."""
    predictor_head_dim: Few = 16
    """Size of one attention head of the transformer."""
    simnorm_group: Width = 8
    """Latents of the objective `consistency` are softmaxed in groups of this size."""
    frozen_file: str = ""
    """Frozen encoder (objective `frozen`): a safetensors file, or a run that learned from single
    pictures."""

    def __post_init__(self):
        """Raises ValueError naming the first field that is out of bounds."""
        check(self, "model")

    @property
    def pixels(self) -> bool:
        """Whether the encoder reads pixels."""
        return self.encoder not in ("mlp", "identity")

    @property
    def windowed(self) -> bool:
        """Whether each frame has a latent of its own and the predictor sees a window of them."""
        return self.predictor == "transformer"

    @property
    def spacing(self) -> int:
        """Decisions between the frames of the history."""
        return self.action_block if self.windowed else self.frame_spacing


PRESETS: dict[str, JepaConfig] = {
    "state": JepaConfig(latent_dim=32),
    "pixels": JepaConfig(encoder="cnn", latent_dim=32, cnn_channels=16),
    "vit": JepaConfig(
        encoder="vit",
        predictor="transformer",
        embed_dim=96,
        encoder_layers=4,
        predictor_layers=2,
        action_block=5,
    ),
    "lewm": JepaConfig(
        encoder="vit",
        predictor="transformer",
        latent_dim=192,
        action_block=5,
        encoder_layers=12,
        patch=14,
        projector_width=2048,
        predictor_layers=6,
        predictor_heads=16,
        predictor_head_dim=64,
        predictor_width=2048,
    ),
}
"""state and pixels train on two CPU cores; vit is a small transformer for 64 px; lewm is the size
of LeWorldModel (224 px, 18.0 million parameters) and wants an accelerator."""


@dataclass(frozen=True)
class JepaLearnerConfig:
    """How the world model learns."""

    rollout: Few = 4
    """Predictor steps a training slice spans."""
    batch_size: Count = 128
    """Slices per update."""
    learning_rate: Rate = 1e-3
    """AdamW step size at its peak; cosine decay to a hundredth over the run."""
    warmup: Period = 200
    """Updates over which the step size rises."""
    weight_decay: Weight = 1e-4
    max_grad_norm: Annotated[float, Meta(gt=0, le=1e12)] = 10.0
    """Global gradient clip."""
    prediction_coef: Weight = 1.0
    """Weight of predictions fed with encoded latents."""
    openloop_coef: Weight = 1.0
    """Weight of predictions fed with predictions."""
    sigreg_coef: Weight = 0.09
    """Weight of SIGReg at batch 128; used as coef x 128 / batch, as the statistic grows with B."""
    sigreg_directions: Count = 1024
    """Random directions SIGReg projects on, redrawn every update."""
    variance_coef: Weight = 16.0
    """Weight of VICReg's hinge on standard deviations below 1."""
    covariance_coef: Weight = 8.0
    """Weight of VICReg's off-diagonal covariances."""
    similarity_coef: Weight = 12.0
    """Weight of the change between neighbours in time."""
    inverse_coef: Weight = 1.0
    """Weight of actions inferred from neighbours in time."""
    reconstruction_coef: Weight = 1.0
    """Weight of what a decoder makes of latents."""
    extra: str = ""
    """Terms added to the objective's own, by name: similarity,inverse."""
    target_rate: Share = 0.01
    """Rate of the running average that encodes targets (objective ema)."""

    def __post_init__(self):
        """Raises ValueError naming the first field that is out of bounds."""
        check(self, "learner")


LEARNER_PRESETS: dict[str, JepaLearnerConfig] = {
    "state": JepaLearnerConfig(sigreg_directions=256),
    "pixels": JepaLearnerConfig(sigreg_directions=256, batch_size=64, rollout=3),
    "vit": JepaLearnerConfig(sigreg_directions=256, batch_size=64, rollout=1),
    "lewm": JepaLearnerConfig(
        rollout=1, learning_rate=5e-5, weight_decay=1e-3, openloop_coef=0.0, warmup=1000
    ),
}
"""Learner settings of the presets; small latents need fewer directions."""


def slice_rows(model: JepaConfig, learner: JepaLearnerConfig) -> int:
    """Rows of an episode that one training slice needs."""
    return (model.history - 1) * model.spacing + learner.rollout * model.action_block + 1
