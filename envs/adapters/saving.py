"""The state of an environment that somebody else wrote, found in its attributes.

Numbers, texts, arrays, lists, tables and random streams are kept, in the environment, in its
wrappers and in the objects that they hold; MuJoCo's physics apart, by its own means. What cannot be
kept stays as a fresh environment has it. Whether that is enough is tried, not assumed: `difference`
restores into a fresh environment and compares. Nothing that is stored can be code.
"""

from collections.abc import Iterator
from typing import Any

import gymnasium
import msgspec
import numpy as np
from gymnasium.envs.registration import EnvSpec, WrapperSpec

from envs.adapters import mjstate
from envs.adapters.packing import Packer, is_object, set_attributes, unpacked
from envs.spec import EnvError, UnsavableError
from envs.tasks.engine import engine
from envs.vector import Arrays, part_of

MOST_BYTES = 1 << 26
BEFORE, COMPARED = 10, 40
"""Steps before a state is saved, and those that must repeat themselves."""
_PAIR, _OWN = ("model", "data"), ("get_state", "set_state")


def layers(env: Any) -> list[Any]:
    """The wrappers from the outermost to the environment itself."""
    found = [env]
    while isinstance(found[-1], gymnasium.Wrapper):
        found.append(found[-1].env)
    return found


def has_own(env: Any) -> bool:
    """Whether the environment says itself what its state is: get_state() and set_state(state)."""
    return all(callable(getattr(env.unwrapped, name, None)) for name in _OWN)


def get_state(env: Any, pristine: dict[str, Arrays], own: bool = False) -> Arrays:
    """Arrays from which `set_state` goes on; with `own`, what it gives as its state among them.

    Raises UnsavableError for more than can be kept.
    """
    packer = Packer()
    kept = msgspec.msgpack.encode([packer.pack(vars(layer), 0) for layer in layers(env)])
    if len(kept) > MOST_BYTES:
        raise UnsavableError("its state is too large to be saved")
    state = {"attributes": np.frombuffer(kept, np.uint8).copy()}
    if own:
        given = msgspec.msgpack.encode(packer.pack(env.unwrapped.get_state(), 0))
        state["own"] = np.frombuffer(given, np.uint8).copy()
    for path, (model, data) in physics(env).items():
        arrays = mjstate.get_state(model, data) | mjstate.changed(model, pristine.get(path, {}))
        state |= {f"physics/{path}/{name}": value for name, value in arrays.items()}
    return state


def set_state(env: Any, state: Arrays, pristine: dict[str, Arrays]) -> None:
    """Go back to what `get_state` gave. Raises UnsavableError where it does not fit."""
    found = physics(env)
    named = {name.removeprefix("physics/").rpartition("/data/")[0] for name in state}
    if "attributes" not in state or not named - {""} <= {*found}:
        raise UnsavableError("the stored state is not one of this environment")
    try:
        stored = msgspec.msgpack.decode(state["attributes"].tobytes())
        for layer, attributes in zip(layers(env), stored, strict=True):
            set_attributes(layer, attributes)
        for path, (model, data) in found.items():
            own = part_of(state, f"physics/{path}/")
            mjstate.set_changed(model, own, pristine.get(path, {}))
            mjstate.set_state(model, data, own)
        if "own" in state:
            env.unwrapped.set_state(unpacked(msgspec.msgpack.decode(state["own"].tobytes()), None))
    except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
        raise UnsavableError(f"the stored state is not one of this environment: {error}") from error


def difference(one: Any, other: Any) -> str:
    """How `other`, a simulator set to the state of `one`, goes on in another way; else "".

    Observations, rewards and ends are compared over tens of steps and across an episode's end. What
    both of them hold is no state of one: restoring would write into the other. An
    error of the simulator itself is no reason to stop here: whoever steps it next meets it.
    """
    try:
        return _difference(one, other)
    except EnvError as error:
        return str(error)


def _difference(one: Any, other: Any) -> str:
    rng, size = np.random.default_rng(0), one.actions.size
    one.reset(0)
    other.reset(1)
    for _ in range(BEFORE):
        if _ended(one.frame(rng.uniform(-1, 1, size))):
            one.reset(None)
    if reason := _shared(one.env, other.env):
        return reason
    other.set_state(one.get_state())
    for step in range(COMPARED):
        action = rng.uniform(-1, 1, size)
        mine, theirs = one.frame(action), other.frame(action)
        if not np.array_equal(mine.obs, theirs.obs, equal_nan=True):
            return f"restored, it gives another observation after {step + 1} steps"
        if mine[1:] != theirs[1:]:
            return f"restored, it gives another reward or end after {step + 1} steps"
        over = _ended(mine) or step == COMPARED // 2
        if over and not np.array_equal(one.reset(None), other.reset(None)):
            return "restored, it gives another start of the next episode"
    return ""


def _shared(one: Any, other: Any) -> str:
    """The first object with attributes that two environments have in common, in words."""
    theirs = {id(holder) for _, holder in _holders(other)}
    for path, holder in _holders(one):
        of_gymnasium = isinstance(holder, EnvSpec | WrapperSpec)
        if id(holder) in theirs and vars(holder) and not of_gymnasium:
            where = ".".join(path.split("/")[1:]) or "the environment"
            return f"{where} ({type(holder).__name__}) is one object for all environments"
    return ""


def _ended(frame: Any) -> bool:
    return frame.terminated or frame.truncated


def physics(env: Any) -> dict[str, tuple[Any, Any]]:
    """(MjModel, MjData) by where they are found: Gymnasium's, dm_control's, anybody's."""
    found: dict[str, tuple[Any, Any]] = {}
    seen: set[int] = set()
    for path, holder in _holders(env):
        pair = [getattr(_attribute(holder, n), "ptr", _attribute(holder, n)) for n in _PAIR]
        kinds = engine().MjModel, engine().MjData
        if all(map(isinstance, pair, kinds)) and id(pair[1]) not in seen:
            seen.add(id(pair[1]))
            found[path] = pair[0], pair[1]
    return found


def _attribute(holder: Any, name: str) -> Any:
    try:
        return getattr(holder, name, None)
    except Exception:  # a property of somebody's
        return None


def _holders(env: Any, most_depth: int = 4) -> Iterator[tuple[str, Any]]:
    """Objects inside an environment, the outer first, each once."""
    queue, seen = [(str(i), layer) for i, layer in enumerate(layers(env))][::-1], set()
    for path, holder in queue:
        if id(holder) in seen or len(seen) > 2000:
            continue
        seen.add(id(holder))
        yield path, holder
        if path.count("/") < most_depth:
            inner = vars(holder).items() if hasattr(holder, "__dict__") else ()
            queue += [(f"{path}/{n}", x) for n, x in inner if is_object(x)]
