"""The verdict of a committing peer: each flag, in Fabric's order, on real transactions."""

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from light_node.devnet import network
from light_node.devnet.access import ChannelRules
from light_node.devnet.certificates import issue_identity
from light_node.devnet.validation import describe_block, validate_block
from light_node.fabric import crypto
from light_node.fabric.block import parse_block
from light_node.fabric.commit_hash import block_updates, commit_hash
from light_node.fabric.identity import SigningIdentity
from light_node.fabric.pb import common_pb2, peer_pb2
from light_node.fabric.proposal import build_proposal
from light_node.fabric.transaction import Endorsement, parse_transaction, response_payload


def change_payload(envelope: bytes, ground: Any, change: Any) -> bytes:
    """Rewrite the payload of a transaction and sign it again as its creator."""
    outer = common_pb2.Envelope.FromString(envelope)
    payload = common_pb2.Payload.FromString(outer.payload)
    change(payload)
    outer.payload = payload.SerializeToString()
    outer.signature = ground.client.sign(outer.payload)
    return outer.SerializeToString()


def change_header(envelope: bytes, ground: Any, **fields: Any) -> bytes:
    def change(payload: common_pb2.Payload) -> None:
        header = common_pb2.ChannelHeader.FromString(payload.header.channel_header)
        for name, value in fields.items():
            setattr(header, name, value)
        payload.header.channel_header = header.SerializeToString()

    return change_payload(envelope, ground, change)


def payload_of(envelope: bytes) -> bytes:
    payload: bytes = common_pb2.Envelope.FromString(envelope).payload
    return payload


# -- each transaction alone ----------------------------------------------------------------


def test_valid_transaction_changes_the_state(ground: Any) -> None:
    assert ground.codes(ground.envelope("put", "a", "1")) == ["VALID"]
    assert ground.value("a") == b"1"


def test_wrong_creator_signature(ground: Any) -> None:
    envelope = common_pb2.Envelope.FromString(ground.envelope("put", "a", "1"))
    envelope.signature = ground.client.sign(b"something else")
    assert ground.codes(envelope.SerializeToString()) == ["BAD_CREATOR_SIGNATURE"]
    assert ground.value("a") is None


def test_high_s_creator_signature(ground: Any) -> None:
    envelope = common_pb2.Envelope.FromString(ground.envelope("put", "a", "1"))
    r, s = crypto.decode_dss_signature(envelope.signature)
    envelope.signature = crypto.encode_dss_signature(
        r, crypto.curve_order(ground.client.signer.public_key.curve) - s
    )
    assert ground.codes(envelope.SerializeToString()) == ["BAD_CREATOR_SIGNATURE"]


def test_unreadable_envelopes(ground: Any) -> None:
    assert ground.codes(b"", b"\xff\xff") == ["NIL_ENVELOPE", "BAD_PAYLOAD"]


def test_transaction_id_that_is_not_the_hash(ground: Any) -> None:
    envelope = change_header(ground.envelope("put", "a", "1"), ground, tx_id="0" * 64)
    assert ground.codes(envelope) == ["BAD_PROPOSAL_TXID"]


def test_header_changed_after_endorsement(ground: Any) -> None:
    # The proposal hash covers the channel header.
    envelope = change_header(ground.envelope("put", "a", "1"), ground, channel_id="other")
    assert ground.codes(envelope) == ["INVALID_ENDORSER_TRANSACTION"]


def test_transaction_for_another_channel(ground: Any) -> None:
    proposal = ground.propose("put", "a", "1", channel="other")
    payload = response_payload(
        proposal.proposal_hash,
        chaincode="kv",
        version="1",
        results=b"",
        response=peer_pb2.Response(status=200),
    )
    envelope = ground.assemble(proposal, payload, [])
    assert ground.codes(envelope) == ["TARGET_CHAIN_NOT_FOUND"]


