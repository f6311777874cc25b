"""`latentmpc profile RUN|ENV`: where the time of a training goes, and how far that is from peak."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from agents.deployment.guard.trust_config import ImportTrust
from agents.machine.config import ProfileConfig
from agents.runs import needs
from agents.runs.config import ConfigError, preset_config
from agents.runs.settings import peek
from scripts.flags import parse, settings_of


@dataclass(frozen=True)
class ProfileFlags(ProfileConfig, ImportTrust):
    """Time the parts of a training cycle, count its operations, compare with the machine's peak."""

    target: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RUN|ENV")] = ""
    """Run directory (its settings) or task (those of the preset)."""
    config: Annotated[str, tyro.conf.arg(metavar="FILE.toml")] = ""
    """Settings from a file with these names as keys."""
    json: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Print the result, and nothing else, as JSON on standard output."""

    def config_of(self) -> ProfileConfig:
        """The settings alone."""
        return settings_of(ProfileConfig, self)


def parse_profile(argv: Sequence[str]) -> ProfileFlags:
    """Settings from the command line. Raises ConfigError."""
    flags = parse("profile", ProfileFlags, ProfileConfig, argv, positional="target")
    if not flags.target:
        raise ConfigError("profile what? give a run directory or a task: latentmpc profile runs/ID")
    base = peek(flags.target) or preset_config(flags.preset)
    sims = max(flags.num_envs or base.num_envs, flags.sims)
    planner = flags.planner.apply(base.planner)
    needs.require(needs.training(base))
    needs.require(needs.evaluation(base, planner, sims, "--num-envs and --sims"))
    return flags


def main(argv: Sequence[str]) -> int:
    """Profile; 0 when the figures are complete."""
    flags = parse_profile(argv)

    from scripts.output import print_json, stdout_to_stderr
    from scripts.tasks import require_task

    with stdout_to_stderr(flags.json):
        if not Path(flags.target).is_dir():
            require_task(flags.target)
        from agents.machine.profile import profile

        result = profile(flags.config_of())
    if flags.out:
        _write(flags.out, result)
    if flags.json:
        print_json(result)
    else:
        _print(result)
    return 0


def _write(path: str, result: dict[str, Any]) -> None:
    from agents.runs.directory import RunDir

    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"--out {path} cannot be written: {error.strerror or error}") from error
    RunDir(Path(path).parent).write_json(Path(path).name, result)


def _print(result: dict[str, Any]) -> None:
    from rich.table import Table

    from scripts.output import print_table

    title = f"{result['env_id']}: {result['params']:,} parameters, {result['num_envs']} simulators"
    table = Table("part of a cycle", "ms", "GFLOP", "share of matmul", title=title)
    for name, ms in result["ms"].items():
        gflop, share = result["gflop"].get(name), result["share_of_matmul"].get(name)
        given = ("", "") if gflop is None else (f"{gflop:.3f}", f"{share:.0%}")
        table.add_row(name, f"{ms:.3f}", *given)
    for name, ms in result["cycle_ms"].items():
        table.add_row(f"whole cycle, {name} loop", f"{ms:.3f}", "", "")
    for count, ms in result.get("plan_ms_a_simulator", {}).items():
        table.add_row(f"planning a simulator, {count} in a call", f"{ms:.3f}", "", "")
    table.add_row("matrix product, GFLOP/s", f"{result['matmul_gflops']:.0f}", "", "")
    print_table(table)
