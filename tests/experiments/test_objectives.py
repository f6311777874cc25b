"""The comparison of objectives: measured points are kept, the table says what was measured."""

import json
from dataclasses import replace

import numpy as np
import pytest

from agents.runs.config import ConfigError
from tests.experiments import objectives
from tests.experiments.compare_objectives import main
from tests.experiments.decoded import planning_cost
from tests.experiments.objectives import BASELINE, CompareConfig, compare, settings
from tests.experiments.objectives_table import interval, success, table
from wm.jepa.model import JepaSpec, build


def row(objective, seed, won):
    measured = {
        "rank": 10.0,
        "rank_share": 0.5,
        "position_r2": 0.9 + 0.01 * seed,
        "velocity_r2": 0.5,
        "openloop_relative": 0.1,
        "train_core_s": 12.0,
        "num_params": 48_192,
        "plan_ms": 4.0,
    }
    found = {"objective": objective, "seed": seed, "plain": [won, 100], "guided": [won, 100]}
    return found if objective == BASELINE else found | measured


@pytest.fixture
def config(tmp_path):
    return CompareConfig("nowhere", str(tmp_path), objectives=("lewm", "none"), seeds=2)


def test_points_that_were_measured_are_not_measured_again(config, tmp_path, monkeypatch):
    measured = []

    def measure(config, objective, seed, run):
        measured.append((objective, seed))
        if len(measured) == 4:
            raise KeyboardInterrupt
        return row(objective, seed, 10)

    monkeypatch.setattr(objectives, "_measure", measure)
    monkeypatch.setattr(objectives.Dataset, "open", lambda path: None)
    with pytest.raises(KeyboardInterrupt):
        compare(config, lambda line: None)
    assert measured == [("lewm", 0), ("none", 0), (BASELINE, 0), ("lewm", 1)]
    rows = compare(config, lambda line: None)
    assert measured[4:] == [("lewm", 1), ("none", 1), (BASELINE, 1)]
    assert [(r["objective"], r["seed"]) for r in rows] == measured[:3] + measured[4:]
    kept = json.loads((tmp_path / "none-1" / "row.json").read_text())
    assert kept == rows[4]
    with pytest.raises(ConfigError, match=r"lewm-0/row.json was measured with goals 100, now 50"):
        compare(replace(config, goals=50), lambda line: None)


def test_only_the_objective_and_the_seed_differ(config, tmp_path):
    one, two = (settings(config, name, 1, tmp_path / name) for name in ("lewm", "vicreg"))
    assert one.model == two.model and one.learner == two.learner and one.updates == two.updates
    assert (one.objective, two.objective, one.seed) == ("lewm", "vicreg", 1)
    with pytest.raises(ConfigError, match=r"seeds must lie in \[1, 1000\]"):
        CompareConfig("nowhere", "out", seeds=0)


@pytest.mark.parametrize("preset", ["state", "pixels"])
def test_every_objective_has_settings_that_make_a_model(preset, tmp_path):
    """Only a frozen encoder of pictures has to be trained first."""
    config = CompareConfig("nowhere", str(tmp_path), preset=preset)
    shape = (64, 64, 3) if preset == "pixels" else (4,)
    for objective in config.objectives:
        made = settings(config, objective, 0, tmp_path)
        if (preset, objective) == ("pixels", "frozen"):
            made = replace(made, objective="lewm")
        net = build(made.model, made.learner, JepaSpec(shape, 2), made.objective)
        assert net.latent_dim == (4 if (preset, objective) == ("state", "frozen") else 32)


def test_the_table_has_a_line_an_objective_and_intervals_over_seeds():
    rows = [row(name, seed, 40 + 10 * seed) for seed in range(3) for name in ("lewm", BASELINE)]
    lines = table(rows).splitlines()
    assert len(lines) == 4 and len({line.count("|") for line in lines}) == 1
    assert "| lewm | 3 | 0.500 (0.252 to 0.748); 0.444 to 0.556 |" in lines[2]  # Wilson: 150 of 300
    assert "0.910 (0.885 to 0.935)" in lines[2] and "48,192" in lines[2]
    assert interval([0.5, 0.5]) == "0.500 (0.500 to 0.500)" and interval([0.5]) == "0.500"
    assert success([[0, 10]]).startswith("0.000; 0.000 to 0.2")


def test_a_name_that_is_no_objective_is_refused_in_one_line(capsys):
    with pytest.raises(SystemExit) as refused:
        main(["data", "--out", "out", "--objectives", "lewm,byol"])
    assert refused.value.code == 2 and "byol is none of lewm, " in capsys.readouterr().err


def test_planning_in_decoded_pictures_costs_more():
    """By the decoder: 32 to 256 to 256 to 4 places of 32, and at each 32 to 8 x 8 of 9 channels."""
    rows = planning_cost(size=16, block=1, repeats=0)
    per_picture = 2 * (32 * 256 + 256 * 256 + 256 * 4 * 32 + 4 * 32 * 576)
    more = [row["pixels_flop"] - row["latent_flop"] for row in rows]
    assert more[0] == pytest.approx((128 * 3 + 1) * per_picture, rel=0.01)
    assert more[1] == pytest.approx((128 * 3 * 5 + 1) * per_picture, rel=0.01)
    assert all(np.isnan(row["latent_ms"]) and row["flop_ratio"] > 1 for row in rows)
