"""Pytrees of arrays in Orbax, exact to the bit and independent of Python classes.

Leaves go to Orbax as numpy arrays under numbered names; an index (JSON) says for each its place
in the tree, shape and dtype. So float64 stays float64 though jax runs without x64, zero-size
arrays (which Orbax refuses) work, and a mismatch is found before anything is read.

They are read from the store that Orbax wrote, where each is one piece, never compressed: nothing
becomes larger than it is on the disk.
"""

import contextlib
import json
import logging
import math
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np
from msgspec import Meta

from agents.storage.files import CheckpointError
from agents.storage.sealed import MOST_DEPTH

PathKeys = list[str | int]
Index = list[dict[str, Any]]  # {"name", "path", "shape", "dtype"} a leaf
_KEY = re.compile(r"key<[a-z0-9]{1,20}>")
MOST_ENTRIES = 1 << 40
INLINE = 4096  # bytes that a small leaf may have in a compressed node of the store


class _Leaf(msgspec.Struct, forbid_unknown_fields=True):
    """An entry of the index."""

    name: Annotated[str, Meta(pattern=r"\A[0-9]{5,9}-[A-Za-z0-9_]{0,80}\Z")]
    path: Annotated[list[str | int], Meta(max_length=MOST_DEPTH)]
    shape: Annotated[list[Annotated[int, Meta(ge=0)]], Meta(max_length=MOST_DEPTH)]
    dtype: str


def to_host(tree: Any) -> tuple[Index, dict[str, np.ndarray]]:
    """Index and numpy leaves of a pytree. Raises ValueError naming a leaf that is no array."""
    import jax

    index, leaves = [], {}
    for number, (keys, leaf) in enumerate(jax.tree_util.tree_flatten_with_path(tree)[0]):
        path = _path(keys)
        value, dtype = _host(path, leaf)
        readable = re.sub(r"\W+", "_", "_".join(map(str, path)), flags=re.ASCII)[:80]
        name = f"{number:05d}-{readable}"
        index.append({"name": name, "path": path, "shape": list(value.shape), "dtype": dtype})
        leaves[name] = value
    return index, leaves


def write(directory: Path, leaves: dict[str, np.ndarray]) -> None:
    """Store leaves with Orbax in the new `directory`. Raises OSError."""
    import orbax.checkpoint as ocp

    stored = {name: value for name, value in leaves.items() if value.size}
    if not stored:
        directory.mkdir()
        return
    alone = _alone()
    handler = ocp.PyTreeCheckpointHandler(  # random floats do not compress
        use_compression=False, multiprocessing_options=alone
    )
    try:
        with _quiet(), ocp.Checkpointer(handler, multiprocessing_options=alone) as checkpointer:
            checkpointer.save(directory.absolute(), args=ocp.args.PyTreeSave(stored))
    except OSError:
        raise
    except Exception as error:  # tensorstore reports a full disk as ValueError
        raise OSError(f"Orbax cannot write: {_cause(error)}") from error


def read(directory: Path, index: Index) -> dict[str, np.ndarray]:
    """The leaves that `index` lists. Raises CheckpointError if they cannot be read as listed."""
    asked = sum(map(_bytes, index))
    there = sum(file.stat().st_size for file in directory.rglob("*") if file.is_file())
    if asked > there + INLINE * len(index):
        raise CheckpointError(f"arrays have {there} bytes, tree.json says {asked}")
    full = [entry for entry in index if 0 not in entry["shape"]]
    leaves = {
        e["name"]: np.zeros(e["shape"], _storage_dtype(e["dtype"]))
        for e in index
        if 0 in e["shape"]
    }
    return leaves | (_stored(directory, full) if full else {})


def check_index(index: Any) -> None:
    """Raise ValueError unless `index` is one that `to_host` can have made."""
    leaves = msgspec.convert(index, list[_Leaf])
    places: set[tuple] = set()
    widths: dict[tuple, int] = {}
    for leaf in leaves:
        if math.prod(n or 1 for n in leaf.shape) > MOST_ENTRIES or not _is_dtype(leaf.dtype):
            kind = f"{leaf.dtype[:80]}{str(leaf.shape)[:80]}"
            raise ValueError(f"leaf {label(leaf.path)[:80]} is {kind}, which is never stored")
        places.add(tuple(leaf.path))
        for depth, key in enumerate(leaf.path):
            parent = (*leaf.path[:depth], isinstance(key, int))
            widths[parent] = widths.get(parent, 0) + 1
    inner = {place[:depth] for place in places for depth in range(len(place))}
    if len(places) < len(leaves) or places & inner:
        raise ValueError("two leaves have one place")
    if len({leaf.name for leaf in leaves}) < len(leaves):
        raise ValueError("two leaves have one name")
    for place in places:
        for depth, key in enumerate(place):
            # Between leaves there may be positions that hold none.
            if isinstance(key, int) and not 0 <= key < 64 + 2 * widths[*place[:depth], True]:
                raise ValueError(f"position {key} in leaf {label(list(place))[:80]} is too far")


