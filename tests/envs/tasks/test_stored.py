"""Functions of tasks as data: the same numbers to the last bit, and nothing but numbers."""

import hashlib
import resource

import jax.numpy as jnp
import msgspec
import numpy as np
import pytest

from envs import imports
from envs.native.store import store, trial
from envs.registry import make_vec
from envs.tasks import TASKS, GoalTask
from envs.tasks.base import variant
from envs.tasks.graph import Call, Function, Graph, array, decode
from envs.tasks.recording import UnrecordableError, record
from envs.tasks.stored import Description, StoredTaskError, stored_task


@pytest.mark.parametrize("task", ["hopper-hop", "finger-turn_hard", "push-t", "reacher-goal"])
def test_built_in_tasks_can_be_written_down(task):
    """`store` compares what it wrote with what it read it from, on moving simulators."""
    about = msgspec.msgpack.decode(store(TASKS[task])["task.msgpack"], type=Description)
    assert about.why == "" and about.name == TASKS[task].__name__
    assert {"observe", "flat_obs", "reward", "terminated", "control"} <= about.functions.keys()


@pytest.fixture(scope="module")
def two_room():
    return store(TASKS["two-room"])


def test_a_stored_task_with_goals_is_the_task(tmp_path, two_room):
    """Starts of known seeds, goals, successes and all that follows; later starts are others."""
    files = two_room
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    digest = hashlib.sha256(files["task.msgpack"]).hexdigest()
    imports.use_stored(imports.Stored("rooms.py:TwoRoom", str(tmp_path), digest))
    own, stored = (make_vec(env_id, 2, seed=1000) for env_id in ("two-room", "rooms.py:TwoRoom"))
    imports.permit(())
    assert isinstance(stored.simulators.task, GoalTask)
    given = [env.reset(seed=1000) for env in (own, stored)]
    rng = np.random.default_rng(0)
    for _ in range(5):
        (obs, info), (other, like) = given
        np.testing.assert_array_equal(obs, other)
        for name in ("goal", "achieved", "success"):
            np.testing.assert_array_equal(info[name], like[name])
        action = rng.uniform(-1, 1, own.action_space.shape)
        given = [(s[0], s[4]) for s in (env.step(action) for env in (own, stored))]
    poses = [stored.reset()[0] for _ in range(3)]  # the streams go on
    assert len({pose.tobytes() for pose in poses}) == 3


@pytest.mark.parametrize(
    "changed",
    [
        {"streams": []},
        {"streams": ["", ""]},
        {"starts": {"qpos": array(np.zeros((1, 2)))}},
        {"starts": {"qpos": array(np.full((1, 2), np.nan)), "qvel": array(np.zeros((1, 2)))}},
        {"starts": {"qpos": ["dots"], "qvel": ["dots"]}},
        {"settings": {"control_dt": 0.02}},
        {"settings": {"control_dt": 0.02, "time_limit": float("inf")}},
        {"settings": {"control_dt": 0.0, "time_limit": 1.0}},
        {"settings": {"control_dt": 0.02, "time_limit": 1.0, "model_fields": "qpos0"}},
    ],
)
def test_a_strangers_starts_and_settings_are_refused_in_a_line(tmp_path, two_room, changed):
    """Before anything is simulated."""
    about = msgspec.msgpack.decode(two_room["task.msgpack"], type=Description)
    rows = {name: array(decode(value)[:1]) for name, value in about.starts.items()}
    few = {"starts": rows, "streams": about.streams[:1], **changed}
    data = msgspec.msgpack.encode(msgspec.structs.replace(about, **few))
    (tmp_path / "task.msgpack").write_bytes(data)
    with pytest.raises(StoredTaskError, match=r"task\.msgpack: .*(its starts|Expected|missing)"):
        stored_task(str(tmp_path), hashlib.sha256(data).hexdigest())


