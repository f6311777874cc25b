"""Settings of `serve`. Imports no jax."""

import os
import shlex
from dataclasses import dataclass, field
from typing import Annotated, Literal

from agents.deployment.guard.config import SafetyConfig, TrustConfig
from agents.deployment.origin import is_loopback
from agents.runs.bounds import Count, Meta, Seed
from agents.runs.config import ConfigError, PlannerOverrides

TOKEN_VARIABLE = "LATENTMPC_TOKEN"
MIN_TOKEN, MAX_TOKEN = 16, 4096


@dataclass(frozen=True)
class ServeConfig(TrustConfig):
    """Settings of one controller server."""

    path: str = ""
    """Bundle, run directory or checkpoint to serve."""
    host: str = "127.0.0.1"
    """Address to listen on; any but this machine's own needs a token."""
    port: Annotated[int, Meta(ge=0, le=65535)] = 8000
    """Port to listen on; 0 takes a free one."""
    token_file: str = ""
    """File with the token that clients must show. Without it: the variable LATENTMPC_TOKEN."""
    mode: Literal["plan", "prior"] = "plan"
    """plan: the planner; prior: the learned prior alone."""
    clients: Annotated[int, Meta(ge=1, le=64)] = 4
    """Most clients at once; those that ask at the same time are planned for together."""
    window_ms: Annotated[float, Meta(ge=0, lt=1e4)] = 0.0
    """How long a plan waits for more clients to join in; 0 is 10 % of the period."""
    max_bytes: Annotated[int, Meta(ge=256, le=2**24)] = 65536
    """Longest message that is accepted."""
    max_bad: Count = 16
    """Messages in a row that cannot be understood, after which a client is sent away."""
    idle_s: Annotated[float, Meta(gt=0, lt=1e6)] = 30.0
    """Silence after which a client is sent away."""
    realtime: bool = False
    """Ask the system for real-time scheduling (SCHED_FIFO)."""
    seed: Seed = 0
    """Of the planner's noise; every client begins with it."""
    planner: PlannerOverrides = field(default_factory=PlannerOverrides)
    safety: SafetyConfig = field(default_factory=SafetyConfig)


def token_of(config: ServeConfig) -> str:
    """The token that clients must show, "" for none. Raises ConfigError.

    It is not a flag: what is typed can be read by everyone in the list of processes.
    """
    token = os.environ.get(TOKEN_VARIABLE, "")
    if name := config.token_file:
        try:
            with open(name, encoding="utf-8") as file:
                token, mode = file.read(MAX_TOKEN).strip(), os.fstat(file.fileno()).st_mode & 0o777
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"token_file {name} cannot be read: {error}") from error
        if not token:
            raise ConfigError(f"token_file {name} is empty")
        if mode & 0o077:
            advice = f"chmod 600 {shlex.quote(name)}"
            raise ConfigError(
                f"token_file {name} can be read by others (mode {mode:03o}): {advice}"
            )
    if token and (len(token) < MIN_TOKEN or not token.isascii() or not token.isprintable()):
        raise ConfigError(f"the token must be {MIN_TOKEN} or more printable ASCII characters")
    if not token and not is_loopback(config.host):
        raise ConfigError(
            f"host {config.host} can be reached by others, who could then move the robot: give "
            f"--token-file FILE (or {TOKEN_VARIABLE}), or listen on 127.0.0.1"
        )
    return token
