"""Where histories part, who shows which, and what is made of it: a table of cases.

Each is run with the liar coming last, and with the liar there first, so that the other history is
the one that was verified here.
"""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from light_node import cli
from light_node.chain import follower, fork_evidence, history_record, quarantine, trust
from light_node.chain.status import PeerState
from light_node.chain.store import HeaderStore
from light_node.chain.sync import ChainSync
from light_node.clock import SystemClock

from .conftest import Organisation
from .test_fork_evidence import Node, spoiled

CHANGED = 4
"""The block that changes the configuration in the honest history, which has ``HEIGHT`` blocks."""
HEIGHT = 10
HONEST = ("Org1MSP", "Org2MSP")
LIAR = "Org3MSP"
Chain = Callable[[Any], Any]


@pytest.fixture(autouse=True)
def _quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follower, "FIRST_RETRY_S", 0.01)
    monkeypatch.setattr(follower, "LAST_RETRY_S", 0.05)


@pytest.fixture
def honest(channel: Any) -> Any:
    channel.extend(CHANGED - 1)
    channel.add_config()
    return channel.extend(HEIGHT - CHANGED - 1)


def leaving(at: int, height: int = HEIGHT, story: str = "another", **first: Any) -> Chain:
    """A history that leaves the honest one with block ``at``; ``first`` is that block's."""

    def make(honest: Any) -> Any:
        other = honest.fork(at)
        other.add([other.envelope(f"{story} {at}")], **first)
        while other.height < height:
            other.add([other.envelope(f"{story} {other.height}")])
        return other

    return make


def reconfigured(at: int, *, rotated: bool = False, height: int = HEIGHT) -> Chain:
    """A history that leaves with a configuration block, if ``rotated`` of orderers' new keys."""

    def make(honest: Any) -> Any:
        other = honest.fork(at)
        other.batch += 1
        other.sequence += 1
        before = after = other.consenters
        if rotated:  # the signatures of the configuration block itself are the old ones'
            other.orderers = [Organisation(o.msp_id) for o in other.orderers]
            after = [o.identity("orderer") for o in other.orderers]
        number, other.consenters = other.height, after
        envelope, other.consenters = other.config_envelope(), before
        other.add([envelope], last_config=number)
        other.config_number, other.consenters = number, after
        while other.height < height:
            other.add([other.envelope(f"reconfigured {other.height}")])
        return other

    return make


def unsigned(at: int, signed: int, height: int = HEIGHT, *, change: int = 0) -> Chain:
    """A history that leaves with block ``at`` and is signed by nobody, but for block ``signed``.

    Block ``change`` is a configuration block.
    """

    def make(honest: Any) -> Any:
        other = honest.fork(at)
        while other.height < height:
            number = other.height
            signers = None if number == signed else ()
            if number == change:
                other.batch += 1
                other.add_config(signers=signers)
            else:
                other.add([other.envelope(f"unsigned {number}")], signers=signers)
        return other

    return make


def spoilt(at: int) -> Chain:
    """A history that leaves with block ``at``, whose signatures are wrong; the others' are good."""

    def make(honest: Any) -> Any:
        other = leaving(at)(honest)
        other.raw[at] = spoiled(other.raw[at])
        return other

    return make


def resigned(honest: Any) -> Any:
    """The honest history with the signatures of another quorum, or of another orderer."""
    other = honest.fork(HEIGHT)
    signers = range(1, 4) if honest.bft else [1]
    other.raw = other.raw[:CHANGED]
    other.config_number, other.sequence = 0, 0
    for number in range(CHANGED, HEIGHT):
        if number == CHANGED:
            other.sequence, other.config_number = 1, CHANGED
            envelopes = honest.parsed(CHANGED).envelopes
            other.add(envelopes, last_config=CHANGED, signers=signers)
        else:
            other.add(signers=signers)
    return other


@dataclass(frozen=True)
class Row:
    """``theirs`` leaves the honest history with block ``parts_at``.

    The first signed block from there on is ``signed_at``.
    """

    theirs: Chain
    parts_at: int
    signed_at: int = 0


