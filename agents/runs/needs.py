"""Bytes that settings need, from closed forms: said before anything is built. Imports no jax.

What is counted is there at the least; compilers and libraries come on top. Sizes that are not
known yet (of observations and actions) count as 1. What the machine has is read here too.
"""

import os
from pathlib import Path

from agents.runs.bounds import ConfigError
from agents.runs.config import TrainConfig
from agents.runs.pretrain_config import PretrainConfig
from planning.config import PlannerConfig
from wm.tdmpc.config import ModelConfig

FLOAT = 4
FLAGS = 3
"""Numbers of a row of the replay beside observation and action: reward, terminated, is_last."""
COPIES = 5
"""Of every parameter while learning: itself, its running average, gradient and two moments."""
SIMULATOR = {"dmc": 2**23, "ogbench": 2**23}
LEAST_SIMULATOR = 2**17
PROCESS = 2**27
LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
"""Memory limits of a container, in the two versions of control groups."""
ACCELERATORS = ("/dev/nvidiactl", "/dev/kfd", "/dev/accel0")
ON_HOST = ("the simulators", "worker processes", "the episodes of a shard")

Parts = dict[str, tuple[float, str]]
"""Of what is needed: name to (bytes, the flag that lowers it)."""


def parameters(model: ModelConfig, obs_dim: int = 1, action_dim: int = 1, tasks: int = 0) -> int:
    """Numbers that a reward-driven model learns, of `tasks` tasks if there are several."""
    width, latent, tail = model.mlp_width, model.latent_dim, 0
    if tasks:
        tail = model.task_dim + action_dim + 1
        obs_dim += model.task_dim - tasks  # the embedding in place of which task it is
    joint = latent + tail + action_dim
    hidden = (width, width)
    if model.regularizer == "simnorm":
        made = _mlp(obs_dim, (model.encoder_width, latent)) + _mlp(joint, (*hidden, latent))
    else:
        made = _mlp(obs_dim, (model.encoder_width,) * 2, latent) + _mlp(joint, hidden, latent)
    heads = _mlp(joint, hidden, model.num_bins) * (1 + model.num_heads)
    prior = _mlp(latent + tail, hidden, 2 * action_dim)
    ending = _mlp(latent + tail, hidden, 1) if model.episodic else 0
    return made + heads + prior + ending + tasks * model.task_dim


def _mlp(size: int, widths: tuple[int, ...], out: int = 0) -> int:
    """Of normed dense layers, each with bias, scale and shift, and a dense head."""
    total = 0
    for width in widths:
        total, size = total + (size + 3) * width, width
    return total + (size + 1) * out


def row(model: ModelConfig) -> int:
    """Numbers that one row leaves behind in a step of the model: layers, latent and bins."""
    return 6 * model.mlp_width + 2 * model.latent_dim + model.num_bins * (1 + model.num_heads)


def planning(
    planner: PlannerConfig,
    sims: int,
    lower: str,
    model: ModelConfig | None = None,
    actions: int = 1,
) -> Parts:
    """One decision of `sims` simulators: sequences twice, and what one model step is computed from.

    `lower` is the flag that says how many simulators there are.
    """
    state = model.latent_dim + model.mlp_width if model else 1
    sequences = sims * planner.num_samples
    size = FLOAT * sequences * (2 * planner.horizon * actions + state)
    if planner.method == "gradient":  # every step is kept for the way back
        sequences = sims * planner.num_restarts
        size = FLOAT * sequences * planner.horizon * (2 * actions + state)
    named = "--planner.num-samples" if planner.method != "gradient" else "--planner.num-restarts"
    return {"planning": (size, f"{named} or {lower}" if sims > 1 else named)}


