"""Every way a block can be wrong gives the error named after it, on real blocks and made ones."""

from collections.abc import Callable
from typing import Any

import pytest
from google.protobuf.message import Message

from light_node.chain import errors, trust, verify
from light_node.chain.verify import TrustedState
from light_node.fabric import block as blocks
from light_node.fabric.pb import common_pb2

Blocks = Callable[[str, str], list[bytes]]
KINDS = ("raft", "bft")
FORMS = ("full", "headers")


def state_at(raws: list[bytes], number: int) -> TrustedState:
    """The state after block ``number``, everything before it verified."""
    state = trust.load(raws[0]).state
    for raw in raws[1 : number + 1]:
        state = verify.apply(state, verify.verify_block(state, verify.parse(raw)))
    return state


def changed(raw: bytes, change: Callable[[common_pb2.Block], None]) -> blocks.Block:
    message = common_pb2.Block.FromString(raw)
    change(message)
    return verify.parse(message.SerializeToString())


def in_signatures(change: Callable[[common_pb2.Metadata], None]) -> Callable[[Any], None]:
    def apply(block: common_pb2.Block) -> None:
        entry = common_pb2.Metadata.FromString(block.metadata.metadata[0])
        change(entry)
        block.metadata.metadata[0] = entry.SerializeToString()

    return apply


def flip(data: bytes, at: int = -1) -> bytes:
    out = bytearray(data)
    out[at] ^= 1
    return bytes(out)


def flip_field(path: str, at: int = -1) -> Callable[[common_pb2.Block], None]:
    *parents, name = path.split(".")

    def change(block: common_pb2.Block) -> None:
        message: Message = block
        for parent in parents:
            message = getattr(message, parent)
        setattr(message, name, flip(getattr(message, name), at))

    return change


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("form", FORMS)
def test_a_live_channel_verifies_across_its_configuration_change(
    real_blocks: Blocks, kind: str, form: str
) -> None:
    raws = real_blocks(kind, form)
    state = state_at(raws, len(raws) - 1)
    assert state.height == len(raws)
    assert (state.config.block_number, state.config.sequence) == (11, 1)
    assert state.config.channel_id == f"{kind}ch"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("form", FORMS)
def test_batches_give_the_same_state(real_blocks: Blocks, kind: str, form: str) -> None:
    raws = real_blocks(kind, form)
    batch = [verify.parse(raw) for raw in raws[1:]]
    state, verified = verify.verify_blocks(trust.load(raws[0]).state, batch)
    assert (state.number, state.hash) == (batch[-1].number, batch[-1].hash)
    checked = [v.block.number for v in verified if v.signers]
    assert checked == [11, batch[-1].number]
    assert [v.block.number for v in verified if v.config] == [11]
    every, verified = verify.verify_blocks(trust.load(raws[0]).state, batch, every_signature=True)
    assert every.hash == state.hash
    assert all(v.signers for v in verified)


def _strip_last_signatures(keep: int) -> Callable[[common_pb2.Metadata], None]:
    def change(entry: common_pb2.Metadata) -> None:
        del entry.signatures[keep:]

    return change


def _repeat_first_signature(entry: common_pb2.Metadata) -> None:
    first = entry.signatures[0]
    del entry.signatures[1:]
    entry.signatures.extend([first, first])


def _high_s(entry: common_pb2.Metadata) -> None:
    from cryptography.hazmat.primitives.asymmetric import utils

    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    for signature in entry.signatures:
        r, s = utils.decode_dss_signature(signature.signature)
        signature.signature = utils.encode_dss_signature(r, order - s)


def _set_index(index: int) -> Callable[[common_pb2.Metadata], None]:
    def change(entry: common_pb2.Metadata) -> None:
        value = common_pb2.OrdererBlockMetadata.FromString(entry.value)
        value.last_config.index = index
        entry.value = value.SerializeToString()

    return change


def _drop_index(entry: common_pb2.Metadata) -> None:
    entry.value = b""


