"""`latentmpc new FILE.py --model ROBOT.xml`: a task file for a robot of one's own."""

from agents.robots.config import NewConfig
from agents.runs.config import ConfigError
from scripts.verb import Output, Verb


def check(config: NewConfig) -> None:
    """Raise ConfigError where it is not said what to write, or for which model."""
    if not config.file or not config.model:
        raise ConfigError("which file, and which robot? latentmpc new my_arm.py --model arm.xml")


def call(config: NewConfig, output: Output):
    """Write the file."""
    from agents.robots.new import write_task

    return write_task(config)


VERB = Verb(
    "new",
    NewConfig,
    call,
    check=check,
    positional="file",
    metavar="FILE.py",
    title="{0.file}",
    about="""Write a task file for a robot: observations of its joints, actions of its actuators, a
    start, a reward (reach a target, walk forward, hold a pose). The file is yours to change.""",
    example="latentmpc new my_arm.py --model arm.xml",
    common="model task site overwrite",
)
main = VERB.main
