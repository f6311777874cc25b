"""The short help of a verb: what it does, an example, the settings that people change.

All texts are those of the settings' dataclasses, which `--help-all` shows too.
"""

import ast
import inspect
import shutil
import textwrap
from dataclasses import is_dataclass
from functools import cache
from itertools import pairwise
from typing import Any, Literal, get_args, get_origin, get_type_hints

from agents.runs.bounds import parts
from scripts.verb import Verb, flags_class

COLUMN = 32
"""Where the explanations begin."""
MAX_COLUMNS = 100
"""Columns that are used at most."""


def short(verb: Verb) -> str:
    """The help of a verb in at most 40 lines of 100 columns."""
    width = min(MAX_COLUMNS, shutil.get_terminal_size((MAX_COLUMNS, 24)).columns)
    positional = dict(zip(verb.positional.split(), verb.metavar.split(), strict=True))
    common = [*verb.common.split(), "recipe"] if verb.common else []
    names = list(dict.fromkeys([*positional, *common, "config", "json"]))
    lines = [
        f"usage: latentmpc {' '.join([verb.name, *positional.values()])} [SETTINGS]",
        "",
        *textwrap.wrap(" ".join(verb.about.split()), width),
        "",
        f"example: {verb.example}",
        "",
        "settings that people change:",
    ]
    for name in names:
        lines += _setting(verb, name, positional.get(name, ""), width)
    lines += ["", f"all settings: latentmpc {verb.name} --help-all"]
    return "\n".join(lines) + "\n"


def _setting(verb: Verb, name: str, metavar: str, width: int) -> list[str]:
    """A setting and its explanation; a long name has a line of its own."""
    cls, (*blocks, last) = flags_class(verb), name.split(".")
    default = _default(verb, name.partition(".")[0])
    for block in blocks:
        cls, default = get_type_hints(cls)[block], getattr(default, block)
    kind = get_type_hints(cls)[last]
    flag = metavar or f"--{name.replace('_', '-')} {_values(cls, last, kind)}".rstrip()
    text = " ".join(docs(cls).get(last, "").split())
    if (value := getattr(default, last)) not in ("", None) and value is not False and not metavar:
        text += f" (default:\xa0{'yes' if value is True else value})"
    rows = [row.replace("\xa0", " ") for row in textwrap.wrap(text, width - COLUMN)] or [""]
    indent = " " * COLUMN
    first = f"  {flag}".ljust(COLUMN)
    head = [first + rows[0]] if len(flag) + 4 <= COLUMN else [first, indent + rows[0]]
    return [line.rstrip() for line in (*head, *(indent + row for row in rows[1:]))]


@cache
def _default(verb: Verb, block: str) -> Any:
    """An instance with the default of a setting or of a block of settings."""
    default = verb.defaults({})
    return default if hasattr(default, block) else flags_class(verb)()


def _values(cls: type, name: str, kind: Any) -> str:
    """The value of a flag in the help: a word for its type, its choices, or nothing."""
    hint = get_type_hints(cls, include_extras=True)[name]
    given = [m.metavar for m in getattr(hint, "__metadata__", ()) if getattr(m, "metavar", None)]
    if given:
        return given[0]
    kind, _ = parts(kind)
    if get_origin(kind) is Literal:
        return "{" + ",".join(get_args(kind)) + "}"
    return "" if kind is bool else getattr(kind, "__name__", "value").upper()


@cache
def docs(cls: type) -> dict[str, str]:
    """The texts under the fields of a dataclass and of its bases, by name."""
    found: dict[str, str] = {}
    for owner in reversed(getattr(cls, "overrides", cls).__mro__):
        if is_dataclass(owner):
            found |= _own_docs(owner)
    return found


def _own_docs(cls: type) -> dict[str, str]:
    try:
        (tree,) = ast.parse(textwrap.dedent(inspect.getsource(cls))).body
    except (OSError, TypeError):  # made, not written
        return {}
    body = tree.body if isinstance(tree, ast.ClassDef) else []
    return {
        field.target.id: ast.literal_eval(text.value)
        for field, text in pairwise(body)
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and isinstance(text, ast.Expr)
        and isinstance(text.value, ast.Constant)
    }
