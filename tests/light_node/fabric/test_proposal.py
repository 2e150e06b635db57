"""Proposals: the vectors of section 9, and what an endorser refuses to open."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from light_node.fabric import proposal
from light_node.fabric.crypto import public_key_of, verify
from light_node.fabric.errors import MalformedMessage
from light_node.fabric.pb import common_pb2, peer_pb2

NOW = datetime(2026, 6, 21, 10, 0, 0, 123456, tzinfo=UTC)
NONCE = bytes(range(24))


def build(consortium: Any, **options: Any) -> proposal.Proposal:
    return proposal.build_proposal(
        consortium.client, "market", "market", [b"f", b"\xff"], now=NOW, nonce=NONCE, **options
    )


def test_transaction_id_of_section_9() -> None:
    creator = bytes.fromhex("0a074f7267314d5350120443455254")
    expected = "aa7642bfac5976c7a73b32b04694f509f4591e2a1c8c03169590497304694503"
    assert proposal.transaction_id(NONCE, creator) == expected


def test_a_proposal_opens_to_what_was_put_in(consortium: Any) -> None:
    built = build(consortium, transient={"secret": b"s"})
    opened = proposal.open_proposal(built.signed)
    assert opened.transaction_id == built.transaction_id
    assert opened.args == (b"f", b"\xff")
    assert opened.transient == {"secret": b"s"}
    assert opened.timestamp == NOW
    assert (opened.channel, opened.chaincode) == ("market", "market")
    assert opened.creator == consortium.client.serialized
    assert opened.proposal_hash == built.proposal_hash
    key = public_key_of(consortium.client.certificate)
    assert verify(key, built.signed.signature, built.proposal_bytes)


def test_transient_data_is_not_in_the_hash(consortium: Any) -> None:
    assert build(consortium).proposal_hash == build(consortium, transient={"a": b"b"}).proposal_hash


def test_local_time_is_converted(consortium: Any) -> None:
    import zoneinfo

    there = NOW.astimezone(zoneinfo.ZoneInfo("Asia/Shanghai"))
    built = proposal.build_proposal(consortium.client, "c", "m", [b"f"], now=there, nonce=NONCE)
    assert proposal.open_proposal(built.signed).timestamp == NOW


def test_a_nonce_is_needed(consortium: Any) -> None:
    with pytest.raises(ValueError, match="nonce"):
        proposal.build_proposal(consortium.client, "c", "m", [b"f"], now=NOW, nonce=b"")


def alter_header(signed: peer_pb2.SignedProposal, **changes: Any) -> None:
    inner = peer_pb2.Proposal.FromString(signed.proposal_bytes)
    header = common_pb2.Header.FromString(inner.header)
    channel = common_pb2.ChannelHeader.FromString(header.channel_header)
    for name, value in changes.items():
        if name == "timestamp":
            channel.timestamp.CopyFrom(value) if value else channel.ClearField("timestamp")
        else:
            setattr(channel, name, value)
    header.channel_header = channel.SerializeToString()
    inner.header = header.SerializeToString()
    signed.proposal_bytes = inner.SerializeToString()


@pytest.mark.parametrize(
    "changes",
    [
        {"type": common_pb2.CONFIG},
        {"epoch": 1},
        {"tx_id": "0" * 64},
        {"extension": b""},
        {"extension": b"\xff"},
        {"timestamp": None},
    ],
    ids=lambda c: next(iter(c)),
)
def test_an_altered_header_is_refused(consortium: Any, changes: dict[str, Any]) -> None:
    built = build(consortium)
    alter_header(built.signed, **changes)
    with pytest.raises(MalformedMessage):
        proposal.open_proposal(built.signed)


def test_garbage_is_refused() -> None:
    for raw in (b"", b"\xff", b"\x0a\x05ab"):
        with pytest.raises(MalformedMessage):
            proposal.open_proposal(peer_pb2.SignedProposal(proposal_bytes=raw))


def test_timestamps_out_of_range_are_refused() -> None:
    header = common_pb2.ChannelHeader()
    header.timestamp.seconds = 2**62
    with pytest.raises(MalformedMessage):
        proposal.to_datetime(header)
    header.timestamp.seconds, header.timestamp.nanos = 1, -1
    with pytest.raises(MalformedMessage):
        proposal.to_datetime(header)
    header.timestamp.nanos = 999
    expected = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=1)
    assert proposal.to_datetime(header) == expected


def test_transaction_id_form() -> None:
    assert proposal.is_transaction_id("a" * 64)
    for bad in ("", "A" * 64, "a" * 63, "a" * 64 + "\n"):
        assert not proposal.is_transaction_id(bad)
