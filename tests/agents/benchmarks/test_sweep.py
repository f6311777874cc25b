"""A whole sweep on stand-in workers: rounds, pairing, stopping, resuming, what is written."""

import json
import re
from dataclasses import asdict
from pathlib import Path

import pytest

from agents.benchmarks.sweep.config import SweepConfig, plan_sweep, rounds
from agents.benchmarks.sweep.sweep import SweepError, sweep
from agents.benchmarks.sweep.tables import short_tables
from agents.jobs.store import key_of
from agents.runs.config import ConfigError, TrainConfig
from agents.storage.files import CheckpointError
from planning.config import PlannerConfig

GRID = "planner.horizon=1,2,3,5,12 planner.num_samples=32,128"
SPEC = {"control_dt": 0.01, "action_repeat": 2}


@pytest.fixture(autouse=True)
def workers_are_found(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parent))


@pytest.fixture
def model(tmp_path):
    """A checkpoint directory as far as a sweep looks into it."""
    found = tmp_path / "run" / "checkpoints" / "000000100"
    found.mkdir(parents=True)
    (found / "MANIFEST.json").write_text("the model")
    (found / "spec.json").write_text(json.dumps(SPEC))
    (found / "config.json").write_text(json.dumps({"settings": asdict(TrainConfig())}))
    return found


@pytest.fixture
def run(model, tmp_path):
    """Sweeps on the stand-in; the summary."""

    def run(grid=GRID, worker="play", say=lambda line: None, **more):
        out = more.pop("out", str(tmp_path / "out"))
        config = SweepConfig(str(model), grid, out=out, jobs=0, **more)
        return sweep(config, say, worker=f"sweep_workers:{worker}")

    return run


def by_name(summary):
    return {s["name"]: s for s in summary["settings"]}


def episodes(out):
    return [json.loads(line) for line in Path(out, "results.jsonl").read_text().splitlines()]


def test_rounds_grow_and_end_with_the_episodes_asked_for():
    assert [rounds(n) for n in (1, 2, 5, 10, 30)] == [
        [1],
        [2],
        [2, 4, 5],
        [2, 4, 7, 10],
        [2, 4, 7, 10, 15, 22, 30],
    ]


def test_hopeless_settings_are_stopped_and_the_best_is_recommended(run, tmp_path):
    said = []
    summary = run(say=said.append)
    settings = by_name(summary)
    assert summary["complete"] and not summary["failures"]
    worst = settings["horizon=12 num_samples=128"]
    assert worst["status"] == "stopped" and worst["episodes_run"] == 4
    assert worst["stopped"]["round"] == 2 and worst["stopped"]["pairs"] == 4
    assert "stopped after round 2: worse than" in worst["note"]
    assert any(line.startswith("horizon=12 num_samples=128: stopped") for line in said)
    assert settings["horizon=1 num_samples=32"]["status"] == "complete", "nothing is faster"
    found = summary["recommendation"]
    assert found["name"] == "horizon=3 num_samples=32"
    assert found["best"] == "horizon=3 num_samples=128" and found["versus_best"]["pairs"] == 10
    assert found["versus_trained"]["pairs"] == 10 and found["speedup_over_trained"] == 4
    assert summary["episodes_run"] < summary["episodes_of_full_grid"] == 100


def test_the_grid_holds_the_settings_as_trained_once(run, tmp_path):
    summary = run("planner.horizon=1,3")
    assert "as trained" not in by_name(summary) and summary["trained"] == "horizon=3"
    assert "recommended, as trained" in (tmp_path / "out" / "summary.md").read_text()
    assert by_name(run("planner.horizon=1,2"))["as trained"]["planner"]["horizon"] == 3


def test_seeds_are_the_same_for_all_settings(run, tmp_path):
    run(eliminate=False, episodes=5)
    seeds = {}
    for row in episodes(tmp_path / "out"):
        seeds.setdefault(row["setting"], []).append(row["seed"])
    assert len(seeds) == 10 and all(s == list(range(1000, 1005)) for s in seeds.values())


def test_no_elimination_runs_everything(run):
    summary = run(eliminate=False, budget_ms=0.5)
    assert {s["episodes_run"] for s in summary["settings"]} == {10}
    assert summary["episodes_run"] == summary["episodes_of_full_grid"]
    assert summary["recommendation"]["name"] == "horizon=2 num_samples=32"


def test_settings_over_the_budget_are_stopped_after_the_first_round(run):
    settings = by_name(run(budget_ms=1.0))
    assert settings["horizon=5 num_samples=128"]["status"] == "over budget"
    assert settings["horizon=5 num_samples=128"]["episodes_run"] == 2
    assert "5 ms is over 1 ms" in settings["horizon=5 num_samples=128"]["note"]
    assert settings["horizon=3 num_samples=128"]["episodes_run"] == 10, "as trained"
    assert not settings["horizon=3 num_samples=128"]["feasible"]


