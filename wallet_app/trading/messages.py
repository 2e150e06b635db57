"""The signed messages of a participant: quotes and readings, as docs/contract.md defines them."""

import base64
from typing import Any

from light_node import jsonio
from light_node.fabric.crypto import Signer
from light_node.i18n import Text
from light_node.market.quotes import Quote, Side
from light_node.market.units import EnergyWh, PriceTick
from wallet_app.settings import Settings
from wallet_app.trading.live import MeteredEnergy


def quote_message(signer: Signer, slot: str, round_: int, address: str, quote: Quote) -> str:
    """Return the JSON argument of SubmitQuote, signed: every field and the round are bound."""
    return _signed(
        signer,
        {
            "slot": slot,
            "round": round_,
            "participant": quote.participant,
            "wallet_address": address,
            "side": quote.side.value,
            "energy_wh": quote.energy,
            "price": quote.price,
        },
    )


def read_quote(message: str) -> tuple[str, Quote]:
    """Return slot and quote of a SubmitQuote argument; ``JsonError`` if it is none."""
    fields = jsonio.mapping(jsonio.strict_loads(message), Text("a quote"))
    try:
        quote = Quote(
            jsonio.string(fields, "participant", max_length=256),
            Side(jsonio.string(fields, "side", max_length=8)),
            EnergyWh(jsonio.integer(fields, "energy_wh")),
            PriceTick(jsonio.integer(fields, "price")),
        )
    except jsonio.JsonError:
        raise
    except ValueError as error:
        raise jsonio.JsonError(Text("a quote: {error}", error=error)) from error
    return jsonio.string(fields, "slot", max_length=64), quote


def reading_message(
    signer: Signer, slot: str, participant: str, energy: MeteredEnergy, meter: str
) -> str:
    """Return the JSON argument of SubmitReading, signed; ``meter`` is a hash of its number."""
    return _signed(
        signer,
        {
            "slot": slot,
            "participant": participant,
            "import_wh": energy.import_wh,
            "export_wh": energy.export_wh,
            "register_import_wh": energy.register_import_wh,
            "register_export_wh": energy.register_export_wh,
            "meter": meter,
            "origin": energy.origin,
            "estimated": not energy.complete,
        },
    )


def admission_message(settings: Settings, address: str) -> str:
    """Return the JSON argument of Admit: address and grid connection, out of the settings."""
    fields = {
        "wallet_address": address,
        "capacity_w": settings["capacity_w"],
        "voltage_v": settings["voltage_v"],
        "zone": settings["zone"],
        "green": settings["pv_peak_w"] > 0,
    }
    return jsonio.canonical_dumps(fields).decode()


def _signed(signer: Signer, fields: dict[str, Any]) -> str:
    signature = base64.b64encode(signer.sign(jsonio.canonical_dumps(fields))).decode()
    return jsonio.canonical_dumps({**fields, "signature": signature}).decode()
