"""Proof files, made of blocks of live channels: every field altered, and checked without a node."""

import base64
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from light_node import cli
from light_node.chain import blocks as full_blocks
from light_node.chain import errors, proof, trust, verify
from light_node.chain.proof import TransactionProof, check, loads, witnesses
from light_node.chain.verify import skip_to_config, verify_alone
from light_node.fabric.channel_config import ChannelConfig
from light_node.fabric.pb import common_pb2, kvrwset_pb2, peer_pb2
from light_node.fabric.transaction import parse_transaction

Blocks = Callable[[str, str], list[bytes]]


def entry(raws: list[bytes], number: int, index: int = 0) -> full_blocks.BlockTransaction:
    raw = raws[number]
    return full_blocks.open_block(raw, verify.parse(raw).hash).transactions[index]


def proof_of(raws: list[bytes], number: int, witness: int | None = None) -> TransactionProof:
    return TransactionProof(
        channel=ChannelConfig.from_block(raws[0]).channel_id,
        transaction_id=entry(raws, number).transaction_id,
        configs=(raws[11],) if number > 11 else (),
        block=raws[number],
        witness=None if witness is None else entry(raws, witness).envelope,
        made_at="2026-06-21T12:00:00+00:00",
    )


@pytest.fixture(params=["bft", "raft"])
def raws(request: pytest.FixtureRequest, real_blocks: Blocks) -> list[bytes]:
    return real_blocks(request.param, "full")


def test_a_proof_is_checked_from_block_0(raws: list[bytes]) -> None:
    made = proof_of(raws, 13)
    assert loads(made.dumps()) == made
    proven = check(loads(made.dumps()), trust.load(raws[0]))
    assert (proven.number, proven.index, proven.config) == (13, 0, 11)
    assert proven.hash == verify.parse(raws[13]).hash
    assert proven.transaction.transaction_id == made.transaction_id
    assert proven.problems == ()
    assert proven.signers
    assert (proven.valid_by, proven.valid) == ((), False)


def test_a_later_trust_root_will_do_and_an_even_later_one_will_not(raws: list[bytes]) -> None:
    assert check(proof_of(raws, 13), trust.load(raws[11])).config == 11
    with pytest.raises(errors.NotVerified, match="an earlier one"):
        check(proof_of(raws, 8), trust.load(raws[11]))


def test_later_endorsements_witness_that_it_took_effect(raws: list[bytes]) -> None:
    proven = check(proof_of(raws, 4, witness=5), trust.load(raws[0]))
    assert len(proven.valid_by) == 2
    assert proven.valid


def test_what_does_not_read_it_is_no_witness(raws: list[bytes]) -> None:
    for number in (4, 3, 12):
        with pytest.raises(errors.NotVerified, match="witness"):
            check(replace(proof_of(raws, 5), witness=entry(raws, number).envelope),
                  trust.load(raws[0]))  # fmt: skip


def test_a_witness_counts_only_as_its_endorsers_signed_it(raws: list[bytes]) -> None:
    config = ChannelConfig.from_block(raws[0])
    transaction = parse_transaction(entry(raws, 4).envelope)
    good = entry(raws, 5).envelope
    assert len(witnesses(config, good, transaction, (4, 0))) == 2
    for place in ((4, 1), (5, 0), (0, 4)):
        assert witnesses(config, good, transaction, place) == ()
    assert witnesses(config, b"\xff", transaction, (4, 0)) == ()
    # Another version in what was read, another channel around it, a signature each time broken.
    later = parse_transaction(entry(raws, 8).envelope)
    envelope = common_pb2.Envelope.FromString(good)
    payload = common_pb2.Payload.FromString(envelope.payload)
    header = common_pb2.ChannelHeader.FromString(payload.header.channel_header)
    header.epoch = 9
    payload.header.channel_header = header.SerializeToString()
    moved = common_pb2.Envelope(payload=payload.SerializeToString(), signature=b"s")
    assert witnesses(config, moved.SerializeToString(), transaction, (4, 0)) == ()
    forged = with_first_endorsement(good, lambda e: setattr(e, "signature", e.signature[:-1]))
    assert len(witnesses(config, forged, transaction, (4, 0))) == 1
    client = with_first_endorsement(good, lambda e: setattr(e, "endorser", later.creator))
    assert len(witnesses(config, client, transaction, (4, 0))) == 1


