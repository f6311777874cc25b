"""Tasks with goals: starts, goals, success, what a goal looks like, behaviours for data."""

import numpy as np
import pytest

from envs.native.env import make_native
from envs.spec import EnvError
from envs.tasks import TASKS, GoalTask
from envs.tasks.engine import suite_model

GOALS = sorted(name for name, task in TASKS.items() if issubclass(task, GoalTask))


def run_scripted(env, to_goal, steps, seed=0):
    """Success [T, E] and observations [T, E, O] of the scripted behaviour."""
    task, data = env.simulators.task, env.simulators.data
    rngs = [np.random.default_rng((seed, i)) for i in range(env.num_envs)]
    memory = [None] * env.num_envs
    success, seen = [], []
    for _ in range(steps):
        actions = np.zeros((env.num_envs, env.env_spec.action_dim))
        for i, rng in enumerate(rngs):
            goal = data.userdata[i].copy() if to_goal else None
            pose = data.qpos[i].copy(), data.qvel[i].copy()
            actions[i], memory[i] = task.scripted(rng, *pose, goal, memory[i])
        assert np.abs(actions).max() <= 1
        obs, _, _, _, info = env.step(actions)
        success.append(info["success"])
        seen.append(obs)
    return np.array(success), np.array(seen)


@pytest.mark.parametrize("env_id", GOALS)
def test_goals_are_what_starts_are_not(env_id):
    env = make_native(env_id, 100, seed=0)
    task = env.simulators.task
    assert isinstance(task, GoalTask) and task.model.nuserdata == task.model.nq
    obs, info = env.reset()
    assert info["achieved"].shape == info["goal"].shape == (100, len(task.achieved_names))
    assert not info["success"].any()
    view = env.goal_view()
    assert view.obs.shape == obs.shape and view.pictures is None
    np.testing.assert_array_equal(view.achieved, info["goal"])
    assert task.success(np, view.achieved, info["goal"]).all()
    qpos = env.simulators.data.userdata.copy()
    obs, info = env.begin(qpos, qpos)
    assert info["success"].all() and info["is_reset"].all()
    np.testing.assert_array_equal(obs, view.obs)
    _, reward, *_, info = env.step(np.zeros((100, env.env_spec.action_dim)))
    np.testing.assert_array_equal(reward == 2, info["success"])
    assert reward.mean() > 1.9, "at rest at the goal it stays"


@pytest.mark.parametrize("env_id", GOALS)
def test_looking_at_goals_disturbs_nothing(env_id):
    env, plain = (make_native(env_id, 2, seed=3) for _ in range(2))
    env.reset()
    plain.reset()
    rng = np.random.default_rng(0)
    for _ in range(5):
        env.goal_view()
        action = rng.uniform(-1, 1, (2, env.env_spec.action_dim))
        left, right = env.step(action), plain.step(action)
        np.testing.assert_array_equal(left[0], right[0])
        np.testing.assert_array_equal(left[-1]["goal"], right[-1]["goal"])


@pytest.mark.parametrize("env_id", GOALS)
def test_goals_are_saved_and_seeded(env_id):
    env, again = (make_native(env_id, 3) for _ in range(2))
    obs, info = env.reset(seed=5)
    state = env.get_state()
    other, _ = again.reset(seed=6)
    assert not np.array_equal(obs, other)
    again.set_state(state)
    actions = np.random.default_rng(0).uniform(-1, 1, (20, 3, env.env_spec.action_dim))
    for action in actions:
        left, right = env.step(action), again.step(action)
        np.testing.assert_array_equal(left[0], right[0])
        np.testing.assert_array_equal(left[-1]["goal"], info["goal"])
        np.testing.assert_array_equal(right[-1]["goal"], info["goal"])
    np.testing.assert_array_equal(again.reset(seed=5)[0], obs)


