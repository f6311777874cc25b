"""What version 0.1.0 stored still loads: a run, its replay, data, a model of goals, a bundle.

The folders beside this file were written by that version; only the path that Orbax notes in
commit_success.txt was taken out, and what holds it sealed again.
"""

import json
import shutil
from pathlib import Path

import numpy as np

from agents.data.dataset import Dataset
from agents.deployment.controller import Controller
from agents.goals.model import load_goal_heads
from agents.runs import load, load_pretrained
from scripts import cli

NAMED = {
    "": "num_envs seed_steps utd action_repeat eval_every replay_capacity",
    "learner": "batch_size",
    "model": "latent_dim num_bins encoder_width mlp_width",
    "planner": "num_samples num_elites num_prior_samples num_iterations",
}
"""What the specimens were trained with, where it is not the default."""
STORED = Path(__file__).parent / "v0_1_0"


def test_a_run_goes_on_where_it_was(tmp_path, capsys):
    """The command that made it, with more decisions: nothing is refused, nothing begins again."""
    run = tmp_path / "run"
    shutil.copytree(STORED / "run", run)
    settings = json.loads((run / "config.json").read_text())
    flags = {"run-dir": run, "env-steps": 302, "eval-episodes": 1}
    for block, names in NAMED.items():
        stored = settings[block] if block else settings
        flags |= {f"{block}.{name}".strip("."): stored[name] for name in names.split()}
    words = [w for k, v in flags.items() for w in (f"--{k.replace('_', '-')}", str(v))]
    argv = ["train", settings["env_id"], *words, "--no-video", "--json"]
    assert cli.main(argv) == 0, capsys.readouterr().err
    result = json.loads(capsys.readouterr().out)
    assert result["env_steps"] == 302
    newest = load.load(str(run))
    assert newest.path.name == "000000302"


def test_a_checkpoint_and_a_bundle_decide():
    run = load.load(str(STORED / "run"))
    assert run.config.env_id == "cartpole-swingup"
    controller = Controller.load(STORED / "bundle", mode="prior").warmup()
    action = controller.act(np.zeros(run.spec.obs_dim, np.float32))
    assert np.isfinite(action).all() and action.shape == (run.spec.action_dim,)


def test_data_and_what_was_learned_from_them_open():
    data = Dataset.open(STORED / "data", full=True)
    assert len(data.episodes) == 4
    trained = load_pretrained.load(STORED / "jepa")
    guides = load_goal_heads(trained)
    assert guides is not None and guides.config.width == 8
