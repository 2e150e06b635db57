"""Histories whose first blocks nobody signed: branches, their bounds, files altered everywhere."""

import base64
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from light_node import cli
from light_node.chain import branch, divergence, errors, follower, fork_evidence, history_record
from light_node.chain.branch import Branch, Unsigned, climb, first_hash
from light_node.chain.fork_evidence import ForkEvidence, check, loads
from light_node.chain.history_record import HistoryRecord
from light_node.chain.status import PeerState
from light_node.fabric.block import without_data

from .test_fork_evidence import Node, spoiled
from .test_fork_topologies import LIAR, unsigned, wait_until

PARTS_AT, OURS_AT, THEIRS_AT, END = 5, 7, 8, 10


@pytest.fixture
def two(channel: Any) -> tuple[Any, Any]:
    """Two histories that part at block 5, signed at 7 and at 8."""
    channel.extend(2)
    channel.add_config()
    channel.extend(1)
    first = unsigned(PARTS_AT, OURS_AT, END)(channel)
    second = unsigned(PARTS_AT, THEIRS_AT, END - 1)(channel)
    second.raw[PARTS_AT:] = []
    second.add([second.envelope("another story")], signers=())
    while second.height < END:
        second.add(signers=None if second.height == THEIRS_AT else ())
    return first, second


def climbed(chain: Any, **options: Any) -> Branch | Unsigned:
    raws = [without_data(raw) for raw in chain.raw[PARTS_AT:]]
    return climb(raws, PARTS_AT, chain.parsed(4).hash, chain.channel_config(), **options)


@pytest.fixture
def unsigned_evidence(channel: Any, two: tuple[Any, Any]) -> ForkEvidence:
    ours, theirs = climbed(two[0]), climbed(two[1])
    assert isinstance(ours, Branch)
    assert isinstance(theirs, Branch)
    return ForkEvidence(
        channel=channel.name,
        trust_root=channel.raw[0],
        configs=(channel.raw[3],),
        ours=ours.signed,
        theirs=theirs.signed,
        organization=LIAR,
        address="org3.example:7051",
        seen_at="2026-06-21T12:00:00+00:00",
        witnesses=(),
        parent=channel.parsed(4).hash,
        ours_before=ours.before,
        theirs_before=theirs.before,
    )


# -- branches -------------------------------------------------------------------------------------


def test_a_branch_holds_the_first_signed_block_and_the_way_to_it(two: tuple[Any, Any]) -> None:
    found = climbed(two[0])
    assert isinstance(found, Branch)
    assert found.signed == without_data(two[0].raw[OURS_AT])
    assert len(found.before) == 32 * (OURS_AT - PARTS_AT)
    assert first_hash(found, two[0].parsed(4).hash) == two[0].parsed(PARTS_AT).hash


@pytest.mark.parametrize(
    ("name", "value", "options", "last"),
    [
        ("LOOKED_AT", 2, {}, PARTS_AT + 1),
        ("LOOKED_AT", 1, {"signed_at": 4}, PARTS_AT),
        ("MAX_BLOCKS", 2, {"signed_at": OURS_AT}, PARTS_AT),
        ("MAX_BYTES", 10, {"signed_at": OURS_AT}, PARTS_AT),
        ("MAX_BYTES_LOOKED_AT", 10, {}, PARTS_AT),
    ],
)
def test_what_is_read_of_a_history_is_bounded(
    two: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch, name: str, value: int, options: Any,
    last: int,
) -> None:  # fmt: skip
    monkeypatch.setattr(branch, name, value)
    assert climbed(two[0], **options) == Unsigned(last)


@pytest.mark.parametrize(("name", "value"), [("LOOKED_AT", 1), ("_MOST_SIGNATURES", 0)])
def test_a_block_known_to_be_signed_is_found_behind_those_looked_at(
    two: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch, name: str, value: int
) -> None:
    monkeypatch.setattr(branch, name, value)
    assert isinstance(climbed(two[0]), Unsigned)
    assert isinstance(climbed(two[0], signed_at=OURS_AT), Branch)


