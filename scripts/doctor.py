"""`latentmpc doctor`: is this machine ready, and if not, what to type."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Annotated

import tyro

from scripts.flags import parse

EXIT_FAILED = 4
STYLES = {"ok": "green", "warn": "yellow", "fail": "bold red"}


@dataclass(frozen=True)
class DoctorConfig:
    """What to look at."""

    path: str = "."
    """Where runs will be written; its free space is checked."""


@dataclass(frozen=True)
class DoctorFlags(DoctorConfig):
    """Check versions, devices, rendering and disk, and say what to type to mend them."""

    path: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="DIR")] = "."
    """Where runs will be written; its free space is checked."""
    config: Annotated[str, tyro.conf.arg(metavar="FILE.toml")] = ""
    """Settings from a file with these names as keys."""
    json: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Print the findings, and nothing else, as JSON on standard output."""


def main(argv: Sequence[str]) -> int:
    """Check; 0 unless something fails, then 4."""
    flags = parse("doctor", DoctorFlags, DoctorConfig, argv, positional="path")

    from scripts.output import print_json, print_table, stdout_to_stderr

    with stdout_to_stderr(flags.json):
        from agents.machine.doctor import examine

        findings = examine(flags.path)
    if flags.json:
        print_json([asdict(finding) for finding in findings])
    else:
        print_table(_table(findings))
    return EXIT_FAILED if any(finding.status == "fail" for finding in findings) else 0


def _table(findings):
    from rich.table import Table
    from rich.text import Text

    table = Table("", "check", "found", "what to type")
    for finding in findings:
        status = Text(finding.status, style=STYLES[finding.status])
        table.add_row(status, finding.name, Text(finding.text), Text(finding.fix))
    return table
