"""Settings by dotted name, and stored settings back to typed ones."""

import json
from dataclasses import asdict

import pytest

from agents.runs.config import ConfigError, TrainConfig, preset_config
from agents.runs.settings import flat_types, flatten, nearest, overlay, train_config_from
from agents.storage.files import CheckpointError


def test_every_preset_survives_json():
    for preset in ("tiny", "1M", "317M"):
        config = preset_config(preset, env_id="a/b", seed=3)
        stored = json.loads(json.dumps(asdict(config)))
        assert train_config_from(stored | {"env": {}, "digest": "0"}, "here") == config
        assert train_config_from({"settings": stored, "versions": {}}, "here") == config


@pytest.mark.parametrize(
    "stored", [{"settings": 3}, {"modle": {}}, {"seed": "1"}, {"model": {"latent_dim": 7}}]
)
def test_stored_settings_of_another_kind_are_a_bad_checkpoint(stored):
    with pytest.raises(CheckpointError, match=r"runs/x/config\.json") as caught:
        train_config_from(stored, "runs/x/config.json")
    assert caught.value.exit_code == 3


def test_names_are_flat_and_in_order():
    names = list(flat_types(TrainConfig))
    assert names[0] == "env_id"
    assert names.index("model.latent_dim") < names.index("planner.horizon")


def test_flatten_and_overlay_are_inverse():
    config = preset_config("5M")
    assert overlay(TrainConfig(), flatten(TrainConfig, asdict(config), "here")) == config


def test_whole_numbers_pass_as_numbers_but_not_the_reverse():
    assert flatten(TrainConfig, {"utd": 2}, "here") == {"utd": 2.0}
    with pytest.raises(ConfigError):
        flatten(TrainConfig, {"seed": 2.0}, "here")


@pytest.mark.parametrize(
    ("name", "found"),
    [("SEED", "seed"), ("horizn", "planner.horizon"), ("planner.horizn", "planner.horizon")],
)
def test_nearest_ignores_case_and_block(name, found):
    assert nearest(name, ["seed", "planner.horizon"]) == found


def test_nothing_is_near_to_nonsense():
    assert nearest("qqqq", ["seed", "planner.horizon"]) is None
