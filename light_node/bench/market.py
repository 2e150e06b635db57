"""Households that quote: enrolled at the CA, admitted, with slots opened for them.

For networks that nobody trades on: the slots lie in a year without a market, but they stay.
"""

import asyncio
import base64
import secrets
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import grpc

from light_node import jsonio
from light_node.bench.client import Committed, LoadClient, NotCommitted
from light_node.bench.load import paced
from light_node.fabric.ca import Attribute, CaClient, certificate_request
from light_node.fabric.crypto import generate_key
from light_node.fabric.identity import SigningIdentity
from light_node.fabric.profile import CaEndpoint, NetworkProfile, Registrar
from light_node.market.slots import Slot

TRADERS = 40
_ENROLLING = 4  # at once: the CA's hashing of secrets is what takes long
_ADMISSIONS_PER_S = 20
_ATTEMPTS = 8
_YEAR_2200, _SLOT_S = 7_258_118_400, 3600
_ROUND, _FLOOR, _CAP = 1, 4_000, 11_080


class NoRegistrar(Exception):
    """The network profile names no registrar, so no households can be registered."""


@dataclass(frozen=True, slots=True)
class Trader:
    """A household that is admitted."""

    identity: SigningIdentity
    participant: str
    wallet_address: str


@dataclass(frozen=True, slots=True)
class Quoting:
    """Quotes ready to be sent, each once: trader × slot."""

    chaincode: str
    traders: tuple[Trader, ...]
    slots: tuple[str, ...]

    @property
    def count(self) -> int:
        """How many different quotes there are."""
        return len(self.traders) * len(self.slots)

    async def send(self, client: LoadClient, i: int) -> Committed:
        """Send quote ``i``, from 0."""
        trader = self.traders[i % len(self.traders)]
        fields = _signed_quote(trader, self.slots[i // len(self.traders)], i)
        return await client.submit(trader.identity, self.chaincode, b"SubmitQuote", fields)


def enrol_traders(profile: NetworkProfile, msp_id: str, count: int = TRADERS) -> list[Trader]:
    """Register and enrol ``count`` households; ``NoRegistrar``, ``CaError``. Blocks for seconds."""
    ca = profile.organization(msp_id).ca
    registrar = next((r for r in profile.registrars if r.msp_id == msp_id), None)
    if ca is None or registrar is None:
        raise NoRegistrar(
            f"the network profile names no {'CA' if ca is None else 'registrar'} of {msp_id}: "
            + (
                "make it with light-node profile --ca"
                if ca is None
                else "give --registrar ID --secret-file FILE"
            )
            + ", or leave quotes out with --transactions 0 --verified 0"
        )
    run = secrets.token_hex(4)
    names = [f"bench-{run}-{i}" for i in range(count)]
    shares = [names[i::_ENROLLING] for i in range(_ENROLLING)]
    with ThreadPoolExecutor(_ENROLLING) as pool:
        made = pool.map(lambda share: _enrol(ca, registrar, share), shares)
        return [trader for traders in made for trader in traders]


async def prepare(
    profile: NetworkProfile,
    client: LoadClient,
    operator: SigningIdentity,
    traders: Sequence[Trader],
    quotes: int,
) -> Quoting:
    """Admit the traders and open as many slots as ``quotes`` need; ``RuntimeError`` if it fails."""

    async def admit(i: int) -> None:
        facts = {"capacity_w": 5_000, "voltage_v": 230, "zone": "bench", "green": True}
        text = jsonio.canonical_dumps({**facts, "wallet_address": traders[i].wallet_address})
        await client.submit(traders[i].identity, profile.chaincode, b"Admit", text)

    # Anywhere in 800 years: no run meets the slots of another.
    first = _YEAR_2200 + secrets.randbelow(800 * 8766) * _SLOT_S
    slots = [Slot(first + i * _SLOT_S, _SLOT_S).id for i in range(-(-quotes // len(traders)))]

    outcome = await paced(len(traders), _ADMISSIONS_PER_S, admit)
    if outcome.failed:
        raise RuntimeError(f"cannot admit households: {outcome.examples[0]}")
    for slot in slots:
        await _open(client, operator, profile.chaincode, slot)
    await asyncio.sleep(0.5)  # for the other organisations' peers to commit it too
    return Quoting(profile.chaincode, tuple(traders), tuple(slots))


async def _open(client: LoadClient, operator: SigningIdentity, chaincode: str, slot: str) -> None:
    """Open a slot. Each reads the range of its day, so that one waits for the other."""
    fields = {"slot": slot, "floor": _FLOOR, "cap": _CAP, "rounds": 3}
    text = jsonio.canonical_dumps(fields)
    for attempt in range(_ATTEMPTS):
        try:
            await client.submit(operator, chaincode, b"OpenSlot", text)
        except (grpc.RpcError, NotCommitted) as error:
            if attempt == _ATTEMPTS - 1:
                raise RuntimeError(f"cannot open the slot {slot}: {error}") from error
            await asyncio.sleep(0.2 * (attempt + 1))  # another peer is a block behind
        else:
            return


def _enrol(ca: CaEndpoint, registrar: Registrar, names: Sequence[str]) -> list[Trader]:
    client = CaClient(ca.url, ca.name, ca.tls_root_pem)
    try:
        admin = _enrolled(client, registrar.msp_id, registrar.id, registrar.secret)
        attributes = [
            Attribute("market.user_type", "household"),
            Attribute("market.permissions", "trade"),
        ]
        return [
            Trader(
                _enrolled(
                    client,
                    registrar.msp_id,
                    name,
                    client.register(admin, name, attributes=attributes),
                ),
                f"{name}@{registrar.msp_id}",
                f"wallet-{name}",
            )
            for name in names
        ]
    finally:
        client.close()


def _enrolled(client: CaClient, msp_id: str, name: str, secret: str) -> SigningIdentity:
    key = generate_key()
    pem = client.enroll(name, secret, certificate_request(key, name))
    return SigningIdentity.from_key(msp_id, pem, key)


def _signed_quote(trader: Trader, slot: str, i: int) -> bytes:
    fields: dict[str, Any] = {
        "slot": slot,
        "round": _ROUND,
        "participant": trader.participant,
        "wallet_address": trader.wallet_address,
        "side": "sell" if i % 2 else "buy",
        "energy_wh": 1_000 + i % 3_000,
        "price": 5_000 + i % 5_000,
    }
    signature = trader.identity.sign(jsonio.canonical_dumps(fields))
    return jsonio.canonical_dumps({**fields, "signature": base64.b64encode(signature).decode()})
