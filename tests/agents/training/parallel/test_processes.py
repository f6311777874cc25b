"""Several processes train one model: simulators shared, one run directory, stopping together."""

import os
import socket
import subprocess
import sys
import threading
from typing import Any

import numpy as np
import pytest

from agents.runs.config import ConfigError, TrainConfig
from agents.training.parallel.barrier import barrier
from agents.training.parallel.distributed import make_distributed
from agents.training.parallel.process_config import ProcessConfig
from agents.training.parallel.processes import ALONE, PeerError, Processes
from agents.training.setup import make_simulators
from envs.spec import EnvError
from scripts.command import settings_of
from scripts.train import VERB


class Threads(Processes):
    """Processes that are threads of this one."""

    def __init__(self, index, count, barrier, board):
        super().__init__(index, count)
        self.barrier, self.board = barrier, board

    def exchange(self, kind, message):
        self.board[self.index] = (kind, message)
        self.barrier.wait(timeout=60)
        kinds, messages = zip(*self.board, strict=True)
        assert len(set(kinds)) == 1, f"the processes are not at the same place: {kinds}"
        self.barrier.wait(timeout=60)
        return list(messages)


def together(count, what):
    """What `what(group)` returns or raises in each of `count` processes."""
    barrier, board = threading.Barrier(count), [None] * count
    outcomes: list[Any] = [None] * count

    def run(index):
        try:
            outcomes[index] = what(Threads(index, count, barrier, board))
        except Exception as error:
            outcomes[index] = error

    threads = [threading.Thread(target=run, args=(i,)) for i in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return outcomes


def episode(env, steps, state=None):
    """(observations and rewards of some decisions, the state after them)."""
    seen = [env.reset(seed=7)[0]]
    if state is not None:
        env.set_state(state)
    rng = np.random.default_rng(0)
    for _ in range(steps):
        actions = rng.uniform(-1, 1, (env.num_envs, env.single_action_space.shape[0]))
        obs, reward, terminated, truncated, info = env.step(actions)
        seen += [obs, reward, terminated, truncated, info["is_reset"], info["invalid"]]
    return seen, env.get_state()


@pytest.mark.parametrize(
    "settings",
    [
        {"env_id": "reacher-easy", "action_repeat": 100},  # its goals are changes of the model
        {"env_id": "Pendulum-v1", "action_repeat": 20},
        {"env_id": "multi:cartpole-swingup,reacher-easy", "action_repeat": 100},
        {
            "env_id": "cartpole-swingup",
            "action_repeat": 100,
            "randomize": "mass=0.5:2 obs_noise=0.1 action_delay=0:2",
        },
    ],
    ids=["native", "adapter", "tasks", "randomized"],
)
def test_shared_simulators_are_those_of_one_process(settings):
    """Across resets; and either continues from the other's state, to the last bit."""
    config = TrainConfig(num_envs=8, **settings)
    expected, state = episode(make_simulators(config), 14)
    onward, _ = episode(make_simulators(config), 4, state)
    for seen, saved in together(2, lambda group: episode(make_distributed(config, group), 14)):
        for mine, theirs in zip(seen, expected, strict=True):
            np.testing.assert_array_equal(mine, theirs)
        assert saved.keys() == state.keys()
        for name in state:
            np.testing.assert_array_equal(saved[name], state[name], err_msg=name)
    for seen, _ in together(2, lambda group: episode(make_distributed(config, group), 4, state)):
        for mine, theirs in zip(seen[1:], onward[1:], strict=True):
            np.testing.assert_array_equal(mine, theirs)


def test_one_process_has_the_simulators_themselves():
    config = TrainConfig(num_envs=2)
    assert type(make_distributed(config, ALONE)) is type(make_simulators(config))
    with ALONE.guard():
        assert ALONE.first_said("SIGTERM") == "SIGTERM"


def test_a_failure_in_one_process_stops_all_with_its_message_and_exit_code():
    config = TrainConfig(num_envs=4)

    def guarded(group):
        with group.guard():
            if group.index == 1:
                raise ConfigError("the disk is full")
        raise AssertionError("one went on")

    def stepped(group):
        env = make_distributed(config, group)
        env.reset(seed=0)
        actions = np.zeros((4, 1))
        actions[3] = np.nan  # a simulator of the second process
        env.step(actions)

    for what, kind, said in ((guarded, ConfigError, "disk is full"), (stepped, EnvError, "finite")):
        other, own = together(2, what)
        assert isinstance(own, kind) and said in str(own)
        assert isinstance(other, PeerError) and said in str(other)
        assert "process 1 failed" in str(other) and other.exit_code == kind.exit_code


def test_what_any_process_says_is_heard_by_all():
    said = together(3, lambda group: group.first_said("SIGINT" if group.index == 2 else ""))
    assert said == ["SIGINT"] * 3
    differing = together(2, lambda group: group.check_same(f"seed {group.index}", "not the same"))
    assert [str(error) for error in differing] == ["not the same"] * 2


def test_shares_that_do_not_come_out_even_are_refused():
    group = Processes(0, 2)
    with pytest.raises(ConfigError, match="--num-envs 3 evenly: give a multiple of 2"):
        make_distributed(TrainConfig(num_envs=3), group)
    tasks = "multi:cartpole-swingup,reacher-easy"
    with pytest.raises(ConfigError, match="--num-envs 6 evenly: give a multiple of 4"):
        make_distributed(TrainConfig(env_id=tasks, num_envs=6, action_repeat=2), group)
    with pytest.raises(ConfigError, match=r"noise and delays .* leave one of the three out"):
        make_distributed(TrainConfig(env_id=tasks, randomize="obs_noise=0.1"), group)


PLACE = "--processes 2 --process-id 1 --coordinator host:5000"


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ("--processes 0", r"processes must lie in \[1, 1000\]"),
        ("--processes 2", "numbered 0 to 1, and --process-id is missing"),
        ("--processes 2 --process-id 2 --coordinator host:5000", "--process-id 2 is none of them"),
        ("--processes 2 --process-id 0", "need --coordinator HOST:PORT.* it is missing"),
        ("--processes 2 --process-id 0 --coordinator host", "it is 'host'"),
        ("--processes 2 --process-id 0 --coordinator host:99999", "it is 'host:99999'"),
        ("--process-id 1", "belong to a training in several processes: add --processes N"),
        ("--coordinator host:5000", "belong to a training in several processes"),
        (f"{PLACE} --loop fused", "--processes needs the host loop: leave out --loop fused"),
        (f"{PLACE} --backend mjx", "native simulators alone: leave out --backend mjx"),
        (f"{PLACE} --seeds 2", "--processes splits one training: leave out --seeds and --vary"),
        (f"{PLACE} --processes 3 --devices 4", "--devices 4 .* no multiple of --processes 3"),
        ("--devices 2 --seeds 2", "--devices splits one training: leave out --seeds and --vary"),
    ],
)
def test_flags_that_do_not_fit_are_told_in_one_line(flags, said):
    with pytest.raises(ConfigError, match=said) as caught:
        settings_of(VERB, ["cartpole-swingup", *flags.split()]).process()
    assert "\n" not in str(caught.value)


