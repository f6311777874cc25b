"""Inspections of models whose answers are known: an exact one, a blind one, one of pictures."""

import json
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agents.data.collect import collect
from agents.data.config import CollectConfig
from agents.data.dataset import Dataset
from agents.goals.held_out import unlearned
from agents.inspection import inspect as inspect_run
from agents.inspection import surprise
from agents.inspection.config import InspectConfig
from agents.inspection.decoder import decode, decoded, fit
from agents.inspection.model import InspectedModel, rows_of
from agents.inspection.report import page
from agents.runs.config import ConfigError
from agents.runs.directory import plain
from envs.native.recorded import EditedSimulator, ObservationSource, heavier, hide, recolour
from envs.spec import EnvError
from scripts.cli import main

SMALL = InspectConfig(rows=400, horizon=3, clips=24, window=2, starts=6, branches=4, decoder_rows=0)


HOW = {"steps": 24, "pixels": False, "correlation": 0.8, "test": 0.3}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    out = tmp_path_factory.mktemp("data") / "points"
    collect(CollectConfig("point_mass-easy", str(out), episodes=30, **HOW))
    return Dataset.open(out)


@pytest.fixture(scope="module")
def exact(data):
    """The latent is the observation; a step is the linear map that fits the data."""
    rows = data.slices(np.random.default_rng(0), "train", 800, 2)
    x = np.concatenate([rows["obs"][:, 0], rows["action"][:, 0], np.ones((800, 1))], 1)
    fit = jnp.asarray(np.linalg.lstsq(x, rows["obs"][:, 1], rcond=None)[0], jnp.float32)

    def step(z, a):
        return jnp.concatenate([z, a, jnp.ones((len(z), 1))], 1) @ fit

    encode = jax.jit(lambda f: jnp.asarray(f[:, -1], jnp.float32))
    return InspectedModel("jepa", "obs", 1, 1, 1, encode, jax.jit(step), lambda z: z)


def blind():
    """Everything is one point."""
    nothing = jax.jit(lambda f: jnp.zeros((len(f), 4)))
    return InspectedModel("jepa", "obs", 2, 2, 1, nothing, lambda z, a: z, lambda z: z)


@pytest.fixture(scope="module")
def result(exact, data):
    return inspect_run.examine(exact, data, SMALL)[0]


def test_an_exact_model_knows_everything(result):
    rows = {row["name"]: row for row in result["probes"]}
    assert {"position", "velocity"} <= {row["kind"] for row in rows.values()}
    assert min(row["linear"]["r2"] for row in rows.values() if row["kind"] != "contact") > 0.999
    curves = result["open_loop"]
    assert max(curves["model"]["high"]) < 0.1 * curves["copy"]["mean"][-1]
    assert len(curves["model"]["mean"]) == 3 and curves["step_s"] == pytest.approx(0.04)
    assert [row["steps"] for row in result["counterfactuals"]] == [1, 3]
    assert min(row["accuracy"] for row in result["counterfactuals"]) > 0.8
    assert result["geometry"]["effective_rank_share"] > 0.5
    straight = result["geometry"]["straightness"]
    assert straight["latent"] == pytest.approx(straight["obs"])


def test_an_exact_model_is_surprised_by_what_cannot_be(result):
    events = result["events"]
    for name in ("teleport", "velocity reversal"):
        assert events[name]["auroc"] > 0.99 and events[name]["low"] <= events[name]["auroc"]
    event, control = (np.array(events["teleport"][k]) for k in ("event", "control"))
    assert event[0] == control[0], "before the event nothing differs"
    assert event[1] > 50 * control[1], "at the event it does"
    assert events["mass"]["auroc"] > 0.6
    assert "does not see" in events["vanishing"]["note"]
    assert "does not see" in events["colour (control)"]["note"]


def test_little_data_is_shown_with_what_is_not_known(exact, data):
    """A quantity that never changes in test, and one test episode: no figure, no interval."""
    state = np.array(data.arrays["state"])
    tests = data.split("test")
    still = next(i for i, q in enumerate(data.info.state) if q.kind == "position")
    for number in tests:
        state[data.episodes[number].rows, still] = 0.7
    one = [replace(e, split="train") if i in tests[1:] else e for i, e in enumerate(data.episodes)]
    info = replace(data.info, episodes=tuple(one))
    few = Dataset(data.path, info, {**data.arrays, "state": state})
    found = inspect_run.examine(exact, few, SMALL)[0]
    kept = {row["name"] for row in found["probes"]}
    assert data.info.state[still].name not in kept and len(kept) > 1
    assert all(np.isnan(row["mlp"]["low"]) for row in found["probes"])
    about = {"run": "r", "env_id": "e", "objective": "lewm", "sees": "obs", "history": 1}
    html = page(plain({**about, "action_block": 1, "test_episodes": 1, **found}), None).html()
    assert "no interval" in html and "test episodes only: 1, too few" in html


