"""Cost of planning in pixels: the same search, with goals compared in decoded pictures.

The model, the planner and its budget are the same; the only difference is the space in which a
predicted moment is compared with the goal. Nothing here has to be trained: neither operations
nor times depend on what parameters are.
"""

import math
import time
from dataclasses import replace
from functools import partial
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np

from agents.goals.agent import GoalModel, act_once, by_planning, cost_model, make_goal_agent
from agents.goals.config import ObjectiveConfig, goal_planner
from agents.goals.model import goal_model, goal_params
from agents.machine.cost import products
from agents.runs.config import PlannerOverrides
from agents.runs.networks import build_jepa
from agents.runs.pretrain_config import preset_config
from wm.jepa import model as jepa
from wm.jepa.model import JepaNetworks

ACTIONS = 2
COMPARED = {"at the end of the plan": ("goal",), "at every step": ("path",)}
"""Steps of a plan that are compared with the goal, and the term of the cost for it."""


def decoding(model: GoalModel, net: JepaNetworks) -> GoalModel:
    """The model with pictures (those of the history, decoded) as embeddings."""
    module = net.objective.heads["decoder"][0]

    def embed(params: Any, latent: Any) -> jax.Array:
        pictures = module.apply({"params": params["decoder"]}, net.embed(params, latent))
        return cast(jax.Array, pictures).reshape(-1)

    return model._replace(embed=embed)


def planning_cost(size: int = 64, block: int = 4, repeats: int = 15) -> list[dict[str, Any]]:
    """Operations and median milliseconds of a plan, in latents and in decoded pictures.

    One row for each of COMPARED. Programs take turns, so that other work meets all alike; without
    repeats nothing is compiled and times are NaN.
    """
    config = preset_config("pixels", objective="reconstruction")
    config = replace(config, model=replace(config.model, action_block=block))
    net = build_jepa(config, (size, size, 3), ACTIONS)
    shapes = jax.eval_shape(lambda: jepa.init(net, jax.random.key(0)))
    params = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), shapes)
    model = goal_model(net)
    made = {
        (where, space): _program(of, terms, params)
        for where, terms in COMPARED.items()
        for space, of in (("latent", model), ("pixels", decoding(model, net)))
    }
    times: dict[tuple[str, str], list[float]] = {name: [] for name in made}
    for turn in range(repeats + 1 if repeats else 0):
        for name, (plan, _) in made.items():
            began = time.perf_counter()
            plan()
            if turn:  # the first one compiles
                times[name].append(1e3 * (time.perf_counter() - began))
    rows = []
    for where in COMPARED:
        row: dict[str, Any] = {"compared": where}
        for space in ("latent", "pixels"):
            row[f"{space}_flop"] = made[where, space][1]
            row[f"{space}_ms"] = float(np.median(times[where, space])) if repeats else math.nan
        row["flop_ratio"] = row["pixels_flop"] / row["latent_flop"]
        row["time_ratio"] = row["pixels_ms"] / row["latent_ms"]
        rows.append(row)
    return rows


def _program(model: GoalModel, terms: tuple[str, ...], params: Any) -> tuple[Any, float]:
    """A plan of one simulator as a function of nothing, and its operations."""
    weights = {"goal": 0.0} | dict.fromkeys(terms, 1.0)
    wanted, planner = (
        ObjectiveConfig(**weights),
        goal_planner(PlannerOverrides(), with_policy=False),
    )
    frame = jnp.zeros(model.frame_shape, model.frame_dtype)
    latent = jnp.zeros((model.history, *model.frame_shape), model.frame_dtype)
    embedding = jax.eval_shape(lambda: model.embed(params, model.encode(params, latent)))
    nowhere = jnp.zeros(embedding.shape)
    known = goal_params(params, wanted, {"scale": 1.0, "low": nowhere, "high": nowhere})
    agent = make_goal_agent(model, planner, wanted.terms)
    carry, keys = agent.init_carry(1), jax.random.split(jax.random.key(0), 1)
    first = jnp.zeros(1, bool)

    def plan() -> None:
        jax.block_until_ready(agent.act(known, carry, frame[None], frame[None], first, keys))

    decide = by_planning(cost_model(model), model.block, planner, wanted.terms)
    one = partial(act_once, model, decide)
    alone = jax.tree.map(lambda x: x[0], carry)
    flop = products(one, known, alone, frame, frame, first[0], keys[0])
    return plan, flop
