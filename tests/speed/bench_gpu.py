"""`python -m tests.speed.bench_gpu`: the speeds of this machine in under ten minutes."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(prog="bench_gpu", description="Speeds of a machine.")
    made.add_argument("--minutes", type=float, default=9.0, help="no part begins after them")
    made.add_argument("--out", default="runs/headline", help="folder of headline.json")
    made.add_argument("--small", action="store_true", help="a miniature, to try the script")
    made.add_argument("--parts", nargs="+", default=[], metavar="PART", help="these alone")
    made.add_argument("--json", action="store_true", help="the result alone on standard output")
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """0 when every part was measured, 5 when one failed or was left out."""
    flags = parser().parse_args(argv)
    if not 0 < flags.minutes < 1e6:
        parser().error("--minutes must be positive")
    from tests.speed.gpu_speed import measure, parts

    chosen = parts(flags.small)
    if unknown := [name for name in flags.parts if name not in chosen]:
        parser().error(f"--parts knows {', '.join(chosen)}, not {unknown[0]!r}")
    chosen = {name: chosen[name] for name in flags.parts or chosen}
    out = Path(flags.out)
    out.mkdir(parents=True, exist_ok=True)
    log = (lambda line: None) if flags.json else (lambda line: print(line, flush=True))
    found = measure(chosen, flags.minutes, out, log)
    if flags.json:
        print(json.dumps(found, indent=2))
    failed = [name for name in found if isinstance(found[name], dict) and "error" in found[name]]
    return 5 if failed or found["left_out"] else 0


if __name__ == "__main__":
    sys.exit(main())
