"""From a pretrain run to what plans to goals are made with: the model, its guides, its scales.

Guides, a critic and a policy for goals, live in the `guide` folder of the run and belong to one
checkpoint of it.
"""

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from agents.data.rotate_pictures import RotatedPictures
from agents.data.rotation import rotated_rows, rotation_of, task_of
from agents.goals import critic as goal_critic
from agents.goals import policy as distill
from agents.goals.agent import GoalModel, Guidance, embed_goal
from agents.goals.config import GuideConfig, ObjectiveConfig
from agents.goals.hindsight import Table, at_rest, joined, make_table
from agents.goals.pictures import GoalPictures
from agents.runs.config import ConfigError
from agents.runs.load_pretrained import JepaTrained
from agents.runs.settings import stored_config
from agents.storage import checkpoint
from agents.storage.files import refuse_link
from planning.objective import Weights
from wm.jepa.model import JepaNetworks

GUIDE = "guide"
KIND = "guide"
NETWORKS = "quasimetric, spread apart"
"""What the networks of guides are and how they are learned: those of other ones do not fit."""


@dataclass
class Guides:
    """A critic and a policy for one checkpoint, and where the embeddings of its data lie."""

    config: GuideConfig
    arrays: dict[str, Any]
    """critic, policy: parameters; scale [], low [D], high [D]."""
    data: str = ""
    """The dataset they were learned from."""


def goal_model(net: JepaNetworks, guides: Guides | None = None) -> GoalModel:
    """The functions that planning needs of a reward-free model."""
    model = GoalModel(
        encode=net.encode,
        step=net.step,
        embed=net.embed,
        action_dim=net.spec.action_dim,
        frame_shape=net.spec.frame_shape,
        frame_dtype=jnp.uint8 if net.config.pixels else jnp.float32,
        history=net.config.history,
        spacing=net.config.spacing,
        block=net.config.action_block,
    )
    if guides is None:
        return model
    config, size = guides.config, net.action_size
    return model._replace(
        critic=lambda params, place, goal: goal_critic.cost_to_go(params, config, place, goal),
        leap=lambda params, place, after: goal_critic.leap(
            params, config, net.config.action_block, place, after
        ),
        policy=lambda params, place, goal: distill.react(params, config, size, place, goal),
    )


def weights_of(objective: ObjectiveConfig) -> Weights:
    """The weights as traced data; a reward-free model has no reward to weigh."""
    named = asdict(objective) | {"reward": 0.0}
    return Weights(**{name: jnp.float32(named[name]) for name in Weights._fields})


def reach_of(objective: ObjectiveConfig) -> jax.Array:
    """The distance from which on farther is no worse."""
    return jnp.float32(objective.reach or jnp.inf)


def spread(places: np.ndarray | jax.Array) -> dict[str, jax.Array]:
    """Scale, low and high of embeddings [N, D]."""
    places = jnp.asarray(places)
    scale = 2 * jnp.mean(jnp.var(places, axis=0))  # mean square between two independent ones
    return {"scale": jnp.maximum(scale, 1e-12), "low": places.min(0), "high": places.max(0)}


def guidance(
    params: Any, objective: ObjectiveConfig, stats: dict[str, Any], guides: Guides | None = None
) -> Guidance:
    """Everything an agent needs as data."""
    learned = guides.arrays if guides else {}
    return Guidance(
        model=params,
        weights=weights_of(objective),
        scale=jnp.asarray(stats["scale"]),
        reach=reach_of(objective),
        low=jnp.asarray(stats["low"]),
        high=jnp.asarray(stats["high"]),
        critic=learned.get("critic"),
        policy=learned.get("policy"),
    )


def embed_goals(model: GoalModel, params: Any, frames: np.ndarray) -> jax.Array:
    """Embeddings [N, D] of goal frames [N, ...]."""
    guide = Guidance(params, *[None] * 5)  # pyright: ignore
    one = partial(embed_goal, model, guide)
    return jax.jit(jax.vmap(one))(jnp.asarray(frames))


def table_of(trained: JepaTrained, data: Any, split: str = "train", turns: int = 0) -> Table:
    """The embedded episodes of one split of a dataset, or each turned by `turns` random angles.

    Raises ConfigError where episodes cannot be turned.
    """
    pixels, parts = trained.net.config.pixels, left_open(data.spec.env_id)
    if not (pixels and parts and "physics" in data.arrays):
        return _tables(trained, data, split, turns, parts)
    with closing(GoalPictures(data)) as redrawn:
        return _tables(trained, data, split, turns, parts, redrawn)


