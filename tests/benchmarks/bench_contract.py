"""Steps of a large slot, each one transaction over the in-memory ledger.

What a chaincode costs before any network: the target is well under 2 s for 1,000 quotes.
"""

import base64
import json
import time
from datetime import UTC, datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import NameOID

from light_node import jsonio
from light_node.contract.memory import MemoryChannel, MemoryLedger
from light_node.fabric import crypto
from light_node.fabric.identity import ATTRIBUTES_OID, SigningIdentity

SLOT = "2026-06-21T10:00Z/PT60M"
NOW = datetime(2026, 6, 21, 9, 0, tzinfo=UTC)


def run() -> None:
    """Print the time and the bytes written by each step for growing books."""
    print(f"{'quotes':>7} {'step':<16} {'ms':>9} {'kB written':>11} {'keys':>6}")
    for count in (100, 1_000, 4_000):
        for step, seconds, written, keys in _slot(count):
            print(f"{count:>7} {step:<16} {seconds * 1e3:>9.1f} {written / 1e3:>11.1f} {keys:>6}")


def _slot(count: int) -> list[tuple[str, float, int, int]]:
    channel = MemoryChannel(MemoryLedger(), lambda: NOW)
    operator = _identity("mtc", {"market.user_type": "operator", "market.permissions": "operate"})
    rows = []

    def step(identity: SigningIdentity, function: str, *args: str, note: bool = True) -> None:
        started = time.perf_counter()
        endorsed = channel.endorse(identity, function, *args)
        took = time.perf_counter() - started
        if not endorsed.response.ok or any(channel.commit(endorsed)):
            raise RuntimeError(endorsed.response.message or "not valid")
        if note:
            written = sum(len(value or b"") for value in endorsed.rwset.writes.values())
            rows.append((function, took, written, len(endorsed.rwset.writes)))

    attributes = {"market.user_type": "household", "market.permissions": "trade"}
    traders = [_identity(f"hh-{i:05}", attributes) for i in range(count)]
    for trader in traders:
        step(trader, "Admit", _admission(), note=False)
    step(operator, "OpenSlot", json.dumps({"slot": SLOT, "floor": 4000, "cap": 11000, "rounds": 3}))
    for number in (1, 2, 3):
        for i, trader in enumerate(traders):
            first = number == 1 and i == 0
            if number == 1 or i % 3 == 0:
                step(trader, "SubmitQuote", _quote(trader, i, number), note=first)
        step(operator, "CloseRound", SLOT, str(number), note=number == 1)
        step(operator, "PublishStanding", SLOT, str(number), note=number in (1, 3))
    step(operator, "ClearSlot", SLOT)
    for i, trader in enumerate(traders):
        step(trader, "SubmitReading", _reading(trader, i), note=i == 0)
    step(operator, "CloseDelivery", SLOT)
    step(operator, "SettleSlot", SLOT)
    return rows


def _identity(name: str, attributes: dict[str, str]) -> SigningIdentity:
    key = crypto.generate_key()
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    extension = x509.UnrecognizedExtension(
        ATTRIBUTES_OID, json.dumps({"attrs": attributes}).encode()
    )
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(NOW)
        .not_valid_after(NOW.replace(year=2030))
        .add_extension(extension, critical=False)
        .sign(key, hashes.SHA256())
    )
    return SigningIdentity.from_key("Org1MSP", crypto.certificate_pem(certificate), key)


def _name(identity: SigningIdentity) -> str:
    return f"{identity.certificate.subject.rfc4514_string()[3:]}@Org1MSP"


def _admission() -> str:
    fields = {"capacity_w": 20_000, "voltage_v": 400, "zone": "north", "green": True}
    return json.dumps({"wallet_address": "0x0", **fields})


def _quote(identity: SigningIdentity, i: int, number: int) -> str:
    seller = i % 2 == 0
    fields = {
        "slot": SLOT,
        "round": number,
        "participant": _name(identity),
        "wallet_address": "0x0",
        "side": "sell" if seller else "buy",
        "energy_wh": 1_000 + i * 7919 % 4_000,
        "price": 4000 + (i * 104_729 + number * 37) % 7_000,
    }
    return _signed(identity, fields)


def _reading(identity: SigningIdentity, i: int) -> str:
    fields = {
        "slot": SLOT,
        "participant": _name(identity),
        "import_wh": i * 7919 % 5_000 if i % 2 else 0,
        "export_wh": 0 if i % 2 else i * 7919 % 5_000,
        "register_import_wh": 10**6,
        "register_export_wh": 10**6,
        "meter": "1",
        "origin": "simulated",
        "estimated": False,
    }
    return _signed(identity, fields)


def _signed(identity: SigningIdentity, fields: dict[str, object]) -> str:
    signature = base64.b64encode(identity.sign(jsonio.canonical_dumps(fields))).decode()
    return json.dumps({**fields, "signature": signature})
