"""The world model's losses and updates against a float64 reference in plain numpy."""

import dataclasses
from functools import partial
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agents.runs.compile import counted
from wm.tdmpc import learner
from wm.tdmpc import model as tdmpc
from wm.tdmpc.config import PRESETS, LearnerConfig, ModelConfig
from wm.tdmpc.losses import Batch, model_loss, prior_loss, td_targets
from wm.types import Spec, discount_for

O, A, B, T, D = 3, 2, 4, 3, 16  # noqa: E741
LEARN = LearnerConfig(batch_size=B, horizon=T, sigreg_directions=16)


def config(**changes):
    sizes = {"encoder_width": 8, "mlp_width": 8, "latent_dim": D, "num_bins": 21, "dropout": 0.0}
    return ModelConfig(**{**sizes, **changes})


def batch(dtype=np.float64, seed=0):
    rng = np.random.default_rng(seed)
    mask = np.ones((B, T))
    mask[1, 1:], mask[2, 2:] = 0, 0  # two slices end early
    terminated = np.zeros((B, T))
    terminated[1, 0] = 1
    parts = [
        rng.normal(size=(B, T + 1, O)),
        rng.uniform(-1, 1, (B, T, A)),
        rng.normal(size=(B, T)),
        terminated,
        mask,
    ]
    return Batch(*[jnp.asarray(p, dtype) for p in parts])


@pytest.fixture(params=["simnorm", "sigreg"], scope="module")
def case(request):
    """Networks, float64 parameters and the numpy model that reads them."""
    with jax.enable_x64(True):
        net = tdmpc.build(config(regularizer=request.param, episodic=True), LEARN, Spec(O, A, 0.97))
        leaves, tree = jax.tree.flatten(jax.jit(partial(tdmpc.init, net))(jax.random.key(1)))
        rng = np.random.default_rng(2)
        noisy = [np.float64(p) + 0.3 * rng.normal(size=p.shape) for p in leaves]
        params = jax.tree.map(jnp.asarray, jax.tree.unflatten(tree, noisy))
        target = jax.tree.map(lambda p: 1.1 * p, params["value"])
        yield SimpleNamespace(
            net=net,
            params=params,
            target=target,
            ref=Reference(net, params),
            model_loss=jax.jit(lambda p, batch, key: model_loss(p, net, target, batch, key)),
        )


class Reference:
    """Forward passes in numpy float64, from the flax parameters alone."""

    def __init__(self, net, params):
        self.net, self.params = net, jax.tree.map(np.asarray, params)

    @staticmethod
    def mlp(tree, x, last=None):
        layers = tree["params"]
        normed = sorted(k for k in layers if k.startswith("NormedDense"))
        for i, name in enumerate(normed):
            layer = layers[name]
            x = x @ layer["Dense_0"]["kernel"] + layer["Dense_0"]["bias"]
            centred = x - x.mean(-1, keepdims=True)
            x = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5)
            x = x * layer["LayerNorm_0"]["scale"] + layer["LayerNorm_0"]["bias"]
            if i < len(normed) - 1 or "Dense_0" in layers:
                x = x * np.tanh(np.log1p(np.exp(x)))
            elif last is not None:
                x = last(x)
        if "Dense_0" in layers:
            x = x @ layers["Dense_0"]["kernel"] + layers["Dense_0"]["bias"]
        return x

    def latent(self, x):
        if self.net.config.regularizer == "sigreg":
            return x
        e = np.exp(x.reshape(*x.shape[:-1], -1, 8))
        return (e / e.sum(-1, keepdims=True)).reshape(x.shape)

    def encode(self, obs):
        return self.latent(self.mlp(self.params["encoder"], obs))

    def predict(self, z, a):
        return self.latent(self.mlp(self.params["dynamics"], np.concatenate([z, a], -1)))

    def values(self, tree, z, a):
        joint = np.concatenate([z, a], -1)
        heads = range(self.net.config.num_heads)
        return [self.mlp(jax.tree.map(lambda p, h=h: np.asarray(p)[h], tree), joint) for h in heads]

    def prior(self, z):
        mean, raw = np.split(self.mlp(self.params["prior"], z), 2, -1)
        return mean, -10 + 6 * (np.tanh(raw) + 1)

    def decode(self, logits):
        p = np.exp(logits - logits.max(-1, keepdims=True))
        s = (p / p.sum(-1, keepdims=True)) @ np.linspace(-10, 10, 21)
        return np.sign(s) * np.expm1(np.abs(s))

    def cross_entropy(self, logits, x):
        log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
        s = np.clip(np.sign(x) * np.log1p(np.abs(x)), -10, 10)
        weight = np.maximum(1 - np.abs(s[..., None] - np.linspace(-10, 10, 21)), 0)
        return -(weight * log_p).sum(-1)


