"""Malicious bundles and checkpoints, each with a manifest that fits: refused, nothing executed.

They are loaded in a process of their own, where an audit hook sees every execution of code, every
process started and every name looked up by pickle.
"""

import io
import json
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from agents.deployment.bundle import files as bundle_files
from agents.deployment.bundle.files import CONTRACT, PARAMS, PROGRAMS
from agents.storage import manifest
from tests.soak import mutations

LOADER = """
import json, sys, time
from pathlib import Path
from agents.deployment.bundle import load as bundle
from agents.deployment.bundle import runner as runner_template
from agents.runs import load
from agents.storage.files import CheckpointError

ALARMS = ("exec", "compile", "pickle.find_class", "os.system", "os.exec", "os.posix_spawn",
          "os.fork", "subprocess.Popen", "marshal.loads", "ctypes.dlopen", "code.__new__",
          "socket.connect", "os.remove", "os.rename", "shutil.rmtree")
good, folders, seen, watching = sys.argv[1], sys.argv[2:], [], [False]

def hook(event, args):
    ours = event in ("exec", "compile") and sys._getframe(1).f_globals["__name__"] == "dataclasses"
    if watching[0] and event in ALARMS and not ours:
        code = args[0] if args else ""
        seen.append(f"{event} {getattr(code, 'co_filename', code)!s:.200}")

bundle.load(Path(good) / "bundle", trust=True)
load.load(str(Path(good) / "checkpoints"/ "000000001"))
sys.addaudithook(hook)
for folder in folders:
    path, said, seen[:] = Path(folder), "", []
    use = load.load if path.name.isdigit() else lambda p: bundle.load(p, trust=True)
    began, watching[0] = time.thread_time(), True
    try:
        use(str(path))
    except CheckpointError as error:
        said = str(error)
    except Exception as error:
        said = f"unexpected {type(error).__name__}: {error}"
    watching[0] = False
    print(json.dumps({"path": folder, "said": said, "alarms": list(seen),
                      "seconds": time.thread_time() - began}), flush=True)
"""


class Bomb:
    """Unpickling this creates a file."""

    def __init__(self, target: Path):
        self.target = target

    def __reduce__(self):
        return (Path.touch, (self.target,))


def with_file(name, data):
    """A bundle in which one file is another's work, the manifest fitting."""

    def make(path: Path, never: Path):
        rewrite(path, {name: data(never) if callable(data) else data})

    return make


def rewrite(path: Path, changes: dict):
    """Change files of a bundle and write its manifest anew, as an attacker would."""
    content = {f.name: f.read_bytes() for f in path.iterdir() if f.name != manifest.MANIFEST}
    content |= changes
    for name, data in content.items():
        if "/" not in name:
            (path / name).write_bytes(data)
    (path / manifest.MANIFEST).write_bytes(bundle_files.manifest_of(content))


def pickled(never: Path) -> bytes:
    return pickle.dumps(Bomb(never))


def object_array(never: Path) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.array([Bomb(never)], object), allow_pickle=True)
    return buffer.getvalue()


def header(entries: dict, body: bytes = b"", size: int | None = None) -> bytes:
    """A safetensors file with this header."""
    text = json.dumps(entries).encode()
    return (len(text) if size is None else size).to_bytes(8, "little") + text + body


def tensor(shape, end, dtype="F32"):
    return {"encoder/a": {"dtype": dtype, "shape": shape, "data_offsets": [0, end]}}


def contract_with(**changes):
    def make(path: Path, never: Path):
        data = json.loads((path / CONTRACT).read_bytes())
        for name, value in changes.items():
            block, _, key = name.partition("__")
            place = data[block] if key else data
            for part in key.split("__")[:-1]:
                place = place[part]
            place[key.split("__")[-1] or block] = value
        rewrite(path, {CONTRACT: json.dumps(data).encode()})

    return make


def manifest_of(text):
    def make(path: Path, never: Path):
        (path / manifest.MANIFEST).write_bytes(text)

    return make


def symlink(name):
    def make(path: Path, never: Path):
        shutil.move(path / name, path.parent / "elsewhere")
        (path / name).symlink_to(path.parent / "elsewhere")

    return make