def test_unknown_envelope_type(ground: Any) -> None:
    envelope = change_header(ground.envelope("put", "a", "1"), ground, type=99)
    assert ground.codes(envelope) == ["UNSUPPORTED_TX_PAYLOAD"]


def test_configuration_cannot_be_smuggled_in(ground: Any) -> None:
    envelope = change_header(ground.envelope("put", "a", "1"), ground, type=common_pb2.CONFIG)
    assert ground.codes(envelope) == ["INVALID_CONFIG_TRANSACTION"]


def test_duplicates_in_one_block_and_across_blocks(ground: Any) -> None:
    envelope = ground.envelope("put", "a", "1")
    assert ground.codes(envelope, envelope) == ["VALID", "DUPLICATE_TXID"]
    assert ground.codes(envelope) == ["DUPLICATE_TXID"]
    # The first result stays (section 2.10).
    entry = ground.store.transaction_entry(parse_transaction(envelope).transaction_id)
    assert (entry.block, entry.position, entry.code) == (1, 0, peer_pb2.VALID)


@pytest.mark.parametrize("endorsers", [(0,), (2,)])
def test_one_endorsement_is_no_majority_of_three(ground: Any, endorsers: tuple[int, ...]) -> None:
    envelope = ground.envelope("put", "a", "1", endorsers=endorsers)
    assert ground.codes(envelope) == ["ENDORSEMENT_POLICY_FAILURE"]


@pytest.mark.parametrize("endorsers", [(0, 1), (0, 2), (1, 2), (0, 1, 2)])
def test_any_two_organisations_suffice(ground: Any, endorsers: tuple[int, ...]) -> None:
    assert ground.codes(ground.envelope("put", "a", "1", endorsers=endorsers)) == ["VALID"]


def test_one_organisation_does_not_count_twice(ground: Any) -> None:
    proposal = ground.propose("put", "a", "1")
    payload, endorsements = ground.endorse(proposal, [0])
    envelope = ground.assemble(proposal, payload, endorsements * 2)
    assert ground.codes(envelope) == ["ENDORSEMENT_POLICY_FAILURE"]


def test_clients_do_not_count_as_endorsers(ground: Any) -> None:
    proposal = ground.propose("put", "a", "1")
    payload, endorsements = ground.endorse(proposal, [0])
    client = ground.identity("mallory", organization=1)
    own = Endorsement(client.serialized, client.sign(payload + client.serialized))
    envelope = ground.assemble(proposal, payload, [*endorsements, own])
    assert ground.codes(envelope) == ["ENDORSEMENT_POLICY_FAILURE"]


def test_altered_result_voids_the_endorsements(ground: Any) -> None:
    first, second = ground.propose("put", "a", "1"), ground.propose("put", "a", "1000000")
    _, endorsements = ground.endorse(first)
    payload, _ = ground.endorse(second)
    envelope = ground.assemble(second, payload, endorsements)
    assert ground.codes(envelope) == ["ENDORSEMENT_POLICY_FAILURE"]


def test_unknown_chaincode(ground: Any) -> None:
    proposal = ground.propose("put", "a", "1", chaincode="nowhere")
    payload = response_payload(
        proposal.proposal_hash,
        chaincode="nowhere",
        version="1",
        results=b"",
        response=peer_pb2.Response(status=200),
    )
    endorsements = [e.view.endorse(payload) for e in ground.endorsers]
    assert ground.codes(ground.assemble(proposal, payload, endorsements)) == ["INVALID_CHAINCODE"]


def test_writing_into_a_system_namespace(ground: Any) -> None:
    proposal = ground.propose("put", "a", "1")
    payload, _ = ground.endorse(proposal)
    outer = peer_pb2.ProposalResponsePayload.FromString(payload)
    action = peer_pb2.ChaincodeAction.FromString(outer.extension)
    action.results = action.results.replace(b"\n\x02kv", b"\n\x02_x")
    outer.extension = action.SerializeToString()
    forged = outer.SerializeToString()
    endorsements = [e.view.endorse(forged) for e in ground.endorsers]
    assert ground.codes(ground.assemble(proposal, forged, endorsements)) == ["ILLEGAL_WRITESET"]


