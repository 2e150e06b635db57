"""The operator's identity folder, the change from peer to peer, and the command around them."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from light_node.chain import trust
from light_node.cli import main
from light_node.clock import SystemClock
from light_node.commands.mtc import to_json
from light_node.fabric import crypto
from light_node.fabric.errors import ContractRefused
from light_node.fabric.peers import Move, Peers
from light_node.fabric.profile import NetworkProfile, Organization, PeerEndpoint, TrustRoot
from light_node.market.slots import parse
from light_node.mtc import network
from light_node.mtc.driver import Done
from light_node.mtc.network import IdentityUnusable, PeerGateway, load_identity, save_identity
from light_node.mtc.plan import Step

NOBODY = "127.0.0.1:1"  # a port nothing listens on


@pytest.fixture
def folder(tmp_path: Path, world: Any) -> Path:
    """An identity folder of the operator."""
    path = tmp_path / "operator"
    operator = world.operator
    save_identity(path, operator.msp_id, operator.certificate_pem, operator.signer._key)
    return path


@pytest.fixture
def profile(data: Path, world: Any) -> NetworkProfile:
    """A network of two organisations whose peers are all down."""
    block = (data / "fabric" / "bft" / "full" / "0000.block").read_bytes()
    root = trust.load(block)
    tls = world.operator.certificate_pem.decode()
    now = datetime.now(UTC)
    return NetworkProfile(
        name="test",
        channel=root.config.channel_id,
        chaincode="market",
        organizations=tuple(
            Organization(msp, (PeerEndpoint(f"peer.{msp}", NOBODY, tls),))
            for msp in ("Org1MSP", "Org3MSP")
        ),
        orderers=(),
        trust_root=TrustRoot(
            root.config.channel_id, block, root.hash.hex(), now, now + timedelta(days=1)
        ),
    )


def test_an_identity_folder_reads_back(folder: Path, world: Any) -> None:
    identity = load_identity(folder)
    assert identity.serialized == world.operator.serialized
    signature = identity.sign(b"message")
    public = world.operator.certificate.public_key()
    assert crypto.verify(public, signature, b"message")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such permissions")
def test_the_key_is_its_owners_only(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    key = folder / "key.pem"
    assert key.stat().st_mode & 0o777 == 0o600
    load_identity(folder)
    assert not caplog.records
    key.chmod(0o644)
    load_identity(folder)
    assert "chmod 600" in caplog.text


@pytest.mark.parametrize("name", ["cert.pem", "key.pem", "msp_id"])
@pytest.mark.parametrize("content", [None, b"", b"\xff\x00", b"x" * 100_000])
def test_damaged_identity_folders(folder: Path, name: str, content: bytes | None) -> None:
    (folder / name).unlink()
    if content is not None:
        (folder / name).write_bytes(content)
        (folder / name).chmod(0o600)
    with pytest.raises(IdentityUnusable, match=r"cannot|must hold|too large"):
        load_identity(folder)


def test_a_key_of_another_certificate(folder: Path) -> None:
    (folder / "key.pem").write_bytes(crypto.private_key_pem(crypto.generate_key()))
    with pytest.raises(IdentityUnusable, match="does not belong"):
        load_identity(folder)


class FakeGateway:
    """Answers with the name of the peer it would ask."""

    def __init__(self, peers: Peers, *_: Any, **__: Any) -> None:
        self.peers, self.closed = peers, False

    def evaluate(self, chaincode: str, function: str, *args: str) -> bytes:
        return self.peers.current.name.encode()

    def submit_transaction(self, chaincode: str, function: str, *args: str) -> Any:
        payload = f"{chaincode} {function} {','.join(args)}".encode()
        return SimpleNamespace(payload=payload)

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def operator(
    profile: NetworkProfile, world: Any, monkeypatch: pytest.MonkeyPatch
) -> Iterator[PeerGateway]:
    """A gateway over two peers that are down, the operator's organisation being Org3MSP."""
    monkeypatch.setattr(network, "Gateway", FakeGateway)
    config = trust.from_profile(profile.trust_root).config
    made = PeerGateway(profile, world.operator, SystemClock(), config)
    yield made
    made.close()


