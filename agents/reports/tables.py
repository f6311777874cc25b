"""The tables of a bench's report, from its summary: text cells, for Markdown and HTML alike."""

from dataclasses import dataclass
from typing import Any

from agents.benchmarks.results import FREE

Row = dict[str, Any]


@dataclass(frozen=True)
class Table:
    """A titled table of text and what must be known to read it."""

    title: str
    note: str
    header: tuple[str, ...]
    rows: list[list[str]]

    def markdown(self) -> str:
        """The same as Markdown."""
        cells = [self.header, ["---"] * len(self.header), *self.rows]
        lines = "\n".join("| " + " | ".join(map(plain_markdown, row)) + " |" for row in cells)
        return f"## {plain_markdown(self.title)}\n\n{plain_markdown(self.note)}\n\n{lines}"


def plain_markdown(text: str) -> str:
    """Text that Markdown takes for nothing else: no table, link, picture or mark-up."""
    return "".join("\\" + c if c in "\\|<>*_`[]" else c for c in text)


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


def number(value: float | None) -> str:
    """A figure with as many digits as it deserves."""
    if value is None:
        return "not known"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def score(value: float | None) -> str:
    """A score or a probability, three digits."""
    return "not known" if value is None else f"{value:.3f}"


def within(value: float | None, interval: list, form=number) -> str:
    """A figure and its interval."""
    if value is None or interval[0] is None:
        return form(value)
    return f"{form(value)} [{form(interval[0])}, {form(interval[1])}]"


def difference(found: Row) -> str:
    """A paired difference, and whether it is resolved."""
    if not found["pairs"]:
        return "not known"
    text = within(found["difference"], found["ci95"])
    if found["resolved"]:
        return text
    needed = f": it would take {found['needed']:,} episodes" if found["needed"] else ""
    return f"{text}, not resolved{needed}"


def policy(agent: str, clock: str) -> str:
    """An agent by name, with its clock unless compute is free."""
    return agent if clock == FREE else f"{agent}, {clock}"


def unit_note(summary: Row) -> str:
    """What the intervals are taken over."""
    over_episodes = "over episodes (they hold the luck of the start and none of training)"
    trained = list(dict.fromkeys(o["agent"] for o in summary["overall"] if o["unit"] == "training"))
    if not trained:
        return f"Intervals are 95 %, {over_episodes}."
    if all(o["unit"] == "training" for o in summary["overall"]):
        return "Intervals are 95 %, over trainings."
    return f"Intervals are 95 %, over trainings for {' and '.join(trained)}, else {over_episodes}."


def _overall(summary: Row) -> Table:
    rows = [
        [
            policy(o["agent"], o["clock"]),
            within(o["iqm"], o["iqm_ci95"], score),
            within(o["mean"], o["mean_ci95"], score),
            score(o["median"]),
            score(o["optimality_gap"]),
            f"{o['runs']} {o['unit']}s",
            f"{o['tasks']} of {len(summary['tasks'])}",
        ]
        for o in summary["overall"]
    ]
    header = ("agent", "IQM", "mean", "median", "optimality gap", "runs", "tasks")
    return Table("Over tasks", f"{_scale_note(summary)} {unit_note(summary)}", header, rows)


def _scale_note(summary: Row) -> str:
    scales = summary["scales"]
    relative = sorted({s["high_is"] for s in scales.values() if s["low"] and s["high_is"]})
    parts = ["Scores: return / 1000 on DMControl"]
    if relative:
        parts.append(f"0 is random actions and 1 the {' or '.join(relative)} agent on Gymnasium")
    if without := [task for task, s in scales.items() if s["low"] is None]:
        parts.append(f"none on {', '.join(without)} (no random actions to compare with)")
    return "; ".join(parts) + "."


def _improvement(summary: Row) -> Table:
    rows = [
        [
            policy(i["a"], i["clock"]),
            policy(i["b"], i["clock"]),
            within(i["probability"], i["ci95"], score),
            str(i["tasks"]),
        ]
        for i in one_way(summary)
    ]
    note = "How likely a run of A beats one of B on the same task, ties half, mean over tasks."
    return Table("Probability of improvement", note, ("A", "B", "A over B", "tasks"), rows)


def one_way(summary: Row) -> list[Row]:
    """Probabilities of improvement, each pair of agents once."""
    order = summary["agents"]
    return [i for i in summary["improvement"] if order.index(i["a"]) < order.index(i["b"])]


def _returns(summary: Row) -> Table:
    rows = [
        [
            c["task"],
            policy(c["agent"], c["clock"]),
            within(c["return_mean"], c["return_ci95"]),
            number(c["return_iqm"]),
            within(c["success"]["rate"], c["success"]["ci95"], score) if c["success"] else "",
            f"{c['episodes_valid']} / {c['episodes_asked']}",
        ]
        for c in summary["cells"]
    ]
    header = ("task", "agent", "return", "IQM", "success", "valid / asked")
    return Table("Returns", "Invalid episodes are left out and counted.", header, rows)


def _gaps(summary: Row) -> Table:
    names = ("random", "prior", "plan", "oracle")
    rows = [
        [
            g["task"] if g["clock"] == FREE else f"{g['task']}, {g['clock']}",
            *[number(g["returns"][name]) for name in names],
            difference(g["planning_adds"]),
            difference(g["model_error_costs"]),
        ]
        for g in summary["gaps"]
    ]
    header = ("task", *names, "planning adds", "model error costs")
    note = "Paired on common seeds: plan - prior, and oracle (the planner on true dynamics) - plan."
    return Table("Planner and model", note, header, rows)


def _clocks(summary: Row) -> Table:
    rows = [
        [
            c["task"],
            c["agent"],
            c["clock"],
            number(c["return_free"]),
            number(c["return_clock"]),
            difference(c["cost"]),
        ]
        for c in summary["clock_costs"]
    ]
    header = ("task", "agent", "clock", "free compute", "under the clock", "cost")
    note = "Under the clock the world moves on while the planner thinks. Paired on common seeds."
    return Table("Return under the clock", note, header, rows)


def _latency(summary: Row) -> Table:
    rows = [
        [
            c["task"],
            policy(c["agent"], c["clock"]),
            *[number(c["plan_ms"][q]) for q in ("p50", "p95", "p99", "worst_p99")],
            _misses(c),
        ]
        for c in summary["cells"]
        if c["plan_ms"]
    ]
    header = ("task", "agent", "p50", "p95", "p99", "worst p99", "deadline misses")
    note = (
        "Milliseconds a decision, compilation apart: the median over episodes of each episode's "
        "percentile, and the p99 of the worst episode."
    )
    return Table("Latency", note, header, rows)


def _misses(cell: Row) -> str:
    if cell["deadline_misses"] is None:
        return ""
    share = cell["deadline_misses"] / max(cell["decisions"], 1)
    return f"{cell['deadline_misses']:,} of {cell['decisions']:,} ({share:.1%})"


def _failures(summary: Row) -> Table:
    rows = []
    for failure in summary["failures"]:
        known = {k: v for k, v in failure.items() if k not in ("reason", "key") and v is not None}
        what = ", ".join(str(v) if k in ("task", "agent") else f"{k} {v}" for k, v in known.items())
        reason = " ".join(str(failure.get("reason", "not known")).split())
        rows.append([what or str(failure.get("key", "not known")), reason])
    note = "These runs are in none of the figures."
    return Table("Failed runs", note, ("run", "reason"), rows)
