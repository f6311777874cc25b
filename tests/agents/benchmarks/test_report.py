"""The report of a bench: self-contained, complete, the same for the same summary."""

import re
from xml.etree import ElementTree

import numpy as np
import pytest

from agents.benchmarks.aggregate import aggregate
from agents.benchmarks.report import write_bench_html, write_summary_md
from agents.benchmarks.tables import tables

TASK = "cartpole-swingup"


def rows(task=TASK, agents=("plan", "prior", "oracle", "random"), clocks=("free",), valid=True):
    rng = np.random.default_rng(0)
    levels = {"plan": 800, "prior": 700, "oracle": 900, "random": 50}
    return [
        {
            "key": f"{task}/{agent}/{clock}/{episode}",
            "task": task,
            "agent": agent,
            "clock": clock,
            "train_seed": 0 if agent in ("plan", "prior") else None,
            "episode": episode,
            "seed": episode,
            "return": levels[agent] + float(rng.normal(0, 30)),
            "success": float(episode % 2),
            "length": 500,
            "valid": valid,
            "plan_ms": {"p50": 4.0, "p95": 5.0, "p99": 6.5} if agent == "plan" else None,
            "deadline_misses": None if clock == "free" else 3,
        }
        for agent in agents
        for clock in (clocks if agent == "plan" else clocks[:1])
        for episode in range(4)
    ]


FAILURES = [
    {"task": "walker-walk", "agent": "plan", "train_seed": 1, "reason": "bad <checkpoint>\nline 2"}
]


@pytest.fixture(scope="module")
def full():
    everything = rows(clocks=("free", "fixed:50")) + rows("HalfCheetah-v5")
    return aggregate(everything, FAILURES)


def test_page_holds_everything_and_fetches_nothing(tmp_path, full):
    video = tmp_path / "v.mp4"
    video.write_bytes(b"not really a video")
    curves = {TASK: [{"label": "seed 0", "frames": [0, 50_000], "returns": [50.0, 790.0]}]}
    curves["HalfCheetah-v5"] = curves[TASK]
    videos = {"the plan": video, "gone": tmp_path / "gone.mp4"}
    page = write_bench_html(tmp_path / "report.html", full, curves, videos).read_text()
    links = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert [u for u in links if not u.startswith(("#", "data:video/mp4;base64,"))] == []
    for title in (
        "Over tasks",
        "Probability of improvement",
        "Planner and model",
        "Return under the clock",
        "Latency",
        "Failed runs",
    ):
        assert f"<h2>{title}</h2>" in page
    assert "bad &lt;checkpoint&gt; line 2" in page
    assert "<h2>gone</h2>" in page and "No video: gone.mp4 cannot be read" in page
    assert "No published figures are known for this task." in page
    assert "nan" not in re.sub(r"<svg.*?</svg>", "", page, flags=re.S)


def test_figures_are_whole_and_the_same_again(tmp_path, full):
    first = write_bench_html(tmp_path / "a.html", full).read_bytes()
    assert write_bench_html(tmp_path / "b.html", full).read_bytes() == first
    figures = re.findall(r"<svg.*?</svg>", first.decode(), flags=re.S)
    assert len(figures) == 5 + 1  # over tasks, and one on the task with published curves
    for figure in figures:
        ElementTree.fromstring(figure)


def test_summary_in_markdown(full):
    text = write_summary_md(full)
    assert "12 of 12" not in text and "36 of 36 episodes valid" in text
    for name, table in tables(full).items():
        assert f"## {table.title}" in text, name
        assert all(len(row) == len(table.header) for row in table.rows)
    assert "walker-walk, plan, train\\_seed 1" in text
    assert "bad \\<checkpoint\\> line 2" in text
    assert "12 of 2,000 (0.6%)" in text
    widths = [len(re.findall(r"(?<!\\)\|", s)) for s in text.split("\n") if s.startswith("| task")]
    assert widths == [7, 8, 7, 8]  # returns, planner and model, clock, latency


def test_differences_say_whether_they_are_resolved(full):
    (row,) = [r for r in tables(full)["gaps"].rows if r[0] == TASK]
    assert row[5].startswith(f"{full['gaps'][1]['planning_adds']['difference']:.3g}")
    undecided = full["gaps"][0] | {"planning_adds": full["gaps"][0]["planning_adds"]}
    undecided["planning_adds"] = {
        "pairs": 4,
        "difference": 5.0,
        "ci95": [-3.0, 13.0],
        "resolved": False,
        "needed": 1234,
    }
    row = tables(full | {"gaps": [undecided]})["gaps"].rows[0]
    assert row[5] == "5 [-3, 13], not resolved: it would take 1,234 episodes"


@pytest.mark.parametrize(
    "made",
    [
        [],
        rows(agents=("plan",)),
        rows(valid=False),
        rows("Pendulum-v1", agents=("plan", "prior")),
        [r | {"agent": f"mine-{r['agent']}"} for r in rows()],
    ],
    ids=["nothing", "one agent", "nothing valid", "no scale", "agents of other names"],
)
def test_whatever_is_missing_is_left_out(tmp_path, made):
    summary = aggregate(made)
    page = write_bench_html(tmp_path / "report.html", summary).read_text()
    assert "</html>" in page and "Failed runs" not in page
    assert write_summary_md(summary).startswith("# Bench\n")
