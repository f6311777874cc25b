"""From a robot's model file to a task that can be trained on."""

import ast
import json
from pathlib import Path

import numpy as np
import pytest

from agents.robots.check import check_task
from agents.robots.config import CheckConfig, NewConfig
from agents.robots.new import write_task
from envs import imports
from envs.registry import make_vec
from envs.tasks.model_file import ModelError
from scripts import cli
from tests.envs.tasks.robots import ARM, WALKER

URDF = """<robot name="r"><link name="base"/>
  <link name="l"><inertial><mass value="1"/>
  <inertia ixx="1" iyy="1" izz="1" ixy="0" ixz="0" iyz="0"/></inertial></link>
  <joint name="j" type="revolute"><parent link="base"/><child link="l"/>
  <origin xyz="0 0 0.3"/><axis xyz="0 1 0"/>
  <limit lower="-1" upper="1" effort="5" velocity="1"/></joint></robot>"""


def written(folder, model, **settings):
    """The id of the task that `new` writes for a model's text, typed by the user."""
    (folder / "robot.xml").write_text(model)
    config = NewConfig(str(folder / "my.py"), str(folder / "robot.xml"), **settings)
    result = write_task(config)
    env_id = imports.absolute(result["task"])
    imports.permit(imports.modules_of(env_id))
    return env_id, result


@pytest.mark.parametrize(
    ("model", "kind", "expected"),
    [
        (ARM, "", "Reach"),
        (ARM, "hold", "Hold"),
        (WALKER, "", "Walk"),
        (WALKER, "hold", "Hold"),
        (URDF, "", "Reach"),
    ],
)
def test_a_task_is_written_that_runs(tmp_path, model, kind, expected):
    env_id, result = written(tmp_path, model, task=kind)
    assert env_id.endswith(f":{expected}")
    text = (tmp_path / "my.py").read_text()
    assert result["lines"] == len(text.splitlines()) <= 60
    assert max(map(len, text.splitlines()[1:])) <= 100
    ast.parse(text)
    env = make_vec(env_id, 2, seed=0)
    env.reset(seed=0)
    _, reward, _, _, info = env.step(env.action_space.sample())
    assert ((reward >= 0) & ~info["invalid"]).all()
    env.close()


def test_a_model_is_found_in_an_installed_package_without_importing_it(tmp_path, monkeypatch):
    package = tmp_path / "robots" / "someones_arm"
    (package / "assets").mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('imported')")
    (package / "assets" / "arm.xml").write_text(ARM)
    monkeypatch.syspath_prepend(str(package.parent))
    file = str(tmp_path / "my.py")
    result = write_task(NewConfig(file, "someones_arm:assets/arm.xml"))
    env_id = imports.absolute(result["task"])
    imports.permit(imports.modules_of(env_id))
    env = make_vec(env_id, 1)
    assert env.env_spec.action_dim == result["actuators"]
    env.close()
    with pytest.raises(ModelError, match="no package 'nobodys' is installed"):
        write_task(NewConfig(file, "nobodys:arm.xml", overwrite=True))


def test_a_file_that_is_there_is_kept(tmp_path):
    written(tmp_path, ARM)
    (tmp_path / "my.py").write_text("mine")
    with pytest.raises(ValueError, match="exists"):
        written(tmp_path, ARM)
    assert (tmp_path / "my.py").read_text() == "mine"


def test_an_arm_cannot_walk(tmp_path):
    with pytest.raises(ModelError, match="no free joint"):
        written(tmp_path, ARM, task="walk")


def test_check_finds_nothing_wrong_with_an_arm(tmp_path):
    env_id, _ = written(tmp_path, ARM)
    stages = []
    result = check_task(CheckConfig(env_id, steps=1600), lambda *told: stages.append(told))
    assert [f for f in result["findings"] if f["level"] == "stop"] == []
    assert result["reward_plan"] > result["reward_random"]
    assert {stage for stage, _, _ in stages} >= {"at rest", "random actions", "reward: plan"}
    json.dumps(result)


def test_check_says_what_is_unstable_and_unreachable(tmp_path, capsys):
    heavy = ARM.replace('timestep="0.005"', 'timestep="0.04"').replace('kp="40"', 'kp="90000"')
    env_id, _ = written(tmp_path, heavy, task="hold")
    code = cli.main(["check", env_id, "--steps", "300", "--json"])
    found = json.loads(capsys.readouterr().out)["findings"]
    assert any("unstable" in f["what"] and "timestep" in f["do"] for f in found)
    assert code == 4


