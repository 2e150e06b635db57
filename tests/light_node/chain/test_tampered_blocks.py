"""Real blocks of both channels with one field altered, every field and every way, one at a time.

Each alteration meets the error named in the tables below, or is one of the few that leave what is
proved as it was: number, hash, data and configuration in force. Those are of two kinds.

* *Respelled*: neither hash nor signature runs over the protobuf of ``Block``, ``BlockHeader``,
  ``BlockMetadata``, ``Metadata`` and ``MetadataSignature``, only over the header's DER and over
  some of the fields, as contents. The same contents in another spelling are the same block.
* *Free*: fields that nothing signs or hashes, :data:`FREE`, each with the reason.
"""

import ssl
from collections.abc import Callable, Iterator
from typing import NamedTuple

import pytest

from light_node.chain import errors, received, trust, verify
from light_node.chain.verify import TrustedState
from light_node.fabric import block as blocks
from light_node.fabric import certificates
from light_node.fabric.pb import common_pb2, msp_pb2
from tests.light_node.chain.tampering import Alteration, alterations

Blocks = Callable[[str, str], list[bytes]]
KINDS = ("raft", "bft")
BLOCK = common_pb2.Block.DESCRIPTOR
SAME = "same"

TWO_TRANSACTIONS, CONFIGURATION, AFTER_IT = 7, 11, 12
SIGNATURES = "metadata[0].signatures"

WHOLE_MESSAGE = {"unknown field first", "unknown field last"}
PADDED = {"padded tag", "padded length", "padded number"}
LAST_COUNTS = {"doubled", "changed copy first", "swapped with the next"}
"""Protobuf keeps the last of a field that may stand once, wherever it stands."""
RESIZED = {"dropped", "longer", "shorter", "empty"}
CHANGED = {"changed", "changed copy last", "first bit changed"}

DATA = "data.data"
"""Everything inside is hashed as bytes: one that differs gives another data hash."""
SIGNED = (
    "metadata[0].value",
    f"{SIGNATURES}.signature_header",
    f"{SIGNATURES}.identifier_header",
)
"""Everything inside is signed as bytes."""

FREE: dict[str, str] = {
    "metadata[1]": "the deprecated copy of the last-config index: the signed one is read",
    "metadata[3]": "the orderer's entry, empty since Fabric 2.0: not read",
    "metadata[2]": "flags, in a header: peers of two organisations must state the same",
    "metadata[4]": "commit hash, in a header: peers of two organisations must state the same",
}
"""What nothing signs or hashes, by path; with the data there, flags and commit hash prove each
other (``CommitHashMismatch``), so the last two are free in headers without data only."""


class Row(NamedTuple):
    """For alterations of the field ``path`` by one of ``how``: the errors they may meet."""

    path: str
    how: set[str]
    errors: set[str]


