"""The client-side check of 4.3: each way a gateway can lie, one test, the named point."""

import dataclasses
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)

from light_node.fabric import crypto, transaction
from light_node.fabric.errors import UntrustedResponse
from light_node.fabric.pb import common_pb2, kvrwset_pb2, peer_pb2
from light_node.fabric.proposal import Proposal, build_proposal, public_payload
from light_node.fabric.transaction import Endorsement

NOW = datetime(2026, 6, 21, tzinfo=UTC)


@pytest.fixture
def proposed(consortium: Any) -> Proposal:
    return build_proposal(
        consortium.client, "market", "market", [b"SubmitQuote", b"{}"], now=NOW, nonce=bytes(24)
    )


@dataclasses.dataclass
class Answer:
    """The parts a gateway puts together; a test changes one."""

    proposed: Proposal
    chaincode: str = "market"
    proposal_hash: bytes = b""
    status: int = 200
    rwset: bytes = b""
    event: peer_pb2.ChaincodeEvent | None = None
    endorsers: list[Any] = dataclasses.field(default_factory=list)
    change_endorsements: Callable[[list[Endorsement]], list[Endorsement]] = lambda given: given
    change_action: Callable[[peer_pb2.TransactionAction], None] = lambda action: None
    change_transaction: Callable[[peer_pb2.Transaction], None] = lambda tx: None
    change_payload: Callable[[common_pb2.Payload], None] = lambda payload: None

    def envelope(self) -> common_pb2.Envelope:
        response = transaction.response_payload(
            self.proposal_hash or self.proposed.proposal_hash,
            chaincode=self.chaincode,
            version="1",
            results=self.rwset,
            response=peer_pb2.Response(status=self.status, payload=b"result"),
            event=self.event,
        )
        given = [transaction.endorse(endorser, response) for endorser in self.endorsers]
        raw = transaction.prepared_payload(
            self.proposed.channel_header,
            self.proposed.signature_header,
            public_payload(self.proposed.input),
            response,
            self.change_endorsements(given),
        )
        payload = common_pb2.Payload.FromString(raw)
        tx = peer_pb2.Transaction.FromString(payload.data)
        self.change_action(tx.actions[0])
        self.change_transaction(tx)
        payload.data = tx.SerializeToString()
        self.change_payload(payload)
        return common_pb2.Envelope(payload=payload.SerializeToString())


@pytest.fixture
def answer(proposed: Proposal, consortium: Any, kit: Any) -> Answer:
    rwset = kit.results(kit.lifecycle_reads(), kit.writes("market", k=b"v"))
    return Answer(proposed, rwset=rwset, endorsers=consortium.peers[:2])


def refused(answer: Answer, consortium: Any, **options: Any) -> UntrustedResponse:
    with pytest.raises(UntrustedResponse) as caught:
        transaction.check_prepared(
            answer.envelope(), answer.proposed, consortium.majority, **options
        )
    assert caught.value.transaction_id == answer.proposed.transaction_id
    return caught.value


def test_an_honest_answer_passes(answer: Answer, consortium: Any) -> None:
    answer.event = peer_pb2.ChaincodeEvent(
        chaincode_id="market", tx_id=answer.proposed.transaction_id, event_name="E"
    )
    envelope = answer.envelope()
    checked = transaction.check_prepared(envelope, answer.proposed, consortium.majority)
    assert checked.payload == envelope.payload
    assert checked.action.response.payload == b"result"
    assert checked.action.event is not None
    assert len(checked.endorsements) == 2


# -- point 1: the headers sent, one action ------------------------------------------------------


@pytest.mark.parametrize("field", ["channel_header", "signature_header"])
def test_an_altered_header(answer: Answer, consortium: Any, field: str) -> None:
    def change(payload: common_pb2.Payload) -> None:
        setattr(payload.header, field, getattr(payload.header, field) + b"\x40\x01")

    answer.change_payload = change
    assert refused(answer, consortium).point == 1


def test_an_extra_action(answer: Answer, consortium: Any) -> None:
    answer.change_transaction = lambda tx: tx.actions.append(tx.actions[0])
    assert refused(answer, consortium).point == 1


def test_no_action(answer: Answer, consortium: Any) -> None:
    answer.change_transaction = lambda tx: tx.ClearField("actions")
    assert refused(answer, consortium).point == 1


def test_an_action_of_another_creator(answer: Answer, consortium: Any) -> None:
    def change(action: peer_pb2.TransactionAction) -> None:
        action.header = common_pb2.SignatureHeader(
            creator=consortium.peers[0].serialized, nonce=bytes(24)
        ).SerializeToString()

    answer.change_action = change
    assert refused(answer, consortium).point == 1