def test_targets_are_where_the_start_puts_them(tmp_path):
    """A site compiled at its body's origin has a place of its own as soon as it is moved."""
    env_id, _ = written(tmp_path, ARM)
    env = make_vec(env_id, 4, seed=0)
    obs, _ = env.reset(seed=0)
    sims = env.simulators
    tool, target = sims.task.tool, sims.task.target
    places = np.array(sims.data.site_xpos)
    np.testing.assert_allclose(
        places[:, target], np.array(sims.model_fields["site_pos"])[:, target]
    )
    assert len(np.unique(places[:, target].round(6), axis=0)) == 4
    seen = places[:, target] - places[:, tool]
    np.testing.assert_allclose(np.cross(obs[:, -3:], seen), 0, atol=1e-6)
    env.close()


def test_an_arm_is_at_rest_where_its_episode_begins(tmp_path):
    """The servos' targets begin at the joints; an action moves them as far as its speed says."""
    env_id, _ = written(tmp_path, ARM)
    env = make_vec(env_id, 2, action_repeat=1, seed=0)
    env.reset(seed=0)
    sims = env.simulators
    begun, still = sims.data.qpos.copy(), np.zeros((2, env.env_spec.action_dim))
    np.testing.assert_allclose(sims.data.act, begun)
    for _ in range(10):
        env.step(still)
    np.testing.assert_allclose(sims.data.act, begun)
    ranges = np.diff(sims.task.model.actuator_actrange)[:, 0]
    env.step(still - 0.5)
    moved = 0.5 * ranges / 2.0 * env.env_spec.control_dt
    low = sims.task.model.actuator_actrange[:, 0]
    np.testing.assert_allclose(sims.data.act, np.maximum(begun - moved, low), atol=1e-9)
    env.close()


def test_servos_that_move_keep_the_ranges_of_their_joints(tmp_path):
    """In degrees, inherited, and with a gear."""
    text = ARM.replace('<compiler angle="radian"/>', "").replace(
        '0" range="-2 2"', '0" range="-90 90"'
    )
    text = text.replace('kp="40" ctrlrange="-2 2"', 'kp="40" inheritrange="1"')
    text = text.replace('kp="20" ctrlrange="-2 2"', 'kp="20" gear="5" ctrlrange="-7 7"')
    env_id, _ = written(tmp_path, text)
    env = make_vec(env_id, 1, seed=0)
    env.reset(seed=0)
    sims = env.simulators
    half = np.pi / 2
    np.testing.assert_allclose(sims.task.model.actuator_actrange, [[-half, half], [-7, 7]])
    np.testing.assert_allclose(sims.task.model.actuator_ctrlrange, [[-half, half], [-7, 7]])
    np.testing.assert_allclose(sims.data.act[0], sims.data.qpos[0] * [1, 5])
    env.close()


def test_names_in_a_strangers_model_are_text_in_the_file(tmp_path):
    """Neither the name of the model's file nor one in it becomes code."""
    name = 'a"; x = 1; y = "b'
    text = ARM.replace('name="gripper"', "name='grip" + name + "'")
    strange = tmp_path / 'r""" + str(1) + """.xml'
    strange.write_text(text)
    write_task(NewConfig(str(tmp_path / "my.py"), str(strange)))
    tree = ast.parse((tmp_path / "my.py").read_text())
    (made,) = (node for node in tree.body if isinstance(node, ast.ClassDef))
    assert isinstance(tree.body[0], ast.Expr) and isinstance(tree.body[0].value, ast.Constant)
    named = {node.value for node in ast.walk(made) if isinstance(node, ast.Constant)}
    assert {strange.name, "grip" + name} <= named


@pytest.mark.parametrize(
    ("env_id", "code", "told"),
    [
        ("GlobalRandom-v0", 0, ["equal seeds and actions give different", "state cannot be saved"]),
        ("Endless-v0", 4, ["no time limit", "cannot render", "check_env: The environment creator"]),
        ("Huge-v0", 4, ["obs[1] is too large for float32"]),
    ],
)
def test_check_tries_a_gymnasium_environment(monkeypatch, capsys, env_id, code, told):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "envs"))
    words = ["check", f"toys:{env_id}", "--steps", "60", "--json"]
    assert cli.main(words) == code
    result = json.loads(capsys.readouterr().out)
    found = " | ".join(finding["what"] for finding in result["findings"])
    assert all(text in found for text in told), found
    assert all(finding["do"] for finding in result["findings"])
    assert result["steps_per_second"] > 0 and result["decision_ms"] == 40
