"""Every reader of bytes from outside in the light node and the wallet, with good inputs for each.

A target reads one input as far as the program would; only its own declared errors may come out.
Inputs are the live blocks in ``tests/data/fabric`` and files made here.
"""

import contextlib
import random
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import grpc

from light_node import jsonio
from light_node.chain import blocks as full_blocks
from light_node.chain import (
    errors,
    fork_evidence,
    history_record,
    proof,
    quarantine,
    received,
    root_text,
    trust,
    verify,
)
from light_node.chain.store import HeaderStore
from light_node.chain.trust import TrustRoot
from light_node.chain.verify import TrustedState
from light_node.contract import records
from light_node.fabric import block as wire
from light_node.fabric import (
    ca,
    certificates,
    commit_hash,
    deliver,
    endorsement,
    policy,
    transaction,
)
from light_node.fabric import errors as fabric_errors
from light_node.fabric.channel_config import BLOCK_VALIDATION
from light_node.fabric.msp import MspConfigError, MspError, load_msp
from light_node.fabric.pb import common_pb2, gateway_pb2, msp_pb2, peer_pb2, rpc_pb2
from light_node.fabric.policy import PolicyError
from light_node.fabric.profile import NetworkProfile, Organization, PeerEndpoint
from light_node.fabric.profile import TrustRoot as ProfileTrustRoot
from tests.fuzz import mutation
from wallet_app.keys.identity import EnrolmentError, load_identity
from wallet_app.settings import Settings, SettingsError

DATA = Path(__file__).parents[1] / "data" / "fabric"
NOW = datetime(2026, 6, 21, 12, tzinfo=UTC)
KINDS = ("raft", "bft")


@dataclass(frozen=True, slots=True)
class Target:
    """One reader: good inputs, how they are changed, what it may raise."""

    seeds: Sequence[bytes]
    read: Callable[[bytes], object]
    allowed: tuple[type[Exception], ...]
    mutate: mutation.Mutator

    def run(self, data: bytes) -> None:
        """Read ``data``; whatever is not an allowed error comes out."""
        try:
            self.read(data)
        except self.allowed:
            return

    def damaged(self, pick: random.Random) -> bytes:
        """Return a good input, changed."""
        data = self.mutate(pick, pick.choice(self.seeds))
        return self.mutate(pick, data) if pick.random() < 0.2 else data


@cache
def raw(kind: str, form: str, number: int) -> bytes:
    return (DATA / kind / form / f"{number:04}.block").read_bytes()


@cache
def root(kind: str) -> TrustRoot:
    return trust.load(raw(kind, "full", 0), obtained=NOW, expires=NOW + timedelta(days=365))


@cache
def state(kind: str, number: int) -> TrustedState:
    batch = [verify.parse(raw(kind, "full", n)) for n in range(1, number + 1)]
    return verify.verify_blocks(root(kind).state, batch)[0] if batch else root(kind).state


def _envelopes() -> list[bytes]:
    return [
        envelope
        for kind in KINDS
        for number in (3, 5, 8)
        for envelope in wire.parse_block(raw(kind, "full", number)).envelopes or ()
    ]


# -- blocks ---------------------------------------------------------------------------------------


def _read_block(data: bytes) -> None:
    for kind in KINDS:
        before = state(kind, 4)
        block = verify.parse(data)
        for check in (
            lambda b=block: verify.verify_data(b),
            lambda b=block, c=before.config: verify.verify_attestation(c, b),
            lambda b=block, s=before: verify.verify_block(s, b),
            lambda b=block: verify.verify_commit_hash(b, bytes(32)),
            lambda b=block: full_blocks.open_block(data, b.hash),
        ):
            try:
                check()
            except errors.VerificationError:
                continue


def _read_batch(data: bytes) -> None:
    """A changed header among good ones: a batch passes exactly if its blocks do one by one."""
    kind = "bft"
    good = [raw(kind, "headers", n) for n in range(1, 11)]
    batch = [*good[:4], data, *good[5:]]

    def singly() -> Any:
        now = root(kind).state
        for at, item in enumerate(batch):
            checked = verify.verify_block(now, verify.parse(item), attested=at == len(batch) - 1)
            now = verify.apply(now, checked)
        return now.hash

    def outcome(work: Callable[[], Any]) -> Any:
        try:
            return work()
        except errors.VerificationError:
            return None

    together = outcome(lambda: received.verify_received(root(kind).state, batch)[0].hash)
    if together != outcome(singly):
        raise AssertionError("a batch is judged otherwise than its blocks")