def with_first_endorsement(raw: bytes, how: Callable[[peer_pb2.Endorsement], Any]) -> bytes:
    envelope = common_pb2.Envelope.FromString(raw)
    payload = common_pb2.Payload.FromString(envelope.payload)
    transaction = peer_pb2.Transaction.FromString(payload.data)
    inner = peer_pb2.ChaincodeActionPayload.FromString(transaction.actions[0].payload)
    how(inner.action.endorsements[0])
    transaction.actions[0].payload = inner.SerializeToString()
    payload.data = transaction.SerializeToString()
    envelope.payload = payload.SerializeToString()
    return envelope.SerializeToString()


def test_range_reads_witness_too() -> None:
    space = kvrwset_pb2.KVRWSet()
    query = space.range_queries_info.add()
    query.raw_reads.kv_reads.add(key="k").version.block_num = 4
    found = list(proof._all_reads(type("Space", (), {"kv": space})()))
    assert [read.key for read in found] == ["k"]


def change(raw: bytes, how: Callable[[common_pb2.Block], Any]) -> bytes:
    message = common_pb2.Block.FromString(raw)
    how(message)
    return message.SerializeToString()


def flip(name: str) -> Callable[[common_pb2.Block], None]:
    def apply(block: common_pb2.Block) -> None:
        value = bytearray(getattr(block.header, name))
        value[0] ^= 1
        setattr(block.header, name, bytes(value))

    return apply


def spoil_signatures(block: common_pb2.Block) -> None:
    metadata = common_pb2.Metadata.FromString(block.metadata.metadata[0])
    for signature in metadata.signatures:
        signature.signature = signature.signature[:-1] + bytes([signature.signature[-1] ^ 1])
    block.metadata.metadata[0] = metadata.SerializeToString()


def spoil_value(block: common_pb2.Block) -> None:
    metadata = common_pb2.Metadata.FromString(block.metadata.metadata[0])
    value = common_pb2.OrdererBlockMetadata.FromString(metadata.value)
    value.last_config.index += 1
    metadata.value = value.SerializeToString()
    block.metadata.metadata[0] = metadata.SerializeToString()


TAMPERED: dict[str, Callable[[common_pb2.Block], Any]] = {
    "number": lambda b: setattr(b.header, "number", b.header.number + 1),
    "previous hash": flip("previous_hash"),
    "data hash": flip("data_hash"),
    "data": lambda b: b.data.data.__setitem__(0, b.data.data[0][:-1] + b"\x00"),
    "no data": lambda b: b.ClearField("data"),
    "signatures": spoil_signatures,
    "signed index": spoil_value,
    "no metadata": lambda b: b.metadata.ClearField("metadata"),
}


@pytest.mark.parametrize("name", TAMPERED)
@pytest.mark.parametrize("which", ["block", "configuration"])
def test_every_tampered_part_of_a_block_is_refused(
    raws: list[bytes], name: str, which: str
) -> None:
    made = proof_of(raws, 13)
    if which == "block":
        made = replace(made, block=change(made.block, TAMPERED[name]))
    else:
        made = replace(made, configs=(change(made.configs[0], TAMPERED[name]),))
    with pytest.raises(errors.VerificationError):
        check(made, trust.load(raws[0]))


def test_missing_or_foreign_configurations_are_refused(
    raws: list[bytes], real_blocks: Blocks
) -> None:
    root, made = trust.load(raws[0]), proof_of(raws, 13)
    with pytest.raises(errors.HiddenConfig):
        check(replace(made, configs=()), root)
    with pytest.raises(errors.HiddenConfig):
        check(replace(proof_of(raws, 8), configs=(raws[11],)), root)
    with pytest.raises(errors.ConfigIndexMismatch):
        check(replace(made, configs=(raws[8],)), root)
    others = [real_blocks(kind, "full") for kind in ("bft", "raft")]
    other = next(o for o in others if o[13] != raws[13])
    with pytest.raises(errors.VerificationError):
        check(replace(made, configs=(other[11],)), root)
    with pytest.raises(errors.VerificationError):
        check(replace(made, block=other[13]), root)
    with pytest.raises(errors.NotVerified):
        check(made, trust.load(other[0]))


def test_another_transaction_or_channel_is_not_in_it(raws: list[bytes]) -> None:
    root, made = trust.load(raws[0]), proof_of(raws, 13)
    with pytest.raises(errors.NotVerified, match="does not hold"):
        check(replace(made, transaction_id=entry(raws, 12).transaction_id), root)
    with pytest.raises(errors.NotVerified, match="channel"):
        check(replace(made, channel="otherch"), root)
    config = replace(made, block=raws[11], configs=(raws[11],), transaction_id="")
    with pytest.raises(errors.ChainError):
        check(config, root)


