"""Stored files changed by somebody who can write a manifest that fits, and what reading them does.

Every file of a run, a checkpoint, a dataset, a bundle and a flight recording is changed in value,
type, shape, name, size or kind, and the manifest made anew. Reading it must end in a result or in
one line with exit code 3, within bounds of time and memory. Nothing outside the folder is opened
and nothing in it is written but what a resumed run writes: an audit hook and a sentinel watch that.

    python -m tests.soak resealed --count 10000
"""

import json
import os
import resource
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from agents.data import files as dataset_files
from agents.data import writer as dataset_write
from agents.data.dataset import Dataset, Episode, Info, Quantity
from agents.deployment.bundle import files as bundle_files
from agents.deployment.bundle import load as bundle
from agents.deployment.realtime import recorder
from agents.deployment.realtime import replay as replay_run
from agents.runs import load
from agents.runs.directory import RunDir
from agents.storage import checkpoint, manifest, segments
from agents.training import checkpoint as persist
from agents.training import session
from tests.soak import mutations

MAX_MB, MAX_S = 512, 5.0
VALUES = (
    *(None, True, False, 0, -1, 1, 2, 2**31, 2**63, 10**30, -(10**30), 0.5, 1e30, 1e308, -0.0),
    *(float("nan"), float("inf"), "", "x", "../sentinel", "/dev/zero", "a\nb", "\x00", "0" * 64),
    *([], {}, [{}], [1e30, 0], [2**40, 2**40], [-1], [[[[]]]], {"a": {"b": 1}}, "y" * 100_000),
)
DEEP = "[" * 5000 + "]" * 5000


class Specimen(NamedTuple):
    """A good folder and what reads it."""

    path: Path
    use: Callable[[Path], Any]
    """A fingerprint of what was read."""
    seal: Callable[[Path], None]


class Watch:
    """Files opened or changed while `on`, seen by an audit hook of the process."""

    def __init__(self) -> None:
        self.on, self.roots, self.writable, self.seen = False, (), (), list[str]()
        sys.addaudithook(self._hook)

    def _hook(self, event: str, args: tuple) -> None:
        if not self.on or event.partition(".")[0] not in ("open", "os", "shutil", "subprocess"):
            return
        if event in ("os.system", "os.posix_spawn", "os.fork", "os.exec", "subprocess.Popen"):
            self.seen.append(event)
        if event == "open" and isinstance(args[0], str | bytes | os.PathLike):
            writes = isinstance(args[2], int) and bool(args[2] & (os.O_WRONLY | os.O_RDWR))
            self._check(event, args[0], self.writable if writes else self.roots)
        changes = ("remove", "rename", "mkdir", "rmdir", "link", "symlink", "truncate", "chmod")
        if event.removeprefix("os.") in changes and not isinstance(args[0], int):
            self._check(event, args[0], self.writable)

    def _check(self, event: str, path: Any, roots: tuple) -> None:
        text = os.fsdecode(path)
        if "/" not in text and event == "open":  # below a descriptor of a folder that was opened
            return
        path = os.path.join(os.path.realpath(os.path.dirname(text)), os.path.basename(text))
        if not path.startswith(roots):
            self.seen.append(f"{event} {path}")


def specimens(folder: Path) -> dict[str, Specimen]:
    """One good folder of each kind."""
    trained = mutations.specimen()
    _, made = mutations.stored(folder, trained)
    run = _run(folder / "run", trained)
    kept = next((run / "checkpoints").iterdir())
    data, flight = _dataset(folder / "data", trained.spec), _recording(folder / "flight")
    nothing = lambda path: None  # noqa: E731
    return {
        "checkpoint": Specimen(kept, _use_checkpoint, _seal_checkpoint),
        "bundle": Specimen(made, _use_bundle, _seal_bundle),
        "dataset": Specimen(data, _use_dataset, dataset_files.write_manifest),
        "recording": Specimen(flight, _use_recording, _seal_checkpoint),
        "run": Specimen(run, _use_run, nothing),
    }


