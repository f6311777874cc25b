"""Learn a reward-free model from recorded episodes: the state of a run and one call of updates.

All randomness is a function of the seed and of the count of updates, so a restored run continues
bit for bit.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from agents.data.dataset import Data, Split
from agents.runs.compile import cpu_options
from agents.runs.networks import build_jepa
from agents.runs.pretrain_config import PretrainConfig
from agents.training.session import finite
from wm.jepa import collapse
from wm.jepa import learner as jepa_learner
from wm.jepa.frozen import Frozen
from wm.jepa.learner import JepaState
from wm.jepa.model import JepaNetworks
from wm.jepa.views import JepaBatch, views

Array = jax.Array
INIT, LEARN, VALIDATE = 0, 1, 2  # streams of random numbers
NORMALIZER_ROWS, NORMALIZER_PICTURES = 4096, 512
VALIDATION_SLICES = 512
MIN_STD = 1e-3
"""Observation entries that hardly move are divided by this at least."""


class Pretrainer:
    """Holds a run's state and advances it some updates at a time."""

    def __init__(self, config: PretrainConfig, data: Data, frozen: Frozen | None = None):
        """Build networks for the data and draw the first parameters. Raises ConfigError."""
        self.config, self.data = config, data
        look = self._slices(np.random.default_rng([config.seed, INIT]), "train", 1)
        frames, actions = look.frames, look.action
        self.net = build_jepa(config, frames.shape[2:], actions.shape[-1], frozen)
        key = jax.random.fold_in(jax.random.key(config.seed), INIT)
        norm = self._normalizer()
        self.state = jax.jit(lambda key: jepa_learner.init(self.net, key, norm))(key)
        self._learn = jax.jit(
            partial(_learn, self.net, config.updates),
            compiler_options=cpu_options(many_reductions=True),
            donate_argnums=0,
        )
        self._validate = jax.jit(partial(_validate, self.net))
        self.metrics: dict[str, Any] = {}
        self.updates = 0

    @property
    def num_params(self) -> int:
        """Parameters that are learned."""
        return jepa_learner.num_learned(self.net, self.state.params)

    def advance(self) -> None:
        """The updates of one compiled call, on fresh slices."""
        count = min(self.config.updates_per_call, self.config.updates - self.updates)
        rng = np.random.default_rng([self.config.seed, LEARN, self.updates])
        flat = self._slices(rng, "train", count * self.config.learner.batch_size)
        batches = jax.tree.map(lambda x: x.reshape(count, -1, *x.shape[1:]), flat)
        key = jax.random.fold_in(jax.random.key(self.config.seed), LEARN)
        self.state, self.metrics = self._learn(self.state, batches, key)
        self.updates += count

    def validate(self) -> dict[str, float]:
        """Losses and the health of latents on episodes that are not learned from."""
        rng = np.random.default_rng([self.config.seed, VALIDATE])
        batch = self._slices(rng, "validation", VALIDATION_SLICES)
        found = self._validate(self.state, batch, jax.random.key(self.config.seed))
        return {name: float(value) for name, value in found.items()}

    def read_metrics(self) -> dict[str, float]:
        """The latest losses, on the host. Raises LearningError when one is not finite."""
        return finite(self.metrics, self.updates)

    def _slices(self, rng: np.random.Generator, split: Split, batch: int) -> JepaBatch:
        pixels, rows = self.config.model.pixels, self.config.rows
        seen = "pixels" if pixels else "obs"
        drawn = self.data.slices(rng, split, batch, rows, fields=("action", seen))
        frames = drawn[seen] if pixels else drawn[seen].astype(np.float32)
        action = drawn["action"].astype(np.float32)
        return JepaBatch(frames, action)  # pyright: ignore[reportArgumentType] jit moves them

    def _normalizer(self) -> dict[str, np.ndarray] | None:
        """Mean and standard deviation of the observations, or of a frozen encoder's features."""
        rng = np.random.default_rng([self.config.seed, INIT])
        if isinstance(self.net.encoder, Frozen):
            pictures = self.data.slices(rng, "train", NORMALIZER_PICTURES, 1, fields=("pixels",))
            found = _features(self.net.encoder, pictures["pixels"][:, 0])
        elif self.config.model.pixels:
            return None
        else:
            drawn = self.data.slices(rng, "train", NORMALIZER_ROWS, 1, fields=("obs",))
            found = drawn["obs"][:, 0]
        std = np.maximum(found.std(0), MIN_STD)
        return {"mean": found.mean(0).astype(np.float32), "std": std.astype(np.float32)}


def _features(encoder: Frozen, pictures: np.ndarray) -> np.ndarray:
    """Features [n, F] of pictures [n, H, W, 3]."""
    apply = jax.vmap(lambda p: encoder.apply(encoder.params, encoder.preprocess(p)))
    return np.asarray(jax.jit(apply)(pictures))


def _learn(net: JepaNetworks, total: int, state: JepaState, batches: JepaBatch, key: Array):
    """One update on each of the batches [U, B, ...]; metrics averaged over them."""

    def once(state: JepaState, batch: JepaBatch):
        own = jax.random.fold_in(key, state.updates)
        return jepa_learner.update(net, state, batch, own, total)

    state, metrics = jax.lax.scan(once, state, batches)
    return state, jax.tree.map(partial(jnp.mean, axis=0), metrics)


def _validate(
    net: JepaNetworks, state: JepaState, batch: JepaBatch, key: Array
) -> dict[str, Array]:
    """Loss terms and the collapse monitor on one batch."""
    seen = views(net, state.params, state.target, batch)
    _, terms = jepa_learner.loss(net, state.params, state.target, batch, key)
    health = collapse.monitor(seen.latents[:, -1], key)
    spread = jnp.var(seen.rolled_targets, axis=0).mean()
    openloop = jnp.mean((seen.rolled[:, -1] - seen.rolled_targets[:, -1]) ** 2)
    named = {f"validation/{k.removeprefix('loss/')}": v for k, v in terms.items()}
    named["validation/openloop_relative"] = openloop / jnp.maximum(spread, 1e-12)
    return named | {f"latent/{k}": v for k, v in health.items()}