def rows(whole: bool, config: bool) -> list[Row]:
    """What a change of each field meets; ``whole`` says that the data is there."""
    altered = {"DataHashMismatch"} if whole else {"AttestationFailed"}
    flags = {"CommitHashMismatch"} if whole else {SAME}
    framing = {"longer", "shorter", "first bit changed"}
    return [
        Row("", WHOLE_MESSAGE, {SAME}),
        # The header: its three fields are hashed as DER.
        Row("header", WHOLE_MESSAGE | LAST_COUNTS, {SAME}),
        Row("header", RESIZED | {"first bit changed"}, {"MalformedBlock"}),
        Row("header", {"changed", "changed copy last"}, altered),
        Row("header.number", LAST_COUNTS, {SAME}),
        Row("header.number", {"dropped", "zero"}, {"MalformedBlock"}),
        Row("header.number", CHANGED | {"huge"}, {"WrongNumber"}),
        Row("header.previous_hash", LAST_COUNTS, {SAME}),
        Row("header.previous_hash", RESIZED, {"MalformedBlock"}),
        Row("header.previous_hash", CHANGED, {"BrokenLink"}),
        Row("header.data_hash", LAST_COUNTS, {SAME}),
        Row("header.data_hash", RESIZED, {"MalformedBlock"}),
        Row("header.data_hash", CHANGED, altered),
        # The data: two copies are joined, so that a second one adds transactions.
        Row("data", WHOLE_MESSAGE | {"swapped with the next"}, {SAME}),
        Row("data", {"dropped"}, {"ConfigDataMissing"} if config else {SAME}),
        Row("data", {"doubled", "changed copy first", "empty"}, {"DataHashMismatch"}),
        Row("data", {"changed", "changed copy last"}, {"DataHashMismatch"}),
        Row("data", framing, {"MalformedBlock", "DataHashMismatch"}),
        # The metadata: two copies are joined too, and only the first five entries are read.
        Row("metadata", WHOLE_MESSAGE | {"doubled", "changed copy last"}, {SAME}),
        Row("metadata", {"dropped", "empty"}, {"MissingMetadata"}),
        Row("metadata", {"changed", "changed copy first"}, flags),
        Row("metadata", framing, {"MalformedBlock"}),
        *(Row(f"metadata[{n}]", {"dropped"}, {"MissingMetadata"}) for n in range(5)),
        # A second copy of an entry moves the ones behind it.
        Row("metadata[0]", WHOLE_MESSAGE, {SAME}),
        Row("metadata[0]", {"doubled", "changed copy last"}, _moved(whole)),
        Row("metadata[0]", {"changed", "changed copy first", "empty"}, {"AttestationFailed"}),
        Row("metadata[0]", framing, {"MalformedBlock", "AttestationFailed"}),
        Row("metadata[0]", {"swapped with the next"}, {"AttestationFailed"}),
        Row("metadata[0].value", LAST_COUNTS, {SAME}),
        Row("metadata[0].value", RESIZED | CHANGED, {"AttestationFailed"}),
        # One signature more, good or bad, takes nothing from the others.
        Row(SIGNATURES, WHOLE_MESSAGE | LAST_COUNTS | {"changed copy last"}, {SAME}),
        Row(SIGNATURES, {"dropped", "empty", "changed"}, {"AttestationFailed"}),
        Row(SIGNATURES, framing, {"MalformedBlock"}),
        *(
            row
            for name in ("signature_header", "identifier_header", "signature")
            for row in (
                Row(f"{SIGNATURES}.{name}", LAST_COUNTS, {SAME}),
                Row(
                    f"{SIGNATURES}.{name}",
                    RESIZED | CHANGED,
                    {"AttestationFailed"} | (set() if name == "signature" else {"MalformedBlock"}),
                ),
            )
        ),
        # In a classic signature the BFT form's header is not read; the reverse changes the form.
        Row(f"{SIGNATURES}.identifier_header", {"added"}, {SAME}),
        Row(f"{SIGNATURES}.signature_header", {"added"}, {"AttestationFailed"}),
        Row("metadata[2]", CHANGED | {"doubled", "changed copy first"}, flags),
        Row("metadata[2]", RESIZED - {"dropped"}, {"MalformedBlock"} if whole else {SAME}),
        Row("metadata[2]", {"swapped with the next"}, {"MalformedBlock"} if whole else {SAME}),
        Row("metadata[3]", {"doubled", "swapped with the next"}, flags),
        Row("metadata[3]", {"longer"}, {SAME}),
        Row("metadata[4]", WHOLE_MESSAGE | {"doubled", "changed copy last"}, {SAME}),
        Row("metadata[4]", {"changed", "changed copy first", "empty"}, flags),
        Row("metadata[4]", framing, {"MalformedBlock"}),
        Row("metadata[4].value", LAST_COUNTS, {SAME}),
        Row("metadata[4].value", CHANGED | {"dropped", "empty"}, flags),
        Row("metadata[4].value", {"longer", "shorter"}, {"MalformedBlock"}),
        # The copy of the index is free, but what moves the entries behind it is noticed.
        Row("metadata[1]", (CHANGED | RESIZED) - {"dropped", "changed copy last"}, {SAME}),
        Row("metadata[1]", LAST_COUNTS | {"changed copy last"}, _moved(whole)),
        Row("metadata[1]", WHOLE_MESSAGE, {SAME}),
    ]


def _moved(whole: bool) -> set[str]:
    # Flags where the copy of the index was. It is empty in the first configuration's blocks.
    return {"MalformedBlock", "CommitHashMismatch", SAME} if whole else {SAME}


def inside(alteration: Alteration, path: str) -> bool:
    """Say whether the bytes of the message at ``path`` differ, not only how it is wrapped."""
    if alteration.path == path:
        return alteration.how in WHOLE_MESSAGE
    return alteration.path.startswith(f"{path}.")


def expected(alteration: Alteration, table: list[Row]) -> set[str]:
    """Return the outcomes an alteration may have."""
    path, how, _ = alteration
    if inside(alteration, DATA):
        return {"DataHashMismatch"}
    if any(inside(alteration, signed) for signed in SIGNED):
        return {"AttestationFailed"}
    if how in PADDED:
        return {SAME}
    if path == DATA:
        return {"DataHashMismatch"}
    if path.startswith("metadata[1]."):
        return {SAME}
    (found,) = [row.errors for row in table if row.path == path and how in row.how]
    return found