def _flip_each(name: str) -> Callable[[common_pb2.Metadata], None]:
    def change(entry: common_pb2.Metadata) -> None:
        for signature in entry.signatures:
            if getattr(signature, name):
                setattr(signature, name, flip(getattr(signature, name)))

    return change


def _number(value: int) -> Callable[[common_pb2.Block], None]:
    def change(block: common_pb2.Block) -> None:
        block.header.number = value

    return change


def _pop_metadata(block: common_pb2.Block) -> None:
    block.metadata.metadata.pop()


ATTESTATION = [
    ("data hash", flip_field("header.data_hash")),
    ("signature", in_signatures(_flip_each("signature"))),
    ("no signature", in_signatures(_strip_last_signatures(0))),
    ("one signature twice too few", in_signatures(_strip_last_signatures(0))),
    ("high S", in_signatures(_high_s)),
    ("signed index", in_signatures(_set_index(4))),
    ("no signed index", in_signatures(_drop_index)),
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("what", "change"), ATTESTATION, ids=[what for what, _ in ATTESTATION])
def test_an_altered_header_or_signature_is_not_attested(
    real_blocks: Blocks, kind: str, what: str, change: Callable[[common_pb2.Block], None]
) -> None:
    raws = real_blocks(kind, "headers")
    block = changed(raws[6], change)
    with pytest.raises(errors.AttestationFailed) as caught:
        verify.verify_block(state_at(raws, 5), block)
    assert (caught.value.number, caught.value.hash) == (6, block.hash)
    assert len(caught.value.signers) < 3


OTHERS: list[
    tuple[str, str, Callable[[common_pb2.Block], None], type[errors.VerificationError]]
] = [
    ("number up", "headers", _number(7), errors.WrongNumber),
    ("number down", "headers", _number(5), errors.WrongNumber),
    ("number huge", "headers", _number(2**64 - 1), errors.WrongNumber),
    ("previous hash", "headers", flip_field("header.previous_hash"), errors.BrokenLink),
    ("data hash, with data", "full", flip_field("header.data_hash"), errors.DataHashMismatch),
    ("metadata entry", "headers", _pop_metadata, errors.MissingMetadata),
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("what", "form", "change", "error"), OTHERS, ids=[o[0] for o in OTHERS])
def test_every_other_altered_field_has_its_error(
    real_blocks: Blocks,
    kind: str,
    what: str,
    form: str,
    change: Callable[[common_pb2.Block], None],
    error: type[errors.VerificationError],
) -> None:
    raws = real_blocks(kind, form)
    block = changed(raws[6], change)
    with pytest.raises(error) as caught:
        verify.verify_block(state_at(raws, 5), block)
    assert type(caught.value) is error
    assert caught.value.hash == block.hash


@pytest.mark.parametrize("kind", KINDS)
def test_every_byte_of_the_data_is_covered(real_blocks: Blocks, kind: str) -> None:
    raws = real_blocks(kind, "full")
    state = state_at(raws, 6)
    envelopes = common_pb2.Block.FromString(raws[7]).data.data
    assert len(envelopes) == 2
    for index, envelope in enumerate(envelopes):
        for at in range(0, len(envelope), 97):

            def change(block: common_pb2.Block, index: int = index, at: int = at) -> None:
                block.data.data[index] = flip(block.data.data[index], at)

            with pytest.raises(errors.DataHashMismatch):
                verify.verify_block(state, changed(raws[7], change))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "rearrange",
    [
        pytest.param(lambda data: [data[0] + data[1]], id="joined"),
        pytest.param(lambda data: [data[0][:10], data[0][10:], data[1]], id="cut"),
        pytest.param(lambda data: [data[0], data[1], b""], id="with an empty one"),
    ],
)
def test_the_same_bytes_cannot_be_cut_into_other_transactions(
    real_blocks: Blocks, kind: str, rearrange: Callable[[list[bytes]], list[bytes]]
) -> None:
    raws = real_blocks(kind, "full")

    def change(block: common_pb2.Block) -> None:
        data = rearrange(list(block.data.data))
        del block.data.data[:]
        block.data.data.extend(data)

    block = changed(raws[7], change)
    assert block.hash == verify.parse(raws[7]).hash, "the header is the real one"
    with pytest.raises(errors.MalformedData):
        verify.verify_block(state_at(raws, 6), block)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("form", FORMS)