def test_skipping_configurations_needs_each_one(raws: list[bytes]) -> None:
    config = ChannelConfig.from_block(raws[0])
    after = skip_to_config(config, verify.parse(raws[11]))
    assert after.block_number == 11
    assert verify_alone(after, verify.parse(raws[14]))
    with pytest.raises(errors.WrongNumber):
        skip_to_config(after, verify.parse(raws[11]))
    with pytest.raises(errors.HiddenConfig):
        verify_alone(config, verify.parse(raws[14]))


# -- the file -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "how",
    [
        lambda f: f.pop("block"),
        lambda f: f.update(more=1),
        lambda f: f.update(version=2),
        lambda f: f.update(kind="evidence"),
        lambda f: f.update(block=7),
        lambda f: f.update(block="!!"),
        lambda f: f.update(configs={}),
        lambda f: f.update(configs=[7]),
        lambda f: f.update(configs=[""] * 1001),
        lambda f: f.update(witness=""[:0] or 3),
        lambda f: f.update(transaction_id="x" * 200),
        lambda f: f.update(channel=""),
        lambda f: f.update(made_at=None),
    ],
)
def test_a_file_of_another_form_is_refused(real_blocks: Blocks, how: Any) -> None:
    fields = json.loads(proof_of(real_blocks("bft", "full"), 8).dumps())
    how(fields)
    with pytest.raises(errors.UnusableFile):
        loads(json.dumps(fields).encode())


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_no_bytes_crash_the_reader(raw: bytes) -> None:
    with pytest.raises(errors.UnusableFile):
        loads(raw)


def test_size_is_bounded(monkeypatch: pytest.MonkeyPatch, real_blocks: Blocks) -> None:
    raw = proof_of(real_blocks("bft", "full"), 8).dumps()
    monkeypatch.setattr(proof, "MAX_FILE_BYTES", len(raw) - 1)
    with pytest.raises(errors.UnusableFile, match="at most"):
        loads(raw)
    with pytest.raises(ValueError, match="at most 3"):
        proof.decode(base64.b64encode(b"1234").decode() + "AAAA", "x", 3)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(draw=st.data())
def test_single_altered_bytes_never_prove_something_else(
    draw: st.DataObject, real_blocks: Any
) -> None:
    """Bytes no signature covers may change; what is proved may not."""
    raws = real_blocks("bft", "full")
    made = proof_of(raws, 13, witness=None)
    root = trust.load(raws[0])
    honest = check(made, root)
    at = draw.draw(st.integers(0, len(made.block) - 1))
    block = bytearray(made.block)
    block[at] ^= 1 << draw.draw(st.integers(0, 7))
    try:
        found = check(replace(made, block=bytes(block)), root)
    except errors.ChainError:
        return
    assert (found.hash, found.transaction, found.problems) == (
        honest.hash, honest.transaction, honest.problems,
    )  # fmt: skip


# -- the command --------------------------------------------------------------------------------


def test_checking_by_command(real_blocks: Blocks, tmp_path: Path, capsys: Any) -> None:
    raws = real_blocks("raft", "full")
    file, root = tmp_path / "proof.json", tmp_path / "root.block"
    root.write_bytes(raws[0])
    file.write_bytes(proof_of(raws, 4, witness=5).dumps())
    options = ["prove", "--check", str(file), "--trust", str(root)]
    assert cli.main([*options, "--json"]) == 0
    out = json.loads(capsys.readouterr().out)
    assert (out["proved"], out["valid"], out["block"], out["index"]) == (True, True, 4, 0)
    assert cli.main(options) == 0
    assert "signed that it took effect" in capsys.readouterr().out
    file.write_bytes(proof_of(raws, 8).dumps())
    assert cli.main(options) == 0
    assert "does not prove that it took effect" in capsys.readouterr().out
    file.write_bytes(replace(proof_of(raws, 13), configs=()).dumps())
    assert cli.main([*options, "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["proved"] is False
    file.write_bytes(b"{}")
    assert cli.main(options) == 1
    for wrong in (["prove"], ["prove", "--check", str(file)], ["prove", "ab", "--out", "x"],
                  ["prove", "--check", str(file), "--trust", str(file)],
                  ["prove", "--check", str(tmp_path / "none"), "--trust", str(root)]):  # fmt: skip
        assert cli.main(wrong) == 2
