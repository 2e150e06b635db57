"""A small consortium with real keys, and a peer that answers over real gRPC and TLS.

The peer plays its part well unless a test tells it otherwise; it is no ledger.
"""

import ipaddress
import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from google.protobuf.any_pb2 import Any as AnyMessage

from light_node.fabric import methods, transaction
from light_node.fabric.connection import connect
from light_node.fabric.crypto import certificate_pem, generate_key, private_key_pem
from light_node.fabric.endorsement import ChannelEndorsementPolicy
from light_node.fabric.identity import ATTRIBUTES_OID, SigningIdentity
from light_node.fabric.msp import Msp, MspManager
from light_node.fabric.pb import (
    common_pb2,
    gateway_pb2,
    kvrwset_pb2,
    msp_pb2,
    orderer_pb2,
    peer_pb2,
    rpc_pb2,
    rwset_pb2,
)
from light_node.fabric.policy import SignaturePolicy, signed_by_roles
from light_node.fabric.proposal import open_proposal

MADE = datetime(2026, 1, 1, tzinfo=UTC)
ORGANIZATIONS = ("Org1MSP", "Org2MSP", "Org3MSP")
CHANNEL = "market"


class Authority:
    """A root CA."""

    def __init__(self, name: str) -> None:
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.key = generate_key()
        usage = x509.KeyUsage(True, False, False, False, False, True, True, False, False)
        self.certificate = (
            self._builder(self.name, self.key.public_key())
            .add_extension(x509.BasicConstraints(True, None), critical=True)
            .add_extension(usage, critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(self.key.public_key()), False)
            .sign(self.key, hashes.SHA256())
        )
        self.pem = certificate_pem(self.certificate)

    def _builder(self, subject: x509.Name, key: Any) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(MADE)
            .not_valid_after(MADE + timedelta(days=36500))
        )

    def certify(
        self,
        name: str,
        key: Any,
        *,
        unit: str = "",
        attributes: dict[str, Any] | bytes | None = None,
        hosts: tuple[str, ...] = (),
    ) -> bytes:
        """Return the PEM certificate for public key ``key``."""
        subject = [x509.NameAttribute(NameOID.COMMON_NAME, name)]
        if unit:
            subject.append(x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, unit))
        builder = self._builder(x509.Name(subject), key).add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), False
        )
        if attributes is not None:
            raw = attributes
            if not isinstance(raw, bytes):
                raw = json.dumps({"attrs": attributes}).encode()
            builder = builder.add_extension(x509.UnrecognizedExtension(ATTRIBUTES_OID, raw), False)
        if hosts:
            names = [_general_name(host) for host in hosts]
            builder = builder.add_extension(x509.SubjectAlternativeName(names), False)
        return certificate_pem(builder.sign(self.key, hashes.SHA256()))


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


class Consortium:
    """Three organisations with a CA, a peer and a client each."""

    def __init__(self) -> None:
        self.authorities = {msp_id: Authority(f"ca.{msp_id}") for msp_id in ORGANIZATIONS}
        self.peers = [self.identity(msp_id, "peer0", "peer") for msp_id in ORGANIZATIONS]
        self.client = self.identity("Org1MSP", "hh-001", "client")
        self.msps = MspManager(self._msp(msp_id) for msp_id in ORGANIZATIONS)
        self.majority = self.n_of(2)

    def identity(self, msp_id: str, name: str, unit: str, key: Any = None) -> SigningIdentity:
        key = key or generate_key()
        pem = self.authorities[msp_id].certify(name, key.public_key(), unit=unit)
        return SigningIdentity.from_key(msp_id, pem, key)

    def n_of(self, n: int) -> ChannelEndorsementPolicy:
        """The policy "n peers of different organisations"."""
        raw = signed_by_roles(ORGANIZATIONS, [common_pb2.MSPRole.PEER], n)
        return ChannelEndorsementPolicy(SignaturePolicy.from_bytes(raw), self.msps)

    def _msp(self, msp_id: str) -> Msp:
        root = self.authorities[msp_id].pem
        units = {
            f"{unit}_ou_identifier": msp_pb2.FabricOUIdentifier(
                certificate=root, organizational_unit_identifier=unit
            )
            for unit in ("client", "peer", "admin", "orderer")
        }
        return Msp(
            msp_pb2.FabricMSPConfig(
                name=msp_id,
                root_certs=[root],
                fabric_node_ous=msp_pb2.FabricNodeOUs(enable=True, **units),
            ),
            ed25519_allowed=True,
        )


