"""What to ask a meter and how to put its answers together, per protocol, without a port.

The session sends the exchanges of :meth:`Dialogue.polls` one after the other and hands every
matching frame back; a dialogue only ever builds requests from its protocol's list of reads.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from wallet_app.meter import dlt645
from wallet_app.meter.events import Frame, StreamParser
from wallet_app.meter.ports import Link

REFUSED_FOR_S = 86_400.0
"""A value the meter says it has not is not asked for again for a day."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request: the bytes, which frame answers it, how long the answer is at most.

    ``key`` names what is asked; ``essential`` values make a poll fail when they stay out.
    """

    key: str
    request: bytes
    answers: Callable[[Frame], bool]
    reply_bytes: int = 64
    essential: bool = False


class Dialogue(Protocol):
    """How to talk to one kind of meter."""

    protocol: str
    meter_id: str

    @property
    def links(self) -> Sequence[Link]:
        """Return the speeds and formats to try, the usual ones first."""
        ...

    def parser(self) -> StreamParser:
        """Return a new parser for this protocol."""
        ...

    def identify(self) -> Exchange | None:
        """Return the question for the meter's number; None when it is known or cannot be asked."""
        ...

    def identified(self, frame: Frame) -> None:
        """Take the number out of the answer."""
        ...

    def polls(self) -> Sequence[Exchange]:
        """Return the questions of one poll, registers first; empty for meters that push."""
        ...


class Dlt645Dialogue:
    """DL/T 645-2007: address, then the registers, power, voltage, current and frequency."""

    protocol = dlt645.PROTOCOL
    links = tuple(Link(baud, 8, "E", 1) for baud in (2400, 9600, 1200, 4800))

    def __init__(self, address: str | None) -> None:
        self.meter_id = ""
        if address is not None:
            dlt645.address_bytes(address)
            self.meter_id = address.zfill(12).upper()

    def parser(self) -> StreamParser:
        """Return a new parser for this protocol."""
        return dlt645.Dlt645Parser()

    def identify(self) -> Exchange | None:
        """Return the wildcard question for the address unless the address is known."""
        if self.meter_id:
            return None
        return Exchange("address", dlt645.address_request(), _is_address, 22, essential=True)

    def identified(self, frame: Frame) -> None:
        """Take the address out of the answer."""
        self.meter_id = frame.meter_id

    def polls(self) -> Sequence[Exchange]:
        """Return the questions of one poll, registers first."""
        return (
            self._read(dlt645.IMPORT_TOTAL, essential=True),
            self._read(dlt645.EXPORT_TOTAL),
            self._read(dlt645.POWERS),
            self._read(dlt645.VOLTAGES),
            self._read(dlt645.CURRENTS),
            self._read(dlt645.FREQUENCY),
        )

    def _read(self, di: int, *, essential: bool = False) -> Exchange:
        address, wanted = self.meter_id, f"{di:08X}"

        def answers(frame: Frame) -> bool:
            if frame.meter_id != address:
                return False
            # An error reply does not say what it refuses; it can only mean the question asked.
            refused = frame.kind == "error" and frame.details.get("control") == "D1"
            return refused or (frame.kind == "data" and frame.details.get("di") == wanted)

        request = dlt645.read_request(address, di)
        return Exchange(wanted, request, answers, 40, essential=essential)


def _is_address(frame: Frame) -> bool:
    return frame.kind == "address"


def dialogue(protocol: str, address: str | None) -> Dialogue:
    """Return the dialogue for ``protocol``; ``ValueError`` if there is none."""
    if protocol == dlt645.PROTOCOL:
        return Dlt645Dialogue(address)
    raise ValueError(f"no session for the protocol {protocol!r}; there is: {dlt645.PROTOCOL}")
