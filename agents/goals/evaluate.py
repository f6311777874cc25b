"""Success on held-out goals: the agent of a pretrain run, beside random actions and the oracle."""

import json
import time
from contextlib import closing
from dataclasses import asdict, replace
from typing import Any

from agents.evaluation import stats
from agents.evaluation.evaluate import output_directory
from agents.goals.agent import make_goal_agent
from agents.goals.config import HELD_OUT, LEARNED, PLAIN, GoalEvalConfig, goal_planner
from agents.goals.config import ObjectiveConfig as ObjectiveConfig
from agents.goals.held_out import held_out, recorded_seeds
from agents.goals.model import (
    GoalHeads,
    embed_goals,
    goal_model,
    goal_params,
    load_goal_heads,
    spread,
)
from agents.goals.oracle import NOT_TRUE, goal_oracle
from agents.goals.rollout import (
    STATE,
    Actor,
    GoalOutcome,
    ObservationSource,
    baseline,
    picture_source,
    plan_milliseconds,
    run_goals,
)
from agents.runs import load_pretrained as jepa_load
from agents.runs.config import ConfigError
from agents.runs.directory import plain
from agents.runs.load_pretrained import JepaTrained
from agents.runs.versions import installed
from agents.storage.files import write_atomically
from envs.registry import make_vec
from envs.spec import EnvSpec
from planning.config import PlannerConfig

SCALE_GOALS = 256
"""Goals, none of them held out, that say how far apart embeddings are."""


def evaluate_goals(config: GoalEvalConfig) -> dict[str, Any]:
    """`eval` of a pretrain run: a JSON-ready dict.

    Raises ConfigError (no such path, another environment, no heads), CheckpointError, EnvError.
    """
    out = output_directory(config.out) if config.out else None
    trained = jepa_load.load(config.path)
    spec = task_spec(trained, config.env_id)
    actor = actor_for(config, trained, spec)
    oracle = _oracle(config, spec) if config.oracle_goals else None  # mistakes come before work
    began = time.perf_counter()
    seeds = held_out(config, recorded_seeds(trained))
    outcomes = closed_loop(actor, spec, config, seeds)
    result = {
        "env_id": spec.env_id,
        "mode": config.mode,
        "checkpoint": str(trained.path),
        "objective_learned": trained.config.objective,
        "observes": "pixels" if trained.net.config.pixels else "state",
        **success_summary(outcomes, spec),
        "eval_wall_s": time.perf_counter() - began,
        "plan_ms": stats.percentiles(latency(actor, spec, config)),
        "seed": config.seed,
        "planner": asdict(actor.planner) if actor.planner else None,
        "objective": asdict(actor.objective) if actor.objective else None,
        "versions": installed(),
    }
    result |= _references(config, spec, seeds, oracle)
    if out:
        out.write_json("result.json", result)
        lines = [json.dumps(plain(asdict(o)), sort_keys=True) for o in outcomes]
        write_atomically(out.path / "goals.jsonl", "".join(f"{x}\n" for x in lines).encode())
    return result


def task_spec(trained: JepaTrained, env_id: str = "") -> EnvSpec:
    """The task to evaluate on. Raises ConfigError where it has no goals or does not fit."""
    if trained.spec is None:
        raise ConfigError(f"{trained.path} does not know its task: it was not trained on a dataset")
    env = make_vec(env_id or trained.spec.env_id, 1, action_repeat=trained.spec.action_repeat)
    _, info = env.reset(seed=0)
    env.close()
    if "success" not in info:
        raise ConfigError(
            f"{env.env_spec.env_id} is a task without goals, so there is nothing to succeed at; "
            "tasks with goals are listed by `latentmpc tasks goal`"
        )
    if found := trained.spec.difference(env.env_spec):
        raise ConfigError(
            f"{env_id} does not fit {trained.path} ({trained.spec.env_id}), which differs in "
            f"{'; '.join(found)}: give a task with the same spec"
        )
    return env.env_spec