def lambda_returns(reward, ended, mask, value, lam):
    """Slice by slice and step by step, from the last real transition of each back."""
    targets = np.zeros_like(reward)
    for b in range(reward.shape[1]):
        last = int(mask[:, b].sum()) - 1
        ahead = value[last, b]
        for t in range(last, -1, -1):
            mixed = ahead if t == last else (1 - lam) * value[t, b] + lam * ahead
            targets[t, b] = ahead = reward[t, b] + 0.97 * (1 - ended[t, b]) * mixed
    return targets


def over_time(error, mask):
    """Sum over t of 0.5^t times the mean over the batch of the unmasked errors, by T."""
    return sum(0.5**t * (error[t] * mask[t]).mean() for t in range(len(error))) / len(error)


def test_model_losses_agree_with_the_reference(case):
    data, key = batch(), jax.random.key(5)
    _, (latents, ours) = case.model_loss(case.params, data, key)
    ref, noise_key = case.ref, jax.random.split(jax.random.split(key, 3)[0])[0]
    obs, act = np.asarray(data.obs).swapaxes(0, 1), np.asarray(data.action).swapaxes(0, 1)
    reward, ended, mask = (np.asarray(x).T for x in (data.reward, data.terminated, data.mask))
    after = ref.encode(obs[1:])
    mean, log_std = ref.prior(after)
    noise = np.asarray(jax.random.normal(noise_key, mean.shape, jnp.float64))
    chosen = np.tanh(mean + np.exp(log_std) * noise)
    target_values = [ref.decode(v) for v in ref.values(case.target, after, chosen)]
    targets = lambda_returns(reward, ended, mask, np.minimum(*target_values), 0.9)
    z, states = ref.encode(obs[0]), []
    for a in act:
        states.append(z)
        z = ref.predict(z, a)
    rolled = np.stack([*states, z])
    np.testing.assert_allclose(latents, rolled, rtol=1e-9, atol=1e-12)
    consistency = ((rolled[1:] - after) ** 2).mean(-1)
    before = rolled[:-1]
    joint = np.concatenate([before, act], -1)
    reward_error = ref.cross_entropy(ref.mlp(ref.params["reward"], joint), reward)
    value_error = np.mean(
        [ref.cross_entropy(v, targets) for v in ref.values(ref.params["value"], before, act)], 0
    )
    logit = ref.mlp(ref.params["termination"], rolled[1:])[..., 0]
    ended_error = np.log1p(np.exp(logit)) - ended * logit
    expected = {
        "loss/consistency": over_time(consistency, mask),
        "loss/reward": over_time(reward_error, mask),
        "loss/value": over_time(value_error, mask),
        "loss/termination": over_time(ended_error, mask),
        "target_mean": targets[mask > 0].mean(),
    }
    for name, value in expected.items():
        assert float(ours[name]) == pytest.approx(value, rel=1e-8), name


def test_total_is_the_weighted_sum(case):
    total, (_, m) = case.model_loss(case.params, batch(), jax.random.key(5))
    coefficient = 20.0 if case.net.config.regularizer == "simnorm" else 1.0
    expected = (
        coefficient * m["loss/consistency"]
        + 0.1 * m["loss/reward"]
        + 0.1 * m["loss/value"]
        + m["loss/termination"]
        + m["loss/penalty"]
    )
    assert float(total) == pytest.approx(float(expected), rel=1e-9)
    assert (float(m["loss/penalty"]) > 0) == (case.net.config.regularizer == "sigreg")


