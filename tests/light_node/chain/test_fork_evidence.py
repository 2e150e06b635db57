"""Evidence of forks: kept, signed, checked elsewhere, altered in every field; quarantine."""

import base64
import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from light_node import cli
from light_node.chain import disk, errors, fork_evidence, quarantine, trust, verify
from light_node.chain import evidence as reports
from light_node.chain.fork_evidence import ForkEvidence, check, contradict, loads
from light_node.chain.status import PeerState, SyncStatus
from light_node.chain.store import HeaderStore
from light_node.chain.sync import ChainSync
from light_node.clock import SystemClock
from light_node.fabric.block import without_data
from light_node.fabric.errors import Unavailable
from light_node.fabric.identity import SigningIdentity

SOON = 20.0


@dataclass
class Node:
    """A store and its sync in one folder."""

    directory: Path
    channel: Any
    sources: list[Any]
    reporter: SigningIdentity | None = None

    def __post_init__(self) -> None:
        self.directory.mkdir(exist_ok=True)
        self.store = HeaderStore(self.directory, self.channel.root)
        self.sync = ChainSync(
            self.channel.root, self.store, self.sources, SystemClock(), self.directory,
            reporter=self.reporter,
        )  # fmt: skip
        self.sync.start()

    def wait(self, condition: Callable[[SyncStatus], bool]) -> SyncStatus:
        assert self.sync.wait(condition, SOON), self.sync.status()
        return self.sync.status()

    def stop(self) -> None:
        self.sync.stop()
        self.store.close()

    @property
    def kept(self) -> list[Path]:
        return sorted((self.directory / fork_evidence.FOLDER).glob("*.json"))


@pytest.fixture
def fork(
    channel: Any, make_source: Any, tmp_path: Path, running: list[Any]
) -> Callable[..., tuple[Node, Any]]:
    """A node that two organisations agreed with until Org3MSP showed another signed history."""

    def make(reporter: SigningIdentity | None = None, **options: Any) -> tuple[Node, Any]:
        channel.extend(3)
        channel.add_config()
        channel.extend(6)
        other = channel.fork(7)
        while other.height < 12:
            other.add([other.envelope(f"another story {other.height}")])
        good = [make_source(o, channel.raw) for o in ("Org1MSP", "Org2MSP")]
        liar = make_source("Org3MSP", other.raw, down=True)
        node = Node(tmp_path / "node", channel, [*good, liar], reporter)
        running.append(node)
        node.wait(lambda s: s.agreed_height == channel.height)
        liar.come_up()
        node.wait(lambda s: s.evidence is not None)
        return node, other

    return make


def test_evidence_is_kept_of_the_first_block_that_differs_and_proves_the_fork(
    channel: Any, fork: Any
) -> None:
    reporter = channel.peers[0].identity("household", "client")
    node, other = fork(reporter)
    assert [path.name for path in node.kept] == [node.sync.status().evidence]
    found = loads(node.kept[0].read_bytes())
    for root in (channel.root, None):  # what the checker trusts, or what the file says
        proven = check(found, root)
        assert proven.number == 7
        assert proven.ours.hash == channel.parsed(7).hash
        assert proven.theirs.hash == other.parsed(7).hash
        assert proven.both == proven.ours_signers == proven.theirs_signers
        assert set(proven.both) <= {o.msp_id for o in channel.orderers}
        assert proven.both
        assert proven.reporter == "Org1MSP"
    assert found.organization == "Org3MSP"
    assert len(found.configs) == 1
    assert proven.ours.envelopes is None, "headers are enough"


def test_a_reporter_that_cannot_sign_leaves_it_unsigned(channel: Any, fork: Any) -> None:
    class Locked:
        serialized = b"x"

        def sign(self, message: bytes) -> bytes:
            raise RuntimeError("the keyring is locked")

    node, _ = fork(Locked())
    found = loads(node.kept[0].read_bytes())
    assert (found.reporter, found.signature) == (b"", b"")
    assert check(found, channel.root).reporter == ""


@pytest.mark.parametrize("restarted", [False, True])
def test_when_nobody_shows_ours_any_more(
    channel: Any, make_source: Any, tmp_path: Path, running: list[Any], restarted: bool
) -> None:
    """What was verified a moment ago is still at hand; after a restart it is not, but all the same
    the organisation is named."""
    channel.extend(4)
    other = channel.fork(2)
    other.add([other.envelope("other")])
    other.extend(2)
    first = make_source("Org1MSP", channel.raw)
    liar = make_source("Org2MSP", other.raw, down=True)
    node = Node(tmp_path / "node", channel, [first, liar])
    running.append(node)
    node.wait(lambda s: s.verified_height == 5)
    first.go_down()
    if restarted:
        node.stop()
        node = Node(tmp_path / "node", channel, [first, liar])
        running.append(node)
    liar.come_up()
    status = node.wait(lambda s: s.evidence is not None)
    assert quarantine.load(node.directory)["Org2MSP"].number == 2
    assert status.evidence == ("" if restarted else "0000000002-Org2MSP.json")
    assert len(node.kept) == (0 if restarted else 1)


