"""The scripts in examples/ are what the documents say of them."""

import ast
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
RUN = Path(__file__).parent / "specimens/v0_1_0/run"


def test_episodes_are_those_of_the_run(monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLES))
    from episodes import episodes  # pyright: ignore[reportMissingImports]

    seen = episodes(str(RUN), "cartpole-swingup", count=2)
    simulators, fallen = next(seen)
    assert simulators.data.qpos.shape == (2, 2) and not fallen.any()
    before = simulators.data.time.copy()
    next(seen)
    assert (simulators.data.time > before).all()
    seen.close()
    sys.modules.pop("episodes")


@pytest.mark.parametrize("name", ["so101_reach", "go1_walk"])
def test_a_task_is_as_new_writes_it(name):
    """Short, with its robot in a package of others, and measured only where it is the program."""
    text = (EXAMPLES / f"{name}.py").read_text()
    task = text.partition("if __name__")[0]
    assert len(task.splitlines()) <= 60
    assert text.startswith('"""') and "Written by `latentmpc new`" in text
    (model_file,) = (
        ast.literal_eval(node.value)
        for node in ast.walk(ast.parse(task))
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "model_file"
    )
    package, _, inside = model_file.partition(":")
    assert package.isidentifier() and inside.endswith(".xml")