def test_prior_loss_agrees_with_the_reference(case):
    key, ref, data = jax.random.key(7), case.ref, batch()
    latents = np.random.default_rng(3).normal(size=(T + 1, B, D))
    inputs = (jnp.asarray(latents), data.mask, jnp.array(2.5), key)
    ours = jax.jit(lambda own, params, *rest: prior_loss(own, case.net, params, *rest))
    loss, (values, metrics) = ours(case.params["prior"], case.params, *inputs)
    mean, log_std = ref.prior(latents)
    noise = np.asarray(jax.random.normal(jax.random.split(key)[0], mean.shape, jnp.float64))
    before_tanh = mean + np.exp(log_std) * noise
    action = np.tanh(before_tanh)
    density = -0.5 * noise**2 - log_std - 0.5 * np.log(2 * np.pi) - np.log(1 - action**2)
    value = np.mean([ref.decode(v) for v in ref.values(ref.params["value"], latents, action)], 0)
    reached = np.concatenate([np.ones((B, 1)), np.asarray(data.mask)], 1).T
    expected = -over_time(value / 2.5 - 1e-4 * density.sum(-1), reached)
    assert float(loss) == pytest.approx(expected, rel=1e-7)
    np.testing.assert_allclose(values, value[0], rtol=1e-9)
    assert float(metrics["prior_entropy"]) == pytest.approx(-density.sum(-1)[0].mean(), rel=1e-6)


def test_td_lambda_spans_one_step_and_the_whole_slice(case):
    """With 0 every target looks one step ahead, with 1 as far as the slice has transitions."""
    data, key = batch(), jax.random.key(3)
    after = np.swapaxes(case.ref.encode(np.asarray(data.obs[:, 1:])), 0, 1)
    reward, ended, mask = (np.asarray(x).T for x in (data.reward, data.terminated, data.mask))
    noise = np.asarray(jax.random.normal(jax.random.split(key)[0], (T, B, A), jnp.float64))
    mean, log_std = case.ref.prior(after)
    chosen = np.tanh(mean + np.exp(log_std) * noise)
    heads = case.ref.values(case.target, after, chosen)
    value = np.minimum(*[case.ref.decode(v) for v in heads])
    for lam in (0.0, 1.0):
        net = case.net._replace(learner=dataclasses.replace(LEARN, td_lambda=lam))
        ours = jax.jit(partial(td_targets, net))(
            case.params, case.target, jnp.asarray(after), data, key
        )
        expected = lambda_returns(reward, ended, mask, value, lam)
        np.testing.assert_allclose(np.asarray(ours)[mask > 0], expected[mask > 0], rtol=1e-9)


def test_what_is_masked_has_no_influence(case):
    data, key = batch(), jax.random.key(5)
    shown = np.asarray(data.mask, bool)
    hidden_obs = ~np.concatenate([np.ones((B, 1), bool), shown], 1)
    other = data._replace(
        obs=jnp.where(hidden_obs[..., None], 9.0, data.obs),
        reward=jnp.where(shown, data.reward, 50.0),
        action=jnp.where(shown[..., None], data.action, -1.0),
    )

    # The penalty of sigreg looks at every encoded observation, as it should: it is left out here.
    free = dataclasses.replace(LEARN, sigreg_coef=0.0)
    net = tdmpc.build(case.net.config, free, case.net.spec)

    gradient = jax.jit(jax.grad(lambda p, data: model_loss(p, net, case.target, data, key)[0]))
    one, two = (gradient(case.params, seen) for seen in (data, other))
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=1e-10), one, two)


def test_gradient_reaches_the_targets_only_under_sigreg(case):
    """Consistency alone, with the first observation cut off: what is left flows from targets."""
    data = batch()

    def loss(encoder):
        params = {**case.params, "encoder": encoder}
        fixed = {**case.params, "encoder": jax.lax.stop_gradient(encoder)}
        net = case.net
        after = net.encode(params, data.obs[:, 1])
        goal = jax.lax.stop_gradient(after) if net.simnormed else after
        predicted = net.predict(fixed, net.encode(fixed, data.obs[:, 0]), data.action[:, 0])
        return jnp.mean((predicted - goal) ** 2)

    gradient = jax.tree.leaves(jax.jit(jax.grad(loss))(case.params["encoder"]))
    size = sum(float(jnp.abs(g).sum()) for g in gradient)
    assert (size > 0) == (case.net.config.regularizer == "sigreg")


