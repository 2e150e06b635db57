"""A short run of the fuzzer of outside bytes, and what it once found (``tests/fuzz``)."""

import random
from pathlib import Path

import pytest

from tests.fuzz.node_inputs import targets

CORPUS = Path(__file__).parents[1] / "data" / "fuzz"
NAMES = sorted(targets())


@pytest.mark.parametrize("name", NAMES)
def test_good_inputs_are_read(name: str) -> None:
    target = targets()[name]
    assert target.seeds
    for good in target.seeds:
        # Of two blocks that do not contradict each other; signed by nobody whose key is here.
        if name in ("evidence", "history-record"):
            target.run(good)
        else:
            target.read(good)


@pytest.mark.parametrize("name", NAMES)
def test_changed_inputs_give_a_value_or_the_readers_own_error(name: str) -> None:
    target, pick = targets()[name], random.Random(name)
    for _ in range(40):
        target.run(target.damaged(pick))


@pytest.mark.parametrize(
    "path", sorted(CORPUS.glob("*/*")), ids=lambda p: f"{p.parent.name}-{p.name}"
)
def test_the_corpus(path: Path) -> None:
    targets()[path.parent.name].run(path.read_bytes())


def test_the_corpus_is_of_targets_that_exist() -> None:
    assert {path.name for path in CORPUS.iterdir()} <= set(NAMES)