def test_every_truncation_of_a_block_is_refused(real_blocks: Blocks, kind: str, form: str) -> None:
    """Cut anywhere: it does not parse, or an error says what is missing; never accepted."""
    raws = real_blocks(kind, form)
    state = state_at(raws, 11)
    raw = raws[12]
    for length in range(0, len(raw), 1 if form == "headers" else 23):
        with pytest.raises(errors.VerificationError):
            verify.verify_block(state, verify.parse(raw[:length]))


@pytest.mark.parametrize("kind", KINDS)
def test_no_flipped_bit_of_a_header_changes_what_is_proved(real_blocks: Blocks, kind: str) -> None:
    """Either an error, or the very same header: the rest of the metadata is not signed."""
    raws = real_blocks(kind, "headers")
    state, good = state_at(raws, 4), verify.parse(raws[5])
    accepted = 0
    for at in range(len(raws[5])):
        try:
            verified = verify.verify_block(state, verify.parse(flip(raws[5], at)))
        except errors.VerificationError:
            continue
        accepted += 1
        assert verified.block.hash == good.hash
        assert verify.last_config(verified.block) == 0
    assert accepted < len(raws[5]) / 4


@pytest.mark.parametrize("kind", KINDS)
def test_a_block_of_another_channel_is_refused(real_blocks: Blocks, kind: str) -> None:
    other = "bft" if kind == "raft" else "raft"
    state = trust.load(real_blocks(kind, "full")[0]).state
    with pytest.raises(errors.BrokenLink):
        verify.verify_block(state, verify.parse(real_blocks(other, "full")[1]))


# -- configuration ------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_a_configuration_block_must_come_with_its_data(real_blocks: Blocks, kind: str) -> None:
    raws = real_blocks(kind, "headers")
    block = changed(raws[11], lambda b: b.ClearField("data"))
    with pytest.raises(errors.ConfigDataMissing):
        verify.verify_block(state_at(raws, 10), block)


@pytest.mark.parametrize("kind", KINDS)
def test_a_configuration_block_needs_its_signatures_even_in_a_batch(
    real_blocks: Blocks, kind: str
) -> None:
    raws = real_blocks(kind, "headers")
    batch = [verify.parse(raw) for raw in raws[10:13]]
    batch[1] = changed(raws[11], in_signatures(_strip_last_signatures(0)))
    with pytest.raises(errors.AttestationFailed) as caught:
        verify.verify_blocks(state_at(raws, 9), batch)
    assert caught.value.number == 11


