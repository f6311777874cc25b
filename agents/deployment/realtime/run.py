"""`run`: a controller against a simulator in wall-clock time, and the replay of a recording."""

import logging
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from agents.deployment.bundle.load import folder_of
from agents.deployment.contract import Contract
from agents.deployment.controller import Controller
from agents.deployment.guard.safety import INTERVENTIONS
from agents.deployment.realtime import replay as replay_run
from agents.deployment.realtime.config import RunConfig, check_rate
from agents.deployment.realtime.fault_recordings import FaultRecordings
from agents.deployment.realtime.loop import drive
from agents.deployment.realtime.pacing import ask_for_priority
from agents.deployment.realtime.recorder import Recorder
from agents.deployment.realtime.simulator import LiveSimulator
from agents.deployment.realtime.timing import RunStats
from agents.deployment.serving.config import ServeConfig
from agents.evaluation.stored_task import settle
from agents.runs.config import ConfigError
from agents.runs.directory import RunDir
from agents.runs.versions import installed
from agents.storage.files import made_directory
from envs.imports import require_permission
from envs.spec import EnvSpec

Log = Callable[[str], None]


def run(config: RunConfig, log: Log = lambda line: None) -> dict[str, Any]:
    """Run or replay; the result as JSON-ready dict ("stopped" says why it ended too early).

    Raises ConfigError, CheckpointError, EnvError, StorageError.
    """
    return replayed(config, log) if config.replay else live(config, log)


def replayed(config: RunConfig, log: Log) -> dict[str, Any]:
    """Replay a recording; "identical" and "difference" say how it went."""
    recording = replay_run.load(config.replay)
    controller = replay_run.controller_for(recording, config.path, config.trust, config.digest)
    _log_note(config.path, controller, log)
    with safety_log(lambda line: None):
        result = replay_run.replay(recording, controller)
    return result | {"programs": controller.policy.exported, "note": controller.policy.note}


def live(config: RunConfig, log: Log) -> dict[str, Any]:
    """The closed loop in real time."""
    controller = load_controller(config, log, deadline_ms=config.deadline_ms)
    contract = controller.contract
    rate = check_rate(config.rate, contract.period)
    env_id = config.env or contract.env_id
    settle(folder_of(config.path), contract.env_id, config.env)
    require_permission(env_id)
    name = f"run-{env_id.replace('/', '-')}-{time.strftime('%Y%m%d-%H%M%S')}"
    out = Path(config.out or Path("runs", name))  # made when there is something to write
    world = LiveSimulator(env_id, contract.action_repeat, config.seed, config.realtime)
    recordings = FaultRecordings(out, config.path, config.record_faults)
    with world, recordings as faults, safety_log(log) as log:
        recorder = Recorder(contract, config.record_seconds, faults.keep)
        controller.warmup()
        check_world(contract, world.ready(), world.stated)
        if config.realtime and (refused := ask_for_priority()):
            log(refused)
        log(f"{env_id} at {rate:g} Hz, {config.mode}: warm")
        try:
            stats = drive(
                controller,
                world,
                seconds=config.seconds,
                episodes=config.episode_limit,
                max_misses=config.max_misses,
                phase=config.phase_ms / 1e3,
                spin=config.spin_ms / 1e3,
                seed=config.seed,
                recorder=recorder,
                log=log,
            )
        except Exception as error:  # a world that died is what one wants a recording of
            recorder.reason = recorder.reason or str(error)
            log(f"recording: {_dumped(config, controller, recorder, out)}")
            raise
    result = _result(config, controller, stats, rate, env_id)
    result |= {"guard_faults": recorder.faults, "recordings_dropped": faults.dropped}
    result["fault_recordings"] = dict(faults.kept)
    if faults.problem:
        log(f"{faults.dropped} recordings could not be written: {faults.problem}")
    return _written(config, controller, recorder, result, out)