def test_no_test_episode_is_one_that_was_learned_from(data, tmp_path):
    """More episodes with the same seed hold the same ones again, in other splits."""
    collect(CollectConfig("point_mass-easy", str(tmp_path / "more"), episodes=45, **HOW))
    more = Dataset.open(tmp_path / "more")
    learned = {data.episodes[i].seed for i in data.split("train")}
    leaked = [i for i in more.split("test") if more.episodes[i].seed in learned]
    assert leaked, "the splits of more episodes are others"
    kept = unlearned(more, str(data.path))
    assert set(kept.split("test")) == set(more.split("test")) - set(leaked)
    assert set(more.split("train")) <= set(kept.split("train"))
    assert unlearned(more, str(tmp_path / "gone")) is more
    none = replace(more.info, episodes=tuple(replace(e, split="train") for e in more.episodes))
    with pytest.raises(ConfigError, match=r"every test episode of .*collect others with another"):
        unlearned(Dataset(more.path, none, more.arrays), str(data.path))


def test_a_blind_model_knows_nothing(data):
    found = inspect_run.examine(blind(), data, SMALL)[0]
    assert max(row["linear"]["r2"] for row in found["probes"]) < 0.05
    assert found["geometry"]["effective_rank"] == 0
    assert all(row["auroc"] == 0.5 for row in found["events"].values() if "auroc" in row)
    for row in found["counterfactuals"]:
        assert row["accuracy"] == pytest.approx(row["chance"])


def test_controls_are_what_was_recorded(data):
    """The simulator of the experiments goes where the recorded one went."""
    world = EditedSimulator(data.spec)
    rows = data.episode(0)
    moments, obs = world.run(rows["physics"][3], rows["action"][3:13])
    assert moments.shape[1] == rows["physics"].shape[1]
    np.testing.assert_allclose(obs, rows["obs"][3:14], atol=1e-5)
    np.testing.assert_allclose(obs[0], rows["obs"][3], atol=1e-7)


def test_a_changed_world_differs_and_an_unchanged_one_does_not(data):
    rows = data.episode(0)
    start, actions = rows["physics"][3], rows["action"][3:13]
    plain_run = EditedSimulator(data.spec).run(start, actions)[1]
    np.testing.assert_allclose(
        EditedSimulator(data.spec, heavier(1.0)).run(start, actions)[1], plain_run, atol=1e-9
    )
    assert (
        abs(EditedSimulator(data.spec, heavier(4.0)).run(start, actions)[1] - plain_run).max()
        > 1e-3
    )


def test_rows_are_of_the_split_and_have_their_history(data):
    model = blind()
    row, owner = rows_of(data, "test", model, 50, 0, after=3)
    assert len(row) == 50 and set(owner) <= set(data.split("test"))
    for r, number in zip(row, owner, strict=True):
        episode = data.episodes[number]
        assert episode.start + 2 <= r <= episode.rows.stop - 1 - 3
    with pytest.raises(ConfigError, match=r"no episode of split test has \d+ rows"):
        rows_of(data, "test", model, 50, 0, after=100)


def test_histories_are_gathered_in_order(data):
    """Embeddings and rollouts read the frames that the model asks for, and pad without a trace."""
    encode = jax.jit(lambda f: f[..., 0].astype(jnp.float32))
    model = InspectedModel(
        "jepa", "obs", 3, 2, 2, encode, lambda z, a: z + a.sum(-1, keepdims=True), lambda z: z
    )
    frames = np.arange(1000.0, dtype=np.float32)[:, None]
    rows = np.arange(10, 610)
    found = model.embeddings(frames, rows)
    np.testing.assert_array_equal(found, rows[:, None] + [-4, -2, 0])
    path = model.rollout(frames, rows, np.ones((600, 4, 1), np.float32), 2)
    np.testing.assert_array_equal(path[:, 2], rows[:, None] + [-4, -2, 0] + 4)


@pytest.fixture(scope="module")
def pictured(tmp_path_factory):
    """A dataset with pictures, and a model whose latent is the picture and stays as it is."""
    out = tmp_path_factory.mktemp("data") / "rooms"
    how = {"episodes": 8, "steps": 24, "size": 32, "policy": "scripted", "test": 0.5, "jobs": 1}
    try:
        collect(CollectConfig("two-room", str(out), **how))
    except EnvError as error:
        pytest.skip(f"no OpenGL here: {error}")
    encode = jax.jit(lambda f: f[:, -1].reshape(len(f), -1).astype(jnp.float32) / 255)
    model = InspectedModel("jepa", "pixels", 2, 1, 1, encode, lambda z, a: z, lambda z: z)
    return Dataset.open(out), model


def test_events_in_pictures(pictured):
    data, model = pictured
    config = InspectConfig(rows=100, clips=12, window=2, colour_shift=1.0)
    found = surprise.violations(model, data, config)
    assert found["teleport"]["auroc"] > 0.95
    vanishing = found["vanishing"]
    assert vanishing["event"][0] == pytest.approx(vanishing["control"][0], rel=0.5)
    assert {"auroc", "low", "high"} <= vanishing.keys()
    colour = found["colour (control)"]
    assert colour["event"][1] > colour["control"][1], "this model sees nothing but colours"


