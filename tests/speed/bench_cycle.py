"""`make bench-cycle`: time saved by running together (docs/results/scaling.md)."""

import json
import sys


def main() -> int:
    """Print a table, or JSON alone with --json."""
    from tests.speed.loop_speed import measure

    figures = measure()
    if "--json" in sys.argv[1:]:
        print(json.dumps(figures, indent=2))
        return 0
    from rich.console import Console
    from rich.table import Table

    table = Table("ratio", "clock", "processor", title="latentmpc, this machine, this run")
    for name, found in figures.items():
        table.add_row(name, f"{found['clock']:.3f}", f"{found['processor']:.3f}")
    Console().print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