def below(index: Index, at: Sequence[str]) -> Index:
    """The leaves below a place of the tree, as a tree of their own."""
    size = len(at)
    return [{**e, "path": e["path"][size:]} for e in index if e["path"][:size] == list(at)]


def plain_tree(index: Index, leaves: dict[str, np.ndarray]) -> Any:
    """The tree as dicts and lists of numpy arrays (tuples become lists, namedtuples dicts)."""
    root: dict[str | int, Any] = {}
    for entry in index:
        node, path = root, ["", *entry["path"]]
        for key in path[:-1]:
            node = node.setdefault(key, {})
        node[path[-1]] = leaves[entry["name"]]
    return _lists(root.get("", {}))


def like_tree(index: Index, leaves: dict[str, np.ndarray], like: Any) -> Any:
    """The tree in the structure of `like`: jax leaves where it has them, else numpy.

    Jax leaves are fresh copies, safe to donate. Check with `difference` first.
    """
    import jax

    wanted, structure = jax.tree_util.tree_flatten_with_path(like)
    names = {tuple(entry["path"]): entry["name"] for entry in index}
    found = [_as_leaf(leaves[names[tuple(_path(keys))]], leaf) for keys, leaf in wanted]
    return structure.unflatten(found)


def difference(index: Index, like: Any) -> str | None:
    """First leaf that differs between the stored tree and `like`, in words; None if none does.

    `like` may hold arrays or jax.ShapeDtypeStruct.
    """
    import jax

    stored = {tuple(e["path"]): f"{e['dtype']}{e['shape']}" for e in index}
    wanted = {}
    for keys, leaf in jax.tree_util.tree_flatten_with_path(like)[0]:
        wanted[tuple(_path(keys))] = _kind(leaf)
    for place in (*wanted, *stored):
        there, expected = stored.get(place, "missing"), wanted.get(place, "none")
        if there != expected:
            return f"leaf {label(list(place))[:200]} is {there}, expected {expected}"
    return None


def _kind(leaf: Any) -> str:
    """dtype[shape] of a leaf as its index entry has it."""
    import jax

    leaf = leaf if hasattr(leaf, "dtype") else np.asarray(leaf)
    shape = leaf.shape
    if jax.numpy.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        shape = jax.eval_shape(jax.random.key_data, leaf).shape
    return f"{leaf.dtype}{list(shape)}"


def label(path: PathKeys) -> str:
    """A leaf's place as text: params/encoder/0."""
    return "/".join(map(str, path)) or "(root)"


def _path(keys) -> PathKeys:
    """Plain path of a jax key path: attributes and dict keys as text, positions as numbers."""
    plain = []
    for key in keys:
        if hasattr(key, "idx"):
            plain.append(int(key.idx))
        else:
            plain.append(str(key.name if hasattr(key, "name") else key.key))
    return plain


def _host(path: PathKeys, leaf: Any) -> tuple[np.ndarray, str]:
    """A leaf as numpy array and the name of its dtype (typed PRNG keys: their raw data)."""
    import jax

    if isinstance(leaf, jax.Array) and jax.numpy.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return np.asarray(jax.random.key_data(leaf)), str(leaf.dtype)
    value = np.asarray(leaf)
    if value.dtype.kind in "OSUMmV" and value.dtype.name not in _narrow_floats():
        raise ValueError(f"leaf {label(path)} must be an array of numbers, got {value.dtype}")
    return value, value.dtype.name


def _narrow_floats() -> set[str]:
    """Names of jax's own float types, which numpy calls void (kind V)."""
    import ml_dtypes

    return {name for name in dir(ml_dtypes) if name.startswith(("bfloat", "float"))}


def _storage_dtype(name: str) -> np.dtype:
    import jax.numpy as jnp

    return np.dtype(np.uint32) if name.startswith("key<") else jnp.dtype(name)


