"""Which process of a training this one is. Imports no jax."""

import re
from dataclasses import dataclass
from typing import Annotated

from agents.runs.bounds import Few, Meta, Settings
from agents.runs.config import ConfigError, TrainConfig

ProcessId = Annotated[int, Meta(ge=-1, lt=1000)]


@dataclass(frozen=True)
class ProcessConfig(Settings):
    """One of the processes that train together; by default there is no other."""

    processes: Few = 1
    """Processes that train together, each started with this command and its own --process-id."""
    process_id: ProcessId = -1
    """Which of them this one is: 0, which writes the run, to --processes minus 1."""
    coordinator: str = ""
    """HOST:PORT at which process 0 is to be found by the others."""

    @property
    def address(self) -> tuple[str, int]:
        """Host and port of `coordinator`."""
        host, _, port = self.coordinator.rpartition(":")
        return host, int(port)

    def check(self, config: TrainConfig) -> None:
        """Raise ConfigError unless these processes can share the training of `config`."""
        if self.processes == 1:
            if self.coordinator or self.process_id > 0:
                raise ConfigError(
                    "--process-id and --coordinator belong to a training in several processes: "
                    "add --processes N, the same for each"
                )
            return
        self._check_place()
        if config.devices > 1 and config.devices % self.processes:
            raise ConfigError(
                f"--devices {config.devices} (of all processes together) is no multiple of "
                f"--processes {self.processes}: each needs as many"
            )
        if config.backend.startswith("mjx"):
            raise ConfigError(
                f"--processes shares native simulators alone: leave out --backend {config.backend}"
            )
        if config.loop == "fused":
            raise ConfigError("--processes needs the host loop: leave out --loop fused")

    def _check_place(self) -> None:
        """Raise ConfigError unless it is said which process this is and where the first is."""
        if not 0 <= self.process_id < self.processes:
            given = "is missing" if self.process_id == -1 else f"{self.process_id} is none of them"
            raise ConfigError(
                f"--processes {self.processes} are numbered 0 to {self.processes - 1}, and "
                f"--process-id {given}: give each process its own"
            )
        host, _, port = self.coordinator.rpartition(":")
        if not (host and re.fullmatch(r"[1-9]\d{0,4}", port) and int(port) < 2**16):
            given = f"is {self.coordinator!r}" if self.coordinator else "is missing"
            raise ConfigError(
                f"--processes {self.processes} need --coordinator HOST:PORT, a free port of the "
                f"machine of process 0, and it {given}: give the same to each"
            )
