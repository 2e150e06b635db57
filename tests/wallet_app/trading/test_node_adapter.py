"""The light node as trading sees it, over a light node that does as told."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from light_node.chain import quarantine
from light_node.chain.errors import CommitHashMismatch, NotVerified, StoreError
from light_node.chain.status import Level, PeerState, PeerStatus, SyncStatus
from light_node.fabric.errors import MalformedMessage
from light_node.i18n import Text
from wallet_app.trading import node as module
from wallet_app.trading.node import LightNodeAdapter, trust_view
from wallet_app.trading.view import Proof

STATUS = SyncStatus(
    channel="market",
    trust_root="ab12",
    trust_root_expires=datetime(2027, 1, 1, tzinfo=UTC),
    verified_height=12,
    agreed_height=11,
    height=14,
    peers=(
        PeerStatus("Org1MSP", "127.0.0.1:7051", "peer", PeerState.CONNECTED, 14, True),
        PeerStatus(
            "Org2MSP", "127.0.0.1:8051", "peer", PeerState.UNREACHABLE, error=Text("no answer")
        ),
    ),
    waiting_for="a second organisation",
    blocks_verified=12,
    signatures_verified=40,
)


@dataclass(frozen=True)
class Found:
    level: Level
    transaction: Any
    is_valid: bool = True
    problems: tuple[str, ...] = ()


def rwset(namespace: str, **writes: bytes | None) -> SimpleNamespace:
    return SimpleNamespace(namespace=namespace, writes=writes)


TRANSACTION = SimpleNamespace(
    rwsets=[rwset("_lifecycle", other=b"0"), rwset("market", key=b"1", gone=None)]
)


@dataclass
class FakeLightNode:
    """Answers ``transaction`` from ``answers``, the last one for ever."""

    answers: list[Any]
    heights: list[tuple[int, bool]] = field(default_factory=list)
    verified: bool = True
    stopped: bool = False
    listeners: list[Callable[[SyncStatus], None]] = field(default_factory=list)

    def start(self) -> None: ...

    def stop(self) -> None:
        self.stopped = True

    def status(self) -> SyncStatus:
        return STATUS

    def subscribe(self, listener: Callable[[SyncStatus], None]) -> Callable[[], None]:
        self.listeners.append(listener)
        return lambda: self.listeners.remove(listener)

    def wait_height(self, height: int, timeout: float, *, agreed: bool = False) -> bool:
        self.heights.append((height, agreed))
        return self.verified

    def transaction(self, block: int, transaction_id: str) -> Any:
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture
def adapter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    monkeypatch.setattr(module, "_AGREEMENT_S", 0.05)

    def make(*answers: Any, **options: Any) -> tuple[LightNodeAdapter, FakeLightNode]:
        fake = FakeLightNode(list(answers), **options)
        monkeypatch.setattr(module, "LightNode", lambda *_: fake)
        profile = SimpleNamespace(chaincode="market")
        made = LightNodeAdapter(profile, tmp_path / "node", None, None)  # type: ignore[arg-type]
        return made, fake

    return make


def test_a_proved_transaction_with_the_markets_writes_alone(adapter: Any) -> None:
    made, fake = adapter(Found(Level.AGREED, TRANSACTION))
    proven = made.prove(7, "tx", 1.0)
    assert proven.proof is Proof.AGREED
    assert proven.writes == {"key": b"1", "gone": None}
    assert fake.heights == [(8, False), (8, True)]


def test_a_moment_is_given_to_the_second_organisation(adapter: Any) -> None:
    made, _ = adapter(Found(Level.VERIFIED, TRANSACTION), Found(Level.AGREED, TRANSACTION))
    module_wait = made.prove(7, "tx", 1.0)
    assert module_wait.proof is Proof.AGREED


def test_one_organisation_alone_is_verified_not_agreed(adapter: Any) -> None:
    made, _ = adapter(Found(Level.VERIFIED, TRANSACTION))
    assert made.prove(7, "tx", 1.0).proof is Proof.VERIFIED


@pytest.mark.parametrize(
    ("found", "contested"),
    [
        # Organisations differ, or one alone says that it is not valid: another may decide it.
        (Found(Level.DISPUTED, TRANSACTION), True),
        (Found(Level.VERIFIED, TRANSACTION, is_valid=False), True),
        (CommitHashMismatch(7, b"\x01", b"\x02", b"\x03"), True),
        (Found(Level.DISPUTED, TRANSACTION, problems=("an endorsement is missing",)), False),
        (Found(Level.AGREED, TRANSACTION, is_valid=False), False),
        (Found(Level.AGREED, None), False),
    ],
)
def test_what_contradicts_is_disputed(adapter: Any, found: Any, contested: bool) -> None:
    made, _ = adapter(found)
    proven = made.prove(7, "tx", 1.0)
    assert (proven.proof, proven.contested) == (Proof.DISPUTED, contested)


@pytest.mark.parametrize(
    "trouble",
    [NotVerified("nobody serves block 7"), StoreError("closed"), MalformedMessage("cut off")],
)
def test_trouble_of_ones_own_is_no_dispute(adapter: Any, trouble: Exception) -> None:
    made, _ = adapter(trouble)
    assert made.prove(7, "tx", 1.0) is None
    made, _ = adapter(Found(Level.VERIFIED, TRANSACTION), trouble)
    assert made.prove(7, "tx", 1.0) is None


def test_a_block_not_verified_in_time(adapter: Any) -> None:
    made, _ = adapter(Found(Level.AGREED, TRANSACTION), verified=False)
    assert made.prove(7, "tx", 0.01) is None


def test_changes_are_passed_on_until_stopped(adapter: Any) -> None:
    made, fake = adapter(NotVerified(""))
    heard: list[int] = []
    stop = made.subscribe(lambda: heard.append(1))
    fake.listeners[0](STATUS)
    stop()
    assert (heard, fake.listeners) == ([1], [])
    made.stop()
    assert fake.stopped


def test_the_trust_view() -> None:
    view = trust_view(STATUS)
    assert (view.height, view.verified_height, view.agreed_height) == (14, 12, 11)
    assert [(p.organisation, p.state, p.agrees) for p in view.peers] == [
        ("Org1MSP", "connected", True),
        ("Org2MSP", "unreachable", None),
    ]
    assert (view.peers[1].error, view.waiting_for) == ("no answer", "a second organisation")
    assert (view.blocks_verified, view.signatures_verified) == (12, 40)
    case = quarantine.Case(7, "2026-06-21T10:00Z", "", "flags")
    shut = replace(STATUS.peers[0], state=PeerState.DISAGREES, agrees=False, error=case.text)
    assert trust_view(replace(STATUS, peers=(shut,))).peers[0].state == "shut out"
    stuck = replace(STATUS, problem=Text("two histories: block 7"))
    assert trust_view(stuck).problem == "two histories: block 7"
