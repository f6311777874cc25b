"""Settings by dotted name: what a settings dataclass accepts, and clear errors for the rest.

Flags, TOML files and stored `config.json` files are all checked here against the same dataclasses.
Imports no jax.
"""

import difflib
import math
import tomllib
import types
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from agents.config import ConfigError, TrainConfig

T = TypeVar("T")
STORED_BESIDE = ("env", "digest", "versions")
"""Keys of a run's config.json that are not settings."""
KINDS = {int: "an integer", float: "a number", bool: "true or false", str: "text"}


def flat_types(cls: type, prefix: str = "") -> dict[str, Any]:
    """Type of every setting: {"env_steps": int, "model.latent_dim": int, ...} in field order."""
    hints, flat = get_type_hints(cls), {}
    for field in fields(cls):
        name, kind = prefix + field.name, hints[field.name]
        nested = isinstance(kind, type) and is_dataclass(kind)
        flat |= flat_types(kind, f"{name}.") if nested else {name: kind}
    return flat


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name most like `name`, whole or by its last part; None if none is close."""
    known = list(known)
    for candidates in ({k: k for k in known}, {k.rpartition(".")[2]: k for k in known}):
        lowered = {k.lower(): v for k, v in candidates.items()}
        if found := difflib.get_close_matches(name.lower(), lowered, 1, 0.6):
            return lowered[found[0]]
    return None


def unknown(what: str, name: str, known: Iterable[str], see: str) -> ConfigError:
    """The error for a name that does not exist, with the nearest that does."""
    close = nearest(name, known)
    return ConfigError(
        f"unknown {what} {name}" + (f": did you mean {close}?" if close else f"; {see}")
    )


def flatten(cls: type, mapping: Mapping[str, Any], where: str, prefix: str = "") -> dict[str, Any]:
    """Nested settings as {"model.latent_dim": 64}, checked for name and type.

    Raises ConfigError naming `where`, the key and what was expected.
    """
    known, flat = flat_types(cls), {}
    blocks = {name.rpartition(".")[0] for name in known} - {""}
    for key, value in mapping.items():
        name = f"{prefix}{key}"
        if name in blocks and isinstance(value, Mapping):
            flat |= flatten(cls, value, where, f"{name}.")
        elif name in blocks:
            raise ConfigError(f"{where}: {name} must be a table ([{name}]), got {value!r}")
        elif name not in known:
            raise unknown(f"key in {where}:", name, [*known, *blocks], "see --help for the names")
        else:
            flat[name] = check_value(name, value, known[name], where)
    return flat


def check_value(name: str, value: Any, kind: Any, where: str) -> Any:
    """`value` if it has the type `kind`; integers pass as numbers. Raises ConfigError."""
    options = _options(kind)
    for option in options:
        if _fits(value, option):
            return float(value) if option is float else value
    raise ConfigError(f"{where}: {name} must be {_describe(options)}, got {value!r}")


def check_text(name: str, text: str, kind: Any) -> None:
    """Raises ConfigError unless the text of a flag reads as the type `kind`."""
    options = _options(kind)
    for option in options:
        try:
            value = option(text) if option in (int, float) else text
        except ValueError:
            continue
        if _fits(value, option):
            return
    raise ConfigError(f"{name} must be {_describe(options)}, got {text!r}")


def _options(kind: Any) -> tuple:
    return get_args(kind) if get_origin(kind) in (Union, types.UnionType) else (kind,)


def _fits(value: Any, option: Any) -> bool:
    if get_origin(option) is Literal:
        return isinstance(value, str) and value in get_args(option)
    if option is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    return isinstance(value, option) and (option is bool or not isinstance(value, bool))


def _describe(options: tuple) -> str:
    texts = []
    for option in options:
        if get_origin(option) is Literal:
            texts.append("one of " + ", ".join(get_args(option)))
        elif option is not type(None):
            texts.append(KINDS.get(option, str(option)))
    return " or ".join(texts)


def build(cls: type[T], flat: Mapping[str, Any]) -> T:
    """An instance from checked flat settings; the rest are defaults.

    Raises ValueError (from the class) when the values make no sense together.
    """
    hints, values = get_type_hints(cls), {}
    for field in fields(cls):  # type: ignore[arg-type]
        kind, prefix = hints[field.name], f"{field.name}."
        if is_dataclass(kind):
            inner = {k.removeprefix(prefix): v for k, v in flat.items() if k.startswith(prefix)}
            values[field.name] = build(kind, inner)  # type: ignore[arg-type]
        elif field.name in flat:
            values[field.name] = flat[field.name]
    return cls(**values)


def read_toml(cls: type, path: str) -> dict[str, Any]:
    """Flat settings of a TOML file. Raises ConfigError: unreadable, no TOML, wrong name or type."""
    try:
        mapping = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror or error}") from error
    except ValueError as error:  # not UTF-8, or not TOML
        raise ConfigError(f"{path} is not valid TOML: {error}") from error
    return flatten(cls, mapping, path)


def train_config_from(stored: Mapping[str, Any], where: str) -> TrainConfig:
    """Settings of a run from its `config.json` or a checkpoint's.

    Raises CheckpointError when they are not those of this version.
    """
    return stored_config(TrainConfig, stored, where)


def stored_config(
    cls: type[T], stored: Mapping[str, Any], where: str, beside: Sequence[str] = STORED_BESIDE
) -> T:
    """Settings of any kind of run from its `config.json`, which has the keys `beside` as well.

    Raises CheckpointError when they are not those of this version.
    """
    from wm.durable import CheckpointError

    try:
        if not isinstance(stored, Mapping):
            raise ConfigError(f"{where}: expected a table")
        settings = stored.get("settings", stored)
        if not isinstance(settings, Mapping):
            raise ConfigError(f"{where}: the settings must be a table, got {settings!r}")
        ours = {k: v for k, v in settings.items() if k not in beside}
        return build(cls, flatten(cls, ours, where))
    except (ValueError, OverflowError) as error:
        raise CheckpointError(
            f"{error} (in {where}; was it written by another version of latentmpc?)"
        ) from error


def check_finite(config: Any, prefix: str = "") -> None:
    """Raises ConfigError naming the first setting that is NaN or infinite."""
    for field in fields(config):
        name, value = prefix + field.name, getattr(config, field.name)
        if is_dataclass(value):
            check_finite(value, f"{name}.")
        elif isinstance(value, float) and not math.isfinite(value):
            raise ConfigError(f"{name} must be finite, got {value}")
