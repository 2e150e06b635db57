"""Simulated meters of the other protocols, all showing the same home (HomeState)."""

import struct
from collections.abc import Callable, Mapping
from datetime import timedelta, timezone
from decimal import ROUND_DOWN, Decimal

from wallet_app.meter import crc, dlt698, iec62056, modbus, sunspec
from wallet_app.meter.dlt698 import Dlt698Parser
from wallet_app.meter.events import Frame
from wallet_app.meter.simulator import telegrams
from wallet_app.meter.simulator.device import Asked, Device, Pushing, Replies
from wallet_app.meter.simulator.dlms import DlmsMeter
from wallet_app.meter.simulator.dlt645 import Dlt645Meter
from wallet_app.meter.simulator.home import HomeState

StateSource = Callable[[], HomeState]

_MASK = bytes(i & 0x7F for i in range(256))
_MODBUS_FRAME = 8
_RATIOS = {"V": 1, "I": 10}  # of a meter behind current transformers
_BUFFER = 256
_WINTER = timezone(timedelta(hours=1))  # what the W behind a clock of P1 says


class Dlt698Meter(Asked):
    """Answers GETs; objects it does not know get DAR 4 (no such object)."""

    def __init__(self, address: str, state: StateSource, *, reply_delay_s: float = 0.02) -> None:
        dlt698.address_bytes(address)
        self.address = address.zfill(12)
        self._state, self._delay = state, reply_delay_s
        self._parser = Dlt698Parser()

    def on_bytes(self, data: bytes, now: float) -> Replies:
        """Take the host's bytes; return the replies."""
        replies: Replies = []
        for event in self._parser.feed(data):
            if not isinstance(event, Frame) or "objects" not in event.details:
                continue
            asked = event.kind == "request"
            if asked and (event.details["address_type"] or event.meter_id == self.address):
                replies.append((self._delay, self._reply(event)))
        return replies

    def _reply(self, request: Frame) -> bytes:
        objects = [int(oad, 16) for oad in str(request.details["objects"]).split()]
        state = self._state()
        items = b"".join(oad.to_bytes(4, "big") + self._result(oad, state) for oad in objects)
        head = b"\x85\x01\x00" if len(objects) == 1 else b"\x85\x02\x00" + bytes((len(objects),))
        frame = dlt698.encode(self.address, 0xC3, head + items + b"\x00\x00")
        return b"\xfe\xfe\xfe\xfe" + frame

    def _result(self, oad: int, state: HomeState) -> bytes:
        grid = round(10 * state.grid_w)
        amps = round(1000 * state.grid_w / state.voltage_v)
        data = {
            dlt698.ADDRESS: b"\x09\x06" + bytes.fromhex(self.address),
            dlt698.IMPORT: b"\x01\x01\x06" + struct.pack(">I", int(state.import_wh / 10)),
            dlt698.EXPORT: b"\x01\x01\x06" + struct.pack(">I", int(state.export_wh / 10)),
            dlt698.VOLTAGE: b"\x01\x01\x12" + struct.pack(">H", round(10 * state.voltage_v)),
            dlt698.CURRENT: b"\x01\x01\x05" + struct.pack(">i", amps),
            dlt698.POWER: b"\x01\x02" + 2 * (b"\x05" + struct.pack(">i", grid)),
            dlt698.FREQUENCY: b"\x12" + struct.pack(">H", 5000),
        }.get(oad)
        return b"\x00\x04" if data is None else b"\x01" + data


class ModbusMeter(Asked):
    """Answers register reads by a profile; other registers get exception 2."""

    def __init__(
        self, unit: int, profile: str, state: StateSource, *, reply_delay_s: float = 0.02
    ) -> None:
        self._unit, self._profile = unit, modbus.profile(profile)
        self._state, self._delay = state, reply_delay_s
        self._held = bytearray()

    def on_bytes(self, data: bytes, now: float) -> Replies:
        """Take the host's bytes; return the replies."""
        self._held += data
        replies: Replies = []
        position = 0
        while len(self._held) - position >= _MODBUS_FRAME:
            frame = bytes(self._held[position : position + _MODBUS_FRAME])
            try:
                request = modbus.Request.decode(frame)
            except ValueError:
                position += 1
                continue
            position += _MODBUS_FRAME
            if request.unit == self._unit:
                replies.append((self._delay, self._reply(request)))
        del self._held[: max(position, len(self._held) - _BUFFER)]
        return replies

    def _reply(self, request: modbus.Request) -> bytes:
        words = self._words(self._state())
        wanted = range(request.start, request.start + request.count)
        inside = words and wanted.start >= min(words) and wanted.stop <= max(words) + 1
        known = any(address in words for address in wanted)
        if request.function != self._profile.function or not (inside and known):
            body = bytes((request.unit, request.function | 0x80, 2))
            return body + crc.modbus(body).to_bytes(2, "little")
        held = [words.get(address, 0) for address in wanted]
        return telegrams.modbus_reply(request.unit, request.function, held)

    def _words(self, state: HomeState) -> dict[int, int]:
        values = shown(state)
        if self._profile.name == "sunspec":
            return dict(enumerate(_sunspec(values), sunspec.START))
        words: dict[int, int] = {}
        if self._profile.ratios:
            words |= dict(zip(self._profile.ratios, _RATIOS.values(), strict=True))
        for register in self._profile.registers:
            value = values.get(register.key, Decimal(0)).scaleb(-register.shift)
            for name in register.ratio:
                value /= _RATIOS[name]
            if register.form.startswith("f32"):
                packed = struct.pack(">f", float(value))
            else:
                size = 2 * register.count
                number = int(value) % (1 << (8 * size))
                packed = number.to_bytes(size, "big")
            found = list(struct.unpack(f">{register.count}H", packed))
            if register.form.endswith("le"):
                found.reverse()
            words |= {register.address + index: word for index, word in enumerate(found)}
        return words


