"""The files of a bundle: everything a controller needs, every byte verified before it is used.

    BUNDLE/   contract.json        what the controller is given and answers (agents/contract.py)
              params.safetensors   parameters by name, float32
              program-MODE.bin     the agent's step as jax.export wrote it, for each mode
              programs.json        how to run the programs, and until when (agents/programs.py)
              runner.py            runs the programs with jax and numpy alone
              MANIFEST.json        SHA-256 and size of every other file

The digest of a bundle is the SHA-256 of its MANIFEST.json. The manifest says that nothing was
damaged; only a digest that came by another way says who made it. Programs are code: without such
a digest, or an explicit `trust`, they are never even parsed, and the installed code runs the
parameters instead. Files are read once, into memory, and what was verified is what is used.
Imports no jax.
"""

import json
import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wm.durable import CheckpointError, sha256_bytes
from wm.manifest import MANIFEST, encode

FORMAT = 1
KIND = "latentmpc bundle"
CONTRACT, PARAMS, PROGRAMS, RUNNER = (
    "contract.json",
    "params.safetensors",
    "programs.json",
    "runner.py",
)
NAME = re.compile(
    r"(contract\.json|programs\.json|params\.safetensors|runner\.py|program-\w+\.bin)"
)
MOST_TEXT, MOST_PROGRAM, MOST_PARAMS = 1 << 20, 1 << 26, 1 << 33


class BundleError(CheckpointError):
    """A bundle that must not be used; one line that names it, the file and what is wrong."""


@dataclass(frozen=True)
class Files:
    """The verified content of a bundle."""

    path: Path
    digest: str
    content: Mapping[str, bytes]

    def refusal(self, name: str, problem: object) -> BundleError:
        """The error for a file whose bytes are as listed and still of no use."""
        digest = sha256_bytes(self.content[name])[:12] if name in self.content else "missing"
        return _refusal(self.path, f"{name} (SHA-256 {digest}...): {problem}")

    def json(self, name: str) -> Any:
        """A JSON file, strictly: no NaN, bounded size and depth. Raises BundleError."""
        try:
            return _json(self.content[name])
        except (ValueError, RecursionError) as error:
            raise self.refusal(name, f"not JSON ({error})") from None


def is_bundle(path: str | Path) -> bool:
    """Whether `path` looks like a bundle (and not a run or a checkpoint). Nothing is verified."""
    here = Path(path)
    return (here / CONTRACT).exists() or (
        (here / MANIFEST).exists() and (here / PARAMS).exists() and not (here / "arrays").exists()
    )


def read(path: str | Path, digest: str = "") -> Files:
    """Read and verify every file. Raises BundleError naming the first that is not as listed.

    `digest`, where known beforehand, is the SHA-256 of MANIFEST.json or a file that holds it.
    """
    here = Path(path)
    try:
        raw = _bytes(here, MANIFEST, MOST_TEXT)
        found = sha256_bytes(raw)
        if digest and (wanted := known_digest(digest)) != found:
            raise BundleError(f"{MANIFEST}: SHA-256 {found}, expected {wanted}")
        entries = _entries(raw)
        for name in sorted({*os.listdir(here), *entries} - {MANIFEST}):
            if name not in entries:
                raise BundleError(f"{name[:80]!r}: unexpected, not in {MANIFEST}")
        content = {name: _checked(here, name, entry) for name, entry in sorted(entries.items())}
    except (BundleError, OSError) as error:
        raise _refusal(here, str(error)) from None
    return Files(here, found, content)


def known_digest(text: str) -> str:
    """A SHA-256 in hex from itself or from a file that begins with it. Raises BundleError."""
    given = text.strip().lower()
    if not re.fullmatch("[0-9a-f]{64}", given) and os.path.isfile(text):
        with open(text, "rb") as file:
            given = file.read(64).decode("ascii", "replace").lower()
    if not re.fullmatch("[0-9a-f]{64}", given):
        raise BundleError(
            f"{text[:80]!r} is no digest: give the 64 hex digits that `latentmpc export` printed "
            "(`sha256sum BUNDLE/MANIFEST.json`), or a file that begins with them"
        )
    return given


def manifest_of(content: Mapping[str, bytes]) -> bytes:
    """MANIFEST.json for these files; it holds its own digest too."""
    files = {n: {"sha256": sha256_bytes(d), "size": len(d)} for n, d in content.items()}
    body = {"files": files, "format": FORMAT, "kind": KIND}
    return encode({**body, "sha256": sha256_bytes(encode(body))})


def _entries(raw: bytes) -> dict[str, dict]:
    """Name -> {"sha256", "size"}: plain names of files that a bundle has. Raises BundleError."""
    try:
        manifest = _json(raw)
        intact = raw == encode(manifest)
        intact &= manifest.pop("sha256") == sha256_bytes(encode(manifest))
        intact &= (manifest["format"], manifest["kind"]) == (FORMAT, KIND)
        entries = manifest["files"]
        intact &= all(set(entry) == {"sha256", "size"} for entry in entries.values())
        intact &= all(type(entry["size"]) is int for entry in entries.values())
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        intact, entries = False, {}
    if not intact:
        raise BundleError(
            f"{MANIFEST}: damaged (SHA-256 {sha256_bytes(raw)[:12]}...), expected a bundle's "
            f"manifest of format {FORMAT} as it was written"
        )
    for name in entries:
        if not NAME.fullmatch(name):
            raise BundleError(f"{MANIFEST}: lists {name[:80]!r}, which no bundle has")
    if missing := [n for n in (CONTRACT, PARAMS, PROGRAMS, RUNNER) if n not in entries]:
        raise BundleError(f"{MANIFEST}: does not list {missing[0]}")
    return entries


def _checked(path: Path, name: str, entry: dict) -> bytes:
    most = {PARAMS: MOST_PARAMS}.get(name, MOST_PROGRAM if name.endswith(".bin") else MOST_TEXT)
    expected = f"expected {entry['size']} of SHA-256 {entry['sha256']}"
    data = _bytes(path, name, most, entry["size"], expected)
    if (found := sha256_bytes(data)) != entry["sha256"]:
        raise BundleError(f"{name}: {len(data)} bytes of SHA-256 {found[:12]}..., {expected}")
    return data


def _bytes(
    path: Path, name: str, most: int, size: int | None = None, expected: str = "expected a file"
) -> bytes:
    """A regular file of the listed size: no link of either kind, and no waiting for a pipe."""
    try:
        descriptor = os.open(path / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        raise BundleError(f"{name}: {error.strerror} (no link is followed), {expected}") from None
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or found.st_nlink != 1:
            raise BundleError(f"{name}: not a regular file with one name (no links), {expected}")
        if size is not None and found.st_size != size:
            raise BundleError(f"{name}: {found.st_size} bytes, {expected}")
        if found.st_size > most:
            raise BundleError(f"{name}: {found.st_size} bytes, more than the {most} allowed")
        with open(descriptor, "rb", closefd=False) as file:
            return file.read(most + 1)
    finally:
        os.close(descriptor)


def _json(raw: bytes) -> Any:
    """Raises ValueError or RecursionError."""
    if len(raw) > MOST_TEXT:
        raise ValueError(f"more than {MOST_TEXT} bytes")

    def refuse(constant: str):
        raise ValueError(f"{constant} is no JSON")

    return json.loads(raw, parse_constant=refuse)


def _refusal(path: Path, problem: str) -> BundleError:
    return BundleError(f"bundle {path} is refused: {problem}")
