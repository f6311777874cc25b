"""A simulator that lives in wall-clock time, in a process of its own.

Each frame begins at an absolute time with the action that has arrived by then; if none has, the
last one holds. Its outcome is seen when the frame is over. The world waits for nobody: that is
what a controller will find on a robot. Parent and child talk over a socket that keeps message
boundaries; numbers alone cross it. Imports no jax.
"""

import contextlib
import json
import select
import socket
import struct
import subprocess
import time
from typing import Any, NamedTuple

import numpy as np

from agents.deployment.realtime.pacing import Pacer, ask_for_priority, quiet_memory
from agents.jobs import children
from envs.spec import EnvError, EnvSpec

OBS = struct.Struct("<cqqqd")  # b"o", number, episode, frame in it, time; then obs [O] float64
END = struct.Struct("<cqqdd?")  # b"e", episode, frames, return, time, valid
READY_S, EXIT_S = 120.0, 10.0
START = b"s"


class Frame(NamedTuple):
    """What the sensors say."""

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


class LiveSimulator:
    """The controller's side: start it, look at the newest frame, send actions.

    Episode i begins from seed `seed + i`, a decision period after the one before. As a context
    manager it ends the process.
    """

    def __init__(self, env_id: str, action_repeat: int, seed: int, realtime: bool = False):
        mine, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        settings = {"env_id": env_id, "action_repeat": action_repeat, "seed": seed}
        settings["realtime"] = realtime
        with theirs:
            self._process = subprocess.Popen(
                children.calling(
                    "agents.deployment.realtime.simulator:main", theirs.fileno(), settings
                ),
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C is for the controller, which then ends this
            )
        self._socket = mine
        self.ended: list[Ended] = []
        self.frame: Frame | None = None

    def ready(self) -> EnvSpec:
        """Wait until it has loaded; the spec in single frames. Raises EnvError."""
        if not select.select([self._socket], [], [], READY_S)[0]:
            raise EnvError(f"the simulator was not ready within {READY_S:.0f} s")
        return EnvSpec.from_json(json.loads(self._received()))

    def start(self, begin: float) -> None:
        """Let time run from `begin` on the monotonic clock."""
        self._send(START + struct.pack("<d", begin))
        self._socket.setblocking(False)

    def newest(self) -> Frame | None:
        """The last frame seen, without waiting; None before the first. Raises EnvError."""
        while True:
            try:
                message = self._received()
            except BlockingIOError:
                return self.frame
            if message[:1] == b"e":
                self.ended.append(Ended(*END.unpack(message)[1:]))
            else:
                _, number, episode, step, stamp = OBS.unpack_from(message)
                obs = np.frombuffer(message, np.float64, -1, OBS.size)
                self.frame = Frame(number, episode, step, stamp, obs)

    def send(self, action: np.ndarray) -> None:
        """An action [A] in [-1, 1], in force from the next frame on. Raises EnvError."""
        self._send(np.asarray(action, np.float64).tobytes())

    def close(self) -> None:
        """End the process."""
        self._socket.close()
        try:
            self._process.wait(EXIT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def __enter__(self) -> "LiveSimulator":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _send(self, message: bytes) -> None:
        try:
            self._socket.send(message)
        except BlockingIOError:  # it has stalled: the observations will say so
            pass
        except OSError:
            raise EnvError("the simulator's process has ended") from None

    def _received(self) -> bytes:
        """One message. Raises EnvError with what the child said at its end."""
        try:
            message = self._socket.recv(1 << 20)
        except ConnectionError:
            message = b""
        if not message:
            raise EnvError("the simulator's process has ended")
        if message[:1] == b"x":
            raise EnvError(message[1:].decode(errors="replace"))
        return message


def main(descriptor: int, settings: dict[str, Any]) -> None:
    """The child: make the simulator, then live until the other side closes."""
    with socket.socket(fileno=descriptor) as line:
        try:
            _live(line, **settings)
        except (BrokenPipeError, ConnectionError):
            return
        except Exception as error:  # whatever it is, the controller is told and ends the run
            text = " ".join(str(error).split()) or type(error).__name__
            line.setblocking(True)
            line.send(b"x" + f"the live simulator failed: {text}".encode()[:4000])


def _live(line: socket.socket, env_id: str, action_repeat: int, seed: int, realtime: bool) -> None:
    from envs.registry import make_vec

    if realtime:
        ask_for_priority()

    env = make_vec(env_id, 1, action_repeat=1, num_threads=1)
    env.reset(seed=[seed])
    with quiet_memory():
        line.send(json.dumps(env.env_spec.to_json()).encode())
        order = line.recv(64)
        if order[:1] != START:  # closed before it began
            return
        (begin,) = struct.unpack("<d", order[1:])
        line.setblocking(False)
        pacer, episode = Pacer(env.env_spec.control_dt, begin), 0
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
    _tell(line, pacer, episode, frames, obs)
    _latest(line, action)  # what was meant for the episode before is dropped
    action[:] = 0.0
    while not over:
        if not _latest(line, action):
            return False
        obs, reward, terminated, truncated, info = env.step(action)
        ret, frames = ret + float(reward[0]), frames + 1
        over = bool(terminated[0] | truncated[0])
        if not over:
            _wait(pacer)
            _tell(line, pacer, episode, frames, obs)
    stamp = pacer.due
    line.send(END.pack(b"e", episode, frames, ret, stamp, not info["invalid"][0]))
    return True


def _wait(pacer: Pacer) -> None:
    """The next frame's time. One that comes late is caught up with: time has passed for all."""
    if (left := pacer.slack()) > 0:
        time.sleep(left)
    pacer.number += 1


def _tell(line, pacer: Pacer, episode: int, frames: int, obs: np.ndarray) -> None:
    number = pacer.number - 1
    stamp = pacer.begin + number * pacer.period
    header = OBS.pack(b"o", number, episode, frames, stamp)
    with contextlib.suppress(BlockingIOError):  # nobody is looking; the world goes on
        line.send(header + np.asarray(obs[0], np.float64).tobytes())


def _latest(line, action: np.ndarray) -> bool:
    """Put the newest action that has come into `action` [1, A]; False when the line is closed."""
    while True:
        try:
            message = line.recv(1 << 16)
        except BlockingIOError:
            return True
        if not message:
            return False
        action[0] = np.frombuffer(message, np.float64)
