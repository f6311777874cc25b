"""A model of several tasks: masks, discounts and embeddings where they count, nothing elsewhere."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from wm.tdmpc import learner
from wm.tdmpc import model as tdmpc
from wm.tdmpc.config import LearnerConfig, ModelConfig
from wm.tdmpc.losses import Batch, model_loss, prior_loss, squash_log_prob, td_targets
from wm.tdmpc.model import as_latent_model
from wm.types import Spec, discount_for

OBS, A, N, B, T, D, K = 3, 2, 2, 4, 3, 16, 4
TOTAL = OBS + N + A + 1
STEPS = (500, 100)  # decisions in an episode of each task
LEARN = LearnerConfig(batch_size=B, horizon=T, sigreg_directions=8)


def obs_of(task, values):
    """Flat observations [..., TOTAL]; task 0 has one action, task 1 has both."""
    tail = np.concatenate([np.eye(N)[task], [1, task], [1 / STEPS[task]]])
    return np.concatenate([values, np.broadcast_to(tail, (*values.shape[:-1], len(tail)))], -1)


def batch(seed=0):
    """Half of the slices of each task."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(B, T + 1, OBS))
    obs = np.concatenate([obs_of(0, values[: B // 2]), obs_of(1, values[B // 2 :])])
    mask = np.ones((B, T))
    mask[1, 1:] = 0
    parts = (obs, rng.uniform(-1, 1, (B, T, A)), rng.normal(size=(B, T)), np.zeros((B, T)), mask)
    return Batch(*[jnp.asarray(p, jnp.float32) for p in parts])


@pytest.fixture(params=["simnorm", "sigreg"], scope="module")
def case(request):
    sizes = {"encoder_width": 8, "mlp_width": 8, "latent_dim": D, "num_bins": 21, "dropout": 0.0}
    config = ModelConfig(regularizer=request.param, task_dim=K, **sizes)
    net = tdmpc.build(config, LEARN, Spec(TOTAL, A, 0.99, N))
    leaves, tree = jax.tree.flatten(jax.jit(lambda k: tdmpc.init(net, k))(jax.random.key(0)))
    keys = jax.random.split(jax.random.key(1), len(leaves))
    noisy = [p + 0.3 * jax.random.normal(k, p.shape) for p, k in zip(leaves, keys, strict=True)]
    return net, jax.tree.unflatten(tree, noisy)


@cache
def encoder(net):
    """One program for all tests of a case."""
    return jax.jit(net.encode)


def latents(case):
    net, params = case
    values = np.random.default_rng(3).normal(size=(5, OBS)).astype(np.float32)
    return [encoder(net)(params, jnp.asarray(obs_of(k, values), jnp.float32)) for k in range(N)]


def test_a_latent_is_learned_then_says_which_task_it_is(case):
    net, params = case
    predict = jax.jit(net.predict)
    for task, latent in enumerate(latents(case)):
        assert latent.shape == (5, net.latent_size) == (5, D + K + A + 1)
        assert net.learned(latent).shape == (5, D)
        np.testing.assert_array_equal(net.action_mask(latent), [[1, task]] * 5)
        np.testing.assert_allclose(net.discount(latent), discount_for(STEPS[task]), rtol=1e-6)
        table = np.asarray(params["task"]["params"]["embedding"][task], np.float64)
        expected = table / max(1, np.linalg.norm(table))
        np.testing.assert_allclose(latent[:, D : D + K], [expected] * 5, rtol=1e-5)
        action = jnp.full((5, A), 0.5)
        following = predict(params, latent, action)
        np.testing.assert_array_equal(following[:, D:], latent[:, D:])
    first, second = latents(case)
    assert np.abs(net.learned(first) - net.learned(second)).max() > 1e-3  # told apart


def test_simnorm_acts_on_the_learned_part_alone(case):
    net, params = case
    if net.config.regularizer != "simnorm":
        pytest.skip("latents of sigreg have no constraint to look at")
    latent = jax.jit(net.predict)(params, latents(case)[1], jnp.ones((5, A)))
    groups = np.asarray(net.learned(latent)).reshape(5, -1, net.config.simnorm_group)
    np.testing.assert_allclose(groups.sum(-1), 1.0, rtol=1e-5)


@pytest.mark.parametrize("steps", [0, 10, 25, 100, 200, 500, 1000, 5000])
def test_the_discount_of_an_observation_is_that_of_its_time_limit(case, steps):
    net, params = case
    obs = obs_of(0, np.zeros(OBS))
    obs[-1] = 1 / steps if steps else 0
    latent = encoder(net)(params, jnp.asarray(obs, jnp.float32))
    np.testing.assert_allclose(net.discount(latent), discount_for(steps), rtol=1e-6)


def test_planners_see_each_tasks_discount_and_no_masked_action(case):
    net, params = case
    model = as_latent_model(net)
    step, prior = jax.jit(model.step), jax.jit(model.prior)
    key = jax.random.key(2)
    for task, many in enumerate(latents(case)):
        latent = many[0]
        one = step(params, latent, jnp.array([0.3, -0.9]))
        other = step(params, latent, jnp.array([0.3, 0.9]))
        np.testing.assert_allclose(one[2], discount_for(STEPS[task]), rtol=1e-6)
        same = [np.array_equal(a, b) for a, b in zip(one, other, strict=True)]
        assert same == ([True, True, True] if task == 0 else [False, False, True])
        for action in (prior(params, latent, None), prior(params, latent, key)):
            assert action[0] != 0
            assert (action[1] == 0) == (task == 0)


def test_masked_actions_never_matter_in_the_losses(case):
    net, params = case
    data, key = batch(), jax.random.key(4)

    def loss(action):
        return model_loss(params, net, params["value"], data._replace(action=action), key)[0]

    gradient = np.asarray(jax.jit(jax.grad(loss))(data.action))
    assert (gradient[: B // 2, :, 1] == 0).all()  # task 0 has no second action
    assert np.abs(gradient[: B // 2, 0, 0]).min() > 0
    assert np.abs(gradient[B // 2 :, 0]).min() > 0

    def of_latents(prior_params, obs, mask):
        rolled = jnp.swapaxes(net.encode(params, obs), 0, 1)
        return prior_loss(prior_params, net, params, rolled, mask, 1.0, key)[0]

    grad_of = jax.jit(jax.grad(of_latents))

    # The last layer of the prior has columns mean 0, mean 1, log std 0, log std 1.
    for half, masked in ((slice(0, B // 2), True), (slice(B // 2, B), False)):
        rows = data.obs[half], data.mask[half]
        grads = grad_of(params["prior"], *rows)["params"]["Dense_0"]["kernel"]
        assert (np.asarray(grads)[:, [1, 3]] == 0).all() == masked
        assert np.abs(np.asarray(grads)[:, [0, 2]]).max() > 0


def test_entropy_counts_the_tasks_own_actions():
    noise, log_std, pre = np.random.default_rng(0).normal(size=(3, 6, A))
    own = squash_log_prob(noise[:, :1], log_std[:, :1], pre[:, :1])
    np.testing.assert_allclose(
        squash_log_prob(noise, log_std, pre, jnp.array([[1.0, 0.0]])), own, rtol=1e-6
    )


def test_targets_discount_each_slice_by_its_task(case):
    net, params = case
    flat = net._replace(learner=LearnerConfig(batch_size=B, horizon=T, td_lambda=0.0))
    data, key = batch(), jax.random.key(5)
    latent = jnp.swapaxes(encoder(net)(params, data.obs[:, 1:]), 0, 1)

    @jax.jit
    def targets(factor):
        """Targets [T, B] with the discounts times factor [B, 1]."""
        ended = 1 - factor
        changed = data._replace(terminated=jnp.broadcast_to(ended, (B, T)))
        return td_targets(flat, params, params["value"], latent, changed, key)

    # 1 - terminated multiplies the discount: with its inverse there, the values are left alone.
    value = targets(jnp.asarray([1 / discount_for(STEPS[k]) for k in (0, 0, 1, 1)])[:, None])
    plain = targets(jnp.ones((B, 1)))
    found = (plain - data.reward.T) / (value - data.reward.T)
    expected = [discount_for(STEPS[k]) for k in (0, 0, 1, 1)]
    np.testing.assert_allclose(found, [expected] * T, rtol=1e-3)


def test_every_part_learns_and_stays_finite(case):
    net, _ = case
    state = jax.jit(partial(learner.init, net))(jax.random.key(0))
    step = jax.jit(lambda s, k: learner.update(net, s, batch(), k))
    before = state.params
    for i in range(3):
        state, metrics = step(state, jax.random.key(i))
    assert all(np.isfinite(float(v)) for v in metrics.values())
    moved = {
        name: max(
            float(jnp.abs(a - b).max())
            for a, b in zip(jax.tree.leaves(before[name]), jax.tree.leaves(own), strict=True)
        )
        for name, own in state.params.items()
    }
    assert min(moved.values()) > 0
    assert set(moved) == {"encoder", "dynamics", "reward", "value", "prior", "task"}


def test_a_single_task_has_no_trace_of_it():
    net = tdmpc.build(ModelConfig(), LEARN, Spec(5, 1, 0.99))
    params = jax.eval_shape(lambda: tdmpc.init(net, jax.random.key(0)))
    assert set(params) == {"encoder", "dynamics", "reward", "value", "prior"}
    assert net.latent_size == net.config.latent_dim
    latent, action = jnp.ones(64), jnp.ones(1)
    assert net.learned(latent) is latent
    assert net.masked(latent, action) is action
    assert net.action_mask(latent) is None
    assert net.discount(latent) == 0.99
