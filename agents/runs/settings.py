"""Settings by dotted name: what a settings dataclass accepts, and clear errors for the rest.

Flags, TOML files and stored `config.json` files are all checked here against the same dataclasses.
Imports no jax.
"""

import difflib
import tomllib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import is_dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from agents.runs.bounds import check, config_errors, kinds
from agents.runs.config import ConfigError, TrainConfig
from agents.storage import sealed
from agents.storage.files import CheckpointError

T = TypeVar("T")
STORED_BESIDE = ("env", "digest", "versions")
"""Keys of a run's config.json that are not settings."""
PRETRAINED = "jepa"
"""What the config.json of a reward-free model says under "kind"."""
RENAMED = {
    "turned": "rotation_augmentation",
    "recolour": "hue_jitter",
    "clock": "latency",
    "meanwhile": "latency_policy",
    "guide": "goal_heads",
    "guides": "goal_heads",
    "leap": "reachability",
    "reach": "radius",
}
"""Settings, and blocks of them, by their names in 0.1.0: what they are called now."""
Told = Callable[[str], object]


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


def current(name: str, known: Collection[str], told: Told = lambda line: None) -> str:
    """Today's name of a setting that may have one of 0.1.0; one line to `told` where it has.

    A name that is not `known` now stays as it is.
    """
    now = ".".join(RENAMED.get(part, part) for part in name.split("."))
    if name in known or now == name or now not in known:
        return name
    told(f"{name} is called {now} now: its old name works in this version alone")
    return now


def flatten(
    cls: type,
    mapping: Mapping[str, Any],
    where: str,
    prefix: str = "",
    told: Told = lambda line: None,
) -> dict[str, Any]:
    """Nested settings as {"model.latent_dim": 64}, checked for name, type and bounds.

    Names of 0.1.0 are understood, and said to `told`. Raises ConfigError naming `where`, the key
    and what was expected.
    """
    known, flat = flat_types(cls), {}
    blocks = {name.rpartition(".")[0] for name in known} - {""}
    for key, value in mapping.items():
        name = current(f"{prefix}{key}", {*known, *blocks}, told)
        if name in blocks and isinstance(value, Mapping):
            flat |= flatten(cls, value, where, f"{name}.", told)
        elif name in blocks:
            raise ConfigError(f"{where}: {name} must be a table ([{name}]), got {value!r}")
        elif name not in known:
            raise unknown(f"key in {where}:", name, [*known, *blocks], "see --help for the names")
        else:
            flat[name] = check(name, value, known[name], f"{where}: ")
    return flat


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
    with config_errors():
        return replace(config, **changes)  # type: ignore[type-var]


def read_toml(cls: type, path: str, told: Told = lambda line: None) -> dict[str, Any]:
    """Flat settings of a TOML file; `told` as in `flatten`.

    Raises ConfigError: unreadable, no TOML, wrong name or type.
    """
    try:
        mapping = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror or error}") from error
    except ValueError as error:  # not UTF-8, or not TOML
        raise ConfigError(f"{path} is not valid TOML: {error}") from error
    return flatten(cls, mapping, path, told=told)


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
        return overlay(cls(), flatten(cls, ours, where))
    except (ValueError, OverflowError) as error:
        raise CheckpointError(
            f"{error} (in {where}; was it written by another version of latentmpc?)"
        ) from error
