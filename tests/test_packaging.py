"""What is tracked, locked and installed is what it says."""

import ast
import importlib.metadata as metadata
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("agents", "envs", "planning", "scripts", "wm")
LOCKS = ("requirements.lock", "requirements-dev.lock")
MAX_BYTES = 1_000_000
PICKLES = {".pkl", ".pickle", ".joblib", ".pt"}
MACHINES = [
    {"python_version": minor, "python_full_version": f"{minor}.7", **system}
    for minor in ("3.11", "3.12")
    for system in (
        {"sys_platform": "linux", "platform_system": "Linux", "platform_machine": "x86_64"},
        {"sys_platform": "linux", "platform_system": "Linux", "platform_machine": "aarch64"},
        {"sys_platform": "darwin", "platform_system": "Darwin", "platform_machine": "arm64"},
    )
]


def project() -> dict:
    """The project's own table of pyproject.toml."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]


def pins(*locks: str) -> dict[str, str]:
    """Package to version over lock files."""
    text = "".join((ROOT / lock).read_text("utf-8") for lock in locks)
    return dict(re.findall(r"^([a-z0-9-]+)==(\S+) \\$", text, re.MULTILINE))


def tracked() -> list[Path]:
    """Files that git tracks, or, in an unpacked release, those of the packages."""
    command = ["git", "-C", str(ROOT), "ls-files", "-z"]
    run = subprocess.run(command, capture_output=True, text=True)
    if run.returncode:
        return [path for name in PACKAGES for path in (ROOT / name).rglob("*") if path.is_file()]
    return [path for name in run.stdout.split("\0") if name and (path := ROOT / name).is_file()]


@pytest.mark.parametrize("package", PACKAGES)
def test_import_name_is_owned_once(package):
    """`agents` is also what openai-agents installs: two owners, and one hides the other."""
    owners = sorted(set(metadata.packages_distributions().get(package, ["latentmpc"])))
    assert owners == ["latentmpc"], (
        f"the import name {package!r} is owned by {' and '.join(owners)}: one of them hides the "
        f"other; install latentmpc in a virtual environment of its own (make setup)"
    )


@pytest.mark.parametrize("package", PACKAGES)
def test_package_is_this_checkout(package):
    """Tests test these sources, not an installed copy."""
    from importlib.util import find_spec

    spec = find_spec(package)
    assert spec is not None
    assert (ROOT / package / "__init__.py").is_file(), f"{package}/__init__.py is missing"
    assert spec.origin == str(ROOT / package / "__init__.py")


def test_version_is_said_once():
    """Metadata, pyproject.toml and the newest entry of the change log agree."""
    version = project()["version"]
    assert metadata.version("latentmpc") == version, "run `make setup`: the installed one is old"
    newest = re.search(
        r"^## \[([\d.]+)\]", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE
    )
    assert newest is not None
    assert newest[1] == version


def test_command_is_installed():
    """The entry point loads."""
    (command,) = metadata.entry_points(group="console_scripts", name="latentmpc")
    assert callable(command.load())


def test_nothing_large_or_pickled_is_tracked():
    """No file above 1 MB; nothing that loading could execute."""
    large = [
        f"{p.relative_to(ROOT)} ({p.stat().st_size})"
        for p in tracked()
        if p.stat().st_size > MAX_BYTES
    ]
    assert not large, f"files above 1 MB: {large}"
    pickled = [str(p.relative_to(ROOT)) for p in tracked() if p.suffix in PICKLES]
    assert not pickled, f"pickles: {pickled}"


@pytest.mark.parametrize("lock", LOCKS)
def test_lock_names_no_host(lock):
    """Only names, versions and hashes: the installer's own settings say where from."""
    lines = (ROOT / lock).read_text("utf-8").splitlines()
    assert lines[0].startswith("# Made by `make lock`")
    shape = re.compile(r"[a-z0-9][a-z0-9-]*==[\w.+]+ \\|    --hash=sha256:[0-9a-f]{64}( \\)?")
    odd = [line for line in lines[1:] if not shape.fullmatch(line)]
    assert not odd, odd[:5]


def test_imports_are_declared():
    """What the packages import is a dependency or in an extra, not somebody else's."""
    owners = metadata.packages_distributions()
    extras = [r for extra in project()["optional-dependencies"].values() for r in extra]
    wanted = [*project()["dependencies"], *extras]
    declared = {canonicalize_name(Requirement(r).name) for r in wanted}
    imported = set()
    for source in (path for name in PACKAGES for path in (ROOT / name).rglob("*.py")):
        for node in ast.walk(ast.parse(source.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                imported |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                imported.add(node.module.split(".")[0])
    foreign = imported - set(PACKAGES) - sys.stdlib_module_names
    undeclared = {n for n in foreign if not declared & set(map(canonicalize_name, owners[n]))}
    assert not undeclared, f"imported but not in pyproject.toml's dependencies: {undeclared}"


def test_locks_do_not_overlap():
    """One version of each package."""
    assert not pins(LOCKS[0]).keys() & pins(LOCKS[1]).keys()


@pytest.mark.parametrize("machine", MACHINES, ids=lambda m: "-".join(m.values()))
def test_locks_are_complete(machine):
    """Everything the project needs is pinned, on either Python and any platform.

    Walks the requirements of what is installed here, with the markers of that machine.
    """
    runtime = [Requirement(r) for r in project()["dependencies"]]
    dev = [Requirement(r) for r in project()["optional-dependencies"]["dev"]]
    for roots, locks in ((runtime, LOCKS[:1]), (runtime + dev, LOCKS)):
        locked, queue, seen = pins(*locks), list(roots), set()
        while queue:
            need = queue.pop()
            name = canonicalize_name(need.name)
            if name in ("pip", "wheel") and name not in locked:
                continue
            assert name in locked, f"{locks[-1]} lacks {need} (run `make lock`)"
            assert need.specifier.contains(locked[name], prereleases=True), (
                f"{locks[-1]} pins {name} {locked[name]}, needed is {need} (run `make lock`)"
            )
            if (name, frozenset(need.extras)) in seen:
                continue
            seen.add((name, frozenset(need.extras)))
            queue += wanted(name, need.extras, machine)


def wanted(name: str, extras: set[str], machine: dict[str, str]) -> list[Requirement]:
    """What an installed package requires on that machine; nothing when it is not installed."""
    try:
        listed = metadata.requires(name) or []
    except metadata.PackageNotFoundError:
        return []
    requirements = [Requirement(line) for line in listed]
    environments = [{**machine, "extra": extra} for extra in ("", *extras)]
    return [r for r in requirements if not r.marker or any(map(r.marker.evaluate, environments))]


@pytest.mark.slow
def test_wheel_holds_the_packages(tmp_path):
    """Every source and data file of the packages, and nothing else, is in the wheel."""
    command = [sys.executable, "-m", "build", "--no-isolation", "--wheel", "--outdir", tmp_path]
    source = tmp_path / "source"
    for path in tracked():
        copy = source / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())
    run = subprocess.run([*command, source], capture_output=True, text=True, env=dict(os.environ))
    assert run.returncode == 0, run.stdout + run.stderr
    (wheel,) = tmp_path.glob("latentmpc-*.whl")
    held = {n for n in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in n}
    expected = {
        str(path.relative_to(ROOT))
        for path in tracked()
        if path.relative_to(ROOT).parts[0] in PACKAGES
    }
    assert held == expected