@dataclass(frozen=True)
class TlsServer:
    """A TLS root and a server certificate for localhost under it."""

    root_pem: bytes
    certificate_pem: bytes
    key_pem: bytes


def make_tls(hosts: tuple[str, ...] = ("localhost", "127.0.0.1")) -> TlsServer:
    authority, key = Authority("tlsca"), generate_key()
    certificate = authority.certify("server", key.public_key(), hosts=hosts)
    return TlsServer(authority.pem, certificate, private_key_pem(key))


def results(*namespaces: tuple[str, kvrwset_pb2.KVRWSet]) -> bytes:
    """A serialized TxReadWriteSet."""
    return rwset_pb2.TxReadWriteSet(
        ns_rwset=[
            rwset_pb2.NsReadWriteSet(namespace=name, rwset=kv.SerializeToString())
            for name, kv in namespaces
        ]
    ).SerializeToString()


def lifecycle_reads() -> tuple[str, kvrwset_pb2.KVRWSet]:
    read = kvrwset_pb2.KVRead(
        key="namespaces/fields/market/Sequence", version=kvrwset_pb2.Version(block_num=4)
    )
    return "_lifecycle", kvrwset_pb2.KVRWSet(reads=[read])


def writes(namespace: str, **values: bytes) -> tuple[str, kvrwset_pb2.KVRWSet]:
    items = [kvrwset_pb2.KVWrite(key=key, value=value) for key, value in values.items()]
    return namespace, kvrwset_pb2.KVRWSet(writes=items)


@dataclass
class Failure:
    """What a call of the peer ends with instead of an answer."""

    code: grpc.StatusCode
    text: str
    details: tuple[tuple[str, str, str], ...] = ()
    raw_details: bytes | None = None

    def raise_in(self, context: grpc.ServicerContext) -> None:
        raw = self.raw_details
        if raw is None and self.details:
            status = rpc_pb2.Status(code=self.code.value[0], message=self.text)
            for address, msp_id, message in self.details:
                detail = gateway_pb2.ErrorDetail(address=address, msp_id=msp_id, message=message)
                packed = AnyMessage(
                    type_url="type.googleapis.com/gateway.ErrorDetail",
                    value=detail.SerializeToString(),
                )
                status.details.append(packed)
            raw = status.SerializeToString()
        if raw is not None:
            context.set_trailing_metadata((("grpc-status-details-bin", raw),))
        context.abort(self.code, self.text)


Script = list[Failure | Callable[[grpc.ServicerContext], object]]