def actor_for(config: GoalEvalConfig, trained: JepaTrained, spec: EnvSpec) -> Actor:
    """The agent of a mode, its data and its source. Raises ConfigError."""
    if config.mode == "random" or config.mode == "zero":
        return baseline(spec.action_dim, config.mode)
    if config.mode == "oracle":
        return _oracle(config, spec)
    heads = load_goal_heads(trained) if config.goal_heads else None
    planner, objective = settings(config, heads)
    if config.mode == "prior" and heads is None:
        raise ConfigError(
            f"{config.path} has no goal-conditioned policy: learn one with "
            f"`latentmpc distill {config.path}`"
        )
    model = goal_model(trained.net, heads)
    source = source_of(trained, spec)
    params = goal_params(trained.params, objective, scales(trained, spec, source, heads), heads)
    agent = make_goal_agent(model, planner, objective.terms, reactive=config.mode == "prior")
    return Actor(agent, params, source, planner, objective)


def settings(
    config: GoalEvalConfig, heads: GoalHeads | None
) -> tuple[PlannerConfig, ObjectiveConfig]:
    """Planner and objective: the defaults for what was learned, and what was asked for.

    Raises ConfigError for learned terms without heads.
    """
    objective = config.objective.apply(heads.config.objective if heads else PLAIN)
    if heads is None and set(LEARNED) & set(objective.terms):
        raise ConfigError(
            f"{config.path} has no critic: learn one with `latentmpc distill {config.path}`"
        )
    return goal_planner(config.planner, heads is not None), objective


def source_of(trained: JepaTrained, spec: EnvSpec) -> ObservationSource:
    """The observations that the model was trained on."""
    if trained.net.config.pixels:
        return picture_source(spec.env_id, trained.net.spec.frame_shape[0])
    return STATE


def scales(
    trained: JepaTrained, spec: EnvSpec, source: ObservationSource, heads: GoalHeads | None
) -> dict[str, Any]:
    """Scale and bounds of embeddings: over the data of the heads, or over goals not held out."""
    if heads:
        return heads.arrays
    env = make_vec(spec.env_id, SCALE_GOALS, action_repeat=spec.action_repeat)
    env.reset(seed=HELD_OUT - SCALE_GOALS)
    frames = source.goals(env)
    env.close()
    return spread(embed_goals(goal_model(trained.net), trained.params, frames))


def closed_loop(
    actor: Actor, spec: EnvSpec, config: GoalEvalConfig, seeds: list[int]
) -> list[GoalOutcome]:
    """Every held-out goal once."""
    env = make_vec(spec.env_id, min(config.slots, len(seeds)), action_repeat=spec.action_repeat)
    with closing(env):
        return run_goals(actor, env, seeds, config.seed)


def latency(actor: Actor, spec: EnvSpec, config: GoalEvalConfig) -> list[float]:
    """Milliseconds of decisions of one simulator."""
    with closing(make_vec(spec.env_id, 1, action_repeat=spec.action_repeat)) as env:
        return plan_milliseconds(actor, env, HELD_OUT + config.seed)


def success_summary(outcomes: list[GoalOutcome], spec: EnvSpec) -> dict[str, Any]:
    """Success with its Wilson interval, steps to success, and what went wrong."""
    successes = [o for o in outcomes if o.success]
    rate, low, high = stats.wilson(len(successes), len(outcomes))
    return {
        "success": rate,
        "success_interval": [low, high],
        "successes": len(successes),
        "goals": len(outcomes),
        "steps_to_success": stats.percentiles([o.steps for o in successes]),
        "steps_limit": spec.episode_steps,
        "seconds_to_success": spec.control_dt
        * spec.action_repeat
        * stats.mean([o.steps for o in successes]),
        "invalid": sum(not o.valid for o in outcomes),
        "fallbacks": sum(o.fallbacks for o in outcomes),
    }


def _oracle(config: GoalEvalConfig, spec: EnvSpec) -> Actor:
    """The planner of a run without heads, on the true simulator, with the terms it has."""
    planner = goal_planner(config.planner, with_policy=False)
    objective = replace(config.objective.apply(PLAIN), **dict.fromkeys(NOT_TRUE, 0.0))
    return goal_oracle(spec, planner, objective)


def _references(
    config: GoalEvalConfig, spec: EnvSpec, seeds: list[int], oracle: Actor | None
) -> dict[str, Any]:
    """Random actions, and the oracle, on the same goals."""
    found = {}
    if config.floor and config.mode not in ("random", "zero"):
        floor = baseline(spec.action_dim, "random")
        found["floor"] = success_summary(closed_loop(floor, spec, config, seeds), spec)
    if oracle is not None:
        reached = closed_loop(oracle, spec, config, seeds[: config.oracle_goals])
        found["oracle"] = success_summary(reached, spec)
    return found
