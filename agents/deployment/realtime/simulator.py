"""A simulator that lives in wall-clock time, in a process of its own.

Each frame begins at an absolute time with the action that has arrived by then; if none has, the
last one holds. Its outcome is seen when the frame is over. The world waits for nobody: that is
what a controller will find on a robot. Parent and child talk over a socket that keeps message
boundaries; numbers and text alone cross it. Imports no jax.
"""

import contextlib
import select
import socket
import struct
import subprocess
import time
from typing import Any, NamedTuple

import msgspec
import numpy as np

from agents.deployment.realtime.pacing import Pacer, ask_for_priority, quiet_memory
from agents.jobs import children
from envs.spec import EnvError, EnvSpec

READY_S, EXIT_S = 120.0, 10.0
BEGIN = struct.Struct("<d")
"""The parent's first message, a time; all others are actions [A] float64."""
encode, decode = msgspec.msgpack.encode, msgspec.msgpack.decode
"""The child's messages are lists: "ready", "frame", "ended" or "failed", and what they say."""


class Frame(NamedTuple):
    """One reading of the sensors."""

    number: int
    """Of the frame, over all episodes."""
    episode: int
    step: int
    """Frames since the episode began."""
    stamp: float
    """When it was so, on the monotonic clock."""
    obs: np.ndarray
    """[O] float64."""


class Ended(NamedTuple):
    """An episode that is over."""

    episode: int
    frames: int
    ret: float
    stamp: float
    valid: bool


class LiveSimulator(contextlib.AbstractContextManager):
    """The controller's side: start it, look at the newest frame, send actions.

    Episode i begins from seed `seed + i`, a decision period after the one before. As a context
    manager it ends the process.
    """

    def __init__(self, env_id: str, action_repeat: int, seed: int, realtime: bool = False):
        mine, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        main = "agents.deployment.realtime.simulator:main"
        settings = (env_id, action_repeat, seed, realtime)
        with theirs:
            self._process = subprocess.Popen(
                children.calling(main, theirs.fileno(), *settings),
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C is for the controller, which then ends this
            )
        self._socket = mine
        self.ended: list[Ended] = []
        self.frame: Frame | None = None
        self.stated: dict[str, list[str]] = {}
        """Names and units of its actuators and joints, once it is ready; empty where unknown."""

    def ready(self) -> EnvSpec:
        """Wait until it has loaded; the spec in single frames. Raises EnvError."""
        if not select.select([self._socket], [], [], READY_S)[0]:
            raise EnvError(f"the simulator was not ready within {READY_S:.0f} s")
        _, spec, self.stated = self._received()
        return EnvSpec.from_json(spec)

    def start(self, begin: float) -> None:
        """Let time run from `begin` on the monotonic clock."""
        self._send(BEGIN.pack(begin))
        self._socket.setblocking(False)

    def newest(self) -> Frame | None:
        """The last frame seen, without waiting; None before the first. Raises EnvError."""
        with contextlib.suppress(BlockingIOError):
            while True:
                kind, *said = self._received()
                if kind == "ended":
                    self.ended.append(Ended._make(said))
                else:
                    obs = np.frombuffer(said.pop(), np.float64)
                    self.frame = Frame._make([*said, obs])
        return self.frame

    def send(self, action: np.ndarray) -> None:
        """An action [A] in [-1, 1], in force from the next frame on. Raises EnvError."""
        self._send(np.asarray(action, np.float64).tobytes())

    def __exit__(self, *_: object) -> None:
        self._socket.close()
        try:
            self._process.wait(EXIT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _send(self, message: bytes) -> None:
        try:
            self._socket.send(message)
        except BlockingIOError:  # it has stalled: the observations will say so
            pass
        except OSError:
            raise EnvError("the simulator's process has ended") from None

    def _received(self) -> list:
        """One message. Raises EnvError with what the child said at its end."""
        try:
            message = self._socket.recv(1 << 20)
        except ConnectionError:
            message = b""
        if not message:
            raise EnvError("the simulator's process has ended")
        kind, *said = decode(message)
        if kind == "failed":
            raise EnvError(*said)
        return [kind, *said]


def main(descriptor: int, *settings: Any) -> None:
    """The child: make the simulator, then live until the other side closes."""
    with socket.socket(fileno=descriptor) as line:
        try:
            _live(line, *settings)
        except (BrokenPipeError, ConnectionError):
            return
        except Exception as error:  # whatever it is, the controller is told and ends the run
            text = " ".join(str(error).split()) or type(error).__name__
            line.setblocking(True)
            line.send(encode(("failed", f"the live simulator failed: {text}"[:1000])))


def _live(line: socket.socket, env_id: str, action_repeat: int, seed: int, realtime: bool) -> None:
    from envs.native.env import NativeVectorEnv
    from envs.registry import make_vec
    from envs.tasks.interface import robot_of

    if realtime:
        ask_for_priority()

    env = make_vec(env_id, 1, action_repeat=1, num_threads=1)
    env.reset(seed=[seed])
    native = isinstance(env, NativeVectorEnv)
    stated = robot_of(env.simulators.task).stated() if native else {}
    with quiet_memory():
        line.send(encode(("ready", env.env_spec.to_json(), stated)))
        if not (order := line.recv(BEGIN.size)):  # closed before it began
            return
        line.setblocking(False)
        pacer, episode = Pacer(env.env_spec.control_dt, *BEGIN.unpack(order)), 0
        while _episode(line, env, pacer, action_repeat, seed, episode):
            episode += 1


def _episode(line, env, pacer: Pacer, action_repeat: int, seed: int, episode: int) -> bool:
    """One episode; False when the controller has gone."""
    obs, _ = env.reset(seed=[seed + episode])
    action = np.zeros((1, env.env_spec.action_dim))  # nothing is in force yet
    _wait(pacer)
    while (pacer.number - 1) % action_repeat:  # begin where a decision is due
        _wait(pacer)
    ret, frames, over = 0.0, 0, False
    _show(line, pacer, episode, frames, obs)
    _take_latest(line, action)  # what was meant for the episode before is dropped
    action[:] = 0.0
    while not over:
        if not _take_latest(line, action):
            return False
        obs, reward, terminated, truncated, info = env.step(action)
        ret, frames = ret + float(reward[0]), frames + 1
        over = bool(terminated[0] | truncated[0])
        if not over:
            _wait(pacer)
            _show(line, pacer, episode, frames, obs)
    valid = not bool(info["invalid"][0])
    line.send(encode(("ended", *Ended(episode, frames, ret, pacer.due, valid))))
    return True


def _wait(pacer: Pacer) -> None:
    """The next frame's time. One that comes late is caught up with: time has passed for all."""
    if (left := pacer.slack()) > 0:
        time.sleep(left)
    pacer.number += 1


def _show(line, pacer: Pacer, episode: int, step: int, obs: np.ndarray) -> None:
    number = pacer.number - 1
    stamp = pacer.begin + number * pacer.period
    frame = Frame(number, episode, step, stamp, np.asarray(obs[0], np.float64))
    with contextlib.suppress(BlockingIOError):  # nobody is looking; the world goes on
        line.send(encode(("frame", *frame[:-1], frame.obs.tobytes())))


def _take_latest(line, action: np.ndarray) -> bool:
    """Put the newest action that has come into `action` [1, A]; False when the line is closed."""
    with contextlib.suppress(BlockingIOError):
        while message := line.recv(1 << 16):
            action[0] = np.frombuffer(message, np.float64)
        return False
    return True
