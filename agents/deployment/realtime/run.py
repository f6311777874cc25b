"""`run`: a controller against a simulator in wall-clock time, and the replay of a recording."""

import logging
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from agents.deployment.contract import Contract
from agents.deployment.controller import Controller
from agents.deployment.guard.fault_recordings import FaultRecordings
from agents.deployment.realtime import replay as replay_run
from agents.deployment.realtime.config import RunConfig, check_rate
from agents.deployment.realtime.loop import Limits, drive
from agents.deployment.realtime.pacing import ask_for_priority
from agents.deployment.realtime.recorder import Recorder
from agents.deployment.realtime.simulator import LiveSimulator
from agents.deployment.realtime.timing import Outcome
from agents.runs.config import ConfigError
from agents.runs.directory import RunDir
from agents.runs.versions import installed
from agents.storage.files import made_directory
from envs.imports import require_permission
from envs.spec import EnvSpec

Status = Callable[[str], None]


def run(config: RunConfig, status: Status = lambda line: None) -> dict[str, Any]:
    """Run or replay; the result as JSON-ready dict ("stopped" says why it ended too early).

    Raises ConfigError, CheckpointError, EnvError, StorageError.
    """
    return replayed(config, status) if config.replay else live(config, status)


def replayed(config: RunConfig, status: Status) -> dict[str, Any]:
    """Replay a recording; "identical" and "difference" are the outcome."""
    recording = replay_run.load(config.replay)
    controller = replay_run.controller_for(recording, config.path, config.trust, config.digest)
    _say_what_runs(config, controller, status)
    with safety_log(lambda line: None):
        result = replay_run.replay(recording, controller)
    return result | {"programs": controller.programs, "note": controller.note}


def live(config: RunConfig, status: Status) -> dict[str, Any]:
    """The closed loop in real time."""
    controller = Controller.load(
        config.path,
        mode=config.mode,
        deadline_ms=config.deadline_ms,
        seed=config.seed,
        planner=config.planner,
        safety=config.safety,
        trust=config.trust,
        digest=config.digest,
    )
    _say_what_runs(config, controller, status)
    contract = controller.contract
    rate = check_rate(config.rate, contract.period)
    env_id = config.env or contract.env_id
    require_permission(env_id)
    out = _out(config, env_id)
    faults = FaultRecordings(out.path, config.path, config.record_faults)
    recorder = Recorder(contract, config.record_seconds, faults.keep)
    limits = Limits(config.seconds, config.episode_limit, config.max_misses)
    world = LiveSimulator(env_id, contract.action_repeat, config.seed, config.realtime)
    with world, faults:
        controller.warmup()
        check_world(contract, world.ready())
        if config.realtime and (refused := ask_for_priority()):
            status(refused)
        status(f"{env_id} at {rate:g} Hz, {config.mode}: warm")
        with safety_log(status) as flush:

            def report(line: str) -> None:
                flush()
                status(line)

            try:
                outcome = drive(
                    controller,
                    world,
                    limits,
                    phase=config.phase_ms / 1e3,
                    spin=config.spin_ms / 1e3,
                    seed=config.seed,
                    recorder=recorder,
                    status=report,
                )
            except Exception as error:  # a world that died is what one wants a recording of
                recorder.reason = recorder.reason or str(error)
                status(f"recording: {_dumped(config, controller, recorder, out)}")
                raise
    result = _result(config, controller, outcome, rate, env_id)
    result |= {"guard_faults": recorder.faults, "recordings_dropped": faults.dropped}
    result["fault_recordings"] = dict(faults.kept)
    if faults.problem:
        status(f"{faults.dropped} recordings could not be written: {faults.problem}")
    return _written(config, controller, recorder, result, out)


def _say_what_runs(config: RunConfig, controller: Controller, status: Status) -> None:
    """That the programs of a bundle are not run is never left unsaid."""
    if controller.note:
        status(f"{config.path}: {controller.note}")


def check_world(contract: Contract, world: EnvSpec) -> None:
    """Refuse a simulator of other sizes or times than the contract's. Raises ConfigError.

    `world` counts in single frames.
    """
    trained = EnvSpec.from_json(contract.spec)
    if found := replace(trained, action_repeat=1).difference(world):
        raise ConfigError(
            f"{world.env_id} does not fit what was trained on {trained.env_id}, which differs in "
            f"{'; '.join(found)}: give --env a task with the same spec"
        )


@contextmanager
def safety_log(status: Status) -> Iterator[Callable[[], None]]:
    """The guard's messages wait in memory while a tick is under way; the function shows them."""
    waiting: deque[str] = deque(maxlen=100)

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            waiting.append(f"guard: {record.getMessage()}")

    def flush() -> None:
        if waiting:
            more = f" (and {len(waiting) - 1} messages before)" if len(waiting) > 1 else ""
            status(waiting.pop() + more)
            waiting.clear()

    log, keep = logging.getLogger("latentmpc.safety"), Keep()
    log.addHandler(keep)
    propagate, log.propagate = log.propagate, False
    try:
        yield flush
    finally:
        log.removeHandler(keep)
        log.propagate = propagate
        flush()


def _result(
    config: RunConfig, controller: Controller, outcome: Outcome, rate: float, env_id: str
) -> dict[str, Any]:
    counters = controller.guard.counters
    return {
        "env_id": env_id,
        "path": config.path,
        "mode": config.mode,
        "programs": controller.programs,
        "note": controller.note,
        "rate_hz": rate,
        "period_ms": 1e3 * controller.contract.period,
        **outcome.to_json(),
        "sources": dict(controller.counters),
        "faults": {k.removeprefix("fault/"): n for k, n in counters.items() if "fault/" in k},
        "interventions": {k: counters[k] for k in ("hold", "fallback", "stop", "clip", "rate")},
        "seed": config.seed,
        "planner": asdict(controller.planner),
        "versions": installed(),
    }


def _written(
    config: RunConfig,
    controller: Controller,
    recorder: Recorder,
    result: dict[str, Any],
    out: RunDir,
) -> dict[str, Any]:
    """Write what was asked for, and a recording of how it ended if that was not as planned."""
    ended = result["stopped"] or (result["interrupted"] and f"interrupted by {result['signal']}")
    result["recording"] = next(reversed(result["fault_recordings"]), "")
    if config.record or recorder.reason or ended:
        recorder.reason = recorder.reason or ended
        result["recording"] = _dumped(config, controller, recorder, out)
    if result["recording"] or config.out:
        _made(out).write_json("result.json", result)
    return result


def _out(config: RunConfig, env_id: str) -> RunDir:
    """The directory of this run's files. It is made when there are some."""
    name = f"run-{env_id.replace('/', '-')}-{time.strftime('%Y%m%d-%H%M%S')}"
    return RunDir(config.out or Path("runs", name))


def _made(out: RunDir) -> RunDir:
    """The directory, which exists now. Raises StorageError."""
    made_directory(out.path)
    return out


def _dumped(config: RunConfig, controller: Controller, recorder: Recorder, out: RunDir) -> str:
    """Write the recording; where it is."""
    return str(recorder.dump(unused(_made(out).path, "recording"), controller, config.path))


def unused(parent: Path, name: str) -> Path:
    """`parent/name`, or with a number behind it if that exists: nothing is overwritten."""
    path, number = parent / name, 1
    while path.exists():
        number += 1
        path = parent / f"{name}-{number}"
    return path