def training(
    config: TrainConfig,
    obs_dim: int = 1,
    action_dim: int = 1,
    tasks: int = 0,
    backend: str = "",
    members: int = 1,
    shares: int = 1,
) -> Parts:
    """A training of `members` members, in one of the `shares` processes that divide it."""
    model, learner = config.model, config.learner
    width, count = obs_dim + action_dim + FLAGS, parameters(model, obs_dim, action_dim, tasks)
    rows = learner.batch_size * (learner.horizon + 1)
    kept = row(model) + obs_dim
    if model.regularizer == "sigreg":
        kept += learner.sigreg_directions
    own = -(-config.num_envs * members // shares)
    sims = max(own, config.eval_episodes)
    lower = "--num-envs" if sims > config.eval_episodes else "--eval-episodes"
    plan = planning(config.planner, sims, lower, model, action_dim)
    simulator = SIMULATOR.get(backend, LEAST_SIMULATOR)
    return {
        "the replay": (FLOAT * members * config.replay_capacity * width, "--replay-capacity"),
        "parameters": (
            FLOAT * members * COPIES * count,
            "--model.mlp-width, --model.latent-dim or --model.num-heads",
        ),
        "an update": (FLOAT * members * rows * kept, "--learner.batch-size or --learner.horizon"),
        "the simulators": (simulator * own, "--num-envs"),
        **plan,
    }


def evaluation(
    config: TrainConfig, planner: PlannerConfig, sims: int = 1, lower: str = "--episodes"
) -> Parts:
    """A trained model that plans for `sims` simulators at once."""
    return {
        "parameters": (
            FLOAT * parameters(config.model),
            "the sizes of its model, in a new training",
        ),
        "the simulators": (LEAST_SIMULATOR * sims, lower),
        **planning(planner, sims, lower, config.model),
    }


def pretraining(config: PretrainConfig) -> Parts:
    """A reward-free model: the layers of encoder and predictor that grow with its settings."""
    model, learner = config.model, config.learner
    layers, width = model.encoder_layers, model.encoder_width
    blocks = model.predictor_layers * model.latent_dim
    encoders = {
        "mlp": _mlp(1, (width,) * layers, model.latent_dim),
        "vit": 12 * layers * model.embed_dim**2,
        "cnn": 36 * model.cnn_channels**2 + width * model.latent_dim,
    }
    heads = 4 * model.predictor_heads * model.predictor_head_dim
    predictors = {
        "transformer": blocks * (heads + 2 * model.predictor_width),
        "mlp": _mlp(model.latent_dim, (model.predictor_width,) * model.predictor_layers),
        "gru": 3 * model.latent_dim * model.predictor_width,
    }
    count = encoders.get(model.encoder, 0) + predictors[model.predictor]
    rows, kept = learner.batch_size * learner.rollout, width + model.latent_dim
    kept += learner.sigreg_directions if config.objective == "lewm" else 0
    return {
        "parameters": (FLOAT * (COPIES - 1) * count, "--model.encoder-width or --model.latent-dim"),
        "an update": (FLOAT * rows * kept, "--learner.batch-size or --learner.rollout"),
    }


def reaching(planner: PlannerConfig, sims: int, oracle: bool = False) -> Parts:
    """Goals, or an oracle: it plans on simulators, one for every sequence."""
    each = max(planner.num_samples, planner.num_restarts) if oracle else 1
    lower = "--planner.num-samples" if oracle else "--slots"
    return {
        "the simulators": (LEAST_SIMULATOR * sims * each, lower),
        **planning(planner, sims, lower),
    }


def workers(jobs: int, executor: str = "local") -> Parts:
    """Processes on this machine, each with libraries and a compiler."""
    return {"worker processes": (PROCESS * jobs * (executor == "local"), "--jobs")}


def available() -> int:
    """Bytes that this process could still fill: of the machine, and of its control group."""
    there = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for line in _read("/proc/meminfo").splitlines():
        if line.startswith("MemAvailable:"):
            there.append(1024 * int(line.split()[1]))
    return min(there + [int(text) for path in LIMITS if (text := _read(path).strip()).isdigit()])


def accelerated() -> bool:
    """Whether arrays may live on a device with memory of its own, which only jax can ask."""
    asked = os.environ.get("JAX_PLATFORMS", "").split(",")[0]
    return asked != "cpu" and any(map(os.path.exists, ACCELERATORS))


def require(parts: Parts, there: int | None = None) -> None:
    """Raise ConfigError unless this machine has what is needed, or `there` bytes are enough.

    Where there is an accelerator, whose memory only jax knows, what it takes over is not counted.
    """
    if there is None and accelerated():
        parts = {name: part for name, part in parts.items() if name in ON_HOST}
    total, there = sum(size for size, _ in parts.values()), there or available()
    if total <= there:
        return
    largest = max(parts, key=lambda name: parts[name][0])
    size, lower = parts[largest]
    raise ConfigError(
        f"these settings need {_gib(total)} of memory ({_gib(size)} of it for {largest}) and "
        f"{_gib(there)} are there: lower {lower}"
    )


def _gib(size: float) -> str:
    return f"{size / 2**30:,.1f} GiB"


def _read(path: str) -> str:
    try:
        return Path(path).read_text("ascii")
    except OSError:
        return ""
