"""Decodes a file of telegrams of any supported protocol, for ``meter decode`` and for tests."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from wallet_app.meter import dlt645
from wallet_app.meter.dlt645 import Dlt645Parser
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


DECODERS: Mapping[str, Decoder] = {
    dlt645.PROTOCOL: Decoder(lambda _: Dlt645Parser(), _dlt645_check),
}
