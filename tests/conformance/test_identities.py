"""Who is let in, and in which words the others are not (docs/fabric-protocol.md 3.2, 4.7)."""

from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from light_node.devnet.certificates import Credential, issue_identity, new_root
from light_node.fabric import crypto, endorsement
from light_node.fabric.channel_config import ChannelConfig
from light_node.fabric.errors import AccessDenied, ClockSkewed
from light_node.fabric.gateway import Gateway
from light_node.fabric.identity import SigningIdentity
from light_node.fabric.methods import BROADCAST, ENDORSE
from light_node.fabric.pb import common_pb2, peer_pb2
from tests.conformance.calls import both_fail, endorse_request, failure_of, high_s, propose
from tests.conformance.networks import CLOCK, Network, OffsetClock

CODE = grpc.StatusCode
UNKNOWN = "creator org unknown, creator is malformed"
KNOWN = "creator org [Org1MSP]"


def special(
    network: Network,
    *extensions: tuple[x509.ExtensionType, bool],
    key: Any = None,
    not_before: datetime | None = None,
    not_after: datetime | None = None,
) -> SigningIdentity:
    """A client of Org1 whose certificate has something of its own."""
    ca = network.authority("Org1MSP")
    key = key or crypto.generate_key()
    name = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, "client"),
            x509.NameAttribute(NameOID.COMMON_NAME, "special"),
        ]
    )
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(ca.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(not_before or ca.certificate.not_valid_before_utc)
        .not_valid_after(not_after or datetime.now(UTC) + timedelta(days=1))
    )
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical)
    pem = crypto.certificate_pem(builder.sign(ca.key, hashes.SHA256()))
    return SigningIdentity.from_key("Org1MSP", pem, key)


def accepted(network: Network, peer: grpc.Channel, identity: SigningIdentity) -> bool:
    client = network.clients.gateway(peer, identity)
    try:
        return client.endorse("kv", "put", "id-accepted", "1").transaction_id != ""
    finally:
        client.close()


def is_refused(network: Network, peer: grpc.Channel, identity: SigningIdentity, said: str) -> None:
    text = f"error validating proposal: access denied: channel [{network.channel}] {said}"
    evaluate, endorse = both_fail(peer, propose(network, identity, "get", "a"))
    assert evaluate.code is CODE.FAILED_PRECONDITION, evaluate
    assert text in evaluate.text
    assert endorse.code is CODE.ABORTED, endorse
    assert endorse.said == [text]
    with pytest.raises(AccessDenied):
        accepted(network, peer, identity)


# -- accepted ----------------------------------------------------------------------------------


@pytest.mark.parametrize("msp_id", ["Org1MSP", "Org2MSP", "Org3MSP"])
@pytest.mark.parametrize("units", [["client"], ["admin"], ["client", "department1"]])
def test_writers(network: Network, peer: grpc.Channel, units: list[str], msp_id: str) -> None:
    assert accepted(network, peer, network.issue(units, msp_id))


def test_certificates_that_are_unusual_but_good(network: Network, peer: grpc.Channel) -> None:
    both = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH])
    assert accepted(network, peer, special(network, (both, False)))
    assert accepted(network, peer, special(network, key=ec.generate_private_key(ec.SECP384R1())))
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    future = special(network, not_before=tomorrow, not_after=tomorrow + timedelta(days=1))
    assert accepted(network, peer, future)


# -- refused -----------------------------------------------------------------------------------


def test_an_organisation_nobody_knows(network: Network, peer: grpc.Channel) -> None:
    user = network.clients.user()
    stranger = SigningIdentity("Org9MSP", user.certificate_pem, user.signer)
    is_refused(network, peer, stranger, UNKNOWN)


def test_a_certificate_of_another_organisation(network: Network, peer: grpc.Channel) -> None:
    user = network.clients.user("operator", "Org2MSP")
    mixed = SigningIdentity("Org1MSP", user.certificate_pem, user.signer)
    is_refused(network, peer, mixed, UNKNOWN)


def test_a_certificate_of_nobodys_ca(network: Network, peer: grpc.Channel) -> None:
    root = new_root("ca.org1", "org1", datetime.now(UTC))
    key = crypto.generate_key()
    after = datetime.now(UTC) + timedelta(days=1)
    certificate = issue_identity(root, key.public_key(), "forged", ["client"], after)
    pem = crypto.certificate_pem(certificate)
    is_refused(network, peer, SigningIdentity.from_key("Org1MSP", pem, key), UNKNOWN)


@pytest.mark.parametrize(
    "pem",
    [
        b"no certificate",
        b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    ],
)
def test_what_is_no_certificate(network: Network, peer: grpc.Channel, pem: bytes) -> None:
    user = network.clients.user()
    is_refused(network, peer, SigningIdentity("Org1MSP", pem, user.signer), UNKNOWN)


