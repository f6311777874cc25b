"""`latentmpc VERB`: finds the verb, runs it, turns failures into one line and an exit code.

Nothing heavy is imported here: the list of verbs is printed without even the flag parser.
"""

import importlib
import io
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from scripts.verb import Verb

GROUPS: dict[str, dict[str, tuple[str, str]]] = {
    "robot": {
        "new": ("scripts.new", "write a task file for a robot's model (MJCF or URDF)"),
        "check": ("scripts.check", "look a task over before training: limits, stability, reward"),
    },
    "learn": {
        "train": ("scripts.train", "learn a world model on a task; the same command resumes"),
        "pretrain": ("scripts.pretrain", "learn a reward-free world model from recorded episodes"),
        "distill": ("scripts.distill", "a critic and a policy for goals, on a pretrained model"),
        "recipe": ("scripts.recipes.run", "all stages of a recipe, from data to figures; resumes"),
        "recipes": ("scripts.recipes.listing", "list the recipes: task, what it reaches, time"),
    },
    "judge": {
        "eval": ("scripts.eval", "run a trained run or checkpoint closed-loop and report"),
        "bench": ("scripts.bench", "agents on a suite of tasks: intervals, latency, an oracle"),
        "compare": ("scripts.compare", "paired differences of two result sets, common episodes"),
        "sweep": ("scripts.sweep", "planner settings against return and latency; recommends one"),
        "inspect": ("scripts.inspect", "what latents know: probes, surprise, counterfactuals"),
    },
    "deploy": {
        "export": ("scripts.export", "write a run as a bundle that runs without latentmpc"),
        "run": ("scripts.run", "a controller in real time; flight recorder and replay"),
        "serve": ("scripts.serve", "a controller for clients on websockets"),
    },
    "look": {
        "play": ("scripts.play", "watch a model and its plans live in the browser"),
        "tasks": ("scripts.tasks", "list the tasks that can be trained on"),
        "profile": ("scripts.profile", "where a training's time goes, and its share of the peak"),
        "doctor": ("scripts.doctor", "check versions, devices, rendering, disk; say what to fix"),
        "completion": ("scripts.completion", "what a shell needs to complete verbs and flags"),
    },
    "data": {
        "collect": ("scripts.collect", "record episodes of a task into a dataset; resumes"),
        "data": ("scripts.data", "check a dataset, exchange it with Minari"),
    },
}
"""Verbs by the job they are for: module and a line of help."""
VERBS = {verb: entry for group in GROUPS.values() for verb, entry in group.items()}
RESUMABLE = ("train", "pretrain", "bench", "sweep", "collect", "recipe")
EXIT_INTERRUPTED = 130

HELP = """usage: latentmpc VERB [SETTINGS]

A latent world model, and a planner inside it, that control simulated robots.
{verbs}

Every verb takes --help, --help-all, --config FILE.toml and --json (the result alone on standard
output). Example: latentmpc train cartpole-swingup --env-steps 20000 --run-dir runs/cartpole
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code.

    0 ok, 1 unexpected, 2 usage or config, 3 bad checkpoint, 4 environment, 5 diverged,
    6 locked, 130 interrupted.
    """
    if argv is None:  # the command itself: Python that a library starts is not to import
        os.environ["PYTHONSAFEPATH"] = "1"  # from the folder we stand in, either
        for stream in (sys.stdout, sys.stderr):  # a terminal may know no more than ASCII
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="replace")
    args = list(sys.argv[1:] if argv is None else argv)
    verb = args[0] if args else ""
    try:
        if verb in ("-h", "--help"):
            print(_help(), end="")
            return 0
        if verb == "--version":
            print(_version())
            return 0
        if not verb:
            return _fail(f"which verb? one of {', '.join(VERBS)} (latentmpc --help)", 2)
        from scripts.command import run

        return run(*verb_of(args))[1]
    except SystemExit as stop:  # after a verb's --help
        return stop.code if isinstance(stop.code, int) else 0
    except KeyboardInterrupt:
        resume = "; the same command resumes" if verb in RESUMABLE else ""
        return _fail(f"interrupted{resume}", EXIT_INTERRUPTED)
    except BrokenPipeError:  # the reader (`| head`) has what it wanted
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 0
    except Exception as error:
        return _report(error)


def verb_of(command: Sequence[str]) -> tuple["Verb", list[str]]:
    """The verb of a command line, and the rest of it. Raises ConfigError for no such verb."""
    name, *argv = command
    if name not in VERBS:
        from agents.runs.settings import unknown

        raise unknown("verb", name, VERBS, f"expected one of {', '.join(VERBS)}")
    module = importlib.import_module(VERBS[name][0])
    return (module.choose(argv) if hasattr(module, "choose") else module.VERB), argv


def _report(error: Exception) -> int:
    """One line for an exception; its traceback too when LATENTMPC_DEBUG is set."""
    if os.environ.get("LATENTMPC_DEBUG"):
        raise error
    code = getattr(error, "exit_code", None)
    if isinstance(code, int):
        return _fail(str(error), code)
    return _fail(
        f"{type(error).__name__}: {error} (unexpected; run again with LATENTMPC_DEBUG=1 for the "
        "traceback)",
        1,
    )


def _fail(message: str, code: int) -> int:
    shown = "".join(c if c.isprintable() else repr(c)[1:-1] for c in " ".join(message.split()))
    print(f"latentmpc: error: {shown}", file=sys.stderr, flush=True)
    return code


def _help() -> str:
    width, lines = max(map(len, VERBS)), []
    for job, verbs in GROUPS.items():
        lines += ["", f"{job}:", *(f"  {v:{width}}  {text}" for v, (_, text) in verbs.items())]
    return HELP.format(verbs="\n".join(lines))


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return f"latentmpc {version('latentmpc')}"
    except PackageNotFoundError:
        return "latentmpc (not installed)"


if __name__ == "__main__":
    sys.exit(main())
