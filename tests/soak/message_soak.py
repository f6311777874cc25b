"""Soak of what a controller may be sent: any message, any observation, from any connection.

Whatever comes, the answer is finite and inside the limits, a stop stays on all connections of its
client, who is said to have acted has acted, and what is not ok has a fault's name and words.
"""

import asyncio
from collections import Counter
from collections.abc import Iterator
from typing import Any

import msgspec
import numpy as np

from agents.deployment.anytime import Decision
from agents.deployment.controller import Begun, Controller
from agents.deployment.serving.config import ServeConfig
from agents.deployment.serving.server import ControllerServer, understood
from agents.deployment.serving.wire import WireError, pack, unpack
from agents.runs.compile import counted
from tests.soak import controller_soak, fuzz
from tests.soak.safety_soak import MAX_REPORTED, Rules

VALUES = (0.0, -0.0, 1.0, 1e-45, 1e-308, 1e-320, 1e3, 1e10, 1e20, -1e20, 3.4e38, 1e39, -1e308)
VALUES += (np.nan, np.inf, -np.inf)
"""Tiny, denormal, finite and yet too large for a model or for float32, and no numbers at all."""
STRANGE: tuple[Any, ...] = (None, True, -1, 1.5, 2**63 - 1, 2**64 - 1, 1e308, -1e-320, np.nan)
STRANGE += ("now", b"\0" * 9, [], [[1.0]], {}, {"a": []}, msgspec.msgpack.Ext(5, b"x"))
KEYS = ("obs", "reset", "sequence", "age_s", "rearm", "actions")
DTYPES = ("<f2", ">f4", "<i8", "|u1", "|b1", "<f8", "<f4")
ACTED = {"hold": "hold", "fallback": "fallback", "stopped": "stop"}
WORDS, NOTED = 500, {"surprise"}
"""Longest line of refusal; faults that are reported and not reacted to, by default."""


def observation(rng: np.random.Generator, size: int) -> Any:
    """An observation: usual, or with some or only strange values, or of another form."""
    obs = rng.normal(size=size).astype(rng.choice(["float32", "float64"]))
    kind = rng.integers(8)
    with np.errstate(over="ignore"):
        if kind < 3:
            obs[rng.integers(size)] = rng.choice(VALUES)
        elif kind == 3:
            obs[:] = rng.choice(VALUES, size)
        elif kind == 4:
            shapes = ((0,), (size - 1,), (1, size), (size, 1), (), (size, 2, 3), (size + 9000,))
            obs = np.full(shapes[rng.integers(len(shapes))], rng.choice(VALUES))
        elif kind == 5:
            with np.errstate(invalid="ignore"):
                obs = (obs * 100).astype(str(rng.choice(DTYPES)))
    return obs.tolist() if kind == 6 else obs


def message(rng: np.random.Generator, size: int) -> bytes | str:
    """Anything that a client can send; every second one can be understood."""
    kind = rng.integers(10)
    if kind == 0:
        known = ("random", "cut", "flipped", "lying", "text", "nan", "long")
        return fuzz.message(str(rng.choice(known)), rng, 1 << 16)  # pyright: ignore[reportReturnType]
    found: dict[Any, Any] = {"obs": observation(rng, size)}
    if kind < 4:
        found[str(rng.choice(KEYS))] = STRANGE[rng.integers(len(STRANGE))]
    elif kind == 4:
        found["age_s"] = float(rng.choice([0.0, 1e-320, 5.0, 1e308]))
    elif kind == 5:
        found["sequence"] = int(rng.integers(50))
    if rng.random() < 0.05:
        found["reset"] = True
    if rng.random() < 0.02:
        found["rearm"] = True
    try:
        return pack(found)
    except WireError:
        return msgspec.msgpack.encode({"obs": list(found)})