def hardlink(path: Path, never: Path):
    os.link(path / PARAMS, path.parent / "other-name")


def fifo(name):
    def make(path: Path, never: Path):
        (path / name).unlink()
        os.mkfifo(path / name)

    return make


def folder_for_file(path: Path, never: Path):
    (path / PARAMS).unlink()
    (path / PARAMS).mkdir()


def sparse(path: Path, never: Path):
    """A terabyte of nothing, listed as such."""
    with open(path / PARAMS, "wb") as file:
        file.truncate(1 << 40)
    listed = json.loads((path / manifest.MANIFEST).read_bytes())
    listed["files"][PARAMS]["size"] = 1 << 40
    del listed["sha256"]
    listed["sha256"] = bundle_files.sha256_bytes(manifest.encode(listed))
    (path / manifest.MANIFEST).write_bytes(manifest.encode(listed))


NESTED = b'{"a":' * 100_000 + b"1" + b"}" * 100_000
BUNDLES = {
    "pickle as parameters": (with_file(PARAMS, pickled), PARAMS),
    "object array as parameters": (with_file(PARAMS, object_array), PARAMS),
    "pickle as contract": (with_file(CONTRACT, pickled), CONTRACT),
    "pickle as programs.json": (with_file(PROGRAMS, pickled), PROGRAMS),
    "pickle as program": (with_file("program-plan.bin", pickled), "program-plan.bin"),
    "empty program": (with_file("program-plan.bin", b""), "program-plan.bin"),
    "noise as program": (with_file("program-plan.bin", bytes(range(256)) * 9), "program-plan.bin"),
    "pickle under its own name": (with_file("weights.pkl", pickled), "weights.pkl"),
    "object array under its own name": (with_file("weights.npy", object_array), "weights.npy"),
    "traversal": (with_file("../../etc/passwd", b"x"), "../../etc/passwd"),
    "absolute name": (with_file("/etc/passwd", b"x"), "/etc/passwd"),
    "name with a newline": (with_file("a\nb", b"x"), "a\\nb"),
    "symlink": (symlink(PARAMS), PARAMS),
    "symlinked manifest": (symlink(manifest.MANIFEST), manifest.MANIFEST),
    "hard link": (hardlink, PARAMS),
    "pipe": (fifo(CONTRACT), CONTRACT),
    "pipe as manifest": (fifo(manifest.MANIFEST), manifest.MANIFEST),
    "folder": (folder_for_file, PARAMS),
    "terabyte": (sparse, PARAMS),
    "shape of 2**62": (with_file(PARAMS, header(tensor([2**62], 4 * 2**62))), PARAMS),
    "shape that overflows": (with_file(PARAMS, header(tensor([2**40, 2**40], 0))), PARAMS),
    "negative shape": (with_file(PARAMS, header(tensor([-1], 4), b"abcd")), PARAMS),
    "offsets outside": (with_file(PARAMS, header(tensor([9], 36), b"abcd")), PARAMS),
    "other dtype": (with_file(PARAMS, header(tensor([4], 4, "F8_E4M3"), b"abcd")), PARAMS),
    "header of 2**63": (with_file(PARAMS, header({}, size=2**63)), PARAMS),
    "header longer than the file": (with_file(PARAMS, header({}, size=1 << 20)), PARAMS),
    "nested header": (
        with_file(PARAMS, len(NESTED).to_bytes(8, "little") + NESTED),
        PARAMS,
    ),
    "nested contract": (with_file(CONTRACT, NESTED), CONTRACT),
    "nested lists": (with_file(CONTRACT, b"[" * 500_000), CONTRACT),
    "huge number": (with_file(CONTRACT, b'{"format": ' + b"9" * 900_000 + b"}"), CONTRACT),
    "NaN": (with_file(CONTRACT, b'{"control_dt": NaN}'), CONTRACT),
    "two megabytes of contract": (with_file(CONTRACT, b" " * (2 << 20) + b"{}"), CONTRACT),
    "nested manifest": (manifest_of(NESTED), manifest.MANIFEST),
    "huge manifest": (manifest_of(b" " * (9 << 20)), manifest.MANIFEST),
    "manifest of numbers": (manifest_of(b"7"), manifest.MANIFEST),
    "no control_dt": (contract_with(control_dt=0), CONTRACT),
    "infinite control_dt": (contract_with(control_dt=1e999), CONTRACT),
    "settings of another kind": (contract_with(settings={"env_id": ["a"]}), CONTRACT),
    "unknown settings": (contract_with(settings__nothing=1), CONTRACT),
    "planner without end": (contract_with(settings__planner__num_iterations=10**12), CONTRACT),
    "horizon without end": (contract_with(settings__planner__horizon=10**15), CONTRACT),
    "networks without end": (contract_with(settings__model__mlp_width=10**9), CONTRACT),
    "heads without end": (contract_with(settings__model__num_heads=10**9), CONTRACT),
    "sizes that overflow": (contract_with(settings__model__mlp_width=10**30), CONTRACT),
    "observation without end": (contract_with(spec__obs_dim=10**12), ""),
    "spec of another kind": (contract_with(spec={"env_id": 3}), CONTRACT),
    "another digest": (contract_with(params_digest="0" * 64), PARAMS),
}


