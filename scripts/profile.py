"""`latentmpc profile RUN|ENV`: where the time of a training goes, and how far that is from peak."""

from pathlib import Path

from agents.machine.config import ProfileConfig
from agents.runs import needs
from agents.runs.config import preset_config
from agents.runs.settings import peek
from scripts.verb import Verb


def check(config: ProfileConfig) -> None:
    """Raise ConfigError for what this machine has no memory for."""
    base = peek(config.target) or preset_config(config.preset)
    sims = max(config.num_envs or base.num_envs, config.sims)
    planner = config.planner.apply(base.planner)
    needs.require(needs.training(base))
    needs.require(needs.evaluation(base, planner, sims, "--num-envs and --sims"))


VERB = Verb(
    "profile",
    ProfileConfig,
    "agents.machine.profile:profile",
    tasks=lambda config: "" if Path(config.target).is_dir() else config.target,
    missing="profile what? give a run directory or a task: latentmpc profile runs/ID",
    check=check,
    trust=True,
    title="{0.target}",
    positional="target",
    metavar="RUN|ENV",
    about="""Time the parts of a training cycle, count its operations, compare with the machine's
    peak.""",
    example="latentmpc profile cartpole-swingup --json",
    common="preset num_envs cycles fused sims out planner.num_samples planner.horizon",
)