def test_the_ca_itself(network: Network, peer: grpc.Channel) -> None:
    ca: Credential = network.authority("Org1MSP")
    identity = SigningIdentity.from_key("Org1MSP", ca.certificate_pem, ca.key)
    proposal = propose(network, identity, "get", "a")
    for failure in both_fail(peer, proposal):
        assert "access denied" in "".join([failure.text, *failure.said])


@pytest.mark.parametrize("units", [[], ["department1"], ["client", "admin"], ["client", "peer"]])
def test_node_units_that_are_not_one(
    network: Network, peer: grpc.Channel, units: list[str]
) -> None:
    is_refused(network, peer, network.issue(units), KNOWN)


def test_peers_may_not_write(network: Network, peer: grpc.Channel) -> None:
    identity = network.issue(["peer"])
    said = "Failed evaluating policy on signed data during check policy on channel "
    evaluate, endorse = both_fail(peer, propose(network, identity, "get", "a"))
    assert (evaluate.code, endorse.code) == (CODE.FAILED_PRECONDITION, CODE.ABORTED)
    for failure in (evaluate, endorse):
        (text,) = failure.said
        assert text.startswith(f"{said}[{network.channel}] with policy [/Channel/Application/Wri")
        assert text.endswith("Writers]: [signature set did not satisfy policy]")
    # A client that goes by a policy it trusts, and so asks this peer for nothing else.
    policy = endorsement.by_reference(
        ChannelConfig.from_block(network.clients.profile.trust_root.config_block)
    )
    client = Gateway(peer, identity, network.channel, CLOCK, policy=policy)
    with pytest.raises(AccessDenied):
        client.endorse("kv", "put", "id-peer", "1")
    client.close()


WRITERS, READERS = "/Channel/Application/Writers", "/Channel/Application/Readers"
INFO, BLOCK = ("GetChainInfo", "market"), ("GetConfigBlock", "market")


@pytest.mark.parametrize(
    ("chaincode", "args", "said", "policy"),
    [
        (
            "_lifecycle",
            ("QueryChaincodeDefinition", b"\n\x02kv"),
            "Failed to authorize invocation due to failed ACL check: ",
            WRITERS,
        ),
        (
            "qscc",
            ("GetChainInfo", "market"),
            "access denied for [GetChainInfo][market]: [",
            READERS,
        ),
        (
            "cscc",
            ("GetConfigBlock", "market"),
            "access denied for [GetConfigBlock][market]: ",
            READERS,
        ),
    ],
)
def test_system_chaincodes_refuse_by_themselves(
    network: Network, peer: grpc.Channel, chaincode: str, args: Any, said: str, policy: str
) -> None:
    orderer = network.issue(["orderer"])
    evaluate, endorse = both_fail(peer, propose(network, orderer, *args, chaincode=chaincode))
    assert (evaluate.code, endorse.code) == (CODE.UNKNOWN, CODE.ABORTED)
    for failure in (evaluate, endorse):
        assert failure.said[0].startswith(
            f"chaincode response 500, {said}Failed evaluating policy on signed data during check "
            f"policy on channel [{network.channel}] with policy [{policy}]"
        )


def test_extended_key_usage_for_clients_only(network: Network, peer: grpc.Channel) -> None:
    usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH])
    is_refused(network, peer, special(network, (usage, False)), UNKNOWN)


def test_a_critical_extension_nobody_knows(network: Network, peer: grpc.Channel) -> None:
    unknown = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4.5"), b"x")
    is_refused(network, peer, special(network, (unknown, True)), UNKNOWN)


def test_a_certificate_older_than_its_ca(network: Network, peer: grpc.Channel) -> None:
    born = network.authority("Org1MSP").certificate.not_valid_before_utc
    older = special(network, not_before=born - timedelta(days=1))
    is_refused(network, peer, older, UNKNOWN)


def test_an_expired_certificate(network: Network, peer: grpc.Channel) -> None:
    expired = network.issue(not_after=CLOCK.now() - timedelta(seconds=1))
    remote = "rpc error: code = Unknown desc = proposal client identity expired"
    if not network.since_3:
        request = endorse_request(propose(network, expired, "put", "a", "1"))
        failure = failure_of(ENDORSE.callable(peer), request)
        assert failure.code is CODE.ABORTED
        assert set(failure.said) == {remote}
        return
    evaluate, endorse = both_fail(peer, propose(network, expired, "get", "a"))
    assert (evaluate.code, endorse.code) == (CODE.UNAVAILABLE, CODE.ABORTED)
    # The first organisation's peer is the gateway's own, the others are tried after it.
    assert endorse.said == ["proposal client identity expired"]
    assert evaluate.text == "failed to evaluate transaction, see attached details for more info"
    assert evaluate.said == ["proposal client identity expired", remote, remote]
    with pytest.raises(AccessDenied):
        accepted(network, peer, expired)


