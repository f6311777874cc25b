"""Thousands of command lines, grids and TOML files, most of them wrong, against the real parsers.

`python -m tests.soak configs`. Each one has to come to settings (exit code 0) or to one line that
names what was given or a setting (exit code 2), in less than a second of processor time, and
without jax. Runs nothing: what is accepted would begin.
"""

import json
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, get_args

from agents.runs.axes import ALLOWED, REFUSED
from agents.runs.bounds import parts
from agents.runs.config import TrainConfig, preset_config
from agents.runs.settings import flat_types
from planning.config import Method, PlannerConfig
from scripts import bench, sweep, train
from scripts import eval as eval_verb
from scripts.command import settings_of
from scripts.verb import flags_class
from wm.tdmpc.config import ModelConfig

LIMIT_S = 1.0
HOSTILE = (
    *("", "-", "--", "=", ",", "nan", "-inf", "1e400", "-1", "0", "1e-9", "2147483648", "9" * 40),
    *("9" * 5000, "true", "None", "[]", "{}", "'", '"', "a b", "\u00b2", "\U0001f916", "\x1b[2J"),
    *("fixed:-1", "fixed:20", "measured", "ray", "quick", "../..", "planner.horizon=1", "0x10"),
)
VERBS = {v.name: v for v in (sweep.VERB, bench.VERB, train.VERB, eval_verb.VERB)}
SHARES = {"sweep": 5, "bench": 2, "train": 2, "eval": 1}
NOT_GIVEN = (
    "path",
    "config",
    "recipe",
    "json",
    "runs",
    "out",
    "run_dir",
    "grid",
    "env_id",
    "tasks",
)
"""Flags that say where things are, or what the rest is about: given apart, or not at all."""


def soak(count: int, seed: int = 0, path: str = "") -> dict[str, Any]:
    """Try `count` command lines; how many were accepted and refused, and what went wrong.

    `path` is not used. Raises RuntimeError where jax is loaded already, as nothing could be
    shown then.
    """
    del path
    if "jax" in sys.modules:
        raise RuntimeError("jax is loaded already: run this in a process of its own")
    rng, counts, violations, slowest = random.Random(seed), Counter[str](), [], 0.0
    with tempfile.TemporaryDirectory() as folder:
        runs = _runs(Path(folder))
        for _ in range(count):
            verb, argv, words = _command(rng, runs, Path(folder, "settings.toml"))
            began = time.process_time()
            code, said = _tried(verb, argv)
            took = time.process_time() - began
            slowest = max(slowest, took)
            counts[f"exit_{code}"] += 1
            if wrong := _wrong(code, said, words, took):
                violations.append(f"{wrong}: {verb} {' '.join(argv)[:300]!r}: {said[:300]}")
    return {**dict(sorted(counts.items())), "slowest_s": slowest, "violations": violations}


def _wrong(code: int, said: str, words: Sequence[str], took: float) -> str:
    """The rule that a command line broke; "" for none."""
    if code not in (0, 2):
        return f"exit {code}"
    if "jax" in sys.modules:
        return "jax was loaded"
    if took > LIMIT_S:
        return f"took {took:.1f} s"
    spelled = said.replace("-", "_")
    if code == 2 and not any(word.replace("-", "_") in spelled for word in words):
        return "names no key"
    return "" if "\n" not in said else "more than a line"


def _tried(verb: str, argv: Sequence[str]) -> tuple[int, str]:
    """Exit code and message of a command line, as scripts/cli.py gives them."""
    try:
        settings_of(VERBS[verb], argv)
    except SystemExit:
        return 0, ""
    except Exception as error:
        code = getattr(error, "exit_code", 1)
        return code, " ".join(str(error).split()) if code != 1 else repr(error)
    return 0, ""


def _runs(folder: Path) -> list[str]:
    """Run directories as far as command lines look into them."""
    sigreg = TrainConfig(model=ModelConfig(regularizer="sigreg"))
    customary = [
        TrainConfig(planner=PlannerConfig.customary(method)) for method in get_args(Method)
    ]
    made = []
    for i, config in enumerate([*customary, sigreg, preset_config("5M")]):
        run = folder / f"run{i}"
        run.mkdir()
        stored = {**asdict(config), "env": {"control_dt": 0.01, "action_repeat": 2}}
        (run / "config.json").write_text(json.dumps(stored))
        made.append(str(run))
    return made


