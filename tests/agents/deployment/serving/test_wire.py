"""The wire: arrays survive it exactly, and nothing that arrives does harm."""

import contextlib

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from agents.deployment.serving import wire
from agents.deployment.serving.wire import WireError

DTYPES = st.sampled_from(["<f2", "<f4", ">f8", "|u1", "<i2", "<i8", "|b1", "<u4"])


def array_map(dtype="<f4", shape=(2,), data=bytes(8)):
    return {b"__ndarray__": True, b"data": data, b"dtype": dtype, b"shape": shape}


@given(
    DTYPES.flatmap(lambda d: hnp.arrays(d, hnp.array_shapes(min_dims=0, max_dims=3, min_side=1)))
)
def test_arrays_arrive_as_they_were_sent(array):
    """Bits, type and shape, those with NaN too."""
    found = wire.unpack(wire.pack({"a": array, "deep": [{"b": array}]}))
    for got in (found["a"], found["deep"][0]["b"]):
        assert got.dtype == array.dtype and got.shape == array.shape
        assert got.tobytes() == array.tobytes()


def test_the_bytes_are_those_of_openpi():
    """Keys are binary, the type is numpy's string, the shape a list."""
    sent = wire.pack({"obs": np.float32([1, 2]), "n": np.int16(3)})
    assert msgspec.msgpack.decode(sent) == {
        "obs": array_map(shape=[2], data=np.float32([1, 2]).tobytes()),
        "n": {b"__npgeneric__": True, b"data": 3, b"dtype": "<i2"},
    }
    assert wire.unpack(sent)["n"] == np.int16(3)


def test_objects_are_not_sent():
    """Neither Python objects nor arrays of them."""
    for value in (object(), np.array([object()]), np.array(["text"]), np.complex64(1)):
        with pytest.raises(WireError, match="cannot be sent"):
            wire.pack({"a": value})


@settings(max_examples=200)
@given(st.binary(max_size=200))
def test_any_bytes_give_a_request_or_a_wire_error(data):
    """No other exception, whatever arrives."""
    with contextlib.suppress(WireError):
        assert wire.parse_request(data).obs is None


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.binary(max_size=9)
    | st.sampled_from(["<f4", "|O8", "<U9", "f", ">i8", "\x00"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                [
                    "obs",
                    "reset",
                    "sequence",
                    "age_s",
                    b"__ndarray__",
                    b"__npgeneric__",
                    b"data",
                    b"dtype",
                    b"shape",
                ]
            ),
            inner,
            max_size=6,
        )
    ),
    max_leaves=12,
)


@settings(max_examples=150)
@given(VALUES)
def test_any_msgpack_gives_a_request_or_a_wire_error(value):
    """Well-formed messages of the wrong content, with arrays that lie about themselves."""
    try:
        request = wire.parse_request(msgspec.msgpack.encode(value))
    except WireError:
        return
    assert request.obs is None or request.obs.dtype.kind in "fiub"


@pytest.mark.parametrize(
    ("message", "says"),
    [
        ([1], "expected a map with obs"),
        ({}, "no obs"),
        ({"obs": 1.0}, "obs must be an array"),
        ({"obs": ["a"]}, "obs must be an array"),
        ({"obs": [10**400]}, "cannot be sent"),
        ({"obs": [0.0], "prompt": "walk"}, "unknown key 'prompt': expected obs, reset"),
        ({"obs": [0.0], "reset": 1}, "reset must be true or false"),
        ({"obs": [0.0], "sequence": -1}, "sequence must be an integer"),
        ({"obs": [0.0], "age_s": float("nan")}, "age_s must be a number"),
        ({"obs": array_map("|O8", [1])}, "dtype must be a plain numeric one"),
        ({"obs": array_map("<U2", [1])}, "dtype must be a plain numeric one"),
        ({"obs": array_map(shape=[2**40, 2**40])}, "shape must be up to 8 sizes"),
        ({"obs": array_map(shape=[-1])}, "shape must be up to 8 sizes"),
        ({"obs": array_map(shape=[3])}, "does not have 8 bytes"),
        ({"obs": array_map(data=None)}, "data must be bytes"),
        ({"robot": ["hip"]}, "robot must be a map of actuators"),
        ({"robot": {"legs": 4}}, "robot must be a map of actuators"),
        ({"robot": {"joints": [1]}}, "robot.joints must be a list of text"),
        ({"robot": {"rate_hz": 0}}, "robot.rate_hz must be a positive number"),
    ],
)
def test_a_wrong_message_is_told_in_one_line(message, says):
    """What was wrong and what was expected."""
    with pytest.raises(WireError, match=says) as told:
        wire.parse_request(wire.pack(message))
    assert "\n" not in str(told.value) and len(str(told.value)) < 200


def test_truncated_and_nested_messages():
    """A length that lies allocates nothing; depth is limited."""
    for data in (b"\xdd\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff", b"\x91" * 100_000, b"\xa1\xff"):
        with pytest.raises(WireError, match="not a msgpack message"):
            wire.unpack(data)
    deep = []
    for _ in range(20):
        deep = [deep]
    with pytest.raises(WireError, match="nested more than"):
        wire.unpack(wire.pack({"obs": deep}))


def test_a_request_says_what_it_says():
    """Every field, and what is left out."""
    obs = np.float32([1, 2, 3])
    request = wire.parse_request(wire.pack({"obs": obs, "sequence": 7, "age_s": 0.25}))
    np.testing.assert_array_equal(request.obs, obs)
    empty = np.zeros((0, 1), np.float32)
    assert wire.parse_request(wire.pack({"obs": empty})).obs.shape == (0, 1)
    assert request[1:] == (False, 7, 0.25, False, None)
    assert wire.parse_request(wire.pack({"reset": True})) == (None, True, None, 0.0, False, None)
    robot = {"actuators": ["hip"], "rate_hz": 50}
    assert wire.parse_request(wire.pack({"robot": robot})).robot == robot
    listed = wire.parse_request(wire.pack({"obs": [1, 2.5]})).obs
    assert listed.dtype == np.float32 and listed.tolist() == [1, 2.5]