FORKS = {
    "at the first header after the root": Row(leaving(1), 1),
    "before a configuration block": Row(leaving(CHANGED - 1), CHANGED - 1),
    "an ordinary block in place of a configuration block": Row(leaving(CHANGED), CHANGED),
    "another configuration block in its place": Row(reconfigured(CHANGED), CHANGED),
    "a configuration of other keys in its place": Row(reconfigured(CHANGED, rotated=True), CHANGED),
    "right behind a configuration block": Row(leaving(CHANGED + 1), CHANGED + 1),
    "a configuration block in place of an ordinary one": Row(reconfigured(6), 6),
    "a configuration of other keys in place of one": Row(reconfigured(6, rotated=True), 6),
    "other keys, longer": Row(reconfigured(CHANGED, rotated=True, height=HEIGHT + 3), CHANGED),
    "in the middle": Row(leaving(7), 7),
    "shorter": Row(leaving(7, 8), 7),
    "longer": Row(leaving(7, HEIGHT + 5), 7),
    "shorter by all but one": Row(leaving(7, HEIGHT - 1), 7),
    "at the tip": Row(leaving(HEIGHT - 1), HEIGHT - 1),
}


UNSIGNED_FIRST = {
    "one unsigned block": Row(leaving(7, signers=()), 7, 8),
    "wrong signatures": Row(spoilt(7), 7, 8),
    "unsigned but for the tip": Row(unsigned(5, HEIGHT - 1), 5, HEIGHT - 1),
    "unsigned but for one beyond our tip": Row(unsigned(7, HEIGHT + 2, HEIGHT + 3), 7, HEIGHT + 2),
    "at the first header after the root": Row(unsigned(1, 6), 1, 6),
    "unsigned tips around the signed one": Row(unsigned(6, 8), 6, 8),
    "a signed configuration block behind it": Row(unsigned(6, 8, change=8), 6, 8),
    "an unsigned configuration block first": Row(unsigned(6, 7, change=6), 6, 7),
    "in place of a configuration block": Row(unsigned(CHANGED, HEIGHT - 1), CHANGED, HEIGHT - 1),
    "shorter": Row(unsigned(6, 7, 8), 6, 7),
}


def follow(
    channel: Any, folder: Path, running: list[Any], early: Sequence[Any], late: Sequence[Any]
) -> Node:
    """Follow the early ones until they agree (or one is verified), then let the others come."""
    reporter = channel.peers[0].identity("household", "client")
    node = Node(folder, channel, [*early, *late], reporter)
    running.append(node)
    height = len(early[0].blocks)
    node.wait(lambda s: s.verified_height == height)
    if len(early) > 1:
        node.wait(lambda s: s.agreed_height == height)
    for source in late:
        source.come_up()
    return node


def wait_until(condition: Callable[[], bool]) -> bool:
    """Wait for what no status tells of, for 20 s at most."""
    for _ in range(2000):
        if condition():
            return True
        time.sleep(0.01)
    return False


@pytest.mark.parametrize("first", ["the honest first", "the liar first"])
@pytest.mark.parametrize("row", FORKS.values(), ids=FORKS)
def test_two_histories(
    honest: Any, make_source: Any, tmp_path: Path, running: list[Any], row: Row, first: str,
    capsys: Any,
) -> None:  # fmt: skip
    """Everything stops at the first block that differs; the file proves who signed both."""
    other = row.theirs(honest)
    liar_first = first == "the liar first"
    good = [make_source(o, honest.raw, down=liar_first) for o in HONEST]
    liar = make_source(LIAR, other.raw, down=not liar_first)
    early, late = ([liar], good) if liar_first else (good, [liar])
    node = follow(honest, tmp_path / "node", running, early, late)
    status = node.wait(lambda s: s.evidence is not None)
    assert status.fork is not None
    assert status.fork.number == row.parts_at
    ours, theirs = (other, honest) if liar_first else (honest, other)
    assert status.fork.ours == ours.parsed(row.parts_at).hash
    assert status.fork.theirs == theirs.parsed(row.parts_at).hash
    assert not status.running
    # Two organisations show the honest one: the third is shut out, whichever came first.
    assert [o for o in quarantine.load(node.directory) if o.startswith("Org")] == [LIAR]
    (kept,) = node.kept
    proven = fork_evidence.check(fork_evidence.loads(kept.read_bytes()), honest.root)
    assert proven.number == row.parts_at
    assert not proven.same_header
    quorum = 3 if honest.bft else 1
    assert len(proven.double_signers) == quorum
    capsys.readouterr()
    assert cli.main(["evidence", "check", str(kept)]) == 0
    said = capsys.readouterr().out
    assert f"part at block {row.parts_at}" in said
    assert all(name in said for name in proven.double_signers)