def test_hiding_and_recolouring_touch_the_object_only(pictured):
    data, _ = pictured
    moment = np.asarray(data.arrays["physics"][:1])
    shots = []
    for edit in (None, hide, recolour(1.0)):
        views = ObservationSource(data.spec, 32, edit)
        shots.append(views.of(moment, moment)[0].astype(int))
        views.close()
    np.testing.assert_array_equal(shots[0], data.arrays["pixels"][0])
    for other in shots[1:]:
        changed = abs(other - shots[0]).max(-1) > 8
        assert 1 <= changed.sum() < 80


def test_the_page_is_self_contained(result, pictured):
    about = {"run": "r<1>", "env_id": "e", "objective": "lewm", "sees": "obs", "history": 1}
    about["test_episodes"] = 9
    full = plain({**about, "action_block": 1, **result})
    html = page(full, None).html()
    assert "r&lt;1&gt;" in html and "What can be read" in html and "<svg" in html
    assert 'src="http' not in html and 'href="http' not in html and "<script" not in html
    clips = np.zeros((3, 3, 2, 8, 8, 3), np.uint8)
    full["decoder"] = {"error": 0.1, "mean_picture_error": 0.2, "steps": [0, 1]}
    assert "data:image/png;base64," in page(full, clips).html()
    json.dumps(full)


def test_the_decoder_shows_what_is_in_the_latent():
    """A blurred dot on a line; half of the latent says where it is, half is something else."""
    rng = np.random.default_rng(0)

    def draw(count):
        at = rng.uniform(-1, 1, (count, 1))
        latent = np.concatenate([at, 2 * at, rng.standard_normal((count, 2))], 1)
        dot = np.exp(-(((np.linspace(-1, 1, 8) - at) / 0.3) ** 2))
        return latent, np.repeat(np.repeat(dot[:, None, :, None], 8, 1), 3, -1)

    decoder = fit(*draw(200), *draw(50))
    latent, true = draw(100)
    error = np.mean((decode(decoder, latent).reshape(true.shape) - true) ** 2)
    assert error < 0.05 * np.var(true, axis=0).mean()


def test_decoded_pictures_are_laid_out(pictured):
    data, model = pictured
    found = decoded(model, data, InspectConfig(horizon=1, decoder_rows=70))
    assert found["clips"].shape == (3, 3, 2, 32, 32, 3) and found["steps"] == [0, 1]
    assert np.isfinite(found["error"]) and found["mean_picture_error"] > 0
    true, shown = found["clips"][:, 0].astype(int), found["clips"][:, 1].astype(int)
    assert abs(true - shown).mean() < 10, "walls and floor at least are right"
    left_out = decoded(model, data, InspectConfig(decoder_rows=0))
    assert "left out" in left_out["note"]


def test_the_verb_writes_a_page_and_its_figures(tmp_path, monkeypatch, capsys, result):
    about = {"run": "toy", "env_id": "e", "objective": "lewm", "sees": "obs", "history": 1}
    about["test_episodes"] = 9
    opened = (None, None, {**about, "action_block": 1})
    monkeypatch.setattr(inspect_run, "open_run", lambda *_: opened)
    monkeypatch.setattr(inspect_run, "examine", lambda *_: (dict(result), None))
    assert main(["inspect", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    assert "AUROC teleport" in shown and "counterfactuals, 3 steps" in shown
    stored = json.loads((tmp_path / "inspect" / "inspect.json").read_bytes())
    assert stored["events"]["teleport"]["auroc"] == result["events"]["teleport"]["auroc"]
    assert (tmp_path / "inspect" / "inspect.html").read_text().startswith("<!doctype html>")
    assert main(["inspect", str(tmp_path), "--out", str(tmp_path / "else"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["report"].endswith("else/inspect.html")


@pytest.mark.slow
def test_a_pretrained_run_is_inspected(tmp_path, data):
    run = str(tmp_path / "run")
    assert main(["pretrain", str(data.path), "--run-dir", run, "--updates", "40"]) == 0
    few = "--rows 200 --clips 8 --starts 2 --branches 2 --horizon 2".split()
    assert main(["inspect", run, *few]) == 0
    found = json.loads((tmp_path / "run" / "inspect" / "inspect.json").read_bytes())
    assert found["kind"] == "jepa" and found["events"]["teleport"]["clips"] == 8


def test_the_verb_refuses_what_it_cannot_inspect(tmp_path, capsys):
    assert main(["inspect", str(tmp_path / "nothing")]) == 3
    assert main(["inspect", str(tmp_path)]) == 3
    assert main(["inspect", str(tmp_path), "--clips", "1"]) == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 3 and "clips must lie in [2, 16384]" in said[2]
