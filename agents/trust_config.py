"""What vouches for the programs of a bundle: the same two settings wherever one is run."""

from dataclasses import dataclass, field

from bounds import Settings


@dataclass(frozen=True)
class TrustConfig(Settings):
    """Settings of every verb that may run a bundle's own programs."""

    trust: bool = field(default=False, kw_only=True)
    """Run the compiled programs of a bundle although nothing vouches for them."""
    digest: str = field(default="", kw_only=True)
    """The digest of the bundle, as export printed it: vouches for its programs, too."""