def test_the_same_headers_signed_by_others_are_one_history(
    honest: Any, make_source: Any, tmp_path: Path, running: list[Any]
) -> None:
    """Nodes hold different quorums of one block (2.3)."""
    other = resigned(honest)
    assert other.parsed(HEIGHT - 1).hash == honest.parsed(HEIGHT - 1).hash
    assert other.raw[HEIGHT - 1] != honest.raw[HEIGHT - 1]
    good = [make_source(o, honest.raw) for o in HONEST]
    node = follow(honest, tmp_path / "node", running, good,
                  [make_source(LIAR, other.raw, down=True)])  # fmt: skip
    status = node.wait(lambda s: all(p.agrees for p in s.peers))
    assert (status.fork, status.evidence) == (None, None)


@pytest.mark.parametrize("row", UNSIGNED_FIRST.values(), ids=UNSIGNED_FIRST)
def test_a_signed_block_stands_for_the_unsigned_ones_before_it(
    honest: Any, make_source: Any, tmp_path: Path, running: list[Any], row: Row, capsys: Any
) -> None:
    """The first block proves nothing by itself; a later one that rests on it proves the fork."""
    other = row.theirs(honest)
    good = [make_source(o, honest.raw) for o in HONEST]
    node = follow(honest, tmp_path / "node", running, good,
                  [make_source(LIAR, other.raw, down=True)])  # fmt: skip
    status = node.wait(lambda s: s.evidence is not None)
    assert status.fork is not None
    assert (status.fork.number, status.running) == (row.parts_at, False)
    assert [o for o in quarantine.load(node.directory) if o.startswith("Org")] == [LIAR]
    (kept,) = node.kept
    found = fork_evidence.loads(kept.read_bytes())
    proven = fork_evidence.check(found, honest.root)
    assert (proven.number, proven.ours.number) == (row.parts_at, row.parts_at)
    assert proven.theirs.number == row.signed_at
    assert proven.ours_hash == honest.parsed(row.parts_at).hash
    assert proven.theirs_hash == other.parsed(row.parts_at).hash
    assert len(proven.double_signers) == (3 if honest.bft else 1)
    assert proven.only_showed(found.witnesses or ()) == (LIAR,)
    (tmp_path / "root.block").write_bytes(honest.raw[0])
    capsys.readouterr()
    trusting = ["--trust", str(tmp_path / "root.block")]
    assert cli.main(["evidence", "check", str(kept), *trusting]) == 0
    said = capsys.readouterr().out
    assert f"part at block {row.parts_at}" in said
    assert f"unsigned; block {row.signed_at}, which rests on it, is signed by" in said
    assert f"Only showed the other one, by the reporter's word: {LIAR}" in said


BULK = {
    "one unsigned block": Row(leaving(7, signers=()), 7, 8),
    "unsigned but for the tip": Row(unsigned(5, HEIGHT - 1), 5, HEIGHT - 1),
    "right behind the root": Row(unsigned(1, HEIGHT - 1), 1, HEIGHT - 1),
}


