"""The tables of a sweep, from its summary: in full for its report, in short for the terminal."""

from typing import Any

from agents.reports.tables import Table, difference, number, within

Row = dict[str, Any]
ORDER = ("complete", "running", "stopped", "over budget", "failed")
MOST_SHOWN = 30
"""Settings in the terminal's table."""


def tables(summary: Row) -> dict[str, Table]:
    """The settings, best first, and what failed."""
    made = {"settings": _settings(summary), "failures": _failures(summary)}
    return {name: table for name, table in made.items() if table.rows}


def short_tables(summary: Row) -> list[Table]:
    """The same for eighty columns; why a setting was stopped is in the report."""
    ordered, made = _ordered(summary), tables(summary)
    rows = [
        [
            s["name"],
            within(s["return_mean"], s["return_ci95"]),
            _brief(s["versus_trained"]),
            number(s["plan_ms"]["p99"]),
            str(s["episodes_valid"]),
            s["status"] if s["note"] else _state(s, summary),
        ]
        for s in ordered[:MOST_SHOWN]
    ]
    header = ("setting", "return", "- trained", "p99 ms", "n", "")
    note = "- trained: paired difference, with a ? where it is not resolved. " + _note(summary)
    if len(ordered) > MOST_SHOWN:
        note = f"{len(ordered) - MOST_SHOWN} more in summary.md. {note}"
    short = Table(made["settings"].title, note, header, rows)
    return [short, *[table for name, table in made.items() if name != "settings"]]


def _brief(gap: Row | None) -> str:
    """A paired difference in one word."""
    if gap is None or gap["difference"] is None:
        return ""
    return f"{gap['difference']:+.3g}" + ("" if gap["resolved"] else " ?")


def _settings(summary: Row) -> Table:
    rows = [
        [
            s["name"],
            within(s["return_mean"], s["return_ci95"]),
            difference(s["versus_trained"]) if s["versus_trained"] else "",
            number(s["plan_ms"]["p50"]),
            number(s["plan_ms"]["p99"]),
            f"{s['episodes_valid']} / {s['episodes_run']}",
            number(s["compile_s"]),
            _state(s, summary),
        ]
        for s in _ordered(summary)
    ]
    header = (
        "setting",
        "return",
        "against as trained",
        "p50 ms",
        "p99 ms",
        "valid / run",
        "compile s",
        "",
    )
    return Table(f"Sweep of {summary['task']}", _note(summary), header, rows)


def _ordered(summary: Row) -> list[Row]:
    """The settings, best first."""
    return sorted(summary["settings"], key=lambda s: _order(s, summary))


def _order(setting: Row, summary: Row) -> tuple:
    found = summary["recommendation"]
    chosen = found is not None and setting["name"] == found["name"]
    mean = setting["return_mean"]
    fits = setting["feasible"] or setting["status"] != "complete"
    return not chosen, ORDER.index(setting["status"]), not fits, -(mean or 0), setting["name"]


def _state(setting: Row, summary: Row) -> str:
    """What became of a setting."""
    found = summary["recommendation"]
    if found is not None and setting["name"] == found["name"]:
        return "recommended, as trained" if found["name"] == summary["trained"] else "recommended"
    if setting["note"]:
        return setting["note"]
    words = ["as trained"] if setting["name"] == summary["trained"] and setting["asked"] else []
    if setting["status"] == "running":
        words.append("interrupted")
    if setting["episodes_run"] and not setting["feasible"]:
        words.append("over the budget")
    if found is not None and setting["name"] in found["ties"]:
        words.append("as good, slower")
    if found is not None and setting["name"] in found["unresolved"]:
        words.append("lower, not resolved")
    return ", ".join(words)


def _note(summary: Row) -> str:
    """What must be known to read the figures."""
    parts = [
        "95 % intervals over episodes, on the same starts for all settings.",
        "Latency: milliseconds a decision, compilation apart; the median over episodes.",
    ]
    if summary["episodes_run"] < summary["episodes_of_full_grid"] and summary["complete"]:
        parts.append(
            f"Early stopping: {summary['episodes_run']:,} of "
            f"{summary['episodes_of_full_grid']:,} episodes were needed."
        )
    if summary["contended"]:
        parts.append(
            "Latencies were measured while other points ran or on other machines: measure again "
            "with --executor local --jobs 1 --out elsewhere before relying on them."
        )
    if summary["recommendation"] and len(summary["settings"]) > 1:
        parts.append("The best of many flatters itself a little: check it on seeds of its own.")
    return " ".join([*parts, summary["lowered"]]).strip()


def _failures(summary: Row) -> Table:
    rows = [[f["setting"], f["reason"]] for f in summary["failures"]]
    note = "They are tried again by the same command."
    return Table("Failed settings", note, ("setting", "reason"), rows)