def _run(path: Path, trained: load.Trained) -> Path:
    run = RunDir.create(path)
    rows = np.arange(12, dtype=np.float32).reshape(4, 3)
    refs = [segments.write_segment(run.replay, 0, {"rows": rows})]
    progress = {"counters": asdict(persist.Counters(1, 4, 2, 0, 0, 4)), "wall": {"train_s": 1.0}}
    extra = {
        persist.SEGMENTS: segments.dump_refs(refs),
        persist.PROGRESS: json.dumps(progress).encode(),
    }
    arrays = {"train": {"average": trained.params}, "driver": {"obs": np.zeros(3), "n": [1, 2]}}
    settings, spec = {"settings": asdict(trained.config)}, trained.spec.to_json()
    checkpoint.save(run.checkpoints, 4, arrays, config=settings, spec=spec, extra_files=extra)
    run.write_json("config.json", {**asdict(trained.config), "env": spec})
    run.write_json("result.json", {"env_id": "cartpole-swingup", "env_steps": 4, "video": "none"})
    run.append_metrics({"kind": "train", "env_steps": 4, "loss": 1.0})
    (path / "lock").write_text("1\n")
    return path


def _dataset(path: Path, spec: Any) -> Path:
    rng, rows = np.random.default_rng(0), 5
    width = {"obs": spec.obs_dim, "action": spec.action_dim, "state": 2}
    shard = {n: rng.standard_normal((rows, w)).astype(np.float32) for n, w in width.items()}
    shard |= {"reward": np.zeros(rows, np.float32), "terminated": np.zeros(rows, bool)}
    dataset_write.write_shard(path, 0, [{**shard, "invalid": np.asarray(False)}])
    dataset_write.assemble(path, 1)
    episodes = (Episode(0, rows - 1, 0, "train", "random", 0.0, False, False),)
    state = (Quantity("a", "position"), Quantity("b", "velocity"))
    dataset_write.finish(path, Info(spec, episodes, state, (), {"policy": "random"}, {}))
    return path


def _recording(path: Path) -> Path:
    about = {"format": recorder.FORMAT, "ticks": 3, "state": {}, "reason": "", "first_tick": 0}
    rows = np.zeros(3, recorder.row_type(5, 1))
    columns = {f"columns/{n}": np.ascontiguousarray(rows[n]) for n in rows.dtype.names or ()}
    return recorder.write(path, recorder.Snapshot(about, columns | {"state/seed": np.arange(2)}))


def _print(tree: Any) -> str:
    leaves = [np.asarray(x) for x in jax.tree.leaves(tree)]
    return checkpoint.sha256_bytes(b"".join(x.tobytes() for x in leaves))


def _use_checkpoint(path: Path) -> str:
    trained = load.load(str(path))
    session.read_progress(path, persist.Progress)
    refs = segments.load_refs(checkpoint.read_file(path, persist.SEGMENTS))
    segments.read_segments(path.parents[1] / "replay", refs)
    return _print((trained.params, checkpoint.restore(path, at=("driver",))))


def _use_bundle(path: Path) -> str:
    return _print(bundle.load(path).trained.params)


def _use_dataset(path: Path) -> str:
    return _print(Dataset.open(path).arrays)


def _use_recording(path: Path) -> str:
    return _print(replay_run.load(path).columns)


def _use_run(path: Path) -> str:
    """A training that resumes there, as far as it reads the files of the run."""
    with RunDir.create(path) as run:
        run.read_table("config.json")
        run.truncate_metrics(4)
        run.append_metrics({"env_steps": 5})
        segments.drop_after(run.replay, [])
        found = checkpoint.recover(run.checkpoints)
        run.write_json("eval.json", {})
        run.read_metrics()
    return str(found and found.name)


def _seal_checkpoint(path: Path) -> None:
    step = int(path.name) if path.name.isdigit() else 0
    (path / manifest.MANIFEST).unlink(missing_ok=True)
    manifest.write(path, step)


def _seal_bundle(path: Path) -> None:
    content = {f.name: f.read_bytes() for f in path.iterdir() if f.name != manifest.MANIFEST}
    (path / manifest.MANIFEST).write_bytes(bundle_files.manifest_of(content))


