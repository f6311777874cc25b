"""Resolve pyproject.toml into requirements.lock and requirements-dev.lock (`make lock`).

Both pin every package with the hashes of all its files, so one pair serves Python 3.11 and 3.12
on every platform; the second holds only what the extras of TESTED add, because
tests use them. Versions stay as they are while the requirements allow: arguments go to pip-compile
(`--upgrade`, `--upgrade-package NAME`).
"""

import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RUNTIME, DEV = ROOT / "requirements.lock", ROOT / "requirements-dev.lock"
HEADER = "# Made by `make lock` from pyproject.toml{}; pip installs it with --require-hashes.\n"
COMPILE = [sys.executable, "-m", "piptools", "compile", "--quiet", "--no-config"]
CONTENT = ["--generate-hashes", "--allow-unsafe", "--build-deps-for", "editable", "--strip-extras"]
PLAIN = ["--no-header", "--no-annotate", "--no-emit-options"]
TESTED = ("dev", "cluster", "data", "mjx", "ogbench", "viewer")
LEFT_OUT = {"pip"}
"""Every virtual environment has it already."""


def blocks(text: str) -> dict[str, str]:
    """Package name to its pin and hashes, in the order of the file."""
    found: dict[str, str] = {}
    name = ""
    for line in text.splitlines(keepends=True):
        if line.startswith("#") or not line.strip():
            continue
        if not line.startswith(" "):
            name = line.split("==")[0].strip()
        found[name] = found.get(name, "") + line
    return found


def read(*paths: Path) -> dict[str, str]:
    """The blocks of those lock files that exist."""
    return {k: v for p in paths if p.exists() for k, v in blocks(p.read_text("utf-8")).items()}


def compile_lock(known: dict[str, str], *flags: str) -> dict[str, str]:
    """Resolve, starting from the `known` pins. Raises CalledProcessError with pip's message."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "lock.txt")
        out.write_text("".join(known.values()), "utf-8")
        command = [*COMPILE, *CONTENT, *PLAIN, *flags, "--output-file", str(out), "pyproject.toml"]
        subprocess.run(command, cwd=ROOT, check=True)
        return blocks(out.read_text("utf-8"))


def write(path: Path, pins: dict[str, str], note: str = "") -> None:
    """Write one lock file, sorted by name."""
    body = "".join(pins[name] for name in sorted(pins) if name not in LEFT_OUT)
    path.write_text(HEADER.format(note) + body, "utf-8")
    print(f"{path.name}: {len(pins)} packages")


def main() -> None:
    """Write both lock files."""
    extras = [word for extra in TESTED for word in ("--extra", extra)]
    everything = compile_lock(read(RUNTIME, DEV), *extras, *sys.argv[1:])
    runtime = compile_lock(everything)
    write(RUNTIME, runtime)
    dev = {name: pin for name, pin in everything.items() if name not in runtime}
    write(DEV, dev, " (the extras that tests use, without what requirements.lock holds)")


if __name__ == "__main__":
    main()