def _read_config(data: bytes) -> None:
    """The data hash is mended, so that what reads the configuration is reached."""
    message = common_pb2.Block.FromString(raw("bft", "full", 11))
    message.data.data[0] = data
    message.header.data_hash = wire.data_hash([data])
    try:
        loaded = trust.load(message.SerializeToString())
    except errors.TrustRootError:
        return
    config = loaded.config
    with contextlib.suppress(PolicyError):
        config.policy(BLOCK_VALIDATION).satisfied_by([])
    _ = (config.organizations, config.orderer_endpoints, config.consenter(1))


def _read_envelope(data: bytes) -> None:
    for reader in (transaction.parse_transaction, transaction.parse_header):
        try:
            reader(data)
        except fabric_errors.MalformedMessage:
            continue
    full_blocks.check_transaction(root("bft").config, data, {"kv": b""})


def _read_identity(data: bytes) -> None:
    for kind in KINDS:
        root(kind).config.msps.deserialize(data)


def _read_policy(data: bytes) -> None:
    policy.SignaturePolicy.from_bytes(data).satisfied_by([])


# -- answers of nodes -----------------------------------------------------------------------------


class _FailedCall(grpc.RpcError):
    def __init__(self, details: bytes) -> None:
        self._details = details

    def code(self) -> grpc.StatusCode:
        return grpc.StatusCode.ABORTED

    def details(self) -> str:
        return self._details.decode("utf-8", "replace")

    def trailing_metadata(self) -> tuple[tuple[str, bytes], ...]:
        return (("grpc-status-details-bin", self._details),)


def _read_status(data: bytes) -> None:
    fabric_errors.from_rpc_error(_FailedCall(data), "endorse")


def _status_details() -> bytes:
    detail = gateway_pb2.ErrorDetail(
        address="peer0:7051", msp_id="Org1MSP", message="chaincode response 409, CONFLICT: taken"
    )
    status = rpc_pb2.Status(code=10, message="failed to endorse")
    found = status.details.add()
    found.type_url, found.value = "type.googleapis.com/gateway.ErrorDetail", b""
    found.value = detail.SerializeToString()
    return status.SerializeToString()


def _read_ca_answer(data: bytes) -> None:
    for status in (200, 401, 500):
        try:
            ca._result(status, data)
        except fabric_errors.CaError:
            continue


def _read_metadata(data: bytes) -> None:
    block = common_pb2.Block.FromString(raw("bft", "full", 5))
    block.metadata.metadata[wire.SIGNATURES] = data
    _read_block(block.SerializeToString())


# -- files ----------------------------------------------------------------------------------------


def _profile() -> bytes:
    kept = ProfileTrustRoot(
        "bftch", raw("bft", "full", 0), root("bft").hash.hex(), NOW, NOW + timedelta(days=1)
    )
    organizations = tuple(
        Organization(
            inner.name, (PeerEndpoint(f"peer0.{inner.name}", "peer0.example:7051", pem),), None
        )
        for inner in map(_msp, _msp_configs()[:3])
        for pem in [inner.tls_root_certs[0].decode()]
    )
    made = NetworkProfile("Street", "bftch", "market", organizations, (), kept)
    return jsonio.canonical_dumps(made.to_json())


def _read_profile(data: bytes) -> None:
    profile = NetworkProfile.from_json(jsonio.strict_loads(data))
    trust.from_profile(profile.trust_root)


def _proof() -> bytes:
    number = 8
    block = common_pb2.Block.FromString(raw("bft", "full", number))
    header = transaction.parse_header(block.data.data[0])
    made = proof.TransactionProof(
        channel="bftch",
        transaction_id=header.transaction_id,
        configs=(),
        block=block.SerializeToString(),
        witness=None,
        made_at=NOW.isoformat(),
    )
    return made.dumps()


def _read_proof(data: bytes) -> None:
    proof.check(proof.loads(data), root("bft"))


