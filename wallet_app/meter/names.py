"""What people call the values of a meter, in their language, with the unit and usual decimals.

Shared by window, report and explanations; the keys are those of ``Reading.values``.
"""

import re

from wallet_app.i18n import tr
from wallet_app.meter.events import Proof

_PHASED = re.compile(r"(power|voltage|current|power_factor)_l([123])(?:_[a-z]+)?")
_TARIFF = re.compile(r"(import|export)_t(\d{1,2})_kwh")
_ORDER = (
    "import_kwh",
    "export_kwh",
    "power_w",
    "frequency_hz",
    "power_factor",
)


def value_name(key: str) -> str:
    """Return the name of the value called ``key``, e.g. ``power_l1_w`` → "Power, L1"."""
    plain = {
        "import_kwh": tr("Energy from the grid"),
        "export_kwh": tr("Energy into the grid"),
        "power_w": tr("Power"),
        "frequency_hz": tr("Frequency"),
        "power_factor": tr("Power factor"),
    }.get(key)
    if plain:
        return plain
    tariff = _TARIFF.fullmatch(key)
    if tariff:
        name = value_name(f"{tariff[1]}_kwh")
        return tr("{name}, tariff {number}", name=name, number=tariff[2])
    phase = _PHASED.fullmatch(key)
    if phase:
        name = {
            "power": tr("Power"),
            "voltage": tr("Voltage"),
            "current": tr("Current"),
            "power_factor": tr("Power factor"),
        }[phase[1]]
        return f"{name}, L{phase[2]}"
    return key


def value_unit(key: str) -> str:
    """Return the unit of the value called ``key``, "" if it has none."""
    return {"kwh": "kWh", "w": "W", "v": "V", "a": "A", "hz": "Hz"}.get(key.rsplit("_", 1)[-1], "")


def value_order(key: str) -> tuple[int, str]:
    """Return what to sort values by: totals, power, then phases and tariffs."""
    return (_ORDER.index(key) if key in _ORDER else len(_ORDER), key)


def obis_name(code: str) -> str:
    """Return what the OBIS code ``C.D.E`` (or a longer one) means, "" if it has no common name."""
    match = re.search(
        r"(?:^|[:\-.])?([0-9A-Z]{1,3})\.([0-9A-Z]{1,3})(?:\.(\d{1,3}))?(?:\*\d+)?$", code
    )
    if match is None:
        return ""
    channel = re.match(r"0-([1-9]\d?):", code)
    if channel:
        return tr("Another meter, on channel {number}", number=channel[1])
    c, d, e = match[1], match[2], match[3] or "0"
    energy = {"1": "import_kwh", "2": "export_kwh"}.get(c, "")
    if d == "8" and energy:
        name = value_name(energy)
        return name if e == "0" else tr("{name}, tariff {number}", name=name, number=e)
    named = _OBIS_KEYS.get(c) if d == "7" else None
    if named:
        return value_name(named)
    special = {
        ("1", "7"): tr("Power from the grid"),
        ("2", "7"): tr("Power into the grid"),
        ("15", "7"): tr("Size of the power, without direction"),
        ("15", "8"): tr("Sum of both directions, no import"),
        ("0", "0"): tr("Number of the meter"),
        ("96", "1"): tr("Number of the meter"),
        ("C", "1"): tr("Number of the meter"),
        ("0", "9"): tr("Date or time"),
        ("1", "0"): tr("Date and time"),
        ("F", "F"): tr("Error register"),
    }
    directed = _DIRECTED.get(c) if d == "7" else None
    if directed:
        name = value_name(directed[0])
        text = tr("{name}, from the grid", name=name) if directed[1] else ""
        return text or tr("{name}, into the grid", name=name)
    return special.get((c, d), "")


def proof_name(proof: str) -> str:
    """Return what stands behind a reading, in words."""
    return {
        Proof.CRC.value: tr("CRC"),
        Proof.BCC.value: tr("check sum"),
        Proof.NONE.value: tr("nothing: no check sum"),
    }.get(proof, proof)


_OBIS_KEYS = {
    "16": "power_w",
    "36": "power_l1_w",
    "56": "power_l2_w",
    "76": "power_l3_w",
    "32": "voltage_l1_v",
    "52": "voltage_l2_v",
    "72": "voltage_l3_v",
    "31": "current_l1_a",
    "51": "current_l2_a",
    "71": "current_l3_a",
    "14": "frequency_hz",
}
_DIRECTED = {
    "21": ("power_l1_w", True),
    "22": ("power_l1_w", False),
    "41": ("power_l2_w", True),
    "42": ("power_l2_w", False),
    "61": ("power_l3_w", True),
    "62": ("power_l3_w", False),
}
