"""`FILE.py:CLASS`: a user's own task, with all that a built-in one has."""

import numpy as np
import pytest

from envs import imports
from envs.registry import list_tasks, make_spec, make_vec, resolve
from envs.spec import EnvError, UnknownTaskError
from tests.envs.tasks.robots import ARM

TASK = """
from envs.tasks import Task
from envs.tasks.helpers import norm, tolerance


class Up(Task):
    model_file = "arm.xml"
    control_dt, time_limit = 0.02, 1.0

    def observe(self, xp, data):
        return {"angles": self.joint_angles(xp, data), "rates": data.qvel}

    def reward(self, xp, data):
        return tolerance(xp, norm(xp, data.qpos), (0.0, 0.1), margin=1.0)

    def start(self, rng):
        return self.at_rest(self.random_pose(rng, 0.5))
"""


@pytest.fixture
def arm(tmp_path):
    """The id of a task whose file lies beside its model, as if it had been typed."""
    (tmp_path / "arm.xml").write_text(ARM)
    (tmp_path / "my_arm.py").write_text(TASK)
    env_id = imports.absolute(f"{tmp_path}/my_arm.py:Up")
    imports.permit(imports.modules_of(env_id))
    yield env_id
    imports.permit(())


def test_sizes_names_and_times_are_worked_out(arm):
    spec = make_spec(arm)
    assert resolve(arm) == ("native", arm)
    assert spec.obs_names == (("angles", 2), ("rates", 2))
    assert (spec.obs_dim, spec.action_dim, spec.backend) == (4, 2, "native")
    assert (spec.control_dt, spec.episode_frames) == (0.02, 50)


def test_it_is_simulated_as_mujoco_does(arm):
    import mujoco

    env = make_vec(arm, 3, seed=0)
    env.reset(seed=0)
    model = env.simulators.task.model
    data = mujoco.MjData(model)
    data.qpos[:] = env.simulators.data.qpos[1]
    mujoco.mj_forward(model, data)
    actions = np.random.default_rng(0).uniform(-1, 1, (5, 3, 2))
    for action in actions:
        obs, reward, *_ = env.step(action)
        data.ctrl[:] = 2 * action[1]
        mujoco.mj_step(model, data, 4 * env.env_spec.action_repeat)
        mujoco.mj_forward(model, data)
        np.testing.assert_array_equal(obs[1], np.concatenate([data.qpos, data.qvel]))
    assert (reward > 0).all()
    env.close()


def test_its_state_is_saved_and_its_world_shifted(arm):
    env = make_vec(arm, 2, seed=1, shift="mass=1.5")
    env.reset(seed=1)
    state = env.get_state()
    first = env.step(np.full((2, 2), 0.3))[0]
    env.set_state(state)
    np.testing.assert_array_equal(env.step(np.full((2, 2), 0.3))[0], first)
    usual = make_vec(arm, 2, seed=1)
    usual.reset(seed=1)
    assert (usual.step(np.full((2, 2), 0.3))[0] != first).any()


def test_a_file_that_was_not_typed_is_not_run(arm, tmp_path):
    imports.permit(())
    (tmp_path / "other.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n" + TASK)
    with pytest.raises(UnknownTaskError, match="was not typed"):
        make_spec(f"{tmp_path}/other.py:Up")
    assert not (tmp_path / "ran").exists()


def test_what_is_wrong_in_the_file_is_said_with_its_line(arm, tmp_path):
    (tmp_path / "bad.py").write_text("import envs\n\nnothing_of_this_name\n")
    env_id = f"{tmp_path}/bad.py:Up"
    imports.permit(imports.modules_of(env_id))
    with pytest.raises(UnknownTaskError, match="line 3: NameError"):
        make_spec(env_id)


def test_a_class_that_is_not_there_is_said_with_those_that_are(arm):
    with pytest.raises(UnknownTaskError, match="its tasks are Up"):
        make_spec(arm.replace(":Up", ":Down"))


def test_packages_offer_tasks_by_name(arm, monkeypatch):
    from envs import registry, tasks

    class Offer:
        name = "users-arm"

        def load(self):
            return tasks.native_task(arm)

    for module in (registry, tasks):
        monkeypatch.setattr(module, "offered", lambda: {"users-arm": Offer()})
    assert make_spec("users-arm").action_dim == 2
    assert "users-arm" in [task.env_id for task in list_tasks()]


MISTAKES = {
    "no such joint": ("self.joint_angles(xp, data)", "data.qpos[..., self.gone]", "line 11: Attr"),
    "a reward a joint": ("norm(xp, data.qpos)", "data.qpos", "reward() gives an array of shape"),
    "too short a start": ("self.random_pose(rng, 0.5)", "rng.uniform(size=1)", "qpos of shape"),
    "a frame of no whole steps": ("0.02, 1.0", "0.017, 1.0", "no multiple"),
    "nothing to divide by": ('"rates": data.qvel', '"rates": data.qvel / 0 * 0', "finite"),
    "no such file": ("arm.xml", "leg.xml", "no such file"),
}


@pytest.mark.filterwarnings("ignore:invalid value")
@pytest.mark.parametrize("case", MISTAKES)
def test_mistakes_in_a_task_are_told_in_one_line(arm, tmp_path, case):
    old, new, said = MISTAKES[case]
    (tmp_path / "bad.py").write_text(TASK.replace(old, new))
    env_id = f"{tmp_path}/bad.py:Up"
    imports.permit(imports.modules_of(env_id))
    with pytest.raises(EnvError) as caught:
        make_spec(env_id)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code in (2, 4)
