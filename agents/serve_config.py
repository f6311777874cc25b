"""Settings of `serve`. Imports no jax."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from agents.config import ConfigError, PlannerOverrides, check_seed
from agents.origin import is_loopback
from agents.safety_config import SafetyConfig
from agents.trust_config import TrustConfig

TOKEN_VARIABLE = "LATENTMPC_TOKEN"
LEAST_TOKEN = 16


@dataclass(frozen=True)
class ServeConfig(TrustConfig):
    """Settings of one controller server."""

    path: str = ""
    """Bundle, run directory or checkpoint to serve."""
    host: str = "127.0.0.1"
    """Address to listen on; any but this machine's own needs a token."""
    port: int = 8000
    """Port to listen on; 0 takes a free one."""
    token_file: str = ""
    """File with the token that clients must show. Without it: the variable LATENTMPC_TOKEN."""
    mode: Literal["plan", "prior"] = "plan"
    """plan: the planner; prior: the learned prior alone."""
    clients: int = 4
    """Most clients at once; those that ask at the same time are planned for together."""
    window_ms: float = 0.0
    """How long a plan waits for more clients to join in; 0 is 10 % of the period."""
    max_bytes: int = 65536
    """Longest message that is accepted."""
    max_bad: int = 16
    """Messages in a row that cannot be understood, after which a client is sent away."""
    idle_s: float = 30.0
    """Silence after which a client is sent away."""
    realtime: bool = False
    """Ask the system for real-time scheduling (SCHED_FIFO)."""
    seed: int = 0
    """Of the planner's noise; every client begins with it."""
    planner: PlannerOverrides = field(default_factory=PlannerOverrides)
    safety: SafetyConfig = field(default_factory=SafetyConfig)

    def __post_init__(self):
        """Reject impossible values. Raises ConfigError naming the field."""
        if not 0 <= self.port < 65536:
            raise ConfigError(f"port must lie in [0, 65535], got {self.port}")
        if not 1 <= self.clients <= 64:
            raise ConfigError(f"clients must lie in [1, 64], got {self.clients}")
        if self.max_bytes < 256:
            raise ConfigError(f"max_bytes must be at least 256, got {self.max_bytes}")
        if self.max_bad < 1:
            raise ConfigError(f"max_bad must be at least 1, got {self.max_bad}")
        if not 0 <= self.window_ms < 1e4:
            raise ConfigError(f"window_ms must lie in [0, 1e4), got {self.window_ms}")
        if not 0 < self.idle_s < 1e6:
            raise ConfigError(f"idle_s must lie in (0, 1e6), got {self.idle_s}")
        check_seed(self.seed)

    @property
    def loopback(self) -> bool:
        """Whether only this machine can connect."""
        return is_loopback(self.host)


def token_of(config: ServeConfig) -> str:
    """The token that clients must show, "" for none. Raises ConfigError.

    It is not a flag: what is typed can be read by everyone in the list of processes.
    """
    token = os.environ.get(TOKEN_VARIABLE, "")
    if config.token_file:
        try:
            token = Path(config.token_file).read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"token_file {config.token_file} cannot be read: {error}") from error
        if not token:
            raise ConfigError(f"token_file {config.token_file} is empty")
    if token and (len(token) < LEAST_TOKEN or not token.isascii() or not token.isprintable()):
        raise ConfigError(f"the token must be {LEAST_TOKEN} or more printable ASCII characters")
    if not token and not config.loopback:
        raise ConfigError(
            f"host {config.host} can be reached by others, who could then move the robot: give "
            f"--token-file FILE (or {TOKEN_VARIABLE}), or listen on 127.0.0.1"
        )
    return token
