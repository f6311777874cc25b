"""Names reach every kind of page as they are: never as markup, a formula, a link or a cell."""

import json
import re
from dataclasses import asdict
from html.parser import HTMLParser
from pathlib import Path
from unittest.mock import patch
from xml.etree import ElementTree

import numpy as np
import pytest

from agents.benchmarks.aggregate import aggregate
from agents.benchmarks.report import write_bench_html, write_summary_md
from agents.benchmarks.sweep.config import SweepConfig
from agents.benchmarks.sweep.sweep import sweep
from agents.goals.robustness.report import write_shift_html
from agents.inspection.report import page as inspection
from agents.reports.html import Card, Fold, Page, pictures
from agents.reports.plots import Rule, Series, chart, heat_map, histogram, ranking
from agents.reports.tables import Table, escaped, markdown
from agents.runs.config import TrainConfig
from agents.training.report import write_report
from scripts.output import print_parts
from tests.agents.benchmarks import test_report as bench_report
from tests.agents.training.test_report import RESULT, make_run

NAME = "<script>alert(1)</script>&amp;|$x^{$ [a](javascript:b) `c` \\"


class Text(HTMLParser):
    """Tags of a page, and the text outside its figures and styles."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.text = set(), ""
        figures = re.findall(r"<svg.*?</svg>", page, flags=re.S)
        assert all(ElementTree.fromstring(figure) is not None for figure in figures)
        self.feed(re.sub(r"<svg.*?</svg>", "", page, flags=re.S))

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        outside = [v for k, v in attrs if k in ("src", "href") and not v.startswith("data:")]
        assert not outside and not [k for k, _ in attrs if k.startswith("on")]

    def handle_data(self, data):
        self.text += data


def training(folder):
    result = {**RESULT, "env_id": NAME, "command": NAME, "video": NAME, "versions": {NAME: NAME}}
    return write_report(make_run(folder, result)).read_text(), ""


def bench(folder):
    rows = bench_report.rows(NAME, clocks=("free", NAME)) + bench_report.rows()
    rows += [row | {"agent": NAME} for row in bench_report.rows()]
    summary = aggregate(rows, [{"task": NAME, "agent": NAME, "reason": NAME}])
    curves = {NAME: [{"label": NAME, "frames": [0, 9], "returns": [1.0, 2.0]}]}
    page = write_bench_html(folder / "report.html", summary, curves, {NAME: folder / "gone"})
    return page.read_text(), write_summary_md(summary)


def sweeping(folder):
    """No stored id can be such a name; the page escapes it all the same."""
    with (
        patch("agents.runs.bounds.check"),
        patch("agents.runs.settings.check", lambda name, value, *_: value),
    ):
        return swept(folder)


def swept(folder):
    found = folder / "model"
    found.mkdir()
    (found / "MANIFEST.json").write_text("the model")
    settings = asdict(TrainConfig(env_id=NAME))
    stored = {"settings": settings, "env": {"control_dt": 0.01, "action_repeat": 2}}
    (found / "config.json").write_text(json.dumps(stored))
    config = SweepConfig(str(found), "planner.horizon=1,3", out=str(folder / "out"), jobs=0)
    sweep(config, worker="sweep_workers:play")
    return tuple((folder / "out" / name).read_text() for name in ("report.html", "summary.md"))


def looked(folder):
    probe = {"r2": 0.5, "low": 0.4, "high": None}
    score = {"auroc": 0.9, "low": 0.8, "high": 1.0, "event": [1.0, 2.0], "control": [1.0, 1.0]}
    curve = {"mean": [0.1, 0.2], "low": [0.1, 0.1], "high": [None, 0.3]}
    shape = {"dimensions": 2, "effective_rank": 1.5, "effective_rank_share": 0.7, "std": [1.0, 2.0]}
    counted = {"steps": 1, "seconds": 0.1, "accuracy": 0.5, "low": 0.1, "high": 0.7}
    result = dict.fromkeys(("run", "env_id", "objective", "sees", "history", "action_block"), NAME)
    result |= {
        "test_episodes": 1,
        "probes": [{"name": NAME, "kind": "position", "linear": probe, "mlp": probe}],
        "open_loop": {"model": curve, "copy": curve, "step_s": 0.1},
        "counterfactuals": [counted | {"chance": 0.2, "starts": 3}],
        "events": {NAME: score, "teleport": {"note": NAME}},
        "geometry": shape | {"straightness": {NAME: {"mean": 0.1, "low": None, "high": None}}},
        "decoder": {"note": NAME},
        "settings": {NAME: NAME},
    }
    return inspection(result, None).html(), ""


def shifted(folder):
    row = {"kind": "", "shift": "", "level": 0.0, "success": 0.5, "success_interval": [0.4, 0.6]}
    row |= {"surprise": 0.1, "auroc": 0.5, "flagged": 0.1}
    worlds = [row, row | {"kind": "mass", "shift": NAME, "level": 2.0}]
    summary = {"env_id": NAME, "mode": "plan", "goals": 5, "worlds": worlds}
    write_shift_html(folder / "shift.html", summary | {"drop_surprise_rank": 0.5})
    return (folder / "shift.html").read_text(), ""


@pytest.mark.parametrize("make", [training, bench, sweeping, looked, shifted])
def test_names_are_escaped_on_every_page(tmp_path, monkeypatch, make):
    monkeypatch.syspath_prepend(str(Path(bench_report.__file__).parent))
    html, text = make(tmp_path)
    page = Text(html)
    assert NAME in page.text and page.tags <= {*KNOWN}, page.tags - {*KNOWN}
    if text:
        assert escaped(NAME) in text and NAME not in text
        tables = [[cells(line) for line in part.splitlines()] for part in text.split("\n\n")]
        assert all(len({*widths}) == 1 for widths in tables if widths[0] > 1)


KNOWN = (
    "html meta title style main h1 h2 h3 p div span b section pre details summary table tr th td"
).split()


def cells(line):
    return len(re.findall(r"(?<!\\)(?:\\\\)*\|", line))


def test_markdown_takes_a_name_for_nothing_else():
    shown = escaped(NAME + "\n# no heading")
    assert shown == (
        "\\<script\\>alert(1)\\</script\\>\\&amp;\\|\\$x^{\\$ [a]\\(javascript:b) \\`c\\` \\\\ "
        "# no heading"
    )
    page = markdown("Page", ["a|b"], [Table("T_1", "n", ("x", "y"), [["a\nb", "c|d"]])])
    lines = ["# Page", "", "a\\|b", "", "## T\\_1", "", "n", "", "| x | y |", "| --- | --- |"]
    assert page.splitlines() == [*lines, "| a b | c\\|d |"]


def test_the_terminal_takes_a_name_for_no_style(capsys):
    print_parts([Table("[red]T", "[b]n", ("[i]x",), [["[u]y"]])])
    shown = capsys.readouterr().out
    assert all(word in shown for word in ("[red]T", "[b]n", "[i]x", "[u]y"))


def test_figures_take_a_name_for_no_formula():
    figures = [
        lambda: chart([Series([1, 2], [3, 400], NAME)], {"xlabel": NAME, "ylabel": NAME}, log="xy"),
        lambda: ranking([NAME], [Series([1], [0], NAME, low=[0], high=[2], text=[NAME])], {}),
        lambda: histogram([1.0, 2.0], {"xlabel": NAME}, 1.5, [Rule(1, NAME)]),
        lambda: heat_map(np.eye(2), {}, {(0, 1): NAME}, (1, 1), ([NAME, "b"], "ab"), NAME),
    ]
    for figure in figures:
        assert ElementTree.fromstring(figure()).tag.endswith("svg")


def test_what_is_not_known_is_not_drawn():
    gaps = Series([1, 2, 3], [1.0, None, 3.0], low=[None] * 3, high=[2.0, None, 4.0])
    assert "nan" not in chart([gaps, Series([], [])], {}).lower()


def test_pictures_are_laid_out_with_gaps():
    import base64
    import io

    from PIL import Image

    grid = np.arange(2 * 3 * 4 * 5 * 3, dtype=np.uint8).reshape(2, 3, 4, 5, 3)
    data = re.findall(r"base64,([^\"]*)", pictures(grid, 'a "b"', scale=2))[0]
    page = np.array(Image.open(io.BytesIO(base64.b64decode(data))))[::2, ::2]
    assert page.shape == (2 * 4 + 2, 3 * 5 + 2 * 2, 3)
    assert (page[6:, 7:12] == grid[1, 1]).all() and (page[4:6] == 255).all()


def test_parts_of_a_card():
    fold = Fold("more", Table("", "", ("a",), [["<b>"]]))
    html = Page("t", "s", [Card("c", ["<plain>", fold])], lead="<lead>").html()
    assert "<pre>&lt;plain&gt;</pre>" in html and "<td>&lt;b&gt;</td>" in html
    assert "<p>&lt;lead&gt;</p>" in html and 'class="tile"' not in html
