"""A verb at work: its command line read, its call made, its result shown. One a page."""

import time
from collections.abc import Sequence
from functools import cached_property
from typing import Any

from scripts.flags import parse
from scripts.verb_spec import VerbSpec


class Output:
    """Where a verb says what it does while it works: standard error."""

    def __init__(self, json: bool = False, began: float | None = None):
        self.json = json
        """Whether the result alone is wanted, so that progress is not shown."""
        self.began = time.perf_counter() if began is None else began

    @cached_property
    def console(self) -> Any:
        """Standard error."""
        from scripts.output import stderr_console

        return stderr_console()

    def say(self, line: str) -> None:
        """A line, as it is."""
        self.console.print(line, markup=False, soft_wrap=True)

    def stages(self) -> Any:
        """Progress of a job in stages: a context manager with `told(stage, done, total)`."""
        from agents.runs.stages import Stages

        return Stages(self.console, quiet=self.json)


class Verb(VerbSpec):
    """A verb of the command, which reads its command line, runs and shows its result."""

    def settings(self, argv: Sequence[str]) -> Any:
        """Checked settings from a command line. Raises ConfigError; exits after --help."""
        settings, _ = parse(self, argv)
        self.check(settings)
        return settings

    def main(self, argv: Sequence[str]) -> int:
        """Run a command line and return its exit code."""
        return self.run(argv)[1]

    def run(self, argv: Sequence[str], quiet: bool = False) -> tuple[Any, int]:
        """Result and exit code of a command line; `quiet` leaves standard output alone."""
        began = time.perf_counter()
        settings, json = parse(self, argv)
        self.check(settings)
        from scripts.output import print_json, print_table, stdout_to_stderr, summary

        with stdout_to_stderr((json or quiet) and not self.prints):
            result = self.call(settings, Output(json, began))
        if result is None:
            return None, 0
        if quiet:
            pass
        elif json:
            print_json(result)
        elif self.show:
            self.show(settings, result)
        else:
            print_table(summary(self.title.format(settings), result))
        return result, self.code(result)
