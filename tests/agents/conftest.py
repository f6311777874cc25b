"""What tests of agents share: programs, and a checkpoint that took no training."""

from dataclasses import asdict
from functools import cache
from pathlib import Path

import jax
import pytest

from agents.acting import agent
from agents.deployment import decision
from agents.deployment.bundle import export
from agents.deployment.describe import contract_for
from agents.runs import networks
from agents.runs.config import TrainConfig
from agents.runs.load import load
from agents.storage import checkpoint
from agents.training import trainer
from agents.training.parallel import population
from envs.registry import make_spec
from planning.config import PlannerConfig
from wm.tdmpc import learner
from wm.tdmpc import model as tdmpc
from wm.tdmpc.config import ModelConfig

TRACED = (
    (tdmpc, "build"),
    (agent, "make_agent"),
    *((trainer, name) for name in ("make_agent", "make_learning", "pure_agent", "jitted")),
    *((population, name) for name in ("_actor", "_learner")),
    *((decision, name) for name in ("planner_policy", "prior_policy", "prior_action")),
    (decision, "refining_policy"),
)
"""What makes the programs of a training or of a controller, where it is looked up."""


@pytest.fixture(scope="module")
def traced_once():
    """Equal settings have the same programs in a file: most of a short run is tracing them.

    A test that counts compilations clears JAX's caches first, or does without.
    """
    with pytest.MonkeyPatch.context() as patch:
        for module, name in TRACED:
            patch.setattr(module, name, cache(getattr(module, name)))
        yield


@pytest.fixture
def point_data(monkeypatch):
    """Recorded episodes of a point in memory, as a class."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    from point_data import PointData

    return PointData


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory) -> Path:
    """A run directory of a small cartpole model with arbitrary parameters."""
    model = ModelConfig(latent_dim=16, encoder_width=16, mlp_width=16)
    planner = PlannerConfig(num_samples=16, num_prior_samples=4, num_elites=4, num_iterations=2)
    config = TrainConfig(env_id="cartpole-swingup", action_repeat=2, model=model, planner=planner)
    spec = make_spec(config.env_id, config.action_repeat)
    net = networks.build_networks(config, spec)

    @jax.jit
    def noisy():
        leaves, shape = jax.tree.flatten(learner.init(net, jax.random.key(0)).params)
        keys = jax.random.split(jax.random.key(1), len(leaves))
        moved = [x + 0.1 * jax.random.normal(k, x.shape) for x, k in zip(leaves, keys, strict=True)]
        return jax.tree.unflatten(shape, moved)

    path = tmp_path_factory.mktemp("tiny-run")
    checkpoint.save(
        path / "checkpoints",
        1,
        {"train": {"average": noisy()}},
        config={"settings": asdict(config)},
        spec=spec.to_json(),
    )
    return path


@pytest.fixture(scope="session")
def tiny_bundle(tiny_run, tmp_path_factory) -> export.Exported:
    """That run as a bundle, with its digest."""
    trained, out = load(str(tiny_run)), tmp_path_factory.mktemp("tiny-bundle") / "bundle"
    return export.export(trained, out, contract_for(trained))
