"""After a settlement is agreed on, the slot is replayed: what comes of it, and when it is tried."""

import queue
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from light_node.chain.audit import Difference, Replay
from light_node.chain.auditor import Audit
from light_node.chain.errors import CommitHashMismatch, NotVerified
from light_node.chain.status import Level
from light_node.fabric.errors import Unavailable
from tests.wallet_app.trading.house import FakeNode, House, Market
from wallet_app.trading import node as module
from wallet_app.trading.node import LightNodeAdapter
from wallet_app.trading.proofs import Audited, Claim, Proven, Prover
from wallet_app.trading.view import Proof, TrustView

SLOT = "2026-06-21T10:00Z/PT60M"
DIFFERENCE = Difference(9, "tx", "ClearSlot", "clearing, price", "5700", "5000")


# -- the light node's answer --------------------------------------------------------------------


def answer(
    *differences: Difference, phase: str = "settled", level: Level = Level.AGREED, **more: Any
) -> Audit:
    replay = Replay(SLOT, phase, 12, differences, more.get("unchecked", ()))
    return Audit(replay, level, ("Org1MSP", "Org2MSP"), 3, 9)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (answer(), Audited(Proof.AUDITED)),
        (answer(level=Level.VERIFIED), Audited(Proof.AGREED)),
        (answer(unchecked=("a reading",)), Audited(Proof.AGREED)),
        (answer(phase="cleared"), Audited(Proof.AGREED)),
        (answer(DIFFERENCE), Audited(Proof.DISPUTED, str(DIFFERENCE))),
        (answer(level=Level.DISPUTED), Audited(Proof.DISPUTED, contested=True)),
        (
            answer(DIFFERENCE, level=Level.DISPUTED),
            Audited(Proof.DISPUTED, str(DIFFERENCE), contested=True),
        ),
        (NotVerified("nobody serves block 4"), None),
        (Unavailable("no answer"), None),
    ],
)
def test_what_an_audit_means_for_the_screens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: Any, expected: Any
) -> None:
    asked = []

    def audit(slot: str, block: int) -> Audit:
        asked.append((slot, block))
        if isinstance(given, Exception):
            raise given
        found: Audit = given
        return found

    monkeypatch.setattr(module, "LightNode", lambda *_: None)
    monkeypatch.setattr(module, "Auditor", lambda *_, **__: SimpleNamespace(audit=audit))
    profile = SimpleNamespace(chaincode="market")
    adapter = LightNodeAdapter(profile, tmp_path, None, None)  # type: ignore[arg-type]
    assert adapter.audit(SLOT, 9) == expected
    assert asked == [(SLOT, 9)]


def test_flags_that_are_not_in_the_commit_hash_are_a_dispute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def audit(slot: str, block: int) -> Audit:
        raise CommitHashMismatch(8, b"h" * 32, b"a" * 32, b"b" * 32)

    monkeypatch.setattr(module, "LightNode", lambda *_: None)
    monkeypatch.setattr(module, "Auditor", lambda *_, **__: SimpleNamespace(audit=audit))
    adapter = LightNodeAdapter(SimpleNamespace(chaincode="m"), tmp_path, None, None)  # type: ignore[arg-type]
    found = adapter.audit(SLOT, 9)
    assert found is not None
    assert (found.proof, found.contested) == (Proof.DISPUTED, True)
    assert "block 8" in found.difference


# -- the prover ---------------------------------------------------------------------------------


class Node:
    """Proves as told, and audits with ``answers``, one after the other."""

    def __init__(self, proof: Proof, *answers: Audited | None) -> None:
        self.proof, self.answers = proof, list(answers)

    def trust(self) -> TrustView:
        return TrustView()

    def prove(self, block: int, transaction_id: str, timeout: float) -> Proven | None:
        return Proven(self.proof, {})

    def audit(self, slot: str, block: int) -> Audited | None:
        return self.answers.pop(0)