def test_expired_creator_still_commits(ground: Any) -> None:
    # Expiry is enforced on clients when they propose and broadcast, not in blocks (3.2).
    member = ground.identity("short", not_after=ground.clock.now())
    envelope = ground.envelope("put", "a", "1", identity=member)
    ground.clock.moment = ground.clock.now().replace(year=2027)
    assert ground.codes(envelope) == ["VALID"]


def test_ed25519_clients_on_a_v3_channel(ground: Any) -> None:
    key = crypto.ed25519.Ed25519PrivateKey.generate()
    after = ground.clock.now() + timedelta(days=1)
    root = ground.network.material.peers[1].ca
    certificate = issue_identity(root, key.public_key(), "ed", ["client"], after)
    pem = crypto.certificate_pem(certificate)
    identity = SigningIdentity.from_key("Org2MSP", pem, key)
    assert ground.codes(ground.envelope("put", "a", "1", identity=identity)) == ["VALID"]


# -- against the state ---------------------------------------------------------------------


def test_the_first_of_two_rivals_wins_within_a_block(ground: Any) -> None:
    rivals = [ground.envelope("add", "n", amount) for amount in ("1", "10")]
    assert ground.codes(*rivals) == ["VALID", "MVCC_READ_CONFLICT"]
    assert ground.value("n") == b"1"


def test_stale_read_across_blocks(ground: Any) -> None:
    late = ground.envelope("add", "n", "10")
    assert ground.codes(ground.envelope("add", "n", "1")) == ["VALID"]
    assert ground.codes(late) == ["MVCC_READ_CONFLICT"]


def test_blind_writes_never_conflict(ground: Any) -> None:
    envelopes = [ground.envelope("put", "a", value) for value in "123"]
    assert ground.codes(*envelopes) == ["VALID"] * 3
    assert ground.value("a") == b"3"


def test_reading_a_missing_key_conflicts_with_its_creation(ground: Any) -> None:
    late = ground.envelope("add", "n", "1")
    ground.codes(ground.envelope("put", "n", "5"))
    assert ground.codes(late) == ["MVCC_READ_CONFLICT"]


@pytest.mark.parametrize(
    ("before", "rival", "expected"),
    [
        ([], ("put", "k5", "x"), "PHANTOM_READ_CONFLICT"),  # insert
        ([("put", "k5", "x")], ("del", "k5"), "PHANTOM_READ_CONFLICT"),  # delete
        ([("put", "k5", "x")], ("put", "k5", "y"), "PHANTOM_READ_CONFLICT"),  # change
        ([("put", "k5", "x")], ("put", "k9", "y"), "VALID"),  # end is exclusive
        ([("put", "k5", "x")], ("put", "j9", "y"), "VALID"),  # before the range
        ([("put", "k5", "x")], ("del", "k6"), "VALID"),  # deleting what is not there
    ],
)
@pytest.mark.parametrize("same_block", [True, False])
def test_ranges_are_read_again_at_commit(
    ground: Any,
    before: list[tuple[str, ...]],
    rival: tuple[str, ...],
    expected: str,
    same_block: bool,
) -> None:
    for call in before:
        ground.codes(ground.envelope(*call))
    counting = ground.envelope("count", "k1", "k9", "total")
    changing = ground.envelope(*rival)
    if same_block:
        assert ground.codes(changing, counting) == ["VALID", expected]
    else:
        assert ground.codes(changing) == ["VALID"]
        assert ground.codes(counting) == [expected]


def test_own_writes_are_not_phantoms(ground: Any) -> None:
    ground.codes(ground.envelope("put", "k1", "x"))
    assert ground.codes(ground.envelope("count", "k0", "k9", "k5")) == ["VALID"]
    assert ground.value("k5") == b"1"