def test_quarantine_survives_a_restart_and_is_lifted_by_hand(
    channel: Any, fork: Any, make_source: Any, running: list[Any], capsys: Any
) -> None:
    node, _ = fork()
    node.stop()
    case = quarantine.load(node.directory)["Org3MSP"]
    assert (case.number, case.evidence) == (7, node.kept[0].name)
    sources = [make_source(o, channel.raw) for o in ("Org1MSP", "Org2MSP", "Org3MSP")]
    again = Node(node.directory, channel, sources)
    running.append(again)
    status = again.wait(lambda s: s.agreed_height == channel.height)
    third = next(p for p in status.peers if p.organization == "Org3MSP")
    assert (third.state, third.agrees) == (PeerState.DISAGREES, False)
    assert "in quarantine since" in third.error
    assert sources[2].served == 0
    assert all(
        s.organization != "Org3MSP" for s in again.sync.sources + again.sync.reachable_sources
    )
    again.stop()
    options = ["--dir", str(node.directory)]
    assert cli.main(["evidence", "release", "Org3MSP", *options]) == 0
    assert cli.main(["evidence", "release", "Org3MSP", "--json", *options]) == 1
    left = quarantine.load(node.directory)
    assert {case.kind for case in left.values()} == {"signed"}
    assert left.keys() <= {o.msp_id for o in channel.orderers}
    free = Node(node.directory, channel, sources)
    running.append(free)
    free.wait(lambda s: all(p.agrees for p in s.peers))


def test_stopping_at_once_does_not_lose_the_evidence(
    channel: Any, make_source: Any, tmp_path: Path
) -> None:
    """As 'light-node sync' does, which ends when it learns of the fork."""
    channel.extend(2)
    other = channel.fork(2)
    other.add([other.envelope("another")])
    channel.extend(1)
    first, second = (make_source(o, channel.raw) for o in ("Org1MSP", "Org2MSP"))
    liar = make_source("Org3MSP", other.raw, down=True)
    for source in (first, second, liar):
        closed, honest = threading.Event(), source.block

        def block(
            number: int, *, headers_only: bool = False, closed: Any = closed, honest: Any = honest
        ) -> Any:
            if closed.wait(0.2):
                raise Unavailable("the light node has been stopped")
            return honest(number, headers_only=headers_only)

        source.block, source.close = block, closed.set
    node = Node(tmp_path / "node", channel, [first, second, liar])
    node.wait(lambda s: s.agreed_height == channel.height)
    liar.come_up()
    node.wait(lambda s: s.fork is not None)
    node.stop()
    assert len(node.kept) == 1
    assert node.sync.status().evidence == node.kept[0].name


def test_one_organisation_that_is_left_agrees_with_nobody(
    channel: Any, make_source: Any, tmp_path: Path, running: list[Any]
) -> None:
    channel.extend(3)
    quarantine.add(tmp_path, "Org2MSP", quarantine.Case(2, "2026-06-21T12:00:00+00:00", ""))
    sources = [make_source(o, channel.raw) for o in ("Org1MSP", "Org2MSP")]
    node = Node(tmp_path, channel, sources)
    running.append(node)
    status = node.wait(lambda s: s.verified_height == 4)
    assert status.agreed_height is None
    assert "second organisation" in status.waiting_for


def test_a_damaged_quarantine_lets_nobody_out(tmp_path: Path) -> None:
    assert quarantine.load(tmp_path) == {}
    case = quarantine.Case(7, "2026-06-21T12:00:00+00:00", "x.json")
    quarantine.add(tmp_path, "A", case)
    quarantine.add(tmp_path, "A", replace(case, number=9))
    assert quarantine.load(tmp_path) == {"A": case}
    path = tmp_path / quarantine.FILE_NAME
    for damage in (b"", b"{}", b'{"version":1,"organizations":{"A":{}}}', path.read_bytes()[:-1],
                   path.read_bytes().replace(b'"x.json"', b"7")):  # fmt: skip
        path.write_bytes(damage)
        with pytest.raises(errors.StoreError, match="damaged"):
            quarantine.load(tmp_path)
        with pytest.raises(errors.StoreError):
            quarantine.release(tmp_path, "A")


# -- altered ------------------------------------------------------------------------------------


