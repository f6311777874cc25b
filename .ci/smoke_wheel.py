"""Install a wheel alone into a fresh environment and use it from another folder (`make build`).

The dependencies come from the environment that runs this script, through a path file; the project
itself does not: its source folder is left off the path.
"""

import os
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("agents", "envs", "planning", "scripts", "wm")
CHECK = """
import importlib.util, pathlib, sys
home = pathlib.Path(sys.prefix).resolve()
for name in sys.argv[1:]:
    origin = importlib.util.find_spec(name).submodule_search_locations[0]
    assert home in pathlib.Path(origin).resolve().parents, f"{name} comes from {origin}"
    importlib.import_module(name)
"""


def borrow(env: Path, python: Path) -> None:
    """Let `env` see this environment's packages, but not what its path files point at."""
    asked = [str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    target = subprocess.run(asked, check=True, capture_output=True, text=True).stdout.strip()
    assert Path(target).is_relative_to(env), target
    Path(target, "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n", "utf-8")


def main() -> None:
    """Install sys.argv[1] and run the command in an empty folder."""
    wheel = Path(sys.argv[1]).resolve()
    with tempfile.TemporaryDirectory() as folder:
        env, elsewhere = Path(folder, "env").resolve(), Path(folder, "elsewhere")
        elsewhere.mkdir()
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(env)], check=True)
        python = env / "bin" / "python"
        borrow(env, python)
        pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "-qq", "--no-deps"]
        subprocess.run([*pip, "--ignore-installed", "--no-index", str(wheel)], check=True)
        clean = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
        command = str(env / "bin" / "latentmpc")
        for name, args in {
            "imports": [str(python), "-c", CHECK, *PACKAGES],
            "--version": [command, "--version"],
            "tasks": [command, "tasks"],
            "train --help": [command, "train", "--help"],
            "recipes": [command, "recipes", "demo"],
        }.items():
            run = subprocess.run(args, cwd=elsewhere, env=clean, capture_output=True, text=True)
            if run.returncode:
                sys.exit(f"{wheel.name}: {name}: exit {run.returncode}\n{run.stdout}{run.stderr}")
            print(f"{wheel.name}: {name}: ok")


if __name__ == "__main__":
    main()