class Judge:
    """Rules for every answer of one controller."""

    def __init__(self, controller: Controller):
        self.controller, self.rules = controller, Rules(controller.guard.config)
        self.made: Decision | None = None
        finish = controller.finish

        def kept(begun: Begun, made: Decision | None) -> np.ndarray:
            self.made = made
            return finish(begun, made)

        vars(controller)["finish"] = kept

    def wrong(self, action: np.ndarray, *, stopped: bool) -> Iterator[str]:
        """Broken promises of the tick just done; `stopped`: the client was, or is by now."""
        tick, guard = self.controller.last, self.controller.guard
        limits = guard.limiter
        assert tick is not None
        state = self.rules.next(bool(set(tick.faults) - NOTED))
        if stopped:
            state = self.rules.state = "stopped"
        fine = action.dtype == np.float32 and np.isfinite(action).all()
        inside = (action >= limits.low).all() and (action <= limits.high).all()
        promises = {
            "finite and inside its limits": bool(fine and inside),
            f"in state {state}": tick.state == guard.state == state,
            "explained": bool(guard.why) == (state != "ok"),
            "safe": state != "stopped" or np.array_equal(action, guard.safe),
            "of who acted": self._acted(action, state),
        }
        self.made = None
        yield from (
            f"{tick}: {action} is not {name}" for name, kept in promises.items() if not kept
        )

    def _acted(self, action: np.ndarray, state: str) -> bool:
        tick, made = self.controller.last, self.made
        assert tick is not None
        if state != "ok":
            return tick.source == ACTED[state]
        if made is None or made.no_plan or set(tick.faults) - NOTED:
            return False
        planned = made.source != "plan" or bool(np.isfinite(tick.info.best_value))
        mine = self.controller.guard.limiter.clip(made.action)
        return planned and tick.source == made.source and np.array_equal(action, mine)


def observations(controller: Controller, count: int, rng: np.random.Generator) -> dict[str, Any]:
    """Give a controller `count` observations, most of them bad; re-armed after a while stopped."""
    judge, size, violations = Judge(controller), controller.contract.obs.shape[0], []
    with counted() as compiled:
        for tick in range(count):
            if controller.guard.state == "stopped" and rng.random() < 0.1:
                controller.rearm()
                judge.rules.rearm()
            budget = float(rng.choice([0.01, 1e5]))
            strange = STRANGE[rng.integers(len(STRANGE))]
            obs = observation(rng, size) if rng.random() < 0.9 else strange
            action = controller.act(obs, None, tick, now=0.0, deadline_ms=budget)
            violations += judge.wrong(action, stopped=False)
    if compiled.count:
        violations.append(f"{compiled.count} compilations")
    return {"sources": dict(controller.counters), "violations": violations}


class _Lines:
    """Connections to a server: two of one client, and one of another."""

    def __init__(self, controller: Controller):
        self.server = ControllerServer(controller, ServeConfig(clients=1, window_ms=1e-3))
        self.clients = [self.server.admit(f"/?client={name}", "") for name in ("a", "a", "b")]
        self.judges = [Judge(client.controller) for client in self.clients]
        self.found: Counter[str] = Counter()
        self.loop = asyncio.new_event_loop()

    def send(self, at: int, sent: bytes | str) -> Iterator[str]:
        """Broken promises of the answer to one message on connection `at`."""
        client, judge = self.clients[at], self.judges[at]
        stopped, guard = self.server.stops.reason(client.name), client.controller.guard
        try:
            request = understood(client, sent)
        except WireError as error:
            self.found["refused"] += 1
            if "\n" in str(error) or len(str(error)) > WORDS:
                yield f"refused in more than one line: {error}"
            return
        if request.rearm:
            for other, its in zip(self.clients, self.judges, strict=True):
                if other is client or (other.name == client.name and other.stopped):
                    its.rules.rearm()
            stopped = ""
        answer = unpack(self.loop.run_until_complete(self.server.answer(client, request)))
        if request.obs is None:
            return
        self.found[answer["source"]] += 1
        if answer["detail"] != guard.why or tuple(answer["faults"]) != guard.faults:
            yield f"the answer hides something: {answer}"
        yield from judge.wrong(answer["actions"][0], stopped=bool(stopped))


def messages(controller: Controller, count: int, rng: np.random.Generator) -> dict[str, Any]:
    """Send `count` messages to a server of a controller, in this process."""
    lines, violations = _Lines(controller), []
    size = controller.contract.obs.shape[0]
    with counted() as compiled:
        for _ in range(count):
            violations += lines.send(int(rng.integers(3)), message(rng, size))
    lines.loop.run_until_complete(lines.server.stop())
    lines.loop.close()
    if compiled.count:
        violations.append(f"{compiled.count} compilations")
    return {"answers": dict(lines.found), "violations": violations}


def soak(count: int, seed: int = 0, path: str = "") -> dict[str, Any]:
    """`count` messages and observations; "violations" of the result has to be empty."""
    rng = np.random.default_rng(seed)
    made = [controller_soak.controller_of(path, mode) for mode in ("plan", "auto")]
    counts = messages(made[0], count - count // 2, rng)
    shown = observations(made[1].warmup(), count // 2, rng)
    violations = counts["violations"] + shown["violations"]
    return {
        "answers": counts["answers"],
        "sources": shown["sources"],
        "violations": violations[:MAX_REPORTED],
        "num_violations": len(violations),
        "seed": seed,
    }
