"""`latentmpc doctor`: is this machine ready, and if not, what to type."""

from dataclasses import asdict, dataclass
from operator import itemgetter
from typing import Any

from agents.reports.tables import Table
from scripts.verb import Output, Verb

EXIT_FAILED = 4


@dataclass(frozen=True)
class DoctorConfig:
    """The place to check."""

    path: str = "."
    """Where runs will be written; its free space is checked."""


def call(config: DoctorConfig, output: Output):
    """Findings of all checks."""
    from agents.machine.doctor import examine

    return [asdict(finding) for finding in examine(config.path)]


def code(findings: list[dict[str, Any]]) -> int:
    """4 where something fails."""
    return EXIT_FAILED if any(finding["status"] == "fail" for finding in findings) else 0


def show(config: DoctorConfig, findings: list[dict[str, Any]]) -> list[Table]:
    """A row a check."""
    keys = {"": "status", "check": "name", "found": "text", "what to type": "fix"}
    return [Table.of("", "", findings, {head: itemgetter(key) for head, key in keys.items()})]


VERB = Verb(
    "doctor",
    DoctorConfig,
    call,
    show=show,
    code=code,
    positional="path",
    metavar="[DIR]",
    about="Check versions, devices, rendering and disk, and say what to type to mend them.",
    example="latentmpc doctor",
    computes=False,
)
