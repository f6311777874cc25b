"""From a pretrain run to what plans to goals are made with: the model, its heads, its scales.

The goal heads, a critic and a policy, live in the `guide` folder of the run and belong to one
checkpoint of it.
"""

from collections.abc import Callable
from contextlib import closing, nullcontext
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
from agents.goals import policy as goal_policy
from agents.goals.agent import GoalModel, GoalParams, embed_goal
from agents.goals.config import GoalHeadsConfig, ObjectiveConfig
from agents.goals.hindsight import Table, at_rest, joined, make_table
from agents.goals.pictures import GoalPictures
from agents.runs.config import ConfigError
from agents.runs.load_pretrained import JepaTrained
from agents.runs.settings import stored_config
from agents.storage import checkpoint
from agents.storage.files import refuse_link
from wm.jepa.model import JepaNetworks

GUIDE = "guide"
KIND = "guide"
NETWORKS = "quasimetric, spread apart"
"""The kind of networks and of learning: heads of another kind do not fit."""


@dataclass
class GoalHeads:
    """A critic and a policy for one checkpoint, and where the embeddings of its data lie."""

    config: GoalHeadsConfig
    arrays: dict[str, Any]
    """critic, policy: parameters; scale [], low [D], high [D]."""
    data: str = ""
    """The dataset they were learned from."""


def goal_model(net: JepaNetworks, heads: GoalHeads | None = None) -> GoalModel:
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
    if heads is None:
        return model
    config, block = heads.config, net.config.action_block
    return model._replace(
        critic=lambda params, at, goal: goal_critic.cost_to_go(params, config, at, goal),
        reachability=lambda params, before, after: goal_critic.reachability(
            params, config, block, before, after
        ),
        policy=lambda params, at, goal: goal_policy.react(
            params, config, net.action_size, at, goal
        ),
    )


def weights_of(objective: ObjectiveConfig) -> dict[str, jax.Array]:
    """The weight of every term as traced data."""
    return {name: jnp.float32(weight) for name, weight in objective.weights.items()}


def radius_of(objective: ObjectiveConfig) -> jax.Array:
    """The distance from which on farther is no worse."""
    return jnp.float32(objective.radius or jnp.inf)


def spread(embeddings: np.ndarray | jax.Array) -> dict[str, jax.Array]:
    """Scale, low and high of embeddings [N, D]."""
    x = jnp.asarray(embeddings)
    scale = 2 * jnp.mean(jnp.var(x, axis=0))  # mean square between two independent ones
    return {"scale": jnp.maximum(scale, 1e-12), "low": x.min(0), "high": x.max(0)}


def goal_params(
    params: Any, objective: ObjectiveConfig, stats: dict[str, Any], heads: GoalHeads | None = None
) -> GoalParams:
    """Everything an agent needs as data."""
    learned = heads.arrays if heads else {}
    return GoalParams(
        model=params,
        weights=weights_of(objective),
        scale=jnp.asarray(stats["scale"]),
        radius=radius_of(objective),
        low=jnp.asarray(stats["low"]),
        high=jnp.asarray(stats["high"]),
        critic=learned.get("critic"),
        policy=learned.get("policy"),
    )


def embed_goals(model: GoalModel, params: Any, frames: np.ndarray) -> jax.Array:
    """Embeddings [N, D] of goal frames [N, ...]."""
    return jax.jit(jax.vmap(partial(embed_goal, model, params)))(jnp.asarray(frames))


