"""Decodes a file of telegrams of any supported protocol, for ``meter decode`` and for tests."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from wallet_app.meter import dlms, dlt645, dlt698, iec62056, modbus, p1, sml
from wallet_app.meter.events import Event, Frame, Problem, StreamParser


@dataclass(frozen=True, slots=True)
class Options:
    """What the user knows beside the bytes; :func:`decode` refuses what is unusable."""

    request: bytes = b""
    meter: str = ""
    profile: str = ""
    key: bytes = b""
    auth_key: bytes = b""
    chunks: int = 1


@dataclass(slots=True)
class Decoded:
    """The frames that gave something, and the problems, in the order of the input."""

    frames: list[Frame] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    def to_json(self) -> dict[str, list[dict[str, str | int]]]:
        """Return ``{"readings": […], "problems": [{"kind", "at"}]}``."""
        problems: list[dict[str, str | int]] = []
        for problem in self.problems:
            entry: dict[str, str | int] = {"kind": problem.kind, "at": problem.at}
            problems.append(entry | ({"text": problem.text} if problem.text else {}))
        readings: list[dict[str, str | int]] = [{**frame.to_json()} for frame in self.frames]
        return {"readings": readings, "problems": problems}


Check = Callable[[Frame], Problem | None]


@dataclass(frozen=True, slots=True)
class Decoder:
    """How one protocol is decoded: a parser, and what is checked against request and number."""

    parser: Callable[[Options], StreamParser]
    check: Callable[[Options], Check]


def decode(protocol: str, data: bytes, options: Options) -> Decoded:
    """Decode ``data``; never raises on it. ``ValueError`` for an unknown protocol or option."""
    try:
        decoder = DECODERS[protocol]
    except KeyError:
        known = ", ".join(sorted(DECODERS))
        raise ValueError(f"no protocol {protocol!r}; there are: {known}") from None
    parser, check = decoder.parser(options), decoder.check(options)
    result = Decoded()
    size = max(1, -(-len(data) // max(1, options.chunks)))
    for start in range(0, len(data), size):
        _sort(parser.feed(data[start : start + size]), check, result)
    _sort(parser.finish(), check, result)
    if protocol == dlms.PROTOCOL and not result.frames:
        alone = Decoded()
        _sort(dlms.bare(data, options.key, options.auth_key), check, alone)
        return alone if alone.frames else result
    return result


def _sort(events: list[Event], check: Check, result: Decoded) -> None:
    for event in events:
        if isinstance(event, Problem):
            result.problems.append(event)
            continue
        wrong = check(event)
        if wrong is not None:
            result.problems.append(wrong)
        elif event.normalized or event.texts:
            result.frames.append(event)


def _dlt645_check(options: Options) -> Check:
    address, di = dlt645.wanted(options.request) if options.request else ("", "")
    if options.meter:
        dlt645.address_bytes(options.meter)
        address = options.meter.zfill(12).upper()

    def check(frame: Frame) -> Problem | None:
        if frame.kind == "request":
            return None
        return dlt645.check_reply(frame, address, di)

    return check


def _dlt698_check(options: Options) -> Check:
    address, objects = dlt698.wanted(options.request) if options.request else ("", frozenset())
    if options.meter:
        dlt698.address_bytes(options.meter)
        address = options.meter.zfill(12).upper()

    def check(frame: Frame) -> Problem | None:
        return None if frame.kind == "request" else dlt698.check_reply(frame, address, objects)

    return check


def _modbus_parser(options: Options) -> StreamParser:
    request = modbus.Request.decode(options.request) if options.request else None
    kind = modbus.profile(options.profile) if options.profile else None
    return modbus.ModbusParser(request, kind, tell_others=True)


def _modbus_check(options: Options) -> Check:
    def check(frame: Frame) -> Problem | None:
        unit = str(frame.details.get("unit", ""))
        if options.meter and frame.kind != "request" and unit != options.meter:
            return Problem("other_meter", frame.at, frame.raw, f"from unit {unit}")
        return None

    return check


def _dlms_parser(options: Options) -> StreamParser:
    parser = dlms.DlmsParser(options.key, options.auth_key)
    if options.request:
        parser.expect(options.request)
    return parser


def _number_check(options: Options) -> Check:
    """Check the meter's number for the protocols that push and are not asked."""

    def check(frame: Frame) -> Problem | None:
        wanted = options.meter.lower()
        known = (frame.meter_id.lower(), frame.texts.get("meter_id_raw", "").lower())
        if wanted and frame.kind == "data" and wanted not in known:
            return Problem("other_meter", frame.at, frame.raw, f"from meter {frame.meter_id}")
        return None

    return check


DECODERS: Mapping[str, Decoder] = {
    dlms.PROTOCOL: Decoder(_dlms_parser, _number_check),
    dlt645.PROTOCOL: Decoder(lambda _: dlt645.Dlt645Parser(), _dlt645_check),
    dlt698.PROTOCOL: Decoder(lambda _: dlt698.Dlt698Parser(), _dlt698_check),
    iec62056.PROTOCOL: Decoder(lambda _: iec62056.Iec62056Parser(), _number_check),
    modbus.PROTOCOL: Decoder(_modbus_parser, _modbus_check),
    p1.PROTOCOL: Decoder(lambda o: p1.P1Parser(o.key, o.auth_key), _number_check),
    sml.PROTOCOL: Decoder(lambda _: sml.SmlParser(), _number_check),
}
