"""The command `latentmpc`: starts it, or says what hides a part of it.

The parts have common names (`scripts`, `envs`), and a folder on PYTHONPATH comes before what is
installed. Imports nothing else.
"""

import sys
from importlib.machinery import PathFinder
from pathlib import Path

PARTS = ("agents", "envs", "planning", "scripts", "wm")


def main() -> int:
    """Run the command line and return its exit code; 2 where another package hides one of ours."""
    home = Path(__file__).resolve().parent
    for part in PARTS:
        found = PathFinder.find_spec(part)
        places = [found.origin] if found and found.origin else []
        if found and not places:
            places = [*(found.submodule_search_locations or [])]
        where = Path(places[0]).resolve() if places else home / part
        if home not in where.parents:
            print(
                f"latentmpc: error: {where} hides the package {part!r} of latentmpc: rename it, or "
                "leave the folder that it is in out of PYTHONPATH",
                file=sys.stderr,
            )
            return 2
    from scripts import cli

    return cli.main()


if __name__ == "__main__":
    sys.exit(main())