def table_of(trained: JepaTrained, data: Any, split: str = "train", turns: int = 0) -> Table:
    """The embedded episodes of one split of a dataset, or each turned by `turns` random angles.

    Raises ConfigError where episodes cannot be turned.
    """
    model, pixels = goal_model(trained.net), trained.net.config.pixels
    names, parts = data.spec.obs_names, left_open(data.spec.env_id)
    chosen = [data.episodes[i] for i in data.split(split)]
    starts = np.array([e.start for e in chosen])
    lengths = np.array([e.length + 1 for e in chosen])
    redraws = pixels and parts and "physics" in data.arrays

    def table(frames: Any, actions: Any, redrawn: GoalPictures | None) -> Table:
        goals = redrawn if pixels else at_rest(frames, names, parts)
        if redrawn is not None and isinstance(frames, RotatedPictures):
            goals = frames._replace(pictures=redrawn)
        return make_table(model, trained.params, frames, actions, starts, lengths, goals)

    with closing(GoalPictures(data)) if redraws else nullcontext() as redrawn:
        if not turns:
            frames = data.arrays["pixels" if pixels else "obs"]
            return table(frames, data.arrays["action"], redrawn)
        turn = rotation_of(data.spec)
        rows = (rotated_rows(turn, data, number, pixels) for number in range(turns))
        return joined([table(*turned, redrawn) for turned in rows])


def left_open(env_id: str) -> tuple[str, ...]:
    """The parts of an observation that goals of a task leave open."""
    return getattr(task_of(env_id), "open_parts", ())


def learn_goal_heads(
    config: GoalHeadsConfig,
    table: Table,
    report: Callable[[str, int, float], None] | None = None,
    trained: JepaTrained | None = None,
) -> tuple[GoalHeads, dict[str, float]]:
    """Critic and policy from embedded episodes, and their last losses.

    In the world of `trained`, if given, the policy also learns from imagination.
    """

    def tell(stage: str) -> goal_critic.Report | None:
        return partial(report, stage) if report else None

    critic, critic_loss = goal_critic.train(config, table, tell("critic"))
    heads = GoalHeads(config, {"critic": critic, **spread(table.embedding)})
    world = imagination(trained, heads) if trained else None
    policy, policy_loss = goal_policy.learn_policy(config, critic, table, tell("policy"), world)
    heads.arrays["policy"] = policy
    return heads, {"critic_loss": critic_loss, "policy_loss": policy_loss}


def imagination(trained: JepaTrained, heads: GoalHeads) -> tuple[GoalModel, GoalParams] | None:
    """The model that a policy is unrolled in; None where a latent is more than its embedding."""
    if trained.net.config.windowed:
        return None
    params = goal_params(trained.params, heads.config.objective, heads.arrays, heads)
    return goal_model(trained.net, heads), params


def goal_heads_folder(path: Path) -> Path:
    """The folder of the heads of a checkpoint's run."""
    return path.parent.parent / GUIDE


def save_goal_heads(trained: JepaTrained, heads: GoalHeads) -> Path:
    """Write them beside the checkpoints. Raises StorageError."""
    record = {
        "kind": KIND,
        "networks": NETWORKS,
        "settings": asdict(heads.config),
        "data": heads.data,
        "checkpoint": trained.path.name,
        "digest": model_digest(trained.path),
    }
    spec = trained.spec.to_json() if trained.spec else {}
    step = int(trained.path.name)
    return checkpoint.save(
        goal_heads_folder(trained.path), step, heads.arrays, config=record, spec=spec
    )


def load_goal_heads(trained: JepaTrained) -> GoalHeads | None:
    """The heads of this checkpoint; None where none were learned.

    Raises CheckpointError (damaged), ConfigError (learned for other parameters or networks).
    """
    folder = goal_heads_folder(trained.path) / trained.path.name
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
    config = stored_config(GoalHeadsConfig, stored, f"{folder}/config.json")
    arrays = jax.tree.map(jnp.asarray, checkpoint.restore(folder))
    return GoalHeads(config, arrays, goal_heads_data(trained))


def goal_heads_data(trained: JepaTrained) -> str:
    """The dataset that the heads of this checkpoint were learned from; "" where unknown."""
    folder = goal_heads_folder(trained.path) / trained.path.name
    return checkpoint.read_table(folder, "config.json").get("data", "") if folder.is_dir() else ""


def model_digest(path: Path) -> str:
    """Identity of the parameters of a checkpoint: the SHA-256 of its manifest."""
    return checkpoint.sha256_bytes((path / "MANIFEST.json").read_bytes())
