"""Real transactions with one field altered: who notices, creator or endorsers (2.10, steps 3 to 5).

The whole payload is under the creator's signature, so nobody else can alter it. What the creator
alone could alter, by signing anew, must not be what was proposed and endorsed.
"""

from collections.abc import Callable

import pytest

from light_node.chain import trust, verify
from light_node.chain.blocks import DEFAULT_ENDORSEMENT, check_transaction
from light_node.fabric.channel_config import ChannelConfig
from light_node.fabric.pb import common_pb2
from light_node.fabric.transaction import ParsedTransaction
from tests.light_node.chain.tampering import alterations

Blocks = Callable[[str, str], list[bytes]]
ENVELOPE = common_pb2.Envelope.DESCRIPTOR
POLICIES = {"kv": DEFAULT_ENDORSEMENT}
BY_CREATOR = ("its creator is not accepted", "its creator's signature is wrong")


def transaction_of(raws: list[bytes], number: int) -> tuple[ChannelConfig, bytes]:
    envelopes = verify.parse(raws[number]).envelopes
    assert envelopes is not None
    return trust.load(raws[0]).config, envelopes[0]


def outcome_of(transaction: ParsedTransaction) -> tuple[object, ...]:
    """What was asked, of whom, in whose name, and what came of it."""
    return (
        transaction.channel,
        transaction.transaction_id,
        transaction.creator,
        transaction.chaincode,
        transaction.args,
        transaction.action,
    )


@pytest.mark.parametrize("kind", ["raft", "bft"])
@pytest.mark.parametrize("number", [5, 7])
def test_what_is_accepted_is_the_same_transaction(
    real_blocks: Blocks, kind: str, number: int
) -> None:
    config, envelope = transaction_of(real_blocks(kind, "full"), number)
    good, problems = check_transaction(config, envelope, POLICIES)
    assert good is not None
    assert not problems
    accepted = set()
    for alteration in alterations(envelope, ENVELOPE):
        found, problems = check_transaction(config, alteration.raw, POLICIES)
        if not problems:
            assert found == good
            accepted.add(alteration.path)
    # Spelling only: and in a block no other spelling of an envelope passes (2.2).
    assert accepted == {"", "payload", "signature"}


@pytest.mark.parametrize("kind", ["raft", "bft"])
@pytest.mark.parametrize("number", [5, 7])
def test_a_creator_can_alter_nothing_that_was_endorsed(
    real_blocks: Blocks, kind: str, number: int
) -> None:
    config, envelope = transaction_of(real_blocks(kind, "full"), number)
    good, _ = check_transaction(config, envelope, POLICIES)
    assert good is not None
    noticed = {"creator": 0, "endorsers": 0, "unreadable": 0}
    for alteration in alterations(envelope, ENVELOPE):
        found, problems = check_transaction(config, alteration.raw, POLICIES)
        others = [problem for problem in problems if not problem.startswith(BY_CREATOR)]
        if found is None:
            noticed["unreadable"] += 1
        elif others:
            noticed["endorsers"] += 1
        elif problems:
            noticed["creator"] += 1
            assert outcome_of(found) == outcome_of(good), (alteration.path, alteration.how)
    assert min(noticed.values()) > 50


@pytest.mark.parametrize(
    ("path", "how", "complaint"),
    [
        ("payload.header.channel_header.tx_id", "changed", "hash of nonce and creator"),
        ("payload.header.channel_header.channel_id", "changed", "another channel"),
        ("payload.header.channel_header.epoch", "added", "not what was proposed"),
        ("payload.header.signature_header.nonce", "changed", "hash of nonce and creator"),
        ("payload.header.signature_header.creator.mspid", "changed", "creator is not accepted"),
        ("payload.data.actions.header.nonce", "changed", "not what was proposed"),
        (
            "payload.data.actions.payload.chaincode_proposal_payload.input.chaincode_spec"
            ".input.args",
            "changed",
            "not what was proposed",
        ),
        (
            "payload.data.actions.payload.action.proposal_response_payload.proposal_hash",
            "changed",
            "not what was proposed",
        ),
        (
            "payload.data.actions.payload.action.proposal_response_payload.extension.results"
            ".ns_rwset.rwset.writes.value",
            "changed",
            "endorsements do not satisfy",
        ),
        (
            "payload.data.actions.payload.action.proposal_response_payload.extension.response"
            ".payload",
            "dropped",
            "endorsements do not satisfy",
        ),
        (
            "payload.data.actions.payload.action.endorsements",
            "dropped",
            "endorsements do not satisfy",
        ),
        (
            "payload.data.actions.payload.action.endorsements.signature",
            "changed",
            "endorsements do not satisfy",
        ),
        ("payload.data.actions", "doubled", "2 actions"),
        ("payload.data.actions", "dropped", "0 actions"),
        ("signature", "changed", "creator's signature is wrong"),
        ("signature", "empty", "creator's signature is wrong"),
    ],
)
def test_each_altered_field_is_named(
    real_blocks: Blocks, path: str, how: str, complaint: str
) -> None:
    config, envelope = transaction_of(real_blocks("raft", "full"), 7)
    found = [a for a in alterations(envelope, ENVELOPE) if (a.path, a.how) == (path, how)]
    assert found, "the transaction has such a field"
    for alteration in found:
        _, problems = check_transaction(config, alteration.raw, POLICIES)
        assert any(complaint in problem for problem in problems), problems
