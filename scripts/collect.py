"""`latentmpc collect ENV`: record episodes of a task into a dataset."""

from agents.data.config import CollectConfig, memory_needed
from agents.runs import needs
from agents.runs.config import ConfigError
from scripts.flags import check_planner
from scripts.verb import Output, Verb


def check(config: CollectConfig) -> None:
    """Raise ConfigError without a task, and for what this machine has no memory for."""
    if not config.env_id:
        raise ConfigError("which task? latentmpc collect ENV --episodes 100 --out DIR")
    if config.checkpoint:
        sims = min(config.shard, config.episodes)
        check_planner(config.checkpoint, config.planner, sims, "--shard")
    needs.require(memory_needed(config))


def call(config: CollectConfig, output: Output):
    """A summary of the complete dataset."""
    from scripts.tasks import require_task

    require_task(config.env_id)
    from agents.data.collect import collect

    with output.stages() as stages:
        return collect(config, stages.told)


VERB = Verb(
    "collect",
    CollectConfig,
    call,
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
main = VERB.main
