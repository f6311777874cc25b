"""`latentmpc distill RUN`: a critic and a policy for goals, learned offline on its latents."""

from agents.goals.config import DistillConfig, memory_needed
from agents.runs import needs
from agents.runs.config import ConfigError
from agents.runs.pretrain_config import is_pretrained
from scripts.flags import require_directory
from scripts.verb import Output, Verb


def check(config: DistillConfig) -> None:
    """Raise ConfigError without a run of `pretrain`, CheckpointError without a directory."""
    if not config.path:
        raise ConfigError("which run? give one of `latentmpc pretrain`: latentmpc distill runs/ID")
    require_directory(config.path, "a run of `latentmpc pretrain`")
    if not is_pretrained(config.path):
        raise ConfigError(
            f"{config.path} holds no reward-free model: give a run of `latentmpc pretrain`"
        )
    needs.require(memory_needed(config.guide))


def call(config: DistillConfig, output: Output):
    """What was learned, stored beside the checkpoint."""
    from agents.goals.distill import distill_path

    return distill_path(config, output.console)


VERB = Verb(
    "distill",
    DistillConfig,
    call,
    check=check,
    positional="path",
    metavar="PRETRAIN_RUN",
    title="{0.path}",
    about="""Learn what leads a pretrained model to goals: a critic of temporal distance, and a
    policy. Both are learned from the run's own data, relabelled in hindsight, and are used by
    `latentmpc eval` from then on.""",
    example="latentmpc distill runs/rooms --data data/rooms",
    common="""data guide.updates guide.batch_size guide.width guide.learning_rate guide.discount
    guide.nearness guide.noise guide.turns guide.imagined guide.imitation""",
)
main = VERB.main