@pytest.mark.parametrize("kind", KINDS)
def test_a_hidden_configuration_is_noticed_at_the_tip(
    real_blocks: Blocks, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Block 11 passed off as ordinary: if its index was signed, the next block's gives it away."""
    raws = real_blocks(kind, "headers")

    def disguise(block: common_pb2.Block) -> None:
        block.ClearField("data")
        in_signatures(_set_index(0))(block)

    batch = [verify.parse(raws[10]), changed(raws[11], disguise), verify.parse(raws[12])]
    with pytest.raises(errors.AttestationFailed) as unsigned:
        verify.verify_blocks(state_at(raws, 9), batch)
    assert unsigned.value.number == 11
    monkeypatch.setattr(verify, "verify_signed", lambda *_: None)  # as if orderers had signed it
    with pytest.raises(errors.HiddenConfig) as caught:
        verify.verify_blocks(state_at(raws, 9), batch)
    assert (caught.value.number, caught.value.index, caught.value.in_force) == (12, 11, 0)


@pytest.mark.parametrize("kind", KINDS)
def test_a_state_with_an_old_configuration_refuses_newer_headers(
    real_blocks: Blocks, kind: str
) -> None:
    raws = real_blocks(kind, "headers")
    new = state_at(raws, 11)
    stale = TrustedState(trust.load(raws[0]).config, new.number, new.hash)
    with pytest.raises(errors.HiddenConfig):
        verify.verify_block(stale, verify.parse(raws[12]))


def test_index_and_data_must_agree(channel: Any) -> None:
    channel.extend(2)
    state = state_at(channel.raw, 2)
    claims_config = channel.fork(3)
    claims_config.add(last_config=3)
    with pytest.raises(errors.ConfigIndexMismatch):
        verify.verify_block(state, claims_config.parsed(3))
    hides_config = channel.fork(3)
    hides_config.sequence = 1
    hides_config.add([hides_config.config_envelope()], last_config=0)
    with pytest.raises(errors.ConfigIndexMismatch):
        verify.verify_block(state, hides_config.parsed(3))


def test_an_index_of_a_later_or_unknown_block_is_refused(channel: Any) -> None:
    channel.extend(1)
    for index in (2, 1, 99):
        other = channel.fork(2)
        other.add(last_config=index if index != 2 else 3)
        with pytest.raises(errors.HiddenConfig):
            verify.verify_block(state_at(channel.raw, 1), other.parsed(2))


def test_metadata_without_an_index_is_refused(channel: Any) -> None:
    """As in ledgers of Fabric before 1.4.1: signed, but saying nothing of the configuration."""
    digest, previous = blocks.data_hash([b"x"]), channel.parsed(0).hash
    der = blocks.header_der(1, previous, digest)
    made = []
    for i in range(3 if channel.bft else 1):
        consenter = channel.consenters[i]
        if channel.bft:
            header = blocks.identifier_header(i + 1, b"n")
            signature = consenter.sign(blocks.signed_bytes(b"", header, der))
            made.append(blocks.BlockSignature(signature, identifier_header=header))
        else:
            header = blocks.signature_header(consenter.serialized, b"n")
            signature = consenter.sign(blocks.signed_bytes(b"", header, der))
            made.append(blocks.BlockSignature(signature, signature_header=header))
    entry = blocks.encode_signature_entry(b"", made)
    raw = blocks.encode_block(
        1, previous, None, [entry, b"", b"", b"", b""], header_data_hash=digest
    )
    with pytest.raises(errors.LastConfigMissing):
        verify.verify_block(channel.root.state, verify.parse(raw))


def test_a_configuration_of_another_channel_is_refused(channel: Any) -> None:
    channel.sequence = 1
    channel.add([channel.config_envelope(channel="otherch")], last_config=1)
    with pytest.raises(errors.WrongChannel) as caught:
        verify.verify_block(channel.root.state, channel.parsed(1))
    assert (caught.value.channel, caught.value.expected) == ("otherch", "testch")


@pytest.mark.parametrize("sequence", [0, 2, 2**63])
def test_a_configuration_must_follow_the_one_in_force(channel: Any, sequence: int) -> None:
    channel.sequence = sequence
    channel.add([channel.config_envelope()], last_config=1)
    with pytest.raises(errors.WrongSequence) as caught:
        verify.verify_block(channel.root.state, channel.parsed(1))
    assert (caught.value.sequence, caught.value.expected) == (sequence, 1)


def test_a_signed_configuration_that_cannot_be_used_is_refused(channel: Any) -> None:
    channel.sequence = 1
    config = channel.config()
    del config.channel_group.groups["Orderer"]
    channel.add([channel.config_envelope(config=config)], last_config=1)
    with pytest.raises(errors.UnusableConfig):
        verify.verify_block(channel.root.state, channel.parsed(1))


def test_a_configuration_is_verified_under_the_old_one_and_rules_after_it(
    bft_channel: Any, make_channel: Any
) -> None:
    """The consenters are replaced: the old ones sign the change, the new ones what follows."""
    channel = bft_channel.extend(1)
    old = list(channel.consenters)
    new = [o.identity("new orderer") for o in channel.orderers]
    channel.consenters = new
    channel.sequence = 1
    envelope = channel.config_envelope()
    channel.consenters = old
    channel.add([envelope], last_config=2)
    channel.config_number, channel.consenters = 2, new
    channel.extend(1)
    assert state_at(channel.raw, 3).config.consenters[0].identity == new[0].certificate_pem

    by_new_ones_too_early = channel.fork(2)
    by_new_ones_too_early.consenters = new
    by_new_ones_too_early.sequence = 1
    by_new_ones_too_early.add([envelope], last_config=2)
    with pytest.raises(errors.AttestationFailed):
        verify.verify_block(state_at(channel.raw, 1), by_new_ones_too_early.parsed(2))

    by_old_ones_too_late = channel.fork(3)
    by_old_ones_too_late.consenters = old
    by_old_ones_too_late.add()
    with pytest.raises(errors.AttestationFailed):
        verify.verify_block(state_at(channel.raw, 2), by_old_ones_too_late.parsed(3))


# -- signatures ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("signers", "good"),
    [((0, 1, 2), True), ((3, 1, 2), True), ((0, 1, 2, 3), True), ((0, 1), False), ((), False),
     ((0, 0, 0), False), ((0, 1, 1), False)],
)  # fmt: skip
def test_a_bft_block_needs_a_quorum_of_different_consenters(
    bft_channel: Any, signers: tuple[int, ...], good: bool
) -> None:
    bft_channel.add(signers=signers)
    if good:
        verified = verify.verify_block(bft_channel.root.state, bft_channel.parsed(1))
        assert len(verified.signers) == len(signers)
        return
    with pytest.raises(errors.AttestationFailed) as caught:
        verify.verify_block(bft_channel.root.state, bft_channel.parsed(1))
    assert caught.value.signatures == len(signers)
    assert len(caught.value.signers) == len(set(signers))


