"""Checkpoints: exact round trips, what fits and what does not, pruning."""

import json
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agents.storage import checkpoint
from agents.storage.checkpoint import CheckpointError


class State(NamedTuple):
    """A tree of every kind of node and leaf a run stores."""

    params: dict
    nothing: None
    empty: tuple
    values: list


def make_state(scale: float = 1.0) -> State:
    rng = np.random.default_rng(0)
    return State(
        params={"kernel": jnp.asarray(rng.normal(size=(3, 4)) * scale, jnp.float32)},
        nothing=None,
        empty=(),
        values=[np.float64(scale), (np.arange(3, dtype=np.uint32),)],
    )


def save(directory: Path, step: int, arrays=None, **more) -> Path:
    arrays = make_state(step) if arrays is None else arrays
    return checkpoint.save(directory, step, arrays, config={"a": step}, spec={"b": 2}, **more)


def assert_same(got, want):
    assert jax.tree.structure(got) == jax.tree.structure(want)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        a, b = np.asarray(a), np.asarray(b)
        assert (a.dtype, a.shape, a.tobytes()) == (b.dtype, b.shape, b.tobytes())


def shape_only(leaf) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype)


INTEGERS = [f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)]
DTYPES = [*INTEGERS, "float16", "float32", "float64"]


def test_numpy_leaves_of_every_dtype_come_back_bit_for_bit(tmp_path):
    rng = np.random.default_rng(1)
    bits = {name: rng.bytes(np.dtype(name).itemsize * 6) for name in DTYPES}
    tree = {name: np.frombuffer(raw, name).reshape(2, 3) for name, raw in bits.items()}
    tree["bool"] = np.array([[True, False, True]])
    tree |= {"scalar": np.array(1 / 3), "none": np.zeros((0, 3)), "nan": np.array([np.nan])}
    tree |= {"big": np.array(2**63 + 1, np.uint64), "complex": np.array([1 + 2j])}
    assert_same(checkpoint.restore(save(tmp_path, 1, tree)), tree)


def test_restoring_like_a_state_keeps_structure_and_kind_of_leaf(tmp_path):
    state = make_state()
    got = checkpoint.restore(save(tmp_path, 1, state), state)
    assert_same(got, state)
    assert isinstance(got, State)
    assert isinstance(got.params["kernel"], jax.Array)
    assert isinstance(got.values[1][0], np.ndarray)


def test_jax_leaves_bfloat16_and_typed_keys(tmp_path):
    tree = {"half": jnp.ones(3, jnp.bfloat16), "key": jax.random.key(7)}
    tree["raw"] = jax.random.key_data(tree["key"])
    got = checkpoint.restore(save(tmp_path, 1, tree), tree)
    assert got["half"].dtype == jnp.bfloat16
    assert jax.random.uniform(got["key"]) == jax.random.uniform(tree["key"])
    assert_same(got["raw"], tree["raw"])


def test_restored_leaves_may_be_donated(tmp_path):
    state = {"x": jnp.arange(1024.0)}
    path = save(tmp_path, 1, state)
    double = jax.jit(lambda s: {"x": 2 * s["x"]}, donate_argnums=0)
    for _ in range(2):
        np.testing.assert_array_equal(
            double(checkpoint.restore(path, state))["x"], 2 * np.arange(1024.0)
        )


def test_restoring_without_like_gives_dicts_and_lists(tmp_path):
    got = checkpoint.restore(save(tmp_path, 3, extra_files={"refs.json": b"[]"}))
    assert set(got) == {"params", "values"}
    assert got["values"][0] == 3.0
    assert got["values"][1][0].dtype == np.uint32
    assert checkpoint.restore(save(tmp_path, 4, {})) == {}
    assert checkpoint.restore(save(tmp_path, 5, [None, np.ones(2)]))[0] is None


def test_config_spec_and_extra_files(tmp_path):
    path = save(tmp_path, 12345, extra_files={"refs.json": b"[1]"})
    assert path.name == "000012345"
    assert checkpoint.read_json(path, "config.json") == {"a": 12345}
    assert checkpoint.read_json(path, "spec.json") == {"b": 2}
    assert checkpoint.read_file(path, "refs.json") == b"[1]"
    with pytest.raises(CheckpointError, match=r"other\.json: not in MANIFEST"):
        checkpoint.read_json(path, "other.json")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s: s._replace(params={"kernel": jnp.ones((4, 3))}), r"params/kernel .*\[3, 4\]"),
        (lambda s: s._replace(params={"bias": s.params["kernel"]}), "params/bias is missing"),
        (lambda s: s._replace(nothing=np.ones(1)), "nothing is missing"),
        (lambda s: s._replace(values=s.values[:1]), "values/1/0 .* expected none"),
        (lambda s: s._replace(values=[np.float32(1), s.values[1]]), "values/0 is float64"),
    ],
)
def test_a_state_that_does_not_fit_is_refused_by_name(tmp_path, change, words):
    path = save(tmp_path, 1)
    with pytest.raises(CheckpointError, match=words):
        checkpoint.restore(path, change(make_state()))
    with pytest.raises(CheckpointError, match=words):
        checkpoint.restore(path, jax.tree.map(shape_only, change(make_state())))


@pytest.mark.parametrize("leaf", [np.array([{}]), "text", np.datetime64("2020-01-01")])
def test_leaves_that_are_no_numbers_are_refused_before_writing(tmp_path, leaf):
    with pytest.raises(ValueError, match="leaf here must be an array of numbers"):
        save(tmp_path, 1, {"here": leaf})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["config.json", "MANIFEST.json", "../up", "a/b", "", ".."])
def test_extra_files_have_plain_free_names(tmp_path, name):
    with pytest.raises(ValueError, match="extra file"):
        save(tmp_path, 1, extra_files={name: b""})


def test_latest_and_prune(tmp_path):
    assert checkpoint.latest(tmp_path / "none") is None
    assert checkpoint.latest(tmp_path) is None
    for step in (1, 20, 300):
        save(tmp_path, step)
    assert checkpoint.latest(tmp_path) == tmp_path / "000000300"
    checkpoint.prune(tmp_path, keep=2)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["000000020", "000000300"]


def test_what_is_stored_explains_itself(tmp_path):
    leaves = json.loads((save(tmp_path, 1) / "tree.json").read_text())
    paths = [["params", "kernel"], ["values", 0], ["values", 1, 0]]
    assert [leaf["path"] for leaf in leaves] == paths
    assert leaves[0]["dtype"] == "float32"
    assert leaves[0]["shape"] == [3, 4]
