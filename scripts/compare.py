"""`latentmpc compare A B`: paired differences of two result sets on the episodes both have."""

import sys
from collections.abc import Sequence

from agents.runs.config import ConfigError

USAGE = """usage: latentmpc compare A B [--json]

Paired differences of returns, A - B, on common tasks and episode seeds.

A and B are output directories of `latentmpc bench`, runs of `latentmpc train` or `--out`
directories of `latentmpc eval`. Says whether each difference is resolved (its 95 % interval leaves
zero out) and, where it is not, how many episodes would resolve a difference of that size.
"""


def parse(argv: Sequence[str]) -> tuple[str, str, bool]:
    """The two directories, and whether JSON is wanted. Raises ConfigError; exits after --help."""
    if "-h" in argv or "--help" in argv:
        print(USAGE, end="")
        raise SystemExit(0)
    paths = [arg for arg in argv if not arg.startswith("-")]
    strange = [arg for arg in argv if arg.startswith("-") and arg != "--json"]
    if strange:
        raise ConfigError(f"unknown flag {strange[0]}; see latentmpc compare --help")
    if len(paths) != 2:
        raise ConfigError(f"compare needs two directories, got {len(paths)}: latentmpc compare A B")
    return paths[0], paths[1], "--json" in argv


def main(argv: Sequence[str]) -> int:
    """Compare; 0 also when nothing is resolved."""
    one, other, as_json = parse(argv)
    from agents.benchmarks.compare import compare, lines
    from scripts.output import print_json

    comparison = compare(one, other)
    if as_json:
        print_json(comparison)
    else:
        sys.stdout.write("\n".join(lines(comparison)) + "\n")
    return 0
