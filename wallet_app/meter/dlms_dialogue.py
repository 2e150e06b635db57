"""Reading a DLMS meter that answers: connect, associate, GET, disconnect (meter-protocols.md 9).

Every poll is a conversation of its own, so that a meter that forgot us in between does not matter.
"""

from collections.abc import Sequence
from decimal import Decimal

from wallet_app.meter import dlms, dlms_get, obis
from wallet_app.meter.asking import Asking, Collected
from wallet_app.meter.channel import Channel, Exchange
from wallet_app.meter.events import Frame, StreamParser
from wallet_app.meter.ports import Link

_IMPORT, _EXPORT = "1-0:1.8.0", "1-0:2.8.0"
_CODES = (
    _IMPORT,
    _EXPORT,
    *(f"1-0:{c}.7.0" for c in (1, 2, 32, 52, 72, 31, 51, 71, 14)),
)
_NUMBERS = ("0-0:96.1.0", "0-0:42.0.0")
_CLOCK = "0-0:1.0.0"
_ANSWERS = ("data", "error", "block", "segment", "association", "other")
_MOST_PARTS = 64
_REPLY_BYTES = 160


class DlmsDialogue(Asking):
    """HDLC, association without security or with a password, and GETs of the allowed objects."""

    protocol = dlms.PROTOCOL
    links = (Link(9600, 8, "N", 1), Link(2400, 8, "N", 1), Link(19200, 8, "N", 1))

    def __init__(self, address: str | None, password: bytes = b"", client: int = 0) -> None:
        super().__init__()
        # A password belongs to the reader association, client 1 as a rule; without one, public.
        usual = 1 if password else dlms_get.PUBLIC_CLIENT
        self._station = dlms_get.Station.parse(address or "", client or usual)
        self._associate = dlms_get.association_request(password)
        self._parser = dlms.DlmsParser()
        self._sent = self._received = 0
        self._invoke = 0
        self._number = ""
        self._found: dict[str, Decimal | None] = {}
        self.refusal = ""

    def parser(self) -> StreamParser:
        """Return a new parser for this protocol."""
        self._parser = dlms.DlmsParser()
        return self._parser

    def poll(self, channel: Channel) -> Collected | None:
        """Read the meter once; None if it did not answer or refused the association."""
        if not self._connect(channel):
            return None
        self._found = {}
        try:
            collected = self._run(channel, self._questions())
        finally:
            if not channel.stop.is_set():
                channel.send(self._station.frame(dlms_get.DISC))
        if collected is not None:
            collected.values.update(obis.normalize(self._found))
            self._number = self._number or collected.meter_id
            collected.meter_id = self._number or f"dlms-server-{self._station.upper}"
        return collected

    def _connect(self, channel: Channel) -> bool:
        self._sent = self._received = 0
        hello = Exchange("connect", self._station.frame(dlms_get.SNRM), _is_accepted, 40)
        frame = channel.ask(hello)
        if frame is None or frame.details.get("control") != f"{dlms_get.UA:02X}":
            return False
        associated = self._ask(channel, Exchange("associate", self._associate, _is_reply, 64))
        if associated is not None and associated.kind == "association":
            self.refusal = ""
            return True
        if associated is not None:
            self.refusal = str(associated.details.get("error", "association refused"))
        channel.send(self._station.frame(dlms_get.DISC))
        return False

    def _questions(self) -> Sequence[Exchange]:
        questions = [] if self._number else [self._get(code, 2) for code in _NUMBERS[:1]]
        for code in _CODES:
            if not self._parser.scaled(code):
                questions.append(self._get(code, 3))
            questions.append(self._get(code, 2, essential=code == _IMPORT))
        return [*questions, self._get(_CLOCK, 2)]

    def _get(self, code: str, attribute: int, *, essential: bool = False) -> Exchange:
        self._invoke = (self._invoke + 1) & 0x0F
        request = dlms_get.get_request(code, attribute, self._invoke)
        key = f"{code}/{attribute}"
        return Exchange(key, request, _is_reply, _REPLY_BYTES, essential=essential)

    def _ask(self, channel: Channel, question: Exchange) -> Frame | None:
        """Ask one question; ``request`` is the information field, framed here."""
        frame = self._exchange(channel, question, question.request)
        for _ in range(_MOST_PARTS):
            if frame is None or frame.kind not in ("segment", "block"):
                break
            if frame.kind == "segment":
                frame = self._more(channel, question)
            else:
                block = int(frame.details["block"])
                request = dlms_get.next_block_request(block, self._invoke)
                frame = self._exchange(channel, question, request)
        for value in frame.values if frame is not None else ():
            short = value.code.partition(":")[2].removesuffix("*255")
            self._found[short] = obis.scaled(short, value.value, value.unit)
        return frame

    def _exchange(self, channel: Channel, question: Exchange, information: bytes) -> Frame | None:
        control = self._received << 5 | 0x10 | self._sent << 1
        wire = self._station.frame(control, information)
        if information[3:4] == b"\xc0" and information[4:5] == b"\x01":
            self._parser.expect(wire)
        self._sent = (self._sent + 1) & 7
        asked = Exchange(question.key, wire, question.answers, question.reply_bytes)
        return self._counted(channel.ask(asked))

    def _more(self, channel: Channel, question: Exchange) -> Frame | None:
        """Say that a segment was received, and wait for the next."""
        channel.send(self._station.frame(self._received << 5 | 0x11))
        seconds = question.reply_bytes * channel.link.byte_s + channel.timing.reply_s
        return self._counted(channel.listen(question.answers, seconds))

    def _counted(self, frame: Frame | None) -> Frame | None:
        if frame is not None:
            self._received = (self._received + 1) & 7
        return frame


def _is_accepted(frame: Frame) -> bool:
    codes = (f"{dlms_get.UA:02X}", f"{dlms_get.DM:02X}")
    return frame.kind == "control" and frame.details.get("control") in codes


def _is_reply(frame: Frame) -> bool:
    return frame.kind in _ANSWERS
