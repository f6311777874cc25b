"""`latentmpc export RUN --out BUNDLE`: a trained model as a folder that runs without latentmpc."""

from dataclasses import asdict
from typing import Any

from agents.deployment.bundle.config import ExportConfig
from agents.runs.config import ConfigError
from scripts.checks import check_planner
from scripts.verb import Output, Verb


def check(config: ExportConfig) -> None:
    """Raise ConfigError without a place to write to."""
    check_planner(config.path, config.planner)
    if not config.out:
        raise ConfigError(f"where to? give a new folder: latentmpc export {config.path} --out NEW")


def call(config: ExportConfig, output: Output):
    """Files of the bundle."""
    from agents.deployment.bundle.export import export_path

    return asdict(export_path(config))


def show(config: ExportConfig, exported: dict[str, Any]) -> list[str]:
    """Files with their sizes, and the digest last."""
    return [
        *(f"{size:12,}  {name}" for name, size in exported["files"].items()),
        f"programs for {' and '.join(exported['platforms'])}, until {exported['expires']}",
        f"digest {exported['digest']}",
    ]


VERB = Verb(
    "export",
    ExportConfig,
    call,
    missing="which run? give a run directory or a checkpoint: latentmpc export runs/ID --out NEW",
    folder="a run directory or a checkpoint",
    check=check,
    trust=True,
    show=show,
    positional="path",
    metavar="RUN_OR_CHECKPOINT",
    about="""Write a run or checkpoint as a bundle: programs, parameters, contract, runner,
    manifest. Planner settings given here are built into the bundle. The digest it prints is what
    lets others run the bundle's programs (--digest): hand it over by another way than the
    bundle.""",
    example="latentmpc export runs/walker --out bundles/walker",
    common="""out calibration_episodes action_low action_high action_rate action_safe
    planner.horizon planner.num_samples planner.num_iterations""",
)
