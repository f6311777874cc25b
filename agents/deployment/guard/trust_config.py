"""What lets code run that comes with stored files: said on the command line alone, everywhere."""

from dataclasses import dataclass, field

from agents.runs.bounds import Settings


@dataclass(frozen=True)
class ImportTrust(Settings):
    """The setting of every verb that simulates the task that a stored file names."""

    trust: bool = field(default=False, kw_only=True)
    """Import the module of a task MODULE:ID that the files name, which can do anything."""


@dataclass(frozen=True)
class TrustConfig(Settings):
    """Settings of every verb that may run a bundle's own programs."""

    trust: bool = field(default=False, kw_only=True)
    """Run the compiled programs of a bundle although nothing vouches for them, and import the
    module of a task MODULE:ID that it names."""
    digest: str = field(default="", kw_only=True)
    """The digest of the bundle, as export printed it: vouches for its programs, too."""
