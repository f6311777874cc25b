"""Strangers' folders: nothing elsewhere is written, nothing grows, one line says why."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from agents.benchmarks.cases import training_case
from agents.benchmarks.config import BenchConfig
from agents.data import files as dataset_files
from agents.data.dataset import Dataset
from agents.deployment.bundle import load as bundle
from agents.deployment.bundle.files import CONTRACT, manifest_of
from agents.evaluation.evaluate import output_directory
from agents.inspection.config import InspectConfig
from agents.inspection.inspect import output_of
from agents.reports import video
from agents.runs import load
from agents.runs.directory import RunDir
from agents.storage import checkpoint, manifest, segments
from agents.storage.files import CheckpointError
from agents.training.report import write_report
from tests.soak import resealed

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    return resealed.specimens(tmp_path_factory.mktemp("strangers"))


@pytest.fixture
def copied(good, tmp_path):
    """A copy of one kind of folder, to be changed."""
    return lambda kind: resealed._copied(good[kind].path, tmp_path / kind)


@pytest.fixture
def target(tmp_path):
    """A file elsewhere that nothing may change."""
    file = tmp_path / "elsewhere" / "mine"
    file.parent.mkdir()
    file.write_text("mine")
    yield file
    assert file.read_text() == "mine" and os.listdir(file.parent) == ["mine"]


def refused(use, *words):
    began = time.thread_time()
    with pytest.raises(CheckpointError) as caught:
        use()
    line = str(caught.value)
    assert caught.value.exit_code == 3 and "\n" not in line and len(line) < 2000
    for word in words:
        assert word in line
    assert time.thread_time() - began < 1.0
    return line


def test_opening_a_dataset_writes_nothing_into_it(copied, target):
    path = copied("dataset")
    (path / ".verified").symlink_to(target)
    before = {f: f.lstat().st_mtime_ns for f in [path, *path.rglob("*")]}
    Dataset.open(path)
    Dataset.open(path, full=True)
    assert before == {f: f.lstat().st_mtime_ns for f in [path, *path.rglob("*")]}


def test_a_stamp_that_cannot_be_kept_costs_only_time(copied, monkeypatch, tmp_path):
    path = copied("dataset")
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert len(Dataset.open(path).episodes) == 1


@pytest.mark.parametrize("link", [os.symlink, os.link])
def test_a_lock_that_is_a_link_is_refused(copied, target, link):
    path = copied("run")
    (path / "lock").unlink()
    link(target, path / "lock")
    refused(RunDir(path).acquire, "lock is a link")


@pytest.mark.parametrize("link", [os.symlink, os.link])
def test_metrics_are_not_written_through_a_link(copied, target, link):
    run = RunDir(copied("run"))
    run.metrics.unlink()
    link(target, run.metrics)
    refused(lambda: run.append_metrics({"env_steps": 1}), "metrics.jsonl")
    refused(run.read_metrics, "metrics.jsonl")


@pytest.mark.parametrize("name", ["checkpoints", "replay"])
def test_a_folder_of_a_run_that_is_a_link_is_refused(copied, target, name):
    path = copied("run")
    shutil.rmtree(path / name)
    (path / name).symlink_to(target.parent)
    refused(lambda: RunDir.create(path), name)
    if name == "checkpoints":
        refused(lambda: load.load(str(path)), f"give a checkpoint in its target, {target.parent}")
        refused(lambda: checkpoint.save(path / name, 5, {"a": 1}, config={}, spec={}), name)
    else:
        refused(lambda: segments.write_segment(path / name, 0, {"a": np.zeros(1)}), name)


@pytest.mark.parametrize("inner", ["train", "train/task-0"])
def test_trainings_inside_results_are_not_written_through_links(target, tmp_path, inner):
    out = tmp_path / "out"
    (out / inner).parent.mkdir(parents=True)
    (out / inner).symlink_to(target.parent)
    config = BenchConfig(out=str(out)).training("task", 0)
    refused(lambda: training_case(config), inner)


def test_a_folder_that_is_typed_may_be_a_link(target, tmp_path, copied):
    run, typed = copied("run"), tmp_path / "typed"
    typed.symlink_to(tmp_path / "on another disk")
    (tmp_path / "on another disk").mkdir()
    assert output_of(InspectConfig(str(run), out=str(typed))) == typed
    assert output_directory(str(typed)).path == typed
    (run / "inspect").symlink_to(target.parent)
    refused(lambda: output_of(InspectConfig(str(run))), "inspect is a link")


def test_files_written_aside_do_not_follow_links(copied, target):
    run = RunDir(copied("run"))
    for name in ("config.json", ".tmp-config.json", ".tmp-video.mp4", "video.mp4"):
        (run.path / name).unlink(missing_ok=True)
        (run.path / name).symlink_to(target)
    run.write_json("config.json", {"a": 1})
    assert not run.config.is_symlink() and run.read_json("config.json") == {"a": 1}
    video.write_mp4(run.video, np.zeros((2, 16, 16, 3), np.uint8), 10.0)
    assert not run.video.is_symlink()


def test_reading_a_run_removes_nothing(copied):
    path = copied("run")
    for name in (".tmp-000000009", ".old-000000004"):
        (path / "checkpoints" / name).mkdir()
    assert load.find_checkpoint(str(path)).name == "000000004"
    assert {".tmp-000000009", ".old-000000004"} <= set(os.listdir(path / "checkpoints"))
    checkpoint.recover(path / "checkpoints")
    assert ".tmp-000000009" not in os.listdir(path / "checkpoints")


def test_a_row_of_metrics_of_another_kind_is_left_out(copied):
    run = RunDir(copied("run"))
    run.metrics.write_text('[1]\n{"env_steps": "x"}\n{"kind": 3, "env_steps": 1}\n')
    assert len(run.read_metrics()) == 2
    run.truncate_metrics(4)
    assert [row["kind"] for row in run.read_metrics()] == [3]
    refused(lambda: write_report(run.path), "result.json", "metrics.jsonl")


def reindexed(path, change):
    index = json.loads((path / "tree.json").read_bytes())
    change(index)
    text = json.dumps(index).replace('"DEEP"', "[" * 5000 + "]" * 5000)
    (path / "tree.json").write_text(text)
    resealed._seal_checkpoint(path)


def put(**entries):
    return lambda index: index[0].update(entries)


INDEXES = {
    "shape of 1e30": put(shape=[1e30, 0]),
    "shape without end": put(shape=[2**40, 2**40]),
    "shape that is empty and without end": put(shape=[0, 2**62]),
    "negative shape": put(shape=[-8]),
    "table in a path": put(path=[{}]),
    "deep path": put(path=["a"] * 5000),
    "deep file": put(path="DEEP"),
    "far position": put(path=["train", "average", 3_000_000_000]),
    "no list": put(path="params"),
    "objects": put(dtype="object"),
    "name elsewhere": put(name="../../sentinel"),
    "two of one place": lambda index: index.append({**index[0], "name": "99999-x"}),
    "larger than the settings ask for": lambda index: index[-1].update(shape=[2**20, 2**10]),
    "an array in an array": lambda i: i.append({**i[0], "path": [*i[0]["path"], "b"]}),
}


@pytest.mark.parametrize("name", INDEXES)
def test_an_index_that_no_checkpoint_has_is_refused(copied, name):
    path = copied("checkpoint")
    reindexed(path, INDEXES[name])
    refused(lambda: load.load(str(path)), "tree.json")
    refused(lambda: checkpoint.restore(path), *(["tree.json"] if "settings" not in name else []))


def test_an_array_is_not_larger_than_its_bytes(tmp_path):
    path = checkpoint.save(tmp_path, 4, {"a": np.zeros(4)}, config={}, spec={})
    import tensorstore

    base = {"driver": "file", "path": f"{path}/arrays/"}
    store = tensorstore.KvStore.open({"driver": "ocdbt", "base": base}).result()
    name = json.loads((path / "tree.json").read_bytes())[0]["name"]
    about = json.loads(store.read(f"{name}/.zarray").result().value)
    about |= {"shape": [2**27], "chunks": [2**27]}
    store.write(f"{name}/.zarray", json.dumps(about).encode()).result()
    resealed._seal_checkpoint(path)
    refused(lambda: checkpoint.restore(path), "shape of leaf a")
    reindexed(path, put(shape=[2**27]))
    refused(lambda: checkpoint.restore(path), "tree.json says 1073741824")


def test_only_the_arrays_asked_for_are_read(copied):
    path = copied("checkpoint")
    reindexed(path, lambda index: [e.update(dtype="int8") for e in index if "driver" in e["path"]])
    load.load(str(path))
    refused(lambda: checkpoint.restore(path), "arrays")


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("spec.json", {"action_repeat": 0}),
        ("spec.json", {"obs_dim": "x"}),
        ("spec.json", {"obs_dim": 10**10}),
        ("spec.json", {"control_dt": float("nan")}),
        ("spec.json", []),
        ("config.json", []),
        ("config.json", {"settings": "x"}),
        ("config.json", {"settings": {"planner": {"num_samples": 2**28}}}),
        ("config.json", {"settings": {"planner": {"temperature": 10**400}}}),
    ],
)
def test_a_value_of_another_type_is_refused(copied, name, change):
    path = copied("checkpoint")
    stored = json.loads((path / name).read_bytes())
    (path / name).write_text(json.dumps(stored | change if isinstance(change, dict) else change))
    resealed._seal_checkpoint(path)
    refused(lambda: load.load(str(path)), name)


@pytest.mark.parametrize(
    "change",
    [
        {"obs": {"shape": [10**10], "names": [["a", 10**10]]}},
        {"settings": {"planner": {"num_samples": 2**28}}},
    ],
)
def test_a_bundle_without_end_is_refused(copied, change):
    path = copied("bundle")
    contract = json.loads((path / CONTRACT).read_bytes())
    contract |= {key: contract[key] | change[key] for key in change}
    (path / CONTRACT).write_text(json.dumps(contract))
    content = {f.name: f.read_bytes() for f in path.iterdir() if f.name != manifest.MANIFEST}
    (path / manifest.MANIFEST).write_bytes(manifest_of(content))
    refused(lambda: bundle.load(path), CONTRACT)


@pytest.mark.parametrize("name", ["../outside", "/dev/zero", "arrays/pipe.npy", "a\nb", "lock"])
def test_a_dataset_lists_only_its_own_regular_files(copied, tmp_path, name):
    path = copied("dataset")
    os.mkfifo(path / "arrays" / "pipe.npy")
    entries = manifest.read(path) | {name: manifest.Entry("0" * 64, 1 << 40)}
    (path / manifest.MANIFEST).write_bytes(manifest.made(entries))
    refused(lambda: Dataset.open(path), manifest.MANIFEST if "pipe" not in name else name)


def test_an_array_header_is_compared_with_its_file(copied):
    path = copied("dataset")
    with open(path / "arrays" / "obs.npy", "r+b") as file:
        header = {"descr": "<f4", "fortran_order": False, "shape": (2**50, 5)}
        np.lib.format.write_array_header_1_0(file, header)
    dataset_files.write_manifest(path)
    refused(lambda: Dataset.open(path), "arrays/obs.npy", "its header says")


def test_advice_to_type_is_quoted(tmp_path):
    directory = tmp_path / "a; echo b"
    for step in (1, 2):
        path = checkpoint.save(directory, step, {"a": np.zeros(1)}, config={}, spec={})
    (path / "config.json").write_text("{}x")
    refused(lambda: checkpoint.latest(directory), f"rm -r '{path}'")


def test_a_message_has_room_in_a_line_whatever_is_stored():
    assert len(str(CheckpointError("y" * 10**6))) == 1500
    assert str(CheckpointError("short")) == "short"


def test_a_file_that_is_longer_than_listed_is_not_read_to_its_end(copied):
    """A sparse file of a terabyte takes no place on the disk of who sends it."""
    path = copied("checkpoint")
    name = next(n for n in manifest.read(path) if n.startswith("arrays/"))
    os.truncate(path / name, 1 << 40)
    began = time.process_time()
    refused(lambda: checkpoint.verify(path), name)
    assert time.process_time() - began < 5


def test_changed_files_with_manifests_that_fit(tmp_path):
    command = [sys.executable, "-m", "tests.soak", "resealed", "--count", "300", "--json"]
    run = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=280)
    found = json.loads(run.stdout)
    assert found["violations"] == [] and run.returncode == 0
    assert found["read"] > 10 and found["refused"] > 100 and found["mutations"] == 300


def test_the_command_line_says_it_in_one_line(copied):
    path = copied("checkpoint")
    reindexed(path, put(shape=[1e30, 0]))
    command = [sys.executable, "-m", "scripts.cli", "eval", str(path)]
    run = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=100)
    assert run.returncode == 3 and run.stderr.count("\n") == 1 and "tree.json" in run.stderr