def state_before(raws: list[bytes], number: int) -> TrustedState:
    state = trust.load(raws[0]).state
    for raw in raws[1:number]:
        state = verify.apply(state, verify.verify_block(state, verify.parse(raw)))
    return state


def outcome(state: TrustedState, good: verify.Verified, raw: bytes, previous: bytes | None) -> str:
    """Return the name of the error ``raw`` meets, or ``SAME`` if it proves what ``good`` does."""
    block, caught = None, None
    try:
        block = verify.parse(raw)
        found = verify.verify_block(state, block)
        verify.verify_commit_hash(block, previous)
    except errors.VerificationError as error:
        caught = error
    if caught is not None:
        if block is not None:  # it could be read, so the error says which block and hash
            assert (caught.number, caught.hash) == (block.number, block.hash)
        return type(caught).__name__
    assert block is not None
    assert (block.number, block.hash) == (good.block.number, good.block.hash)
    assert block.envelopes in (None, good.block.envelopes)
    assert verify.last_config(block) == verify.last_config(good.block)
    assert (found.config is None) == (good.config is None)
    assert sorted(found.signers) == sorted(good.signers)
    return SAME


CASES = [
    ("full", TWO_TRANSACTIONS),
    ("full", CONFIGURATION),
    ("full", AFTER_IT),
    ("headers", TWO_TRANSACTIONS),
    ("headers", AFTER_IT),
]


def test_a_configuration_block_comes_whole_in_both_forms(real_blocks: Blocks) -> None:
    """So its alterations need not be gone through twice."""
    for kind in KINDS:
        forms = [real_blocks(kind, form)[CONFIGURATION] for form in ("full", "headers")]
        assert verify.parse(forms[0]).envelopes == verify.parse(forms[1]).envelopes is not None


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("form", "number"), CASES)
def test_every_altered_field_meets_its_error(
    real_blocks: Blocks, kind: str, form: str, number: int
) -> None:
    raws = real_blocks(kind, form)
    state, raw = state_before(raws, number), raws[number]
    good = verify.verify_block(state, verify.parse(raw))
    before = verify.parse(real_blocks(kind, "full")[number - 1])
    previous = blocks.stated_commit_hash(before)
    table = rows(form == "full", number == CONFIGURATION)
    wrong, reached = [], set()
    for alteration in alterations(raw, BLOCK):
        met, allowed = outcome(state, good, alteration.raw, previous), expected(alteration, table)
        reached.add(met)
        if met not in allowed:
            wrong.append((alteration.path, alteration.how, met, sorted(allowed)))
    assert not wrong
    common = {"MalformedBlock", "MissingMetadata", "WrongNumber", "BrokenLink", "AttestationFailed"}
    assert reached >= common | {SAME}
    assert ("DataHashMismatch" in reached) == ("CommitHashMismatch" in reached) == (form == "full")


@pytest.mark.parametrize("kind", KINDS)
def test_only_what_is_listed_as_free_can_have_another_content(
    real_blocks: Blocks, kind: str
) -> None:
    """Whatever is accepted with another value somewhere is in :data:`FREE`, and all of that is."""
    raws = real_blocks(kind, "headers")
    state, raw = state_before(raws, TWO_TRANSACTIONS), raws[TWO_TRANSACTIONS]
    good = verify.verify_block(state, verify.parse(raw))
    accepted = {
        alteration.path.partition(".")[0]
        for alteration in alterations(raw, BLOCK)
        if alteration.how in CHANGED - {"changed copy last"} | {"huge", "longer"}
        and alteration.path != "metadata"
        and outcome(state, good, alteration.raw, None) == SAME
    }
    assert accepted == set(FREE)


@pytest.mark.parametrize("kind", KINDS)
def test_altered_data_under_a_mended_hash_is_not_attested(real_blocks: Blocks, kind: str) -> None:
    """As a peer would do it that knows the rules: the header fits, and nobody signed it."""
    raws = real_blocks(kind, "full")
    state = state_before(raws, TWO_TRANSACTIONS)
    good = verify.verify_block(state, verify.parse(raws[TWO_TRANSACTIONS]))
    met = set()
    for alteration in alterations(raws[TWO_TRANSACTIONS], BLOCK):
        if not inside(alteration, DATA):
            continue
        message = common_pb2.Block.FromString(alteration.raw)
        message.header.data_hash = blocks.data_hash(message.data.data)
        met.add(outcome(state, good, message.SerializeToString(), None))
    assert met == {"AttestationFailed", "MalformedData"}


