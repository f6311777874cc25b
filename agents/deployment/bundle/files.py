"""The files of a bundle: everything a controller needs, every byte verified before it is used.

    BUNDLE/   contract.json        what the controller is given and answers (../contract.py)
              params.safetensors   parameters by name, float32
              program-MODE.bin     the agent's step as jax.export wrote it, for each mode
              programs.json        how to run the programs, and until when (programs.py)
              runner.py            runs the programs with jax and numpy alone
              task.mjb, task.msgpack   a user's own task, as agents.runs.task_files has it
              MANIFEST.json        SHA-256 and size of every other file

The digest of a bundle is the SHA-256 of its MANIFEST.json. The manifest says that nothing was
damaged; only a digest that came by another way says who made it. Programs are code: without such
a digest, or an explicit `trust`, they are never even parsed, and the installed code runs the
parameters instead. Files are read once, into memory, and what was verified is what is used.
Imports no jax.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agents.storage import manifest, sealed
from agents.storage.files import CheckpointError, sha256_bytes
from agents.storage.manifest import MANIFEST
from agents.storage.sealed import MOST_TEXT
from envs.imports import DESCRIPTION, MODEL, MOST_BYTES

KIND = "latentmpc bundle"
CONTRACT, PARAMS = "contract.json", "params.safetensors"
PROGRAMS, RUNNER = "programs.json", "runner.py"
SIZES = {CONTRACT: MOST_TEXT, PARAMS: 1 << 33, PROGRAMS: MOST_TEXT, RUNNER: MOST_TEXT}
"""Most bytes of the files that every bundle has."""
MAX_PROGRAM = 1 << 26
DIGEST = re.compile("[0-9a-f]{64}")


def _max_size(name: str) -> int:
    """Bytes that a file of a bundle may have; 0 for one that no bundle has."""
    program = MAX_PROGRAM * bool(re.fullmatch(r"program-\w+\.bin", name))
    return SIZES.get(name) or MOST_BYTES * (name in (DESCRIPTION, MODEL)) or program


LISTED = manifest.Kind(_max_size, tuple(SIZES), {"kind": KIND})


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
            return sealed.parse(self.content[name])
        except ValueError as error:
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
        raw = sealed.read(here, MANIFEST, manifest.MOST_MANIFEST)
        found = sha256_bytes(raw)
        if digest and (wanted := known_digest(digest)) != found:
            raise CheckpointError(f"{MANIFEST}: SHA-256 {found}, expected {wanted}")
        entries = manifest.entries_of(raw, LISTED)
        manifest.check_names(here, entries, LISTED)
        content = {n: manifest.content(here, n, e, LISTED) for n, e in sorted(entries.items())}
    except (CheckpointError, OSError) as error:
        raise _refusal(here, str(error)) from None
    return Files(here, found, content)


def known_digest(text: str) -> str:
    """A SHA-256 in hex from itself or from a file that begins with it. Raises BundleError."""
    shown = text.strip().lower()
    if not DIGEST.fullmatch(shown) and os.path.isfile(text):
        with open(text, "rb") as file:
            shown = file.read(64).decode("ascii", "replace").lower()
    if DIGEST.fullmatch(shown):
        return shown
    raise BundleError(
        f"{text[:80]!r} is no digest: give the 64 hex digits that `latentmpc export` printed "
        "(`sha256sum BUNDLE/MANIFEST.json`), or a file that begins with them"
    )


def manifest_of(content: Mapping[str, bytes]) -> bytes:
    """MANIFEST.json for these files; it holds its own digest too."""
    entries = {n: manifest.Entry(sha256_bytes(d), len(d)) for n, d in content.items()}
    return manifest.made(entries, **LISTED.says)


def _refusal(path: Path, problem: str) -> BundleError:
    return BundleError(f"bundle {path} is refused: {problem}")
