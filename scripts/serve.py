"""`latentmpc serve BUNDLE`: a controller for clients on a network."""

from agents.deployment.serving.config import ServeConfig, token_of
from scripts.checks import check_controller
from scripts.verb import Verb


def check(config: ServeConfig) -> None:
    """Raise ConfigError for settings of another controller, or without a token that is needed."""
    check_controller(config, config.clients)
    token_of(config)


VERB = Verb(
    "serve",
    ServeConfig,
    "agents.deployment.serving.serve:run_server",
    tell="say",
    missing="which bundle? latentmpc serve BUNDLE",
    folder="a bundle, a run or a checkpoint",
    check=check,
    positional="path",
    metavar="BUNDLE",
    title="{0.path}",
    about="""Serve a controller over websockets (msgpack, the wire of openpi's client).
    http://HOST:PORT/healthz says whether it lives, /metrics what it does. Ctrl-C ends it.""",
    example="latentmpc serve bundles/walker --port 8000",
    common="host port token_file mode clients window_ms idle_s realtime trust digest",
)
