"""A DL/T 645-2007 meter without a port: requests in, timed replies out, faults to order."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

from wallet_app.meter import dlt645
from wallet_app.meter.dlt645 import Dlt645Parser
from wallet_app.meter.events import Frame
from wallet_app.meter.simulator.device import Asked, Replies
from wallet_app.meter.simulator.home import HomeState

NO_SUCH_DATA = 0x02


@dataclass(slots=True)
class Faults:
    """Switches; all off is a perfect line. Counters say for how many replies a fault lasts."""

    silent: bool = False
    wrong_sum: int = 0
    half_frame: int = 0
    flip_bit: int = 0
    echo: bool = False
    noise: bytes = b""
    other_meter: int = 0
    not_available: bool = False  # every value FF
    zero_registers: int = 0  # the momentary 0 that some meters show at power-up
    refused: set[int] = field(default_factory=set)  # identifiers answered with D1


class Dlt645Meter(Asked):
    """Answers reads with the state of a home; identifiers it does not know get D1.

    ``state`` is asked once per request. The registers show whole 0.01 kWh, as meters do.
    """

    def __init__(
        self,
        address: str,
        state: Callable[[], HomeState],
        *,
        faults: Faults | None = None,
        reply_delay_s: float = 0.02,
    ) -> None:
        dlt645.address_bytes(address)
        self.address = address.zfill(12)
        self.faults = faults or Faults()
        self._state, self._delay = state, reply_delay_s
        self._parser = Dlt645Parser()

    def on_bytes(self, data: bytes, now: float) -> Replies:
        """Take the host's bytes; return (delay in s, bytes) to send back, in order."""
        replies: Replies = [(0.0, data)] if self.faults.echo else []
        for event in self._parser.feed(data):
            if isinstance(event, Frame) and event.kind == "request":
                replies += self._reply(event)
        return replies

    def _reply(self, request: Frame) -> Replies:
        if self.faults.silent or request.meter_id not in (self.address, dlt645.WILDCARD):
            return []
        control = int(str(request.details["control"]), 16)
        if control == 0x13:
            address = dlt645.address_bytes(self.address)
            return self._damaged(dlt645.encode(self.address, 0x93, address))
        if control != 0x11 or "di" not in request.details:
            return self._damaged(dlt645.encode(self.address, control | 0xC0, b"\x01"))
        di = int(str(request.details["di"]), 16)
        payload = None if di in self.faults.refused else self._payload(di, self._state())
        if payload is None:
            return self._damaged(dlt645.encode(self.address, 0xD1, bytes((NO_SUCH_DATA,))))
        if self.faults.not_available:
            payload = b"\xff" * len(payload)
        data = di.to_bytes(4, "little") + payload
        return self._damaged(dlt645.encode(self.address, 0x91, data))

    def _payload(self, di: int, state: HomeState) -> bytes | None:
        """Return the data of identifier ``di``, low byte first; None if this meter has none."""
        if di in (dlt645.IMPORT_TOTAL, dlt645.EXPORT_TOTAL):
            register = state.import_wh if di == dlt645.IMPORT_TOTAL else state.export_wh
            if self.faults.zero_registers:
                self.faults.zero_registers -= 1
                register = 0.0
            return to_bcd(Decimal(int(register / 10) % 10**8), 4)
        grid = Decimal(str(round(state.grid_w, 1)))
        volts = Decimal(str(round(state.voltage_v * 10)))
        amps = Decimal(round(1000 * state.grid_w / state.voltage_v))
        simple: dict[int, bytes] = {
            dlt645.POWER_TOTAL: to_bcd(grid * 10, 3, signed=True),
            dlt645.POWERS: to_bcd(grid * 10, 3, signed=True) * 2 + b"\xff" * 6,
            dlt645.VOLTAGE_A: to_bcd(volts, 2),
            dlt645.VOLTAGES: to_bcd(volts, 2) + b"\xff" * 4,
            dlt645.CURRENT_A: to_bcd(amps, 3, signed=True),
            dlt645.CURRENTS: to_bcd(amps, 3, signed=True) + b"\xff" * 6,
            dlt645.FREQUENCY: to_bcd(Decimal(5000), 2),
            dlt645.DATE: _date(state.market),
            dlt645.TIME: _time(state.market),
            0x04000401: dlt645.address_bytes(self.address),
        }
        return simple.get(di)

    def _damaged(self, frame: bytes) -> Replies:
        faults = self.faults
        wire = bytearray(b"\xfe\xfe\xfe\xfe" + frame)
        if faults.other_meter:
            faults.other_meter -= 1
            wire[5] ^= 0x01
            wire[-2] = sum(wire[4:-2]) & 0xFF
        if faults.wrong_sum:
            faults.wrong_sum -= 1
            wire[-2] ^= 0x5A
        if faults.flip_bit:
            faults.flip_bit -= 1
            wire[-3] ^= 0x04
        if faults.half_frame:
            faults.half_frame -= 1
            wire = wire[: len(wire) // 2]
        return [(self._delay, faults.noise + bytes(wire) + faults.noise)]


def to_bcd(value: Decimal, size: int, *, signed: bool = False) -> bytes:
    """Return a whole number as packed BCD, low byte first; the top bit is the sign if ``signed``.

    A number with too many digits is shown as the largest possible, as displays do.
    """
    whole = int(abs(value))
    limit = 8 * 10 ** (2 * size - 1) if signed else 10 ** (2 * size)
    whole = min(whole, limit - 1)
    number = int(str(whole), 16)
    if signed and value < 0:
        number |= 1 << (8 * size - 1)
    return number.to_bytes(size, "little")


def _date(at: datetime) -> bytes:
    weekday = (at.weekday() + 1) % 7
    text = f"{at:%y%m%d}{weekday:02d}"
    return bytes.fromhex(text)[::-1]


def _time(at: datetime) -> bytes:
    return bytes.fromhex(f"{at:%H%M%S}")[::-1]
