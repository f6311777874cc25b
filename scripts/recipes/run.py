"""`latentmpc recipe run NAME`: every stage of a recipe, in order; resumes.

OUT/recipe.json holds the stages as they were begun, and the results of those that are done.
"""

import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from agents.reports.tables import Table
from agents.runs.config import ConfigError
from agents.storage.files import CheckpointError, made_directory
from scripts import cli
from scripts.command import parse, run
from scripts.recipes.read import Recipe, load
from scripts.verb import Output, Verb

if TYPE_CHECKING:
    from agents.runs.directory import RunDir

STATE = "recipe.json"


class StageError(RuntimeError):
    """A stage that ended with an exit code; shown as one line."""

    def __init__(self, text: str, code: int):
        super().__init__(text)
        self.exit_code = code


@dataclass(frozen=True)
class RecipeConfig:
    """Which recipe, and where."""

    action: Literal["run", "show", ""] = ""
    """run: do all stages that are not done; show: print them as commands."""
    name: str = ""
    """A recipe (`latentmpc recipes` lists them), or a TOML file of yours."""
    out: str = ""
    """Folder for all stages; the same command resumes. Default: runs/NAME."""

    @property
    def folder(self) -> str:
        """Where the stages work. Raises ConfigError for no such recipe."""
        return self.out or load(self.name).folder


def check(config: RecipeConfig) -> None:
    """Raise ConfigError for no such recipe, and for settings that its verbs do not take."""
    if not (config.action and config.name):
        raise ConfigError(
            "which recipe? latentmpc recipe run NAME (`latentmpc recipes` lists them)"
        )
    recipe = load(config.name)
    for stage in recipe.stages:
        parse(*cli.verb_of(recipe.argv(stage, config.folder)))


def call(config: RecipeConfig, output: Output):
    """Results of all stages by name; their commands for `show`."""
    from agents.runs.directory import RunDir

    recipe, out = load(config.name), config.folder
    commands = {stage: recipe.argv(stage, out) for stage in recipe.stages}
    if config.action == "show":
        return {stage: shlex.join(["latentmpc", *words]) for stage, words in commands.items()}
    with RunDir(made_directory(Path(out))) as place:
        done = _begun(recipe, place)
        for number, (stage, words) in enumerate(commands.items(), 1):
            at = f"stage {number}/{len(commands)} {stage}"
            if stage in done:
                output.say(f"{at}: done before")
                continue
            output.say(f"{at}: {shlex.join(['latentmpc', *words])}")
            verb, argv = cli.verb_of([*words, *(["--json"] if output.json else [])])
            done[stage], code = run(verb, argv, quiet=True)
            if code:
                raise StageError(f"{at} ended with code {code}; the same command resumes", code)
            place.write_json(STATE, {"stages": recipe.stages, "done": done})
    return done


def _begun(recipe: Recipe, place: "RunDir") -> dict[str, Any]:
    """Results of the stages that are done.

    Raises ConfigError where another recipe was begun, CheckpointError for a file that cannot be.
    """
    if not (place.path / STATE).exists():
        place.write_json(STATE, {"stages": recipe.stages, "done": {}})
    stored = place.read_table(STATE)
    begun, done = stored.get("stages"), stored.get("done")
    if not isinstance(begun, dict) or not isinstance(done, dict):
        raise CheckpointError(f"{place.path / STATE} cannot be used: expected `stages` and `done`")
    for stage in {**begun, **recipe.stages}:
        if begun.get(stage) != recipe.stages.get(stage):
            raise ConfigError(
                f"{place.path} was begun with another recipe, whose stage {stage} differs: give "
                f"another --out, or delete {place.path} to start again"
            )
    return done


def show(config: RecipeConfig, stages: dict[str, Any]) -> Iterable[Table | str]:
    """A row a stage."""
    if config.action == "show":
        return stages.values()
    verbs = {stage: settings["verb"] for stage, settings in load(config.name).stages.items()}
    rows = [[stage, verbs[stage], _figure(result)] for stage, result in stages.items()]
    return [Table("", "", ("stage", "verb", "reached"), rows)]


def _figure(result: Any) -> str:
    """Success or return of a stage with its interval; "" for what has neither."""
    for name, interval in (("success", "success_interval"), ("return_mean", "return_ci95")):
        if isinstance(result, dict) and interval in result:
            low, high = result[interval]
            return f"{name} {result[name]:.4g} ({low:.4g} to {high:.4g})"
    return ""


VERB = Verb(
    "recipe",
    RecipeConfig,
    call,
    check=check,
    show=show,
    positional="action name",
    metavar="run|show NAME",
    about="""Do every stage of a recipe, from collecting data to the figures. The same command
    resumes: what is done is skipped, a stage that was interrupted goes on. A verb alone takes the
    settings of its stage with --recipe NAME/STAGE.""",
    example="latentmpc recipe run push-t-pixels --out runs/push",
    computes=False,
)
