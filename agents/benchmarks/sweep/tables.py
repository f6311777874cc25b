"""The tables of a sweep, from its summary: in full for its report, in short for the terminal."""

from collections.abc import Callable, Mapping

from agents.benchmarks.results import Row
from agents.reports.tables import Table, difference, number, within

ORDER = ("complete", "running", "stopped", "over budget", "failed")
MAX_SHOWN = 30
"""Settings in the terminal's table."""


def tables(summary: Row) -> list[Table]:
    """The settings, best first, and what failed."""
    columns = {
        "setting": lambda s: s["name"],
        "return": lambda s: within(s["return_mean"], s["return_ci95"]),
        "against as trained": lambda s: difference(s["versus_trained"]),
        "p50 ms": lambda s: number(s["plan_ms"]["p50"]),
        "p99 ms": lambda s: number(s["plan_ms"]["p99"]),
        "valid / run": lambda s: f"{s['episodes_valid']} / {s['episodes_run']}",
        "compile s": lambda s: number(s["compile_s"]),
        "": lambda s: _state(s, summary),
    }
    return _with_failures(summary, _note(summary), _ordered(summary), columns)


def short_tables(summary: Row) -> list[Table]:
    """The same for eighty columns; why a setting was stopped is in the report."""
    ordered = _ordered(summary)
    columns = {
        "setting": lambda s: s["name"],
        "return": lambda s: within(s["return_mean"], s["return_ci95"]),
        "- trained": lambda s: _brief(s["versus_trained"]),
        "p99 ms": lambda s: number(s["plan_ms"]["p99"]),
        "n": lambda s: str(s["episodes_valid"]),
        "": lambda s: s["status"] if s["note"] else _state(s, summary),
    }
    note = "- trained: paired difference, with a ? where it is not resolved. " + _note(summary)
    if len(ordered) > MAX_SHOWN:
        note = f"{len(ordered) - MAX_SHOWN} more in summary.md. {note}"
    return _with_failures(summary, note, ordered[:MAX_SHOWN], columns)


def _with_failures(
    summary: Row, note: str, settings: list[Row], columns: Mapping[str, Callable[[Row], str]]
) -> list[Table]:
    shown = [Table.of(f"Sweep of {summary['task']}", note, settings, columns)]
    if failures := summary["failures"]:
        columns = {"setting": lambda f: f["setting"], "reason": lambda f: f["reason"]}
        note = "They are tried again by the same command."
        shown.append(Table.of("Failed settings", note, failures, columns))
    return shown


def _brief(gap: Row | None) -> str:
    """A paired difference in one word."""
    if gap is None or gap["difference"] is None:
        return ""
    return f"{gap['difference']:+.3g}" + ("" if gap["resolved"] else " ?")


def _ordered(summary: Row) -> list[Row]:
    """The settings, best first."""

    def order(setting: Row) -> tuple:
        fits = setting["feasible"] or setting["status"] != "complete"
        status, mean = ORDER.index(setting["status"]), setting["return_mean"] or 0
        return not _chosen(setting, summary), status, not fits, -mean, setting["name"]

    return sorted(summary["settings"], key=order)


def _chosen(setting: Row, summary: Row) -> bool:
    found = summary["recommendation"]
    return found is not None and setting["name"] == found["name"]


def _state(setting: Row, summary: Row) -> str:
    """The state of a setting in a few words."""
    nothing = {"best": None, "ties": [], "unresolved": []}
    name, found = setting["name"], summary["recommendation"] or nothing
    if _chosen(setting, summary):
        return "recommended, as trained" if name == summary["trained"] else "recommended"
    if setting["note"]:
        return setting["note"]
    words = {
        "as trained": name == summary["trained"] and setting["asked"],
        "interrupted": setting["status"] == "running",
        "over the budget": setting["episodes_run"] and not setting["feasible"],
        "highest mean": name == found["best"],
        "as good, slower": name in found["ties"],
        "lower, not resolved": name in found["unresolved"],
    }
    return ", ".join(word for word, holds in words.items() if holds)


def _note(summary: Row) -> str:
    """The conditions under which the figures were measured."""
    parts = [
        "95 % intervals over episodes, on the same starts for all settings.",
        "Latency: milliseconds a decision, compilation apart; the median over episodes.",
    ]
    if summary["contended"]:
        parts.append(
            "Latencies were measured while other cases ran or on other machines: measure again "
            "with --executor local --jobs 1 --out elsewhere before relying on them."
        )
    if summary["recommendation"] and len(summary["settings"]) > 1:
        parts.append("The best of many flatters itself a little: check it on seeds of its own.")
    return " ".join(parts)