@pytest.mark.parametrize("kind", KINDS)
def test_an_altered_trust_root_is_not_the_one_whose_hash_is_known(
    real_blocks: Blocks, kind: str
) -> None:
    raw = real_blocks(kind, "full")[0]
    good = trust.load(raw)
    refused = 0
    for alteration in alterations(raw, BLOCK):
        try:
            root = trust.load(alteration.raw, expected_hash=good.hash)
        except errors.TrustRootMismatch:
            refused += 1
            continue
        assert not inside(alteration, DATA)
        assert (root.hash, root.number) == (good.hash, good.number)
        assert verify.parse(root.config_block).envelopes == verify.parse(raw).envelopes
    assert refused > 1000


@pytest.mark.parametrize("kind", KINDS)
def test_in_a_batch_an_altered_header_meets_the_same_verdict(
    real_blocks: Blocks, kind: str
) -> None:
    """The fast path over received bytes judges as the plain one does, field by field."""
    raws = real_blocks(kind, "headers")
    state, altered = trust.load(raws[0]).state, 5
    kept = 0
    for alteration in alterations(raws[altered], BLOCK):
        batch = [*raws[1:altered], alteration.raw, *raws[altered + 1 : CONFIGURATION]]
        one, many = _plain(state, batch), _fast(state, batch)
        assert one == many, (alteration.path, alteration.how)
        kept += one[0] == SAME
    assert kept


def _plain(state: TrustedState, batch: list[bytes]) -> tuple[object, ...]:
    parsed: list[blocks.Block] = []
    try:
        for raw in batch:
            parsed.append(verify.parse(raw))
        end, _ = verify.verify_blocks(state, parsed)
    except errors.VerificationError as error:
        return type(error).__name__, error.number, error.hash
    return SAME, end.number, end.hash


def _fast(state: TrustedState, batch: list[bytes]) -> tuple[object, ...]:
    try:
        end, _ = received.verify_received(state, batch)
    except errors.VerificationError as error:
        return type(error).__name__, error.number, error.hash
    return SAME, end.number, end.hash


@pytest.mark.filterwarnings("ignore:Parsed a .*serial number")
def test_a_signer_whose_certificate_is_altered_signed_nothing(real_blocks: Blocks) -> None:
    """Byte by byte, version and dates included: nothing but the named error comes of it."""
    raws = real_blocks("raft", "headers")
    state, block = state_before(raws, 1), verify.parse(raws[1])
    entry = blocks.signature_entry(block)
    header = common_pb2.SignatureHeader.FromString(entry.signatures[0].signature_header)
    signer = msp_pb2.SerializedIdentity.FromString(header.creator)
    der = certificates.first_pem_block(signer.id_bytes)
    for at in range(len(der)):
        altered = der[:at] + bytes([der[at] ^ 1]) + der[at + 1 :]
        signer.id_bytes = ssl.DER_cert_to_PEM_cert(altered).encode()
        header.creator = signer.SerializeToString()
        signature = entry.signatures[0]._replace(signature_header=header.SerializeToString())
        metadata = (blocks.encode_signature_entry(entry.value, [signature]), *block.metadata[1:])
        with pytest.raises(errors.AttestationFailed):
            verify.verify_block(state, block._replace(metadata=metadata))


def test_the_walk_reaches_what_lies_deepest(real_blocks: Blocks) -> None:
    """Else a field would count as covered that was never altered."""

    def paths(kind: str, number: int) -> Iterator[str]:
        return (a.path for a in alterations(real_blocks(kind, "full")[number], BLOCK))

    action = "data.data.payload.data.actions.payload.action"
    config = "data.data.payload.data.config.channel_group.groups.value"
    update = "data.data.payload.data.last_update.payload.data"
    assert {
        "data.data.payload.header.channel_header.tx_id",
        "data.data.payload.header.signature_header.creator.id_bytes",
        f"{action}.endorsements.endorser.mspid",
        f"{action}.proposal_response_payload.extension.results.ns_rwset.rwset.writes.value",
    } <= set(paths("raft", TWO_TRANSACTIONS))
    assert {
        f"{config}.groups.value.values.value.value",
        f"{config}.policies.value.policy.value",
        f"{update}.config_update.write_set.groups.value.version",
        f"{update}.signatures.signature_header.creator.id_bytes",
        "data.data.payload.data.config.sequence",
    } <= set(paths("bft", CONFIGURATION))
    assert f"{SIGNATURES}.identifier_header.identifier" in set(paths("bft", TWO_TRANSACTIONS))
