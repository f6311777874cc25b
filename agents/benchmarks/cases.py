"""Cases that bench and sweep hand to their workers: one training, or the episodes of one agent.

A case is plain JSON and says everything that decides its result; the same case has the same
result on every executor, but for measured times.
"""

from collections.abc import Mapping
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import Any

from agents.acting.agent import baseline_agent, make_agent
from agents.acting.oracle import make_oracle
from agents.evaluation.evaluate import measure_latency
from agents.evaluation.latency import evaluate_with_latency
from agents.evaluation.latency_model import LatencyModel
from agents.evaluation.result import EvalResult
from agents.evaluation.stats import percentiles
from agents.runs.compile import counted
from agents.runs.config import ConfigError, PlannerOverrides, TrainConfig
from agents.runs.load import Trained, check_spec, find_checkpoint, load
from agents.runs.settings import train_config_from
from agents.storage.files import own_directory, refuse_link, sha256_bytes
from envs.registry import make_spec, make_vec
from planning.config import PlannerConfig

Case = dict[str, Any]
WORKER = "agents.benchmarks.cases:execute"
LATENCY_DECISIONS = 200


def training_case(config: TrainConfig) -> Case:
    """One training inside the directory of results; its result is {"run_dir"}.

    A run that is there already is only finished. Raises CheckpointError for one that is a link.
    """
    run = Path(config.resolved_run_dir)
    own_directory(run.parent)
    refuse_link(run)
    name = f"train.{config.env_id}.{config.seed}"
    return {"kind": "train", "name": name, "config": asdict(config)}


def evaluation_case(
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
) -> Case:
    """Episodes of one agent; its result is {"rows", "compile_s", "planner"}.

    `checkpoint` (a run or checkpoint) is needed by plan and prior; the oracle takes its critic
    from it if there is one. `planner` are settings that replace the checkpoint's. Raises
    ConfigError, CheckpointError.
    """
    digest = ""
    if checkpoint:
        digest = sha256_bytes((find_checkpoint(checkpoint) / "MANIFEST.json").read_bytes())
    return {
        "kind": "eval",
        "name": ".".join([task, agent, clock.replace(":", ""), str(train_seed)]),
        "task": task,
        "agent": agent,
        "clock": clock,
        "meanwhile": meanwhile,
        "checkpoint": checkpoint,
        "model": digest,
        "train_seed": train_seed,
        "seeds": list(seeds),
        "action_repeat": action_repeat,
        "planner": dict(planner or {}),
    }


def execute(case: Case) -> dict[str, Any]:
    """The result of a case. Raises whatever training and evaluation raise."""
    return _train(case) if case["kind"] == "train" else _evaluate(case)


def _train(case: Case) -> dict[str, Any]:
    from agents.training.train import train  # evaluations do without

    config = train_config_from(case["config"], case["name"])
    train(config, json_mode=True)
    return {"run_dir": config.resolved_run_dir}


def _evaluate(case: Case) -> dict[str, Any]:
    latency, seeds, rows = LatencyModel.parse(case["clock"]), case["seeds"], []
    with counted() as compiled:
        agent, params, repeat, planner = _agent(case)
        measured = latency.kind == "measured"  # then each episode has the machine for itself
        groups = [[seed] for seed in seeds] if measured else [seeds]
        env = make_vec(case["task"], len(groups[0]), action_repeat=1)
        for group in groups:
            result, misses = evaluate_with_latency(
                agent, params, env, repeat, group, latency, case["meanwhile"]
            )
            rows += _rows(case, group, result, misses, len(rows))
        env.close()
        if not measured:
            alone = make_vec(case["task"], 1, action_repeat=repeat)
            times, _, _ = measure_latency(agent, params, alone, seeds[0], 0, most=LATENCY_DECISIONS)
            alone.close()
            rows = [row | {"plan_ms": percentiles(times)} for row in rows]
    settings = asdict(planner) if planner else None
    return {"rows": rows, "compile_s": compiled.seconds, "planner": settings}


def _rows(
    case: Case, seeds: list[int], result: EvalResult, misses: int, before: int
) -> list[dict[str, Any]]:
    """Rows of results.jsonl, one an episode; `before` episodes came first."""
    task, agent, clock, train_seed = (case[k] for k in ("task", "agent", "clock", "train_seed"))
    return [
        {
            "key": f"{task}/{agent}/{clock}/{train_seed}/{before + i}",
            "task": task,
            "agent": agent,
            "clock": clock,
            "train_seed": train_seed,
            "episode": before + i,
            "seed": seed,
            "return": result.episode_returns[i],
            "success": None,
            "length": result.episode_lengths[i],
            "valid": result.valid[i],
            "plan_ms": percentiles(result.plan_ms),
            "deadline_misses": None if clock == "free" else misses,
        }
        for i, seed in enumerate(seeds)
    ]


def _agent(case: Case) -> tuple[Any, Any, int, PlannerConfig | None]:
    """Agent, parameters, action repeat and planner settings of a case."""
    task, mode, path = case["task"], case["agent"], case["checkpoint"]
    trained = _trained(path, case["model"]) if path else None
    spec = make_spec(task, trained.spec.action_repeat if trained else case["action_repeat"])
    if trained:
        check_spec(trained, spec)
    if mode in ("random", "zero"):
        return baseline_agent(spec.action_dim, mode), None, spec.action_repeat, None
    base = trained.config.planner if trained else PlannerConfig(num_prior_samples=0)
    planner = PlannerOverrides(**case["planner"]).apply(base)
    params, net = (trained.params, trained.net) if trained else (None, None)
    if mode == "oracle":
        agent = make_oracle(spec, planner, net)
    elif net is None:
        raise ConfigError(f"agent {mode} on {task} needs a checkpoint")
    else:
        agent = make_agent(net, planner, mode=mode)
    return agent, params, spec.action_repeat, planner


@lru_cache(maxsize=4)
def _trained(path: str, model: str) -> Trained:
    """A loaded checkpoint; `model`, its digest, makes one that changed a different one."""
    del model
    return load(path)