def load_controller(config: RunConfig | ServeConfig, log: Log, **options: Any) -> Controller:
    """The controller that the settings of `run` or `serve` ask for."""
    controller = Controller.load(
        config.path,
        config.mode,
        seed=config.seed,
        planner=config.planner,
        safety=config.safety,
        trust=config.trust,
        digest=config.digest,
        **options,
    )
    _log_note(config.path, controller, log)
    return controller


def _log_note(path: str, controller: Controller, log: Log) -> None:
    """That the programs of a bundle are not run is never left unsaid."""
    if controller.policy.note:
        log(f"{path}: {controller.policy.note}")


def check_world(
    contract: Contract, world: EnvSpec, stated: Mapping[str, Any] = MappingProxyType({})
) -> None:
    """Refuse a simulator of other sizes, times or joints than the contract's. Raises ConfigError.

    `world` counts in single frames; `stated` is as `Contract.mismatch` has it.
    """
    trained = EnvSpec.from_json(contract.spec)
    if found := replace(trained, action_repeat=1).difference(world):
        raise ConfigError(
            f"{world.env_id} does not fit what was trained on {trained.env_id}, which differs in "
            f"{'; '.join(found)}: give --env a task with the same spec"
        )
    if problem := contract.mismatch(stated):
        raise ConfigError(
            f"{world.env_id} is not the robot of {trained.env_id}: {problem}: give --env a task "
            "with the same robot"
        )


@contextmanager
def safety_log(log: Log) -> Iterator[Callable[..., None]]:
    """The guard's messages wait in memory while a tick is under way.

    What this gives logs them and then a line, if there is one.
    """
    waiting: deque[str] = deque(maxlen=100)

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            waiting.append(f"guard: {record.getMessage()}")

    def flush(line: str = "") -> None:
        if waiting:
            more = f" (and {len(waiting) - 1} messages before)" if len(waiting) > 1 else ""
            log(waiting.pop() + more)
            waiting.clear()
        if line:
            log(line)

    logger, keep = logging.getLogger("latentmpc.safety"), Keep()
    logger.addHandler(keep)
    propagate, logger.propagate = logger.propagate, False
    try:
        yield flush
    finally:
        logger.removeHandler(keep)
        logger.propagate = propagate
        flush()


def _result(
    config: RunConfig, controller: Controller, stats: RunStats, rate: float, env_id: str
) -> dict[str, Any]:
    counters, policy = controller.guard.counters, controller.policy
    return {
        "env_id": env_id,
        "path": config.path,
        "mode": config.mode,
        "programs": policy.exported,
        "note": policy.note,
        "rate_hz": rate,
        "period_ms": 1e3 * controller.contract.period,
        **stats.to_json(),
        "sources": dict(controller.counters),
        "faults": {k.removeprefix("fault/"): n for k, n in counters.items() if "fault/" in k},
        "interventions": {kind: counters[kind] for kind in INTERVENTIONS},
        "seed": config.seed,
        "planner": asdict(policy.planner),
        "versions": installed(),
    }


def _written(
    config: RunConfig, controller: Controller, recorder: Recorder, result: dict, out: Path
) -> dict[str, Any]:
    """Write what was asked for, and a recording of how it ended if that was not as planned."""
    ended = result["stopped"] or (result["interrupted"] and f"interrupted by {result['signal']}")
    result["recording"] = next(reversed(result["fault_recordings"]), "")
    if config.record or recorder.reason or ended:
        recorder.reason = recorder.reason or ended
        result["recording"] = _dumped(config, controller, recorder, out)
    if result["recording"] or config.out:
        RunDir(made_directory(out)).write_json("result.json", result)
    return result


def _dumped(config: RunConfig, controller: Controller, recorder: Recorder, out: Path) -> str:
    """Write the recording beside any that is there already; where it is."""
    path, number = made_directory(out) / "recording", 1
    while path.exists():
        number += 1
        path = out / f"recording-{number}"
    return str(recorder.dump(path, controller, config.path))
