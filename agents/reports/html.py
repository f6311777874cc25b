"""One self-contained page of tiles and cards, through one template that escapes all plain text.

Only `Markup` is taken as it stands: the figures of `plots`, and the pictures and films of here.
"""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jinja2 import StrictUndefined, Template
from markupsafe import Markup

from agents.reports.tables import Table
from agents.storage import sealed
from agents.storage.files import write_atomically

MOST_VIDEO = 1 << 28


class Fold(NamedTuple):
    """A part of a card that is shown on demand."""

    summary: str
    body: Any


class Small(NamedTuple):
    """One of several figures beside one another."""

    heading: str
    figure: Markup


@dataclass(frozen=True)
class Card:
    """A titled box; parts are figures, tables, folds, small figures, or text set as typed."""

    title: str
    parts: Sequence[Any] = ()
    note: str = ""
    kind: str = ""
    """"wide" takes a whole line, "failed" is red."""

    @classmethod
    def of(cls, table: Table, kind: str = "wide") -> "Card":
        """A card of one table."""
        return cls(table.title, [table], table.note, kind)


@dataclass(frozen=True)
class Page:
    """Contents of a page; nothing in it is fetched from elsewhere."""

    title: str
    subtitle: str
    cards: Sequence[Card]
    tiles: Sequence[tuple[str, str]] = ()
    """(figure, what it is)."""
    lead: str = ""

    def html(self) -> str:
        """The page as text."""
        return _template().render(page=self)

    def write(self, path: Path) -> Path:
        """Write the page in one step. Raises StorageError."""
        write_atomically(path, self.html().encode())
        return path


@cache
def _template() -> Template:
    text = files("agents.reports").joinpath("page.html").read_text("utf-8")
    return Template(text, autoescape=True, undefined=StrictUndefined)


def video(path: Path) -> Markup:
    """An mp4 file as a player. Raises CheckpointError; no link is followed."""
    data = sealed.read(path.parent, path.name, MOST_VIDEO)
    tag = '<video controls autoplay loop muted src="data:video/mp4;base64,{}"></video>'
    return Markup(tag).format(base64.b64encode(data).decode())


def pictures(grid: np.ndarray, text: str, scale: int = 3) -> Markup:
    """Pictures uint8 [R, C, H, W, 3] in rows and columns, with gaps, as one PNG; `text` says what.

    Each pixel is shown as `scale` x `scale`.
    """
    from PIL import Image

    gap = ((0, 0), (0, 0), (0, 2), (0, 2), (0, 0))
    rows, columns, height, width, _ = (padded := np.pad(grid, gap, constant_values=255)).shape
    page = padded.swapaxes(1, 2).reshape(rows * height, columns * width, 3)[:-2, :-2]
    out = io.BytesIO()
    Image.fromarray(page.repeat(scale, 0).repeat(scale, 1)).save(out, "PNG")
    data = base64.b64encode(out.getvalue()).decode()
    return Markup('<img alt="{}" src="data:image/png;base64,{}">').format(text, data)
