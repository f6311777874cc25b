"""`python -m tests.experiments.compare_objectives DATA --out DIR`: all objectives, one table."""

import argparse
import sys
from collections.abc import Sequence
from typing import get_args

from wm.jepa.config import Objective

ALL: tuple[str, ...] = get_args(Objective)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(
        prog="compare_objectives",
        description="Train every objective on the same data with several seeds, reach for the same "
        "goals with the same planner, and print a table in markdown. The same command continues.",
    )
    made.add_argument("data", help="folder of recorded episodes of a task with goals")
    made.add_argument("--out", required=True, help="folder of the runs, one a case")
    made.add_argument("--guide-data", default="", help="other episodes for critic and policy")
    made.add_argument("--preset", choices=("state", "pixels"), default="state")
    made.add_argument("--objectives", default=",".join(ALL), help="names, by commas")
    made.add_argument("--seeds", type=int, default=3)
    made.add_argument("--updates", type=int, default=1000)
    made.add_argument("--goals", type=int, default=100, help="held-out goals a seed")
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """Compare; 0 when every case is measured."""
    flags = vars(parser().parse_args(argv))
    flags["objectives"] = tuple(flags["objectives"].split(","))
    if unknown := set(flags["objectives"]) - set(ALL):
        parser().error(f"--objectives: {', '.join(sorted(unknown))} is none of {', '.join(ALL)}")

    from tests.experiments.objectives import CompareConfig, compare
    from tests.experiments.objectives_table import table

    try:
        rows = compare(CompareConfig(**flags), lambda line: print(line, file=sys.stderr))
    except Exception as error:
        if not (code := getattr(error, "exit_code", 0)):
            raise
        print(f"error: {error}", file=sys.stderr)
        return code
    print(table(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
