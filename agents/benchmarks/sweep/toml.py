"""A sweep's recommendation as TOML that other verbs accept."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from agents.benchmarks.sweep.summary import milliseconds, within


def recommended_toml(summary: Mapping[str, Any]) -> str:
    """`[planner]` of the recommendation, for `--config` of every verb that plans."""
    found = summary["recommendation"]
    heading = (
        f"# {summary['task']}: return {within(found)} over {summary['episodes']} episodes, "
        f"{milliseconds(found)}, budget {summary['budget_ms']:.3g} ms.\n"
    )
    return heading + _table("planner", found["planner"])


def training_toml(config: Any) -> str:
    """All settings of a training, for `train --config`, which gives it a run of its own."""
    kept = asdict(config)
    top = {k: v for k, v in kept.items() if not isinstance(v, dict) and k != "run_dir"}
    blocks = {k: v for k, v in kept.items() if isinstance(v, dict)}
    text = "".join(f"{name} = {_toml(value)}\n" for name, value in top.items())
    return text + "".join("\n" + _table(name, values) for name, values in blocks.items())


def _table(name: str, values: Mapping[str, Any]) -> str:
    return f"[{name}]\n" + "".join(f"{key} = {_toml(value)}\n" for key, value in values.items())


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return json.dumps(value) if isinstance(value, str) else repr(value)
