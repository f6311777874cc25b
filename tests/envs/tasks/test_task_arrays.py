"""Task functions are array functions: numpy and jax.numpy agree, on any leading axes."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.native.env import make_native
from envs.tasks import TASKS


def visited(env_id):
    """A task and its data [3, ...] after some random steps."""
    env = make_native(env_id, 3, seed=2)
    env.reset()
    rng = np.random.default_rng(0)
    for _ in range(30):
        env.step(rng.uniform(-1, 1, (3, env.env_spec.action_dim)))
    bound = vars(env.simulators.data)
    data = {name: np.array(value) for name, value in bound.items() if name[0] != "_"}
    return env.simulators.task, data


def evaluate(task, xp, data):
    """The three functions of a task."""
    return task.flat_obs(xp, data), task.reward(xp, data), task.terminated(xp, data)


@pytest.mark.parametrize("env_id", TASKS)
def test_numpy_and_jax_agree(env_id):
    task, data = visited(env_id)
    expected = evaluate(task, np, SimpleNamespace(**data))
    assert expected[0].shape == (3, sum(size for _, size in task.obs_names))
    with jax.enable_x64(True):
        arrays = {name: jnp.asarray(value) for name, value in data.items()}

        @jax.jit
        def one(row):
            return evaluate(task, jnp, SimpleNamespace(**row))

        batched = one(arrays)
        mapped = jax.vmap(one)(arrays)
    for got, alone, want in zip(batched, mapped, expected, strict=True):
        np.testing.assert_allclose(np.asarray(got), want, rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(np.asarray(alone), want, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("env_id", ["walker-run", "cartpole-balance", "acrobot-swingup"])
def test_rotations_may_be_square(env_id):
    task, data = visited(env_id)
    square = data | {"xmat": data["xmat"].reshape(3, -1, 3, 3)}
    for got, want in zip(
        evaluate(task, np, SimpleNamespace(**square)),
        evaluate(task, np, SimpleNamespace(**data)),
        strict=True,
    ):
        np.testing.assert_array_equal(got, want)