def outcomes(node: Node, count: int, monkeypatch: pytest.MonkeyPatch, **claim: Any) -> list[Any]:
    monkeypatch.setattr("wallet_app.trading.proofs._PAUSE_S", 0.0)
    results: queue.Queue[Any] = queue.Queue()

    def done(proof: Proof, contested: bool) -> None:
        results.put((proof, "contested") if contested else proof)

    prover = Prover(node)
    prover.start()
    options: dict[str, Any] = {"slot": SLOT, "audited": results.put, **claim}
    prover.put(Claim(7, "tx", lambda _: True, done, **options))
    found = [results.get(timeout=20) for _ in range(count)]
    prover.put(Claim(8, "tx", lambda _: True, lambda *_: results.put("the end")))
    assert results.get(timeout=20) == "the end"  # and nothing before it
    prover.stop()
    return found


CONTESTED = (Proof.DISPUTED, "contested")


def test_agreement_is_told_first_and_the_audit_after_it(monkeypatch: pytest.MonkeyPatch) -> None:
    node = Node(Proof.AGREED, Audited(Proof.AUDITED))
    assert outcomes(node, 2, monkeypatch) == [Proof.AGREED, Audited(Proof.AUDITED)]


def test_an_audit_that_cannot_be_done_yet_is_done_later(monkeypatch: pytest.MonkeyPatch) -> None:
    found = Audited(Proof.DISPUTED, "price")
    node = Node(Proof.AGREED, None, None, found)
    assert outcomes(node, 2, monkeypatch) == [Proof.AGREED, found]


@pytest.mark.parametrize("proof", [Proof.VERIFIED, Proof.DISPUTED])
def test_nothing_is_replayed_before_two_organisations_agree(
    monkeypatch: pytest.MonkeyPatch, proof: Proof
) -> None:
    told = CONTESTED if proof is Proof.DISPUTED else proof
    assert outcomes(Node(proof), 1, monkeypatch) == [told]


