"""What bench and sweep hand to their workers: one training, or the episodes of one agent.

A point is plain JSON and says everything that decides its result; the same point has the same
result on every executor, but for what a clock measured.
"""

from collections.abc import Mapping
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import Any

from agents.runs.config import ConfigError, PlannerOverrides, TrainConfig
from agents.storage.files import own_directory, refuse_link
from planning.config import PlannerConfig

Point = dict[str, Any]
WORKER = "agents.benchmarks.points:execute"
LATENCY_DECISIONS = 200


def train_point(config: TrainConfig) -> Point:
    """One training inside the directory of results; its result is {"run_dir"}.

    A run that is there already is only finished. Raises CheckpointError for one that is a link.
    """
    run = Path(config.resolved_run_dir)
    own_directory(run.parent)
    refuse_link(run)
    name = f"train.{config.env_id}.{config.seed}"
    return {"kind": "train", "name": name, "config": asdict(config)}


def eval_point(
    task: str,
    agent: str,
    *,
    clock: str = "free",
    meanwhile: str = "hold",
    checkpoint: str = "",
    train_seed: int | None = None,
    seeds: range | list[int] = range(1000, 1010),
    action_repeat: int = 0,
    planner: Mapping[str, Any] | None = None,
) -> Point:
    """Episodes of one agent; its result is {"rows", "compile_s", "planner"}.

    `checkpoint` (a run or checkpoint) is needed by plan and prior; the oracle takes its critic
    from it if there is one. `planner` are settings that replace the checkpoint's.
    """
    return {
        "kind": "eval",
        "name": ".".join([task, agent, clock.replace(":", ""), str(train_seed)]),
        "task": task,
        "agent": agent,
        "clock": clock,
        "meanwhile": meanwhile,
        "checkpoint": checkpoint,
        "model": _model_digest(checkpoint) if checkpoint else "",
        "train_seed": train_seed,
        "seeds": list(seeds),
        "action_repeat": action_repeat,
        "planner": dict(planner or {}),
    }


def _model_digest(checkpoint: str) -> str:
    """Hash of the checkpoint that a path means now. Raises ConfigError or CheckpointError."""
    from agents.runs.load import find_checkpoint
    from agents.storage.files import sha256_bytes

    return sha256_bytes((find_checkpoint(checkpoint) / "MANIFEST.json").read_bytes())


def execute(point: Mapping[str, Any]) -> dict[str, Any]:
    """Do a point. Raises whatever training and evaluation raise."""
    if point["kind"] == "train":
        return _train(point)
    return _eval(point)


def _train(point: Mapping[str, Any]) -> dict[str, Any]:
    from agents.runs.settings import train_config_from
    from agents.training.train import train

    config = train_config_from(point["config"], point["name"])
    train(config, json_mode=True)
    return {"run_dir": config.resolved_run_dir}


def _eval(point: Mapping[str, Any]) -> dict[str, Any]:
    from agents.evaluation.clock import evaluate_clocked
    from agents.evaluation.clock_config import Clock
    from agents.runs.compile import counted
    from envs.registry import make_vec

    clock, seeds = Clock.parse(point["clock"]), point["seeds"]
    with counted() as compiled:
        agent, params, repeat, planner = _agent(point)
        groups = [[seed] for seed in seeds] if clock.kind == "measured" else [seeds]
        env = make_vec(point["task"], len(groups[0]), action_repeat=1)
        rows = []
        for group in groups:
            done = evaluate_clocked(agent, params, env, repeat, group, clock, point["meanwhile"])
            rows += _rows(point, group, done, len(rows))
        env.close()
        _add_latency(rows, clock.kind, agent, params, point, repeat)
    settings = asdict(planner) if planner else None
    return {"rows": rows, "compile_s": compiled.seconds, "planner": settings}


def _rows(point: Mapping[str, Any], seeds: list[int], done: Any, before: int) -> list[Point]:
    """Rows of results.jsonl, one an episode."""
    from agents.evaluation.stats import percentiles

    task, agent, clock = point["task"], point["agent"], point["clock"]
    alone = len(seeds) == 1
    return [
        {
            "key": f"{task}/{agent}/{clock}/{point['train_seed']}/{before + i}",
            "task": task,
            "agent": agent,
            "clock": clock,
            "train_seed": point["train_seed"],
            "episode": before + i,
            "seed": seed,
            "return": float(done.returns[i]),
            "success": None,
            "length": int(done.lengths[i]),
            "valid": bool(done.valid[i]),
            "plan_ms": percentiles(done.plan_ms) if alone else None,
            "deadline_misses": None if clock == "free" else done.misses,
        }
        for i, seed in enumerate(seeds)
    ]


def _add_latency(rows: list[Point], kind: str, agent, params, point, repeat: int) -> None:
    """The latency of single decisions, where the episodes were decided side by side."""
    from agents.evaluation.evaluate import measure_latency
    from agents.evaluation.stats import percentiles
    from envs.registry import make_vec

    if kind == "measured":
        return
    env = make_vec(point["task"], 1, action_repeat=repeat)
    seed = point["seeds"][0]
    milliseconds, _, _ = measure_latency(agent, params, env, seed, 0, most=LATENCY_DECISIONS)
    env.close()
    for row in rows:
        row["plan_ms"] = percentiles(milliseconds)


def _agent(point: Mapping[str, Any]) -> tuple[Any, Any, int, PlannerConfig | None]:
    """Agent, parameters, action repeat and planner settings of a point."""
    from agents.acting.agent import baseline_agent, make_agent
    from agents.acting.oracle import make_oracle
    from agents.runs.load import check_spec
    from envs.registry import make_spec

    task, mode, path = point["task"], point["agent"], point["checkpoint"]
    trained = _trained(path, point["model"]) if path else None
    repeat = trained.spec.action_repeat if trained else point["action_repeat"]
    spec = make_spec(task, repeat)
    if trained:
        check_spec(trained, spec)
    if mode in ("random", "zero"):
        return baseline_agent(spec.action_dim, mode), None, spec.action_repeat, None
    base = trained.config.planner if trained else PlannerConfig(num_prior_samples=0)
    planner = PlannerOverrides(**point["planner"]).apply(base)
    params, net = (trained.params, trained.net) if trained else (None, None)
    if mode == "oracle":
        return make_oracle(spec, planner, net), params, spec.action_repeat, planner
    if net is None:
        raise ConfigError(f"agent {mode} on {task} needs a checkpoint")
    return make_agent(net, planner, mode=mode), params, spec.action_repeat, planner


@lru_cache(maxsize=4)
def _trained(path: str, model: str) -> Any:
    """A loaded checkpoint; `model` makes one that changed a different one."""
    del model
    from agents.runs.load import load

    return load(path)
