"""Settings by dotted name: what a settings dataclass accepts, and clear errors for the rest.

Flags, TOML files and stored `config.json` files are all checked here against the same dataclasses.
Imports no jax.
"""

import difflib
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import is_dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from agents.runs.bounds import check, holds, kinds, told
from agents.runs.config import ConfigError, TrainConfig
from agents.storage import sealed
from agents.storage.files import CheckpointError

T = TypeVar("T")
STORED_BESIDE = ("env", "digest", "versions")
"""Keys of a run's config.json that are not settings."""
PRETRAINED = "jepa"
"""What the config.json of a reward-free model says under "kind"."""


def flat_types(cls: type, prefix: str = "") -> dict[str, Any]:
    """Type of every setting: {"env_steps": int, "model.latent_dim": int, ...} in field order."""
    flat: dict[str, Any] = {}
    for name, kind in kinds(cls).items():
        nested = isinstance(kind, type) and is_dataclass(kind)
        flat |= flat_types(kind, f"{prefix}{name}.") if nested else {prefix + name: kind}
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
    """Nested settings as {"model.latent_dim": 64}, checked for name, type and bounds.

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
            check(name, value, known[name], f"{where}: ")
            whole = isinstance(value, int) and not isinstance(value, bool)
            flat[name] = float(value) if whole and holds(known[name], float) else value
    return flat


def build(cls: type[T], flat: Mapping[str, Any]) -> T:
    """An instance from checked flat settings; the rest are defaults.

    Raises ConfigError (from the class) when the values make no sense together.
    """
    return overlay(cls(), flat)


def overlay(config: T, flat: Mapping[str, Any]) -> T:
    """`config` with flat settings in place of its own. Raises ConfigError, from its class."""
    changes: dict[str, Any] = {}
    for name, kind in kinds(type(config)).items():
        if is_dataclass(kind):
            dot = f"{name}."
            if inner := {k.removeprefix(dot): v for k, v in flat.items() if k.startswith(dot)}:
                changes[name] = overlay(getattr(config, name), inner)
        elif name in flat:
            changes[name] = flat[name]
    with told():
        return replace(config, **changes)  # type: ignore[type-var]


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

    Raises ConfigError for those of a reward-free model, CheckpointError when they are not those of
    this version.
    """
    if isinstance(stored, Mapping) and stored.get("kind") == PRETRAINED:
        raise ConfigError(
            f"{where} is that of a reward-free model, which `latentmpc eval`, `inspect` and "
            "`distill` take: give a run of `latentmpc train` here"
        )
    return stored_config(TrainConfig, stored, where)


def peek(path: str) -> TrainConfig | None:
    """Settings of a run, checkpoint or bundle before anything is verified; None where unreadable.

    What is wrong with it is said by what verifies it.
    """
    for name in ("config.json", "contract.json"):
        file = Path(path, name)
        try:
            if file.is_file():
                return train_config_from(sealed.read_json(file), str(file))
        except (AttributeError, CheckpointError, ConfigError):
            return None
    return None


def stored_config(
    cls: type[T], stored: Mapping[str, Any], where: str, beside: Sequence[str] = STORED_BESIDE
) -> T:
    """Settings of any kind of run from its `config.json`, which has the keys `beside` as well.

    Raises CheckpointError when they are not those of this version.
    """
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