def test_a_dispute_that_is_none_between_organisations_is_told_at_once_and_for_good(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("wallet_app.trading.proofs._FIRST_LATER_S", 0.0)
    node = Node(Proof.AGREED)
    monkeypatch.setattr(node, "prove", lambda *_: Proven(Proof.DISPUTED, {}, contested=False))
    assert outcomes(node, 1, monkeypatch) == [Proof.DISPUTED]


@pytest.mark.parametrize("contested", [1, 2, 3, 6])
def test_an_audit_of_contested_flags_is_done_again(
    monkeypatch: pytest.MonkeyPatch, contested: int
) -> None:
    """Told when they are found to differ for the third time; once; and taken back."""
    monkeypatch.setattr("wallet_app.trading.proofs._FIRST_LATER_S", 0.0)
    differ, over = Audited(Proof.DISPUTED, "x", contested=True), Audited(Proof.AUDITED)
    node = Node(Proof.AGREED, *[differ] * contested, over)
    told = [differ, over] if contested > 2 else [over]
    assert outcomes(node, 1 + len(told), monkeypatch) == [Proof.AGREED, *told]


class Changing(Node):
    """Proves as told, one after the other, and then AGREED."""

    def __init__(self, *proofs: Proof | None) -> None:
        super().__init__(Proof.AGREED, *[Audited(Proof.AUDITED)] * 2)
        self.proofs = list(proofs)

    def prove(self, block: int, transaction_id: str, timeout: float) -> Proven | None:
        proof = self.proofs.pop(0) if self.proofs else Proof.AGREED
        return None if proof is None else Proven(proof, {})


@pytest.mark.parametrize(
    ("proofs", "told"),
    [
        # One organisation's word, and the other comes later: agreed, and audited.
        ([Proof.VERIFIED] * 4, [Proof.VERIFIED]),
        ([Proof.VERIFIED, None, Proof.VERIFIED], [Proof.VERIFIED]),
        # Two differ until the third decides: no alarm.
        ([Proof.DISPUTED, Proof.DISPUTED], []),
        ([Proof.VERIFIED, Proof.DISPUTED, Proof.DISPUTED, Proof.VERIFIED], [Proof.VERIFIED]),
        # They go on differing: that is told, and taken back when one is shut out.
        ([Proof.DISPUTED] * 3, [CONTESTED]),
        ([Proof.DISPUTED] * 5, [CONTESTED]),
        ([*[Proof.DISPUTED] * 3, None, Proof.VERIFIED], [CONTESTED, Proof.VERIFIED]),
        ([Proof.VERIFIED, *[Proof.DISPUTED] * 3], [Proof.VERIFIED, CONTESTED]),
    ],
)
def test_a_witness_that_comes_late_still_counts(
    monkeypatch: pytest.MonkeyPatch, proofs: list[Proof | None], told: list[Any]
) -> None:
    monkeypatch.setattr("wallet_app.trading.proofs._FIRST_LATER_S", 0.0)
    monkeypatch.setattr("wallet_app.trading.proofs._WAIT_S", 0.005)
    told = [*told, Proof.AGREED, Audited(Proof.AUDITED)]
    assert outcomes(Changing(*proofs), len(told), monkeypatch) == told


def test_what_one_organisation_alone_says_is_not_looked_at_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("wallet_app.trading.proofs._FIRST_LATER_S", 0.0)
    monkeypatch.setattr("wallet_app.trading.proofs._TRIES", 3)
    node = Changing(*[Proof.VERIFIED] * 4)
    assert outcomes(node, 1, monkeypatch) == [Proof.VERIFIED]
    assert len(node.proofs) <= 3


def test_what_settles_no_slot_is_not_replayed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert outcomes(Node(Proof.AGREED), 1, monkeypatch, audited=None) == [Proof.AGREED]


# -- the session --------------------------------------------------------------------------------


@pytest.fixture
def settled(market: Market, house: House) -> Callable[[Audited], House]:
    def run(found: Audited) -> House:
        house.node.audited = found
        house.start()
        market.run_until_settled()
        return house

    return run


def test_an_audited_slot_is_shown_as_such(settled: Callable[[Audited], House]) -> None:
    house = settled(Audited(Proof.AUDITED))
    assert house.slot().proof is Proof.AUDITED
    assert not house.said("error")


def test_a_slot_that_does_not_follow_is_disputed_and_said(
    settled: Callable[[Audited], House],
) -> None:
    house = settled(Audited(Proof.DISPUTED, str(DIFFERENCE)))
    assert house.slot().proof is Proof.DISPUTED
    assert any("does not follow from quotes and readings" in text for text in house.said("error"))


CONTESTED_AUDIT = Audited(Proof.DISPUTED, contested=True)


def test_a_contested_slot_follows_those_that_are_left(
    settled: Callable[[Audited], House], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over restarts, too: while peers differ, and once who lied is shut out."""
    monkeypatch.setattr(FakeNode, "audit", lambda *_: CONTESTED_AUDIT)
    house = settled(CONTESTED_AUDIT)
    assert house.slot().proof is Proof.DISPUTED
    assert any("organisations differ on what took effect" in t for t in house.said("error"))
    house.kill()
    monkeypatch.setattr(FakeNode, "audit", lambda *_: None)
    house = house.again()
    assert house.slot().proof is Proof.AGREED
    house.kill()
    monkeypatch.setattr(FakeNode, "audit", lambda *_: Audited(Proof.AUDITED))
    assert house.again().slot().proof is Proof.AUDITED


def test_a_slot_settled_wrongly_stays_disputed(
    settled: Callable[[Audited], House], monkeypatch: pytest.MonkeyPatch
) -> None:
    house = settled(Audited(Proof.DISPUTED, str(DIFFERENCE)))
    house.kill()
    monkeypatch.setattr(FakeNode, "audit", lambda *_: Audited(Proof.AUDITED))
    assert house.again().slot().proof is Proof.DISPUTED


def test_an_audit_that_a_stop_cut_short_is_made_up_for_at_the_next_start(
    market: Market, house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.start()
    market.run_until_settled()
    assert house.slot().proof is Proof.AGREED
    house.kill()
    monkeypatch.setattr(FakeNode, "audit", lambda *_: Audited(Proof.AUDITED))
    later = house.again()
    assert later.slot().proof is Proof.AUDITED