def test_what_a_users_function_raises_is_why_it_cannot_be_stored():
    def reward(self, xp, data):
        return data.qpos[:, 0] if type(data.qpos) is not np.ndarray else {}[1]

    task = variant(TASKS["cartpole-swingup"], reward=reward)
    about = msgspec.msgpack.decode(store(task)["task.msgpack"], type=Description)
    assert about.why == "reward(): KeyError(1)" and about.model and not about.functions


def test_a_trial_takes_no_more_than_it_may_have(monkeypatch, tmp_path):
    given = {}
    monkeypatch.setattr("resource.getrlimit", lambda kind: (10, 10 if kind else -1))
    monkeypatch.setattr("resource.setrlimit", given.__setitem__)
    with pytest.raises(SystemExit):
        trial(str(tmp_path), "")
    assert given == {
        resource.RLIMIT_CPU: (60, 60),
        resource.RLIMIT_AS: (10, 10),
        resource.RLIMIT_CORE: (0, 0),
    }


FIELDS = {"qpos": np.linspace(-1, 1, 12).reshape(4, 3), "xmat": np.arange(72.0).reshape(4, 2, 9)}
FUNCTIONS = {
    "operators": lambda xp, d: abs(d.qpos) ** 2 % 0.3 - 1 / (2 + d.qpos) * (d.qpos > 0),
    "shapes": lambda xp, d: xp.reshape(d.xmat, (*d.qpos.shape[:-1], -1, 3, 3))[..., 1, :, 2],
    "numpy itself": lambda xp, d: np.where(np.linalg.norm(d.qpos, axis=-1) > 1, 2.0, 0.0),
    "methods": lambda xp, d: d.qpos.clip(-0.5, 0.5).sum(axis=-1, keepdims=True),
    "indices": lambda xp, d: xp.stack([d.qpos[:, [2, 0]], d.qpos[:, ::2]], axis=-1)[:, None],
    "of the batch": lambda xp, d: xp.zeros(d.qpos.shape[:-1], bool) | (d.qpos[..., 0] > 0),
    "a product": lambda xp, d: d.qpos @ np.arange(6.0).reshape(3, 2),
    "changed in place": lambda xp, d: _in_place(d.qpos + 0.0),
    "lists": lambda xp, d: xp.array([d.qpos[:, 0], d.qpos[:, 1]]).T,
}


def _in_place(x):
    x += 1.0
    return x


@pytest.mark.parametrize("name", FUNCTIONS)
def test_what_is_recorded_runs_on_any_batch_and_on_jax(name):
    function = FUNCTIONS[name]
    stored = msgspec.msgpack.encode(record(function, FIELDS.__getitem__))
    run = Function(msgspec.msgpack.decode(stored, type=Graph))
    for count in (4, 1):
        some = {key: value[:count] for key, value in FIELDS.items()}

        class Some:
            qpos, xmat = some["qpos"], some["xmat"]

        np.testing.assert_array_equal(run(np, some.__getitem__)[""], function(np, Some))
    one = {key: value[0] for key, value in FIELDS.items()}
    assert np.array_equal(run(np, one.__getitem__)[""], run(np, some.__getitem__)[""][0])
    on_jax = run(jnp, {key: jnp.asarray(value) for key, value in some.items()}.__getitem__)[""]
    np.testing.assert_allclose(on_jax, run(np, some.__getitem__)[""], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (lambda xp, d: d.qpos if d.qpos[0, 0] > 0 else -d.qpos, "branches on one"),
        (lambda xp, d: d.qpos * float(d.qpos[0, 0]), "single numbers"),
        (lambda xp, d: np.vectorize(abs)(d.qpos), "single numbers"),
        (lambda xp, d: np.linalg.inv(d.xmat[..., :4].reshape(-1, 2, 2)), "numpy.linalg.inv"),
        (lambda xp, d: np.add.reduce(d.qpos), "numpy.add.reduce"),
        (lambda xp, d: np.ones(4), "does not depend"),
        (lambda xp, d: d.nothing, "KeyError"),
    ],
)
def test_what_cannot_be_recorded_is_said(function, said):
    with pytest.raises(UnrecordableError, match=said):
        record(function, FIELDS.__getitem__)


