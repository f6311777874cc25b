"""Collapse shown and cured, and undone: five seeds at once, on a point with inertia in a box."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from wm.jepa import learner as jepa_learner
from wm.jepa import model as jepa
from wm.jepa.collapse import ALARM_RANK, effective_rank
from wm.jepa.config import JepaConfig, JepaLearnerConfig, slice_rows
from wm.jepa.model import JepaSpec
from wm.jepa.views import JepaBatch
from wm.regularizers.sigreg import sigreg

SEEDS, LATENT, BATCHES = 5, 8, 64
MODEL = JepaConfig(latent_dim=LATENT, history=1, encoder_width=64, predictor_width=64)
LEARNER = JepaLearnerConfig(
    rollout=1, batch_size=64, learning_rate=3e-3, warmup=20, sigreg_directions=32
)


def box_batches(rng, count, size, rows):
    """[count, size, rows, ...] of positions and velocities, and the actions that push."""
    position, speed = rng.uniform(-1, 1, (count, size, 2)), 0.2 * rng.normal(size=(count, size, 2))
    action, state = rng.uniform(-1, 1, (count, size, rows, 2)), []
    for t in range(rows):
        state.append(np.concatenate([position, 3 * speed], -1))
        speed = 0.9 * speed + 0.1 * action[:, :, t]
        position = position + speed
        speed = np.where(np.abs(position) > 1, -speed, speed)
        position = np.clip(position, -1, 1)
    frames = np.stack(state, 2).astype(np.float32)
    return JepaBatch(jnp.asarray(frames), jnp.asarray(action, jnp.float32))


def network(objective):
    return jepa.build(MODEL, LEARNER, JepaSpec((4,), 2), objective)


def trained(net, updates):
    """Latents [SEEDS, 512, D] of unseen moments before and after updates, one seed a row."""
    rng, rows = np.random.default_rng(0), slice_rows(MODEL, net.learner)
    batches = box_batches(rng, BATCHES, net.learner.batch_size, rows)
    unseen = box_batches(rng, 1, 512, 1).frames[0]
    encode = jax.vmap(net.encode, (None, 0))

    def one(key):
        state = jepa_learner.init(net, key)

        def once(state, number):
            batch = jax.tree.map(lambda x: x[number % BATCHES], batches)
            own = jax.random.fold_in(key, number)
            return jepa_learner.update(net, state, batch, own, updates)[0], None

        after, _ = jax.lax.scan(once, state, jnp.arange(updates))
        return encode(state.params, unseen), encode(after.params, unseen)

    keys = jax.vmap(jax.random.key)(jnp.arange(SEEDS))
    return jax.jit(lambda keys: jax.lax.map(one, keys))(keys)


def shares(latents):
    """Effective rank of every seed as a share of the dimensions."""
    return np.asarray(jax.jit(jax.vmap(effective_rank))(latents)) / LATENT


def test_prediction_alone_collapses_and_sigreg_does_not():
    """The only difference is the regulariser."""
    before, collapsed = trained(network("none"), 1000)
    assert (shares(before) > 0.5).all()
    assert (shares(collapsed) < ALARM_RANK).all(), shares(collapsed)
    assert (collapsed.std(1) < 1e-3).all()
    _, alive = trained(network("lewm"), 400)
    assert (shares(alive) > 0.5).all(), shares(alive)
    assert (abs(alive.std(1).mean(1) - 1) < 0.25).all()


def test_sigreg_alone_spreads_latents_that_lay_on_a_line():
    """All but a thousandth of their size is in one of sixteen directions."""
    optimiser = optax.adam(0.03)

    def recovered(key):
        line, along, noise, own = jax.random.split(key, 4)
        latents = jax.random.normal(line, (256, 1)) * jax.random.normal(along, (1, 16))
        latents += 1e-3 * jax.random.normal(noise, latents.shape)

        def once(carry, number):
            z, opt = carry
            slope = jax.grad(lambda z: sigreg(z, jax.random.fold_in(own, number), 32))(z)
            step, opt = optimiser.update(slope, opt)
            return (optax.apply_updates(z, step), opt), None

        begin = (latents, optimiser.init(latents))
        (after, _), _ = jax.lax.scan(once, begin, jnp.arange(200))
        return effective_rank(latents), effective_rank(after)

    before, after = jax.jit(jax.vmap(recovered))(jax.vmap(jax.random.key)(jnp.arange(SEEDS)))
    assert (before < 1.01).all()
    assert (after > 0.75 * 16).all(), after
