"""One random stream a simulator, independent of how many simulators there are."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from envs.spec import EnvError

_WORD = (1 << 64) - 1


def check_seed(seed: Any, count: int) -> None:
    """Raise EnvError for a negative seed, or a list of the wrong length."""
    several = isinstance(seed, Sequence | np.ndarray)
    if several and len(seed) != count:
        raise EnvError(f"{len(seed)} seeds for {count} simulators; expected one each")
    given = [s for s in (seed if several else [seed]) if s is not None]
    if given and min(given) < 0:
        raise EnvError(f"seed must not be negative, got {min(given)}")


def make_streams(seed: int | Sequence[int | None] | None, count: int) -> list[np.random.Generator]:
    """Streams for `count` simulators.

    An integer gives simulator i the stream (seed, i); a list gives simulator i the stream
    (seed[i], 0), which is what a single simulator has with that integer. None asks the system.
    Raises EnvError as `check_seed`.
    """
    check_seed(seed, count)
    fresh = np.random.SeedSequence().generate_state(count, np.uint64)
    if seed is None:
        seed = int(fresh[0])
    if isinstance(seed, int | np.integer):
        keys = [(int(seed), index) for index in range(count)]
    else:
        keys = [(int(fresh[i] if s is None else s), 0) for i, s in enumerate(seed)]
    return [np.random.Generator(np.random.PCG64(np.random.SeedSequence(key))) for key in keys]


def renewed(
    old: Sequence[np.random.Generator], new: Sequence[np.random.Generator], seed: Any, chosen: Any
) -> list[np.random.Generator]:
    """The new streams for the `chosen` ([E] bool), but for those whose seed in a list is None."""
    several = isinstance(seed, Sequence | np.ndarray)
    given = [s is not None for s in seed] if several else [True] * len(new)
    rows = zip(old, new, given, chosen, strict=True)
    return [fresh if s and c else kept for kept, fresh, s, c in rows]


def pack_streams(streams: Sequence[np.random.Generator]) -> np.ndarray:
    """The states of the streams, [E, 6] uint64."""
    rows = []
    for stream in streams:
        state = stream.bit_generator.state
        value, step = state["state"]["state"], state["state"]["inc"]
        words = (value >> 64, value & _WORD, step >> 64, step & _WORD)
        rows.append((*words, state["has_uint32"], state["uinteger"]))
    return np.array(rows, np.uint64)


def unpack_streams(rows: np.ndarray) -> list[np.random.Generator]:
    """The streams whose states `pack_streams` gave."""
    streams = []
    for row in rows.tolist():
        bits = np.random.PCG64(0)
        bits.state = {
            "bit_generator": "PCG64",
            "state": {"state": row[0] << 64 | row[1], "inc": row[2] << 64 | row[3]},
            "has_uint32": row[4],
            "uinteger": row[5],
        }
        streams.append(np.random.Generator(bits))
    return streams
