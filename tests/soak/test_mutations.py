"""Random damage of checkpoints and bundles is found before use."""

import numpy as np
import pytest

from tests.soak import mutations
from tests.soak.mutations import KINDS, Mutation


@pytest.mark.timeout(120)
def test_all_random_mutations_are_found():
    result = mutations.soak(120, seed=0)
    assert result["violations"] == []
    assert result["mutations"] == result["refused before use, file named"] == 240
    assert set(result["by kind"]) == set(KINDS)


def test_a_mutation_changes_its_files_and_takes_them_back(tmp_path):
    rng = np.random.default_rng(0)
    content = {"a": b"one", "b": b"two", "empty": b"", "zeros": b"\0\0"}
    for name, data in content.items():
        (tmp_path / name).write_bytes(data)

    def now():
        return {f.name: f.read_bytes() for f in tmp_path.iterdir()}

    for _ in range(200):
        with mutations.mutated(rng, tmp_path) as mutation:
            changed = {n for n in now() | content if now().get(n) != content.get(n)}
            assert changed == set(mutation.names)
        assert now() == content


@pytest.mark.parametrize(
    ("error", "found"),
    [
        (None, "was used"),
        (ValueError("a.bin"), "unexpected ValueError"),
        (mutations.CheckpointError("a.bin is\nbad"), "not one line"),
        (mutations.CheckpointError("bad"), "names no file"),
        (mutations.CheckpointError("a.bin: bad"), ""),
    ],
)
def test_only_a_refusal_that_names_the_file_counts(tmp_path, error, found):
    def use(path):
        if error:
            raise error

    problem = mutations.unfound(use, tmp_path, Mutation("flip", ("a.bin",)))
    assert problem.startswith(found) and bool(problem) == bool(found)
