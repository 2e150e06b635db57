"""Transactions of a real Fabric 3.1.5 network: read, recomputed, checked as if just endorsed."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from light_node.fabric import endorsement, proposal, transaction
from light_node.fabric.channel_config import ChannelConfig
from light_node.fabric.crypto import load_certificate, public_key_of, verify
from light_node.fabric.errors import FabricError, MalformedMessage, UntrustedResponse
from light_node.fabric.pb import common_pb2, msp_pb2, peer_pb2

DATA = Path(__file__).parents[2] / "data" / "fabric"
NETWORKS = ("raft", "bft")
FIVE = common_pb2.Block.FromString((DATA / "raft/full/0005.block").read_bytes()).data.data[0]


def envelopes(network: str) -> list[bytes]:
    found = []
    for path in sorted((DATA / network / "full").glob("*.block")):
        found += common_pb2.Block.FromString(path.read_bytes()).data.data
    return found


def endorser_transactions(network: str) -> list[transaction.ParsedTransaction]:
    return [
        transaction.parse_transaction(raw)
        for raw in envelopes(network)
        if transaction.parse_header(raw).type == common_pb2.ENDORSER_TRANSACTION
    ]


def key_of(serialized: bytes) -> Any:
    pem = msp_pb2.SerializedIdentity.FromString(serialized).id_bytes
    return public_key_of(load_certificate(pem))


@pytest.mark.parametrize("network", NETWORKS)
def test_ids_hashes_and_signatures_of_real_transactions(network: str) -> None:
    found = endorser_transactions(network)
    assert len(found) >= 15
    for tx in found:
        assert tx.id_is_consistent
        assert tx.hash_is_consistent
        assert verify(key_of(tx.creator), tx.header.signature, tx.header.payload)
        for item in tx.endorsements:
            message = tx.response_payload + item.endorser
            assert verify(key_of(item.endorser), item.signature, message)


@pytest.mark.parametrize("network", NETWORKS)
def test_rebuilding_gives_the_bytes_fabric_wrote(network: str) -> None:
    for tx in endorser_transactions(network):
        rebuilt = transaction.prepared_payload(
            tx.header.channel_header,
            tx.header.signature_header,
            tx.proposal_payload,
            tx.response_payload,
            tx.endorsements,
        )
        assert rebuilt == tx.header.payload


def test_a_real_put_decodes() -> None:
    tx = transaction.parse_transaction(FIVE)
    assert (tx.channel, tx.chaincode) == ("raftch", "kv")
    assert tx.args == (b"put", b"k1", b"v1")
    assert tx.response.status == 200
    assert tx.event is not None
    assert (tx.event.name, tx.event.payload) == ("put", b"k1")
    assert tx.event.transaction_id == tx.transaction_id
    written = {rwset.namespace: rwset.writes for rwset in tx.rwsets}
    assert written == {"_lifecycle": {}, "kv": {"k1": b"v1"}}
    assert tx.header.timestamp.year == 2026


def as_proposed(tx: transaction.ParsedTransaction) -> proposal.Proposal:
    """The proposal a recorded transaction came from, as its client would have kept it."""
    return proposal.Proposal(
        transaction_id=tx.transaction_id,
        proposal_bytes=b"",
        signed=peer_pb2.SignedProposal(),
        channel=tx.channel,
        chaincode=tx.chaincode,
        channel_header=tx.header.channel_header,
        signature_header=tx.header.signature_header,
        input=peer_pb2.ChaincodeProposalPayload.FromString(tx.proposal_payload).input,
        proposal_hash=proposal.proposal_hash(
            tx.header.channel_header, tx.header.signature_header, tx.proposal_payload
        ),
    )


@pytest.mark.parametrize("network", NETWORKS)
def test_what_a_real_gateway_prepared_passes_the_whole_check(network: str) -> None:
    config = ChannelConfig.from_block((DATA / network / "full/0000.block").read_bytes())
    definition = endorsement.ChaincodeDefinition(
        "kv", "1", 1, endorsement.reference_bytes(), "vscc"
    )
    policy = endorsement.by_definition(config, definition)
    passed = 0
    for tx in endorser_transactions(network):
        if tx.chaincode != "kv" or len(tx.endorsements) < 2:
            continue
        prepared = common_pb2.Envelope(payload=tx.header.payload)
        checked = transaction.check_prepared(prepared, as_proposed(tx), policy)
        assert checked.payload == tx.header.payload
        passed += 1
    assert passed >= 10


def test_a_real_transaction_with_too_few_endorsements_fails_point_6() -> None:
    config = ChannelConfig.from_block((DATA / "raft/full/0000.block").read_bytes())
    policy = endorsement.by_reference(config)
    (lonely,) = (t for t in endorser_transactions("raft") if t.args[:2] == (b"put", b"one"))
    with pytest.raises(UntrustedResponse, match="Org1MSP only") as caught:
        transaction.check_prepared(
            common_pb2.Envelope(payload=lonely.header.payload), as_proposed(lonely), policy
        )
    assert caught.value.point == 6


def test_the_default_reference_is_that_of_section_9() -> None:
    expected = "12202f4368616e6e656c2f4170706c69636174696f6e2f456e646f7273656d656e74"
    assert endorsement.reference_bytes().hex() == expected


def test_config_envelopes_are_no_transactions() -> None:
    raw = envelopes("raft")[0]
    assert transaction.parse_header(raw).type == common_pb2.CONFIG
    with pytest.raises(MalformedMessage, match="type 1"):
        transaction.parse_transaction(raw)


def test_size_is_bounded() -> None:
    with pytest.raises(MalformedMessage, match="larger"):
        transaction.parse_transaction(FIVE, max_bytes=100)


def test_every_truncation_is_refused_unless_only_the_signature_is_cut_off() -> None:
    read = []
    for length in range(len(FIVE)):
        try:
            read.append(transaction.parse_transaction(FIVE[:length]))
        except MalformedMessage:
            continue
    assert [tx.header.signature for tx in read] == [b""]


@given(st.data())
def test_altered_bytes_raise_one_error_type_only(data: st.DataObject) -> None:
    altered = bytearray(FIVE)
    for _ in range(data.draw(st.integers(1, 3))):
        altered[data.draw(st.integers(0, len(FIVE) - 1))] = data.draw(st.integers(0, 255))
    try:
        tx = transaction.parse_transaction(bytes(altered))
        assert tx.header.timestamp.tzinfo is not None
    except MalformedMessage:
        return
    assert isinstance(tx.id_is_consistent, bool)
    assert isinstance(tx.hash_is_consistent, bool)


def test_a_namespace_named_twice_is_refused(kit: Any) -> None:
    twice = kit.results(kit.writes("market", a=b"1"), kit.writes("market", a=b"2"))
    with pytest.raises(MalformedMessage, match="twice"):
        transaction.parse_rwset(twice)


def test_an_empty_value_counts_as_delete(kit: Any) -> None:
    (rwset,) = transaction.parse_rwset(kit.results(kit.writes("market", a=b"", b=b"x")))
    assert rwset.writes == {"a": None, "b": b"x"}
    assert rwset.writes_anything


def test_private_writes_count_as_writes() -> None:
    hashed = [
        rwset
        for network in NETWORKS
        for tx in endorser_transactions(network)
        for rwset in tx.rwsets
        if rwset.collections
    ]
    assert hashed  # approvals for one's own organisation are private data of _lifecycle
    assert any(rwset.writes_anything for rwset in hashed)


def test_stored_envelopes_are_read_back_or_refused(consortium: Any) -> None:
    envelope = transaction.sign_payload(consortium.client, b"payload")
    assert transaction.read_envelope(envelope.SerializeToString()) == envelope
    for bad in (b"", b"\xff", common_pb2.Envelope(payload=b"x").SerializeToString()):
        with pytest.raises(FabricError):
            transaction.read_envelope(bad)
