"""The tick of a controller as exported programs: written by jax.export, revived when trusted.

A program is `decide` of `deployment.decision` on plain arrays, so that it needs no class of ours:

    decide(params {name: array}, memory [arrays], obs [O], action [A], elapsed [])
        -> (action [A], report [9], memory [arrays])

`memory` is what one tick leaves to the next: plan (mean, std, sample), latent, seed of all random
numbers, count of decisions. `action` is what the robot was given last, `elapsed` the ticks since
the last decision; 0 begins an episode. StableHLO says what to compute, not how: the compiler's
options that decide the last bit stand beside it, in `programs.json`.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from importlib.metadata import version
from typing import Any

import jax
import msgspec
import numpy as np
from jax import export

from agents.deployment.decision import REPORT, ControllerState, Decide
from agents.runs.compile import cpu_options
from agents.storage.files import CheckpointError

FORMAT = 1
PLATFORMS = ("cpu", "cuda")
GUARANTEED_DAYS = 180
"""jax.export: a program runs in a JAX built up to 6 months after the one that wrote it."""


@dataclass(frozen=True)
class ProgramsInfo:
    """Content of `programs.json`: how to run the programs, and until when that is promised."""

    files: dict[str, str]
    """File of each mode."""
    memory: tuple[tuple[str, tuple[int, ...]], ...]
    """(dtype, shape) of each array of the memory; it begins as zeros, but for the seed."""
    seed: int
    """Which of them is the seed."""
    report: tuple[str, ...]
    """Names of the report's entries."""
    compiler_options: dict[str, dict[str, str]]
    """Options of the compiler on each platform, to be equal to the last bit."""
    platforms: tuple[str, ...]
    jax: str
    jaxlib: str
    calling_convention: int
    created: str
    """Day (ISO) of the export."""
    expires: str
    """Day (ISO) after which only the JAX that wrote the programs is known to run them."""
    format: int = FORMAT

    @classmethod
    def from_json(cls, data: Any) -> "ProgramsInfo":
        """From its fields as JSON has them. Raises CheckpointError naming the field."""
        try:
            info = msgspec.convert(data, cls)
            date.fromisoformat(info.expires)
        except ValueError as error:  # msgspec's errors are ValueErrors
            raise CheckpointError(str(error)) from None
        if info.format != FORMAT:
            raise CheckpointError(f"format is {info.format}, expected {FORMAT}")
        return info


def by_name(params: Any) -> dict[str, Any]:
    """Leaves of a tree by name: {"encoder/params/Dense_0/kernel": array}."""
    leaves = jax.tree_util.tree_leaves_with_path(params)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): x for path, x in leaves}


def write(
    decides: Mapping[str, Decide], params: Any, state: ControllerState, obs_dim: int
) -> tuple[ProgramsInfo, dict[str, bytes]]:
    """Programs by mode: what to say of them, and {file: bytes}.

    Lowers for CPU and CUDA (neither has to be here), or for the CPU alone where CUDA lacks the
    lowering of some operation.
    """
    platforms = PLATFORMS
    try:
        made = {m: _export(d, params, state, obs_dim, platforms) for m, d in decides.items()}
    except NotImplementedError:
        platforms = PLATFORMS[:1]
        made = {m: _export(d, params, state, obs_dim, platforms) for m, d in decides.items()}
    leaves, today = by_name(state), date.today()
    files = {mode: f"program-{mode}.bin" for mode in made}
    info = ProgramsInfo(
        files=files,
        memory=tuple((x.dtype.name, x.shape) for x in leaves.values()),
        seed=list(leaves).index("seed"),
        report=REPORT,
        compiler_options={"cpu": cpu_options() or {}, "cuda": {}},
        platforms=platforms,
        jax=jax.__version__,
        jaxlib=version("jaxlib"),
        calling_convention=next(iter(made.values())).calling_convention_version,
        created=today.isoformat(),
        expires=(today + timedelta(days=GUARANTEED_DAYS)).isoformat(),
    )
    return info, {files[mode]: bytes(program.serialize()) for mode, program in made.items()}


def _export(
    decide: Decide, params: Any, state: ControllerState, obs_dim: int, platforms: tuple[str, ...]
) -> export.Exported:
    inside, tree, names = jax.tree.structure(state), jax.tree.structure(params), by_name(params)

    def plain(params: dict, memory: list, obs, action, elapsed):
        named = tree.unflatten([params[name] for name in names])
        answer, report, after = decide(named, inside.unflatten(memory), obs, action, elapsed)
        return answer, report, jax.tree.leaves(after)

    action = state.plan.mean[0]
    inputs = (names, jax.tree.leaves(state), np.zeros(obs_dim, np.float32), action, np.int32(0))
    shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), inputs)
    with _without_places():
        return export.export(jax.jit(plain), platforms=platforms)(*shapes)


@contextmanager
def _without_places() -> Iterator[None]:
    """Programs do not tell in which folders our sources lay: the same model, the same bytes."""
    name = "jax_traceback_in_locations_limit"
    kept = getattr(jax.config, name)
    jax.config.update(name, 0)
    try:
        yield
    finally:
        jax.config.update(name, kept)


def revive(data: bytes, params: Any, state: ControllerState) -> Decide:
    """A TRUSTED program as the function it was written from; jit it with `cpu_options`.

    Raises CheckpointError when the bytes are no program, or one of other sizes. What it may do
    when it runs, only trust can say.
    """
    try:
        program = export.deserialize(bytearray(data))
    except Exception as error:  # flatbuffers, MLIR and JAX raise many kinds
        raise CheckpointError(f"no program of jax.export ({type(error).__name__})") from None
    names, inside = list(by_name(params)), jax.tree.structure(state)

    def decide(params, state, obs, action, elapsed):
        named = dict(zip(names, jax.tree.leaves(params), strict=True))
        answer, report, after = program.call(named, jax.tree.leaves(state), obs, action, elapsed)
        return answer, report, inside.unflatten(after)

    return decide


def unusable(info: ProgramsInfo, today: date | None = None) -> str:
    """Why this JAX should not run the programs, in words; empty when nothing speaks against it.

    The JAX that wrote them always can. Another one must be newer (only three weeks are promised
    to older ones) and, as nothing tells when a JAX was built, run them before they expire.
    """
    ours, oldest = jax.__version__, export.minimum_supported_calling_convention_version
    newest = export.maximum_supported_calling_convention_version
    device = jax.default_backend().replace("gpu", "cuda")
    if device not in info.platforms:
        return f"they are for {' and '.join(info.platforms)}, not for {device}"
    if (info.jax, info.jaxlib) == (ours, version("jaxlib")):
        return ""
    if not oldest <= info.calling_convention <= newest:
        return f"they call in version {info.calling_convention}, JAX {ours} in {oldest} to {newest}"
    if _numbers(info.jax) > _numbers(ours):
        return f"they are of JAX {info.jax}, newer than the {ours} installed here"
    if (today or date.today()) > date.fromisoformat(info.expires):
        return f"they expired on {info.expires} for any JAX but {info.jax}"
    return ""


def _numbers(version: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", version)[:3]]
