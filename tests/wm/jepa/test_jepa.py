"""Reward-free models: shapes, time, causality, targets, frozen encoders."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agents.storage import encoder_file
from wm.jepa import frozen
from wm.jepa import learner as jepa_learner
from wm.jepa import model as jepa
from wm.jepa.config import LEARNER_PRESETS, PRESETS, JepaConfig, JepaLearnerConfig, slice_rows
from wm.jepa.learner import JepaBatch
from wm.jepa.model import JepaSpec
from wm.jepa.views import views

KEY = jax.random.key(0)
TINY = JepaConfig(
    latent_dim=8,
    encoder_width=16,
    predictor_width=16,
    cnn_channels=4,
    embed_dim=12,
    encoder_layers=1,
    predictor_heads=2,
    predictor_head_dim=4,
    patch=8,
)
LEARNER = JepaLearnerConfig(rollout=2, batch_size=4, sigreg_directions=8)
KINDS = [
    replace(TINY, encoder=encoder, predictor=predictor, action_block=2)
    for encoder, predictor in [("mlp", "mlp"), ("cnn", "gru"), ("vit", "transformer")]
]
NAMES = [f"{kind.encoder}-{kind.predictor}" for kind in KINDS]


def spec_of(config):
    return JepaSpec((16, 16, 3) if config.pixels else (5,), 3)


def tiny(config, objective="lewm", learner=LEARNER, encoder=None):
    return jepa.build(config, learner, spec_of(config), objective, encoder)


def fresh(net):
    """Parameters, made in one program (operation by operation takes seconds)."""
    return jax.jit(lambda key: jepa.init(net, key))(KEY)


def seen_by(net, params, target, batch):
    return jax.jit(lambda p, t, b: views(net, p, t, b))(params, target, batch)


def random_batch(net, size=4, seed=0):
    rng = np.random.default_rng(seed)
    rows = slice_rows(net.config, net.learner)
    shape = (size, rows, *net.spec.frame_shape)
    if net.config.pixels:
        frames = rng.integers(0, 256, shape).astype(np.uint8)
    else:
        frames = rng.normal(size=shape).astype(np.float32)
    action = rng.uniform(-1, 1, (size, rows, net.spec.action_dim)).astype(np.float32)
    return JepaBatch(jnp.asarray(frames), jnp.asarray(action))


def counted(rows, size=2):
    """Rows whose frame and action say which slice and which row they are."""
    number = 100.0 * np.arange(size)[:, None] + np.arange(rows)
    frames, action = np.repeat(number[..., None], 5, -1), np.repeat(number[..., None], 3, -1)
    return JepaBatch(jnp.asarray(frames, jnp.float32), jnp.asarray(action, jnp.float32))


@pytest.mark.parametrize("config", KINDS, ids=NAMES)
def test_encode_step_and_embed_are_for_one(config):
    net = tiny(config)
    params = fresh(net)
    frames = random_batch(net).frames[0, :3]
    latent = jax.jit(net.encode)(params, frames)
    step = jax.jit(net.step)
    following = step(params, latent, jnp.ones(net.action_size))
    assert net.action_size == 6
    assert jax.tree.structure(latent) == jax.tree.structure(following)
    assert [x.shape for x in jax.tree.leaves(latent)] == [
        x.shape for x in jax.tree.leaves(following)
    ]
    assert net.embed(params, following).shape == (8,)
    moved = step(params, latent, -jnp.ones(net.action_size))
    gates_open = config.predictor != "transformer"  # fresh AdaLN-zero blocks pass nothing on
    assert bool(jnp.any(net.embed(params, moved) != net.embed(params, following))) == gates_open


def test_a_stacked_slice_gives_each_moment_its_own_history_and_actions():
    config = replace(TINY, history=3, frame_spacing=2, action_block=3)
    net = tiny(config)
    rows = slice_rows(config, LEARNER)
    assert rows == 2 * 2 + 2 * 3 + 1
    params = fresh(net)
    seen = seen_by(net, params, {}, counted(rows))
    assert seen.frames[0, :, :, 0].tolist() == [[0, 2, 4], [3, 5, 7], [6, 8, 10]]
    assert seen.actions[1, :, ::3].tolist() == [[104, 105, 106], [107, 108, 109]]
    one = jax.jit(net.encode)(params, counted(rows).frames[1, jnp.array([3, 5, 7])])
    np.testing.assert_allclose(seen.latents[1, 1], one, rtol=1e-5, atol=1e-6)
    step = jax.jit(net.step)(params, seen.latents[1, 1], seen.actions[1, 1])
    np.testing.assert_allclose(seen.predicted[1, 1], step, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(seen.targets, seen.latents[:, 1:])


def open_gates(params):
    """Parameters of a transformer whose blocks do something (fresh ones are the identity)."""
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda p: np.float32(p + 0.3 * rng.normal(size=p.shape)), params)


def test_a_windowed_slice_predicts_every_frame_from_those_before():
    config = replace(TINY, encoder="mlp", predictor="transformer", history=3, action_block=2)
    net = tiny(config)
    rows = slice_rows(config, LEARNER)
    params = open_gates(fresh(net))
    params["normalizer"]["std"] = 100.0 * jnp.ones(5)
    batch = counted(rows)
    seen = seen_by(net, params, {}, batch)
    encode, step = jax.jit(net.encode), jax.jit(net.step)
    assert (batch.frames[0, ::2, 0]).tolist() == [0, 2, 4, 6, 8]
    assert seen.latents.shape == (2, 5, 8) and seen.actions[0, :, ::3].tolist() == [
        [0, 1],
        [2, 3],
        [4, 5],
        [6, 7],
    ]
    # The last prediction of window 1 (frames 2, 4, 6) is what planning would see from there.
    latent = encode(params, batch.frames[0, 2:8:2], seen.actions[0, 1:3])
    expected = net.embed(params, step(params, latent, seen.actions[0, 3]))
    np.testing.assert_allclose(seen.predicted[0, 5], expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(seen.targets[0, 5], seen.latents[0, 4])
    # Open loop starts without past actions, as an agent that was just reset does.
    latent = encode(params, batch.frames[0, 0:6:2])
    for n in range(2):
        latent = step(params, latent, seen.actions[0, 2 + n])
        expected = net.embed(params, latent)
        np.testing.assert_allclose(seen.rolled[0, n], expected, rtol=1e-4, atol=1e-5)


def test_a_transformer_predictor_is_causal():
    """What it predicts after position t does not depend on what comes later."""
    net = tiny(replace(KINDS[2], history=4))
    params = open_gates(fresh(net))
    vectors, actions = jax.random.normal(KEY, (4, 8)), jax.random.normal(KEY, (4, 6))

    @jax.jit
    def predicted(vectors, actions):
        window = net.window(vectors, actions[:-1])
        return net.predict_window(params, window, actions[-1])

    base = np.asarray(predicted(vectors, actions))
    for t in range(4):
        for changed in (
            predicted(vectors.at[t].add(jnp.arange(8.0)), actions),
            predicted(vectors, actions.at[t].add(jnp.arange(6.0))),
        ):
            changed = np.asarray(changed)
            np.testing.assert_allclose(changed[:t], base[:t], atol=1e-6)
            assert np.abs(changed[t:] - base[t:]).max(axis=1).min() > 1e-4


def test_leworldmodel_has_eighteen_million_parameters():
    net = jepa.build(PRESETS["lewm"], LEARNER_PRESETS["lewm"], JepaSpec((224, 224, 3), 2))
    shapes = jax.eval_shape(lambda: jepa.init(net, KEY))
    assert round(jepa_learner.num_learned(net, shapes) / 1e6, 1) == 18.0


@pytest.mark.parametrize("name", ["state", "pixels", "vit"])
def test_laptop_presets_have_less_than_a_million(name):
    shape = (64, 64, 3) if PRESETS[name].pixels else (10,)
    net = jepa.build(PRESETS[name], JepaLearnerConfig(), JepaSpec(shape, 4))
    shapes = jax.eval_shape(lambda: jepa.init(net, KEY))
    assert jepa_learner.num_learned(net, shapes) < 1e6


def test_stopped_and_averaged_targets_pass_no_gradient():
    config = KINDS[0]
    for name, passes in (("consistency", False), ("ema", False), ("lewm", True)):
        net = tiny(config, name)
        state = jax.jit(lambda key, net=net: jepa_learner.init(net, key))(KEY)
        batch = random_batch(net)

        def target_sum(encoder, net=net, state=state, batch=batch):
            seen = views(net, {**state.params, "encoder": encoder}, state.target, batch)
            return jnp.sum(seen.targets**2)

        slope = jax.jit(jax.grad(target_sum))(state.params["encoder"])
        assert any(bool(jnp.any(x != 0)) for x in jax.tree.leaves(slope)) == passes


def test_averaged_targets_follow_slowly():
    net = tiny(KINDS[0], "ema", replace(LEARNER, target_rate=0.25, warmup=0, learning_rate=0.1))
    state = jax.jit(lambda key: jepa_learner.init(net, key))(KEY)
    new, _ = jax.jit(partial(jepa_learner.update, net, total_updates=4))(
        state, random_batch(net), KEY
    )
    for old, now, average in zip(
        *map(
            jax.tree.leaves, (state.params["encoder"], new.params["encoder"], new.target["encoder"])
        ),
        strict=True,
    ):
        np.testing.assert_allclose(average, old + 0.25 * (now - old), atol=1e-6)


def test_simnorm_latents_are_groups_of_probabilities():
    net = tiny(KINDS[0], "consistency")
    params = fresh(net)
    latent = jax.jit(net.encode)(params, random_batch(net).frames[0, :3])
    for z in (latent, jax.jit(net.step)(params, latent, jnp.ones(6))):
        assert float(z.sum()) == pytest.approx(1) and float(z.min()) >= 0


def test_an_exported_encoder_is_used_and_never_changed(tmp_path):
    source = tiny(replace(KINDS[2], history=3))
    given = fresh(source)["encoder"]
    encoder_file.save(tmp_path / "encoder.safetensors", source.config, given)
    encoder = encoder_file.load(tmp_path / "encoder.safetensors")
    assert encoder.features == 8 and encoder.preprocess == frozen.PLAIN
    net = tiny(replace(KINDS[1], encoder="frozen", history=2), "frozen", encoder=encoder)
    assert net.latent_dim == 16
    state = jax.jit(lambda key: jepa_learner.init(net, key))(KEY)
    batch = random_batch(net)
    picture = batch.frames[0, 0]
    wanted = source.encode_normalized({"encoder": given}, source.normalize({}, picture)[None])
    same_size = encoder._replace(preprocess=frozen.PLAIN._replace(size=16))
    found = same_size.apply(encoder.params, same_size.preprocess(picture))
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)
    net = net._replace(encoder=same_size)
    new, metrics = jax.jit(partial(jepa_learner.update, net, total_updates=9))(state, batch, KEY)
    assert np.isfinite(float(metrics["loss/total"]))
    jax.tree.map(np.testing.assert_array_equal, new.params["encoder"], given)


def test_pictures_are_brought_to_the_size_and_scale_of_a_frozen_encoder():
    prepare = frozen.Preprocess(4, (0.2, 0.4, 0.6), (0.5, 0.25, 0.125))
    picture = np.full((8, 8, 3), 51, np.uint8)  # 0.2 everywhere
    made = np.asarray(prepare(jnp.asarray(picture)))
    assert made.shape == (4, 4, 3)
    np.testing.assert_allclose(made[2, 1], [0.0, -0.8, -3.2], atol=1e-5)


def test_a_file_that_is_no_encoder_is_refused_in_one_line(tmp_path):
    from safetensors.numpy import save_file

    from agents.storage.files import CheckpointError

    path = tmp_path / "other.safetensors"
    save_file({"w": np.zeros(3, np.float32)}, path)
    with pytest.raises(CheckpointError, match="does not say what encoder"):
        encoder_file.load(path)
    path.write_bytes(b"nonsense")
    with pytest.raises(CheckpointError, match="cannot be read"):
        encoder_file.load(path)


@pytest.mark.parametrize(
    ("config", "objective", "message"),
    [
        (replace(TINY, encoder="frozen"), "frozen", "model.frozen_file"),
        (TINY, "frozen", "goes with model.encoder frozen"),
        (replace(TINY, latent_dim=12), "consistency", "multiple of model.simnorm_group"),
        (replace(TINY, encoder="vit", patch=7), "lewm", "must divide"),
    ],
)
def test_settings_that_do_not_fit_are_refused(config, objective, message):
    with pytest.raises(ValueError, match=message):
        tiny(config, objective)