def stored_file(name, data):
    def make(path: Path, never: Path):
        (path / name).write_bytes(data(never) if callable(data) else data)
        (path / manifest.MANIFEST).unlink()
        manifest.write(path, int(path.name))

    return make


CHECKPOINTS = {
    "pickle as config": (stored_file("config.json", pickled), "config.json"),
    "pickle as tree": (stored_file("tree.json", pickled), "tree.json"),
    "pickle as store": (stored_file("arrays/manifest.ocdbt", pickled), "arrays"),
    "nested config": (stored_file("config.json", NESTED), "config.json"),
    "nested tree": (stored_file("tree.json", NESTED), "tree.json"),
    "huge number in spec": (stored_file("spec.json", b"9" * 900_000), "spec.json"),
    "symlinked config": (symlink("config.json"), "config.json"),
    "pipe as spec": (fifo("spec.json"), "spec.json"),
}


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """Make every malicious folder, load them all in one process: what was said of each."""
    folder = tmp_path_factory.mktemp("malice")
    good, never, paths = folder / "good", folder / "executed", {}
    kept, made = mutations.stored(good, mutations.specimen())
    for source, corpus in ((made, BUNDLES), (kept, CHECKPOINTS)):
        for name, (make, _) in corpus.items():
            place = folder / f"{source.parent.name}-{name}".replace(" ", "-").replace("*", "x")
            path = paths[source.name, name] = place / source.name
            shutil.copytree(source, path)
            make(path, never)
    command = [sys.executable, "-c", LOADER, str(good), *map(str, paths.values())]
    run = subprocess.run(command, capture_output=True, text=True, timeout=250)
    assert run.returncode == 0, run.stderr
    lines = [json.loads(line) for line in run.stdout.splitlines()]
    return {
        key: line | {"executed": never.exists()} for key, line in zip(paths, lines, strict=True)
    }


@pytest.mark.parametrize("name", BUNDLES)
def test_a_malicious_bundle_is_refused(told, name):
    check(told["bundle", name], BUNDLES[name][1])


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_a_malicious_checkpoint_is_refused(told, name):
    check(told["000000001", name], CHECKPOINTS[name][1])


def check(outcome: dict, names: str):
    assert outcome["said"], "was used"
    assert names in outcome["said"] and "\n" not in outcome["said"]
    assert not outcome["said"].startswith("unexpected")
    assert len(outcome["said"]) < 1000
    assert outcome["alarms"] == []
    assert not outcome["executed"]
    assert outcome["seconds"] < 1.0


def test_the_hook_would_have_seen_a_pickle(tmp_path):
    code = (
        "import pickle, sys\nseen = []\nsys.addaudithook(lambda e, a: seen.append(e))\n"
        "pickle.loads(open(sys.argv[1], 'rb').read())\nprint(seen)"
    )
    (tmp_path / "bomb").write_bytes(pickled(tmp_path / "executed"))
    command = [sys.executable, "-c", code, str(tmp_path / "bomb")]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert "pickle.find_class" in run.stdout and (tmp_path / "executed").exists()