def test_an_unknown_consenter_is_skipped_not_fatal(bft_channel: Any) -> None:
    raw = bft_channel.add(signers=(0, 1, 2))

    def renumber(which: int) -> Callable[[common_pb2.Metadata], None]:
        def change(entry: common_pb2.Metadata) -> None:
            for signature in entry.signatures[:which]:
                signature.identifier_header = blocks.identifier_header(77, bytes(24))

        return change

    with_extra = bft_channel.fork(1)
    raw = with_extra.add(signers=(3, 0, 1, 2))
    verify.verify_block(with_extra.root.state, changed(raw, in_signatures(renumber(1))))
    with pytest.raises(errors.AttestationFailed):
        verify.verify_block(with_extra.root.state, changed(raw, in_signatures(renumber(2))))


def test_a_signature_under_another_consenters_number_counts_for_nobody(bft_channel: Any) -> None:
    raw = bft_channel.add(signers=(0, 1, 2))

    def swap(entry: common_pb2.Metadata) -> None:
        first, second = entry.signatures[0], entry.signatures[1]
        first.identifier_header, second.identifier_header = (
            second.identifier_header,
            first.identifier_header,
        )
        second.identifier_header = blocks.identifier_header(1, b"other nonce")

    with pytest.raises(errors.AttestationFailed):
        verify.verify_block(bft_channel.root.state, changed(raw, in_signatures(swap)))


def test_peers_cannot_sign_blocks(make_channel: Any, channel: Any) -> None:
    """A certificate of the channel, good by its MSP, but not an orderer's."""
    outsider = channel.fork(1)
    outsider.consenters = [channel.peers[0].identity("peer0", "peer")] * len(channel.consenters)
    outsider.add()
    with pytest.raises(errors.AttestationFailed):
        verify.verify_block(channel.root.state, outsider.parsed(1))


def test_orderers_of_another_channel_cannot_sign(make_channel: Any, channel: Any) -> None:
    stranger = make_channel(bft=channel.bft)
    forged = channel.fork(1)
    forged.consenters = stranger.consenters
    forged.add()
    with pytest.raises(errors.AttestationFailed):
        verify.verify_block(channel.root.state, forged.parsed(1))


def test_a_client_of_an_orderer_organisation_cannot_sign(make_channel: Any) -> None:
    """Writers of the test's Raft channel asks for the orderer role, as it should."""
    channel = make_channel(bft=False)
    forged = channel.fork(1)
    forged.consenters = [channel.orderers[0].identity("someone", "client")]
    forged.add()
    with pytest.raises(errors.AttestationFailed):
        verify.verify_block(channel.root.state, forged.parsed(1))


