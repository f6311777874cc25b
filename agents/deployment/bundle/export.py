"""Write a bundle: a trained model as a folder that runs without us; `load` reads it."""

import json
import shutil
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import safetensors.numpy

from agents.deployment import decision
from agents.deployment.bundle import files as bundle_files
from agents.deployment.bundle import programs
from agents.deployment.bundle.config import ExportConfig
from agents.deployment.bundle.files import CONTRACT, PARAMS, PROGRAMS, RUNNER
from agents.deployment.contract import Contract, ContractError
from agents.deployment.describe import contract_for
from agents.deployment.guard.surprise import calibrate
from agents.evaluation.stored_task import settle
from agents.runs import load, task_files
from agents.runs.config import ConfigError
from agents.runs.config import digest as config_digest
from agents.runs.load import Trained
from agents.storage.files import sha256_bytes, storage_error, sync_directory, write_synced
from agents.storage.manifest import MANIFEST

TEMPLATE = Path(__file__).with_name("runner.py")


@dataclass(frozen=True)
class Exported:
    """A bundle that was written."""

    path: str
    digest: str
    """SHA-256 of MANIFEST.json: give it to who shall run the programs, by another way."""
    files: dict[str, int]
    """Bytes of each file."""
    platforms: tuple[str, ...]
    expires: str


def export_path(config: ExportConfig) -> Exported:
    """Verify a run or checkpoint and write it as a bundle.

    Raises ConfigError (what is asked for is impossible), CheckpointError, StorageError.
    """
    if not config.out:
        raise ConfigError("where to? give a new folder: latentmpc export runs/ID --out bundles/ID")
    if Path(config.out).exists() or Path(config.out).is_symlink():
        raise ConfigError(f"{config.out} exists: a bundle is never overwritten, give a new folder")
    trained = load.load(config.path)
    settle(trained.path, trained.config.env_id)
    planner = config.planner.apply(trained.config.planner)
    changed = replace(trained, config=replace(trained.config, planner=planner))
    contract = contract_for(changed, config_digest=config_digest(trained.config))
    contract = limited(contract, config)
    if config.calibration_episodes:
        contract = calibrate(changed, config.calibration_episodes).apply(contract)
    return export(changed, config.out, contract)


def limited(contract: Contract, config: ExportConfig) -> Contract:
    """The contract with the limits asked for. Raises ConfigError for impossible ones."""
    try:
        action = replace(contract.action, **config.limits(contract.action.dim))
    except ContractError as error:
        raise ConfigError(str(error)) from None
    return replace(contract, action=action)


def export(trained: Trained, out: str | Path, contract: Contract) -> Exported:
    """Write a bundle of a trained model into the new folder `out`, whole or not at all."""
    content, info = _content(trained, contract)
    content[MANIFEST] = bundle_files.manifest_of(content)
    _commit(Path(out), content)
    sizes = {name: len(data) for name, data in sorted(content.items())}
    digest = sha256_bytes(content[MANIFEST])
    return Exported(str(out), digest, sizes, info.platforms, info.expires)


def _content(
    trained: Trained, contract: Contract
) -> tuple[dict[str, bytes], programs.ProgramsInfo]:
    """Every file but the manifest. Raises ConfigError for parameters that no bundle holds."""
    net, planner = trained.net, trained.config.planner
    state = decision.init_state(net, planner, 0)
    decides = {"plan": decision.planner_policy(net, planner), "prior": decision.prior_policy(net)}
    info, made = programs.write(decides, trained.params, state, trained.spec.obs_dim)
    contract = replace(contract, expires=info.expires)
    content = {
        CONTRACT: _json(contract.to_json()),
        PARAMS: safetensors.numpy.save(_arrays(trained)),
        PROGRAMS: _json(asdict(info)),
        RUNNER: TEMPLATE.read_bytes(),
    }
    return content | made | task_files.contents(trained.path), info


def _arrays(trained: Trained) -> dict[str, np.ndarray]:
    named = programs.by_name(jax.device_get(trained.params))
    arrays = {name: np.ascontiguousarray(value) for name, value in named.items()}
    for name, array in arrays.items():
        if array.dtype != np.float32 or not np.isfinite(array).all():
            raise ConfigError(
                f"{trained.path}: parameter {name} is not finite float32, a bundle holds no other"
            )
    return arrays


def _commit(out: Path, content: dict[str, bytes]) -> None:
    """Write under another name, sync, rename. Raises StorageError."""
    temporary = out.with_name(f".tmp-{out.name}")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir()
        for name, data in content.items():
            write_synced(temporary / name, data)
        sync_directory(temporary)
        temporary.rename(out)
        sync_directory(out.parent)
    except OSError as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise storage_error(out, error) from error


def _json(value: dict[str, Any]) -> bytes:
    return json.dumps(value, indent=1, sort_keys=True, allow_nan=False).encode() + b"\n"