@pytest.mark.parametrize(
    ("asked", "budget"), [({}, 20.0), ({"rate_hz": 50.0}, 20.0), ({"budget_ms": 3.0}, 3.0)]
)
def test_budget(run, asked, budget):
    summary = run("planner.horizon=1,3", episodes=2, **asked)
    assert summary["budget_ms"] == budget


def test_without_a_setting_in_the_budget_nothing_is_recommended(run, tmp_path):
    run("planner.horizon=1,3")
    assert (tmp_path / "out" / "recommended.toml").exists()
    summary = run("planner.horizon=1,3", budget_ms=0.01)
    assert summary["recommendation"] is None
    assert "No setting keeps the budget of 0.01 ms" in summary["verdict"]
    assert not (tmp_path / "out" / "recommended.toml").exists()


def files(directory):
    found = (path for path in Path(directory).rglob("*") if path.is_file() and path.name != "lock")
    return {str(path.relative_to(directory)): path.read_bytes() for path in found}


def test_same_command_changes_nothing_and_redoes_nothing(run, model, tmp_path):
    run()
    before, log = files(tmp_path / "out"), (model / "log").read_text()
    run()
    assert files(tmp_path / "out") == before
    assert (model / "log").read_text() == log
    assert len(set(log.splitlines())) == len(log.splitlines())


def test_another_grid_reuses_what_is_done(run, model):
    run("planner.horizon=2,3 planner.num_samples=128", eliminate=False)
    before = (model / "log").read_text().splitlines()
    run("planner.num_samples=64,128 planner.horizon=3,2", eliminate=False)
    after = (model / "log").read_text().splitlines()
    assert after[: len(before)] == before and len(after) == 2 * len(before)
    assert all("('num_samples', 64)" in line for line in after[len(before) :])


def test_more_episodes_go_on_from_the_rounds_there_are(run, model):
    run("planner.horizon=3", episodes=7)
    run("planner.horizon=3", episodes=10)
    assert len((model / "log").read_text().splitlines()) == 4