def test_half_of_the_goals_at_least_are_in_the_other_room():
    info = make_native("two-room", 400).reset(seed=0)[1]
    crossing = (info["achieved"][:, 0] * info["goal"][:, 0] < 0).mean()
    assert 0.5 <= crossing <= 0.9
    assert np.linalg.norm(info["achieved"] - info["goal"], axis=1).min() > 0.4


def test_success_radius_of_two_room():
    task = make_native("two-room", 1).simulators.task
    radius = 16 / 224 * task.model.cam_fovy[0]
    inside = task.success(np, np.array([[radius * 0.999, 0.0], [0.0, radius * 1.001]]), np.zeros(2))
    np.testing.assert_array_equal(inside, [True, False])


def test_walls_stop_the_point():
    env = make_native("two-room", 2)
    env.reset(seed=0)
    start = np.array([[-0.3, -0.5], [-0.3, 0.35]])  # before the wall, before the door
    env.begin(start, start)
    for _ in range(30):
        obs, *_ = env.step(np.tile([1.0, 0.0], (2, 1)))
    assert -0.14 < obs[0, 0] < -0.12 and abs(obs[0, 2]) < 1e-3
    assert obs[1, 0] > 0.8


def test_reacher_moves_as_dm_controls():
    import mujoco

    env = make_native("reacher-goal", 1, action_repeat=1, seed=0)
    env.reset()
    model = suite_model("reacher")
    data = mujoco.MjData(model)
    data.qpos[:], data.qvel[:] = env.simulators.data.qpos[0], env.simulators.data.qvel[0]
    for action in np.random.default_rng(0).uniform(-1, 1, (50, 2)):
        env.step(action[None])
        data.ctrl[:] = action
        mujoco.mj_step(model, data, 2)
        np.testing.assert_array_equal(env.simulators.data.qpos[0], data.qpos)


def test_shoulder_angles_count_by_the_shorter_way():
    task = make_native("reacher-goal", 1).simulators.task
    here = np.array([[3.12, 0.0], [4 * np.pi + 0.04, 0.0], [0.06, 0.0], [0.0, 0.051]])
    there = np.array([[-3.13, 0.0], [0.0, 0.049], [0.0, 0.0], [0.0, 0.0]])
    np.testing.assert_array_equal(task.success(np, here, there), [True, True, False, False])


@pytest.mark.parametrize(
    ("env_id", "share"),
    [("two-room", 0.95), ("point-maze", 0.95), ("reacher-goal", 0.95), ("push-t", 0.7)],
)
def test_the_script_reaches_goals_and_chance_does_not(env_id, share):
    env = make_native(env_id, 24, seed=1)
    env.reset()
    steps = env.env_spec.episode_steps - 1
    success, _ = run_scripted(env, True, steps)
    assert success.any(axis=0).mean() >= share
    env.reset()
    rng, floor = np.random.default_rng(0), np.zeros(24, bool)
    for _ in range(steps):
        floor |= env.step(rng.uniform(-1, 1, (24, env.env_spec.action_dim)))[-1]["success"]
    assert floor.mean() <= 0.1


@pytest.mark.parametrize(
    ("env_id", "low", "high", "share"),
    [
        ("two-room", [-0.86, -0.86], [0.86, 0.86], 1.0),
        ("point-maze", [-0.75, -0.75], [0.75, 0.75], 25 / 36),  # the free cells
        ("reacher-goal", [-np.pi, -2.79], [np.pi, 2.79], 0.9),
    ],
)
def test_the_script_without_a_goal_covers_the_world(env_id, low, high, share):
    env = make_native(env_id, 24, seed=1)
    env.reset()
    seen = run_scripted(env, False, env.env_spec.episode_steps - 1)[1]
    visited = seen[..., :2]
    if env_id == "reacher-goal":
        visited = np.arctan2(seen[..., 2:4], seen[..., :2])
    counts, *_ = np.histogramdd(visited.reshape(-1, 2), 6, list(zip(low, high, strict=True)))
    assert (counts > 0).mean() >= share - 1e-9