@pytest.mark.parametrize(
    "call",
    [
        Call("fromfile", ["/etc/passwd"], {}),
        Call("linalg.__init__", [], {}),
        Call("sum", [["ref", 0]], {"out": ["ref", 0]}),
        Call("zeros", [["tuple", 1 << 16, 1 << 16]], {}),
        Call("zeros", [1 << 60], {}),
        Call("add", [["ref", 9], 1], {}),
        Call("add", [["ref", -1], 1], {}),
        Call("astype", [["ref", 0], ["dtype", "O"]], {}),
        Call("add", [["array", "|O", [1], b"12345678"], 1], {}),
        Call("add", [["ref", 0], ["array", "<f8", [1 << 40], b""]], {}),
        Call("astype", [["ref", 0], "O"], {}),
        Call("sum", [["ref", 0]], {"dtype": "f8"}),
        Call("where", [["ref", 0], "text", b"bytes"], {}),
        Call("add", [["ref", 0], 1, ["ref", 0]], {}),
        Call("max", [["ref", 0], 0, ["ref", 0]], {}),
        Call("nan_to_num", [["ref", 0], False], {}),
        Call("full", [["tuple", ["size"]], ["dots"]], {}),
        Call("zeros", [["ref", 0]], {}),
        Call("zeros", [["tuple", ["size"], ["size"]]], {}),
        Call("broadcast_to", [["ref", 0], ["tuple", ["size"], ["ref", 0]]], {}),
        Call("reshape", [["ref", 0], ["tuple", ["array", "<i8", [], b"12345678"], 1]], {}),
    ],
)
def test_a_strangers_function_calls_nothing_else(call):
    with pytest.raises((ValueError, TypeError)):
        Function(Graph([("qpos", [3])], [call], [("", 1)]))(np, FIELDS.__getitem__)


@pytest.mark.parametrize("name", ["_bind", "qpos.base", "bind"])
def test_a_strangers_function_reads_nothing_but_arrays(name):
    fields = {"qpos": FIELDS["qpos"], "_bind": FIELDS["qpos"], "bind": print}
    with pytest.raises(ValueError, match=r"no field|no array"):
        graph = Graph([("qpos", [3]), (name, [3])], [], [("", 0)])
        Function(graph)(np, fields.__getitem__)


def test_a_strangers_function_does_not_grow_without_end():
    """Each call doubles, or multiplies, what the one before gave."""
    double = [
        Call("concatenate", [["tuple", ["ref", i], ["ref", i]]], {"axis": 1}) for i in range(40)
    ]
    outer = [
        Call("reshape", [["ref", 0], ["tuple", -1, 1]], {}),
        Call("zeros", [["tuple", 1, 1 << 24]], {}),
        Call("add", [["ref", 1], ["ref", 2]], {}),
    ]
    for calls in (double, outer):
        with pytest.raises(ValueError, match="more than"):
            Function(Graph([("qpos", [3])], calls, [("", 1)]))(np, FIELDS.__getitem__)
    chosen = [  # more of the second batch than of the first, of the same size
        Call("greater", [["ref", 0], 0], {}),
        Call("getitem", [["ref", 0], ["ref", 1]], {}),
        Call("reshape", [["ref", 2], ["tuple", -1, 1]], {}),
        Call("add", [["ref", 2], ["ref", 3]], {}),
    ]
    run = Function(Graph([("qpos", [3])], chosen, [("", 0)]))
    run(np, {"qpos": np.zeros((2000, 3))}.__getitem__)
    with pytest.raises(ValueError, match="more than"):
        run(np, {"qpos": np.ones((2000, 3))}.__getitem__)
