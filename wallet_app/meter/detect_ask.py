"""The questions of a search: is this kind of meter there, and which one?

Reads only, from the lists of the codecs; the HDLC link that a DLMS meter opens is closed again.
"""

from dataclasses import dataclass
from decimal import Decimal

from wallet_app.meter import dlms, dlms_get, dlt645, dlt698, iec62056, modbus, sunspec
from wallet_app.meter.channel import Channel, Exchange
from wallet_app.meter.dialogue import D0Dialogue
from wallet_app.meter.events import Frame
from wallet_app.meter.ports import Link

DLMS_SERVERS = ("1", "1.17", "1.16")
"""HDLC server addresses that meters are delivered with; others hold part of the serial number."""
OTHER_UNITS = (2, 3, 4, 5, 10, 11, 100, 240, 247)
"""Modbus units other than 1 that meters are found at: counted on, or a maker's or inverter's."""

_VOLTS = (Decimal(80), Decimal(300))


@dataclass(frozen=True, slots=True)
class Found:
    """A meter: enough to open a session. ``proven`` is False for telegrams without check sum.

    ``address`` is the unit or server address that answered, "" where none is needed; ``ask`` tells
    that a DLMS meter answers and does not push.
    """

    protocol: str
    link: Link
    meter_id: str
    profile: str = ""
    listen: bool = False
    proven: bool = True
    address: str = ""
    ask: bool = False


def ask_645(channel: Channel, address: str) -> Found | None:
    """Ask whoever is there for its DL/T 645 address, or the meter given for its register."""
    request = dlt645.address_request()
    if _is_number(address):
        request = dlt645.read_request(address, dlt645.IMPORT_TOTAL)
    wanted = address.zfill(12).upper() if _is_number(address) else ""
    exchange = Exchange(
        "address",
        request,
        lambda f: f.kind in ("address", "data") and (not wanted or f.meter_id == wanted),
        22,
    )
    frame = channel.ask(exchange)
    return Found(dlt645.PROTOCOL, channel.link, frame.meter_id) if frame else None


def ask_698(channel: Channel, address: str) -> Found | None:
    """Ask whoever is there, or the meter given, for its DL/T 698.45 address."""
    number = address if _is_number(address) else ""
    request = dlt698.get_request(number, [dlt698.ADDRESS])
    frame = channel.ask(Exchange("address", request, lambda f: f.kind in ("data", "error"), 48))
    return Found(dlt698.PROTOCOL, channel.link, frame.meter_id) if frame else None


def _is_number(address: str) -> bool:
    """Say whether this is a number printed on a meter, and not a Modbus unit."""
    return 4 <= len(address) <= 12 and address.isdecimal()


def ask_d0(channel: Channel, _address: str) -> Found | None:
    """Ask an IEC 62056-21 meter to identify itself."""
    exchange = D0Dialogue(None).sign_on()
    frame = channel.ask(exchange)
    if frame is None:
        return None
    number = frame.meter_id or str(frame.details.get("ident", ""))
    return Found(iec62056.PROTOCOL, channel.link, number)


# Which registers tell the kinds of meters apart, and the value that must be a voltage there.
_MODBUS_PROBES = (
    ("sdm120", modbus.READ_INPUT, 0x0000, 2),
    ("dtsu666", modbus.READ_HOLDING, 0x2006, 2),
    ("ddsu666", modbus.READ_HOLDING, 0x2000, 2),
    ("adw300", modbus.READ_HOLDING, 20, 1),
    ("pzem016", modbus.READ_INPUT, 0x0000, 1),
)


def ask_modbus(channel: Channel, address: str) -> Found | None:
    """Ask the unit given, by default 1, what kind of Modbus meter it is."""
    return _ask_unit(channel, int(address) if _is_unit(address) else 1)


def ask_units(channel: Channel, address: str) -> Found | None:
    """Ask the units other than 1 that meters are set to; nobody else when the unit is known."""
    for unit in OTHER_UNITS if not _is_unit(address) else ():
        if channel.stop.is_set():
            return None
        found = _ask_unit(channel, unit)
        if found is not None:
            return found
    return None


def _is_unit(address: str) -> bool:
    return address.isdecimal() and len(address) < 4 and 1 <= int(address) <= 247


def _ask_unit(channel: Channel, unit: int) -> Found | None:
    present = False
    for name, function, start, count in _MODBUS_PROBES:
        frame = _read_modbus(channel, modbus.Request(unit, function, start, count), name)
        if frame is None and not present:
            return None  # nobody answers at this speed: asking other questions changes nothing
        present = True
        volts = frame.normalized.get("voltage_l1_v") if frame else None
        if volts is None or not _VOLTS[0] <= volts <= _VOLTS[1]:
            continue
        if name == "sdm120":
            total = _read_modbus(
                channel, modbus.Request(unit, modbus.READ_INPUT, 0x0034, 2), "sdm630"
            )
            name = "sdm630" if total is not None and total.kind == "data" else name
        return _modbus_meter(channel, unit, name)
    return _ask_sunspec(channel, unit) if present else None


def _ask_sunspec(channel: Channel, unit: int) -> Found | None:
    request = modbus.Request(unit, modbus.READ_HOLDING, sunspec.START, 4)
    frame = _read_modbus(channel, request, "sunspec")
    if frame is None or frame.kind != "data":
        return None
    words = [int(word, 16) for word in str(frame.details["registers"]).split()]
    if tuple(words[:2]) != sunspec.MARKER:
        return None
    return _modbus_meter(channel, unit, "sunspec")


def _modbus_meter(channel: Channel, unit: int, name: str) -> Found:
    number = f"{name}-unit-{unit}"
    return Found(modbus.PROTOCOL, channel.link, number, name, address=str(unit))


def _read_modbus(channel: Channel, request: modbus.Request, name: str) -> Frame | None:
    channel.parser = modbus.ModbusParser(request, modbus.profile(name))
    wanted = ("data", "exception")
    return channel.ask(Exchange(name, request.encode(), lambda f: f.kind in wanted, 16))


def ask_dlms(channel: Channel, address: str) -> Found | None:
    """Open an HDLC link with a DLMS meter and close it again."""
    given = address.replace(".", "").isdecimal() and "." in address
    for server in (address,) if given else DLMS_SERVERS:
        found = _ask_server(channel, server)
        if found is not None or channel.stop.is_set():
            return found
    return None


def ask_dlms_first(channel: Channel, address: str) -> Found | None:
    """Ask for the commonest server address only, where asking for all takes too long."""
    return ask_dlms(channel, address) if "." in address else _ask_server(channel, DLMS_SERVERS[0])


def _ask_server(channel: Channel, server: str) -> Found | None:
    try:
        station = dlms_get.Station.parse(server)
    except ValueError:
        return None

    def answers(frame: Frame) -> bool:
        # An echo of the request is a control frame too, but neither accepts nor refuses.
        return frame.kind == "control" and frame.details.get("control") in _LINKED

    frame = channel.ask(Exchange("connect", station.frame(dlms_get.SNRM), answers, 40))
    if frame is None:
        return None
    channel.send(station.frame(dlms_get.DISC))
    number = f"dlms-server-{server}"
    return Found(dlms.PROTOCOL, channel.link, number, address=server, ask=True)


_LINKED = (f"{dlms_get.UA:02X}", f"{dlms_get.DM:02X}")