def test_a_branch_ends_where_the_links_do(two: tuple[Any, Any]) -> None:
    ours, theirs = two
    for raws in (
        [ours.raw[5], theirs.raw[6], theirs.raw[7], theirs.raw[8]],
        [ours.raw[5], ours.raw[7]],
        [ours.raw[5], b"\xff", ours.raw[7]],
        [ours.raw[5]],
    ):
        found = climb(raws, PARTS_AT, ours.parsed(4).hash, ours.channel_config())
        assert found == Unsigned(PARTS_AT)
    assert climb([], 5, ours.parsed(4).hash, ours.channel_config()) == Unsigned(4)


def test_whoever_signs_a_block_of_another_configuration_stands_for_nothing_here(
    two: tuple[Any, Any],
) -> None:
    """But for one the branch itself brings: then the block rests on the branch all the same."""
    ours, _ = two
    config = ours.channel_config()
    for index, stands in ((3, True), (4, False), (5, True), (0, False), (99, False)):
        other = ours.fork(6)
        other.add(last_config=index)
        block = other.parsed(6)
        assert branch.is_signed(config, block, PARTS_AT) is stands
    missing = replace_value(ours.raw[OURS_AT])
    with pytest.raises(errors.VerificationError):
        branch.signers(config, missing, PARTS_AT)


def replace_value(raw: bytes) -> Any:
    from light_node.chain import verify
    from light_node.fabric.pb import common_pb2

    block = common_pb2.Block.FromString(raw)
    entry = common_pb2.Metadata.FromString(block.metadata.metadata[0])
    entry.value = b""
    block.metadata.metadata[0] = entry.SerializeToString()
    return verify.parse(block.SerializeToString())


# -- the file -------------------------------------------------------------------------------------


def test_good_evidence_of_two_unsigned_starts_survives_its_file(
    channel: Any, two: tuple[Any, Any], unsigned_evidence: ForkEvidence
) -> None:
    assert json.loads(unsigned_evidence.dumps())["version"] == 3
    found = loads(unsigned_evidence.dumps())
    assert found == unsigned_evidence
    proven = check(found, channel.root)
    assert (proven.number, proven.ours.number, proven.theirs.number) == (5, OURS_AT, THEIRS_AT)
    assert (proven.ours_hash, proven.theirs_hash) == tuple(c.parsed(5).hash for c in two)
    assert not proven.same_header
    assert proven.both
    signed = unsigned_evidence.signed(channel.peers[0].identity("household", "client"))
    assert check(loads(signed.dumps()), channel.root).reporter == "Org1MSP"


def test_each_organisation_is_named_for_what_it_did(bft_channel: Any) -> None:
    """Four orderers: two signed both, one only ours, one only theirs."""
    bft_channel.extend(4)
    chains = []
    for story, signers in (("ours", (0, 1, 2)), ("theirs", (1, 2, 3))):
        made = bft_channel.fork(5)
        made.add([made.envelope(story)], signers=())
        made.add(signers=signers)
        chains.append(made)
    ours, theirs = (climbed(chain) for chain in chains)
    assert isinstance(ours, Branch)
    assert isinstance(theirs, Branch)
    shown = [fork_evidence.Witness(o, "x:1", "theirs") for o in ("Orderer4MSP", LIAR)]
    proven = check(
        ForkEvidence(
            bft_channel.name, bft_channel.raw[0], (), ours.signed, theirs.signed, LIAR, "x:1",
            "2026-06-21T12:00:00+00:00", witnesses=tuple(shown),
            parent=bft_channel.parsed(4).hash, ours_before=ours.before, theirs_before=theirs.before,
        ),
        bft_channel.root,
    )  # fmt: skip
    assert proven.both == ("Orderer2MSP", "Orderer3MSP")
    assert (proven.ours_only, proven.theirs_only) == (("Orderer1MSP",), ("Orderer4MSP",))
    assert proven.only_showed(shown) == (LIAR,)