@pytest.mark.parametrize("raw", [b"", b"\xff", b"\x0a\x80"])
def test_unreadable_payloads(proposed: Proposal, consortium: Any, raw: bytes) -> None:
    with pytest.raises(UntrustedResponse) as caught:
        transaction.check_prepared(common_pb2.Envelope(payload=raw), proposed, consortium.majority)
    assert caught.value.point == 1


@pytest.mark.parametrize("layer", ["payload", "transaction", "action", "chaincode action"])
def test_unknown_fields_smuggled_in(answer: Answer, consortium: Any, layer: str) -> None:
    hidden = b"\xaa\x06\x01x"  # field 101, one byte

    if layer == "payload":

        def change_payload(payload: common_pb2.Payload) -> None:
            payload.MergeFromString(hidden)

        answer.change_payload = change_payload
    elif layer == "transaction":
        answer.change_transaction = lambda tx: tx.MergeFromString(hidden) and None
    elif layer == "action":
        answer.change_action = lambda action: action.MergeFromString(hidden) and None
    else:

        def change(action: peer_pb2.TransactionAction) -> None:
            action.payload = action.payload + hidden

        answer.change_action = change
    assert refused(answer, consortium).point == 1


# -- points 2 to 4: the arguments, the hash, the chaincode -----------------------------------------


def change_proposal_payload(answer: Answer, change: Callable[[Any], None]) -> None:
    def alter(action: peer_pb2.TransactionAction) -> None:
        inner = peer_pb2.ChaincodeActionPayload.FromString(action.payload)
        outer = peer_pb2.ChaincodeProposalPayload.FromString(inner.chaincode_proposal_payload)
        change(outer)
        inner.chaincode_proposal_payload = outer.SerializeToString()
        action.payload = inner.SerializeToString()

    answer.change_action = alter


def test_altered_arguments(answer: Answer, consortium: Any) -> None:
    def change(payload: peer_pb2.ChaincodeProposalPayload) -> None:
        spec = peer_pb2.ChaincodeInvocationSpec.FromString(payload.input)
        spec.chaincode_spec.input.args[1] = b'{"price":1}'
        payload.input = spec.SerializeToString()

    change_proposal_payload(answer, change)
    assert refused(answer, consortium).point == 2


def test_transient_data_left_in(answer: Answer, consortium: Any) -> None:
    change_proposal_payload(answer, lambda p: p.TransientMap.update({"secret": b"s"}))
    assert refused(answer, consortium).point == 2


def test_endorsements_of_another_proposal(answer: Answer, consortium: Any) -> None:
    answer.proposal_hash = bytes(32)
    assert refused(answer, consortium).point == 3


def test_another_chaincode_answered(answer: Answer, consortium: Any) -> None:
    answer.chaincode = "other"
    assert refused(answer, consortium).point == 4


@pytest.mark.parametrize("status", [0, 199, 400, 500, -1])
def test_a_status_that_is_no_success(answer: Answer, consortium: Any, status: int) -> None:
    answer.status = status
    assert refused(answer, consortium).point == 4


def test_an_event_of_another_transaction(answer: Answer, consortium: Any) -> None:
    answer.event = peer_pb2.ChaincodeEvent(chaincode_id="market", tx_id="0" * 64)
    assert refused(answer, consortium).point == 4
    answer.event = peer_pb2.ChaincodeEvent(
        chaincode_id="other", tx_id=answer.proposed.transaction_id
    )
    assert refused(answer, consortium).point == 4


# -- point 5: what is written ---------------------------------------------------------------------


def test_writes_elsewhere(answer: Answer, consortium: Any, kit: Any) -> None:
    answer.rwset = kit.results(kit.writes("market", k=b"v"), kit.writes("bank", k=b"v"))
    assert refused(answer, consortium).point == 5


def test_lifecycle_writes(answer: Answer, consortium: Any, kit: Any) -> None:
    answer.rwset = kit.results(kit.writes("_lifecycle", k=b"v"))
    assert refused(answer, consortium).point == 5


def test_key_metadata_elsewhere_counts_as_write(answer: Answer, consortium: Any, kit: Any) -> None:
    kv = kvrwset_pb2.KVRWSet(metadata_writes=[kvrwset_pb2.KVMetadataWrite(key="k")])
    answer.rwset = kit.results(("_lifecycle", kv))
    assert refused(answer, consortium).point == 5