class D0Meter(Asked):
    """IEC 62056-21 mode C: identification on ``/?!``, the list after the acknowledgement."""

    def __init__(self, number: str, state: StateSource, *, reply_delay_s: float = 0.2) -> None:
        self._number, self._state, self._delay = number, state, reply_delay_s
        self._held = bytearray()

    def on_bytes(self, data: bytes, now: float) -> Replies:
        """Take the host's bytes; return the replies."""
        self._held += data.translate(_MASK)
        replies: Replies = []
        while (end := self._held.find(b"\n")) >= 0:
            line = bytes(self._held[: end + 1])
            del self._held[: end + 1]
            if line.endswith((b"/?!\r\n", f"/?{self._number}!\r\n".encode("ascii"))):
                replies.append((self._delay, b"/XMP5\\2SIMULATED\r\n"))
            elif line.endswith(iec62056.acknowledge("5")):
                replies.append((self._delay, self._list()))
        del self._held[:-_BUFFER]
        return replies

    def _list(self) -> bytes:
        whole = telegrams.d0_block(*_lines(self._number, self._state(), ""))
        return whole[whole.index(b"\n") + 1 :]


class D0Push(Pushing):
    """IEC 62056-21 mode D: a telegram a second, without check sum."""

    def __init__(self, number: str, state: StateSource) -> None:
        self._number, self._state = number, state

    def push(self, _now: float) -> Replies:
        """Return the telegram of this second."""
        return [(0.0, telegrams.d0_push(*_lines(self._number, self._state(), "1-0:")))]


class P1Push(Pushing):
    """DSMR 5: a telegram a second."""

    def __init__(self, number: str, state: StateSource) -> None:
        self._number, self._state = number, state

    def push(self, _now: float) -> Replies:
        """Return the telegram of this second."""
        state = self._state()
        values = shown(state)
        drawn, fed = _split(values["power_w"] / 1000)
        return [
            (
                0.0,
                telegrams.p1(
                    "1-3:0.2.8(50)",
                    f"0-0:1.0.0({state.market.astimezone(_WINTER):%y%m%d%H%M%S}W)",
                    f"0-0:96.1.1({self._number.encode('ascii').hex().upper()})",
                    f"1-0:1.8.0({values['import_kwh']:010.3f}*kWh)",
                    f"1-0:2.8.0({values['export_kwh']:010.3f}*kWh)",
                    f"1-0:1.7.0({drawn:06.3f}*kW)",
                    f"1-0:2.7.0({fed:06.3f}*kW)",
                    f"1-0:32.7.0({values['voltage_l1_v']:05.1f}*V)",
                ),
            )
        ]


class SmlPush(Pushing):
    """SML: a file a second."""

    def __init__(self, number: str, state: StateSource) -> None:
        self._server = b"\x0a\x01SIM\x00" + (int(number) % 2**32).to_bytes(4, "big")
        self._state = state

    def push(self, _now: float) -> Replies:
        """Return the file of this second."""
        state = self._state()
        energies = (("1-0:1.8.0", state.import_wh), ("1-0:2.8.0", state.export_wh))
        entries = [
            telegrams.sml_entry(code, telegrams.sml_integer(int(10 * wh), 8), 30, -1)
            for code, wh in energies
        ]
        power = telegrams.sml_integer(round(state.grid_w), 4)
        entries.append(telegrams.sml_entry("1-0:16.7.0", power, 27))
        return [(0.0, telegrams.sml(*entries, server=self._server))]


