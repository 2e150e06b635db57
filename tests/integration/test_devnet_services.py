"""What only a devnet offers over its sockets; what every network answers: tests/conformance."""

import socket
from collections.abc import Iterator
from contextlib import closing
from typing import Any
from urllib.parse import urlsplit

import grpc
import pytest

from light_node import jsonio
from light_node.devnet.testing import DevnetProcess
from light_node.fabric import crypto
from light_node.fabric.ca import Attribute, certificate_request
from light_node.fabric.errors import CaAuthenticationFailed
from light_node.fabric.identity import SigningIdentity


@pytest.fixture(scope="module")
def peer(devnet: DevnetProcess) -> Iterator[grpc.Channel]:
    with devnet.connect() as channel:
        yield channel


def test_a_household_is_registered_enrolled_and_trades(devnet: DevnetProcess, peer: Any) -> None:
    registrar = next(r for r in devnet.profile.registrars if r.msp_id == "Org1MSP")
    with closing(devnet.ca()) as ca:
        key = crypto.generate_key()
        pem = ca.enroll(registrar.id, registrar.secret, certificate_request(key, registrar.id))
        admin = SigningIdentity.from_key("Org1MSP", pem, key)
        market = {"user_type": "household", "permissions": "trade"}
        attributes = [Attribute(f"market.{name}", value) for name, value in market.items()]
        secret = ca.register(admin, "hh-900", attributes=attributes)
        key = crypto.generate_key()
        pem = ca.enroll("hh-900", secret, certificate_request(key, "hh-900"))
        with pytest.raises(CaAuthenticationFailed):
            ca.enroll("hh-900", "wrong", certificate_request(key, "hh-900"))
    household = SigningIdentity.from_key("Org1MSP", pem, key)
    with closing(devnet.gateway(peer, household)) as client:
        wallet = {"wallet_address": "w", "capacity_w": 5000, "voltage_v": 230, "zone": "a"}
        text = jsonio.canonical_dumps({**wallet, "green": True})
        assert client.submit_transaction("market", "Admit", text).block_number > 0
        participants = client.evaluate("market", "ListParticipants").decode()
        assert "hh-900@Org1MSP" in participants


def test_a_client_that_says_nothing_blocks_nobody(devnet: DevnetProcess) -> None:
    organization = devnet.profile.organization("Org1MSP").ca
    assert organization is not None
    parts = urlsplit(organization.url)
    assert parts.hostname is not None
    with socket.create_connection((parts.hostname, parts.port or 0)), closing(devnet.ca()) as ca:
        assert ca.cainfo().name == "ca-org1"