def test_empty_value_deletes(ground: Any) -> None:
    ground.codes(ground.envelope("put", "a", "1"))
    assert ground.codes(ground.envelope("put", "a", "")) == ["VALID"]
    assert ground.value("a") is None


def test_a_refused_proposal_has_no_endorsement(ground: Any) -> None:
    with pytest.raises(AssertionError, match="too late"):
        ground.endorse(ground.propose("fail", "409", "too late"))


def test_commit_hash_is_recomputed_from_the_blocks_alone(ground: Any) -> None:
    ground.codes(ground.envelope("put", "a", "1"), ground.envelope("put", "b", "2"))
    ground.codes(ground.envelope("del", "a"), ground.envelope("add", "n", "1"))
    rivals = [ground.envelope("add", "n", amount) for amount in ("1", "10")]
    ground.codes(*rivals)
    previous = b""
    for number in range(1, ground.chain.height):
        block = parse_block(ground.endorsers[0].view.block(number))
        stored = ground.chain.stored(number)
        updates = block_updates(number, block.envelopes, stored.filter)
        previous = commit_hash(stored.filter, updates, previous)
        assert stored.commit_hash == previous


def test_a_block_read_back_tells_the_same(ground: Any) -> None:
    committed = ground.commit(
        ground.envelope("emit", "a", "1", "Named"), b"\xff", ground.envelope("put", "b", "1")
    )
    data = common_pb2.BlockData.FromString(committed.stored.data).data
    assert describe_block(tuple(data), committed.stored.filter) == committed.results
    assert committed.results[0].event.name == "Named"


def test_deterministic_over_nonces(ground: Any) -> None:
    # Different peers simulate the same proposal to the same bytes, whatever is in the state.
    for key in ("b", "a", "c"):
        ground.codes(ground.envelope("put", key, key))
    proposal = build_proposal(
        ground.client,
        "market",
        "kv",
        [b"count", b"a", b"z", b"total"],
        now=ground.clock.now(),
        nonce=b"n" * 24,
    )
    payload, endorsements = ground.endorse(proposal, [0, 1, 2])
    assert len(endorsements) == 3
    assert parse_transaction(ground.assemble(proposal, payload, endorsements)).rwsets[0].kv.writes


def test_whatever_is_ordered_gets_a_verdict(ground: Any, caplog: pytest.LogCaptureFixture) -> None:
    good = ground.envelope("add", "n", "1")

    @settings(max_examples=150, deadline=None, database=None)
    @given(st.data())
    def property_(data: st.DataObject) -> None:
        mutated = bytearray(good)
        for _ in range(data.draw(st.integers(1, 4))):
            position = data.draw(st.integers(0, len(mutated) - 1))
            mutated[position] = data.draw(st.integers(0, 255))
        cut = data.draw(st.integers(0, len(mutated)))
        kept = bytes(mutated) if data.draw(st.booleans()) else bytes(mutated[:cut])
        rules = ChannelRules(network.current_config(ground.store), frozenset({"kv", "market"}))
        validated = validate_block(9, [kept], rules, ground.store, lambda _: False)
        assert len(validated.filter) == 1
        if validated.filter == b"\0":
            assert payload_of(kept) == payload_of(good)  # nothing that was signed has changed
        assert describe_block([kept], validated.filter)[0].code == validated.filter[0]

    property_()
    assert "could not be validated" not in caplog.text


def test_a_defect_of_validation_stops_one_transaction_only(
    ground: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = ground.envelope("put", "a", "1"), ground.envelope("put", "b", "1")
    endorsed = ChannelRules.endorsed

    def defective(self: ChannelRules, transaction: Any, chaincode: str) -> bool:
        if transaction.args[1] == b"a":
            raise RuntimeError("defect")
        return endorsed(self, transaction, chaincode)

    monkeypatch.setattr(ChannelRules, "endorsed", defective)
    assert ground.codes(first, second) == ["INVALID_OTHER_REASON", "VALID"]
    assert "defect" in caplog.text
