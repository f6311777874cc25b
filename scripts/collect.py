"""`latentmpc collect ENV`: record episodes of a task into a dataset."""

from agents.data.config import CollectConfig, memory_needed
from agents.runs import needs
from scripts.checks import check_planner
from scripts.verb import Verb


def check(config: CollectConfig) -> None:
    """Raise ConfigError for what this machine has no memory for."""
    if config.checkpoint:
        sims = min(config.shard, config.episodes)
        check_planner(config.checkpoint, config.planner, sims, "--shard")
    needs.require(memory_needed(config))


VERB = Verb(
    "collect",
    CollectConfig,
    "agents.data.collect:collect",
    tell="stages",
    missing="which task? latentmpc collect ENV --episodes 100 --out DIR",
    tasks=lambda config: config.env_id,
    check=check,
    positional="env_id",
    metavar="ENV",
    title="{0.env_id}: {0.resolved_out}",
    about="""Record episodes of a task: states, pictures, actions, rewards. The same command
    resumes.""",
    example="latentmpc collect two-room --policy scripted --episodes 160 --out data/rooms",
    common="""out episodes policy checkpoint noise_scale noise_exponent epsilon steps pixels size
    seed""",
)
