"""What there is to see of a MuJoCo model: meshes, where they are, from where to look.

Knows MuJoCo and trimesh (which the extra [viewer] brings) and no viewer.
"""

from typing import Any, NamedTuple

import numpy as np

from envs.spec import EnvError
from envs.tasks.engine import engine

MOST_GROUP = 2
"""Geometries of higher groups are collision shapes, which MuJoCo's viewer hides too."""
INFINITE = 50.0
"""Half size in metres of a plane without one."""
TRACED = ("finger", "tip", "hand", "gripper", "effector", "pole", "pointmass", "ball", "foot")
"""Parts of names of bodies worth following, the best first."""


class Shape(NamedTuple):
    """One geometry."""

    geom: int
    name: str
    color: tuple[int, int, int]
    opacity: float
    mesh: Any
    """trimesh.Trimesh in the frame of the geometry; None for a plane."""
    half_size: tuple[float, float]
    """Of a plane."""


class View(NamedTuple):
    """Where to look from."""

    position: np.ndarray
    look_at: np.ndarray
    up: np.ndarray
    field: float
    """Vertical field of view in radians."""
    follows: bool
    """Whether the camera moves along with the robot."""


def physics_of(env: Any) -> tuple[Any, Any]:
    """MjModel and MjData of simulator 0, as it is now. Raises EnvError if it has none."""
    simulators = env.simulators
    if hasattr(simulators, "batch"):
        return simulators.batch.get_model(0), simulators.batch.get_data(0)
    inner = simulators[0].env
    if physics := getattr(inner, "physics", None):
        return physics.model.ptr, physics.data.ptr
    unwrapped = inner.unwrapped
    if not hasattr(unwrapped, "model") or not hasattr(unwrapped, "data"):
        raise EnvError(f"{env.env_spec.env_id} is not simulated by MuJoCo: nothing to show")
    return unwrapped.model, unwrapped.data


def shapes(model: Any) -> list[Shape]:
    """The visible geometries of a model, but for height fields and distance functions."""
    mujoco = engine()
    found, left_out = [], (mujoco.mjtGeom.mjGEOM_HFIELD, mujoco.mjtGeom.mjGEOM_SDF)
    for geom in range(model.ngeom):
        rgba, kind = _rgba(model, geom), int(model.geom_type[geom])
        if model.geom_group[geom] > MOST_GROUP or rgba[3] == 0 or kind in left_out:
            continue
        color = tuple(round(255 * min(max(float(c), 0.0), 1.0)) for c in rgba[:3])
        x, y = (s or INFINITE for s in model.geom_size[geom][:2])
        name = model.geom(geom).name or f"geom{geom}"
        mesh = _mesh(model, geom)
        found.append(Shape(geom, f"{geom}-{name}", color, float(rgba[3]), mesh, (x, y)))  # pyright: ignore[reportArgumentType]
    return found


def pose(data: Any, geom: int) -> tuple[np.ndarray, np.ndarray]:
    """Position [3] and quaternion [4] (w first) of a geometry."""
    quaternion = np.zeros(4)
    engine().mju_mat2Quat(quaternion, np.asarray(data.geom_xmat[geom]).reshape(9))
    return np.array(data.geom_xpos[geom]), quaternion


def view(model: Any, data: Any) -> View:
    """The view of the model's first camera, or one from the side of its middle."""
    middle, extent = np.array(model.stat.center), float(model.stat.extent)
    up = np.array([0.0, 0.0, 1.0])
    if not model.ncam:
        position = middle + extent * np.array([0.0, -1.5, 0.6])
        return View(position, middle, up, np.pi / 4, False)
    position, axes = np.array(data.cam_xpos[0]), np.array(data.cam_xmat[0]).reshape(3, 3)
    follows = int(model.cam_mode[0]) in (1, 2)  # track, trackcom
    focus = data.subtree_com[1] if model.nbody > 1 else middle
    distance = max(float(np.linalg.norm(position - focus)), 0.1)
    if abs(axes[2] @ up) > 0.99:  # looking straight down: the picture's own up
        up = axes[:, 1]
    opening = np.deg2rad(float(model.cam_fovy[0]))
    if not 0.1 < opening < 2.5:  # orthographic cameras have a length here
        opening = np.pi / 4
    return View(position, position - distance * axes[:, 2], up, opening, follows)


def bodies(model: Any) -> list[str]:
    """Names of the bodies that can be traced, the most telling one first."""
    names = [model.body(i).name or f"body{i}" for i in range(1, model.nbody)]
    moving = [n for i, n in enumerate(names, 1) if model.body_dofnum[i] or model.body_parentid[i]]

    def rank(name: str) -> int:
        return next((i for i, part in enumerate(TRACED) if part in name.lower()), len(TRACED))

    return sorted(moving or names, key=rank)


def _rgba(model: Any, geom: int) -> np.ndarray:
    material = model.geom_matid[geom]
    own = np.array(model.geom_rgba[geom])
    plain = np.allclose(own, [0.5, 0.5, 0.5, 1.0])  # MuJoCo's default gives way to the material
    return np.array(model.mat_rgba[material]) if material >= 0 and plain else own


def _mesh(model: Any, geom: int) -> Any:
    """The geometry as triangles; None for a plane."""
    from trimesh import Trimesh, creation

    kind, kinds = int(model.geom_type[geom]), engine().mjtGeom
    a, b, c = (float(s) for s in model.geom_size[geom])
    if kind == kinds.mjGEOM_SPHERE:
        return creation.icosphere(3, a)
    if kind == kinds.mjGEOM_CAPSULE:
        capsule = creation.capsule(2 * b, a, count=[16, 16])
        return capsule.apply_translation(-capsule.bounds.mean(0))
    if kind == kinds.mjGEOM_ELLIPSOID:
        return creation.icosphere(3, 1.0).apply_scale([a, b, c])
    if kind == kinds.mjGEOM_CYLINDER:
        return creation.cylinder(a, 2 * b, sections=32)
    if kind == kinds.mjGEOM_BOX:
        return creation.box([2 * a, 2 * b, 2 * c])
    if kind == kinds.mjGEOM_MESH:
        mesh = int(model.geom_dataid[geom])
        first, count = int(model.mesh_vertadr[mesh]), int(model.mesh_vertnum[mesh])
        face, faces = int(model.mesh_faceadr[mesh]), int(model.mesh_facenum[mesh])
        vertices = np.array(model.mesh_vert[first : first + count])
        return Trimesh(vertices, np.array(model.mesh_face[face : face + faces]), process=False)
    return None