def test_the_own_organisations_peer_comes_first(operator: PeerGateway) -> None:
    assert operator.peer.msp_id == "Org3MSP"
    assert operator.evaluate("GetPots") == b"peer.Org3MSP"
    assert operator.submit("OpenSlot", "a", "b") == b"market OpenSlot a,b"


def test_the_operator_goes_on_at_another_peer_and_says_so(
    operator: PeerGateway, caplog: pytest.LogCaptureFixture
) -> None:
    operator._peers.failed(operator.peer)
    assert operator.evaluate("GetPots") == b"peer.Org1MSP"
    own, other = operator._peers.links
    with caplog.at_level("WARNING"):
        network._log_move(Move(other, own, False, None))
        network._log_move(Move(other, own, False, 3))
        network._log_move(Move(own, other, True, 0))
        network._log_move(Move(other, own, False, None, timedelta(minutes=-20)))
    assert caplog.messages == [
        "peer.Org3MSP does not answer: asking peer.Org1MSP",
        "peer.Org3MSP is 3 blocks behind: asking peer.Org1MSP",
        "peer.Org3MSP serves again",
        "the clock of peer.Org3MSP is 20 minutes behind this machine's: its operator has to set "
        "it; asking peer.Org1MSP",
    ]


def test_a_step_as_json() -> None:
    slot = parse("2026-06-21T10:00Z/PT60M")
    at = datetime(2026, 6, 21, 9, 13, 12, tzinfo=UTC)
    done = Done(at, Step(at, slot, "CloseRound", 1), ContractRefused(409, "WRONG_PHASE", "no"))
    assert to_json(done) == {
        "at": "2026-06-21T09:13:12+00:00",
        "function": "CloseRound",
        "slot": slot.id,
        "round": 1,
        "error": "the contract refused: status 409 (WRONG_PHASE)",
        "code": "WRONG_PHASE",
    }
    opened = to_json(Done(at, Step(at, slot, "OpenSlot")))
    assert (opened["round"], opened["error"], opened["code"]) == (None, None, None)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--slots", "0"], "at least one slot"),
        (["--rounds", "4"], "rounds must end"),
        (["--slot-length", "90"], "whole minutes"),
        (["--first", "tomorrow"], "not a slot id"),
        (["--first", "2026-06-21T10:00Z/PT60M"], "different lengths"),
        (["--first", "2026-06-21T10:05Z/PT15M"], "multiple"),
        (["--tariff", "/nowhere/tariff.json"], "cannot read"),
        (["--identity", "/nowhere"], "identity folder holds"),
        (["--profile", "/nowhere/profile.json"], "cannot read the network profile"),
    ],
)
def test_arguments_that_cannot_be_used(
    profile: NetworkProfile,
    folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    words: str,
) -> None:
    path = tmp_path / "profile.json"
    profile.save(path)
    given = ["mtc", "--profile", str(path), "--identity", str(folder), *arguments]
    assert main(given) == 2
    printed = capsys.readouterr()
    assert words in printed.err
    assert printed.err.count("\n") == 1
    assert printed.out == ""


def test_an_expired_trust_root_is_refused(
    profile: NetworkProfile, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "profile.json"
    value = profile.to_json()
    value["trust_root"]["expires"] = "2020-01-01T00:00:00+00:00"
    path.write_text(json.dumps(value))
    assert main(["mtc", "--profile", str(path), "--identity", str(folder)]) == 2
    assert "expired" in capsys.readouterr().err


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM to send")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_waits_for_a_network_that_is_down_and_stops_when_told(
    profile: NetworkProfile, folder: Path, tmp_path: Path, number: int
) -> None:
    path = tmp_path / "profile.json"
    profile.save(path)
    command = [
        sys.executable,
        "-c",
        "import sys; from light_node.cli import main; sys.exit(main())",
    ]
    command += ["mtc", "--profile", str(path), "--identity", str(folder)]
    log = tmp_path / "log"
    with log.open("wb") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file)
    try:
        end = time.monotonic() + 60
        while log.read_text().count("trying again") < 2:
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < end, log.read_text()
            time.sleep(0.05)
        process.send_signal(number)
        assert process.wait(30) == 0, log.read_text()
    finally:
        process.kill()
        process.wait()
