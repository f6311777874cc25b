"""`latentmpc new FILE.py --model ROBOT.xml`: a task file for a robot of one's own."""

from agents.robots.config import NewConfig
from agents.runs.config import ConfigError
from scripts.verb import Verb


def check(config: NewConfig) -> None:
    """Raise ConfigError where it is not said for which robot."""
    if not config.model:
        raise ConfigError(f"which robot? latentmpc new {config.file} --model ROBOT.xml")


VERB = Verb(
    "new",
    NewConfig,
    "agents.robots.new:write_task",
    missing="which file, and which robot? latentmpc new my_arm.py --model arm.xml",
    check=check,
    positional="file",
    metavar="FILE.py",
    title="{0.file}",
    about="""Write a task file for a robot: observations of its joints, actions of its actuators, a
    start, a reward (reach a target, walk forward, hold a pose). The file is yours to change.""",
    example="latentmpc new my_arm.py --model arm.xml",
    common="model task site overwrite",
    computes=False,
)
