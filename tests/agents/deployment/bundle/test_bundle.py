"""Loading bundles: what is verified, what is trusted, and what is done when programs are not."""

import json
import re
from dataclasses import asdict, replace
from datetime import date, timedelta

import jax
import numpy as np
import pytest

from agents.deployment import decision
from agents.deployment.bundle import export, programs
from agents.deployment.bundle import files as bundle_files
from agents.deployment.bundle import load as bundle
from agents.deployment.bundle.files import BundleError
from agents.deployment.bundle.programs import ProgramsInfo
from agents.deployment.describe import contract_for
from agents.runs.compile import cpu_options
from agents.storage import checkpoint
from agents.storage.manifest import MANIFEST
from tests.soak import mutations


@pytest.fixture(scope="module")
def trained():
    return mutations.specimen()


@pytest.fixture(scope="module")
def exported(trained, tmp_path_factory):
    return export.export(trained, tmp_path_factory.mktemp("b") / "bundle", contract_for(trained))


@pytest.fixture(scope="module")
def info(exported):
    return ProgramsInfo.from_json(json.loads((path_of(exported) / "programs.json").read_bytes()))


def path_of(exported):
    return bundle_files.Path(exported.path)


def changed(info, **changes):
    return replace(info, jax="0.10.0", **changes)


def test_parameters_and_settings_come_back_as_they_were(trained, exported):
    found = bundle.load(exported.path)
    assert jax.tree.all(jax.tree.map(np.array_equal, found.trained.params, trained.params))
    assert found.trained.config == replace(trained.config, run_dir="")
    assert found.trained.spec == trained.spec
    assert found.digest == exported.digest
    assert found.contract.expires == exported.expires


def test_programs_need_trust_or_the_digest(exported, tmp_path, monkeypatch):
    with monkeypatch.context() as patched:  # without either they are not even parsed
        patched.setattr(programs.export, "deserialize", lambda data: pytest.fail("parsed"))
        untrusted = bundle.load(exported.path)
    assert untrusted.programs is None
    assert "not trusted (--trust, --digest)" in untrusted.note
    (tmp_path / "known").write_text(
        f"{exported.digest}  bundle/{MANIFEST}\n"
    )  # as sha256sum prints
    for way in ({"trust": True}, {"digest": exported.digest}, {"digest": str(tmp_path / "known")}):
        trusted = bundle.load(exported.path, **way)
        assert set(trusted.programs) == {"plan", "prior"} and not trusted.note


def test_another_digest_refuses_the_bundle_even_if_trusted(exported):
    other = "0" * 64
    with pytest.raises(BundleError, match=rf"{exported.digest}, expected {other}") as caught:
        bundle.load(exported.path, trust=True, digest=other)
    assert caught.value.exit_code == 3
    with pytest.raises(BundleError, match="is no digest: give the 64 hex digits"):
        bundle.load(exported.path, digest="abc")


@pytest.mark.parametrize("mode", ["prior", pytest.param("plan", marks=pytest.mark.slow)])
def test_programs_and_installed_code_decide_alike_to_the_last_bit(trained, exported, mode):
    found, planner = bundle.load(exported.path, trust=True), trained.config.planner
    ours = {
        "plan": decision.planner_policy(trained.net, planner),
        "prior": decision.prior_policy(trained.net),
    }
    rng = np.random.default_rng(0)
    obs = rng.normal(size=(10, trained.spec.obs_dim)).astype(np.float32)
    paths = []
    assert found.programs is not None
    for each in (ours[mode], found.programs[mode]):
        step = jax.jit(each, compiler_options=cpu_options())
        state, last, path = decision.init_state(trained.net, planner, 3), np.zeros(1, "f"), []
        for tick, seen in enumerate(obs):
            answer = step(found.trained.params, state, seen, last, np.int32(tick > 0))
            last, state = np.asarray(answer[0]), answer[-1]
            path += map(np.asarray, jax.tree.leaves(answer))
        paths.append(path)
    for a, b in zip(*paths, strict=True):
        np.testing.assert_array_equal(a, b)


def test_every_refusal_names_the_bundle_the_file_and_its_digest(exported, tmp_path):
    here = tmp_path / "copy"
    here.mkdir()
    for name in exported.files:
        (here / name).write_bytes((path_of(exported) / name).read_bytes())
    (here / "params.safetensors").write_bytes(b"short")
    with pytest.raises(BundleError) as caught:
        bundle.load(here)
    line = str(caught.value)
    assert line.startswith(f"bundle {here} is refused: params.safetensors has 5 bytes, expected ")
    assert re.search(r"SHA-256 [0-9a-f]{64}$", line)


def test_a_bundle_is_told_from_a_run_and_a_checkpoint(exported, tmp_path):
    kept = checkpoint.save(tmp_path, 1, {"a": np.zeros(3)}, config={}, spec={})
    assert bundle_files.is_bundle(exported.path)
    assert not bundle_files.is_bundle(kept) and not bundle_files.is_bundle(kept.parent)
    assert not bundle_files.is_bundle(tmp_path / "nowhere")


def test_the_jax_that_wrote_programs_runs_them_at_any_time(info):
    assert programs.unusable(info, date(2100, 1, 1)) == ""


def test_a_newer_jax_runs_programs_until_they_expire(info):
    last = date.fromisoformat(info.expires)
    assert last - date.fromisoformat(info.created) == timedelta(programs.GUARANTEED_DAYS)
    assert programs.unusable(changed(info), last) == ""
    late = programs.unusable(changed(info), last + timedelta(1))
    assert late == f"they expired on {info.expires} for any JAX but 0.10.0"


def test_programs_for_others_are_not_run(info):
    assert "newer than the" in programs.unusable(replace(info, jax="99.0.0"))
    assert "call in version 1," in programs.unusable(changed(info, calling_convention=1))
    assert "for cuda, not for cpu" in programs.unusable(changed(info, platforms=("cuda",)))


def test_an_expired_bundle_runs_on_installed_code_and_says_so(exported, monkeypatch):
    monkeypatch.setattr(programs, "unusable", lambda info: "they expired on 2026-01-01")
    found = bundle.load(exported.path, trust=True)
    assert found.programs is None
    assert "they expired on 2026-01-01: the installed code runs its parameters" in found.note
    assert found.trained.net.spec.obs_dim == 5


def test_malformed_programs_info_is_refused(info):
    with pytest.raises(programs.CheckpointError, match="format is 7, expected 1"):
        ProgramsInfo.from_json(asdict(info) | {"format": 7})
    with pytest.raises(programs.CheckpointError, match="isoformat"):
        ProgramsInfo.from_json(asdict(info) | {"expires": "soon"})
    with pytest.raises(programs.CheckpointError, match=r"\$\.files"):
        ProgramsInfo.from_json(asdict(info) | {"files": [1]})