def _evidence() -> bytes:
    made = fork_evidence.ForkEvidence(
        channel="bftch",
        trust_root=raw("bft", "full", 0),
        configs=(raw("bft", "full", 11),),
        ours=raw("bft", "headers", 12),
        theirs=raw("bft", "headers", 13),
        organization="Org3MSP",
        address="org3:7051",
        seen_at=NOW.isoformat(),
        witnesses=(),
    )
    return made.dumps()


def _unsigned_evidence() -> bytes:
    """Two branches: of the live channel, and of the same with another block 12 in its place."""
    made = fork_evidence.ForkEvidence(
        channel="bftch",
        trust_root=raw("bft", "full", 0),
        configs=(raw("bft", "full", 11),),
        ours=raw("bft", "headers", 13),
        theirs=raw("bft", "headers", 13),
        organization="Org3MSP",
        address="org3:7051",
        seen_at=NOW.isoformat(),
        witnesses=(),
        parent=verify.parse(raw("bft", "headers", 11)).hash,
        ours_before=verify.parse(raw("bft", "headers", 12)).data_hash,
        theirs_before=bytes(32),
    )
    return made.dumps()


def _record() -> bytes:
    made = history_record.HistoryRecord(
        channel="bftch",
        trust_root=raw("bft", "full", 0),
        configs=(raw("bft", "full", 11),),
        ours=verify.parse(raw("bft", "headers", 12)).hash,
        theirs=raw("bft", "headers", 13),
        last=14,
        organization="Org3MSP",
        address="org3:7051",
        seen_at=NOW.isoformat(),
        reporter=_creators()[0],
        signature=bytes(70),
    )
    return made.dumps()


def _read_record(data: bytes) -> None:
    history_record.check(history_record.loads(data))


def _read_evidence(data: bytes) -> None:
    fork_evidence.check(fork_evidence.loads(data))


def _in_folder(name: str, read: Callable[[Path], object]) -> Callable[[bytes], object]:
    def reader(data: bytes) -> object:
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, name).write_bytes(data)
            return read(Path(folder))

    return reader


def _quarantine() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        case = quarantine.Case(7, NOW.isoformat(), "0000000007-Org3MSP.json", "flags")
        quarantine.add(Path(folder), "Org3MSP", case)
        return (Path(folder) / quarantine.FILE_NAME).read_bytes()


def _store() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        with HeaderStore(Path(folder), root("bft")) as store:
            after, found = received.verify_received(
                store.state, [raw("bft", "headers", n) for n in range(1, 11)]
            )
            store.append(found, after)
        return (Path(folder) / "headers.bin").read_bytes()


def _read_store(folder: Path) -> None:
    with HeaderStore(folder, root("bft")) as store:
        number = store.state.number
        for at in range(number + 2):
            store.header(at)
        store.verify_links()


def _identity_file() -> bytes:
    fields = {"msp_id": "Org1MSP", "enrolment_id": "household", "key_name": "household"}
    certificate = _pems()[0].decode()
    return jsonio.canonical_dumps({**fields, "certificate": certificate, "key_place": "file"})


def _settings_file() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        Settings().save(Path(folder))
        return (Path(folder) / "settings.json").read_bytes()


def _root_text() -> bytes:
    return root_text.encode(root("bft")).encode()


def _read_root_text(data: bytes) -> None:
    told = root_text.decode(data.decode("utf-8", "replace"))
    told.load(raw("bft", "full", 0))


def _msp_configs() -> list[bytes]:
    _, envelope = wire.config_envelope(verify.parse(raw("bft", "full", 0)))
    groups = envelope.config.channel_group.groups
    return [
        group.values["MSP"].value
        for part in ("Application", "Orderer")
        for group in groups[part].groups.values()
    ]


def _msp(config: bytes) -> msp_pb2.FabricMSPConfig:
    return msp_pb2.FabricMSPConfig.FromString(msp_pb2.MSPConfig.FromString(config).config)


def _pems() -> list[bytes]:
    return [pem for config in _msp_configs() for pem in _msp(config).root_certs]


def _creators() -> list[bytes]:
    return [
        common_pb2.SignatureHeader.FromString(item.signature_header).creator
        for item in wire.signature_entry(verify.parse(raw("raft", "full", 5))).signatures
    ]


def _definition() -> bytes:
    from light_node.fabric.pb import lifecycle_pb2

    return lifecycle_pb2.QueryChaincodeDefinitionResult(
        sequence=1, version="1.0", validation_parameter=endorsement.reference_bytes()
    ).SerializeToString()


