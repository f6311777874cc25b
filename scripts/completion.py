"""`latentmpc completion SHELL`: what a shell needs to complete verbs, flags and recipes."""

from dataclasses import dataclass
from importlib import import_module
from typing import Literal

from agents.runs.settings import flat_types
from scripts.recipes.read import names
from scripts.verb import Output, Verb, flags_class

SCRIPT = """{first}_latentmpc() {{
  local word=${{COMP_WORDS[COMP_CWORD]}} words=
  if [ "$COMP_CWORD" = 1 ]; then words="{verbs}"
  elif [ "${{COMP_WORDS[COMP_CWORD-1]}}" = --recipe ]; then words="{recipes}"
  else case ${{COMP_WORDS[1]}} in
{cases}
  esac; fi
  COMPREPLY=($(compgen -W "$words" -- "$word"))
}}
complete -o default -F _latentmpc latentmpc"""
FIRST = {"bash": "", "zsh": "autoload -U +X bashcompinit && bashcompinit\n"}


@dataclass(frozen=True)
class CompletionConfig:
    """For which shell."""

    shell: Literal["bash", "zsh", ""] = ""
    """bash or zsh."""


def call(config: CompletionConfig, output: Output) -> str:
    """The script."""
    from scripts.cli import VERBS

    flags = {verb: _flags(import_module(module).VERB) for verb, (module, _) in VERBS.items()}
    recipes = " ".join(names())
    flags["recipe"] += f" run show {recipes}"
    cases = "\n".join(f'    {verb}) words="{words}" ;;' for verb, words in flags.items())
    return SCRIPT.format(
        first=FIRST[config.shell], verbs=" ".join(VERBS), recipes=recipes, cases=cases
    )


def _flags(verb: Verb) -> str:
    names = [n for n in flat_types(flags_class(verb)) if n not in verb.positional.split()]
    return " ".join(["--help", "--help-all", *(f"--{n.replace('_', '-')}" for n in names)])


VERB = Verb(
    "completion",
    CompletionConfig,
    call,
    missing="which shell? source <(latentmpc completion bash), or zsh",
    show=lambda config, script: [script],
    positional="shell",
    metavar="SHELL",
    about="""Print what a shell needs to complete verbs, flags, recipes and file names: add the line
    below to ~/.bashrc or ~/.zshrc (with zsh in place of bash).""",
    example="source <(latentmpc completion bash)",
    computes=False,
)
