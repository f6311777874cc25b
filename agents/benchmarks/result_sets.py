"""Results written (bench, sweep) and read back as rows (bench, training, evaluation)."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from agents.benchmarks.results import FREE, Row
from agents.runs.config import ConfigError
from agents.runs.directory import plain
from agents.storage import sealed
from agents.storage.files import CheckpointError, write_atomically

MAX_RESULT_BYTES = 1 << 28


class CompareError(ConfigError):
    """Results that cannot be read or have nothing in common; shown as one line."""


class _Episode(msgspec.Struct):
    """Required fields of a row of results.jsonl; others are let through."""

    key: str
    task: str
    agent: str
    clock: str
    train_seed: int | None
    episode: int
    seed: int
    valid: bool
    total: float | None = msgspec.field(name="return")


class _Result(msgspec.Struct):
    """Required fields of result.json; `mode` is there in evaluations only."""

    env_id: str
    seed: int
    mode: str = ""


class _Evaluation(msgspec.Struct):
    """Required fields of eval.json."""

    episode_returns: list[float | None]
    valid: list[bool]


def write_results(out: Path, rows: Iterable[Row], summary: Row, text: str) -> None:
    """OUT/results.jsonl, a row a line, summary.json and summary.md. Raises StorageError."""
    lines = (json.dumps(plain(row), sort_keys=True, separators=(",", ":")) for row in rows)
    write_atomically(out / "results.jsonl", "".join(f"{line}\n" for line in lines).encode())
    write_atomically(out / "summary.json", json.dumps(plain(summary), indent=2).encode() + b"\n")
    write_atomically(out / "summary.md", text.encode())


def load_rows(path: str | Path) -> list[Row]:
    """Episodes of a result set; `seed` is (seed, index), which settles the initial state.

    Raises CompareError.
    """
    path = Path(path)
    if (path / "results.jsonl").is_file():
        rows = _bench_rows(path / "results.jsonl")
    elif (path / "result.json").is_file() and (path / "eval.json").is_file():
        rows = _run_rows(path)
    else:
        what = "it holds no results" if path.is_dir() else "there is no such directory"
        raise CompareError(
            f"cannot compare {path}: {what}; expected a bench (results.jsonl) or a training or "
            "evaluation (result.json and eval.json)"
        )
    if not rows:
        raise CompareError(f"cannot compare {path}: it holds no episode yet")
    return rows


def _bench_rows(path: Path) -> list[Row]:
    """Rows of results.jsonl. A torn last line (the bench was killed) is left out."""
    texts = _read(path).split(b"\n")
    rows = []
    for number, text in enumerate(texts, 1):
        if not text.strip():
            continue
        try:
            row = sealed.parse(text)
            msgspec.convert(row, _Episode)
        except ValueError as error:
            if number == len(texts):
                break
            raise _unreadable(f"{path} line {number}", error) from error
        rows.append({**row, "seed": (row["seed"], 0)})
    settings = {row.get("setting") for row in rows}
    if len(settings) > 1:
        raise CompareError(
            f"cannot compare {path.parent}: it is a sweep of {len(settings)} settings, which are "
            f"compared in {path.parent / 'summary.md'}; for one of them beside others: "
            f"latentmpc bench --runs RUN --config {path.parent / 'recommended.toml'} --out NEW"
        )
    return rows


def _run_rows(path: Path) -> list[Row]:
    """Rows of a training's last evaluation, or of `eval --out`."""
    result = _decode(path / "result.json", _Result)
    episodes = _decode(path / "eval.json", _Evaluation)
    if len(episodes.valid) != len(episodes.episode_returns):
        raise CompareError(
            f"cannot read {path / 'eval.json'}: {len(episodes.episode_returns)} returns for "
            f"{len(episodes.valid)} flags in valid; evaluate again (latentmpc eval)"
        )
    trained = not result.mode  # else by `eval`
    if trained:
        from agents.runs.networks import EVAL_SEED as seed  # with it comes jax
    else:
        seed = result.seed
    return [
        {
            "key": str(index),
            "task": result.env_id,
            "agent": result.mode or "plan",
            "clock": FREE,
            "train_seed": result.seed if trained else None,
            "episode": index,
            "seed": (seed, index),
            "return": total,
            "valid": valid,
        }
        for index, (total, valid) in enumerate(
            zip(episodes.episode_returns, episodes.valid, strict=True)
        )
    ]


def _decode(path: Path, kind: type) -> Any:
    try:
        return msgspec.convert(sealed.parse(_read(path), MAX_RESULT_BYTES), kind)
    except ValueError as error:
        raise _unreadable(str(path), error) from error


def _read(path: Path) -> bytes:
    try:
        return sealed.read(path.parent, path.name, MAX_RESULT_BYTES)
    except CheckpointError as error:
        raise CompareError(f"cannot read {path.parent}: {error}") from None


def _unreadable(where: str, error: Exception) -> CompareError:
    reason = " ".join(str(error).split()) or type(error).__name__
    return CompareError(f"cannot read {where}: {reason}; make these results again")
