"""summary.md and report.html of a bench: one text and one self-contained page from its summary."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from markupsafe import Markup

from agents.benchmarks.results import FREE, Row, to_score
from agents.benchmarks.tables import one_way, policy, tables
from agents.reports.html import Card, Page, video
from agents.reports.plots import GREEN, GREY, OURS, Rule, Series, chart, published, ranking
from agents.reports.published import published_curves
from agents.reports.tables import markdown, number, score
from agents.storage.files import CheckpointError

COLORS = {"plan": OURS, "prior": "#8250df", "oracle": GREEN, "random": GREY, "zero": "#bf8700"}
OTHERS = ("#cf222e", "#0a7ea4", "#953800", "#116329")
MARKERS = {"random": "|", "prior": "s", "plan": "o", "oracle": "D"}
WIDTH = 9.2
"""Inches, of figures over the whole page."""
DASHES = ("-", "--", ":", "-.")


def write_summary_md(summary: Row) -> str:
    """The summary as Markdown."""
    return markdown("Bench", [_counts(summary)], tables(summary).values())


def write_bench_html(
    path: Path,
    summary: Row,
    curves: Mapping[str, Sequence[Row]] | None = None,
    videos: Mapping[str, Path] | None = None,
) -> Path:
    """Write report.html; nothing in it is fetched from elsewhere.

    `curves`: task to its trainings, each {"label", "frames": [n], "returns": [n]}. `videos`: title
    to an mp4 file; one that is not there is named. Raises StorageError.
    """
    made, figures, curves = tables(summary), _figures(summary), curves or {}
    failed = [Card.of(made.pop("failures"), "wide failed")] if "failures" in made else []
    with_curves = [t for t in summary["tasks"] if curves.get(t) or published_curves(t)]
    cards = [
        *failed,
        *[Card(t.title, [*figures.get(n, []), t], t.note, "wide") for n, t in made.items()],
        *[_curve(task, summary, curves.get(task, [])) for task in with_curves],
        *[_video(name, Path(file)) for name, file in sorted((videos or {}).items())],
    ]
    title = f"Bench of {', '.join(summary['agents'])} on {', '.join(summary['tasks'])}"
    return Page(title, _counts(summary), cards, _tiles(summary)).write(Path(path))


def _counts(summary: Row) -> str:
    valid, asked = summary["episodes_valid"], summary["episodes_asked"]
    names = [f"{n}: {', '.join(summary[n]) or 'none'}" for n in ("tasks", "agents", "clocks")]
    failed = f"failed runs: {len(summary['failures'])}"
    return " · ".join([f"{valid:,} of {asked:,} episodes valid", *names, failed])


def _tiles(summary: Row) -> list[tuple[str, str]]:
    tiles = [
        (score(o["iqm"]), f"IQM of {o['agent']}, {_ends(o['iqm_ci95'])}")
        for o in summary["overall"]
        if o["clock"] == FREE
    ]
    tiles += [
        (score(i["probability"]), f"probability that plan beats prior, {_ends(i['ci95'])}")
        for i in summary["improvement"]
        if (i["a"], i["b"], i["clock"]) == ("plan", "prior", FREE)
    ]
    return [*tiles, (number(len(summary["failures"])), "failed runs")]


def _ends(interval: list) -> str:
    low, high = (score(x) for x in interval)
    return f"95 % interval {low} to {high}"


def _figures(summary: Row) -> dict[str, list[Markup]]:
    """Figures above the tables of these names, those that have something to show."""
    known = [o for o in summary["overall"] if o["iqm"] is not None]
    pairs = [i for i in one_way(summary) if i["probability"] is not None]
    costs, gaps = _scored(summary, "clock_costs"), _scored(summary, "gaps")
    return {
        "overall": [_iqm(summary, known), _profiles(summary, known)] if known else [],
        "improvement": [_improvement(summary, pairs)] if pairs else [],
        "clocks": [_clock_costs(summary, costs)] if costs else [],
        "gaps": [_gaps(summary, gaps)] if gaps else [],
    }


def _scored(summary: Row, name: str) -> list[Row]:
    """Rows of the summary on tasks that have scores."""
    return [row for row in summary[name] if summary["scales"][row["task"]]["low"] is not None]


def _color(agent: str, summary: Row) -> str:
    """An agent's color, the same in every figure."""
    unknown = [a for a in summary["agents"] if a not in COLORS]
    return COLORS.get(agent) or OTHERS[unknown.index(agent) % len(OTHERS)]


def _iqm(summary: Row, found: list[Row]) -> Markup:
    """Interquartile mean of each agent and clock with its interval."""
    series = [
        _interval(o["iqm"], o["iqm_ci95"], i, _color(o["agent"], summary), [score(o["iqm"])])
        for i, o in enumerate(found)
    ]
    words = {"xlabel": "interquartile mean of scores, 95 % interval"}
    return ranking([policy(o["agent"], o["clock"]) for o in found], series, words, WIDTH)


