"""Pytrees of arrays in Orbax, exact to the bit and independent of Python classes.

Leaves go to Orbax as numpy arrays under numbered names; an index (JSON) says for each its place
in the tree, shape and dtype. So float64 stays float64 though jax runs without x64, zero-size
arrays (which Orbax refuses) work, and a mismatch is found before anything is read.
"""

import contextlib
import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from wm.durable import CheckpointError

PathKeys = list[str | int]
Index = list[dict[str, Any]]  # {"name", "path", "shape", "dtype"} a leaf


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
    shapes = {entry["name"]: tuple(entry["shape"]) for entry in index}
    stored = [name for name, shape in shapes.items() if 0 not in shape]
    found = _orbax_read(directory, stored) if stored else {}
    leaves = {}
    for entry in index:
        name, dtype = entry["name"], _storage_dtype(entry["dtype"])
        value = found[name] if name in found else np.zeros(shapes[name], dtype)
        if value.shape != shapes[name] or value.dtype != dtype:
            raise CheckpointError(
                f"{directory}: leaf {label(entry['path'])} is {value.dtype}{list(value.shape)}, "
                f"its index says {dtype}{entry['shape']}"
            )
        leaves[name] = value
    return leaves


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

    wanted, structure = jax.tree.flatten(like)
    values = [leaves[entry["name"]] for entry in index]
    return structure.unflatten(map(_as_leaf, values, wanted))


def difference(index: Index, like: Any) -> str | None:
    """First leaf that differs between the stored tree and `like`, in words; None if none does.

    `like` may hold arrays or jax.ShapeDtypeStruct.
    """
    import jax

    stored = {label(e["path"]): f"{e['dtype']}{e['shape']}" for e in index}
    wanted = {}
    for keys, leaf in jax.tree_util.tree_flatten_with_path(like)[0]:
        wanted[label(_path(keys))] = _kind(leaf)
    for name, kind in wanted.items():
        if stored.get(name) != kind:
            return f"leaf {name} is {stored.get(name, 'missing')}, expected {kind}"
    extra = next((name for name in stored if name not in wanted), None)
    return None if extra is None else f"leaf {extra} is {stored[extra]}, expected none"


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


def _orbax_read(directory: Path, names: list[str]) -> dict[str, np.ndarray]:
    import orbax.checkpoint as ocp

    wanted = {name: ocp.RestoreArgs(restore_type=np.ndarray) for name in names}
    alone = _alone()
    handler = ocp.PyTreeCheckpointHandler(multiprocessing_options=alone)
    try:
        with _quiet(), ocp.Checkpointer(handler, multiprocessing_options=alone) as checkpointer:
            args = ocp.args.PyTreeRestore(item=dict.fromkeys(names, 0), restore_args=wanted)
            return checkpointer.restore(directory.absolute(), args=args)
    except Exception as error:  # Orbax and tensorstore raise many kinds
        raise CheckpointError(f"{directory}: Orbax cannot read it: {_cause(error)}") from error


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
