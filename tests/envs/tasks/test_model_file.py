"""A user's own model file: simulated, or refused in one line that names it and says what to do."""

import pytest

from envs.tasks.model_file import ModelError, compile_file
from tests.envs.tasks.robots import ARM

URDF = """<robot name="r"><link name="base"/><link name="l"/>
  <joint name="j" type="revolute"><parent link="base"/><child link="l"/><axis xyz="0 1 0"/>
  <limit lower="-1" upper="1" effort="5" velocity="1"/></joint></robot>"""
WORLD, GRIPPER = "<worldbody>", '<site name="gripper"'
COPIES = '<replicate count="{}">{}</replicate>'
MESH = '<asset><mesh name="m" file="gone.stl"/></asset>'
BROKEN = {
    "missing mesh": (ARM.replace(WORLD, MESH + WORLD, 1), "gone.stl"),
    "no actuators": (ARM[: ARM.index("<actuator>")] + "</mujoco>", "no actuators"),
    "inertia that is none": (
        ARM.replace(
            '<site name="gripper"',
            '<inertial mass="1" pos="0 0 0" diaginertia="nan 1 1"/><site name="gripper"',
        ),
        "robot.xml",
    ),
    "negative mass": (ARM.replace('mass="0.5"', 'mass="-1"'), "mass"),
    "includes itself": (
        ARM.replace(WORLD, '<include file="robot.xml"/>' + WORLD, 1),
        "includes",
    ),
    "a missing include": (
        ARM.replace(WORLD, '<include file="x.xml"/>' + WORLD, 1),
        "x.xml",
    ),
    "copies without end": (
        ARM.replace(WORLD, WORLD + COPIES.format(10**9, "<body/>"), 1),
        "replicate",
    ),
    "nested copies": (
        ARM.replace(
            WORLD,
            WORLD + COPIES.format(999, COPIES.format(999, "<body/>")),
            1,
        ),
        "replicate",
    ),
    "an actuator without a range": (
        ARM.replace(' kp="20" ctrlrange="-2 2"', ' kp="20"'),
        "ctrlrange",
    ),
    "two joints of one name": (ARM.replace('name="elbow"', 'name="shoulder"', 1), "name"),
    "an actuator of no joint": (ARM.replace('joint="elbow"', 'joint="wrist"'), "wrist"),
    "a range upside down": (
        ARM.replace('range="-2 2" damping', 'range="2 -2" damping', 1),
        "range",
    ),
    "a word that is none": (ARM.replace(WORLD, "<worlbody>", 1), "robot.xml"),
    "no XML": ("hello", "robot.xml"),
    "an empty file": ("", "robot.xml"),
    "a moving body without mass": (ARM.replace(' mass="0.5"', ' mass="0"'), "mass"),
    "a timestep of zero": (ARM.replace('timestep="0.005"', 'timestep="0"'), "timestep"),
    "a timestep that is none": (ARM.replace('timestep="0.005"', 'timestep="nan"'), "robot.xml"),
    "a number that is too large": (ARM.replace('pos="0 0 0.3"', 'pos="0 0 1e999"'), "robot.xml"),
    "a URDF without inertia": (URDF, "robot.xml"),
    "a file of another kind": ("\x00\x01PK", "robot.xml"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_model_is_refused_in_a_line_that_names_it(tmp_path, case):
    text, said = BROKEN[case]
    path = tmp_path / "robot.xml"
    path.write_text(text)
    with pytest.raises(ModelError) as caught:
        compile_file(path)
    line = str(caught.value)
    assert said in line, line
    assert "robot.xml" in line, line
    assert "\n" not in line and len(line) < 500
    assert caught.value.exit_code == 2


def test_what_a_file_includes_is_found_beside_it(tmp_path):
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "arm.xml").write_text(ARM)
    (tmp_path / "robot.xml").write_text('<mujoco><include file="parts/arm.xml"/></mujoco>')
    assert compile_file(tmp_path / "robot.xml").nu == 2


def test_a_file_that_is_not_there_is_said(tmp_path):
    with pytest.raises(ModelError, match="no such file"):
        compile_file(tmp_path / "gone.xml")