def soak(count: int, seed: int, path: str = "") -> dict[str, Any]:
    """`count` mutations; "violations" is empty when every one ended as promised."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_CACHE_HOME"] = f"{folder}/cache"
        return _soak(count, np.random.default_rng(seed), Path(folder))


def _soak(count: int, rng: np.random.Generator, folder: Path) -> dict[str, Any]:
    load._networks = cache(load._networks)  # most mutations leave the settings as they are
    made, outside, watch = specimens(folder / "good"), folder / "outside", Watch()
    outside.mkdir()
    (outside / "sentinel").write_text("untouched")
    good = {name: one.use(one.path) for name, one in made.items()}
    ended, violations, slowest, base = Counter[str](), list[str](), 0.0, _peak_mb()
    for number in range(count):
        name = list(made)[number % len(made)]
        path = _copied(made[name].path, folder / "work")
        what, arrays_changed = _mutate(rng, path, made[name], outside)
        (folder / "work" / "sentinel").write_text("untouched")
        mine = f"{folder}/work/{'run/' if name == 'run' else 'nothing/'}"
        watch.roots = (f"{folder}/work/run/", f"{folder}/work/{path.name}", f"{folder}/cache/")
        watch.roots += (sys.prefix, sys.base_prefix, str(Path(__file__).parents[2]), "/proc/")
        watch.writable = (mine, f"{folder}/cache")
        watch.seen, began, watch.on = [], time.thread_time(), True
        problem, result = _ended(made[name].use, path)
        watch.on, seconds = False, time.thread_time() - began
        slowest = max(slowest, seconds)
        if result is not None and result != good[name] and not arrays_changed:
            problem = problem or "was read as something else"
        if seconds > MAX_S:
            problem = problem or f"took {seconds:.1f} s"
        if (peak := _peak_mb()) > base + MAX_MB:
            problem, base = problem or f"took {peak - base:.0f} MB", peak
        problem = problem or (f"touched {watch.seen[:3]}" if watch.seen else "")
        if os.listdir(outside) != ["sentinel"] or (outside / "sentinel").read_text() != "untouched":
            raise SystemExit(f"{name}, {what}: the sentinel was changed")
        ended["read" if result is not None else "refused"] += 1
        if problem:
            violations.append(f"{number} {name}, {what}: {problem}")
    return {
        "mutations": count,
        **ended,
        "slowest_s": slowest,
        "more_mb": _peak_mb() - base,
        "violations": violations,
    }


def _ended(use: Callable[[Path], Any], path: Path) -> tuple[str, Any]:
    """(what is wrong with how it ended, what was read or None)."""
    try:
        return "", use(path)
    except Exception as error:
        line, code = str(error), getattr(error, "exit_code", 1)
        if code != 3 or "\n" in line or len(line) > 2000:
            return f"exit {code}: {type(error).__name__}: {line[:300]!r}", None
        return "", None


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _copied(path: Path, work: Path) -> Path:
    """A fresh copy of a good folder; a checkpoint lies in its run."""
    shutil.rmtree(work, ignore_errors=True)
    whole = path.parents[1] if path.name.isdigit() else path
    shutil.copytree(whole, work / whole.name)
    return work / path.relative_to(whole.parent)


def _mutate(rng: np.random.Generator, path: Path, one: Specimen, outside: Path) -> tuple[str, bool]:
    """Change one thing and seal; what, and whether what is read may differ."""
    files = sorted(f.relative_to(path).as_posix() for f in path.rglob("*") if f.is_file())
    name = str(rng.choice(files))
    file = path / name
    kind = str(rng.choice(["content", "content", "content", "place", "listing"]))
    if kind == "content" and name != manifest.MANIFEST:
        what = _change(rng, file)
        if one.use is not _use_run:
            one.seal(path)
        return f"{name}: {what}", file.suffix != ".json" or name == "tree.json"
    if kind == "place":
        return f"{name}: {_displace(rng, path, file, outside)}", True
    if (path / manifest.MANIFEST).exists():
        return f"manifest: {_relist(rng, path)}", True
    return f"{name}: {_displace(rng, path, file, outside)}", True


def _change(rng: np.random.Generator, file: Path) -> str:
    raw = file.read_bytes()
    if file.suffix == ".json" and rng.random() < 0.85:
        value, what = _changed(rng, json.loads(raw))
        file.write_text(json.dumps(value).replace('"DEEP"', DEEP))
        return what
    if file.suffix == ".jsonl" and rng.random() < 0.7:
        value = VALUES[rng.integers(len(VALUES))]
        file.write_text(json.dumps([1] if rng.random() < 0.3 else {"env_steps": value}) + "\n")
        return f"a row of {str(value)[:40]!r}"
    if file.suffix == ".npy" and rng.random() < 0.6:
        shape = [(2**40,), (-1, 3), (3, 2**62), (), (0,), (5, 10**9)][rng.integers(6)]
        header = {"descr": str(rng.choice(["<f4", "|O", "<f8", "|b1", "V9"])), "shape": shape}
        with open(file, "wb") as out:
            np.lib.format.write_array_header_1_0(out, header | {"fortran_order": False})
            out.write(raw[128:])
        return f"header {header}"
    if file.name == "manifest.ocdbt" and file.parent.name == "arrays":
        return _change_store(rng, file.parent)
    data = bytearray(raw or b"\0")
    at = int(rng.integers(len(data)))
    how = str(rng.choice(["flip", "cut", "zero", "grow", "noise", "empty"]))
    data[at] ^= 1 << int(rng.integers(8))
    changed = {"flip": bytes(data), "cut": raw[:at], "zero": bytes(len(raw)), "empty": b""}
    changed |= {"grow": raw + bytes(100), "noise": rng.bytes(len(raw))}
    file.write_bytes(changed[how])
    return how


def _change_store(rng: np.random.Generator, arrays: Path) -> str:
    """Other sizes in the store of a checkpoint's arrays, written as the store itself does."""
    import tensorstore

    base = {"driver": "file", "path": f"{arrays}/"}
    store = tensorstore.KvStore.open({"driver": "ocdbt", "base": base}).result()
    keys = sorted(store.list().result())
    key = keys[int(rng.integers(len(keys)))]
    if not key.endswith(b".zarray"):
        store.write(key, rng.bytes(int(rng.integers(0, 99)))).result()
        return f"piece {key!r}"
    about = json.loads(store.read(key).result().value)
    field = str(rng.choice(sorted(about)))
    large = {"shape": [2**20, 2**12], "chunks": [2**20, 2**12], "dtype": "<f8"}
    about[field] = large.get(field, VALUES[rng.integers(len(VALUES))])
    store.write(key, json.dumps(about).encode()).result()
    return f"{field} of {key!r}"