@pytest.fixture
def evidence(channel: Any) -> ForkEvidence:
    channel.extend(2)
    channel.add_config()
    channel.extend(2)
    other = channel.fork(5)
    other.add([other.envelope("other")])
    made = ForkEvidence(
        channel=channel.name,
        trust_root=channel.raw[0],
        configs=(channel.raw[3],),
        ours=without_data(channel.raw[5]),
        theirs=without_data(other.raw[5]),
        organization="Org3MSP",
        address="org3.example:7051",
        seen_at="2026-06-21T12:00:00+00:00",
    )
    return made.signed(channel.peers[0].identity("household", "client"))


CHANGES: dict[str, Callable[[ForkEvidence, Any], ForkEvidence]] = {
    "channel": lambda e, c: replace(e, channel="other"),
    "trust root": lambda e, c: replace(e, trust_root=c.raw[3]),
    "configuration missing": lambda e, c: replace(e, configs=()),
    "configuration twice": lambda e, c: replace(e, configs=e.configs * 2),
    "no configuration": lambda e, c: replace(e, configs=(c.raw[2],)),
    "ours is theirs": lambda e, c: replace(e, theirs=e.ours),
    "ours of another number": lambda e, c: replace(e, ours=without_data(c.raw[4])),
    "ours unsigned": lambda e, c: replace(e, ours=spoiled(e.ours)),
    "theirs unsigned": lambda e, c: replace(e, theirs=spoiled(e.theirs)),
    "theirs garbage": lambda e, c: replace(e, theirs=b"\xff"),
    "theirs cut": lambda e, c: replace(e, theirs=e.theirs[:-40]),
    "organization": lambda e, c: replace(e, organization="Org1MSP"),
    "address": lambda e, c: replace(e, address="innocent.example:7051"),
    "time": lambda e, c: replace(e, seen_at="2020-06-21T12:00:00+00:00"),
    "reporter": lambda e, c: replace(
        e, reporter=c.peers[1].identity("somebody", "client").serialized
    ),
    "unknown reporter": lambda e, c: replace(e, reporter=b"\x0a\x01A"),
    "no reporter": lambda e, c: replace(e, reporter=b""),
    "signature": lambda e, c: replace(e, signature=e.signature[:-1]),
    "no signature": lambda e, c: replace(e, signature=b""),
}


def spoiled(raw: bytes) -> bytes:
    from light_node.fabric.pb import common_pb2

    message = common_pb2.Block.FromString(raw)
    metadata = common_pb2.Metadata.FromString(message.metadata.metadata[0])
    for signature in metadata.signatures:
        signature.signature = signature.signature[:-1] + bytes([signature.signature[-1] ^ 1])
    message.metadata.metadata[0] = metadata.SerializeToString()
    return message.SerializeToString()


def test_good_evidence_survives_its_file(channel: Any, evidence: ForkEvidence) -> None:
    assert loads(evidence.dumps()) == evidence
    assert check(loads(evidence.dumps()), channel.root).number == 5
    assert check(evidence, trust.load(channel.raw[3])).reporter == "Org1MSP"


@pytest.mark.parametrize("name", CHANGES)
def test_every_altered_field_is_refused(channel: Any, evidence: ForkEvidence, name: str) -> None:
    with pytest.raises(errors.ChainError):
        check(CHANGES[name](evidence, channel), channel.root)


def test_blocks_of_two_channels_of_the_same_orderers_are_no_fork(
    channel: Any, evidence: ForkEvidence
) -> None:
    """Headers do not name their channel; without a common predecessor nobody is to blame."""
    stranger = channel.fork(4)
    stranger.add([stranger.envelope("elsewhere")])
    stranger.extend(1)
    pair = verify.parse(channel.raw[5]), verify.parse(stranger.raw[5])
    assert not contradict(*pair)
    with pytest.raises(errors.NotVerified, match="do not contradict"):
        check(replace(evidence, theirs=without_data(stranger.raw[5])), channel.root)


@pytest.mark.parametrize(
    ("name", "value"),
    [("version", 2), ("kind", "proof"), ("ours", 1), ("ours", "*"), ("configs", [""] * 1001),
     ("configs", ""), ("channel", ""), ("seen_at", "x" * 65), ("reporter", None),
     ("signature", base64.b64encode(bytes(2000)).decode()), ("more", 1)],
)  # fmt: skip
def test_a_file_of_another_form_is_refused(
    evidence: ForkEvidence, name: str, value: object
) -> None:
    fields = json.loads(evidence.dumps())
    with pytest.raises(errors.UnusableFile):
        loads(json.dumps({**fields, name: value}).encode())
    if name in fields:
        del fields[name]
        with pytest.raises(errors.UnusableFile):
            loads(json.dumps(fields).encode())


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_no_bytes_crash_the_reader(raw: bytes) -> None:
    with pytest.raises(errors.UnusableFile):
        loads(raw)


