"""`python -m tests.soak NAME`: long trials of promises, each with its count and seed.

To add one: a function (count, seed, path) -> dict whose "violations" is empty when all is well, and
a line in SOAKS.
"""

import argparse
import importlib
import json
import logging
import sys
import time
from collections.abc import Sequence

SOAKS = {
    "safety": ("tests.soak.safety_soak", "soak_guard", 100_000, "bad ticks against the guard"),
    "controller": ("tests.soak.controller_soak", "soak", 20_000, "bad ticks against a controller"),
    "messages": (
        "tests.soak.message_soak",
        "soak",
        100_000,
        "messages and observations of any kind",
    ),
    "rate": ("tests.soak.controller_soak", "rate", 20_000, "decisions of mode prior, timed"),
    "mutations": (
        "tests.soak.mutations",
        "soak",
        1_000,
        "mutations of a checkpoint and of a bundle",
    ),
    "resealed": ("tests.soak.resealed", "soak", 10_000, "changed files with manifests that fit"),
    "frames": ("tests.soak.serve_soak", "frames", 100_000, "bad frames beside a good client"),
    "realtime": ("tests.soak.serve_soak", "realtime", 600, "seconds in real time under load"),
    "configs": ("tests.soak.config_soak", "soak", 10_000, "command lines, grids and files"),
    "transport": ("tests.soak.transport_soak", "transport", 5_000, "round trips on loopback"),
}
"""Name: module, function, count by default, what is counted."""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(prog="soak", description="Long trials of promises.")
    names = "; ".join(f"{name}: {about}" for name, (_, _, _, about) in SOAKS.items())
    made.add_argument("name", choices=SOAKS, help=names)
    made.add_argument("--count", type=int, default=0, help="how many; 0 takes the usual number")
    made.add_argument("--seed", type=int, default=0)
    made.add_argument(
        "--path", default="", help="run, checkpoint or bundle; none: an untrained one"
    )
    made.add_argument("--json", action="store_true", help="the result alone on standard output")
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """Run one soak; 0 without violations, 5 with some."""
    flags = parser().parse_args(argv)
    module, function, usual, about = SOAKS[flags.name]
    if flags.count < 0 or flags.seed < 0:
        parser().error("--count and --seed must not be negative")
    logging.getLogger("latentmpc").setLevel(logging.CRITICAL)  # each bad tick would be a line
    begin = time.perf_counter()
    run = getattr(importlib.import_module(module), function)
    result = run(flags.count or usual, flags.seed, flags.path)
    result["seconds"] = time.perf_counter() - begin
    if flags.json:
        print(json.dumps(result, indent=2))
    else:
        print(f"{flags.name}: {flags.count or usual} {about}")
        for name, value in result.items():
            print(f"  {name}: {value}")
    return 5 if result.get("violations") else 0


if __name__ == "__main__":
    sys.exit(main())
