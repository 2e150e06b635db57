"""What an endorser refuses, in Fabric's words, and what system chaincodes answer."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from light_node.devnet.endorser import Outcome, ProposalRefused
from light_node.fabric import crypto
from light_node.fabric.identity import SigningIdentity
from light_node.fabric.pb import (
    common_pb2,
    lifecycle_pb2,
    peer_pb2,
)
from light_node.fabric.proposal import build_proposal


def evaluate(ground: Any, *args: str | bytes, chaincode: str = "kv", **options: Any) -> Outcome:
    raw = [a.encode() if isinstance(a, str) else a for a in args]
    proposal = build_proposal(
        options.pop("identity", ground.client),
        options.pop("channel", "market"),
        chaincode,
        raw,
        now=options.pop("now", ground.clock.now()),
        nonce=next(ground._nonces).to_bytes(24, "big"),
    )
    outcome: Outcome = asyncio.run(ground.endorsers[0].evaluate(proposal.signed))
    return outcome


def refused(ground: Any, signed: peer_pb2.SignedProposal) -> ProposalRefused:
    with pytest.raises(ProposalRefused) as caught:
        asyncio.run(ground.endorsers[0].process(signed))
    return caught.value


# -- checks --------------------------------------------------------------------------------


@pytest.mark.parametrize("minutes", [-16, 16])
def test_stale_or_early_proposals(ground: Any, minutes: int) -> None:
    now = ground.clock.now() + timedelta(minutes=minutes)
    error = refused(ground, ground.propose("get", "a", now=now).signed)
    assert error.by_filter
    assert "request unauthorized due to incorrect timestamp" in str(error)


@pytest.mark.parametrize("minutes", [-14, 14])
def test_proposals_within_the_window(ground: Any, minutes: int) -> None:
    now = ground.clock.now() + timedelta(minutes=minutes)
    assert evaluate(ground, "put", "a", "1", now=now).ok


def test_expired_identity(ground: Any) -> None:
    member = ground.identity("short", not_after=ground.clock.now() + timedelta(hours=1))
    assert evaluate(ground, "put", "a", "1", identity=member).ok
    ground.clock.moment += timedelta(hours=2)
    error = refused(ground, ground.propose("get", "a", identity=member).signed)
    assert error.by_filter
    assert str(error) == "proposal client identity expired"


def test_identity_of_an_unknown_organisation(ground: Any) -> None:
    stranger = SigningIdentity("Org9MSP", ground.client.certificate_pem, ground.client.signer)
    error = refused(ground, ground.propose("get", "a", identity=stranger).signed)
    assert str(error) == (
        "error validating proposal: access denied: channel [market] creator org unknown, "
        "creator is malformed"
    )


def test_identity_issued_by_another_organisations_ca(ground: Any) -> None:
    stranger = SigningIdentity("Org2MSP", ground.client.certificate_pem, ground.client.signer)
    assert "creator is malformed" in str(
        refused(ground, ground.propose("get", "a", identity=stranger).signed)
    )


def test_identity_without_a_node_ou(ground: Any) -> None:
    nobody = ground.identity("nobody", "nothing")
    error = refused(ground, ground.propose("get", "a", identity=nobody).signed)
    assert str(error).endswith("access denied: channel [market] creator org [Org1MSP]")


def test_peers_may_not_propose(ground: Any) -> None:
    peer = ground.identity("peer9", "peer")
    error = refused(ground, ground.propose("get", "a", identity=peer).signed)
    assert "with policy [/Channel/Application/Writers]" in str(error)


def test_a_channel_that_has_lost_its_policy_lets_nobody_in(ground: Any) -> None:
    del ground.access.config.policies.groups["Application"].policies["Writers"]
    error = refused(ground, ground.propose("get", "a").signed)
    assert "with policy [/Channel/Application/Writers]" in str(error)


@pytest.mark.parametrize("high_s", [True, False])
def test_signatures_that_fabric_refuses(ground: Any, high_s: bool) -> None:
    signed = ground.propose("get", "a").signed
    r, s = crypto.decode_dss_signature(signed.signature)
    order = crypto.curve_order(ground.client.signer.public_key.curve)
    signed.signature = crypto.encode_dss_signature(r if high_s else r + 1, order - s)
    error = refused(ground, signed)
    assert not error.by_filter
    assert "access denied: channel [market] creator org [Org1MSP]" in str(error)


def test_unknown_channel(ground: Any) -> None:
    error = refused(ground, ground.propose("get", "a", channel="other").signed)
    assert str(error) == "channel 'other' not found"


def test_committed_transaction_is_not_endorsed_again(ground: Any) -> None:
    proposal = ground.propose("put", "a", "1")
    ground.codes(ground.assemble(proposal, *ground.endorse(proposal)))
    error = refused(ground, proposal.signed)
    assert str(error) == f"duplicate transaction found [{proposal.transaction_id}]"


def test_bytes_that_are_no_proposal(ground: Any) -> None:
    assert refused(ground, peer_pb2.SignedProposal(proposal_bytes=b"\xff", signature=b"x"))
    assert refused(ground, peer_pb2.SignedProposal())


# -- simulation ----------------------------------------------------------------------------


def test_refusal_of_the_chaincode_is_not_signed(ground: Any) -> None:
    proposal = ground.propose("fail", "409", "WRONG_PHASE: no")
    answer = asyncio.run(ground.endorsers[0].process(proposal.signed))
    assert (answer.response.status, answer.response.message) == (409, "WRONG_PHASE: no")
    assert answer.payload
    assert not answer.HasField("endorsement")


def test_unknown_chaincode(ground: Any) -> None:
    outcome = evaluate(ground, "f", chaincode="nowhere")
    assert (outcome.response.status, outcome.payload) == (500, b"")
    assert "chaincode nowhere not found" in outcome.response.message


def test_a_crash_of_the_chaincode_is_contained(
    ground: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def crash(_: object) -> None:
        raise RuntimeError("boom")

    monkeypatch.setitem(ground.endorsers[0]._chaincodes, "kv", crash)
    outcome = evaluate(ground, "get", "a")
    assert (outcome.response.status, outcome.payload) == (500, b"")
    assert "boom" not in outcome.response.message
    assert "boom" in caplog.text


def test_the_market_contract_runs_with_the_callers_certificate(ground: Any) -> None:
    slot = '{"cap":11000,"floor":4000,"rounds":3,"slot":"2026-06-21T10:00Z/PT60M"}'
    outcome = evaluate(ground, "OpenSlot", slot, chaincode="market")
    assert outcome.ok, outcome.response.message
    outsider = ground.identity("hh-001")
    outcome = evaluate(ground, "OpenSlot", slot, chaincode="market", identity=outsider)
    assert outcome.response.status == 403
    assert outcome.response.message.startswith("NOT_PERMITTED: ")


# -- system chaincodes ---------------------------------------------------------------------


def query(ground: Any, chaincode: str, *args: str | bytes, **options: Any) -> bytes:
    outcome = evaluate(ground, *args, chaincode=chaincode, **options)
    assert outcome.ok, outcome.response.message
    payload: bytes = outcome.response.payload
    return payload


def test_qscc_tells_the_chain(ground: Any) -> None:
    envelope = ground.envelope("put", "a", "1")
    block = ground.commit(envelope).stored
    info = common_pb2.BlockchainInfo.FromString(query(ground, "qscc", "GetChainInfo", "market"))
    assert (info.height, info.currentBlockHash, info.previousBlockHash) == (
        2,
        block.hash,
        ground.network.genesis.hash,
    )
    tx_id = ground.chain.committed(1).results[0].transaction_id
    whole = ground.endorsers[0].view.block(1)
    assert query(ground, "qscc", "GetBlockByNumber", "market", "1") == whole
    assert query(ground, "qscc", "GetBlockByHash", "market", block.hash) == whole
    assert query(ground, "qscc", "GetBlockByTxID", "market", tx_id) == whole
    processed = peer_pb2.ProcessedTransaction.FromString(
        query(ground, "qscc", "GetTransactionByID", "market", tx_id)
    )
    assert processed.validationCode == peer_pb2.VALID
    assert processed.transactionEnvelope.SerializeToString() == envelope


@pytest.mark.parametrize(
    "args",
    [
        ("GetBlockByNumber", "market", "9"),
        ("GetBlockByNumber", "market", "-1"),
        ("GetBlockByNumber", "market", "9" * 20),
        ("GetBlockByHash", "market", b"x" * 32),
        ("GetTransactionByID", "market", "0" * 64),
        ("GetChainInfo", "other"),
        ("GetChainInfo",),
        ("Unheard",),
        (),
    ],
)
def test_qscc_says_no(ground: Any, args: tuple[str | bytes, ...]) -> None:
    outcome = evaluate(ground, *args, chaincode="qscc")
    assert outcome.response.status == 500
    assert outcome.response.message


def test_cscc_gives_the_configuration(ground: Any) -> None:
    block = query(ground, "cscc", "GetConfigBlock", "market")
    assert block == ground.endorsers[0].view.block(0)
    config = common_pb2.Config.FromString(query(ground, "cscc", "GetChannelConfig", "market"))
    assert set(config.channel_group.groups) == {"Orderer", "Application"}
    channels = peer_pb2.ChannelQueryResponse.FromString(
        query(ground, "cscc", "GetChannels", channel="")
    )
    assert [c.channel_id for c in channels.channels] == ["market"]


def test_without_a_channel_only_local_members_and_only_that_question(ground: Any) -> None:
    with pytest.raises(ProposalRefused):
        evaluate(ground, "get", "a", channel="")
    stranger = ground.identity("x", organization=1)
    with pytest.raises(ProposalRefused):
        evaluate(ground, "GetChannels", chaincode="cscc", channel="", identity=stranger)


def test_lifecycle_names_the_endorsement_policy(ground: Any) -> None:
    asked = lifecycle_pb2.QueryChaincodeDefinitionArgs(name="market").SerializeToString()
    definition = lifecycle_pb2.QueryChaincodeDefinitionResult.FromString(
        query(ground, "_lifecycle", "QueryChaincodeDefinition", asked)
    )
    # The vector of section 9.
    assert definition.validation_parameter.hex() == (
        "12202f4368616e6e656c2f4170706c69636174696f6e2f456e646f7273656d656e74"
    )
    assert dict(definition.approvals) == {"Org1MSP": True, "Org2MSP": True, "Org3MSP": True}
    names = lifecycle_pb2.QueryChaincodeDefinitionsResult.FromString(
        query(ground, "_lifecycle", "QueryChaincodeDefinitions", b"")
    )
    assert [d.name for d in names.chaincode_definitions] == ["kv", "market"]
    unknown = lifecycle_pb2.QueryChaincodeDefinitionArgs(name="x").SerializeToString()
    outcome = evaluate(ground, "QueryChaincodeDefinition", unknown, chaincode="_lifecycle")
    assert "namespace x is not defined" in outcome.response.message