@pytest.mark.parametrize("field", ["signature_header", "identifier_header"])
def test_an_unreadable_signature_header_is_named(bft_channel: Any, field: str) -> None:
    raw = bft_channel.add()

    def garble(entry: common_pb2.Metadata) -> None:
        for signature in entry.signatures:
            signature.ClearField("identifier_header")
            setattr(signature, field, b"\xff\xff\xff")

    with pytest.raises(errors.MalformedBlock) as caught:
        verify.verify_block(bft_channel.root.state, changed(raw, in_signatures(garble)))
    assert caught.value.number == 1


def test_ancestors_are_proved_by_their_hash_alone(real_blocks: Blocks) -> None:
    raws = real_blocks("raft", "full")
    block, other = verify.parse(raws[4]), verify.parse(raws[5])
    verify.verify_hash(block, other.previous_hash)
    with pytest.raises(errors.HashMismatch) as caught:
        verify.verify_hash(other, other.previous_hash)
    assert (caught.value.expected, caught.value.hash) == (block.hash, other.hash)


# -- commit hash --------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_altered_flags_and_commit_hashes_are_noticed_in_full_blocks(
    real_blocks: Blocks, kind: str
) -> None:
    raws = real_blocks(kind, "full")
    previous: bytes | None = b""
    for raw in raws[1:]:
        block = verify.parse(raw)

        def flags(message: common_pb2.Block) -> None:
            message.metadata.metadata[2] = flip(message.metadata.metadata[2])

        def stated(message: common_pb2.Block) -> None:
            message.metadata.metadata[4] = flip(message.metadata.metadata[4])

        for change in (flags, stated):
            with pytest.raises(errors.CommitHashMismatch):
                verify.verify_commit_hash(changed(raw, change), previous)
        previous = verify.verify_commit_hash(block, previous)
    assert previous == blocks.stated_commit_hash(verify.parse(raws[-1]))


def test_without_data_or_predecessor_the_commit_hash_is_only_passed_on(
    real_blocks: Blocks,
) -> None:
    header, full = (verify.parse(real_blocks("bft", form)[5]) for form in ("headers", "full"))
    stated = blocks.stated_commit_hash(full)
    assert verify.verify_commit_hash(header, b"\x01" * 32) == stated
    assert verify.verify_commit_hash(full, None) == stated
    orderers_copy = changed(
        real_blocks("bft", "full")[5],
        lambda b: b.metadata.metadata.__setitem__(slice(2, 5), [b"", b"", b""]),
    )
    assert verify.verify_commit_hash(orderers_copy, b"\x01" * 32) is None


def test_a_block_padded_with_metadata_is_refused(real_blocks: Blocks) -> None:
    """No signature covers a sixth entry, so its length must be bounded."""
    message = common_pb2.Block.FromString(real_blocks("bft", "full")[3])
    message.metadata.metadata.append(bytes(verify.MAX_METADATA_BYTES - 100_000))
    verify.parse(message.SerializeToString())
    message.metadata.metadata.append(bytes(100_001))
    with pytest.raises(errors.MalformedBlock, match="bytes beside its data"):
        verify.parse(message.SerializeToString())


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "padding",
    [
        pytest.param(b"\x1a\x80\x80\x80\x01" + b"\x0a\x00" * 2**20, id="empty metadata entries"),
        pytest.param(b"\xfa\x7f\x80\x80\x80\x01" + bytes(2**21), id="an unknown field"),
        pytest.param(b"\x0a\x00" * 2**20, id="empty headers"),
    ],
)
def test_padding_without_contents_is_refused_too(
    real_blocks: Blocks, form: str, padding: bytes
) -> None:
    raw = real_blocks("raft", form)[3]
    message = common_pb2.Block.FromString(raw + padding)
    assert message.header == common_pb2.Block.FromString(raw).header, "it is a readable block"
    with pytest.raises(errors.MalformedBlock, match="bytes beside its data"):
        verify.parse(raw + padding)
