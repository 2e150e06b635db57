"""A small market over the in-memory ledger, shared by the tests of the contract and the MTC."""

import base64
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import NameOID

from light_node import jsonio
from light_node.contract.memory import Endorsed, MemoryChannel, MemoryLedger
from light_node.fabric import crypto
from light_node.fabric.identity import ATTRIBUTES_OID, SigningIdentity

START = datetime(2026, 6, 21, 9, 0, tzinfo=UTC)
SLOT = "2026-06-21T10:00Z/PT60M"
FLOOR, CAP = 4000, 11000


def make_identity(
    name: str, msp_id: str, attributes: dict[str, str], *, ed25519: bool = False
) -> SigningIdentity:
    """Return an identity with Fabric's attribute extension; the MSP's checks are not ours."""
    key = crypto.ed25519.Ed25519PrivateKey.generate() if ed25519 else crypto.generate_key()
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    issuer = crypto.generate_key()
    extension = json.dumps({"attrs": {"hf.EnrollmentID": name, **attributes}}).encode()
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(START)
        .not_valid_after(START + timedelta(days=365))
        .add_extension(x509.UnrecognizedExtension(ATTRIBUTES_OID, extension), critical=False)
        .sign(issuer, hashes.SHA256())
    )
    return SigningIdentity.from_key(msp_id, crypto.certificate_pem(certificate), key)


def trader_identity(name: str, msp_id: str = "Org1MSP", **options: Any) -> SigningIdentity:
    attributes = {
        "market.user_type": "household",
        "market.permissions": "trade",
        "market.credit": "A",
    }
    return make_identity(name, msp_id, attributes, **options)


def operator_identity(name: str = "mtc") -> SigningIdentity:
    attributes = {"market.user_type": "operator", "market.permissions": "operate,audit"}
    return make_identity(name, "Org3MSP", attributes)


def participant_id(identity: SigningIdentity) -> str:
    name = identity.certificate.subject.rfc4514_string().removeprefix("CN=")
    return f"{name}@{identity.msp_id}"


def signed(identity: SigningIdentity, fields: dict[str, Any]) -> str:
    signature = identity.sign(jsonio.canonical_dumps(fields))
    return json.dumps({**fields, "signature": base64.b64encode(signature).decode()})


@dataclass
class World:
    """A market: an operator, a few traders, one slot of Table 3's prices by default."""

    now: datetime = START
    ledger: MemoryLedger = field(default_factory=MemoryLedger)
    channel: MemoryChannel = field(init=False)
    operator: SigningIdentity = field(default_factory=operator_identity)
    traders: dict[str, SigningIdentity] = field(default_factory=dict)
    registers: dict[str, tuple[int, int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.channel = MemoryChannel(self.ledger, lambda: self.now)

    # Who takes part.

    def admit(self, *names: str, **options: Any) -> None:
        for name in names:
            identity = self.traders.setdefault(name, trader_identity(name))
            self.channel.submit(identity, "Admit", self.admission(name, **options))

    def admission(self, name: str, **changes: Any) -> str:
        fields = {
            "wallet_address": f"address-of-{name}",
            "capacity_w": 20_000,
            "voltage_v": 400,
            "zone": "north",
            "green": True,
        }
        return json.dumps({**fields, **changes})

    def id(self, name: str) -> str:
        return participant_id(self.traders[name])

    # The operator's steps.

    def operate(self, function: str, *args: str) -> Any:
        return json.loads(self.channel.submit(self.operator, function, *args))

    def open(self, slot: str = SLOT, *, floor: int = FLOOR, cap: int = CAP, rounds: int = 3) -> Any:
        opening = {"slot": slot, "floor": floor, "cap": cap, "rounds": rounds}
        return self.operate("OpenSlot", json.dumps(opening))

    def close_and_publish(self, number: int, slot: str = SLOT) -> Any:
        self.operate("CloseRound", slot, str(number))
        return self.operate("PublishStanding", slot, str(number))

    def endorse_operator(self, function: str, *args: str) -> Endorsed:
        return self.channel.endorse(self.operator, function, *args)

    # The participants' steps.

    def quote_text(
        self, name: str, side: str, energy: int, price: int, number: int = 1, slot: str = SLOT,
        **changes: Any,
    ) -> str:  # fmt: skip
        fields = {
            "slot": slot,
            "round": number,
            "participant": self.id(name),
            "wallet_address": f"address-of-{name}",
            "side": side,
            "energy_wh": energy,
            "price": price,
        }
        return signed(self.traders[name], {**fields, **changes})

    def endorse_quote(self, name: str, *args: Any, **changes: Any) -> Endorsed:
        text = self.quote_text(name, *args, **changes)
        return self.channel.endorse(self.traders[name], "SubmitQuote", text)

    def quote(self, name: str, *args: Any, **changes: Any) -> Any:
        text = self.quote_text(name, *args, **changes)
        return json.loads(self.channel.submit(self.traders[name], "SubmitQuote", text))

    def reading_text(
        self, name: str, import_wh: int, export_wh: int, slot: str = SLOT, **changes: Any
    ) -> str:
        before = self.registers.get(name, (1_000_000, 1_000_000))
        self.registers[name] = (before[0] + import_wh, before[1] + export_wh)
        fields = {
            "slot": slot,
            "participant": self.id(name),
            "import_wh": import_wh,
            "export_wh": export_wh,
            "register_import_wh": self.registers[name][0],
            "register_export_wh": self.registers[name][1],
            "meter": f"meter-of-{name}",
            "origin": "dlt645",
            "estimated": False,
        }
        return signed(self.traders[name], {**fields, **changes})

    def reading(self, name: str, *args: Any, **changes: Any) -> Any:
        text = self.reading_text(name, *args, **changes)
        return json.loads(self.channel.submit(self.traders[name], "SubmitReading", text))

    # What anybody sees.

    def ask(self, function: str, *args: str) -> Any:
        return json.loads(self.channel.evaluate(self.operator, function, *args))

    def phase(self, slot: str = SLOT) -> tuple[str, int]:
        record = self.ask("GetSlot", slot)
        return record["phase"], record["round"]

    @property
    def event_names(self) -> list[str]:
        return [event.name for event in self.channel.events]


@pytest.fixture
def world() -> World:
    """A market with three sellers and two buyers admitted and nothing opened."""
    market = World()
    market.admit("E", "F", "H", "X", "Y")
    return market


@pytest.fixture
def empty_world() -> World:
    """A market nobody has entered."""
    return World()


@pytest.fixture
def new_trader() -> Any:
    """How to make a trader's identity: ``new_trader(name, msp_id)``."""
    return trader_identity


@pytest.fixture
def new_identity() -> Any:
    """How to make any identity: ``new_identity(name, msp_id, attributes)``."""
    return make_identity


@pytest.fixture
def sign_fields() -> Any:
    """How to sign a quote or reading: ``sign_fields(identity, fields)`` gives its JSON."""
    return signed