@cache
def targets() -> Mapping[str, Target]:
    """Return every target by name."""
    blocks = [raw(kind, form, n) for kind in KINDS for form in ("full", "headers") for n in (5, 11)]
    chain, by_wire, by_json = (errors.ChainError,), mutation.wire, mutation.json_value
    fabric = (fabric_errors.FabricError,)
    config = [(wire.parse_block(raw(k, "full", 11)).envelopes or ())[0] for k in KINDS]
    rules = [
        policy.signed_by_roles(["Org1MSP", "Org2MSP"], [common_pb2.MSPRole.PEER], 2),
        policy.bft_block_validation(_creators()),
    ]
    application = peer_pb2.ApplicationPolicy(
        signature_policy=common_pb2.SignaturePolicyEnvelope.FromString(rules[0])
    ).SerializeToString()
    entry = wire.parse_block(raw("bft", "full", 5)).metadata[wire.SIGNATURES]
    answer = b"\x12" + bytes((len(b"block"),)) + b"block"
    ca_answer = b'{"success":true,"result":{"Cert":"QUJD","ServerInfo":{}},"errors":[]}'
    refusal = b'{"success":false,"result":"","errors":[{"code":20,"message":"no"}],"messages":[]}'
    quote = b'{"id":"quote-1","limit_price":5600,"energy_wh":1200,"slot":"2026-06-21T12:00Z/900"}'
    return {
        "block": Target(blocks, _read_block, chain, by_wire),
        "batch": Target([raw("bft", "headers", 5)], _read_batch, (), by_wire),
        "signatures": Target([entry], _read_metadata, chain, by_wire),
        "configuration": Target(config, _read_config, (), by_wire),
        "transaction": Target(_envelopes(), _read_envelope, (), by_wire),
        "writes": Target(
            _envelopes(), lambda d: commit_hash.block_updates(1, [d], b"\0"), (wire.BlockError,),
            by_wire,
        ),
        "msp": Target(
            _msp_configs(), lambda d: load_msp(d, ed25519_allowed=True), (MspConfigError,), by_wire
        ),
        "identity": Target(_creators(), _read_identity, (MspError,), by_wire),
        "certificate": Target(
            _pems(), certificates.load, (certificates.CertificateError,), mutation.flat
        ),
        "certificate-der": Target(
            [certificates.first_pem_block(pem) for pem in _pems()],
            certificates.parse, (certificates.CertificateError,), mutation.flat,
        ),
        "policy": Target(rules, _read_policy, (PolicyError,), by_wire),
        "application-policy": Target(
            [application, endorsement.reference_bytes()],
            lambda d: root("bft").config.endorsement_policy(d), (PolicyError,), by_wire,
        ),
        "deliver-answer": Target(
            [answer, b"\x08\xc8\x01"], deliver.split_response, fabric, mutation.flat
        ),
        "definition": Target(
            [_definition()], lambda d: endorsement.read_definition("market", d), fabric, by_wire
        ),
        "grpc-status": Target([_status_details()], _read_status, (), by_wire),
        "ca-answer": Target([ca_answer, refusal], _read_ca_answer, fabric, by_json),
        "record": Target([quote], records.parse, (jsonio.JsonError,), by_json),
        "profile": Target([_profile()], _read_profile, (jsonio.JsonError, *chain), by_json),
        "proof": Target([_proof()], _read_proof, chain, by_json),
        "evidence": Target([_evidence(), _unsigned_evidence()], _read_evidence, chain, by_json),
        "history-record": Target([_record()], _read_record, chain, by_json),
        "quarantine": Target(
            [_quarantine()], _in_folder(quarantine.FILE_NAME, quarantine.load), chain, by_json
        ),
        "store": Target(
            [_store()], _in_folder("headers.bin", _read_store), chain, mutation.flat
        ),
        "root-text": Target([_root_text()], _read_root_text, chain, mutation.flat),
        "settings": Target(
            [_settings_file()], _in_folder("settings.json", Settings.load), (SettingsError,),
            by_json,
        ),
        "wallet-identity": Target(
            [_identity_file()], _in_folder("identity.json", load_identity), (EnrolmentError,),
            by_json,
        ),
    }  # fmt: skip