def test_the_script_without_a_goal_moves_and_turns_the_block():
    env = make_native("push-t", 12, seed=1)
    before = env.reset()[1]["achieved"]
    run_scripted(env, False, 100)
    moved = np.abs(env.simulators.data.qpos[:, 2:] - before)
    assert (np.hypot(moved[:, 0], moved[:, 1]) > 0.03).mean() > 0.8
    assert (moved[:, 2] > 0.3).mean() > 0.6


def test_layout_of_the_maze_is_what_the_physics_has():
    env = make_native("point-maze", 200, seed=0)
    _, info = env.reset()
    assert env.simulators.batch.bind("ncon").max() == 0, "no start touches a wall"
    task = env.simulators.task
    for start, goal in zip(info["achieved"], info["goal"], strict=True):
        assert task.path_cells(start, goal) >= 4


def test_push_t_counts_places_and_turns():
    task = make_native("push-t", 1).simulators.task
    near, far = 19.9 / 512, 20.1 / 512
    achieved = np.array(
        [[near, 0, np.radians(19.9)], [far, 0, 0], [0, 0, np.radians(20.1)], [0, 0, 2 * np.pi]]
    )
    np.testing.assert_array_equal(
        task.success(np, achieved, np.zeros(3)), [True, False, False, True]
    )


@pytest.mark.parametrize("env_id", GOALS)
def test_what_goals_leave_open_is_all_that_is_redrawn(env_id):
    """The same goal is achieved; only push-t's pusher moves, clear of the block."""
    task, rng = make_native(env_id, 1).simulators.task, np.random.default_rng(0)
    for _ in range(50):
        qpos = task.free_start(rng).qpos
        again = task.redraw_open(rng, qpos.copy())
        moved = np.abs(again - qpos) > 1e-9
        assert not moved[2:].any() and moved.any() == (env_id == "push-t")
        if env_id == "push-t":
            assert np.abs(again[:2]).max() < 0.5 and np.linalg.norm(again[:2] - again[2:4]) > 0.1


def test_the_block_moves_only_when_pushed():
    env = make_native("push-t", 2, seed=0)
    env.reset()
    pose = np.array([[-0.3, 0.0, 0.0, 0.0, 0.0], [-0.3, -0.4, 0.0, 0.0, 0.0]])
    env.begin(pose, pose)
    for _ in range(12):
        obs, *_ = env.step(np.tile([1.0, 0.0], (2, 1)))
    assert obs[0, 2] > 0.05 and abs(obs[0, 3]) < 0.1
    np.testing.assert_allclose(obs[1, 2:4], 0.0, atol=1e-9)
    for _ in range(3):
        obs, *_ = env.step(np.zeros((2, 2)))
    assert np.abs(obs[:, 6:]).max() < 0.02, "friction stops it"


def test_tasks_without_goals_say_so():
    env = make_native("cheetah-run", 2, seed=0)
    _, info = env.reset()
    assert "achieved" not in info
    with pytest.raises(EnvError, match="has no goals"):
        env.goal_view(np.zeros((2, 9)))
    with pytest.raises(EnvError, match="has no goals"):
        env.begin(np.zeros((2, 9)), np.zeros((2, 9)))


def test_bad_goals_are_named():
    env = make_native("two-room", 2, seed=0)
    with pytest.raises(EnvError, match=r"goal_view\(\) before reset"):
        env.goal_view()
    with pytest.raises(
        EnvError, match=r"goal has shape \(2, 3\); expected finite numbers \[K, 2\]"
    ):
        env.goal_view(np.zeros((2, 3)))
    with pytest.raises(EnvError, match=r"qpos has shape \(3, 2\).*\[2, 2\]"):
        env.begin(np.zeros((3, 2)), np.zeros((2, 2)))
    with pytest.raises(EnvError, match="finite"):
        env.goal_view(np.full((2, 2), np.nan))
