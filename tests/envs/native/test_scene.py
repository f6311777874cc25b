"""Meshes of a MuJoCo model against MuJoCo's own geometry, and where they are."""

import mujoco
import numpy as np
import pytest

from envs.native import scene
from envs.registry import make_vec
from envs.spec import EnvError

pytest.importorskip("trimesh", reason="the extra [viewer] is not installed")

MODEL = """
<mujoco>
  <asset>
    <mesh name="tetra" vertex="0 0 0  1 0 0  0 1 0  0 0 1"/>
    <material name="red" rgba="1 0 0 1"/>
  </asset>
  <worldbody>
    <geom name="floor" type="plane" size="0 0 .1"/>
    <body name="arm" pos="1 2 3" euler="30 40 50">
      <freejoint/>
      <geom name="sphere" type="sphere" size=".3" material="red"/>
      <geom name="capsule" type="capsule" size=".1 .5" rgba="0 1 0 .5"/>
      <geom name="ellipsoid" type="ellipsoid" size=".1 .2 .3"/>
      <geom name="cylinder" type="cylinder" size=".2 .4"/>
      <geom name="box" type="box" size=".1 .2 .3" pos="1 0 0"/>
      <geom name="mesh" type="mesh" mesh="tetra"/>
      <geom name="unseen" type="box" size="1 1 1" group="3"/>
      <geom name="clear" type="box" size="1 1 1" rgba="1 1 1 0"/>
    </body>
    <body name="hand"><geom size=".1"/></body>
  </worldbody>
</mujoco>
"""


@pytest.fixture(scope="module")
def model():
    return mujoco.MjModel.from_xml_string(MODEL)


def test_shapes_have_the_size_of_their_geometries(model):
    found = {model.geom(s.geom).name: s for s in scene.shapes(model)}
    assert "unseen" not in found and "clear" not in found
    assert found["floor"].mesh is None and found["floor"].half_size == (50.0, 50.0)
    half = {
        "sphere": [0.3, 0.3, 0.3],
        "capsule": [0.1, 0.1, 0.6],
        "ellipsoid": [0.1, 0.2, 0.3],
        "cylinder": [0.2, 0.2, 0.4],
        "box": [0.1, 0.2, 0.3],
    }
    for name, sizes in half.items():
        bounds = found[name].mesh.bounds
        np.testing.assert_allclose(bounds[1], sizes, rtol=0.03)
        np.testing.assert_allclose(bounds[0], -np.array(sizes), rtol=0.03)
    assert found["sphere"].color == (255, 0, 0)  # its material's
    assert found["capsule"].color == (0, 255, 0) and found["capsule"].opacity == 0.5
    assert len({s.name for s in scene.shapes(model)}) == len(found)


def test_a_mesh_in_its_pose_is_where_the_file_put_it(model):
    data = mujoco.MjData(model)
    mujoco.mj_kinematics(model, data)
    shape = next(s for s in scene.shapes(model) if model.geom(s.geom).name == "mesh")
    position, quaternion = scene.pose(data, shape.geom)
    rotation = np.zeros(9)
    mujoco.mju_quat2Mat(rotation, quaternion)
    placed = np.array(shape.mesh.vertices) @ rotation.reshape(3, 3).T + position
    body = data.body("arm")
    corners = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1.0]])
    wanted = corners @ body.xmat.reshape(3, 3).T + body.xpos
    distance = np.linalg.norm(placed[:, None] - wanted[None], axis=-1)
    assert distance.min(0).max() < 1e-6


def test_bodies_that_cannot_move_are_not_traced(model):
    assert scene.bodies(model) == ["arm"]


@pytest.mark.parametrize(
    ("task", "body", "follows"),
    [("cartpole-swingup", "pole", False), ("cheetah-run", "foot", True)],
)
def test_tasks_are_seen_from_their_own_camera(task, body, follows):
    env = make_vec(task, 1)
    env.reset(seed=0)
    model, data = scene.physics_of(env)
    mujoco.mj_forward(model, data)
    view = scene.view(model, data)
    np.testing.assert_allclose(view.position, data.cam_xpos[0])
    direction = (view.look_at - view.position) / np.linalg.norm(view.look_at - view.position)
    np.testing.assert_allclose(direction, -data.cam_xmat[0].reshape(3, 3)[:, 2], atol=1e-6)
    assert view.follows is follows
    assert body in scene.bodies(model)[0]
    env.close()


def test_other_simulators_of_mujoco_are_shown_and_the_rest_refused():
    for task in ("humanoid-stand", "HalfCheetah-v5"):
        env = make_vec(task, 1)
        env.reset(seed=0)
        model, data = scene.physics_of(env)
        assert len(data.qpos) == model.nq
        env.close()
    env = make_vec("Pendulum-v1", 1)
    with pytest.raises(EnvError, match="not simulated by MuJoCo"):
        scene.physics_of(env)
    env.close()