def _as_leaf(value: np.ndarray, wanted: Any) -> Any:
    """A stored leaf as the kind of leaf that `wanted` is."""
    import jax
    import jax.numpy as jnp

    if not isinstance(wanted, jax.Array):
        return value
    if jax.numpy.issubdtype(wanted.dtype, jax.dtypes.prng_key):
        return jax.random.wrap_key_data(jnp.array(value), impl=jax.random.key_impl(wanted))
    return jnp.array(value, copy=True)


def _stored(directory: Path, index: Index) -> dict[str, np.ndarray]:
    """Leaves that are not empty, from the store that Orbax wrote. Raises CheckpointError."""
    import tensorstore

    def value(name: str, key: str) -> Any:
        return store.read(f"{name}/{key}")

    try:
        base = {"driver": "file", "path": f"{directory.absolute()}/"}
        store = tensorstore.KvStore.open({"driver": "ocdbt", "base": base}).result()
        about = [value(entry["name"], ".zarray") for entry in index]
        for entry, found in zip(index, about, strict=True):
            _check_stored(entry, found.result().value)
        pieces = [value(e["name"], ".".join("0" for _ in e["shape"]) or "0") for e in index]
        return {e["name"]: _array(e, p.result().value) for e, p in zip(index, pieces, strict=True)}
    except CheckpointError:
        raise
    except Exception as error:  # tensorstore raises many kinds
        raise CheckpointError(f"arrays cannot be read: {_cause(error)}") from error


def _check_stored(entry: dict[str, Any], raw: bytes) -> None:
    """Raise CheckpointError unless a leaf is stored as its index entry says, in one piece."""
    about = json.loads(raw[:INLINE]) if raw else {}
    dtype = _storage_dtype(entry["dtype"])
    said = dtype.name if dtype.name in _narrow_floats() else dtype.str
    expected = {"dtype": said, "shape": entry["shape"], "chunks": entry["shape"], "order": "C"}
    expected |= {"compressor": None, "filters": None, "zarr_format": 2}
    for key, wanted in expected.items():
        if (found := about.get(key)) != wanted:
            raise CheckpointError(
                f"arrays: {key} of leaf {label(entry['path'])[:200]} is {str(found)[:80]}, "
                f"tree.json says {wanted}"
            )


def _array(entry: dict[str, Any], raw: bytes) -> np.ndarray:
    """A leaf from its bytes. Raises CheckpointError if they are not as many as it has."""
    if len(raw) != _bytes(entry):
        raise CheckpointError(
            f"arrays: leaf {label(entry['path'])[:200]} has {len(raw)} bytes, expected "
            f"{_bytes(entry)}"
        )
    flat = np.frombuffer(bytearray(raw), _storage_dtype(entry["dtype"]))
    return flat.reshape(entry["shape"])


def _bytes(entry: dict[str, Any]) -> int:
    return math.prod(entry["shape"]) * _storage_dtype(entry["dtype"]).itemsize


def _is_dtype(name: str) -> bool:
    """Whether leaves of this type are stored."""
    if _KEY.fullmatch(name) or name in _narrow_floats():
        return True
    plain = [np.dtype(f"{kind}{size}").name for kind in "iu" for size in (1, 2, 4, 8)]
    return name in (*plain, "float16", "float32", "float64", "bool", "complex64", "complex128")


def _alone() -> Any:
    """Orbax's options for a process that neither waits for others of its training nor asks them."""
    import jax
    import orbax.checkpoint as ocp

    me = jax.process_index()
    return ocp.options.MultiprocessingOptions(
        primary_host=me, active_processes={me}, barrier_sync_key_prefix=f"process-{me}"
    )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep Orbax from printing the tracebacks of its threads: the error that it raises is told."""
    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)


def _cause(error: Exception) -> str:
    """One line: the system's words where tensorstore names a system error, else its own."""
    if code := re.search(r"os_error_code='(\d+)'", str(error)):
        return os.strerror(int(code[1]))
    return (str(error).splitlines() or [repr(error)])[0]


def _lists(node: Any) -> Any:
    """Turn dicts keyed by positions into lists; positions without leaves become None."""
    if not isinstance(node, dict):
        return node
    node = {key: _lists(value) for key, value in node.items()}
    if node and all(isinstance(key, int) for key in node):
        return [node.get(position) for position in range(max(node) + 1)]
    return node