def flipped(raw: bytes, at: int = 0) -> bytes:
    return raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :]


CHANGES: dict[str, Callable[[ForkEvidence, Any], ForkEvidence]] = {
    "channel": lambda e, c: replace(e, channel="other"),
    "configuration missing": lambda e, c: replace(e, configs=()),
    "no parent": lambda e, c: replace(e, parent=b""),
    "parent": lambda e, c: replace(e, parent=flipped(e.parent)),
    "parent cut": lambda e, c: replace(e, parent=e.parent[:-1]),
    "ours before: first": lambda e, c: replace(e, ours_before=flipped(e.ours_before)),
    "ours before: last": lambda e, c: replace(e, ours_before=flipped(e.ours_before, -1)),
    "ours before: cut": lambda e, c: replace(e, ours_before=e.ours_before[32:]),
    "ours before: odd": lambda e, c: replace(e, ours_before=e.ours_before[1:]),
    "ours before: longer": lambda e, c: replace(e, ours_before=bytes(32) + e.ours_before),
    "ours before: too long": lambda e, c: replace(e, ours_before=bytes(32 * OURS_AT)),
    "ours before: missing": lambda e, c: replace(e, ours_before=b""),
    "theirs before: first": lambda e, c: replace(e, theirs_before=flipped(e.theirs_before)),
    "theirs before: last": lambda e, c: replace(e, theirs_before=flipped(e.theirs_before, -1)),
    "theirs before: cut": lambda e, c: replace(e, theirs_before=e.theirs_before[32:]),
    "theirs before: missing": lambda e, c: replace(e, theirs_before=b""),
    "before exchanged": lambda e, c: replace(
        e, ours_before=e.theirs_before, theirs_before=e.ours_before
    ),
    "ours is theirs": lambda e, c: replace(e, theirs=e.ours, theirs_before=e.ours_before),
    "ours unsigned": lambda e, c: replace(e, ours=spoiled(e.ours)),
    "theirs unsigned": lambda e, c: replace(e, theirs=spoiled(e.theirs)),
    "theirs garbage": lambda e, c: replace(e, theirs=b"\xff"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_every_altered_field_is_refused(
    channel: Any, unsigned_evidence: ForkEvidence, name: str
) -> None:
    """Nobody signed the file: the proof itself does not hold."""
    with pytest.raises(errors.ChainError):
        check(CHANGES[name](unsigned_evidence, channel), channel.root)


def test_every_field_is_under_the_reporters_signature(
    channel: Any, unsigned_evidence: ForkEvidence
) -> None:
    signed = unsigned_evidence.signed(channel.peers[0].identity("household", "client"))
    for change in ({"trust_root": channel.raw[3]}, {"organization": "Org1MSP"},
                   {"address": "y:1"}, {"seen_at": "2020"},
                   {"witnesses": (fork_evidence.Witness("Org1MSP", "y:1", "theirs"),)},
                   {"witnesses": None}, {"signature": flipped(signed.signature, -1)}):  # fmt: skip
        with pytest.raises(errors.NotVerified):
            check(replace(signed, **change), channel.root)


def test_histories_that_part_later_are_not_said_to_part_here(
    channel: Any, unsigned_evidence: ForkEvidence, two: tuple[Any, Any]
) -> None:
    """Both must differ at the first block: a common start proves another number."""
    later = two[0].fork(6)
    later.add([later.envelope("later")], signers=())
    later.add()
    found = climbed(later)
    assert isinstance(found, Branch)
    assert found.signed == without_data(later.raw[7])
    altered = replace(unsigned_evidence, theirs=found.signed, theirs_before=found.before)
    with pytest.raises(errors.NotVerified, match="do not part there"):
        check(altered, channel.root)


@pytest.mark.parametrize(
    ("name", "value"),
    [("version", 2), ("version", 4), ("parent", ""), ("parent", "AAAA"), ("parent", 1),
     ("parent", base64.b64encode(bytes(64)).decode()), ("ours_before", "AAAA"),
     ("ours_before", None), ("theirs_before", "*"), ("more", 1)],
)  # fmt: skip
def test_a_file_of_another_form_is_refused(
    unsigned_evidence: ForkEvidence, name: str, value: object
) -> None:
    fields = json.loads(unsigned_evidence.dumps())
    with pytest.raises(errors.UnusableFile):
        loads(json.dumps({**fields, name: value}).encode())
    if name in fields:
        del fields[name]
        with pytest.raises(errors.UnusableFile):
            loads(json.dumps(fields).encode())


def test_a_branch_in_a_file_is_bounded(
    unsigned_evidence: ForkEvidence, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(branch, "MAX_BLOCKS", 2)
    with pytest.raises(errors.UnusableFile, match="at most 64 bytes"):
        loads(unsigned_evidence.dumps())


# -- records --------------------------------------------------------------------------------------


@pytest.fixture
def record(channel: Any, two: tuple[Any, Any]) -> HistoryRecord:
    made = HistoryRecord(
        channel=channel.name,
        trust_root=channel.raw[0],
        configs=(channel.raw[3],),
        ours=two[0].parsed(5).hash,
        theirs=without_data(two[1].raw[5]),
        last=9,
        organization=LIAR,
        address="org3.example:7051",
        seen_at="2026-06-21T12:00:00+00:00",
    )
    return made.signed(channel.peers[0].identity("household", "client"))


def test_a_good_record_survives_its_file(channel: Any, record: HistoryRecord) -> None:
    assert history_record.loads(record.dumps()) == record
    for root in (channel.root, None):
        told = history_record.check(record, root)
        assert (told.number, told.reporter) == (5, "Org1MSP (household)")


@pytest.mark.parametrize(
    "change",
    [{"channel": "other"}, {"trust_root": b"\xff"}, {"configs": ()}, {"ours": bytes(32)},
     {"theirs": b"\xff"}, {"last": 8}, {"organization": "Org1MSP"}, {"address": "y:1"},
     {"seen_at": "2020"}, {"reporter": b""}, {"signature": b""}],
    ids=str,
)  # fmt: skip
def test_an_altered_record_is_nobodys_word(
    channel: Any, record: HistoryRecord, change: dict[str, Any]
) -> None:
    altered = replace(record, **change)
    with pytest.raises(errors.ChainError):
        history_record.check(altered, None if "trust_root" in change else channel.root)


def test_a_record_of_what_is_no_unsigned_history_is_refused(
    channel: Any, record: HistoryRecord, two: tuple[Any, Any]
) -> None:
    household = channel.peers[0].identity("household", "client")
    signed = channel.fork(5)
    signed.add([signed.envelope("signed")])
    for change in ({"theirs": signed.raw[5]}, {"ours": two[1].parsed(5).hash}, {"last": 4}):
        with pytest.raises(errors.NotVerified):
            history_record.check(replace(record, **change).signed(household), channel.root)


@pytest.mark.parametrize(
    ("name", "value"),
    [("version", 2), ("kind", "proof"), ("ours", "*"), ("last", 0), ("last", "9"), ("more", 1)],
)
def test_a_record_of_another_form_is_refused(
    record: HistoryRecord, name: str, value: object
) -> None:
    fields = json.loads(record.dumps())
    with pytest.raises(errors.UnusableFile):
        history_record.loads(json.dumps({**fields, name: value}).encode())
    if name in fields:
        del fields[name]
        with pytest.raises(errors.UnusableFile):
            history_record.loads(json.dumps(fields).encode())


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_no_bytes_crash_the_reader(raw: bytes) -> None:
    with pytest.raises(errors.UnusableFile):
        history_record.loads(raw)


def test_records_are_bounded(
    record: HistoryRecord, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, two: tuple[Any, Any]
) -> None:
    first = history_record.keep(tmp_path, record)
    assert first is not None
    assert history_record.keep(tmp_path, record) == first
    another = replace(record, theirs=two[1].raw[6])
    monkeypatch.setattr(history_record, "MAX_OF_ONE", 1)
    assert history_record.keep(tmp_path, another) is None
    assert history_record.keep(tmp_path, replace(another, organization="Org2MSP")) is not None
    monkeypatch.setattr(history_record, "MAX_OF_ONE", 9)
    monkeypatch.setattr(history_record, "MAX_FILES", 2)
    assert history_record.keep(tmp_path, another) is None
    monkeypatch.setattr(history_record, "MAX_FILES", 9)
    monkeypatch.setattr(history_record, "MAX_THEIRS_BYTES", 10)
    assert history_record.keep(tmp_path, another) is None
    monkeypatch.setattr(history_record, "MAX_FILE_BYTES", 10)
    with pytest.raises(errors.UnusableFile, match="at most"):
        history_record.loads(record.dumps())


def test_the_command_names_a_record_as_such(
    channel: Any, record: HistoryRecord, tmp_path: Path, capsys: Any
) -> None:
    file, root = tmp_path / "record.json", tmp_path / "root.block"
    file.write_bytes(record.dumps())
    root.write_bytes(channel.raw[0])
    assert cli.main(["evidence", "show", str(file), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["kind"] == history_record.KIND
    assert cli.main(["evidence", "check", str(file), "--trust", str(root)]) == 1
    said = capsys.readouterr().out
    assert "No proof: a record, which rests on the word of who signed it" in said
    assert "compare it" not in said
    file.write_bytes(replace(record, organization="Org1MSP").dumps())
    assert cli.main(["evidence", "check", str(file)]) == 1
    assert "altered" in capsys.readouterr().out
    file.write_bytes(b'{"kind":"fabric history record"}')
    assert cli.main(["evidence", "check", str(file)]) == 2


# -- a node ---------------------------------------------------------------------------------------


def met(
    channel: Any, make_source: Any, folder: Path, running: list[Any], reporter: Any = None,
    prepare: Callable[[Any], None] = lambda liar: None,
) -> Node:  # fmt: skip
    """A node two organisations agree with when it meets a branch signed at its tip alone."""
    channel.extend(9)
    other = unsigned(5, 9)(channel)
    good = [make_source(o, channel.raw) for o in ("Org1MSP", "Org2MSP")]
    liar = make_source(LIAR, other.raw, down=True)
    prepare(liar)
    node = Node(folder, channel, [*good, liar], reporter)
    running.append(node)
    node.wait(lambda s: s.agreed_height == channel.height)
    liar.come_up()
    return node


def test_above_the_bound_there_is_a_record_and_no_fork(
    channel: Any, make_source: Any, tmp_path: Path, running: list[Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(branch, "MAX_BLOCKS", 4)
    monkeypatch.setattr(branch, "LOOKED_AT", 3)
    reporter = channel.peers[0].identity("household", "client")
    node = met(channel, make_source, tmp_path / "node", running, reporter)
    folder = tmp_path / "node" / history_record.FOLDER
    assert wait_until(lambda: any(folder.glob("*.json")))
    assert node.sync.status().fork is None
    (kept,) = folder.glob("*.json")
    assert history_record.loads(kept.read_bytes()).last == 7


@pytest.mark.parametrize("reporter", ["nobody", "locked"])
def test_nobodys_word_is_not_kept(
    channel: Any, make_source: Any, tmp_path: Path, running: list[Any],
    monkeypatch: pytest.MonkeyPatch, reporter: str,
) -> None:  # fmt: skip
    class Locked:
        serialized = b"x"

        def sign(self, message: bytes) -> bytes:
            raise RuntimeError("the keyring is locked")

    monkeypatch.setattr(branch, "MAX_BLOCKS", 4)
    monkeypatch.setattr(branch, "LOOKED_AT", 3)
    monkeypatch.setattr(follower, "QUARANTINE_S", 0.01)
    asked: list[int] = []
    node = met(
        channel, make_source, tmp_path / "node", running,
        Locked() if reporter == "locked" else None, lambda liar: counted(liar, asked),
    )  # fmt: skip
    assert wait_until(lambda: len(asked) > 2)
    assert node.sync.status().fork is None
    assert not (tmp_path / "node" / history_record.FOLDER).exists()


def counted(source: Any, asked: list[int]) -> None:
    honest = source.headers

    def headers(start: int, stop: int | None = None) -> Any:
        asked.append(start)
        return honest(start, stop)

    source.headers = headers


def test_a_node_that_drips_its_history_is_given_up(
    channel: Any, make_source: Any, tmp_path: Path, running: list[Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(divergence, "CLIMB_S", 0.05)
    monkeypatch.setattr(follower, "QUARANTINE_S", 0.01)
    asked: list[int] = []

    def drip(liar: Any) -> None:
        liar.stalled = True
        counted(liar, asked)

    node = met(channel, make_source, tmp_path / "node", running, prepare=drip)
    assert wait_until(lambda: len(asked) > 2)
    status = node.sync.status()
    assert (status.fork, status.peers[2].state) == (None, PeerState.DISAGREES)


def test_a_look_that_a_stop_cuts_short_leaves_no_record(
    channel: Any, make_source: Any, tmp_path: Path, running: list[Any]
) -> None:
    reporter = channel.peers[0].identity("household", "client")
    asked: list[int] = []

    def drip(liar: Any) -> None:
        liar.stalled = True
        counted(liar, asked)

    node = met(channel, make_source, tmp_path / "node", running, reporter, drip)
    assert wait_until(lambda: 5 in asked)
    peer = node.sync.status().peers[2]
    assert (peer.organization, peer.examined, peer.agrees) == (LIAR, True, False)
    node.sync.stop()
    assert not (tmp_path / "node" / history_record.FOLDER).exists()


def test_a_block_shown_once_and_then_another_is_recorded_as_far_as_it_went(
    channel: Any, make_source: Any, tmp_path: Path, running: list[Any]
) -> None:
    """The stream from the parting on starts with a block of neither history."""
    reporter = channel.peers[0].identity("household", "client")

    def turn(liar: Any) -> None:
        honest = liar.headers
        liar.headers = lambda start, stop=None: honest(start + 1 if start == 5 else start, stop)

    met(channel, make_source, tmp_path / "node", running, reporter, turn)
    folder = tmp_path / "node" / history_record.FOLDER
    assert wait_until(lambda: any(folder.glob("*.json")))
    (kept,) = folder.glob("*.json")
    found = history_record.loads(kept.read_bytes())
    assert found.last == 5
    assert history_record.check(found, channel.root).number == 5


def test_a_signed_block_that_is_never_reached_is_not_run_after_for_ever(
    channel: Any, make_source: Any, tmp_path: Path, running: list[Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Of another channel of the same orderers, say: its header could be anywhere."""
    monkeypatch.setattr(branch, "LOOKED_AT", 2)
    monkeypatch.setattr(follower, "QUARANTINE_S", 0.01)
    channel.extend(9)
    other = unsigned(3, 0, 9)(channel)
    other.add(previous_hash=bytes(32))  # signed, but it does not follow the one before
    reads: list[tuple[int, int | None]] = []
    good = [make_source(o, channel.raw) for o in ("Org1MSP", "Org2MSP")]
    liar = make_source(LIAR, other.raw, down=True)
    honest = liar.headers

    def headers(start: int, stop: int | None = None) -> Any:
        reads.append((start, stop))
        return honest(start, stop)

    liar.headers = headers
    node = Node(tmp_path / "node", channel, [*good, liar])
    running.append(node)
    node.wait(lambda s: s.agreed_height == channel.height)
    liar.come_up()
    assert wait_until(lambda: len([r for r in reads if r[0] == 3]) >= 6)
    climbs = [stop for start, stop in reads if start == 3]
    assert climbs[:3] == [9, 9, 9]
    assert set(climbs[3:]) == {4}
    assert node.sync.status().fork is None
