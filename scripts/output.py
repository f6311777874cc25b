"""Output of a verb: the result alone on standard output, everything else on standard error."""

import contextlib
import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import rich.table
from rich.console import Console
from rich.text import Text

from agents.reports.tables import Table
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


def print_parts(parts: Iterable[Table | str]) -> None:
    """Lines and tables on standard output; in a pipe, tables are columns that are never cut."""
    for part in parts:
        if isinstance(part, str):
            print(part)
        elif sys.stdout.isatty():
            _draw(part)
        else:
            lines = [part.header, *part.rows] if any(part.header) else part.rows
            widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
            shown = ["  ".join(map(str.ljust, line, widths)).rstrip() for line in lines]
            print("\n".join(filter(None, [part.title, *shown, part.note])))


def _draw(table: Table) -> None:
    caption = Text(table.note) if table.note else None
    header = any(table.header)
    shown = rich.table.Table(
        title=Text(table.title), title_justify="left", caption=caption, show_header=header
    )
    for name in table.header:
        shown.add_column(Text(name))
    for row in table.rows:
        shown.add_row(*map(Text, row))
    Console(highlight=False).print(shown)


def summary(title: str, result: Mapping[str, Any]) -> Table:
    """Single-valued entries of a result, one a row."""
    rows: list[list[str]] = []
    for key, value in result.items():
        if isinstance(value, Mapping) and all(isinstance(v, (int, float)) for v in value.values()):
            rows.append([key, "  ".join(f"{k} {_number(v)}" for k, v in value.items())])
        elif isinstance(value, (int, float, str)):
            rows.append([key, _number(value)])
        elif isinstance(value, (list, tuple)) and value and isinstance(value[0], Mapping):
            for row in value:
                words = (v for k, v in row.items() if v not in (None, {}))
                rows.append([key, "  ".join(_words(v) for v in words)])
        elif isinstance(value, (list, tuple)) and 0 < len(value) <= 2:
            rows.append([key, " to ".join(map(_number, value))])
    return Table(title, "", ("", ""), rows)


def _words(value: Any) -> str:
    if isinstance(value, Mapping):
        return " ".join(f"{k}={_number(v)}" for k, v in value.items())
    return _number(value)


def _number(value: Any) -> str:
    return f"{value:,.5g}" if isinstance(value, float) else str(value)
