"""Linear and MLP probes: which physical quantities can be read from latents?

Episodes are split: probes learn on `train`, choose their strength on `validation` and are scored
on `test`. Angles are read as sine and cosine.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from agents.data.dataset import Quantity
from agents.evaluation import stats
from agents.inspection import scores

STRENGTHS = 10.0 ** np.arange(-6, 5)
"""Of the ridge penalty, times the number of rows."""
WIDTH, EPOCHS, BATCH, RATE = 128, 80, 256, 1e-3
MIN_STD = 1e-6


class Split(NamedTuple):
    """Rows of one split."""

    latent: np.ndarray
    """[N, D]"""
    target: np.ndarray
    """[N, Q]"""
    episode: np.ndarray
    """[N]"""


def targets_of(state: np.ndarray, quantities: tuple[Quantity, ...]) -> tuple[np.ndarray, list]:
    """Columns to probe [N, Q] and their (name, kind): angles twice, duplicates once."""
    columns, names = [], []
    angles = [state[:, i] for i, quantity in enumerate(quantities) if quantity.kind == "angle"]
    for i, (name, kind) in enumerate((q.name, q.kind) for q in quantities):
        values = np.asarray(state[:, i], np.float64)
        if kind == "achieved" and _among(values, angles):
            continue  # a goal quantity that is a joint angle
        found = [(name, values)]
        if kind == "angle":
            found = [(f"sin {name}", np.sin(values)), (f"cos {name}", np.cos(values))]
        for label, column in found:
            if not _among(column, columns):
                columns.append(column)
                names.append((label, kind))
    return np.stack(columns, 1), names


def _among(column: np.ndarray, others: Sequence[np.ndarray]) -> bool:
    return any(np.array_equal(column, other) for other in others)


def probe(splits: Sequence[Split], names: list, seed: int = 0) -> list[dict]:
    """A row for each quantity that varies: R2 of both probes with intervals over test episodes.

    What is the same in all rows of train, or in all of test, has no R2 and no row.
    `splits` are train, validation and test; `names` the (name, kind) of the targets' columns.
    """
    train, _, test = splits
    varies = (train.target.std(0) > MIN_STD) & (test.target.std(0) > MIN_STD)
    centre, scale = train.target[:, varies].mean(0), train.target[:, varies].std(0)
    mean, std = train.latent.mean(0), train.latent.std(0)
    std = np.where(std > MIN_STD, std, 1.0)
    scaled = [
        Split((s.latent - mean) / std, (s.target[:, varies] - centre) / scale, s.episode)
        for s in splits
    ]
    linear, strength = ridge(*scaled)
    predictions = {"linear": linear, "mlp": mlp_probe(*scaled, seed=seed)}
    kept = [pair for pair, keep in zip(names, varies, strict=True) if keep]
    return [
        {"name": name, "kind": kind, "strength": float(strength[i])}
        | {
            how: _score(scaled[2].target[:, i], predicted[:, i], test.episode, kind)
            for how, predicted in predictions.items()
        }
        for i, (name, kind) in enumerate(kept)
    ]


def _score(true: np.ndarray, predicted: np.ndarray, episode: np.ndarray, kind: str) -> dict:
    low, high = scores.r2_interval(true, predicted, episode)
    found = {"r2": scores.r2(true, predicted), "low": low, "high": high}
    if kind == "contact":
        on = true > true.min()
        found["auroc"] = stats.auroc(predicted[on], predicted[~on])
    return found


def ridge(train: Split, validation: Split, test: Split) -> tuple[np.ndarray, np.ndarray]:
    """Linear predictions [N, Q] on test, and the strength [Q] that was best on validation.

    Minimises |y - x w - b|^2 + strength N |w|^2, by an eigendecomposition for all strengths.
    """
    x_mean, y_mean = train.latent.mean(0), train.target.mean(0)
    x, y = np.asarray(train.latent - x_mean, float), train.target - y_mean
    values, vectors = np.linalg.eigh(x.T @ x / len(x))
    projected = vectors.T @ (x.T @ y) / len(x)
    best = np.full(y.shape[1], np.inf)
    weights, chosen = np.zeros((x.shape[1], y.shape[1])), np.zeros(y.shape[1])
    for strength in STRENGTHS:
        w = vectors @ (projected / (np.maximum(values, 0) + strength)[:, None])
        error = np.mean((validation.target - y_mean - (validation.latent - x_mean) @ w) ** 2, 0)
        better = error < best
        best, chosen = np.where(better, error, best), np.where(better, strength, chosen)
        weights[:, better] = w[:, better]
    return (test.latent - x_mean) @ weights + y_mean, chosen


def mlp_probe(train: Split, validation: Split, test: Split, seed: int = 0) -> np.ndarray:
    """Predictions [N, Q] on test of two hidden layers, as they were when best on validation."""
    sizes = (train.latent.shape[1], WIDTH, WIDTH, train.target.shape[1])
    keys = jax.random.split(jax.random.key(seed), len(sizes))
    params = [
        (jax.random.normal(k, (a, b)) * np.sqrt(2 / a), jnp.zeros((1, b)))
        for k, a, b in zip(keys, sizes[:-1], sizes[1:], strict=False)
    ]
    x, y = (jnp.asarray(v, jnp.float32) for v in train[:2])
    held = tuple(jnp.asarray(v, jnp.float32) for v in validation[:2])
    best = _fit(params, x, y, held, keys[-1])
    return np.asarray(_forward(best, jnp.asarray(test.latent, jnp.float32)), float)


def _forward(params: Any, x: jax.Array) -> jax.Array:
    for w, b in params[:-1]:
        x = jax.nn.relu(x @ w + b)
    return x @ params[-1][0] + params[-1][1]


@jax.jit
def _fit(params: Any, x: jax.Array, y: jax.Array, held: tuple, key: jax.Array) -> Any:
    """Adam with cosine decay; the parameters of the epoch with the least validation error."""
    count, batch = x.shape[0], min(BATCH, x.shape[0])
    steps = count // batch
    optimiser = optax.adam(optax.cosine_decay_schedule(RATE, EPOCHS * steps))

    def error(params: Any, x: jax.Array, y: jax.Array) -> jax.Array:
        return jnp.mean((_forward(params, x) - y) ** 2)

    def update(carry: tuple, rows: jax.Array) -> tuple[tuple, None]:
        params, state = carry
        grads = jax.grad(error)(params, x[rows], y[rows])
        change, state = optimiser.update(grads, state)
        return (optax.apply_updates(params, change), state), None

    def epoch(carry: tuple, key: jax.Array) -> tuple[tuple, None]:
        params, state, best, least = carry
        order = jax.random.permutation(key, count)[: steps * batch].reshape(steps, batch)
        (params, state), _ = jax.lax.scan(update, (params, state), order)
        now = error(params, *held)
        best = jax.tree.map(lambda new, old: jnp.where(now < least, new, old), params, best)
        return (params, state, best, jnp.minimum(now, least)), None

    start = (params, optimiser.init(params), params, error(params, *held))
    (_, _, best, _), _ = jax.lax.scan(epoch, start, jax.random.split(key, EPOCHS))
    return best