def _improvement(summary: Row, pairs: list[Row]) -> Markup:
    """Probability that one agent beats another, each pair once."""
    series = [
        _interval(p["probability"], p["ci95"], i, _color(p["a"], summary))
        for i, p in enumerate(pairs)
    ]
    names = [f"{p['a']} over {policy(p['b'], p['clock'])}" for p in pairs]
    words = {"xlabel": "probability of improvement, 95 % interval", "xlim": (-0.03, 1.03)}
    half = [Rule(0.5, color="black", axis="x")]
    return ranking(names, series, words, WIDTH, rules=half)


def _interval(value: float, ends: list, line: int, color: str, text: Sequence[str] = ()) -> Series:
    """A value and its interval on a line of a ranking."""
    low, high = ([end] for end in ends)
    return Series([value], [line], None, color, "o", low, high, text=text)


def _profiles(summary: Row, found: list[Row]) -> Markup:
    """Share of runs x tasks above each score, with pointwise bands."""
    series = []
    for o in found:
        name, color = policy(o["agent"], o["clock"]), _color(o["agent"], summary)
        level, share, low, high = (o["profile"][k] for k in ("score", "share", "low", "high"))
        dash = _dash(o["clock"], summary)
        series.append(Series(level, share, name, color, dash, low, high, band=True))
    words = {"xlabel": "score", "ylabel": "share of runs above it, 95 %", "ylim": (-0.02, 1.02)}
    return chart(series, words, legend=4, size=(WIDTH, 3.6))


def _dash(clock: str, summary: Row) -> str:
    """A clock's line style."""
    return DASHES[summary["clocks"].index(clock) % len(DASHES)]


def _gaps(summary: Row, gaps: list[Row]) -> Markup:
    """Scores of random, prior, plan and oracle on each task: where return is won and lost."""
    lines = range(len(gaps))
    at = {
        a: [float(to_score(g["returns"][a], summary["scales"][g["task"]])) for g in gaps]
        for a in MARKERS
    }
    series = [
        Series(at[low], lines, None, COLORS[high], "none", at[low], at[high], style={"alpha": 0.3})
        for low, high in (("prior", "plan"), ("plan", "oracle"))
    ]
    series += [
        Series(at[a], lines, a, COLORS[a], marker, style={"ms": 7, "mew": 1.5})
        for a, marker in MARKERS.items()
    ]
    words = {"xlabel": "score (blue: what planning adds; green: what model error costs)"}
    names = [policy(g["task"], g["clock"]) for g in gaps]
    return ranking(names, series, words, WIDTH, legend=4)


def _clock_costs(summary: Row, costs: list[Row]) -> Markup:
    """Scores under free compute and under each clock, a line an agent and task."""
    names = list(dict.fromkeys(f"{c['task']}, {c['agent']}" for c in costs))
    series = []
    for i, clock in enumerate([FREE, *[c for c in summary["clocks"] if c != FREE]]):
        some = [c for c in costs if clock in (FREE, c["clock"])]
        key = "return_free" if clock == FREE else "return_clock"
        x = [float(to_score(c[key], summary["scales"][c["task"]])) for c in some]
        y = [names.index(f"{c['task']}, {c['agent']}") for c in some]
        label = "free compute" if clock == FREE else clock
        color, marker = (OURS, "o") if clock == FREE else ("black", "<vx+"[(i - 1) % 4])
        series.append(Series(x, y, label, color, marker, style={"ms": 6}))
    return ranking(names, series, {"xlabel": "score"}, WIDTH, legend=4)


def _curve(task: str, summary: Row, trainings: Sequence[Row]) -> Card:
    """Our trainings over frames and this bench's returns, beside published curves."""
    ends = [t["frames"][-1] for t in trainings if t["frames"]]
    labels = [t["label"] for t in trainings]
    if len(labels) > 3:
        labels = ["trainings", *[None] * (len(labels) - 1)]
    series = published(task, max(ends, default=None)) + [
        Series(t["frames"], t["returns"], label, style={"lw": 1.2, "alpha": 0.7})
        for t, label in zip(trainings, labels, strict=True)
    ]
    rules = []
    for c in summary["cells"]:
        if c["task"] == task and c["return_mean"] is not None and c["agent"] != "zero":
            name, color = policy(c["agent"], c["clock"]), _color(c["agent"], summary)
            shown = c["clock"] == FREE and c["return_ci95"][0] is not None
            band = c["return_ci95"] if shown else None
            rules.append(Rule(c["return_mean"], name, color, _dash(c["clock"], summary), band=band))
    words = {"xlabel": "frames", "ylabel": "return"}
    figure = chart(series, words, rules=rules, legend=3, size=(6, 3.6))
    known = "Grey: other published methods; sources in agents/reports/published.py."
    note = known if published_curves(task) else "No published figures are known for this task."
    return Card(task, [figure], note)


def _video(name: str, path: Path) -> Card:
    try:
        return Card(name, [video(path)])
    except CheckpointError as error:
        return Card(name, note=f"No video: {error}")
