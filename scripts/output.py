"""What a verb writes: the result alone on standard output, everything else on standard error."""

import contextlib
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from agents.runs.directory import plain


@contextlib.contextmanager
def stdout_to_stderr(active: bool = True) -> Iterator[None]:
    """While it lasts, prints by Python and by C libraries go to standard error."""
    if not active:
        yield
        return
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)


def print_json(value: Any) -> None:
    """One JSON document on standard output; NaN and infinities as null."""
    print(json.dumps(plain(value), indent=2), flush=True)


def stderr_console() -> Console:
    """Where progress and messages go."""
    return Console(stderr=True, highlight=False)


def print_table(table: Table) -> None:
    """A table on standard output."""
    Console(highlight=False).print(table)


def print_columns(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table on a terminal; in a pipe, columns that are never cut."""
    if sys.stdout.isatty():
        table = Table(*header)
        for row in rows:
            table.add_row(*map(Text, row))
        return print_table(table)
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    for row in (header, *rows):
        print("  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip())


def report_table(table: Any) -> Table:
    """A table of a bench's or sweep's report (title, note, header, rows) for the terminal."""
    caption = Text(table.note) if table.note else None
    shown = Table(title=Text(table.title), title_justify="left", caption=caption)
    for name in table.header:
        shown.add_column(Text(name))
    for row in table.rows:
        shown.add_row(*map(Text, row))
    return shown


def summary(title: str, result: Mapping[str, Any]) -> Table:
    """Single-valued entries of a result, one a row."""
    table = Table(title=title, show_header=False, title_justify="left")
    for key, value in result.items():
        if isinstance(value, Mapping) and all(isinstance(v, (int, float)) for v in value.values()):
            table.add_row(key, "  ".join(f"{k} {_number(v)}" for k, v in value.items()))
        elif isinstance(value, (int, float, str)):
            table.add_row(key, _number(value))
        elif isinstance(value, (list, tuple)) and value and isinstance(value[0], Mapping):
            for row in value:
                words = (v for k, v in row.items() if v not in (None, {}))
                table.add_row(key, "  ".join(_words(v) for v in words))
        elif isinstance(value, (list, tuple)) and 0 < len(value) <= 2:
            table.add_row(key, " to ".join(map(_number, value)))
    return table


def _words(value: Any) -> str:
    if isinstance(value, Mapping):
        return " ".join(f"{k}={_number(v)}" for k, v in value.items())
    return _number(value)


def _number(value: Any) -> str:
    return f"{value:,.5g}" if isinstance(value, float) else str(value)
