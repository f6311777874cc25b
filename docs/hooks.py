"""What mkdocs fills into the pages: the reference of verbs and settings, and the top-level files.

A page asks for a part by a line `<!-- verbs: learn -->`, `<!-- settings -->` or `<!-- recipes -->`.
All texts are those of the settings' dataclasses, which `--help` shows too.
"""

import os
import re
from collections.abc import Iterator
from dataclasses import is_dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from mkdocs.structure.files import File

from agents.runs.bounds import Meta, kinds, parts
from scripts.cli import GROUPS
from scripts.help import docs
from scripts.recipes import read
from scripts.verb import Verb, flags_class

ROOT = Path(__file__).parents[1]
TOP = ("CONTRIBUTING", "SECURITY", "CHANGELOG")
"""Files at the top of the repository that are pages too."""
MARK = re.compile(r"^<!-- (\w+)(?:: (\w+))? -->$", re.M)
TABLE = "| setting | values | default | |\n|---|---|---|---|\n"
NAMES = {int: "integer", float: "number", bool: "flag", str: "text"}


def on_files(files: Any, config: Any) -> Any:
    """Add the files at the top of the repository."""
    for name in TOP:
        text = (ROOT / f"{name}.md").read_text("utf-8").replace("](docs/", "](")
        files.append(File.generated(config, f"{name}.md", content=text))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Fill in what the page asks for, and find the files at the top where they are pages."""
    up = os.path.relpath(".", Path(page.file.src_uri).parent)
    for name in TOP:
        markdown = markdown.replace(f"](../{up}/{name}.md", f"]({up}/{name}.md")
        markdown = markdown.replace(f"](../{name}.md", f"]({name}.md")
    return filled(markdown)


def filled(markdown: str) -> str:
    """A page with the parts that it asks for."""
    return MARK.sub(lambda mark: PARTS[mark[1]](*filter(None, [mark[2]])), markdown)


def verbs(group: str) -> str:
    """A section a verb of a group: what it does, an example, its settings."""
    return "\n".join(_verb(verb) for verb in verbs_of(group))


def settings() -> str:
    """A section a block of settings that verbs share."""
    users: dict[type, list[str]] = {}
    names: dict[type, str] = {}
    for verb in (verb for group in GROUPS for verb in verbs_of(group)):
        for name, cls in _blocks(verb.config):
            users.setdefault(cls, []).append(f"`{verb.name}`")
            names[cls] = name
    return "\n".join(
        f"## {names[cls]} of {', '.join(dict.fromkeys(of))} {{ #{cls.__name__.lower()} }}\n\n"
        f"{_sentence(cls)}\n\n{TABLE}{_rows(cls, cls(), f'{names[cls]}.')}"
        for cls, of in users.items()
    )


def recipes() -> str:
    """A row a recipe."""
    rows = [
        f"| `latentmpc recipe run {r.name}` | {r.task} | {r.reaches} | {r.time} |"
        for r in map(read.load, read.names())
    ]
    return "| command | task | reaches | two cores |\n|---|---|---|---|\n" + "\n".join(rows)


PARTS = {"verbs": verbs, "settings": settings, "recipes": recipes}


def verbs_of(group: str) -> list[Verb]:
    """The verbs of a group, and those that a verb turns into by its flags."""
    modules = [import_module(module) for module, _ in GROUPS[group].values()]
    found = [v for module in modules for v in vars(module).values() if isinstance(v, Verb)]
    return list({id(verb): verb for verb in found}.values())


def _verb(verb: Verb) -> str:
    default = flags_class(verb)(**vars(verb.defaults({})))
    shown = dict(zip(verb.positional.split(), verb.metavar.split(), strict=True))
    title, about = f"{verb.name} {verb.metavar}".strip(), " ".join(verb.about.split())
    text = f"## {title}\n\n{about}\n\n```bash\n{verb.example}\n```\n\n"
    text += TABLE + _rows(verb.config, default, "", shown)
    blocks = [
        f"[`--{name}.*`](settings.md#{cls.__name__.lower()})" for name, cls in _blocks(verb.config)
    ]
    return text + (f"\nand the settings {', '.join(blocks)}.\n" if blocks else "")


def _blocks(config: type) -> Iterator[tuple[str, type]]:
    """Blocks of settings inside of a dataclass; overrides of a block count as the block."""
    for name, kind in kinds(config).items():
        if is_dataclass(kind):
            yield name, getattr(kind, "overrides", kind)


def _rows(cls: type, default: Any, prefix: str, positional: dict[str, str] | None = None) -> str:
    rows = []
    for name, kind in kinds(cls).items():
        if is_dataclass(kind):
            continue
        place = (positional or {}).get(name)
        flag = place or f"--{prefix}{name}".replace("_", "-")
        value, text = getattr(default, name), " ".join(docs(cls).get(name, "").split())
        value = {True: "yes", False: "no"}[value] if isinstance(value, bool) else value
        shown = "" if place or value in ("", None, ()) else f"`{value}`"
        cells = [f"`{flag}`{{ .flag }}", _values(kind), shown, text]
        rows.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |\n")
    return "".join(rows)


def _values(kind: Any) -> str:
    """What a setting may be: choices, or a type with its bounds."""
    plain, meta = parts(kind)
    if get_origin(plain) is Literal:
        return ", ".join(f"`{choice}`" for choice in get_args(plain) if choice != "")
    return NAMES.get(plain, "text") + _bounds(meta)


def _bounds(meta: Meta | None) -> str:
    if meta is None or (meta.ge, meta.gt) == (None, None):
        return ""
    low = f"[{_number(meta.ge)}" if meta.gt is None else f"({_number(meta.gt)}"
    high = f"{_number(meta.le)}]" if meta.lt is None else f"{_number(meta.lt)})"
    return f" in {low}, {high}"


def _number(bound: Any) -> str:
    """A bound as people write it."""
    if isinstance(bound, int) and bound >= 2**16 and bound & (bound - 1) == 0:
        return f"2<sup>{bound.bit_length() - 1}</sup>"
    return str(bound) if isinstance(bound, int) else f"{bound:g}"


def _sentence(cls: type) -> str:
    return " ".join((cls.__doc__ or "").split("\n\n")[0].split())
