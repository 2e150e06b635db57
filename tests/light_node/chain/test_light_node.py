"""Full blocks, transactions with their proof, and the light node that ties things together."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from light_node.chain import blocks as full_blocks
from light_node.chain import errors, sources, trust, verify
from light_node.chain.agreement import Agreement, judge, validity_digest
from light_node.chain.node import LightNode
from light_node.chain.status import Level, PeerState
from light_node.clock import SystemClock
from light_node.fabric import crypto
from light_node.fabric.channel_config import ChannelConfig
from light_node.fabric.identity import SigningIdentity
from light_node.fabric.pb import common_pb2
from light_node.fabric.profile import (
    NetworkProfile,
    OrdererEndpoint,
    Organization,
    PeerEndpoint,
    TrustRoot,
)

Blocks = Callable[[str, str], list[bytes]]
SOON = 20.0
KV = {"kv": full_blocks.DEFAULT_ENDORSEMENT}


def change(raw: bytes, how: Callable[[common_pb2.Block], Any]) -> bytes:
    message = common_pb2.Block.FromString(raw)
    how(message)
    return message.SerializeToString()


def flip_flag(block: common_pb2.Block) -> None:
    flags = bytearray(block.metadata.metadata[2])
    flags[0] ^= 0x0B
    block.metadata.metadata[2] = bytes(flags)


# -- pure ---------------------------------------------------------------------------------------


def test_a_full_block_lists_its_transactions_with_flags(real_blocks: Blocks) -> None:
    raw = real_blocks("bft", "full")[7]
    full = full_blocks.open_block(raw, verify.parse(raw).hash)
    assert full.number == 7
    assert [t.index for t in full.transactions] == [0, 1]
    assert all(len(t.transaction_id) == 64 for t in full.transactions)
    assert [t.code for t in full.transactions] == list(full.block.metadata[2])
    first = full.transactions[0]
    assert full.find(first.transaction_id) == first
    assert full.find("00" * 32) is None


def test_a_full_block_must_be_the_verified_one(real_blocks: Blocks) -> None:
    raws, headers = real_blocks("raft", "full"), real_blocks("raft", "headers")
    digest = verify.parse(raws[7]).hash
    with pytest.raises(errors.HashMismatch):
        full_blocks.open_block(raws[6], digest)
    with pytest.raises(errors.MalformedBlock, match="without its data"):
        full_blocks.open_block(headers[7], digest)
    with pytest.raises(errors.DataHashMismatch):
        full_blocks.open_block(change(raws[7], lambda b: b.data.data.pop()), digest)
    too_few = change(raws[7], lambda b: b.metadata.metadata.__setitem__(2, b"\x00"))
    with pytest.raises(errors.MalformedBlock, match="2 transactions but 1 flags"):
        full_blocks.open_block(too_few, digest)


@pytest.mark.parametrize("kind", ["raft", "bft"])
def test_transactions_of_a_live_channel_pass_a_peers_checks(real_blocks: Blocks, kind: str) -> None:
    raws = real_blocks(kind, "full")
    config = ChannelConfig.from_block(raws[0])
    checked = 0
    for raw in raws[1:]:
        for entry in full_blocks.open_block(raw, verify.parse(raw).hash).transactions:
            if full_blocks.is_endorser_transaction(entry) and entry.is_valid:
                transaction, problems = full_blocks.check_transaction(config, entry.envelope, KV)
                assert transaction is not None
                assert problems == ()
                checked += 1
    assert checked > 10


def test_a_spoiled_transaction_has_its_problem_named(real_blocks: Blocks) -> None:
    raws = real_blocks("bft", "full")
    config = ChannelConfig.from_block(raws[0])
    good = common_pb2.Envelope.FromString(common_pb2.Block.FromString(raws[8]).data.data[0])

    def problems(envelope: common_pb2.Envelope) -> tuple[str, ...]:
        return full_blocks.check_transaction(config, envelope.SerializeToString(), KV)[1]

    assert problems(good) == ()
    forged = common_pb2.Envelope(payload=good.payload, signature=good.signature[:-1] + b"\x00")
    assert problems(forged) == ("its creator's signature is wrong",)
    payload = common_pb2.Payload.FromString(good.payload)
    header = common_pb2.ChannelHeader.FromString(payload.header.channel_header)
    header.tx_id, header.channel_id = "ab" * 32, "otherch"
    payload.header.channel_header = header.SerializeToString()
    altered = common_pb2.Envelope(payload=payload.SerializeToString(), signature=good.signature)
    found = problems(altered)
    assert "it is for another channel" in found
    assert "its id is not the hash of nonce and creator" in found
    assert "what was endorsed is not what was proposed" in found
    assert problems(common_pb2.Envelope(payload=b"\xff"))
    stranger = real_blocks("raft", "full")[8]
    other = common_pb2.Block.FromString(stranger).data.data[0]
    assert "it is for another channel" in full_blocks.check_transaction(config, other, KV)[1]


def test_too_few_endorsements_are_a_problem(real_blocks: Blocks) -> None:
    from light_node.fabric.pb import peer_pb2
    from light_node.fabric.policy import signed_by_roles

    raw = real_blocks("bft", "full")[8]
    config = ChannelConfig.from_block(real_blocks("bft", "full")[0])
    envelope = common_pb2.Block.FromString(raw).data.data[0]
    everybody = common_pb2.SignaturePolicyEnvelope.FromString(
        signed_by_roles(["Org1MSP", "Org2MSP", "Org3MSP"], [common_pb2.MSPRole.PEER], 3)
    )
    strict = peer_pb2.ApplicationPolicy(signature_policy=everybody).SerializeToString()
    _, problems = full_blocks.check_transaction(config, envelope, {"kv": strict})
    assert problems == ("its endorsements do not satisfy the policy",)
    _, problems = full_blocks.check_transaction(config, envelope, {"kv": b""})
    assert len(problems) == 1
    assert "cannot be used" in problems[0]


def test_agreement_judges_by_flags_and_commit_hash(real_blocks: Blocks) -> None:
    raw = real_blocks("bft", "headers")[5]
    block, other = verify.parse(raw), verify.parse(change(raw, flip_flag))
    same, lie = validity_digest(block), validity_digest(other)
    assert same is not None
    assert lie is not None
    assert judge({"A": same, "B": same}) == (Level.AGREED, ("A", "B"))
    assert judge({"A": same}) == (Level.VERIFIED, ("A",))
    assert judge({}) == (Level.VERIFIED, ())
    assert judge({"A": same, "B": lie}) == (Level.DISPUTED, ("A", "B"))
    assert judge({"A": same, "B": lie, "C": same}) == (Level.AGREED, ("A", "C"))
    assert judge({"A": same, "B": lie, "C": b"3"}) == (Level.DISPUTED, ("A", "B", "C"))
    two_each = {"A": same, "B": lie, "C": same, "D": lie}
    assert judge(two_each) == (Level.DISPUTED, ("A", "B", "C", "D"))
    scattered = {"A": same, "B": same, "C": b"3", "D": b"4", "E": b"5"}
    assert judge(scattered)[0] is Level.DISPUTED, "two of five are no majority"
    assert validity_digest(verify.parse(real_blocks("bft", "headers")[0])) is not None
    bare = change(raw, lambda b: b.metadata.metadata.__setitem__(slice(2, 5), [b""] * 3))
    assert validity_digest(verify.parse(bare)) is None


def test_a_peer_that_says_two_things_of_one_block_is_disputed(real_blocks: Blocks) -> None:
    raw = real_blocks("bft", "headers")[5]
    agreement = Agreement()
    agreement.show("A", verify.parse(raw), peer=True)
    assert agreement.disputed_block is None
    agreement.show("A", verify.parse(change(raw, flip_flag)), peer=True)
    assert agreement.disputed_block == 5
    assert agreement.agreed_height is None


def test_agreement_remembers_a_bounded_number_of_blocks(
    real_blocks: Blocks, monkeypatch: pytest.MonkeyPatch
) -> None:
    from light_node.chain import agreement as module

    monkeypatch.setattr(module, "REMEMBERED_BLOCKS", 4)
    agreement = Agreement()
    for raw in real_blocks("bft", "headers"):
        for organization in ("A", "B"):
            agreement.show(organization, verify.parse(raw), peer=True)
    assert agreement.agreed_height == agreement.valid_height == 17
    assert agreement.shown(5) == {}
    assert set(agreement.shown(16)) == {"A", "B"}


# -- the whole ----------------------------------------------------------------------------------


def profile_for(raws: list[bytes], **changes: Any) -> NetworkProfile:
    root = trust.load(raws[0])
    now = SystemClock().now()
    made: dict[str, Any] = {
        "name": "test",
        "channel": root.config.channel_id,
        "chaincode": "kv",
        "organizations": (),
        "orderers": (),
        "trust_root": TrustRoot(
            root.config.channel_id, raws[0], root.hash.hex(), now, now + timedelta(days=1)
        ),
    }
    return NetworkProfile(**{**made, **changes})


@pytest.fixture
def reader() -> SigningIdentity:
    """Somebody of Org2; fake sources do not look at signatures."""

    class NoSigner:
        def sign(self, message: bytes) -> bytes:
            raise AssertionError("nothing is signed in these tests")

    return SigningIdentity("Org2MSP", b"", NoSigner())


Make = Callable[..., LightNode]


@pytest.fixture
def make_node(tmp_path: Path, reader: SigningIdentity) -> Iterator[Make]:
    made: list[LightNode] = []

    def make(raws: list[bytes], *served: Any, **options: Any) -> LightNode:
        node = LightNode(
            profile_for(raws), tmp_path / "node", reader, SystemClock(), sources=served, **options
        )
        made.append(node)
        node.start()
        return node

    yield make
    for node in made:
        node.stop()


def transaction_in(raw: bytes, index: int = 0) -> str:
    full = full_blocks.open_block(raw, verify.parse(raw).hash)
    return full.transactions[index].transaction_id


@pytest.mark.parametrize("kind", ["raft", "bft"])
def test_a_transaction_with_its_proof(
    real_blocks: Blocks, make_source: Any, make_node: Make, kind: str
) -> None:
    raws = real_blocks(kind, "full")
    served = [make_source(f"Org{i}MSP", raws) for i in (1, 2, 3)]
    node = make_node(raws, *served)
    assert node.wait_height(len(raws), SOON, agreed=True)
    found = node.transaction(8, transaction_in(raws[8]))
    assert found.is_valid
    assert found.level is Level.AGREED
    assert len(found.organizations) >= 2
    assert found.problems == ()
    assert found.transaction is not None
    assert found.transaction.chaincode == "kv"
    assert node.block_hash(8) == verify.parse(raws[8]).hash
    assert node.config.sequence == 1


def test_a_configuration_is_a_transaction_too(
    real_blocks: Blocks, make_source: Any, make_node: Make
) -> None:
    raws = real_blocks("bft", "full")
    node = make_node(raws, *(make_source(f"Org{i}MSP", raws) for i in (1, 2)))
    assert node.wait_height(len(raws), SOON, agreed=True)
    found = node.transaction(11, "")
    assert found.transaction is None
    assert found.is_valid


def test_an_invalid_transaction_is_agreed_to_be_invalid(
    real_blocks: Blocks, make_source: Any, make_node: Make
) -> None:
    raws = real_blocks("bft", "full")
    node = make_node(raws, *(make_source(f"Org{i}MSP", raws) for i in (1, 2)))
    assert node.wait_height(len(raws), SOON, agreed=True)
    block, index = next(
        (number, index)
        for number, raw in enumerate(raws)
        for index, flag in enumerate(verify.parse(raw).metadata[2])
        if flag
    )
    found = node.transaction(block, transaction_in(raws[block], index))
    assert (found.is_valid, found.level) == (False, Level.AGREED)


def shut_out(node: LightNode) -> None:
    """Wait until Org2 was proved to lie; its word counts no more."""
    assert node.wait(lambda s: s.peers[1].state is PeerState.DISAGREES, SOON)
    assert "validity flags" in node.status().peers[1].error
    assert node.status().disputed_block is None


def test_a_lie_in_the_flags_is_found_out(
    real_blocks: Blocks, make_source: Any, make_node: Make
) -> None:
    raws = real_blocks("bft", "full")
    lying = [*raws[:8], change(raws[8], flip_flag), *raws[9:]]
    node = make_node(raws, make_source("Org1MSP", raws), make_source("Org2MSP", lying))
    assert node.wait_height(len(raws), SOON)
    assert node.transaction(8, transaction_in(raws[8])).level is not Level.AGREED
    shut_out(node)
    found = node.transaction(8, transaction_in(raws[8]))
    assert (found.level, found.organizations) == (Level.VERIFIED, ("Org1MSP",))


def test_a_peer_with_another_copy_than_its_stream_is_found_out(
    real_blocks: Blocks, make_source: Any, make_node: Make
) -> None:
    raws = real_blocks("bft", "full")
    two_faced = make_source("Org2MSP", raws)
    two_faced.full = [*raws[:8], change(raws[8], flip_flag), *raws[9:]]
    node = make_node(raws, make_source("Org1MSP", raws), two_faced)
    assert node.wait_height(len(raws), SOON, agreed=True)
    assert node.transaction(8, transaction_in(raws[8])).level is not Level.AGREED
    shut_out(node)


def test_altered_data_is_refused_and_another_peer_asked(
    real_blocks: Blocks, make_source: Any, make_node: Make
) -> None:
    raws = real_blocks("bft", "full")

    def alter(block: common_pb2.Block) -> None:
        block.data.data[0] = block.data.data[0][:-1] + b"\x00"

    own = make_source("Org2MSP", raws)
    own.full = [change(raw, alter) for raw in raws]
    node = make_node(raws, make_source("Org1MSP", raws), own)
    assert node.wait_height(len(raws), SOON, agreed=True)
    assert node.transaction(8, transaction_in(raws[8])).level is Level.AGREED
    own.full = raws
    assert node.block(8) is node.block(8), "remembered"


def test_what_is_not_proved_is_said(real_blocks: Blocks, make_source: Any, make_node: Make) -> None:
    raws = real_blocks("bft", "full")
    served = [make_source(f"Org{i}MSP", raws) for i in (1, 2)]
    node = make_node(raws, *served)
    assert node.wait_height(len(raws), SOON, agreed=True)
    with pytest.raises(errors.NotVerified, match="not in block 8"):
        node.transaction(8, "00" * 32)
    with pytest.raises(errors.NotVerified, match="not verified yet"):
        node.transaction(99, transaction_in(raws[8]))
    for source in served:
        source.go_down()
    with pytest.raises(errors.NotVerified, match="nobody serves block 5"):
        node.block(5)


def test_listening_to_the_node(real_blocks: Blocks, make_source: Any, make_node: Make) -> None:
    raws = real_blocks("bft", "full")
    served = [make_source(f"Org{i}MSP", raws[:-1]) for i in (1, 2)]
    node = make_node(raws, *served)
    assert node.wait_height(len(raws) - 1, SOON, agreed=True)
    heights: list[int] = []
    unsubscribe = node.subscribe(lambda status: heights.append(status.verified_height))
    for source in served:
        source.serve(raws)
    assert node.wait(lambda s: s.agreed_height == len(raws), SOON)
    unsubscribe()
    assert len(raws) in heights


def test_an_expired_or_wrong_root_and_too_few_organisations_are_refused(
    real_blocks: Blocks, make_source: Any, tmp_path: Path, reader: SigningIdentity
) -> None:
    raws = real_blocks("bft", "full")
    good, clock = profile_for(raws), SystemClock()
    served = [make_source(f"Org{i}MSP", raws) for i in (1, 2)]
    old = good.trust_root
    past = clock.now() - timedelta(days=2)
    expired = TrustRoot(old.channel, old.config_block, old.hash, past, past + timedelta(days=1))
    with pytest.raises(errors.TrustRootExpired):
        LightNode(profile_for(raws, trust_root=expired), tmp_path, reader, clock, sources=served)
    wrong = TrustRoot(old.channel, old.config_block, "00" * 32, old.obtained, old.expires)
    with pytest.raises(errors.TrustRootMismatch):
        LightNode(profile_for(raws, trust_root=wrong), tmp_path, reader, clock, sources=served)
    with pytest.raises(errors.TooFewOrganizations):
        LightNode(good, tmp_path, reader, clock, sources=served[:1])
    with pytest.raises(errors.TooFewOrganizations):
        LightNode(good, tmp_path, reader, clock)
    LightNode(good, tmp_path, reader, clock, sources=served).stop()  # nothing was left locked


# -- organisations by certificate ---------------------------------------------------------------


def tls_root(channel: Any, organization: int) -> str:
    return str(channel.peers[organization].ca_pem.decode())


def peer_of(msp_id: str, pem: str) -> Organization:
    return Organization(msp_id, (PeerEndpoint(f"peer0.{msp_id}", "127.0.0.1:7051", pem),))


def test_organisations_are_told_by_the_channels_tls_roots(
    bft_channel: Any, reader: SigningIdentity
) -> None:
    config, clock = bft_channel.channel_config(), SystemClock()
    good = tuple(peer_of(f"Org{i}MSP", tls_root(bft_channel, i - 1)) for i in (1, 2))
    profile = profile_for(bft_channel.raw, organizations=good)
    made = sources.from_profile(profile, config, reader, clock)
    assert [s.organization for s in made] == ["Org1MSP", "Org2MSP"]

    passed_off = (good[0], peer_of("Org2MSP", tls_root(bft_channel, 0)))
    with pytest.raises(errors.TrustRootMismatch, match="not Org2MSP's own"):
        sources.from_profile(
            profile_for(bft_channel.raw, organizations=passed_off), config, reader, clock
        )
    unknown = (good[0], peer_of("Org9MSP", tls_root(bft_channel, 1)))
    with pytest.raises(errors.TrustRootMismatch, match="no organisation Org9MSP"):
        sources.from_profile(
            profile_for(bft_channel.raw, organizations=unknown), config, reader, clock
        )


def test_orderers_help_out_where_one_organisation_has_peers(
    bft_channel: Any, reader: SigningIdentity
) -> None:
    pem = bft_channel.orderers[0].ca_pem.decode()
    profile = profile_for(
        bft_channel.raw,
        organizations=(peer_of("Org1MSP", tls_root(bft_channel, 0)),),
        orderers=(OrdererEndpoint("Orderer1MSP", "127.0.0.1:7050", pem, 1),),
    )
    made = sources.from_profile(profile, bft_channel.channel_config(), reader, SystemClock())
    assert [(s.organization, s.kind) for s in made] == [
        ("Org1MSP", "peer"),
        ("Orderer1MSP", "orderer"),
    ]


def test_a_source_nobody_listens_at_is_unavailable(bft_channel: Any) -> None:
    from light_node.fabric.errors import Unavailable

    identity = bft_channel.peers[0].identity("reader", "client")
    assert crypto.load_certificate(identity.certificate_pem)
    source = sources.GrpcSource(
        "Org1MSP", "127.0.0.1:1", tls_root(bft_channel, 0), identity, "testch", SystemClock()
    )
    with pytest.raises(Unavailable):
        source.newest()
    source.close()
    source.close()
    with pytest.raises(Unavailable, match="stopped"):
        source.newest()
