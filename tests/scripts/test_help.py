"""Help of every verb: short, quick, of settings that exist, with an example that is accepted."""

import contextlib
import io
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import scripts
from agents.runs.settings import flat_types
from scripts import bench, cli
from scripts import eval as eval_verb
from scripts.cli import verb_of
from scripts.command import parse
from scripts.help import docs, short
from scripts.verb import flags_class

VERBS = [verb_of([name])[0] for name in cli.VERBS] + [eval_verb.GOALS, bench.SHIFT]
ROOT = Path(scripts.__file__).parents[1]
LINES, COLUMNS = 40, 100
SECONDS = 2.0  # half a second on a quiet machine; this holds where others share the core
TIMED = """
import contextlib, io, time
from scripts.cli import VERBS, main
for verb in ("", *VERBS):
    began = time.process_time()
    with contextlib.redirect_stdout(io.StringIO()):
        main([verb, "--help"] if verb else ["--help"])
    print(verb or "latentmpc", time.process_time() - began)
"""


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: f"{verb.name}-{verb.config.__name__}")
def test_help_is_short_and_of_settings_that_exist(verb, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    lines = short(verb).splitlines()
    assert len(lines) <= LINES and max(map(len, lines)) <= COLUMNS
    names = verb.common.split()
    assert set(names) <= flat_types(flags_class(verb)).keys() and len(names) <= 13
    assert all(f"--{name.replace('_', '-')}" in short(verb) for name in names)
    assert f"latentmpc {verb.name} --help-all" in lines[-1]


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: f"{verb.name}-{verb.config.__name__}")
def test_the_example_is_accepted(verb):
    words = shlex.split(re.sub(r"^source <\((.*)\)$", r"\1", verb.example))
    assert words.pop(0) == "latentmpc"
    chosen, argv = verb_of(words)
    assert chosen.name == verb.name
    settings, _ = parse(chosen, argv)
    assert isinstance(settings, chosen.config)


def test_the_texts_are_those_of_the_dataclasses():
    text = docs(eval_verb.VERB.config)["episodes"]
    everything = io.StringIO()
    with contextlib.redirect_stdout(everything), pytest.raises(SystemExit):
        parse(eval_verb.VERB, ["--help-all"])
    assert text in short(eval_verb.VERB) and "Episodes, one a simulator" in everything.getvalue()
    assert "Steps the plan looks ahead" in short(eval_verb.VERB), "of the settings it overrides"


def test_help_is_quick():
    """Of all verbs in one process, so that each loads at least what it alone needs; no jax."""
    code = TIMED + "import sys; sys.exit('jax' in sys.modules or 'numpy' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    seconds = {line.split()[0]: float(line.split()[1]) for line in run.stdout.splitlines()}
    assert seconds.keys() == {"latentmpc", *cli.VERBS}
    assert max(seconds.values()) < SECONDS, seconds


def test_verbs_are_listed_by_job(capsys):
    cli.main(["--help"])
    out = capsys.readouterr().out
    assert re.findall(r"^(\w+):$", out, re.MULTILINE) == [*cli.GROUPS]
    assert out.count("\n") <= LINES


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("tr", "train"),
        ("train --planner.hor", "--planner.horizon"),
        ("eval --recipe push-t-p", "push-t-pixels"),
    ],
)
def test_bash_completes_verbs_flags_and_recipes(line, expected, capsys):
    assert cli.main(["completion", "bash"]) == 0
    words = ["latentmpc", *line.split()]
    script = capsys.readouterr().out + (
        f"COMP_WORDS=({' '.join(words)}); COMP_CWORD={len(words) - 1}; _latentmpc\n"
        'printf "%s\\n" "${COMPREPLY[@]}"\n'
    )
    run = subprocess.run(["bash"], input=script, capture_output=True, text=True, check=True)
    assert run.stdout.split() == [expected]
