"""From a bundle on disk to what a controller runs: parameters, networks and, trusted, programs."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
import safetensors.numpy

from agents.deployment import decision
from agents.deployment.bundle import files as bundle_files
from agents.deployment.bundle import programs
from agents.deployment.bundle.files import CONTRACT, PARAMS, PROGRAMS, BundleError, Files
from agents.deployment.contract import Contract
from agents.deployment.decision import Decide
from agents.deployment.describe import contract_for, params_digest
from agents.runs import load as stored
from agents.runs import networks
from agents.runs.load import Trained, check_effort
from agents.runs.settings import train_config_from
from agents.storage.files import CheckpointError
from envs.spec import EnvSpec
from wm.tdmpc import learner

INSTEAD = "the installed code runs its parameters"


@dataclass(frozen=True)
class Bundle:
    """A verified bundle, or a run as one without programs."""

    digest: str
    """SHA-256 of its MANIFEST.json; "" for a run."""
    contract: Contract
    trained: Trained
    """Networks and parameters for the installed code; its config has the bundle's planner."""
    programs: Mapping[str, Decide] | None = None
    """The exported `decide` of each mode; None unless trusted and of use to this JAX."""
    note: str = ""
    """Why the programs of a bundle are not there, in words; empty when they are."""


def folder_of(path: str) -> Path:
    """The sealed folder that a path means: a bundle, or a checkpoint. Raises CheckpointError."""
    return Path(path) if bundle_files.is_bundle(path) else stored.find_checkpoint(path)


def open_path(path: str, trust: bool = False, digest: str = "") -> Bundle:
    """A run directory, a checkpoint or a bundle, verified. Raises ConfigError, CheckpointError."""
    if bundle_files.is_bundle(path):
        return load(path, trust, digest)
    if digest:
        raise BundleError(f"{path} is no bundle, the digest cannot be its own")
    trained = stored.load(path)
    return Bundle("", contract_for(trained), trained)


def load(path: str | Path, trust: bool = False, digest: str = "") -> Bundle:
    """Verify everything, then load. Raises BundleError naming the file and what is wrong.

    Programs come along if `trust` is given or `digest`, the bundle's, was known beforehand. A
    digest that is not the bundle's refuses it altogether.
    """
    files = bundle_files.read(path, digest)
    written = files.json(CONTRACT)
    try:
        contract = Contract.from_json(written, CONTRACT)
        config = train_config_from(contract.settings, CONTRACT)
        spec = EnvSpec.from_json(contract.spec)
        check_effort(config.planner, spec, CONTRACT)
        sizes, wanted = (
            (contract.obs.shape[0], contract.action.dim),
            (spec.obs_dim, spec.action_dim),
        )
        if sizes != wanted:
            raise ValueError(f"obs.shape and action.low are of {sizes}, its spec of {wanted}")
    except (RuntimeError, ValueError) as error:
        raise files.refusal(CONTRACT, error) from None
    try:
        net = networks.build_networks(config, spec)
        like = jax.eval_shape(lambda: learner.init(net, jax.random.key(0)).params)
    except Exception as error:  # settings that are no network's fail anywhere
        raise files.refusal(CONTRACT, f"no networks from its settings ({error})") from None
    params = _parameters(files, like, contract.params_digest)
    trained = Trained(files.path, config, spec, net, jax.device_put(params))
    made, note = _programs(files, trained, bool(trust or digest))
    return Bundle(files.digest, contract, trained, made, note)


def _parameters(files: Files, like: Any, expected_digest: str) -> Any:
    """Parameters of the shapes of `like`. Raises BundleError unless they are the contract's."""
    try:
        found = safetensors.numpy.load(files.content[PARAMS])
    except Exception as error:  # not only SafetensorError: names of types that numpy has not
        raise files.refusal(PARAMS, f"not safetensors ({type(error).__name__})") from None
    expected = programs.by_name(like)
    for name in sorted(expected.keys() | found.keys()):
        want, got = (_kind(tree.get(name)) for tree in (expected, found))
        if want != got:
            raise files.refusal(PARAMS, f"{name[:80]} is {got}, {CONTRACT} asks for {want}")
    params = jax.tree.structure(like).unflatten([found[name] for name in expected])
    if (digest := params_digest(params)) != expected_digest:
        raise files.refusal(
            PARAMS, f"parameters of digest {digest}, {CONTRACT} asks for {expected_digest}"
        )
    return params


def _kind(array: Any) -> str:
    return "missing" if array is None else f"{np.dtype(array.dtype)}{list(array.shape)}"


def _programs(files: Files, trained: Trained, trusted: bool) -> tuple[dict | None, str]:
    """The programs by mode, or None and why."""
    if not trusted:
        return None, f"its programs are not trusted (--trust, --digest): {INSTEAD}"
    written = files.json(PROGRAMS)
    try:
        info = programs.ProgramsInfo.from_json(written)
    except CheckpointError as error:
        raise files.refusal(PROGRAMS, error) from None
    if problem := programs.unusable(info):
        return None, f"its programs are not run, {problem}: {INSTEAD}"
    state, made = decision.init_state(trained.net, trained.config.planner, 0), {}
    for mode, name in info.files.items():
        try:
            made[mode] = programs.revive(files.content[name], trained.params, state)
        except (CheckpointError, KeyError) as error:
            raise files.refusal(name, f"no program for mode {mode}: {error}") from None
    return made, ""
