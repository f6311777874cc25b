"""`latentmpc eval RUN_OR_CHECKPOINT`: run a trained model closed-loop and report."""

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from agents.goals.config import GUIDED, GoalEvalConfig, goal_planner
from agents.runs import needs
from agents.runs.config import ConfigError, EvalConfig
from agents.runs.pretrain_config import is_pretrained
from scripts.flags import check_planner, require_directory
from scripts.recipes.read import mentioned
from scripts.verb import Output, Verb


def check(config: EvalConfig) -> None:
    """Refuse what has no run, and overrides that fit neither the run's planner nor the machine."""
    if not config.path:
        raise ConfigError("which run? give a run directory or a checkpoint: latentmpc eval runs/ID")
    require_directory(config.path, "a run directory or a checkpoint")
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


def call(config: EvalConfig, output: Output):
    """Returns of the episodes."""
    from scripts.tasks import require_task

    if config.env_id:
        require_task(config.env_id)
    from agents.evaluation.evaluate import evaluate_path

    return evaluate_path(config)


def call_goals(config: GoalEvalConfig, output: Output):
    """Success on held-out goals."""
    from scripts.tasks import require_task

    if config.env_id:
        require_task(config.env_id)
    from agents.goals.evaluate import evaluate_goals

    return evaluate_goals(config)


def show_goals(config: GoalEvalConfig, result: dict[str, Any]) -> None:
    """The agent, and what it is compared with."""
    from scripts.output import print_table, summary

    print_table(summary(f"{config.path} ({config.mode})", result))
    for name in ("floor", "oracle"):
        if name in result:
            print_table(summary(name, result[name]))


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
    call,
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
    call_goals,
    check=check_goals,
    show=show_goals,
    trust=True,
    prepare=_episodes_as_goals,
    positional="path",
    metavar="PRETRAIN_RUN",
    about="Run a pretrained model closed-loop on goals that it has not seen and report successes.",
    example="latentmpc eval runs/rooms --goals 200",
    common="""goals seed mode out floor oracle_goals guides planner.method planner.horizon
    planner.num_samples planner.num_iterations objective.effort""",
)
parse_eval, parse_goal_eval = VERB.settings, GOALS.settings


def choose(argv: Sequence[str]) -> Verb:
    """Goals where a command line is about a pretrain run: its path is one, or a setting says so."""
    recipe = mentioned("eval", argv)
    alone = {f.name for f in fields(GoalEvalConfig)} - {f.name for f in fields(EvalConfig)}
    given = {t[2:].partition("=")[0] for t in argv if t[:2] == "--"}
    named = {name.partition(".")[0].replace("-", "_") for name in given} | recipe.keys()
    paths = [token for token in argv if not token.startswith("-")] + [recipe.get("path", "")]
    return GOALS if named & alone or any(map(is_pretrained, filter(None, paths))) else VERB


def main(argv: Sequence[str]) -> int:
    """Evaluate; 0 when the result is complete."""
    return choose(argv).main(argv)
