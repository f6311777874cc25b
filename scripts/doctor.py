"""`latentmpc doctor`: is this machine ready, and if not, what to type."""

from dataclasses import asdict, dataclass
from typing import Any

from scripts.verb import Output, Verb

EXIT_FAILED = 4
STYLES = {"ok": "green", "warn": "yellow", "fail": "bold red"}


@dataclass(frozen=True)
class DoctorConfig:
    """What to look at."""

    path: str = "."
    """Where runs will be written; its free space is checked."""


def call(config: DoctorConfig, output: Output):
    """What was found."""
    from agents.machine.doctor import examine

    return [asdict(finding) for finding in examine(config.path)]


def code(findings: list[dict[str, Any]]) -> int:
    """4 where something fails."""
    return EXIT_FAILED if any(finding["status"] == "fail" for finding in findings) else 0


def show(config: DoctorConfig, findings: list[dict[str, Any]]) -> None:
    """A row a check."""
    from rich.table import Table
    from rich.text import Text

    from scripts.output import print_table

    table = Table("", "check", "found", "what to type")
    for finding in findings:
        status = Text(finding["status"], style=STYLES[finding["status"]])
        table.add_row(status, finding["name"], Text(finding["text"]), Text(finding["fix"]))
    print_table(table)


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
    common="",
)
main = VERB.main
