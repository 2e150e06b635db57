"""Run a whole slot with keys made from seeds and print the hash of all reads, writes and events."""

import base64
import hashlib
import json
import sys
from datetime import UTC, datetime

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.x509.oid import NameOID

from light_node import jsonio
from light_node.contract.memory import MemoryChannel, MemoryLedger
from light_node.fabric import crypto
from light_node.fabric.identity import ATTRIBUTES_OID, SigningIdentity

NOW = datetime(2026, 6, 21, 9, 0, tzinfo=UTC)
SLOT = "2026-06-21T10:00Z/PT60M"


def identity(name: str, permissions: str) -> SigningIdentity:
    key = Ed25519PrivateKey.from_private_bytes(hashlib.sha256(name.encode()).digest())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    attributes = {"market.permissions": permissions, "market.user_type": "household"}
    raw = json.dumps({"attrs": attributes}).encode()
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(NOW)
        .not_valid_after(NOW.replace(year=2030))
        .add_extension(x509.UnrecognizedExtension(ATTRIBUTES_OID, raw), critical=False)
        .sign(key, None)
    )
    return SigningIdentity.from_key("Org1MSP", crypto.certificate_pem(certificate), key)


def signed(who: SigningIdentity, **fields: object) -> str:
    signature = base64.b64encode(who.sign(jsonio.canonical_dumps(fields))).decode()
    return json.dumps({**fields, "signature": signature})


def main() -> None:
    channel = MemoryChannel(MemoryLedger(), lambda: NOW)
    digest = hashlib.sha256()

    def step(who: SigningIdentity, function: str, *args: str) -> None:
        endorsed = channel.endorse(who, function, *args)
        if not endorsed.response.ok or any(channel.commit(endorsed)):
            sys.exit(endorsed.response.message)
        rwset = endorsed.rwset
        # Unsorted on purpose: the order of reads and writes is part of what endorsers sign.
        for part in (list(rwset.reads), rwset.ranges, list(rwset.writes.items())):
            digest.update(repr(part).encode())
        digest.update(repr((endorsed.response, endorsed.event)).encode())

    operator = identity("mtc", "operate,audit,trade")
    traders = [identity(f"hh-{i}", "audit,trade") for i in range(12)]
    admission = {"capacity_w": 9_000, "voltage_v": 400, "zone": "north", "green": True}
    for trader in traders:
        step(trader, "Admit", json.dumps({**admission, "wallet_address": "0x0"}))
    step(operator, "OpenSlot", json.dumps({"slot": SLOT, "floor": 4000, "cap": 9000, "rounds": 2}))
    for number in (1, 2):
        for i, trader in enumerate(traders):
            step(
                trader, "SubmitQuote",
                signed(
                    trader, slot=SLOT, round=number, participant=f"hh-{i}@Org1MSP",
                    wallet_address="0x0", side="sell" if i % 2 else "buy", energy_wh=2_000 + i,
                    price=6000 + number * (i % 3),
                ),
            )  # fmt: skip
        step(operator, "CloseRound", SLOT, str(number))
        step(operator, "PublishStanding", SLOT, str(number))
    step(operator, "ClearSlot", SLOT)
    for i, trader in enumerate(traders[:-1]):
        step(
            trader, "SubmitReading",
            signed(
                trader, slot=SLOT, participant=f"hh-{i}@Org1MSP", import_wh=(i + 1) % 2 * 1_900,
                export_wh=i % 2 * 1_900, register_import_wh=10_000, register_export_wh=10_000,
                meter="1", origin="simulated", estimated=False,
            ),
        )  # fmt: skip
    step(operator, "CloseDelivery", SLOT)
    step(operator, "SettleSlot", SLOT)
    sys.stdout.write(digest.hexdigest() + "\n")


if __name__ == "__main__":
    main()
