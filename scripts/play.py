"""`latentmpc play RUN`: watch a trained model in the browser, and its plans."""

import importlib.util
import json

from agents.deployment.viewer.config import PlayConfig
from agents.runs.config import ConfigError
from scripts.checks import check_planner
from scripts.verb import Output, Verb


def check(config: PlayConfig) -> None:
    """Raise ConfigError for a planner that cannot be, or without viser."""
    check_planner(config.path, config.planner)
    if importlib.util.find_spec("viser") is None:
        raise ConfigError("the viewer needs viser: pip install 'latentmpc[viewer]'")


def call(config: PlayConfig, output: Output):
    """Serve until Ctrl-C or --seconds; None."""
    from agents.deployment.viewer.viewer import play

    def opened(url: str) -> None:
        if output.json:
            print(json.dumps({"url": url}), flush=True)

    play(config, output.say, opened)


VERB = Verb(
    "play",
    PlayConfig,
    call,
    missing="which run? give a run directory, checkpoint or bundle: play runs/ID",
    folder="a run, a checkpoint or a bundle",
    check=check,
    trust=True,
    prints=True,
    positional="path",
    metavar="RUN",
    about="""Watch a run, checkpoint or bundle live in the browser: the robot, its plans, latency.
    The planner's settings can be changed while it runs. Needs the extra [viewer].""",
    example="latentmpc play runs/walker",
    common="env_id mode seed host port speed seconds planner.horizon planner.num_samples",
)