def test_reads_of_another_chaincode(answer: Answer, consortium: Any, kit: Any) -> None:
    kv = kvrwset_pb2.KVRWSet(reads=[kvrwset_pb2.KVRead(key="k")])
    answer.rwset = kit.results(("bank", kv))
    assert refused(answer, consortium).point == 5


def test_the_callers_expectation_decides(answer: Answer, consortium: Any) -> None:
    def expect(action: transaction.Action) -> None:
        (own,) = (r for r in action.rwsets if r.namespace == "market")
        if own.writes != {"k": b"other"}:
            raise UntrustedResponse(5, "it does not write the quote")

    assert refused(answer, consortium, expect=expect).point == 5


def test_the_callers_expectation_replaces_the_default(
    answer: Answer, consortium: Any, kit: Any
) -> None:
    answer.rwset = kit.results(kit.writes("bank", k=b"v"))
    transaction.check_prepared(
        answer.envelope(), answer.proposed, consortium.majority, expect=lambda action: None
    )


# -- point 6: the endorsements --------------------------------------------------------------------


def test_one_endorsement_too_few(answer: Answer, consortium: Any) -> None:
    answer.endorsers = consortium.peers[:1]
    assert refused(answer, consortium).point == 6


def test_none(answer: Answer, consortium: Any) -> None:
    answer.endorsers = []
    assert refused(answer, consortium).point == 6


def test_the_same_endorser_twice(answer: Answer, consortium: Any) -> None:
    answer.endorsers = [consortium.peers[0], consortium.peers[0]]
    assert refused(answer, consortium).point == 6


def test_two_peers_of_one_organisation(answer: Answer, consortium: Any) -> None:
    second = consortium.identity("Org1MSP", "peer1", "peer")
    answer.endorsers = [consortium.peers[0], second]
    assert refused(answer, consortium).point == 6


def test_a_client_in_a_peers_place(answer: Answer, consortium: Any) -> None:
    answer.endorsers = [
        consortium.peers[0],
        consortium.identity("Org2MSP", "user", "client"),
    ]
    assert refused(answer, consortium).point == 6


def test_an_organisation_made_up(answer: Answer, consortium: Any, kit: Any) -> None:
    key = crypto.generate_key()
    forged = kit.Authority("ca.Org2MSP").certify("peer0", key.public_key(), unit="peer")
    from light_node.fabric.identity import SigningIdentity

    answer.endorsers = [
        consortium.peers[0],
        SigningIdentity.from_key("Org2MSP", forged, key),
    ]
    assert refused(answer, consortium).point == 6


def test_a_bad_endorsement_beside_enough_good_ones(answer: Answer, consortium: Any) -> None:
    def change(given: list[Endorsement]) -> list[Endorsement]:
        return [*given[:2], Endorsement(given[2].endorser, given[0].signature)]

    answer.endorsers = consortium.peers
    answer.change_endorsements = change
    assert refused(answer, consortium).point == 6


def test_a_high_s_endorsement(answer: Answer, consortium: Any) -> None:
    def change(given: list[Endorsement]) -> list[Endorsement]:
        r, s = decode_dss_signature(given[1].signature)
        order = crypto.curve_order(consortium.peers[1].certificate.public_key().curve)
        return [given[0], Endorsement(given[1].endorser, encode_dss_signature(r, order - s))]

    answer.change_endorsements = change
    assert refused(answer, consortium).point == 6


def test_a_result_altered_after_endorsement(answer: Answer, consortium: Any) -> None:
    def change(action: peer_pb2.TransactionAction) -> None:
        inner = peer_pb2.ChaincodeActionPayload.FromString(action.payload)
        response = peer_pb2.ProposalResponsePayload.FromString(
            inner.action.proposal_response_payload
        )
        outcome = peer_pb2.ChaincodeAction.FromString(response.extension)
        outcome.response.payload = b"another result"
        response.extension = outcome.SerializeToString()
        inner.action.proposal_response_payload = response.SerializeToString()
        action.payload = inner.SerializeToString()

    answer.change_action = change
    assert refused(answer, consortium).point == 6


def test_too_many_endorsements(answer: Answer, consortium: Any) -> None:
    answer.change_endorsements = lambda given: given[:1] * (transaction.MAX_ENDORSEMENTS + 1)
    assert refused(answer, consortium).point == 1


def test_a_policy_of_all_organisations(answer: Answer, consortium: Any) -> None:
    all_three = consortium.n_of(3)
    with pytest.raises(UntrustedResponse, match="Org1MSP, Org2MSP only"):
        transaction.check_prepared(answer.envelope(), answer.proposed, all_three)
    answer.endorsers = consortium.peers
    transaction.check_prepared(answer.envelope(), answer.proposed, all_three)
