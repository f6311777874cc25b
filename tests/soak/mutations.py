"""Random damage to stored models, and whether it is found before anything is used.

A mutation flips, cuts, deletes, swaps, zeroes or adds files of a folder; the folder is as before
when it is taken back. What verification has to promise is checked on the error: it is one line,
has exit code 3 and names the file.
"""

import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from agents.deployment.bundle import export
from agents.deployment.bundle import load as bundle
from agents.deployment.describe import contract_for
from agents.runs import load, networks
from agents.runs.config import TrainConfig
from agents.runs.load import Trained
from agents.storage import checkpoint
from agents.storage.files import CheckpointError
from envs.registry import make_spec
from planning.config import PlannerConfig
from wm.tdmpc import learner
from wm.tdmpc.config import ModelConfig

KINDS = ("flip", "truncate", "delete", "swap", "zero", "extra")


class Mutation(NamedTuple):
    """One change of a folder."""

    kind: str
    names: tuple[str, ...]
    """Files touched, any of which an error may name."""


class Report(NamedTuple):
    """Counts of refused and of wrong mutations."""

    counts: Counter[str]
    """By kind."""
    missed: list[str]
    """Mutations that were not refused as promised, in words."""


def specimen(seed: int = 0) -> Trained:
    """A tiny cartpole model of random parameters, without any training."""
    planner = PlannerConfig(
        horizon=2, num_samples=8, num_prior_samples=2, num_elites=4, num_iterations=1
    )
    model = ModelConfig(encoder_width=8, mlp_width=8, latent_dim=8, num_bins=11)
    config = TrainConfig(env_id="cartpole-swingup", model=model, planner=planner)
    spec = make_spec("cartpole-swingup")
    net, rng = networks.build_networks(config, spec), np.random.default_rng(seed)
    shapes = jax.eval_shape(lambda: learner.init(net, jax.random.key(0)).params)
    params = jax.tree.map(lambda x: rng.normal(0, 0.3, x.shape).astype(np.float32), shapes)
    return Trained(Path("specimen"), config, spec, net, params)


def stored(folder: Path, trained: Trained) -> tuple[Path, Path]:
    """The model as a checkpoint and as a bundle in `folder`: their paths."""
    config, spec = {"settings": asdict(trained.config)}, trained.spec.to_json()
    arrays = {"train": {"average": trained.params}}
    kept = checkpoint.save(folder / "checkpoints", 1, arrays, config=config, spec=spec)
    export.export(trained, folder / "bundle", contract_for(trained))
    return kept, folder / "bundle"


def soak(count: int, seed: int, path: str = "") -> dict[str, Any]:
    """`count` mutations of a checkpoint and of a bundle of the model at `path` (or a tiny one)."""
    with tempfile.TemporaryDirectory() as folder:
        report = hunt(count, seed, Path(folder, "stored"), load.load(path) if path else specimen())
    found = report.counts.total() - len(report.missed)
    return {
        "mutations": report.counts.total(),
        "refused before use, file named": found,
        "by kind": dict(report.counts),
        "violations": report.missed,
    }


def hunt(count: int, seed: int, folder: Path, trained: Trained) -> Report:
    """Mutate a checkpoint and a bundle `count` times each and try to load each result.

    The folder is made and left with both as they were written.
    """
    kept, made = stored(folder, trained)
    counts, missed, rng = Counter(), [], np.random.default_rng(seed)
    users: dict[Path, Callable[[str], object]] = {
        kept: load.load,
        made: lambda path: bundle.load(path, trust=True),
    }
    for path, use in users.items():
        use(str(path))  # as it was written it is good
        for _ in range(count):
            with mutated(rng, path) as mutation:
                counts[mutation.kind] += 1
                if problem := unfound(use, path, mutation):
                    missed.append(f"{path.name} {mutation.kind} {mutation.names}: {problem}")
        use(str(path))
    return Report(counts, missed)


def unfound(use: Callable[[str], object], path: Path, mutation: Mutation) -> str:
    """The fault in the refusal of a mutated folder; empty when it is as promised."""
    try:
        use(str(path))
    except CheckpointError as error:
        line = str(error)
        if error.exit_code != 3 or "\n" in line:
            return f"not one line with exit code 3: {line!r}"
        return "" if any(name in line for name in mutation.names) else f"names no file: {line}"
    except Exception as error:
        return f"unexpected {type(error).__name__}: {error}"
    return "was used"


@contextmanager
def mutated(rng: np.random.Generator, path: Path) -> Iterator[Mutation]:
    """Apply a random mutation while the block lasts."""
    names = sorted(f.relative_to(path).as_posix() for f in path.rglob("*") if f.is_file())
    mutation = Mutation("", ())
    while not mutation.names:  # some draws would change nothing
        mutation, content = _draw(rng, path, names)
    before = {n: (path / n).read_bytes() for n in mutation.names if (path / n).exists()}
    for name, data in content.items():
        _put(path / name, data)
    try:
        yield mutation
    finally:
        for name in mutation.names:
            _put(path / name, before.get(name))


def _draw(
    rng: np.random.Generator, path: Path, names: list[str]
) -> tuple[Mutation, dict[str, bytes | None]]:
    """A mutation and the new content of its files; no names if it would change nothing."""
    kind, name, other = str(rng.choice(KINDS)), str(rng.choice(names)), str(rng.choice(names))
    data, second = (path / name).read_bytes(), (path / other).read_bytes()
    content: dict[str, bytes | None] = {}
    if kind == "flip" and data:
        at = int(rng.integers(len(data)))
        flipped = bytes([data[at] ^ (1 << int(rng.integers(8)))])
        content = {name: data[:at] + flipped + data[at + 1 :]}
    elif kind == "truncate" and data:
        content = {name: data[: int(rng.integers(len(data)))]}
    elif kind == "delete":
        content = {name: None}
    elif kind == "swap":
        content = {name: second, other: data} if data != second else {}
    elif kind == "zero":
        content = {name: bytes(len(data))} if data.strip(b"\0") else {}
    elif kind == "extra":
        added = str(Path(name).parent / f"extra{int(rng.integers(1000))}")
        content = {added: rng.bytes(int(rng.integers(100)))}
    return Mutation(kind, tuple(content)), content


def _put(file: Path, data: bytes | None) -> None:
    if data is None:
        file.unlink(missing_ok=True)
    else:
        file.write_bytes(data)