@dataclass
class FakePeer:
    """Answers gateway and deliver calls. Scripts hold what the next calls of a name do first."""

    consortium: Consortium
    tls: TlsServer
    endorsers: list[SigningIdentity] = field(default_factory=list)
    result: bytes = b'{"ok":true}'
    rwset: bytes = b""
    scripts: dict[str, Script] = field(default_factory=dict)
    tamper: Callable[[common_pb2.Envelope], None] = lambda envelope: None
    calls: list[str] = field(default_factory=list)
    proposals: list[Any] = field(default_factory=list)
    submitted: list[bytes] = field(default_factory=list)
    asked_organizations: list[tuple[str, ...]] = field(default_factory=list)
    statuses: dict[str, tuple[int, int]] = field(default_factory=dict)
    commit_code: int = 0
    commit_on_submit: bool = True
    evaluate_answers: dict[str, peer_pb2.Response] = field(default_factory=dict)
    event_requests: list[gateway_pb2.ChaincodeEventsRequest] = field(default_factory=list)
    event_rounds: list[list[Any]] = field(default_factory=list)
    seeks: list[tuple[str, orderer_pb2.SeekInfo]] = field(default_factory=list)
    deliver_answers: list[bytes] = field(default_factory=list)
    hold_deliver: bool = False
    mute: bool = False
    """Whether the stream of filtered blocks keeps silent about commits."""
    stopping: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.endorsers = self.endorsers or self.consortium.peers[:2]
        self.rwset = self.rwset or results(lifecycle_reads(), writes("market", k=b"v"))
        self.changed = threading.Condition()
        self._pool = ThreadPoolExecutor(16)
        self._server = grpc.server(self._pool)
        behaviours = {
            methods.EVALUATE: self._evaluate,
            methods.ENDORSE: self._endorse,
            methods.SUBMIT: self._submit,
            methods.COMMIT_STATUS: self._commit_status,
            methods.CHAINCODE_EVENTS: self._events,
            methods.PEER_DELIVER: lambda r, c: self._deliver("peer", r, c),
            methods.ORDERER_DELIVER: lambda r, c: self._deliver("orderer", r, c),
            methods.PEER_DELIVER_FILTERED: self._filtered,
        }
        raw = (methods.PEER_DELIVER, methods.ORDERER_DELIVER)
        self._server.add_generic_rpc_handlers(methods.service_handlers(behaviours, raw=raw))
        credentials = grpc.ssl_server_credentials([(self.tls.key_pem, self.tls.certificate_pem)])
        self.port = self._server.add_secure_port("127.0.0.1:0", credentials)
        self._server.start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def stop(self) -> None:
        self.stopping.set()
        with self.changed:
            self.changed.notify_all()
        self._server.stop(0).wait()
        self._pool.shutdown()

    def commit(self, transaction_id: str, code: int = 0, block: int = 7) -> None:
        with self.changed:
            self.statuses.setdefault(transaction_id, (code, block))
            self.changed.notify_all()

    def _play(self, name: str, context: grpc.ServicerContext) -> None:
        self.calls.append(name)
        script = self.scripts.get(name)
        if script:
            step = script.pop(0)
            if isinstance(step, Failure):
                step.raise_in(context)
            else:
                step(context)

    def _evaluate(self, request: Any, context: grpc.ServicerContext) -> Any:
        opened = open_proposal(request.proposed_transaction)
        self.proposals.append(opened)
        self._play("evaluate", context)
        name = f"{opened.chaincode}.{opened.args[0].decode()}"
        default = peer_pb2.Response(status=200, payload=self.result)
        return gateway_pb2.EvaluateResponse(result=self.evaluate_answers.get(name, default))

    def _endorse(self, request: Any, context: grpc.ServicerContext) -> Any:
        opened = open_proposal(request.proposed_transaction)
        self.proposals.append(opened)
        self.asked_organizations.append(tuple(request.endorsing_organizations))
        self._play("endorse", context)
        payload = transaction.response_payload(
            opened.proposal_hash,
            chaincode=opened.chaincode,
            version="1",
            results=self.rwset,
            response=peer_pb2.Response(status=200, payload=self.result),
            event=peer_pb2.ChaincodeEvent(
                chaincode_id=opened.chaincode,
                tx_id=opened.transaction_id,
                event_name="SlotOpened",
                payload=b"{}",
            ),
        )
        envelope = common_pb2.Envelope(
            payload=transaction.prepared_payload(
                opened.channel_header,
                opened.signature_header,
                opened.payload,
                payload,
                [transaction.endorse(peer, payload) for peer in self.endorsers],
            )
        )
        self.tamper(envelope)
        return gateway_pb2.EndorseResponse(prepared_transaction=envelope)

    def _submit(self, request: Any, context: grpc.ServicerContext) -> Any:
        self.submitted.append(request.prepared_transaction.SerializeToString())
        self._play("submit", context)
        if self.commit_on_submit:
            self.commit(request.transaction_id, self.commit_code)
        return gateway_pb2.SubmitResponse()

    def _commit_status(self, request: Any, context: grpc.ServicerContext) -> Any:
        self._play("commit status", context)
        asked = gateway_pb2.CommitStatusRequest.FromString(request.request).transaction_id
        with self.changed:
            while asked not in self.statuses and context.is_active():
                if self.stopping.is_set():
                    context.abort(grpc.StatusCode.UNAVAILABLE, "stopping")
                self.changed.wait(0.02)
            code, block = self.statuses.get(asked, (0, 0))
        return gateway_pb2.CommitStatusResponse(result=code, block_number=block)

    def _events(self, request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        self.event_requests.append(gateway_pb2.ChaincodeEventsRequest.FromString(request.request))
        self._play("events", context)
        for item in self.event_rounds.pop(0) if self.event_rounds else []:
            if isinstance(item, Failure):
                item.raise_in(context)
            if item is None:
                return
            yield item
        self._hold(context)

    def _deliver(
        self, kind: str, requests: Iterator[Any], context: grpc.ServicerContext
    ) -> Iterator[bytes]:
        for envelope in requests:
            payload = common_pb2.Payload.FromString(envelope.payload)
            self.seeks.append((kind, orderer_pb2.SeekInfo.FromString(payload.data)))
            self.proposals.append(envelope)
            self._play("deliver", context)
            yield from self.deliver_answers
            if self.hold_deliver:
                self._hold(context)

    def _filtered(self, requests: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:
        """Send an empty block, then one of its own for whatever commits from now on."""
        payload = common_pb2.Payload.FromString(next(requests).payload)
        self.seeks.append(("filtered", orderer_pb2.SeekInfo.FromString(payload.data)))
        with self.changed:
            sent = set(self.statuses)
        self._play("filtered", context)
        yield peer_pb2.DeliverResponse(filtered_block=peer_pb2.FilteredBlock(channel_id=CHANNEL))
        while context.is_active() and not self.stopping.is_set():
            with self.changed:
                new = {key: value for key, value in self.statuses.items() if key not in sent}
                if not new:
                    self.changed.wait(0.02)
            sent |= new.keys()
            for key, (code, block) in () if self.mute else new.items():
                ended = peer_pb2.FilteredTransaction(txid=key, tx_validation_code=code)
                yield peer_pb2.DeliverResponse(
                    filtered_block=peer_pb2.FilteredBlock(
                        channel_id=CHANNEL, number=block, filtered_transactions=[ended]
                    )
                )

    def _hold(self, context: grpc.ServicerContext) -> None:
        while context.is_active() and not self.stopping.is_set():
            self.stopping.wait(0.02)


@pytest.fixture(scope="session")
def consortium() -> Consortium:
    return Consortium()


@pytest.fixture(scope="session")
def tls() -> TlsServer:
    return make_tls()


@pytest.fixture
def peer(consortium: Consortium, tls: TlsServer) -> Iterator[FakePeer]:
    fake = FakePeer(consortium, tls)
    yield fake
    fake.stop()


@pytest.fixture
def channel(peer: FakePeer, tls: TlsServer) -> Iterator[grpc.Channel]:
    made = connect(peer.address, tls.root_pem)
    yield made
    made.close()


@pytest.fixture(scope="session")
def kit() -> Any:
    """The names of this file, for tests (test folders are no packages)."""
    return type(
        "Kit",
        (),
        {
            "Authority": Authority,
            "Failure": Failure,
            "FakePeer": FakePeer,
            "make_tls": staticmethod(make_tls),
            "results": staticmethod(results),
            "writes": staticmethod(writes),
            "lifecycle_reads": staticmethod(lifecycle_reads),
            "CHANNEL": CHANNEL,
            "P384": ec.SECP384R1,
        },
    )
