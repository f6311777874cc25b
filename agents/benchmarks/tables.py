"""The tables of a bench, from its summary."""

from agents.benchmarks.results import FREE, Row
from agents.reports.tables import Table, difference, number, score, within


def tables(summary: Row) -> dict[str, Table]:
    """All tables that have rows, in reading order."""
    made = {
        "overall": _overall(summary),
        "improvement": _improvement(summary),
        "returns": _returns(summary),
        "gaps": _gaps(summary),
        "clocks": _clocks(summary),
        "latency": _latency(summary),
        "failures": _failures(summary),
    }
    return {name: table for name, table in made.items() if table.rows}


def policy(agent: str, clock: str) -> str:
    """An agent (or task) by name, with its clock unless compute is free."""
    return agent if clock == FREE else f"{agent}, {clock}"


def one_way(summary: Row) -> list[Row]:
    """Probabilities of improvement, each pair of agents once."""
    order = summary["agents"]
    return [i for i in summary["improvement"] if order.index(i["a"]) < order.index(i["b"])]


def _overall(summary: Row) -> Table:
    columns = {
        "agent": lambda o: policy(o["agent"], o["clock"]),
        "IQM": lambda o: within(o["iqm"], o["iqm_ci95"], score),
        "mean": lambda o: within(o["mean"], o["mean_ci95"], score),
        "median": lambda o: score(o["median"]),
        "optimality gap": lambda o: score(o["optimality_gap"]),
        "runs": lambda o: f"{o['runs']} {o['unit']}s",
        "tasks": lambda o: f"{o['tasks']} of {len(summary['tasks'])}",
    }
    note = (
        "Scores: return / 1000 on DMControl; on Gymnasium 0 is random actions and 1 the oracle or "
        "else the best agent, where there are random actions. Intervals are 95 %; those over "
        "episodes hold the luck of the start and none of training."
    )
    return Table.of("Over tasks", note, summary["overall"], columns)


def _improvement(summary: Row) -> Table:
    columns = {
        "A": lambda i: policy(i["a"], i["clock"]),
        "B": lambda i: policy(i["b"], i["clock"]),
        "A over B": lambda i: within(i["probability"], i["ci95"], score),
        "tasks": lambda i: str(i["tasks"]),
    }
    note = "How likely a run of A beats one of B on the same task, ties half, mean over tasks."
    return Table.of("Probability of improvement", note, one_way(summary), columns)


def _returns(summary: Row) -> Table:
    columns = {
        "task": lambda c: c["task"],
        "agent": lambda c: policy(c["agent"], c["clock"]),
        "return": lambda c: within(c["return_mean"], c["return_ci95"]),
        "IQM": lambda c: number(c["return_iqm"]),
        "success": lambda c: (
            within(c["success"]["rate"], c["success"]["ci95"], score) if c["success"] else ""
        ),
        "valid / asked": lambda c: f"{c['episodes_valid']} / {c['episodes_asked']}",
    }
    note = "Invalid episodes are left out and counted."
    return Table.of("Returns", note, summary["cells"], columns)


def _gaps(summary: Row) -> Table:
    columns = {
        "task": lambda g: policy(g["task"], g["clock"]),
        "random": lambda g: number(g["returns"]["random"]),
        "prior": lambda g: number(g["returns"]["prior"]),
        "plan": lambda g: number(g["returns"]["plan"]),
        "oracle": lambda g: number(g["returns"]["oracle"]),
        "planning adds": lambda g: difference(g["planning_adds"]),
        "model error costs": lambda g: difference(g["model_error_costs"]),
    }
    note = "Paired on common seeds: plan - prior, and oracle (the planner on true dynamics) - plan."
    return Table.of("Planner and model", note, summary["gaps"], columns)


def _clocks(summary: Row) -> Table:
    columns = {
        "task": lambda c: c["task"],
        "agent": lambda c: c["agent"],
        "clock": lambda c: c["clock"],
        "free compute": lambda c: number(c["return_free"]),
        "under the clock": lambda c: number(c["return_clock"]),
        "cost": lambda c: difference(c["cost"]),
    }
    note = "Under the clock the world moves on while the planner thinks. Paired on common seeds."
    return Table.of("Return under the clock", note, summary["clock_costs"], columns)


def _latency(summary: Row) -> Table:
    columns = {
        "task": lambda c: c["task"],
        "agent": lambda c: policy(c["agent"], c["clock"]),
        "p50": lambda c: number(c["plan_ms"]["p50"]),
        "p95": lambda c: number(c["plan_ms"]["p95"]),
        "p99": lambda c: number(c["plan_ms"]["p99"]),
        "worst p99": lambda c: number(c["plan_ms"]["worst_p99"]),
        "deadline misses": _misses,
    }
    note = (
        "Milliseconds a decision, compilation apart: the median over episodes of each episode's "
        "percentile, and the p99 of the worst episode."
    )
    return Table.of("Latency", note, [c for c in summary["cells"] if c["plan_ms"]], columns)


def _misses(cell: Row) -> str:
    if cell["deadline_misses"] is None:
        return ""
    share = cell["deadline_misses"] / max(cell["decisions"], 1)
    return f"{cell['deadline_misses']:,} of {cell['decisions']:,} ({share:.1%})"


def _failures(summary: Row) -> Table:
    columns = {
        "run": _failed_run,
        "reason": lambda f: " ".join(str(f.get("reason", "not known")).split()),
    }
    note = "These runs are in none of the figures."
    return Table.of("Failed runs", note, summary["failures"], columns)


def _failed_run(failure: Row) -> str:
    known = {k: v for k, v in failure.items() if k not in ("reason", "key") and v is not None}
    words = [str(v) if k in ("task", "agent") else f"{k} {v}" for k, v in known.items()]
    return ", ".join(words) or str(failure.get("key", "not known"))
