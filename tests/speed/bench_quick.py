"""`make bench`: the quick figures of docs/results/speed.md, measured again in one run."""

import json
import subprocess
import sys
import time
from pathlib import Path

# Timed with the torch reference on two cores where a 512-wide float32 product ran at this rate
# in XLA (GFLOP/s); milliseconds of one plan (1M, 512 x 6, H 3) and one update (1M, batch 256).
REFERENCE = {"gflops": 145.0, "plan_ms": 148.0, "update_ms": 122.0}


def help_seconds(repeats: int = 7) -> float:
    """Median seconds of `latentmpc --help`."""
    command = [str(Path(sys.executable).parent / "latentmpc"), "--help"]
    times = []
    for _ in range(repeats):
        begin = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        times.append(time.perf_counter() - begin)
    return sorted(times)[repeats // 2]


def measure() -> dict:
    """All figures as a dict."""
    from agents.machine import speed
    from planning.config import PlannerConfig
    from tests.speed import single_parts

    before = speed.matmul_gflops()
    plan_1m = single_parts.plan("1M", PlannerConfig.full(), 20)
    update_1m = single_parts.update("1M", 256, 20)
    laptop = single_parts.plan("tiny", PlannerConfig(), 500)
    update_tiny = single_parts.update("tiny", 128, 50)
    rate = (before + speed.matmul_gflops()) / 2
    sims = single_parts.simulators()
    scale = REFERENCE["gflops"] / rate
    return {
        "matmul_gflops": rate,
        "plan_1m_ms": plan_1m["p50"],
        "plan_1m_reference_scaled_ms": REFERENCE["plan_ms"] * scale,
        "plan_1m_share_of_matmul": plan_1m["gflop"] / (plan_1m["p50"] / 1e3) / rate,
        "update_1m_ms": update_1m["p50"],
        "update_1m_reference_scaled_ms": REFERENCE["update_ms"] * scale,
        "laptop_plan_p50_ms": laptop["p50"],
        "laptop_plan_p99_ms": laptop["p99"],
        "laptop_rate_p99_hz": 1e3 / laptop["p99"],
        "update_tiny_ms": update_tiny["p50"],
        "sims_ours_per_s": sims["ours"],
        "sims_over_raw": sims["ours"] / sims["raw"],
        "sims_over_raw_persistent": sims["ours"] / sims["raw_persistent"],
        "sims_over_gymnasium": sims["ours"] / sims["gymnasium"],
        "help_s": help_seconds(),
    }


def main() -> int:
    """Print a table, or JSON alone with --json."""
    figures = measure()
    if "--json" in sys.argv[1:]:
        print(json.dumps(figures, indent=2))
        return 0
    from rich.console import Console
    from rich.table import Table

    table = Table("figure", "measured", title="latentmpc, this machine, this run")
    for name, value in figures.items():
        table.add_row(name, f"{value:,.3g}" if value < 1000 else f"{value:,.0f}")
    Console().print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
