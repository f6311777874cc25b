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
from agents.deployment.describe import params_digest
from agents.runs import networks
from agents.runs.config import TrainConfig
from agents.runs.load import Trained, check_effort
from agents.runs.settings import train_config_from
from agents.storage.files import CheckpointError
from envs.spec import EnvSpec
from wm.tdmpc import learner

INSTEAD = "the installed code runs its parameters"


@dataclass(frozen=True)
class Bundle:
    """A verified bundle."""

    path: Path
    digest: str
    """SHA-256 of its MANIFEST.json."""
    contract: Contract
    trained: Trained
    """Networks and parameters for the installed code; its config has the bundle's planner."""
    programs: Mapping[str, Decide] | None
    """The exported `decide` of each mode; None unless trusted and of use to this JAX."""
    note: str
    """Why there are no programs, in words; empty when there are."""


def load(path: str | Path, trust: bool = False, digest: str = "") -> Bundle:
    """Verify everything, then load. Raises BundleError naming the file and what is wrong.

    Programs come along if `trust` is given or `digest`, the bundle's, was known beforehand. A
    digest that is not the bundle's refuses it altogether.
    """
    files = bundle_files.read(path, digest)
    try:
        contract = Contract.from_json(files.json(CONTRACT), CONTRACT)
        config = train_config_from(contract.settings, CONTRACT)
        spec = EnvSpec.from_json(contract.spec)
        check_effort(config.planner, spec, CONTRACT)
        _check_sizes(contract, spec)
    except BundleError:
        raise
    except (RuntimeError, ValueError) as error:
        raise files.refusal(CONTRACT, error) from None
    trained = _trained(files, contract, config, spec)
    made, note = _programs(files, trained, bool(trust or digest))
    return Bundle(files.path, files.digest, contract, trained, made, note)


def _check_sizes(contract: Contract, spec: EnvSpec) -> None:
    """Raise ValueError where observations or actions have other sizes than the networks'."""
    promised, wanted = (contract.obs.shape[0], contract.action.dim), (spec.obs_dim, spec.action_dim)
    if promised != wanted:
        raise ValueError(f"obs.shape and action.low are of {promised}, its spec of {wanted}")


def _trained(files: Files, contract: Contract, config: TrainConfig, spec: EnvSpec) -> Trained:
    """Networks and parameters. Raises BundleError unless they belong together."""
    try:
        net = networks.build_networks(config, spec)
        like = jax.eval_shape(lambda: learner.init(net, jax.random.key(0)).params)
    except Exception as error:  # settings that are no network's fail anywhere
        raise files.refusal(CONTRACT, f"no networks from its settings ({error})") from None
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
    if (digest := params_digest(params)) != contract.params_digest:
        raise files.refusal(
            PARAMS, f"parameters of digest {digest}, {CONTRACT} asks for {contract.params_digest}"
        )
    return Trained(files.path, config, spec, net, jax.device_put(params))


def _kind(array: Any) -> str:
    return "missing" if array is None else f"{np.dtype(array.dtype)}{list(array.shape)}"


def _programs(files: Files, trained: Trained, trusted: bool) -> tuple[dict | None, str]:
    """The programs by mode, or None and why."""
    if not trusted:
        return None, f"its programs are not trusted (--trust, --digest): {INSTEAD}"
    try:
        info = programs.ProgramsInfo.from_json(files.json(PROGRAMS))
        if problem := programs.unusable(info):
            return None, f"its programs are not run, {problem}: {INSTEAD}"
    except BundleError:
        raise
    except CheckpointError as error:
        raise files.refusal(PROGRAMS, error) from None
    memory, made = decision.init_memory(trained.net, trained.config.planner, 0), {}
    for mode, name in info.files.items():
        try:
            made[mode] = programs.revive(files.content[name], trained.params, memory)
        except (CheckpointError, KeyError) as error:
            raise files.refusal(name, f"no program for mode {mode}: {error}") from None
    return made, ""
