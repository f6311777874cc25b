"""`latentmpc eval RUN_OR_CHECKPOINT`: run a trained model closed-loop and report."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Annotated

import tyro

from agents.deployment.guard.trust_config import ImportTrust
from agents.goals.config import GUIDED, GoalEvalConfig, goal_planner
from agents.runs import needs
from agents.runs.config import ConfigError, EvalConfig
from agents.runs.pretrain_config import is_pretrained
from scripts.flags import check_planner, parse, require_directory, settings_of


@dataclass(frozen=True)
class EvalFlags(EvalConfig, ImportTrust):
    """Run a trained run or checkpoint closed-loop on simulators of its own and report."""

    path: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RUN_OR_CHECKPOINT")] = ""
    """Run directory (its newest checkpoint) or checkpoint directory."""
    config: Annotated[str, tyro.conf.arg(metavar="FILE.toml")] = ""
    """Settings from a file with these names as keys (`[planner]` as a table)."""
    json: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Print the result, and nothing else, as JSON on standard output."""

    def config_of(self) -> EvalConfig:
        """The settings alone."""
        return settings_of(EvalConfig, self)


@dataclass(frozen=True)
class GoalEvalFlags(GoalEvalConfig, ImportTrust):
    """Run a pretrained model closed-loop on goals that it has not seen and report successes."""

    path: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="PRETRAIN_RUN")] = ""
    """Run directory of `latentmpc pretrain` or one of its checkpoints."""
    config: Annotated[str, tyro.conf.arg(metavar="FILE.toml")] = ""
    """Settings from a file with these names as keys (`[planner]` and `[objective]` as tables)."""
    json: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Print the result, and nothing else, as JSON on standard output."""

    def config_of(self) -> GoalEvalConfig:
        """The settings alone."""
        return settings_of(GoalEvalConfig, self)


def parse_goal_eval(argv: Sequence[str]) -> GoalEvalFlags:
    """Settings of the evaluation of a pretrain run. Raises ConfigError."""
    renamed = [
        "--goals" + token.removeprefix("--episodes")
        if token.partition("=")[0] == "--episodes"
        else token
        for token in argv
    ]
    flags = parse("eval", GoalEvalFlags, GoalEvalConfig, renamed, positional="path")
    if not is_pretrained(flags.path):
        raise ConfigError(
            f"{flags.path or 'which run?'}: goals are for a run of `latentmpc pretrain`, as in "
            "latentmpc eval runs/ID --goals 200"
        )
    planner = goal_planner(flags.planner, guided=flags.led)
    oracle = flags.mode == "oracle" or flags.oracle_goals
    needs.require(needs.reaching(planner, min(flags.slots, flags.goals), bool(oracle)))
    flags.objective.apply(GUIDED)
    return flags


def parse_eval(argv: Sequence[str]) -> EvalFlags:
    """Settings from the command line. Raises ConfigError."""
    flags = parse("eval", EvalFlags, EvalConfig, argv, positional="path")
    if not flags.path:
        raise ConfigError("which run? give a run directory or a checkpoint: latentmpc eval runs/ID")
    require_directory(flags.path, "a run directory or a checkpoint")
    check_planner(flags.path, flags.planner, flags.episodes)
    return flags


def _means_goals(argv: Sequence[str]) -> bool:
    """Whether a command line is about a pretrain run: its path is one, or a flag says so."""
    alone = {f.name for f in fields(GoalEvalConfig)} - {f.name for f in fields(EvalConfig)}
    flags = {
        t[2:].partition("=")[0].partition(".")[0].replace("-", "_") for t in argv if t[:2] == "--"
    }
    paths = [token for token in argv if not token.startswith("-")]
    return bool(flags & alone) or any(map(is_pretrained, paths))


def main(argv: Sequence[str]) -> int:
    """Evaluate; 0 when the result is complete."""
    if _means_goals(argv):
        return _main_goals(argv)
    flags = parse_eval(argv)

    from scripts.output import print_json, print_table, stdout_to_stderr, summary
    from scripts.tasks import require_task

    with stdout_to_stderr(flags.json):
        if flags.env_id:
            require_task(flags.env_id)
        from agents.evaluation.evaluate import evaluate_path

        result = evaluate_path(flags.config_of())
    if flags.json:
        print_json(result)
    else:
        print_table(summary(f"{flags.path} ({flags.mode})", result))
    return 0


def _main_goals(argv: Sequence[str]) -> int:
    """Evaluate a pretrain run on held-out goals."""
    flags = parse_goal_eval(argv)

    from scripts.output import print_json, print_table, stdout_to_stderr, summary
    from scripts.tasks import require_task

    with stdout_to_stderr(flags.json):
        if flags.env_id:
            require_task(flags.env_id)
        from agents.goals.evaluate import evaluate_goals

        result = evaluate_goals(flags.config_of())
    if flags.json:
        print_json(result)
        return 0
    print_table(summary(f"{flags.path} ({flags.mode})", result))
    for name in ("floor", "oracle"):
        if name in result:
            print_table(summary(name, result[name]))
    return 0
