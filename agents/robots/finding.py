"""What `latentmpc check` finds."""

from typing import NamedTuple


class Finding(NamedTuple):
    """Something that a training will suffer from."""

    level: str
    """stop or note"""
    what: str
    do: str