def _changed(rng: np.random.Generator, value: Any) -> tuple[Any, str]:
    """A JSON value with one place changed, at random."""
    if isinstance(value, dict | list) and value and rng.random() < 0.93:
        keys = list(value) if isinstance(value, dict) else range(len(value))
        key = keys[int(rng.integers(len(keys)))]
        how = rng.random()
        if how < 0.06:
            rest = (
                {k: v for k, v in value.items() if k != key}
                if isinstance(value, dict)
                else (value[:key] + value[key + 1 :])
            )
            return rest, f"without {key}"
        if how < 0.1 and isinstance(value, list):
            return [*value, value[key]], f"twice {key}"
        inner, what = _changed(rng, value[key])
        copy = dict(value) if isinstance(value, dict) else list(value)
        copy[key] = inner
        return copy, f"{key}.{what}"
    new = "DEEP" if rng.random() < 0.03 else VALUES[rng.integers(len(VALUES))]
    return new, f"= {str(new)[:40]!r}"


def _displace(rng: np.random.Generator, path: Path, file: Path, outside: Path) -> str:
    """Another kind of thing in place of a file, or a folder that is a link, or one file more."""
    how = str(
        rng.choice(["link", "dangling", "hard", "pipe", "folder", "parent", "more", "sparse"])
    )
    if how == "parent" and file.parent != path:
        shutil.rmtree(file.parent)
        file.parent.symlink_to(outside)
    elif how == "more":
        file.with_name(str(rng.choice(["more", "a b.npy", "x\ny", ".tmp-x"]))).write_bytes(b"1")
    elif how == "sparse":
        os.truncate(file, 1 << 40)
    else:
        file.unlink()
        if how == "link":
            file.symlink_to(outside / "sentinel")
        elif how == "dangling":
            file.symlink_to(outside / "new")
        elif how == "pipe":
            os.mkfifo(file)
        elif how == "folder":
            file.mkdir()
        else:
            os.link(outside / "sentinel", file)
    return how


def _relist(rng: np.random.Generator, path: Path) -> str:
    """Another manifest, with its own digest."""
    body = json.loads((path / manifest.MANIFEST).read_bytes())
    del body["sha256"]
    if rng.random() < 0.5:
        body, what = _changed(rng, body)
    else:
        name, entry = body["files"].popitem()
        names = ["../sentinel", "/dev/zero", "arrays/../../sentinel", ".", "a\nb", name + "/x"]
        what = names[rng.integers(len(names))]
        body["files"][what] = entry
    if isinstance(body, dict):
        body["sha256"] = checkpoint.sha256_bytes(manifest.encode(body))
    (path / manifest.MANIFEST).write_bytes(manifest.encode(body))
    return str(what)[:80]