def _command(
    rng: random.Random, runs: Sequence[str], file: Path
) -> tuple[str, list[str], list[str]]:
    """A verb, its command line, and the words of which an error has to hold one."""
    (verb,) = rng.choices([*SHARES], [*SHARES.values()])
    types = {k: v for k, v in flat_types(flags_class(VERBS[verb])).items() if k not in NOT_GIVEN}
    argv = {"sweep": [rng.choice(runs)], "eval": [rng.choice(runs)]}.get(verb, ["cartpole-swingup"])
    words = [
        *(name.removeprefix("train.") for name in types),
        "grid",
        "flag",
        "key",
        "argument",
        "agent",
    ]
    given = {name: _value(rng, types.get(name, str)) for name in _names(rng, [*types], 3)}
    words += given
    if rng.random() < 0.3:
        file.write_text(_toml(given, rng), encoding="utf-8")
        argv += ["--config", str(file)]
        words.append("not valid TOML")
    else:
        argv += [token for name, text in given.items() for token in _flag(rng, types, name, text)]
    if verb == "sweep":
        grid = [_axis(rng) for _ in range(rng.choice((1, 1, 1, 2, 2, 3, 4)))]
        argv += ["--grid", *grid] if rng.random() < 0.95 else ["--grid"]
        words += [*REFUSED, *ALLOWED]
    if verb == "train" and rng.random() < 0.2:
        argv.append(f"--vary={_axis(rng)}")
        words += [*REFUSED, *ALLOWED, "members"]
    return verb, argv, words


def _names(rng: random.Random, known: Sequence[str], most: int) -> list[str]:
    """Some settings; now and then one that does not exist."""
    names = rng.sample(known, rng.randint(0, most))
    return [_misspelled(rng, name) if rng.random() < 0.05 else name for name in names]


def _misspelled(rng: random.Random, name: str) -> str:
    at = rng.randrange(len(name))
    return name[:at] + rng.choice(("", "x", ".", name[at] * 2)) + name[at + 1 :]


def _flag(rng: random.Random, types: Mapping[str, Any], name: str, text: str) -> list[str]:
    flag = "--" + (name.replace("_", "-") if rng.random() < 0.8 else name)
    if types.get(name) is bool and rng.random() < 0.9:
        return [flag if rng.random() < 0.5 else _negated(flag)]
    return [f"{flag}={text}"] if rng.random() < 0.5 else [flag, text]


def _negated(flag: str) -> str:
    block, dot, last = flag.removeprefix("--").rpartition(".")
    return f"--{block}{dot}no-{last}"


def _value(rng: random.Random, kind: Any) -> str:
    """A value that may be meant, or one that cannot."""
    if rng.random() < 0.2:
        return rng.choice(HOSTILE)
    plain, _ = parts(kind)
    if choices := [str(c) for c in get_args(plain)]:
        return rng.choice(choices)
    if plain is int:
        return str(rng.choice((1, 2, 3, 4, 8, 16, 64, 128, 512, rng.randint(-2, 10**9))))
    if plain is float:
        return repr(rng.choice((0.5, 1.0, rng.uniform(0, 2), rng.lognormvariate(0, 9))))
    return rng.choice(("true", "false") if plain is bool else HOSTILE)


def _axis(rng: random.Random) -> str:
    """A token of a grid."""
    if rng.random() < 0.04:
        return rng.choice(HOSTILE)
    (name,) = _names(rng, ALLOWED, 1) or ["planner.horizon"]
    count = rng.choice((1, 1, 2, 3, 5, 60)) if rng.random() < 0.9 else 0
    kind = flat_types(TrainConfig).get(name, str)
    return f"{name}={','.join(_value(rng, kind) for _ in range(count))}"


def _toml(given: Mapping[str, str], rng: random.Random) -> str:
    """A file with the settings, some as text where they are numbers; one in ten is torn."""
    lines = []
    for name, text in sorted(given.items(), key=lambda item: "." in item[0]):
        block, _, key = name.rpartition(".")
        plain = text if rng.random() < 0.9 and text.strip(".-+e0123456789") == "" else None
        value = text if text in ("true", "false") else plain or json.dumps(text)
        lines += [f"[{block}]"] * bool(block) + [f"{key} = {value}"]
    whole = "\n".join(lines)
    return whole if rng.random() < 0.9 else whole[: rng.randint(0, len(whole))]