def test_td_targets_train_nobody(case):
    """The prior enters the model's loss through its targets alone, and gets no gradient."""
    slopes = jax.jit(jax.grad(lambda p: case.model_loss(p, batch(), jax.random.key(5))[0]))
    for g in jax.tree.leaves(slopes(case.params)["prior"]):
        assert float(jnp.abs(g).max()) == 0


@pytest.fixture(scope="module")
def toy():
    """A small learner, jitted once."""
    net = tdmpc.build(config(episodic=True), LEARN, Spec(O, A, 0.97))
    with jax.enable_x64(False):  # the references before are of float64
        state = jax.jit(partial(learner.init, net))(jax.random.key(0))
    return state, jax.jit(partial(learner.update, net))


def test_updates_learn_a_fixed_batch_and_compile_once(toy):
    state, update = toy
    history, first = [], 0
    with jax.enable_x64(False), counted() as compiled:
        data = batch(np.float32)
        for i in range(150):
            state, metrics = update(state, data, jax.random.key(i))
            history.append({k: float(v) for k, v in metrics.items()})
            first = compiled.count if i == 0 else first
    assert first and compiled.count == first
    assert int(state.updates) == 150
    for name in ("loss/reward", "loss/termination", "loss/consistency"):
        assert history[-1][name] < 0.8 * history[0][name], name


def test_update_is_a_function_of_its_inputs(toy):
    state, update = toy
    one, _ = update(state, batch(np.float32), jax.random.key(1))
    two, _ = update(state, batch(np.float32), jax.random.key(1))
    jax.tree.map(np.testing.assert_array_equal, one, two)


def test_target_heads_follow_slowly_and_the_encoder_takes_shorter_steps(toy):
    state, update = toy
    after, _ = update(state, batch(np.float32), jax.random.key(1))

    def check(target, old, new):
        np.testing.assert_allclose(target, 0.99 * old + 0.01 * new, rtol=1e-5, atol=1e-7)

    jax.tree.map(check, after.target_value, state.target_value, after.params["value"])

    def longest(name):  # Adam's first step is the learning rate wherever there is a gradient
        pair = after.params[name], state.params[name]
        moved = jax.tree.map(lambda a, b: jnp.abs(a - b).max(), *pair)
        return max(float(x) for x in jax.tree.leaves(moved))

    assert longest("dynamics") == pytest.approx(LEARN.learning_rate, rel=1e-2)
    assert longest("encoder") == pytest.approx(0.3 * LEARN.learning_rate, rel=1e-2)


def test_random_heads_are_members_and_differ():
    params = {"w": jnp.arange(5.0)[:, None] * jnp.ones((5, 2))}
    choose = jax.jit(lambda key: tdmpc.choose_heads(params, 5, key)["w"][:, 0])
    picks = [choose(jax.random.key(i)) for i in range(30)]
    assert all(len(set(map(float, p))) == 2 for p in picks)
    assert {float(x) for p in picks for x in p} == {0, 1, 2, 3, 4}
    assert tdmpc.choose_heads(params, 2, jax.random.key(0)) is params


@pytest.mark.parametrize(
    ("preset", "millions"), [("1M", 1), ("5M", 5), ("19M", 19), ("48M", 48), ("317M", 317)]
)
def test_presets_have_the_size_of_their_name(preset, millions):
    net = tdmpc.build(PRESETS[preset], LearnerConfig(), Spec(39, 6, 0.99))
    shapes = jax.eval_shape(lambda: tdmpc.init(net, jax.random.key(0)))
    count = sum(x.size for x in jax.tree.leaves(shapes))
    assert count == pytest.approx(millions * 1e6, rel=0.25)


def test_discount_follows_the_episode_length():
    assert discount_for(500) == pytest.approx(0.99)
    assert discount_for(1000) == pytest.approx(0.995)
    assert discount_for(50) == pytest.approx(0.95)
    assert discount_for(0) == 0.995
    with pytest.raises(ValueError, match="multiple"):
        ModelConfig(latent_dim=60)
