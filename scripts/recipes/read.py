"""Recipe files: their stages, and the settings that a stage gives to a verb.

A recipe is a TOML file: `task`, `reaches` (the figure and its interval), `time`, and a table a
stage, `[stages.NAME]`, with `verb` and the settings of that verb by name (`planner.horizon = 4`).
In texts `{out}` is the folder of the recipe, runs/RECIPE unless another is given.
"""

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agents.runs.config import ConfigError
from agents.runs.settings import flatten, unknown
from scripts.verb import Verb

FOLDER = Path(__file__).parent
WORDS = ("task", "reaches", "time", "stages")
"""The keys of a recipe."""
IDS = ("env_id", "env", "tasks", "target")
"""Settings that name environments: what is typed for them may be imported, what a file says not."""


@dataclass(frozen=True)
class Recipe:
    """A recipe as its file has it."""

    name: str
    """NAME, or the path of a file of the user's."""
    task: str
    reaches: str
    time: str
    stages: dict[str, dict[str, Any]]
    """Settings by name of the stage, in order, each with its `verb`."""

    @property
    def folder(self) -> str:
        """Where it works unless told otherwise."""
        return f"runs/{Path(self.name).stem}"

    def argv(self, stage: str, out: str) -> list[str]:
        """Command line of a stage that works in the folder `out`."""
        argv = [*self.stages[stage]["verb"].split(), "--recipe", f"{self.name}/{stage}"]
        if out != self.folder:
            for name, text in _paths(self.stages[stage]):
                argv += [f"--{name.replace('_', '-')}", text.replace("{out}", out)]
        return argv

    def settings(self, stage: str) -> dict[str, Any]:
        """Settings of a stage that works in the recipe's own folder, nested and unchecked."""
        return _placed({k: v for k, v in self.stages[stage].items() if k != "verb"}, self.folder)


def _paths(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """(dotted name, text) of the settings that name something in the recipe's folder."""
    for key, value in settings.items():
        if isinstance(value, Mapping):
            yield from _paths(value, f"{prefix}{key}.")
        elif isinstance(value, str) and "{out}" in value:
            yield prefix + key, value


def _placed(value: Any, out: str) -> Any:
    if isinstance(value, Mapping):
        return {k: _placed(v, out) for k, v in value.items()}
    return value.replace("{out}", out) if isinstance(value, str) else value


def names() -> list[str]:
    """Names of the recipes that come with the package."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def unknown_recipe(name: str) -> ConfigError:
    """The error for a recipe that does not exist, with the nearest."""
    return unknown("recipe", name, names(), "`latentmpc recipes` lists them")


def load(name: str) -> Recipe:
    """A recipe by its name, or from a file whose name ends in .toml. Raises ConfigError."""
    path = Path(name) if name.endswith(".toml") else FOLDER / f"{name}.toml"
    if path.parent == FOLDER and name not in names():
        raise unknown_recipe(name)
    try:
        found = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ConfigError(f"recipe {path} cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise ConfigError(f"recipe {path} is not valid TOML: {error}") from error
    for key in found:
        if key not in WORDS:
            raise unknown(f"key in {path}:", key, WORDS, f"expected {', '.join(WORDS)}")
    stages = found.get("stages")
    if not isinstance(stages, dict) or not stages:
        raise ConfigError(f"{path}: a recipe has stages, tables as [stages.data] with a `verb`")
    for stage, settings in stages.items():
        if not isinstance(settings, dict) or not isinstance(settings.get("verb"), str):
            raise ConfigError(f"{path}: stages.{stage} must be a table with its `verb`")
        if settings["verb"].partition(" ")[2] not in ("", "--shift"):
            raise ConfigError(f"{path}: stages.{stage}.verb must be a verb alone, as train")
        if named := [name for name in IDS if "{out}" in str(settings.get(name))]:
            raise ConfigError(f"{path}: stages.{stage}.{named[0]} is no path, so no {{out}} in it")
    texts = {key: str(found.get(key, "")) for key in WORDS[:3]}
    return Recipe(name, **texts, stages=stages)


def stage_settings(verb: Verb, reference: str) -> dict[str, Any]:
    """Flat settings of NAME/STAGE, or of NAME's only stage of this verb. Raises ConfigError."""
    recipe, stage = find(verb.name, reference)
    where = f"recipe {recipe.name}, stage {stage}"
    return flatten(verb.config, recipe.settings(stage), where)


def find(verb: str, reference: str) -> tuple[Recipe, str]:
    """The recipe and the stage that NAME/STAGE or NAME means to a verb. Raises ConfigError."""
    name, slash, stage = reference.partition(".toml/")
    name, slash, stage = (f"{name}.toml", "/", stage) if slash else _split(reference)
    recipe = load(name)
    fitting = [k for k, v in recipe.stages.items() if v["verb"] == verb]
    if slash and stage not in recipe.stages:
        stages = ", ".join(recipe.stages)
        raise unknown(f"stage of recipe {name}:", stage, recipe.stages, f"it has {stages}")
    if slash and stage not in fitting:
        other = recipe.stages[stage]["verb"]
        raise ConfigError(f"stage {stage} of recipe {name} is for {other}, not for {verb}")
    if slash or len(fitting) == 1:
        return recipe, stage or fitting[0]
    has = f"it has several: --recipe {name}/STAGE, STAGE one of" if fitting else "it has none, but"
    raise ConfigError(
        f"which stage of recipe {name} is for {verb}? {has} {', '.join(fitting or recipe.stages)}"
    )


def _split(reference: str) -> tuple[str, str, str]:
    return (reference, "", "") if reference.endswith(".toml") else reference.partition("/")


def mentioned(verb: str, argv: Sequence[str]) -> dict[str, Any]:
    """Settings of the recipe that a command line names, unchecked; none without --recipe."""
    for at, token in enumerate(argv):
        flag, has_value, value = token.partition("=")
        if flag == "--recipe" and (has_value or argv[at + 1 :]):
            recipe, stage = find(verb, value if has_value else argv[at + 1])
            return recipe.settings(stage)
    return {}