@pytest.mark.parametrize("row", BULK.values(), ids=BULK)
@pytest.mark.parametrize("shown", ["shown", "shown no more"])
def test_the_unsigned_history_came_first_and_in_bulk(
    honest: Any, make_source: Any, tmp_path: Path, running: list[Any],
    monkeypatch: pytest.MonkeyPatch, row: Row, shown: str,
) -> None:  # fmt: skip
    """Only the last signatures of a batch were checked: here ours is the one that needs a chain."""
    monkeypatch.setattr(follower, "NEAR", 1)
    other = row.theirs(honest)
    liar = make_source(LIAR, other.raw)
    good = [make_source(o, honest.raw, down=True) for o in HONEST]
    node = Node(tmp_path / "node", honest, [liar, *good])
    running.append(node)
    node.wait(lambda s: s.verified_height == HEIGHT)
    if shown == "shown no more":  # then what was remembered of it has to do
        liar.go_down()
    for source in good:
        source.come_up()
    status = node.wait(lambda s: s.evidence is not None)
    assert status.fork is not None
    assert status.fork.number == row.parts_at
    (kept,) = node.kept
    proven = fork_evidence.check(fork_evidence.loads(kept.read_bytes()), honest.root)
    assert (proven.ours.number, proven.theirs.number) == (row.signed_at, row.parts_at)
    assert proven.ours_hash == other.parsed(row.parts_at).hash
    assert proven.both
    if shown == "shown":
        cases = quarantine.load(node.directory)
        assert [o for o in cases if o.startswith("Org")] == [LIAR]