def test_each_process_has_a_device_unless_told_otherwise():
    flags = settings_of(VERB, ["cartpole-swingup", *PLACE.split()])
    assert flags.process() == ProcessConfig(2, 1, "host:5000")
    assert flags.config_of().devices == 2
    more = settings_of(VERB, ["cartpole-swingup", *PLACE.split(), "--devices", "4"])
    assert more.config_of().devices == 4


def met(ids, count=2, seconds=1.0):
    """What meeting comes to for processes of these numbers, as an exception or None."""
    port = free_port()
    outcomes: list[Any] = [None] * len(ids)

    def come(place, index):
        config = ProcessConfig(count, index, f"localhost:{port}")
        try:
            barrier(config, ("127.0.0.1", port), seconds)
        except Exception as error:
            outcomes[place] = error

    threads = [threading.Thread(target=come, args=pair) for pair in enumerate(ids)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return outcomes


def test_processes_that_do_not_meet_are_told_so():
    assert met([2, 0, 1], 3, 60.0) == [None] * 3
    assert "processes [1] did not come" in str(met([0])[0])
    assert "process 0 was not found" in str(met([1])[0])
    first, *others = met([0, 1, 1], 3, 60.0)
    assert "two processes have --process-id 1" in str(first)
    assert all("has ended" in str(other) or "not found" in str(other) for other in others)
    assert all(isinstance(error, ConfigError) for error in (first, *others))


def test_a_port_that_is_taken_is_told():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = taken.getsockname()
        config = ProcessConfig(2, 0, f"localhost:{address[1]}")
        with pytest.raises(ConfigError, match=r"cannot listen there .* give a free port"):
            barrier(config, address, 1.0)


MEETING = """
import sys
from agents.training.parallel.process_config import ProcessConfig
from agents.training.parallel.processes import PeerError, joined
index, place = int(sys.argv[1]), sys.argv[2]
with joined(ProcessConfig(2, index, place)) as group:
    for size in (3, 5000, 0, 70, 5000):
        message = bytes([index + 1]) * (size * (index + 1))
        got = group.exchange("kind", message)
        assert got == [bytes([1]) * size, bytes([2]) * (2 * size)], size
    word = group.first_said("SIGTERM" if index else "")
    try:
        with group.guard():
            if index == 0:
                raise OSError("no room")
    except (OSError, PeerError) as error:
        print(word, error)
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_two_real_processes_exchange_messages_of_any_size():
    place = f"localhost:{free_port()}"
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    started = [
        subprocess.Popen(
            [sys.executable, "-c", MEETING, str(i), place],
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for i in range(2)
    ]
    told = [process.communicate(timeout=250) for process in started]
    assert [process.returncode for process in started] == [0, 0], [err[-1500:] for _, err in told]
    assert "SIGTERM no room" in told[0][0]
    assert "SIGTERM process 0 failed: no room" in told[1][0]
