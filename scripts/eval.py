"""`latentmpc eval RUN_OR_CHECKPOINT`: run a trained model closed-loop and report."""

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from agents.goals.config import GUIDED, GoalEvalConfig, goal_planner
from agents.reports.tables import Table
from agents.runs import needs
from agents.runs.config import ConfigError, EvalConfig
from agents.runs.pretrain_config import is_pretrained
from envs.imports import modules_of
from scripts.checks import check_planner
from scripts.recipes.read import mentioned
from scripts.verb import Verb


def check(config: EvalConfig) -> None:
    """Refuse overrides that fit neither the run's planner nor the machine."""
    check_planner(config.path, config.planner, config.episodes)


def check_goals(config: GoalEvalConfig) -> None:
    """Raise ConfigError for what is no run of `pretrain`, and for a planner that cannot be."""
    if not is_pretrained(config.path):
        raise ConfigError(
            f"{config.path or 'which run?'}: goals are for a run of `latentmpc pretrain`, as in "
            "latentmpc eval runs/ID --goals 200"
        )
    planner = goal_planner(config.planner, with_policy=config.with_policy)
    oracle = config.mode == "oracle" or bool(config.oracle_goals)
    needs.require(needs.reaching(planner, min(config.slots, config.goals), oracle))
    config.objective.apply(GUIDED)


def show_goals(config: GoalEvalConfig, result: dict[str, Any]) -> list[Table]:
    """The agent, and what it is compared with."""
    from scripts.output import summary

    agent = summary(f"{config.path} ({config.mode})", result)
    return [agent, *(summary(n, result[n]) for n in ("floor", "oracle") if n in result)]


def _episodes_as_goals(argv: Sequence[str]) -> list[str]:
    return [
        "--goals" + token.removeprefix("--episodes")
        if token.partition("=")[0] == "--episodes"
        else token
        for token in argv
    ]


VERB = Verb(
    "eval",
    EvalConfig,
    "agents.evaluation.evaluate:evaluate_path",
    missing="which run? give a run directory or a checkpoint: latentmpc eval runs/ID",
    folder="a run directory or a checkpoint",
    tasks=lambda config: "" if modules_of(config.env_id) else config.env_id,
    check=check,
    trust=True,
    positional="path",
    metavar="RUN_OR_CHECKPOINT",
    title="{0.path} ({0.mode})",
    about="""Run a trained run or checkpoint closed-loop on simulators of its own and report. A run
    of `latentmpc pretrain` is tried on goals that it has not seen: see latentmpc eval --goals 1
    --help.""",
    example="latentmpc eval runs/walker --planner.horizon 6 --seed 10000 --out runs/h6",
    common="""episodes seed mode out env_id planner.method planner.horizon planner.num_samples
    planner.num_iterations planner.num_elites planner.temperature""",
)
GOALS = Verb(
    "eval",
    GoalEvalConfig,
    "agents.goals.evaluate:evaluate_goals",
    tasks=lambda config: config.env_id,
    check=check_goals,
    show=show_goals,
    trust=True,
    prepare=_episodes_as_goals,
    positional="path",
    metavar="PRETRAIN_RUN",
    about="Run a pretrained model closed-loop on goals that it has not seen and report successes.",
    example="latentmpc eval runs/rooms --goals 200",
    common="""goals seed mode out floor oracle_goals goal_heads planner.method planner.horizon
    planner.num_samples planner.num_iterations objective.effort""",
)


def choose(argv: Sequence[str]) -> Verb:
    """Goals where a command line is about a pretrain run: its path is one, or a setting says so."""
    recipe = mentioned("eval", argv)
    alone = {f.name for f in fields(GoalEvalConfig)} - {f.name for f in fields(EvalConfig)}
    given = {t[2:].partition("=")[0] for t in argv if t[:2] == "--"}
    named = {name.partition(".")[0].replace("-", "_") for name in given} | recipe.keys()
    paths = [token for token in argv if not token.startswith("-")] + [recipe.get("path", "")]
    return GOALS if named & alone or any(map(is_pretrained, filter(None, paths))) else VERB