def test_an_expired_broadcaster(network: Network, orderer: grpc.Channel, gateway: Gateway) -> None:
    expired = network.issue(not_after=CLOCK.now() - timedelta(seconds=1))
    endorsed = gateway.endorse("kv", "put", "id-expired", "1")
    payload = common_pb2.Payload.FromString(
        common_pb2.Envelope.FromString(endorsed.envelope).payload
    )
    header = common_pb2.SignatureHeader.FromString(payload.header.signature_header)
    header.creator = expired.serialized
    payload.header.signature_header = header.SerializeToString()
    raw = payload.SerializeToString()
    envelope = common_pb2.Envelope(payload=raw, signature=expired.sign(raw))
    (answer,) = list(BROADCAST.callable(orderer)(iter([envelope]), timeout=30))
    assert answer.status == common_pb2.BAD_REQUEST
    assert "broadcast client identity expired" in answer.info


def test_signatures_that_do_not_hold(network: Network, peer: grpc.Channel) -> None:
    text = f"access denied: channel [{network.channel}] {KNOWN}"
    for change in (high_s, lambda signature: b"x"):
        proposal = propose(network, network.clients.user(), "get", "a")
        proposal.signed.signature = change(proposal.signed.signature)
        evaluate, endorse = both_fail(peer, proposal)
        assert evaluate.code is CODE.FAILED_PRECONDITION
        assert endorse.code is CODE.ABORTED
        assert text in evaluate.text
        assert text in endorse.said[0]


def test_no_signature_at_all(network: Network, peer: grpc.Channel) -> None:
    proposal = propose(network, network.clients.user(), "get", "a")
    proposal.signed.signature = b""
    evaluate, endorse = both_fail(peer, proposal)
    assert (evaluate.code, endorse.code) == (CODE.FAILED_PRECONDITION, CODE.ABORTED)
    for failure in (evaluate, endorse):
        assert failure.said == ["error validating proposal: empty signature bytes"]


def test_a_key_that_is_not_the_certificates(network: Network, peer: grpc.Channel) -> None:
    user = network.clients.user()
    thief = SigningIdentity(
        "Org1MSP", user.certificate_pem, crypto.KeySigner(crypto.generate_key())
    )
    is_refused(network, peer, thief, KNOWN)


# -- clocks ------------------------------------------------------------------------------------


@pytest.mark.parametrize("minutes", [-20, 20])
def test_clocks_that_are_wrong(network: Network, peer: grpc.Channel, minutes: int) -> None:
    clock = OffsetClock(timedelta(minutes=minutes))
    proposal = propose(network, network.clients.user(), "get", "a", clock=clock)
    client = Gateway(peer, network.clients.user(), network.channel, clock)
    try:
        if not network.since_3:  # 2.5 asks by default for no time
            assert client.endorse("kv", "put", "id-clock", "1").transaction_id
            return
        evaluate, endorse = both_fail(peer, proposal)
        assert (evaluate.code, endorse.code) == (CODE.UNAVAILABLE, CODE.ABORTED)
        for failure in (evaluate, endorse):
            assert "request unauthorized due to incorrect timestamp" in failure.said[0]
        for call in (client.endorse, client.evaluate):
            with pytest.raises(ClockSkewed):
                call("kv", "put", "id-clock", "1")
    finally:
        client.close()


@pytest.mark.parametrize("minutes", [-14, 14])
def test_clocks_that_will_do(network: Network, peer: grpc.Channel, minutes: int) -> None:
    clock = OffsetClock(timedelta(minutes=minutes))
    client = Gateway(peer, network.clients.user(), network.channel, clock)
    assert client.submit_transaction("kv", "put", "id-clock", "1").block_number > 0
    client.close()


# -- proposals -----------------------------------------------------------------------------------


def test_a_transaction_id_that_does_not_follow(network: Network, peer: grpc.Channel) -> None:
    user = network.clients.user()
    proposal = propose(network, user, "get", "a")
    outer = common_pb2.Header()
    message = peer_pb2.Proposal.FromString(proposal.proposal_bytes)
    outer.ParseFromString(message.header)
    channel = common_pb2.ChannelHeader.FromString(outer.channel_header)
    channel.tx_id = "0" * 64
    outer.channel_header = channel.SerializeToString()
    message.header = outer.SerializeToString()
    proposal.signed.proposal_bytes = message.SerializeToString()
    proposal.signed.signature = user.sign(proposal.signed.proposal_bytes)
    evaluate, endorse = both_fail(peer, proposal)
    assert (evaluate.code, endorse.code) == (CODE.FAILED_PRECONDITION, CODE.ABORTED)
    for failure in (evaluate, endorse):
        assert failure.said[0].startswith("error validating proposal: incorrectly computed txid")
