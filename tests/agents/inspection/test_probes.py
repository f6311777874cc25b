"""Probes find what is there, and nothing else."""

import numpy as np
import pytest

from agents.data.dataset import Quantity
from agents.inspection import probes, scores

RNG = np.random.default_rng(0)
NAMES = [("linear", "position"), ("square", "position"), ("absent", "velocity"), ("on", "contact")]


def splits(noise=0.0, dimensions=6):
    mixing = RNG.standard_normal((dimensions, dimensions))
    parts = []
    for count in (1500, 500, 500):
        z = RNG.standard_normal((count, dimensions))
        target = [z[:, 0] + z[:, 1], z[:, 2] ** 2, RNG.standard_normal(count), z[:, 3] > 0.5]
        latent = z @ mixing + noise * RNG.standard_normal(z.shape)
        parts.append(probes.Split(latent, np.stack(target, 1), np.arange(count) // 25))
    return parts


def test_probes_read_what_is_there():
    rows = {row["name"]: row for row in probes.probe(splits(), NAMES)}
    assert rows["linear"]["linear"]["r2"] > 0.999 and rows["linear"]["mlp"]["r2"] > 0.97
    assert rows["square"]["linear"]["r2"] < 0.1 and rows["square"]["mlp"]["r2"] > 0.8
    for kind in ("linear", "mlp"):
        absent = rows["absent"][kind]
        assert absent["r2"] < 0.05 and absent["low"] <= absent["r2"] <= absent["high"]
    assert rows["on"]["linear"]["auroc"] > 0.98


def test_ridge_is_the_closed_form_at_the_best_strength():
    train, validation, test = splits(noise=0.5)
    found, strength = probes.ridge(train, validation, test)
    x, y = train.latent - train.latent.mean(0), train.target - train.target.mean(0)
    for q in range(y.shape[1]):
        errors = {}
        for s in probes.STRENGTHS:
            w = np.linalg.solve(x.T @ x / len(x) + s * np.eye(x.shape[1]), x.T @ y[:, q] / len(x))
            held = (validation.latent - train.latent.mean(0)) @ w + train.target[:, q].mean()
            errors[s] = np.mean((held - validation.target[:, q]) ** 2), w
        best = min(errors, key=lambda s: errors[s][0])
        assert strength[q] == best
        expected = (test.latent - train.latent.mean(0)) @ errors[best][1]
        np.testing.assert_allclose(found[:, q], expected + train.target[:, q].mean(), atol=1e-9)


def test_strength_is_not_chosen_on_test():
    train, validation, test = splits(noise=1.0)
    one = probes.ridge(train, validation, test)[1]
    other = probes.ridge(train, validation, test._replace(target=-test.target))[1]
    np.testing.assert_array_equal(one, other)


def test_angles_are_read_twice_and_copies_once():
    state = RNG.uniform(-3, 3, (20, 4))
    state[:, 2], state[:, 3] = state[:, 0], state[:, 1]
    kinds = ("position", "angle", "achieved", "achieved")
    targets, names = probes.targets_of(
        state, tuple(Quantity(f"q{i}", k) for i, k in enumerate(kinds))
    )
    assert names == [("q0", "position"), ("sin q1", "angle"), ("cos q1", "angle")]
    np.testing.assert_array_equal(targets[:, 1], np.sin(state[:, 1]))


def test_what_never_varies_is_left_out():
    parts = [
        p._replace(target=np.concatenate([p.target, np.ones((len(p.target), 1))], 1))
        for p in splits()
    ]
    rows = probes.probe(parts, [*NAMES, ("wall", "contact")])
    assert [row["name"] for row in rows] == [name for name, _ in NAMES]
    assert scores.r2(parts[2].target[:, 0], parts[2].target[:, 0]) == pytest.approx(1)
