"""What a path holds for a controller: a bundle's contract and programs, or a trained model."""

from collections.abc import Mapping
from typing import NamedTuple

from agents.deployment.bundle import files as bundle_files
from agents.deployment.bundle import load as bundle
from agents.deployment.contract import Contract
from agents.deployment.decision import Decide
from agents.deployment.describe import contract_for
from agents.runs.config import PlannerOverrides
from agents.runs.load import Trained, load
from planning.config import PlannerConfig


class Deployed(NamedTuple):
    """A model that can be made a controller of."""

    trained: Trained
    contract: Contract
    planner: PlannerConfig
    programs: Mapping[str, Decide] | None
    """The bundle's own, by mode; None where the installed code has to run."""
    note: str
    """Why the programs of a bundle are not run, in words; empty where they are, or are none."""


def open_path(
    path: str, mode: str, planner: PlannerOverrides | None, trust: bool, digest: str
) -> Deployed:
    """A run directory, a checkpoint or a bundle, verified. Raises ConfigError, CheckpointError."""
    overrides = planner or PlannerOverrides()
    if not bundle_files.is_bundle(path):
        if digest:
            raise bundle_files.BundleError(f"{path} is no bundle, the digest cannot be its own")
        trained = load(path)
        settings = overrides.apply(trained.config.planner)
        return Deployed(trained, contract_for(trained), settings, None, "")
    found = bundle.load(path, trust, digest)
    programs, note, own = found.programs, found.note, found.trained.config.planner
    settings = overrides.apply(own)
    if programs and settings != own:
        programs, note = None, f"its programs have other planner settings: {bundle.INSTEAD}"
    elif programs and mode not in programs:
        programs, note = None, f"its programs are not for mode {mode}: {bundle.INSTEAD}"
    return Deployed(found.trained, found.contract, settings, programs, note)
