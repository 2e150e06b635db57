"""Other libraries that decode meter telegrams, for the comparison in ``bench_meter``.

None of them is needed: what is not installed is skipped, and the table says so. Each function here
returns how to decode one telegram to its values, the way its documentation shows; the value it
returns must be true, or the comparison would be with a failure.
"""

import importlib
import logging
from collections.abc import Callable
from typing import Any

Decode = Callable[[bytes], Any]


def _dlt645() -> Decode:
    protocol = importlib.import_module("dlt645.protocol.protocol").DLT645Protocol
    bcd = importlib.import_module("dlt645.common.transform").bcd_to_float

    def decode(telegram: bytes) -> Any:
        frame = protocol.deserialize(telegram)
        return bcd(frame.data[4:], "XXXXXX.XX", "little")

    return decode


def _dsmr_parser() -> Decode:
    parsers = importlib.import_module("dsmr_parser.parsers")
    specifications = importlib.import_module("dsmr_parser.telegram_specifications")
    parser = parsers.TelegramParser(specifications.V5)
    return lambda telegram: parser.parse(telegram.decode("ascii"))


def _pysml() -> Decode:
    base = importlib.import_module("sml").SmlBase

    def decode(telegram: bytes) -> Any:
        _, frame = base.find_frame(telegram)
        return [entry["value"] for entry in frame[1]["messageBody"]["valList"]]

    return decode


def _smllib() -> Decode:
    reader = importlib.import_module("smllib").SmlStreamReader

    def decode(telegram: bytes) -> Any:
        stream = reader()
        stream.add(telegram)
        frame = stream.get_frame()
        return [entry.get_value() for entry in frame.get_obis()]

    return decode


def _amshan() -> Decode:
    hdlc = importlib.import_module("han.hdlc")
    aidon = importlib.import_module("han.aidon")

    def decode(telegram: bytes) -> Any:
        (frame,) = hdlc.HdlcFrameReader(False).read(telegram)
        assert frame.is_valid
        return aidon.decode_frame_content(frame.payload)

    return decode


def _pymodbus() -> Decode:
    framer = importlib.import_module("pymodbus.framer").FramerRTU
    pdus = importlib.import_module("pymodbus.pdu").DecodePDU(False)
    mixin = importlib.import_module("pymodbus.client.mixin").ModbusClientMixin
    rtu = framer(pdus)

    def decode(telegram: bytes) -> Any:
        _, pdu = rtu.handleFrame(telegram, 1, 0)
        words, kind = pdu.registers, mixin.DATATYPE.FLOAT32
        # Those four that our profile has in this reply: power, frequency, import, export.
        return [mixin.convert_from_registers(words[n : n + 2], kind) for n in (0, 18, 20, 22)]

    return decode


LIBRARIES: dict[str, tuple[tuple[str, Callable[[], Decode]], ...]] = {
    "dlt645": (("dlt645", _dlt645),),
    "dsmr_p1": (("dsmr_parser", _dsmr_parser),),
    "sml": (("pysml", _pysml), ("smllib", _smllib)),
    "dlms": (("amshan", _amshan),),
    "modbus_rtu": (("pymodbus", _pymodbus),),
}


def installed(protocol: str, telegram: bytes) -> list[tuple[str, Decode | None, str]]:
    """Return (name, how to decode or None, why not) for every library there is for ``protocol``."""
    logging.disable(logging.CRITICAL)
    found: list[tuple[str, Decode | None, str]] = []
    for name, make in LIBRARIES.get(protocol, ()):
        try:
            decode = make()
            values = decode(telegram)
        except ImportError:
            found.append((name, None, "not installed"))
        except (AttributeError, TypeError, ValueError, KeyError, AssertionError) as error:
            found.append((name, None, f"could not decode it: {error!r}"))
        else:
            assert values, f"{name} decoded nothing"
            found.append((name, decode, ""))
    return found
