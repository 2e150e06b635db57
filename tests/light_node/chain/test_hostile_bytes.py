"""Whatever bytes come in, parsers answer with a value or with their own error, nothing else."""

import contextlib
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from light_node.chain import blocks as full_blocks
from light_node.chain import errors, trust, verify
from light_node.fabric import certificates, commit_hash, policy
from light_node.fabric.block import BlockError, parse_block
from light_node.fabric.channel_config import ChannelConfig, ConfigError
from light_node.fabric.msp import MspConfigError, MspError, load_msp
from light_node.fabric.policy import PolicyError

Blocks = Callable[[str, str], list[bytes]]
ANY = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])

PARSERS: list[tuple[str, Callable[[bytes], Any], type[Exception]]] = [
    ("block", parse_block, BlockError),
    ("block to verify", verify.parse, errors.VerificationError),
    ("trust root", trust.load, errors.TrustRootError),
    ("configuration", ChannelConfig.from_block, ConfigError),
    ("signature policy", policy.SignaturePolicy.from_bytes, PolicyError),
    (
        "application policy",
        lambda raw: policy.application_policy(raw, policy.PolicyGroup()),
        PolicyError,
    ),
    ("certificate", certificates.parse, certificates.CertificateError),
    ("PEM", certificates.load, certificates.CertificateError),
    ("MSP", lambda raw: load_msp(raw, ed25519_allowed=True), MspConfigError),
    (
        "writes",
        lambda raw: commit_hash.block_updates(1, [raw], b"\x00"),
        BlockError,
    ),
]


@pytest.mark.parametrize(("what", "parser", "error"), PARSERS, ids=[p[0] for p in PARSERS])
@given(raw=st.binary(max_size=200))
@ANY
def test_arbitrary_bytes(
    what: str, parser: Callable[[bytes], Any], error: type[Exception], raw: bytes
) -> None:
    with contextlib.suppress(error):
        parser(raw)


def mutate(raw: bytes, edits: list[tuple[int, int]]) -> bytes:
    out = bytearray(raw)
    for at, value in edits:
        out[at % len(out)] = value
    return bytes(out)


EDITS = st.lists(st.tuples(st.integers(0, 1 << 20), st.integers(0, 255)), min_size=1, max_size=4)


@pytest.mark.parametrize("kind", ["raft", "bft"])
@given(edits=EDITS)
@ANY
def test_a_mutated_configuration_block(
    real_blocks: Blocks, kind: str, edits: list[tuple[int, int]]
) -> None:
    """The data hash is mended, so that the mutation reaches what reads the configuration."""
    from light_node.fabric.block import data_hash
    from light_node.fabric.pb import common_pb2

    message = common_pb2.Block.FromString(real_blocks(kind, "full")[0])
    message.data.data[0] = mutate(message.data.data[0], edits)
    message.header.data_hash = data_hash(message.data.data)
    with contextlib.suppress(errors.TrustRootError):
        trust.load(message.SerializeToString())


@pytest.mark.parametrize("kind", ["raft", "bft"])
@given(edits=EDITS)
@ANY
def test_a_mutated_block(real_blocks: Blocks, kind: str, edits: list[tuple[int, int]]) -> None:
    raws = real_blocks(kind, "full")
    state, raw = trust.load(raws[0]).state, mutate(raws[1], edits)
    good = verify.parse(raws[1])
    try:
        verified = verify.verify_block(state, verify.parse(raw))
        verify.verify_commit_hash(verified.block, b"")
        full = full_blocks.open_block(raw, good.hash)
    except errors.VerificationError:
        return
    assert full.block.hash == good.hash
    assert full.block.envelopes == good.envelopes


@pytest.mark.parametrize("kind", ["raft", "bft"])
@given(edits=EDITS)
@ANY
def test_a_mutated_identity(real_blocks: Blocks, kind: str, edits: list[tuple[int, int]]) -> None:
    """Either refused, or the very same certificate in other PEM clothes."""
    raws = real_blocks(kind, "full")
    config = trust.load(raws[0]).config
    envelope = verify.parse(raws[1]).envelopes
    assert envelope is not None
    from light_node.fabric.transaction import parse_header

    creator = parse_header(envelope[0]).creator
    good = config.msps.deserialize(creator)
    try:
        found = config.msps.deserialize(mutate(creator, edits))
    except MspError:
        return
    assert found.id == good.id