def _tables(
    trained: JepaTrained,
    data: Any,
    split: str,
    turns: int,
    parts: Sequence[str],
    redrawn: GoalPictures | None = None,
) -> Table:
    chosen = [data.episodes[i] for i in data.split(split)]
    pixels = trained.net.config.pixels
    starts = np.array([e.start for e in chosen])
    lengths = np.array([e.length + 1 for e in chosen])
    model, names = goal_model(trained.net), data.spec.obs_names

    def table(frames: Any, actions: Any, goals: Any) -> Table:
        if not pixels:
            goals = at_rest(frames, names, parts)
        return make_table(model, trained.params, frames, actions, starts, lengths, goals)

    if not turns:
        frames = data.arrays["pixels" if pixels else "obs"]
        return table(frames, data.arrays["action"], redrawn)
    turn = rotation_of(data.spec)
    tables = []
    for number in range(turns):
        frames, actions = rotated_rows(turn, data, number, pixels)
        goals = None
        if redrawn is not None and isinstance(frames, RotatedPictures):
            goals = frames._replace(pictures=redrawn)
        tables.append(table(frames, actions, goals))
    return joined(tables)


def left_open(env_id: str) -> tuple[str, ...]:
    """The parts of an observation that goals of a task leave open."""
    return getattr(task_of(env_id), "open_parts", ())


def learn_guides(
    config: GuideConfig,
    table: Table,
    report: Callable[[str, int, float], None] | None = None,
    trained: JepaTrained | None = None,
) -> tuple[Guides, dict[str, float]]:
    """Critic and policy from embedded episodes, and their last losses.

    In the world of `trained`, if given, the policy also learns from imagination.
    """

    def tell(stage: str) -> goal_critic.Report | None:
        return partial(report, stage) if report else None

    critic, critic_loss = goal_critic.train(config, table, tell("critic"))
    guides = Guides(config, {"critic": critic, **spread(table.place)})
    world = imagination(trained, guides) if trained else None
    policy, policy_loss = distill.learn_policy(config, critic, table, tell("policy"), world)
    guides.arrays["policy"] = policy
    return guides, {"critic_loss": critic_loss, "policy_loss": policy_loss}


def imagination(trained: JepaTrained, guides: Guides) -> tuple[GoalModel, Guidance] | None:
    """What a policy can be unrolled in; None where a latent is more than its embedding."""
    if trained.net.config.windowed:
        return None
    guide = guidance(trained.params, guides.config.objective, guides.arrays, guides)
    return goal_model(trained.net, guides), guide


def guide_folder(path: Path) -> Path:
    """Where the guides of a checkpoint's run are."""
    return path.parent.parent / GUIDE


def save_guides(trained: JepaTrained, guides: Guides) -> Path:
    """Write them beside the checkpoints. Raises StorageError."""
    record = {
        "kind": KIND,
        "networks": NETWORKS,
        "settings": asdict(guides.config),
        "data": guides.data,
        "checkpoint": trained.path.name,
        "digest": model_digest(trained.path),
    }
    spec = trained.spec.to_json() if trained.spec else {}
    step = int(trained.path.name)
    return checkpoint.save(
        guide_folder(trained.path), step, guides.arrays, config=record, spec=spec
    )


def load_guides(trained: JepaTrained) -> Guides | None:
    """The guides of this checkpoint; None where none were learned.

    Raises CheckpointError (damaged), ConfigError (learned for other parameters or networks).
    """
    folder = guide_folder(trained.path) / trained.path.name
    if not folder.is_dir():
        return None
    refuse_link(folder.parent)
    refuse_link(folder)
    stored = checkpoint.read_table(folder, "config.json")
    again = f"type `latentmpc distill {trained.path}` to learn it again"
    if stored.get("digest") != model_digest(trained.path):
        raise ConfigError(f"{folder} was learned for another model than {trained.path}: {again}")
    if stored.get("networks") != NETWORKS:
        raise ConfigError(f"{folder} holds the networks of an earlier version: {again}")
    config = stored_config(GuideConfig, stored, f"{folder}/config.json")
    arrays = jax.tree.map(jnp.asarray, checkpoint.restore(folder))
    return Guides(config, arrays, guide_data(trained))


def guide_data(trained: JepaTrained) -> str:
    """The dataset that the guides of this checkpoint were learned from; "" where unknown."""
    folder = guide_folder(trained.path) / trained.path.name
    return checkpoint.read_table(folder, "config.json").get("data", "") if folder.is_dir() else ""


def model_digest(path: Path) -> str:
    """What identifies the parameters of a checkpoint: the SHA-256 of its manifest."""
    return checkpoint.sha256_bytes((path / "MANIFEST.json").read_bytes())