@pytest.mark.parametrize("at", [1, 7, HEIGHT - 1])
def test_another_history_nobody_signed_is_no_fork_but_a_record(
    honest: Any, make_source: Any, tmp_path: Path, running: list[Any], at: int, capsys: Any
) -> None:
    """Nobody stops; what is kept is the user's word, and is called that."""
    other = unsigned(at, 0)(honest)
    good = [make_source(o, honest.raw) for o in HONEST]
    node = follow(honest, tmp_path / "node", running, good,
                  [make_source(LIAR, other.raw, down=True)])  # fmt: skip
    node.wait(lambda s: s.peers[2].state is PeerState.DISAGREES)
    folder = node.directory / history_record.FOLDER
    assert wait_until(lambda: any(folder.glob("*.json")))
    status = node.sync.status()
    assert (status.fork, status.evidence, status.running) == (None, None, True)
    assert quarantine.load(node.directory) == {}
    assert node.kept == []
    (kept,) = folder.glob("*.json")
    record = history_record.loads(kept.read_bytes())
    told = history_record.check(record, honest.root)
    assert (told.number, told.theirs) == (at, other.parsed(at).hash)
    assert (record.organization, record.last) == (LIAR, HEIGHT - 1)
    assert told.reporter == "Org1MSP (household)"
    capsys.readouterr()
    assert cli.main(["evidence", "check", str(kept)]) == 1
    assert "rests on the word of who signed it, Org1MSP (household)" in capsys.readouterr().out
    assert cli.main(["evidence", "check", str(kept), "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["proved"] is False
    assert cli.main(["evidence", "list", "--dir", str(node.directory)]) == 0
    assert f"record    {kept}" in capsys.readouterr().out


def test_histories_that_part_before_the_trust_root_cannot_be_told_to_be_of_one_channel(
    honest: Any, make_source: Any, tmp_path: Path, running: list[Any]
) -> None:
    """Nothing both share is known here; the other one is disbelieved and stops nobody."""
    other = leaving(2, CHANGED)(honest)
    other.sequence = 0
    other.add_config()
    other.extend(HEIGHT - CHANGED - 1)
    root = trust.load(honest.raw[CHANGED])
    store = HeaderStore(tmp_path / "node", root)
    good = [make_source(o, honest.raw) for o in HONEST]
    liar = make_source(LIAR, other.raw)
    following = ChainSync(root, store, [*good, liar], SystemClock(), tmp_path / "node")
    running.append(following)
    following.start()
    try:
        assert following.wait(lambda s: s.peers[2].state is PeerState.DISAGREES, 20)
        assert following.wait_height(HEIGHT, 20, agreed=True)
        status = following.status()
        assert (status.fork, status.evidence) == (None, None)
        assert quarantine.load(tmp_path / "node") == {}
    finally:
        following.stop()
        store.close()


# -- more than two histories ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("second", "third"),
    [
        pytest.param(leaving(7), leaving(7, story="a third"), id="three-way"),
        pytest.param(leaving(5), leaving(7), id="two forks"),
        pytest.param(leaving(7), leaving(HEIGHT - 1, HEIGHT + 1), id="two forks, one longer"),
    ],
)
def test_three_histories_leave_no_majority(
    honest: Any, make_source: Any, tmp_path: Path, running: list[Any], second: Chain, third: Chain
) -> None:
    """Whoever shows the second one is shut out: nothing is agreed on, whichever is right."""
    chains = {"Org2MSP": second(honest), "Org3MSP": third(honest)}
    others = [make_source(name, chain.raw, down=True) for name, chain in chains.items()]
    node = follow(honest, tmp_path / "node", running, [make_source("Org1MSP", honest.raw)], others)
    status = node.wait(lambda s: s.evidence is not None)
    assert status.fork is not None
    shown_by = status.fork.organization
    assert [o for o in quarantine.load(node.directory) if o.startswith("Org")] == [shown_by]
    (kept,) = node.kept
    found = fork_evidence.loads(kept.read_bytes())
    proven = fork_evidence.check(found, honest.root)
    assert proven.theirs.hash == chains[shown_by].parsed(proven.number).hash
    assert {w.organization: w.shows for w in found.witnesses or ()} | {
        "Org1MSP": "ours", shown_by: "theirs"
    } == {w.organization: w.shows for w in found.witnesses or ()}  # fmt: skip
    assert (status.agreed_height or 0) <= proven.number


def test_two_against_one_that_came_first(
    honest: Any, make_source: Any, tmp_path: Path, running: list[Any]
) -> None:
    """The majority of organisations that bear witness decides who is shut out, not the order."""
    other = leaving(6)(honest)
    late = [make_source(o, other.raw, down=True) for o in ("Org2MSP", "Org3MSP")]
    node = follow(honest, tmp_path / "node", running, [make_source("Org1MSP", honest.raw)], late)
    node.wait(lambda s: s.evidence is not None)
    assert [o for o in quarantine.load(node.directory) if o.startswith("Org")] == ["Org1MSP"]


def test_what_a_source_showed_as_its_newest_is_held_against_what_it_shows_later(
    honest: Any, make_source: Any, tmp_path: Path, running: list[Any]
) -> None:
    """Nothing was known here yet when it showed the other version."""
    other = leaving(HEIGHT - 1)(honest)
    two_faced = make_source(LIAR, honest.raw)
    two_faced.newest = lambda: other.raw[-1]
    late = [make_source(o, honest.raw, down=True) for o in HONEST]
    node = Node(tmp_path / "node", honest, [two_faced, *late])
    running.append(node)
    status = node.wait(lambda s: s.evidence is not None)
    assert status.fork is not None
    assert (status.fork.number, status.fork.organization) == (HEIGHT - 1, LIAR)
    assert LIAR in quarantine.load(node.directory)


def test_orderers_that_signed_both_are_shut_out_and_do_not_count(
    bft_channel: Any, make_source: Any, tmp_path: Path, running: list[Any]
) -> None:
    """A quorum of colluding orderers outnumbers the honest peers, and must not outvote them."""
    bft_channel.extend(HEIGHT - 1)
    other = leaving(7)(bft_channel)
    good = [make_source(o, bft_channel.raw) for o in HONEST]
    signers = [o.msp_id for o in bft_channel.orderers[:3]]
    liars = [make_source(o, other.raw, down=True, kind="orderer") for o in signers]
    node = follow(bft_channel, tmp_path / "node", running, good, liars)
    status = node.wait(lambda s: s.evidence is not None)
    cases = quarantine.load(node.directory)
    assert sorted(cases) == sorted(signers)
    assert "signed two versions of block 7" in str(cases[signers[0]])
    assert all(
        (p.state is PeerState.DISAGREES) == (p.organization in signers) for p in status.peers
    )