def test_files_are_bounded(
    evidence: ForkEvidence, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fork_evidence, "MAX_FILES", 1)
    first = fork_evidence.keep(tmp_path, evidence, 5)
    assert first is not None
    assert fork_evidence.keep(tmp_path, evidence, 5) == first
    assert fork_evidence.keep(tmp_path, evidence, 6) is None
    monkeypatch.setattr(fork_evidence, "MAX_FILES", 9)
    size = first.stat().st_size
    monkeypatch.setattr(fork_evidence, "MAX_BYTES", 2 * size - 1)
    assert fork_evidence.keep(tmp_path, evidence, 6) is None
    monkeypatch.setattr(fork_evidence, "MAX_BYTES", 2 * size)
    assert fork_evidence.keep(tmp_path, evidence, 6) is not None
    monkeypatch.setattr(fork_evidence, "MAX_FILE_BYTES", 10)
    with pytest.raises(errors.UnusableFile, match="at most"):
        loads(evidence.dumps())


def test_reports_are_bounded_and_one_liar_leaves_room_for_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = datetime(2026, 6, 21, 12, tzinfo=UTC)

    def keep(organization: str, number: int, size: int = 10) -> bool:
        made = reports.Conflict(
            "ch", number, organization, "x:1", seen, "why", None, None, bytes(size), b"r"
        )
        return reports.keep(tmp_path, made) is not None

    kept = [keep("Org1MSP", n) for n in range(reports.MAX_FILES)]
    assert kept.count(True) == reports.MAX_OF_ONE
    assert keep("Org2MSP", 1)
    monkeypatch.setattr(reports, "MAX_BYTES", 50_000)
    assert not keep("Org2MSP", 2, 40_000)
    assert keep("Org2MSP", 3)
    assert disk.size_bytes(tmp_path) <= 50_000


# -- the command --------------------------------------------------------------------------------


def test_list_show_and_check(channel: Any, fork: Any, tmp_path: Path, capsys: Any) -> None:
    node, _ = fork(channel.peers[0].identity("household", "client"))
    node.stop()
    options = ["--dir", str(node.directory)]
    assert cli.main(["evidence", "list", "--json", *options]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert listed["evidence"] == [str(node.kept[0])]
    assert listed["reports"]
    assert listed["quarantine"]["Org3MSP"]["number"] == 7
    assert cli.main(["evidence", "list", *options]) == 0
    assert "in quarantine" in capsys.readouterr().out
    file, root = str(node.kept[0]), tmp_path / "root.block"
    root.write_bytes(channel.raw[0])
    assert cli.main(["evidence", "show", file, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["checked"] is False
    assert cli.main(["evidence", "show", file]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "Evidence of a fork of channel testch"
    assert lines[1].startswith("Shown by Org3MSP (org3msp.example:7051), 20")
    assert lines[-1].startswith("Nothing of this is checked yet")
    assert cli.main(["evidence", "check", file, "--trust", str(root), "--json"]) == 0
    checked = json.loads(capsys.readouterr().out)
    assert (checked["proved"], checked["number"], checked["shown_by"]) == (True, 7, "Org3MSP")
    assert checked["signed_both"]
    assert cli.main(["evidence", "check", file]) == 0
    assert "compare it with yours" in capsys.readouterr().out
    altered = tmp_path / "altered.json"
    fields = json.loads(node.kept[0].read_bytes())
    altered.write_text(json.dumps({**fields, "organization": "Org1MSP"}))
    assert cli.main(["evidence", "check", str(altered), "--json"]) == 1
    assert "altered" in json.loads(capsys.readouterr().out)["error"]
    assert cli.main(["evidence", "check", str(altered), "--trust", str(root)]) == 1


def test_wrong_use_is_told(tmp_path: Path, channel: Any, fork: Any, capsys: Any) -> None:
    node, _ = fork()
    node.stop()
    report = next((node.directory / "conflicts").glob("*.json"))
    assert cli.main(["evidence", "check", str(report)]) == 2
    assert "proves nothing to others" in capsys.readouterr().err
    (tmp_path / "x").write_bytes(b"{}")
    for wrong in (["list"], ["list", "x"], ["show"], ["release", "A"],
                  ["check", str(tmp_path / "x")], ["check", str(tmp_path / "none")],
                  ["check", str(node.kept[0]), "--trust", str(tmp_path / "x")]):  # fmt: skip
        assert cli.main(["evidence", *wrong]) == 2
    assert cli.main(["evidence", "list", "--dir", str(tmp_path / "empty")]) == 0
    assert "Nothing is kept" in capsys.readouterr().out