def test_interrupted_sweep_keeps_what_is_done_and_goes_on(run, model, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        run(worker="interrupted", eliminate=False)
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert not summary["complete"] and summary["recommendation"] is None
    assert "the same command goes on" in summary["verdict"]
    assert by_name(summary)["horizon=3 num_samples=32"]["episodes_run"] == 4
    assert not (tmp_path / "out" / "recommended.toml").exists()
    assert run(eliminate=False)["complete"]
    log = (model / "log").read_text().splitlines()
    assert len(log) == len(set(log)) == 40


def test_an_earlier_recommendation_stays_until_there_is_a_new_one(run, tmp_path):
    """Ctrl-C in a sweep that was extended, twice; then a failure; then to the end."""
    out = tmp_path / "out"
    run("planner.horizon=1,3", episodes=4, eliminate=False)
    before = (out / "recommended.toml").read_bytes()
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            run(worker="interrupted", eliminate=False)
        assert (out / "recommended.toml").read_bytes() == before
        summary = json.loads((out / "summary.json").read_text())
        assert summary["recommendation"] is None
        said = "recommended.toml is from an earlier sweep: its first line says which"
        assert said in summary["verdict"]
        assert "is from an earlier sweep" in (out / "summary.md").read_text()
    first = before.decode().splitlines()[0]
    assert "horizon=3 of 2 settings" in first and "4 episodes, budget 20 ms" in first
    with pytest.raises(SweepError):
        run("planner.horizon=2", eliminate=False, episodes=1, worker="everything_fails", seed=1050)
    assert (out / "recommended.toml").read_bytes() == before
    summary = run(eliminate=False)
    assert not summary["earlier"] and summary["recommendation"]["name"] != "horizon=3"
    assert (out / "recommended.toml").read_bytes() != before


def test_a_recommended_training_is_replaced_whole(run, tmp_path):
    """No training settings of an earlier sweep lie beside a recommendation without any."""
    run("seed=0,5 planner.horizon=3")
    assert (tmp_path / "out" / "recommended-train.toml").exists()
    run("planner.horizon=3")
    assert (tmp_path / "out" / "recommended.toml").exists()
    assert not (tmp_path / "out" / "recommended-train.toml").exists()


def test_a_failing_setting_is_told_and_the_rest_goes_on(run, tmp_path):
    summary = run("planner.horizon=1,2,3", worker="short_horizons_fail")
    assert [f["setting"] for f in summary["failures"]] == ["horizon=1"]
    assert "no such <horizon>" in summary["failures"][0]["reason"]
    assert summary["recommendation"]["name"] == "horizon=3"
    page = (tmp_path / "out" / "report.html").read_text()
    assert "no such &lt;horizon&gt;" in page and "<horizon>" not in page


def test_the_terminals_table_is_short(run):
    values = ",".join(map(str, range(40, 80)))
    shown, failed = short_tables(
        run(f"planner.horizon=1 planner.num_samples={values}", worker="short_horizons_fail")
    )
    assert len(shown.rows) == 30 and "11 more in summary.md" in shown.note
    assert shown.rows[0][0] == "as trained" and shown.rows[0][-1] == "recommended, as trained"
    assert shown.rows[1][-1] == "failed" and len(failed.rows) == 40
    shown, *_ = short_tables(run("planner.horizon=2,3"))
    assert {row[0]: row[2] for row in shown.rows}["horizon=2"].startswith("-")


def test_nothing_but_failures(run):
    with pytest.raises(SweepError, match=r"every setting failed.*nothing works"):
        run("planner.horizon=1,2", worker="everything_fails")


def test_training_settings_train_first(run, tmp_path):
    from sweep_workers import expected

    summary = run("learner.horizon=3,5 planner.horizon=3,5")
    settings = by_name(summary)
    assert settings["learner.horizon=3 horizon=3"]["training"] == {}
    assert settings["learner.horizon=5 horizon=3"]["training"] == {"learner.horizon": 5}
    trained = list((tmp_path / "out" / "train").iterdir())
    assert [path.name[:17] for path in trained] == ["learner.horizon=5"]
    found = summary["recommendation"]
    assert found["training"] == {"learner.horizon": 5}
    assert found["return_mean"] == pytest.approx(
        sum(expected({"horizon": 3}, s, 50.0) for s in range(1000, 1010)) / 10
    )
    assert (tmp_path / "out" / "recommended-train.toml").exists()


def test_results_name_the_setting_and_the_summary_is_plain(run, tmp_path):
    summary = run("planner.horizon=1,2")
    rows = episodes(tmp_path / "out")
    assert len({row["key"] for row in rows}) == len(rows)
    assert {row["setting"] for row in rows} == {"as trained", "horizon=1", "horizon=2"}
    assert json.loads((tmp_path / "out" / "summary.json").read_text()) == summary
    assert PlannerConfig(**summary["recommendation"]["planner"]).horizon == 3


@pytest.mark.parametrize("grid", [GRID, "planner.horizon=1,2,3", "planner.method=mppi,cem"])
def test_page_is_complete_and_fetches_nothing(run, tmp_path, grid):
    run(grid)
    page = (tmp_path / "out" / "report.html").read_text()
    links = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert [u for u in links if not u.startswith(("#", "data:image/png;base64,"))] == []
    assert page.count("<svg") == 2 and "recommended.toml" in page
    summary = (tmp_path / "out" / "summary.md").read_text()
    assert summary.startswith("# Sweep") and "recommended" in summary


def test_contended_latencies_are_said(run, tmp_path, model):
    run("planner.horizon=1")
    assert "measured while other cases ran" not in (tmp_path / "out" / "summary.md").read_text()
    config = SweepConfig(str(model), "planner.horizon=1", out=str(tmp_path / "out"), jobs=2)
    summary = sweep(config, worker="sweep_workers:play")  # all is done: no process is started
    assert summary["contended"]
    assert "measured while other cases ran" in (tmp_path / "out" / "summary.md").read_text()


def test_order_of_the_grid_changes_no_point(model):
    keys = [
        {key_of({"planner": s.planner}) for s in plan_sweep(SweepConfig(str(model), g)).settings}
        for g in (
            "planner.horizon=1,3 planner.num_samples=64",
            "planner.num_samples=64 planner.horizon=3,1",
        )
    ]
    assert keys[0] == keys[1]


def test_where_results_go(model, tmp_path):
    run = tmp_path / "run"
    (run / "config.json").write_text(json.dumps({**asdict(TrainConfig()), "env": SPEC}))
    of_run = plan_sweep(SweepConfig(str(run), "planner.horizon=1")).directory
    of_model = plan_sweep(SweepConfig(str(model), "planner.horizon=1")).directory
    assert of_run.resolve() == of_model.resolve() == (run / "sweep").resolve()
    (tmp_path / "elsewhere").mkdir()
    (run / "sweep").symlink_to(tmp_path / "elsewhere")
    for path in (run, model):
        with pytest.raises(CheckpointError, match="sweep is a link"):
            plan_sweep(SweepConfig(str(path), "planner.horizon=1"))
    typed = plan_sweep(SweepConfig(str(run), "planner.horizon=1", out=str(run / "sweep")))
    assert typed.directory == run / "sweep"
    alone = tmp_path / "alone"
    model.rename(alone)
    with pytest.raises(ConfigError, match="--out"):
        plan_sweep(SweepConfig(str(alone), "planner.horizon=1"))