class DlmsPush(Pushing):
    """A DLMS push list every two seconds."""

    period_s = 2.0

    def __init__(self, number: str, state: StateSource) -> None:
        self._number, self._state = number, state

    def push(self, _now: float) -> Replies:
        """Return the next list."""
        state = self._state()
        drawn, fed = _split(Decimal(round(state.grid_w)))
        apdu = telegrams.dlms_apdu(
            telegrams.dlms_text("0-0:96.1.0", self._number),
            telegrams.dlms_entry("1-0:1.7.0", int(drawn), 0, 27),
            telegrams.dlms_entry("1-0:2.7.0", int(fed), 0, 27),
            telegrams.dlms_entry("1-0:1.8.0", int(state.import_wh), 0, 30),
            telegrams.dlms_entry("1-0:2.8.0", int(state.export_wh), 0, 30),
        )
        return [(0.0, telegrams.hdlc(telegrams.LLC + apdu))]


def make(
    protocol: str,
    address: str,
    state: StateSource,
    *,
    profile: str = "",
    push: bool = False,
    ask: bool = False,
) -> Device:
    """Return a simulated meter; ``ValueError`` for an unknown protocol or impossible address.

    ``profile`` is the register profile of a Modbus meter (its address is the unit); ``push`` makes
    an IEC 62056-21 meter speak mode D, ``ask`` a DLMS meter answer instead of pushing.
    """
    if not address.isdecimal() or len(address) > 12:
        raise ValueError(f"{address!r} is no meter address: up to 12 digits")
    if protocol == "modbus_rtu":
        unit = int(address)
        if not 1 <= unit <= 247:
            raise ValueError(f"{address!r} is no Modbus address: a unit from 1 to 247")
        return ModbusMeter(unit, profile or "sdm630", state)
    if protocol == "dlms" and ask:
        return DlmsMeter(address, state)
    if protocol == "iec62056_21" and push:
        return D0Push(address, state)
    makers: dict[str, Callable[[str, StateSource], Device]] = {
        "dlt645": Dlt645Meter,
        "dlt698": Dlt698Meter,
        "iec62056_21": D0Meter,
        "dsmr_p1": P1Push,
        "sml": SmlPush,
        "dlms": DlmsPush,
    }
    if protocol not in makers:
        raise ValueError(f"no simulated meter for the protocol {protocol!r}")
    return makers[protocol](address, state)


def shown(state: HomeState) -> dict[str, Decimal]:
    """Return what a meter of 0.01 kWh resolution shows of a home, by common name."""
    step = Decimal("0.01")
    volts, watts = Decimal(str(round(state.voltage_v, 1))), Decimal(str(round(state.grid_w, 1)))
    return {
        "import_kwh": Decimal(state.import_wh / 1000).quantize(step, ROUND_DOWN),
        "export_kwh": Decimal(state.export_wh / 1000).quantize(step, ROUND_DOWN),
        "power_w": watts,
        "power_l1_w": watts,
        "voltage_l1_v": volts,
        "current_l1_a": (watts / volts).quantize(Decimal("0.001")),
        "frequency_hz": Decimal(50),
    }


def _lines(number: str, state: HomeState, prefix: str) -> list[str]:
    values = shown(state)
    return [
        f"{prefix}0.0.0({number})",
        f"{prefix}1.8.0({values['import_kwh']:010.2f}*kWh)",
        f"{prefix}2.8.0({values['export_kwh']:010.2f}*kWh)",
        f"{prefix}16.7.0({values['power_w'] / 1000:.3f}*kW)",
        f"{prefix}32.7.0({values['voltage_l1_v']:.1f}*V)",
    ]


def _split(power: Decimal) -> tuple[Decimal, Decimal]:
    return max(power, Decimal(0)), max(-power, Decimal(0))


def _sunspec(values: Mapping[str, Decimal]) -> list[int]:
    """Return the registers of a device with the common model and meter model 201."""
    model = [0x8000] * sunspec.LENGTHS[201]
    wanted = (("current_l1_a", 1, 4, -3), ("voltage_l1_v", 6, 13, -1), ("frequency_hz", 14, 15, -2))
    for key, at, scale_at, scale in (*wanted, ("power_w", 16, 20, 0)):
        model[at], model[scale_at] = int(values[key].scaleb(-scale)) & 0xFFFF, scale & 0xFFFF
    for key, at in (("export_kwh", 36), ("import_kwh", 44)):
        model[at], model[at + 1] = divmod(int(values[key] * 100), 0x10000)
    model[52] = 1  # tens of Wh
    common = [1, 66, *[0] * 66]
    return [*sunspec.MARKER, *common, 201, len(model), *model, 0xFFFF, 0]
