"""`latentmpc recipes`: the recipes that come with the package, and what they reach."""

from dataclasses import asdict, dataclass
from operator import itemgetter
from typing import Any

from agents.reports.tables import Table
from scripts.recipes import read
from scripts.verb import Output, Verb


@dataclass(frozen=True)
class RecipesConfig:
    """A filter of the list."""

    match: str = ""
    """Only those whose name, task or figure contains this: `push-t`, `pixels`."""


def call(config: RecipesConfig, output: Output):
    """The recipes that match. Raises ConfigError for none."""
    wanted = config.match.lower()
    recipes = [asdict(read.load(name)) for name in read.names()]
    found = [r for r in recipes if wanted in f"{r['name']} {r['task']} {r['reaches']}".lower()]
    if not found:
        raise read.unknown_recipe(config.match)
    return found


def show(config: RecipesConfig, recipes: list[dict[str, Any]]) -> list[Table]:
    """A row a recipe."""
    keys = {"recipe": "name", "task": "task", "reaches": "reaches", "two cores": "time"}
    return [Table.of("", "", recipes, {head: itemgetter(key) for head, key in keys.items()})]


VERB = Verb(
    "recipes",
    RecipesConfig,
    call,
    show=show,
    positional="match",
    metavar="[TEXT]",
    about="""List the recipes: task, what it reaches (with its 95 % interval where there is one) and
    the time on two cores. `latentmpc recipe run NAME` does all stages of one; a verb takes the
    settings of its stage with --recipe NAME/STAGE.""",
    example="latentmpc recipes push-t",
    computes=False,
)
