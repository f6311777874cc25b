"""`latentmpc compare A B`: paired differences of two result sets on the episodes both have."""

from dataclasses import dataclass
from typing import Any

from agents.runs.config import ConfigError
from scripts.verb import Output, Verb


@dataclass(frozen=True)
class CompareConfig:
    """Two result sets."""

    one: str = ""
    """Output directory of `latentmpc bench`, run of `latentmpc train` or `--out` of eval."""
    other: str = ""
    """Another one; differences are the first less this."""


def check(config: CompareConfig) -> None:
    """Raise ConfigError without two directories."""
    if not (config.one and config.other):
        given = len([path for path in (config.one, config.other) if path])
        raise ConfigError(f"compare needs two directories, got {given}: latentmpc compare A B")


def call(config: CompareConfig, output: Output):
    """The differences."""
    from agents.benchmarks.compare import compare

    return compare(config.one, config.other)


def show(config: CompareConfig, comparison: dict[str, Any]) -> list[Any]:
    """A row for each."""
    from agents.benchmarks.compare import table

    return [table(comparison)]


VERB = Verb(
    "compare",
    CompareConfig,
    call,
    check=check,
    show=show,
    positional="one other",
    metavar="A B",
    about="""Paired differences of returns, A - B, on common tasks and episode seeds. Says whether
    each difference is resolved (its 95 % interval leaves zero out) and, where it is not, how many
    episodes would resolve a difference of that size.""",
    example="latentmpc compare runs/h6 runs/walker",
    computes=False,
)
