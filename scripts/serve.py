"""`latentmpc serve BUNDLE`: a controller for clients on a network."""

from agents.deployment.serving.config import ServeConfig, token_of
from agents.runs.config import ConfigError
from scripts.flags import require_controller
from scripts.verb import Output, Verb


def check(config: ServeConfig) -> None:
    """Raise ConfigError or CheckpointError without a controller, or a token that is needed."""
    if not config.path:
        raise ConfigError("which bundle? latentmpc serve BUNDLE")
    require_controller(config, config.path, config.clients)
    token_of(config)


def call(config: ServeConfig, output: Output):
    """The counters, when Ctrl-C has ended it."""
    from agents.deployment.serving.serve import run_server

    return run_server(config, output.say)


VERB = Verb(
    "serve",
    ServeConfig,
    call,
    check=check,
    positional="path",
    metavar="BUNDLE",
    title="{0.path}",
    about="""Serve a controller over websockets (msgpack, the wire of openpi's client).
    http://HOST:PORT/healthz says whether it lives, /metrics what it does. Ctrl-C ends it.""",
    example="latentmpc serve bundles/walker --port 8000",
    common="host port token_file mode clients window_ms idle_s realtime trust digest",
)
main = VERB.main
