"""`python -m tests.experiments.decoded_planning`: latents against pixels."""

import argparse
import json
import sys
from collections.abc import Sequence


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(
        prog="decoded_planning",
        description="Operations and median time of one plan, with the goal compared in latents and "
        "in decoded pictures, everything else alike.",
    )
    made.add_argument("--size", type=int, default=64, help="pixels of a side, a multiple of 8")
    made.add_argument("--block", type=int, default=4, help="decisions a step of the model spans")
    made.add_argument("--repeats", type=int, default=15)
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print JSON."""
    flags = parser().parse_args(argv)
    if flags.size < 8 or flags.size % 8 or flags.block < 1 or flags.repeats < 1:
        parser().error("--size must be a multiple of 8, --block and --repeats at least 1")

    from tests.experiments.decoded import planning_cost

    print(json.dumps(planning_cost(flags.size, flags.block, flags.repeats), indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
