"""Tables of text, for pages, Markdown and the terminal alike, and how figures are written."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Row = dict[str, Any]


@dataclass(frozen=True)
class Table:
    """A titled table of text and what must be known to read it."""

    title: str
    note: str
    header: tuple[str, ...]
    rows: list[list[str]]

    @classmethod
    def of(
        cls, title: str, note: str, rows: Iterable[Row], columns: Mapping[str, Callable[[Row], str]]
    ) -> "Table":
        """A line for each of `rows`; `columns` name and write its cells."""
        lines = [[write(row) for write in columns.values()] for row in rows]
        return cls(title, note, tuple(columns), lines)


def number(value: Any) -> str:
    """A figure with as many digits as it deserves."""
    if not isinstance(value, int | float):
        return "not known"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def score(value: float | None) -> str:
    """A score or a probability, three digits."""
    return "not known" if value is None else f"{value:.3f}"


def within(value: float | None, interval: Sequence, form: Callable = number) -> str:
    """A figure and its interval."""
    if value is None or interval[0] is None:
        return form(value)
    return f"{form(value)} [{form(interval[0])}, {form(interval[1])}]"


def difference(found: Row | None) -> str:
    """A paired difference, and whether it is resolved; nothing where nothing was compared."""
    if found is None:
        return ""
    if not found["pairs"]:
        return "not known"
    text = within(found["difference"], found["ci95"])
    if found["resolved"]:
        return text
    needed = f": it would take {found['needed']:,} episodes" if found["needed"] else ""
    return f"{text}, not resolved{needed}"


def markdown(heading: str, lead: Iterable[str], tables: Iterable[Table]) -> str:
    """A page in Markdown."""
    parts = [f"# {heading}", *map(escaped, lead)]
    for table in tables:
        lines = [table.header, ["---"] * len(table.header), *table.rows]
        text = "\n".join("| " + " | ".join(map(escaped, line)) + " |" for line in lines)
        parts += [f"## {escaped(table.title)}", escaped(table.note), text]
    return "\n\n".join(parts) + "\n"


def escaped(text: str) -> str:
    """Text that Markdown takes for nothing else: no markup, links, formulae, cells or lines."""
    line = "".join("\\" + c if c in "\\`|<>*_&$~" else c for c in " ".join(text.split()))
    return line.replace("](", "]\\(")
