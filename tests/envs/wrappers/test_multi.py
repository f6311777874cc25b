"""Simulators of several tasks behind one contract: what is padded, seeded, saved and refused."""

import numpy as np
import pytest

from envs.registry import make_spec, make_vec
from envs.spec import EnvSpec, UnknownTaskError
from envs.task_list import TaskListError, multi_id, shown_tasks, task_names, view_id
from envs.wrappers.multi import num_tasks

TASKS = ("cartpole-swingup", "pendulum-swingup", "reacher-easy")
ID = multi_id(",".join(TASKS))
SIZES = {"cartpole-swingup": (5, 1), "pendulum-swingup": (3, 1), "reacher-easy": (6, 2)}
O, A = 6, 2  # noqa: E741


def actions(rng, count):
    return rng.uniform(-1, 1, (count, A))


def test_the_spec_joins_those_of_the_tasks_and_survives_json():
    spec = make_spec(ID)
    assert spec.obs_names == (("obs", O), ("task", 3), ("action_mask", A), ("rate", 1))
    assert (spec.obs_dim, spec.action_dim) == (O + 3 + A + 1, A)
    assert spec.action_repeat == 2
    assert spec.episode_steps == max(make_spec(task).episode_steps for task in TASKS)
    assert num_tasks(spec) == 3
    assert num_tasks(make_spec(TASKS[0])) == 0
    assert EnvSpec.from_json(spec.to_json()) == spec
    assert spec.difference(make_spec(view_id(ID, TASKS[1]))) == []


def test_every_task_goes_on_as_it_does_alone():
    rng = np.random.default_rng(0)
    env = make_vec(ID, 6)
    alone = [make_vec(task, 2) for task in TASKS]
    obs, info = env.reset(seed=7)
    own = [single.reset(seed=7)[0] for single in alone]
    assert info["is_reset"].shape == (6,)
    for step in range(4):
        for k, task in enumerate(TASKS):
            size, acts = SIZES[task]
            rows = obs[2 * k : 2 * k + 2]
            np.testing.assert_array_equal(rows[:, :size], own[k])
            assert (rows[:, size:O] == 0).all()
            np.testing.assert_array_equal(rows[:, O : O + 3], [np.eye(3)[k]] * 2)
            np.testing.assert_array_equal(rows[:, O + 3 : O + 5], [np.arange(A) < acts] * 2)
            np.testing.assert_allclose(rows[:, -1], 1 / alone[k].env_spec.episode_steps)
        given = actions(rng, 6)
        obs, reward, terminated, truncated, info = env.step(given)
        for k, task in enumerate(TASKS):
            part = alone[k].step(given[2 * k : 2 * k + 2, : SIZES[task][1]])
            own[k] = part[0]
            np.testing.assert_array_equal(reward[2 * k : 2 * k + 2], part[1])
        assert not (terminated | truncated | info["is_reset"] | info["invalid"]).any(), step


def test_actions_beyond_a_tasks_own_change_nothing():
    results = []
    for second in (-1.0, 1.0):
        env = make_vec(ID, 3)
        env.reset(seed=0)
        results.append(env.step(np.array([[0.5, second]] * 3))[0])
    np.testing.assert_array_equal(results[0][:2], results[1][:2])
    assert (results[0][2] != results[1][2]).any()  # the reacher has two


def test_a_view_is_one_task_as_the_model_sees_it():
    env = make_vec(view_id(ID, "reacher-easy"), 2)
    assert env.env_spec.obs_dim == make_spec(ID).obs_dim
    obs, _ = env.reset(seed=3)
    np.testing.assert_array_equal(obs[:, :6], make_vec("reacher-easy", 2).reset(seed=3)[0])
    np.testing.assert_array_equal(obs[:, O : O + 3], [[0, 0, 1]] * 2)


def test_state_goes_back_bit_for_bit_and_simulators_reset_alone():
    rng = np.random.default_rng(1)
    env = make_vec(ID, 6, action_repeat=100)  # episodes of ten decisions
    env.reset(seed=1)
    for _ in range(7):
        env.step(actions(rng, 6))
    state, plan = env.get_state(), [actions(rng, 6) for _ in range(6)]
    then = [env.step(a) for a in plan]  # over the end of the episodes
    other = make_vec(ID, 6, action_repeat=100)
    other.set_state(state)
    for given, expected in zip(plan, then, strict=True):
        found = other.step(given)
        for a, b in zip(found[:4], expected[:4], strict=True):
            np.testing.assert_array_equal(a, b)
        np.testing.assert_array_equal(found[4]["is_reset"], expected[4]["is_reset"])
    assert any(outcome[3].any() for outcome in then)
    before = env.step(plan[0])[0]
    mask = np.array([0, 0, 0, 1, 0, 0], bool)
    after, info = env.reset(options={"reset_mask": mask})
    np.testing.assert_array_equal((after != before).any(1), mask)
    np.testing.assert_array_equal(info["is_reset"], mask)


def test_shifts_and_lists_of_seeds_reach_the_simulators():
    env = make_vec(ID, 3, shift=["mass=1", "mass=2", "mass=1"])
    plain = make_vec(ID, 3)
    starts = [e.reset(seed=[5, 6, 7])[0] for e in (env, plain)]
    np.testing.assert_array_equal(*starts)
    np.testing.assert_array_equal(
        starts[0][1, :3], make_vec("pendulum-swingup", 1).reset(seed=6)[0][0]
    )
    moved = [e.step(np.full((3, A), 0.7))[0] for e in (env, plain)]
    np.testing.assert_array_equal((moved[0] != moved[1]).any(1), [False, True, False])


@pytest.mark.parametrize("text", ["a", "a,", "a,,b", "", "a,a", "a, a", "multi:a,b", "a,b@a"])
def test_lists_that_are_none_are_told_so(text):
    with pytest.raises(TaskListError) as caught:
        multi_id(text)
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)


def test_ids_of_lists():
    assert task_names("cartpole-swingup") == ()
    assert multi_id(" a, b") == "multi:a,b"
    assert task_names("multi:a,b@b") == ("a", "b")
    assert shown_tasks("multi:a,b@b") == ("b",)
    assert shown_tasks(view_id("multi:a,b@b", "a")) == ("a",)
    with pytest.raises(TaskListError, match="'c' is not among the tasks a, b"):
        shown_tasks("multi:a,b@c")


def test_what_cannot_be_learned_together_is_refused():
    with pytest.raises(UnknownTaskError, match="did you mean pendulum-swingup"):
        make_spec("multi:cartpole-swingup,pendulum-swingupp")
    with pytest.raises(
        TaskListError, match=r"2 on cartpole-swingup, 1 on Pendulum-v1.*--action-re"
    ):
        make_spec("multi:cartpole-swingup,Pendulum-v1")
    assert make_spec("multi:cartpole-swingup,Pendulum-v1", 2).action_repeat == 2
    with pytest.raises(TaskListError, match=r"4 simulators cannot be shared.*--num-envs 6"):
        make_vec(ID, 4)
