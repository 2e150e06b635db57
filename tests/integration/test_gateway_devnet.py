"""The Fabric clients against a devnet: gateway, events, deliver and CA as wallets use them."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest

from light_node.clock import SystemClock
from light_node.devnet.testing import DevnetProcess
from light_node.fabric import ca, endorsement, transaction
from light_node.fabric.block import parse_block
from light_node.fabric.channel_config import ChannelConfig
from light_node.fabric.crypto import KeySigner, generate_key, load_certificate
from light_node.fabric.deliver import DeliverClient
from light_node.fabric.errors import (
    AccessDenied,
    BlockNotFound,
    CaAuthenticationFailed,
    CaIdentityExists,
    CommitConflict,
    ContractRefused,
    EndorseError,
    EndorsersDisagree,
    OutcomeUnknown,
    TimedOut,
    Unavailable,
    UntrustedResponse,
)
from light_node.fabric.gateway import Deadlines, Gateway, Result
from light_node.fabric.identity import SigningIdentity, attributes, enrolment_id
from light_node.fabric.pb import peer_pb2


@pytest.fixture(scope="module")
def channel(devnet: DevnetProcess) -> Iterator[grpc.Channel]:
    made = devnet.connect()
    yield made
    made.close()


@pytest.fixture(scope="module")
def config(devnet: DevnetProcess) -> ChannelConfig:
    return ChannelConfig.from_block(devnet.profile.trust_root.config_block)


@pytest.fixture
def gateway(
    devnet: DevnetProcess, channel: grpc.Channel, config: ChannelConfig
) -> Iterator[Gateway]:
    made = Gateway(
        channel,
        devnet.user(),
        devnet.profile.channel,
        SystemClock(),
        policy=endorsement.by_reference(config),
    )
    yield made
    made.close()


def test_a_transaction_and_what_it_left(gateway: Gateway) -> None:
    result = gateway.submit_transaction("kv", "put", "gw-a", "1")
    assert result.block_number > 0
    assert gateway.evaluate("kv", "get", "gw-a") == b"1"
    status = gateway.commit_status(result.transaction_id)
    assert (status.valid, status.block_number) == (True, result.block_number)
    assert gateway.height() > result.block_number


def test_the_policy_fetched_agrees_with_the_trusted_one(
    devnet: DevnetProcess, channel: grpc.Channel
) -> None:
    trusting = Gateway(channel, devnet.user(), devnet.profile.channel, SystemClock())
    for _ in range(2):  # the second time from memory
        assert trusting.submit_transaction("kv", "put", "gw-b", "1").block_number > 0
    assert trusting.definition("market").policy == endorsement.reference_bytes()
    assert trusting.config_block() == devnet.profile.trust_root.config_block
    trusting.close()


def test_one_organisation_is_not_enough_and_nothing_is_signed(gateway: Gateway) -> None:
    with pytest.raises(UntrustedResponse) as caught:
        gateway.endorse("kv", "put", "gw-c", "1", organizations=["Org1MSP"])
    assert caught.value.point == 6


def test_refusals_and_disagreement(gateway: Gateway) -> None:
    for call in (gateway.evaluate, gateway.endorse):
        with pytest.raises(ContractRefused) as caught:
            call("kv", "fail", "409", "ROUND_CLOSED: too late")
        assert (caught.value.status, caught.value.code) == (409, "ROUND_CLOSED")
        assert caught.value.foreign == "too late"
    with pytest.raises(EndorsersDisagree):
        gateway.endorse("kv", "dice", "gw-dice")
    with pytest.raises(EndorseError):
        gateway.endorse("no-such-chaincode", "f")


def test_a_stranger_is_denied(devnet: DevnetProcess, channel: grpc.Channel) -> None:
    user = devnet.user()
    stranger = SigningIdentity("Org1MSP", user.certificate_pem, KeySigner(generate_key()))
    gateway = Gateway(channel, stranger, devnet.profile.channel, SystemClock())
    with pytest.raises(AccessDenied):
        gateway.evaluate("kv", "get", "gw-a")
    gateway.close()


def test_conflicts_are_retried_until_all_have_counted(gateway: Gateway) -> None:
    failures: list[BaseException] = []

    def add() -> None:
        try:
            gateway.submit_transaction("kv", "add", "gw-counter", "1", retries=30)
        except BaseException as error:
            failures.append(error)
            raise

    threads = [threading.Thread(target=add) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert gateway.evaluate("kv", "get", "gw-counter") == b"5"


def test_two_endorsed_on_one_version(gateway: Gateway) -> None:
    gateway.submit_transaction("kv", "put", "gw-d", "0")
    first = gateway.endorse("kv", "add", "gw-d", "1")
    second = gateway.endorse("kv", "add", "gw-d", "1")
    gateway.submit(first)
    assert gateway.commit_status(first.transaction_id).valid
    gateway.submit(second)
    status = gateway.commit_status(second.transaction_id)
    assert status.code == peer_pb2.MVCC_READ_CONFLICT
    with pytest.raises(CommitConflict):
        gateway.resume(second.transaction_id, second.envelope)


def test_resume_after_a_crash_at_any_point(
    devnet: DevnetProcess, channel: grpc.Channel, gateway: Gateway
) -> None:
    hasty = Gateway(
        channel,
        devnet.user(),
        devnet.profile.channel,
        SystemClock(),
        deadlines=Deadlines(probe=0.3),
    )
    for crash_after in ("endorse", "submit", "commit"):
        endorsed = gateway.endorse("kv", "put", f"gw-{crash_after}", "x")
        if crash_after != "endorse":
            gateway.submit(endorsed)
        if crash_after == "commit":
            gateway.commit_status(endorsed.transaction_id)
        result = hasty.resume(endorsed.transaction_id, endorsed.envelope)
        assert result.transaction_id == endorsed.transaction_id
        again = hasty.resume(endorsed.transaction_id, endorsed.envelope)
        assert again.block_number == result.block_number
    hasty.close()


def test_submitting_twice_commits_once(gateway: Gateway) -> None:
    gateway.submit_transaction("kv", "put", "gw-twice", "0")
    endorsed = gateway.endorse("kv", "add", "gw-twice", "1")
    gateway.submit(endorsed)
    first = gateway.commit_status(endorsed.transaction_id)
    result = gateway.resume(endorsed.transaction_id, endorsed.envelope)
    assert result.block_number == first.block_number
    assert gateway.evaluate("kv", "get", "gw-twice") == b"1"


def test_an_unknown_transaction_is_waited_for(gateway: Gateway) -> None:
    with pytest.raises(TimedOut):
        gateway.commit_status("0" * 64, 0.2)


def test_events_from_now_from_a_block_and_after_a_transaction(gateway: Gateway) -> None:
    with gateway.events("kv") as stream:
        first = gateway.submit_transaction("kv", "emit", "gw-e", "one", "Happened")
        found = next(stream)
        assert found.block_number == first.block_number
        assert [(e.name, e.transaction_id) for e in found.events] == [
            ("Happened", first.transaction_id)
        ]
        second = gateway.submit_transaction("kv", "emit", "gw-e", "two", "Happened")
        assert next(stream).events[0].transaction_id == second.transaction_id
    with gateway.events("kv", first.block_number) as stream:
        ids = [next(stream).events[0].transaction_id for _ in range(2)]
        assert ids == [first.transaction_id, second.transaction_id]
    with gateway.events("kv", after_tx=first.transaction_id) as stream:
        assert next(stream).events[0].transaction_id == second.transaction_id


@pytest.mark.parametrize("kind", ["peer", "orderer"])
def test_blocks_whole_and_headers_only(
    devnet: DevnetProcess, channel: grpc.Channel, gateway: Gateway, kind: str
) -> None:
    result = gateway.submit_transaction("kv", "put", f"gw-{kind}", "1")
    source = channel if kind == "peer" else devnet.connect_orderer()
    client = DeliverClient(
        source,
        devnet.user(),
        devnet.profile.channel,
        SystemClock(),
        "peer" if kind == "peer" else "orderer",
    )
    number = result.block_number
    whole, header = client.block(number), client.block(number, headers_only=True)
    envelopes = parse_block(whole).envelopes or ()
    ids = [transaction.parse_transaction(e).transaction_id for e in envelopes]
    assert result.transaction_id in ids
    assert parse_block(header).envelopes is None
    assert parse_block(header).hash == parse_block(whole).hash
    assert client.block(0) == devnet.profile.trust_root.config_block or kind == "orderer"
    assert parse_block(client.newest()).number >= number
    with client.blocks(0, number) as stream:
        assert [parse_block(b).number for b in stream] == list(range(number + 1))
    with pytest.raises(BlockNotFound):
        client.block(10**9)
    if kind == "orderer":
        source.close()


def test_a_stream_sees_the_next_block(
    devnet: DevnetProcess, channel: grpc.Channel, gateway: Gateway
) -> None:
    client = DeliverClient(channel, devnet.user(), devnet.profile.channel, SystemClock())
    with client.blocks("newest") as stream:
        newest = parse_block(next(stream)).number
        result = gateway.submit_transaction("kv", "put", "gw-next", "1")
        numbers = [parse_block(next(stream)).number for _ in range(result.block_number - newest)]
    assert numbers[-1] == result.block_number


def test_enrol_reenrol_and_revoke(devnet: DevnetProcess, channel: grpc.Channel) -> None:
    client = devnet.ca()
    (account, *_) = [r for r in devnet.profile.registrars if r.msp_id == "Org1MSP"]
    key = generate_key()
    pem = client.enroll(account.id, account.secret, ca.certificate_request(key, account.id))
    registrar = SigningIdentity.from_key("Org1MSP", pem, key)
    wanted = [ca.Attribute("market.user_type", "household"), ca.Attribute("hidden", "x", False)]
    secret = client.register(registrar, "gw-household", attributes=wanted)
    with pytest.raises(CaIdentityExists):
        client.register(registrar, "gw-household")
    own = generate_key()
    request = ca.certificate_request(own, "gw-household")
    with pytest.raises(CaAuthenticationFailed):
        client.enroll("gw-household", "wrong", request)
    pem = client.enroll("gw-household", secret, request)
    certificate = load_certificate(pem)
    assert attributes(certificate)["market.user_type"] == "household"
    assert "hidden" not in attributes(certificate)
    assert enrolment_id(certificate) == "gw-household"
    household = SigningIdentity.from_key("Org1MSP", pem, own)
    gateway = Gateway(channel, household, devnet.profile.channel, SystemClock())
    assert gateway.height() > 0
    gateway.close()
    client.reenroll(household, ca.certificate_request(generate_key(), "gw-household"))
    assert client.cainfo().chain_pem.startswith(b"-----BEGIN CERTIFICATE")
    assert "gw-household" in [row["id"] for row in client.identities(registrar)]
    revoked = client.revoke(registrar, enrolment_id="gw-household", gencrl=True)
    assert revoked.certificates
    assert revoked.crl_pem.startswith(b"-----BEGIN X509 CRL")
    with pytest.raises(CaAuthenticationFailed):
        client.reenroll(household, ca.certificate_request(generate_key(), "gw-household"))
    client.close()


def test_a_killed_network_that_comes_back(tmp_path: Path) -> None:
    with DevnetProcess(tmp_path, "--batch-timeout", "50") as first:
        channel, profile = first.connect(), first.profile
        user = first.user()
        gateway = Gateway(
            channel, user, profile.channel, SystemClock(), deadlines=Deadlines(probe=0.5)
        )
        stream = gateway.events("kv")
        before = gateway.submit_transaction("kv", "emit", "k", "1", "Before")
        assert next(stream).block_number == before.block_number
        endorsed = gateway.endorse("kv", "emit", "k", "2", "After")
        first.kill()
        with pytest.raises(Unavailable):
            gateway.evaluate("kv", "get", "k")
    with DevnetProcess(tmp_path, base_port=None) as second:
        assert second.profile.organizations == profile.organizations
        # The same channel, gateway and stream: nothing has to be made anew.
        result = _until_reached(lambda: gateway.resume(endorsed.transaction_id, endorsed.envelope))
        found = next(stream)
        assert found.block_number == result.block_number
        assert [e.name for e in found.events] == ["After"]
        assert gateway.evaluate("kv", "get", "k") == b"2"
        gateway.close()
        channel.close()


def _until_reached(call: Callable[[], Result]) -> Result:
    for _ in range(20):
        try:
            return call()
        except (Unavailable, OutcomeUnknown):
            continue
    return call()
