"""`python -m tests.speed.predicted`: what the cost model says of many assumed accelerators.

Operations are counted from the networks, bytes estimated: parameters read and written, activations
once out and once in. Simulators are divided among the accelerators, and so is the batch of an
update, whose gradients are then summed over the link.
"""

import json
from dataclasses import asdict, dataclass

from agents.machine import cost
from agents.runs import needs
from agents.runs.config import preset_config
from agents.runs.networks import build_networks
from envs.registry import make_spec
from planning.config import PlannerConfig, evaluations
from wm.tdmpc.model import Networks

PLAN_KERNELS, UPDATE_KERNELS = 40, 400  # programs' steps that an accelerator launches one by one
DEVICES = (1, 8, 64, 512)
SIMS_EACH = 256
"""Simulators a device."""


@dataclass(frozen=True)
class Machine:
    """Rates of one device."""

    flops: float
    """Operations a second of large matrix products."""
    bandwidth: float
    """Bytes a second of its memory."""
    launch: float = 0.0
    """Seconds that one step of a program takes at least."""


@dataclass(frozen=True)
class Cost:
    """Of one piece of work."""

    flop: float
    bytes: float
    """Parameters read and written, activations once out and once in."""
    kernels: float = 0.0

    def seconds(self, machine: Machine) -> float:
        """The slowest of products, memory and launches."""
        work = max(self.flop / machine.flops, self.bytes / machine.bandwidth)
        return max(work, self.kernels * machine.launch)


def weights(net: Networks) -> int:
    """Parameters."""
    spec = net.spec
    return needs.parameters(net.config, spec.obs_dim, spec.action_dim, spec.tasks)


def plan(net: Networks, config: PlannerConfig, sims: int) -> Cost:
    """One decision of `sims` simulators."""
    passes = 1 + config.horizon * (2 + config.num_iterations)
    rows = evaluations(config)  # model steps of one simulator
    moved = needs.FLOAT * (passes * weights(net) + 2 * sims * rows * needs.row(net.config))
    return Cost(sims * cost.plan(net, config), moved, PLAN_KERNELS * passes)


def update(net: Networks, batch: int = 0) -> Cost:
    """One update on `batch` slices (0: as many as are set)."""
    batch = batch or net.learner.batch_size
    optimiser = 10 * weights(net)  # parameters, gradients, two moments, average: in and out
    activations = 6 * batch * (net.learner.horizon + 1) * needs.row(net.config)
    flop = cost.update(net) * batch / net.learner.batch_size
    return Cost(flop, needs.FLOAT * (optimiser + activations), UPDATE_KERNELS)


@dataclass(frozen=True)
class Cluster:
    """Devices of one kind and their links."""

    device: Machine
    link: float
    """Bytes a second to the others."""
    latency: float
    """Seconds of one sum over all, however small."""
    sims: float
    """Decisions a second that the simulators of a device make."""


ASSUMED = Cluster(Machine(200e12, 3e12, 4e-6), 200e9, 20e-6, 500e3)
"""Round numbers of a current datacentre GPU at a realistic share of its peak. Not measured."""


@dataclass(frozen=True)
class Prediction:
    """One cycle of a run on `devices`, in seconds, and what limits it."""

    devices: int
    sims: int
    plan_s: float
    learn_s: float
    sum_s: float
    """Of learn_s: waiting for the sum of gradients."""
    simulate_s: float
    cycle_s: float
    decisions_per_s: float
    limit: str


def predict(
    net: Networks, planner: PlannerConfig, machine: Cluster, devices: int, sims: int, updates: float
) -> Prediction:
    """One cycle of `sims` simulators a device, with `updates` updates in all, on `devices`.

    Each device plans for its own simulators; every update takes its share of the batch on each.
    """
    planned = plan(net, planner, sims).seconds(machine.device)
    share = max(1, net.learner.batch_size // devices)
    size = needs.FLOAT * weights(net)
    summed = 0.0
    if devices > 1:
        summed = machine.latency + 2 * size * (devices - 1) / devices / machine.link
    one = update(net, share).seconds(machine.device)
    learned = updates * (one + summed)
    simulated = sims / machine.sims if machine.sims else 0.0
    parts = {
        "planning": planned,
        "updates one after another": updates * one,
        "sums of gradients": updates * summed,
        "simulators": simulated,
    }
    cycle = planned + learned + simulated
    return Prediction(
        devices=devices,
        sims=sims,
        plan_s=planned,
        learn_s=learned,
        sum_s=updates * summed,
        simulate_s=simulated,
        cycle_s=cycle,
        decisions_per_s=devices * sims / cycle,
        limit=max(parts, key=lambda name: parts[name]),
    )


def main() -> None:
    """Print cartpole-swingup, tiny preset: an update a decision, then one a cycle."""
    config = preset_config("tiny", env_id="cartpole-swingup")
    net, found = build_networks(config, make_spec(config.env_id)), []
    for each in (config.utd * SIMS_EACH, 0.0):
        for devices in DEVICES:
            updates = max(1.0, each * devices)
            one = predict(net, config.planner, ASSUMED, devices, SIMS_EACH, updates)
            found.append({"updates": updates} | asdict(one))
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
