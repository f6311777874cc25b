"""`latentmpc run BUNDLE --env ID --rate HZ`: a controller in real time."""

from collections.abc import Callable
from typing import Any

from agents.deployment.realtime.config import RunConfig
from envs.imports import modules_of
from scripts.checks import check_controller
from scripts.verb import Output, Verb

EXIT_STOPPED, EXIT_DIFFERS, EXIT_INTERRUPTED = 5, 1, 130


def code(result: dict[str, Any]) -> int:
    """0 when it went through, 5 after a stop, 1 when a replay differs; says which it was."""
    say = Output().say
    if "identical" in result:
        return _told(say, result)
    if result["recording"]:
        say(f"recording: {result['recording']}")
    if result["stopped"]:
        say(f"stopped: {result['stopped']}")
        return EXIT_STOPPED
    if result["interrupted"]:
        say(f"interrupted by {result['signal']}: the safe action was sent last")
        return EXIT_INTERRUPTED
    return 0


def _told(say: Callable[[str], None], result: dict[str, Any]) -> int:
    if result["identical"]:
        say(f"{result['ticks']} ticks replayed, identical to the last bit")
        return 0
    found = result["difference"]
    say(
        f"tick {found['tick']} differs first, in {found['what']}: recorded {found['recorded']}, "
        f"replayed {found['replayed']}"
    )
    return EXIT_DIFFERS


VERB = Verb(
    "run",
    RunConfig,
    "agents.deployment.realtime.run:run",
    tell="say",
    missing="which bundle? latentmpc run BUNDLE --env ID --rate HZ",
    folder="a bundle, a run or a checkpoint",
    tasks=lambda config: "" if modules_of(config.env) else config.env,
    check=check_controller,
    title="{0.path} ({0.mode})",
    code=code,
    positional="path",
    metavar="BUNDLE",
    about="""Control a simulator that moves in wall-clock time, at a fixed rate, and account for it.
    Exit code 5 says that a missed deadline or the safety layer ended the run. With --replay, 1 says
    that the recording was not reproduced.""",
    example="latentmpc run bundles/walker --rate 20",
    common="env rate mode deadline_ms seconds episodes max_misses realtime out replay digest",
)
