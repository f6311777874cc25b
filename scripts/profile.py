"""`latentmpc profile RUN|ENV`: where the time of a training goes, and how far that is from peak."""

from pathlib import Path
from typing import Any

from agents.machine.config import ProfileConfig
from agents.runs import needs
from agents.runs.config import ConfigError, preset_config
from agents.runs.settings import peek
from scripts.verb import Output, Verb


def check(config: ProfileConfig) -> None:
    """Raise ConfigError without a target, and for what this machine has no memory for."""
    if not config.target:
        raise ConfigError("profile what? give a run directory or a task: latentmpc profile runs/ID")
    base = peek(config.target) or preset_config(config.preset)
    sims = max(config.num_envs or base.num_envs, config.sims)
    planner = config.planner.apply(base.planner)
    needs.require(needs.training(base))
    needs.require(needs.evaluation(base, planner, sims, "--num-envs and --sims"))


def call(config: ProfileConfig, output: Output):
    """The figures, written where that was asked for."""
    from scripts.tasks import require_task

    if not Path(config.target).is_dir():
        require_task(config.target)
    from agents.machine.profile import profile

    result = profile(config)
    if config.out:
        _write(config.out, result)
    return result


def _write(path: str, result: dict[str, Any]) -> None:
    from agents.runs.directory import RunDir

    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"--out {path} cannot be written: {error.strerror or error}") from error
    RunDir(Path(path).parent).write_json(Path(path).name, result)


def show(config: ProfileConfig, result: dict[str, Any]) -> None:
    """A row a part."""
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


VERB = Verb(
    "profile",
    ProfileConfig,
    call,
    check=check,
    trust=True,
    show=show,
    positional="target",
    metavar="RUN|ENV",
    about="""Time the parts of a training cycle, count its operations, compare with the machine's
    peak.""",
    example="latentmpc profile cartpole-swingup --json",
    common="preset num_envs cycles fused sims out planner.num_samples planner.horizon",
)
main = VERB.main
