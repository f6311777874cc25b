"""`latentmpc distill RUN`: a critic and a policy for goals, learned offline on its latents."""

from agents.goals.config import DistillConfig, memory_needed
from agents.runs import needs
from agents.runs.config import ConfigError
from agents.runs.pretrain_config import is_pretrained
from scripts.verb import Verb


def check(config: DistillConfig) -> None:
    """Raise ConfigError for another kind of run, and for what there is no memory for."""
    if not is_pretrained(config.path):
        raise ConfigError(
            f"{config.path} holds no reward-free model: give a run of `latentmpc pretrain`"
        )
    needs.require(memory_needed(config.goal_heads))


VERB = Verb(
    "distill",
    DistillConfig,
    "agents.goals.distill:distill_path",
    tell="console",
    missing="which run? give one of `latentmpc pretrain`: latentmpc distill runs/ID",
    folder="a run of `latentmpc pretrain`",
    check=check,
    positional="path",
    metavar="PRETRAIN_RUN",
    title="{0.path}",
    about="""Learn what leads a pretrained model to goals: a critic of temporal distance, and a
    policy. Both are learned from the run's own data, relabelled in hindsight, and are used by
    `latentmpc eval` from then on.""",
    example="latentmpc distill runs/rooms --data data/rooms",
    common="""data goal_heads.updates goal_heads.batch_size goal_heads.width
    goal_heads.learning_rate goal_heads.discount goal_heads.nearness goal_heads.noise goal_heads.turns goal_heads.imagined goal_heads.imitation""",
)
