"""A decoder trained after the fact, only to look: what do latents, and predicted latents, show?

Nothing of it flows back into the model.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from agents.dataset import Dataset
from agents.inspect_config import InspectConfig
from agents.inspect_model import Viewed, rows_of

BATCH, RATE, WIDTH = 32, 1e-3, 256
CLIPS, STEPS = 3, (0, 1, 2, 4, 8)
"""Clips that are shown, and how many steps ahead."""


class Decoder(nn.Module):
    """Latents [B, D] to pictures [B, size, size, 3] in 0..1: the mean picture plus an MLP.

    Dense layers: on a CPU they learn small moving shapes several times faster than convolutions.
    """

    size: int

    @nn.compact
    def __call__(self, latent: jax.Array) -> jax.Array:
        """Pictures."""
        shape = (self.size, self.size, 3)
        x = latent
        for _ in range(2):
            x = nn.relu(nn.Dense(WIDTH)(x))
        change = nn.Dense(3 * self.size**2)(x).reshape(*latent.shape[:-1], *shape)
        return change + self.param("mean", nn.initializers.constant(0.5), shape)


def look(
    model: Viewed, dataset: Dataset, latents: np.ndarray, rows: np.ndarray, config: InspectConfig
) -> dict[str, Any]:
    """Train on train moments (`latents` at `rows`) and decode test moments and predictions.

    Returns {"note"} without pictures, else the error (mean squared, of pixels in 0..1, of test
    moments; beside that of the mean picture) and `clips`: pictures uint8 [C, 3, K, H, W, 3], true,
    decoded from the encoding of the moment, decoded from the prediction.
    """
    if "pixels" not in dataset.arrays:
        return {"note": "the dataset has no pictures to decode to"}
    if not config.decoder_steps:
        return {"note": "left out (--decoder-steps 0)"}
    pixels = dataset.arrays["pixels"]
    mean, std = latents.mean(0), np.maximum(latents.std(0), 1e-6)
    pictures = np.asarray(pixels[rows])
    decode = _train((latents - mean) / std, pictures, config)

    steps = [k for k in STEPS if k <= config.horizon]
    ahead = steps[-1] * model.block
    row, _ = rows_of(dataset, "test", model, 64, config.seed, ahead)
    frames = dataset.arrays[model.field]
    actions = np.asarray(dataset.arrays["action"][row[:, None] + np.arange(ahead)])
    told = model.rollout(frames, row, actions, steps[-1])[:, steps]
    at = row[:, None] + model.block * np.array(steps)
    seen = model.embeddings(frames, at)
    true = np.asarray(pixels[at])
    shown = [decode((z - mean) / std) for z in (seen, told)]
    error = np.mean((shown[0] - true / 255.0) ** 2)
    plain = np.mean((pictures.mean(0) / 255.0 - true / 255.0) ** 2)
    chosen = np.linspace(0, len(row) - 1, CLIPS).astype(int)
    both = [(255 * np.clip(s[chosen], 0, 1)).astype(np.uint8) for s in shown]
    return {
        "error": float(error),
        "mean_picture_error": float(plain),
        "steps": steps,
        "clips": np.stack([true[chosen], *both], 1),
    }


def _train(latents: np.ndarray, pictures: np.ndarray, config: InspectConfig) -> Any:
    """A function from normalised latents [..., D] to pictures [..., H, W, 3] in 0..1."""
    net = Decoder(pictures.shape[1])
    params = net.init(jax.random.key(config.seed), jnp.zeros((1, latents.shape[1])))["params"]
    params = {**params, "mean": jnp.asarray(pictures.mean(0) / 255.0, jnp.float32)}
    optimiser = optax.adam(optax.cosine_decay_schedule(RATE, config.decoder_steps))

    def error(params: Any, z: jax.Array, picture: jax.Array) -> jax.Array:
        return jnp.mean((net.apply({"params": params}, z) - picture / 255.0) ** 2)  # type: ignore

    @jax.jit
    def update(params: Any, state: Any, z: jax.Array, picture: jax.Array) -> tuple:
        grads = jax.grad(error)(params, z, picture)
        change, state = optimiser.update(grads, state)
        return optax.apply_updates(params, change), state

    state, rng = optimiser.init(params), np.random.default_rng([config.seed, 4])
    for _ in range(config.decoder_steps):
        drawn = rng.integers(0, len(latents), BATCH)
        params, state = update(params, state, latents[drawn], pictures[drawn])
    apply = jax.jit(lambda z: net.apply({"params": params}, z))

    def decode(z: np.ndarray) -> np.ndarray:
        flat = z.reshape(-1, z.shape[-1])
        found = np.asarray(apply(flat))
        return found.reshape(*z.shape[:-1], *found.shape[1:])

    return decode
