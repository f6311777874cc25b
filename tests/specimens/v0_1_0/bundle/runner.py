"""Run this bundle with jax and numpy alone: python runner.py [--mode prior] [--digest SHA256].

Reads an observation a line (a JSON list; `null` begins a new episode), writes its action a line.
In Python: `Runner(bundle_folder).act(obs)`. No guard: nothing is checked, no limit is kept. A
program can do anything: run bundles you trust.
"""

import argparse
import hashlib
import json
import math
import os
import stat
import sys
from pathlib import Path

import jax
import numpy as np


def read(folder: Path, name: str, limit: int) -> bytes:
    """Content of a regular file; never waits for a pipe, never follows a link."""
    descriptor = os.open(folder / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with open(descriptor, "rb") as file:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or found.st_size > limit:
            raise ValueError(f"{name}: not a regular file of at most {limit} bytes")
        return file.read()


def verified(folder: Path, digest: str = "") -> dict[str, bytes]:
    """Every file as MANIFEST.json lists it. ValueError, OSError: names the first that differs."""
    raw, files = read(folder, "MANIFEST.json", 1 << 20), {}
    if digest not in ("", hashlib.sha256(raw).hexdigest()):
        raise ValueError(f"MANIFEST.json: SHA-256 is not {digest}")
    listed = json.loads(raw)["files"]
    if unexpected := {*os.listdir(folder)} - {*listed, "MANIFEST.json"}:
        raise ValueError(f"{min(unexpected)}: unexpected, not in MANIFEST.json")
    for name, entry in listed.items():
        files[name] = read(folder, os.path.basename(name), entry["size"])
        if hashlib.sha256(files[name]).hexdigest() != entry["sha256"]:
            raise ValueError(f"{name}: SHA-256 is not {entry['sha256']}")
    return files


def parameters(raw: bytes) -> dict[str, np.ndarray]:
    """Arrays of a safetensors file. Raises ValueError for anything but float32 inside it."""
    start = 8 + int.from_bytes(raw[:8], "little")
    if not 8 < start <= min(len(raw), 1 << 24):
        raise ValueError("params.safetensors: no header")
    arrays, body = {}, memoryview(raw)[start:]
    for name, entry in json.loads(raw[8:start]).items():
        (begin, end), shape = entry["data_offsets"], entry["shape"]
        inside = 0 <= begin <= end <= len(body) and min(shape, default=0) >= 0
        if entry["dtype"] != "F32" or not inside or end - begin != 4 * math.prod(shape):
            raise ValueError(f"params.safetensors: {name} does not fit the file")
        arrays[name] = np.frombuffer(body[begin:end], "<f4").reshape(shape)
    return arrays


class Runner:
    """A controller: observation [O] in, action [A] in [-1, 1] out. ValueError, OSError: refused."""

    def __init__(self, folder, mode: str = "plan", seed: int = 0, digest: str = ""):
        files = verified(Path(folder), digest)
        info, contract = (json.loads(files[f"{n}.json"]) for n in ("programs", "contract"))
        program = jax.export.deserialize(bytearray(files[info["files"][mode]]))
        platform = {"gpu": "cuda"}.get(jax.default_backend(), jax.default_backend())
        self.program = jax.jit(program.call, compiler_options=info["compiler_options"][platform])
        self.params = jax.device_put(parameters(files["params.safetensors"]))
        self.start = [np.zeros(shape, dtype) for dtype, shape in info["memory"]]
        self.start[info["seed"]] += np.uint32(seed)
        self.still = np.zeros(len(contract["action"]["low"]), np.float32)
        self.reset()
        self.act(np.zeros(contract["obs"]["shape"]))
        self.reset()

    def reset(self) -> None:
        """Begin an episode: plan and random numbers start afresh."""
        self.memory, self.last, self.elapsed = self.start, self.still, np.int32(0)

    def act(self, obs) -> np.ndarray:
        """The action; `report` then has the entries that programs.json names."""
        given = self.params, self.memory, np.asarray(obs, np.float32), self.last, self.elapsed
        self.last, self.report, self.memory = self.program(*given)
        self.elapsed = np.int32(1)
        return np.asarray(self.last)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="observations in, actions out: JSON lists")
    parser.add_argument("--mode", default="plan", choices=("plan", "prior"))
    parser.add_argument("--digest", default="")
    parser.add_argument("--seed", default=0, type=int)
    try:
        runner = Runner(Path(__file__).parent, **vars(parser.parse_args()))
    except (ValueError, LookupError, OSError) as error:  # 3: a bundle that is refused
        sys.exit(print("runner: error:", *str(error).split(), file=sys.stderr) or 3)
    for obs in map(json.loads, sys.stdin):
        runner.reset() if obs is None else print(json.dumps(runner.act(obs).tolist()), flush=True)
