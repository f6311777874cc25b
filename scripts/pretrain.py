"""`latentmpc pretrain DATA`: learn a reward-free world model from recorded episodes."""

import os
from dataclasses import replace

from agents.runs import needs
from agents.runs.config import ConfigError
from agents.runs.pretrain_config import PretrainConfig, preset_config
from scripts.verb import Output, Verb


def check(config: PretrainConfig) -> None:
    """Raise ConfigError where there is no folder, or not the memory."""
    if not os.path.isdir(config.data):
        raise ConfigError(f"{config.data} is no folder: give what `latentmpc collect` made")
    needs.require(needs.pretraining(config))


def call(config: PretrainConfig, output: Output):
    """The result of the complete run."""
    from agents.pretraining.pretrain import pretrain

    return pretrain(
        replace(config, run_dir=config.resolved_run_dir),
        console=output.console,
        json_mode=output.json,
        began=output.began,
    )


VERB = Verb(
    "pretrain",
    PretrainConfig,
    call,
    missing="""which data? give a folder of episodes: latentmpc pretrain DATA (make one with
    `latentmpc collect ENV --out DATA`)""",
    check=check,
    base=lambda given: preset_config(given.get("preset", "state")),
    positional="data",
    metavar="DATA",
    title="{0.objective}: {0.resolved_run_dir}",
    about="""Learn a reward-free world model from recorded episodes and write a run directory. The
    same command resumes a run that was stopped. Priority: defaults, preset, recipe, TOML file,
    flags.""",
    example="latentmpc pretrain data/walls --run-dir runs/rooms",
    common="""run_dir preset objective updates seed model.latent_dim model.history
    model.action_block learner.rollout learner.batch_size learner.learning_rate
    learner.sigreg_coef""",
)
