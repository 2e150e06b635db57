"""The two protocols that send lines of text, line by line: DSMR P1 and IEC 62056-21."""

import re
from functools import reduce
from operator import xor

from wallet_app.i18n import tr
from wallet_app.meter import ciphering, crc, iec62056
from wallet_app.meter.events import Frame, Problem
from wallet_app.meter.explain_dlms import explain_ciphered
from wallet_app.meter.explain_fields import Field, Pieces, Span, merged
from wallet_app.meter.names import obis_name

_MASK = bytes(i & 0x7F for i in range(256))
_CODE = re.compile(
    r"((?:\d{1,3}-\d{1,3}:)?[0-9A-Z]{1,3}(?:\.[0-9A-Z]{1,3}){1,2}(?:[*&]\d{1,3})?)\("
)
_SPEEDS = {**iec62056.BAUDS, **iec62056.BAUDS_MODE_B}


def explain_p1(raw: bytes) -> list[Field]:
    """Return the fields of one P1 telegram: a line each, and its check sum."""
    if raw[:2] == ciphering.START:
        return explain_ciphered(raw)
    out = Pieces(raw)
    end = re.search(rb"\n!", raw)
    body = end.end() if end else len(raw)
    first = True
    while out.at < body:
        stop = raw.find(b"\n", out.at, body)
        length = (stop + 1 if stop >= 0 else body) - out.at
        text = _plain(out.peek(length))
        if text == "!":
            out.add(length, tr("End of the data"))
        elif first:
            out.add(length, tr("Identification"), text)
        else:
            _line(out, length, text)
        first = False
    digits = re.match(rb"[0-9A-Fa-f]{1,4}", raw[out.at : out.at + 4])
    if digits:
        _p1_sum(out, digits[0])
    elif out.left:
        out.rest(0, tr("End of the telegram"), tr("no check sum: nothing proves these values"))
    out.rest(0, tr("Line end"))
    return out.fields


def _p1_sum(out: Pieces, digits: bytes) -> None:
    covered = out.data[: out.at]
    sent = int(digits, 16)
    good = sent in (crc.arc(covered), crc.x25(covered))
    right = f"{crc.arc(covered):04X}"
    text = tr("right") if good else tr("wrong: should be {hex}", hex=right)
    out.add(len(digits), tr("Check sum"), text, good=good)


def d0_spans(data: bytes) -> list[Span]:
    """Return where identifications, readouts and the host's own commands lie in ``data``."""
    commands = [
        Span(m.start(), m.end())
        for m in re.finditer(
            rb"/\?[0-9A-Za-z ]{0,32}!\r?\n|\x06[0-9A-F]{3}\r\n", data.translate(_MASK)
        )
    ]
    parser = iec62056.Iec62056Parser()
    good: list[Span] = []
    damaged: list[Span] = []
    identification = 0
    for event in parser.feed(data) + parser.finish():
        if isinstance(event, Problem):
            damaged.append(Span(event.at, event.at + len(event.raw)))
        elif event.kind == "identification":
            identification = len(event.raw)
            good.append(Span(event.at, event.at + identification))
        else:
            # The frame of a readout begins with its identification, its offset does not.
            good.append(Span(event.at, event.at + _body_length(event, identification)))
    return merged(good + commands, damaged, len(data))


def _body_length(event: Frame, identification: int) -> int:
    return max(0, len(event.raw) - identification)


def explain_d0(raw: bytes) -> list[Field]:
    """Return the fields of an identification, a readout, or a command of the host."""
    out = Pieces(raw)
    view = raw.translate(_MASK)
    if view.startswith(b"/?"):
        out.rest(0, tr("Request"), tr("whoever is there, identify yourself"))
        return out.fields
    if view.startswith(b"\x06"):
        speed = _SPEEDS.get(view[2:3].decode("ascii", "replace"), 0)
        out.rest(0, tr("Acknowledgement"), tr("send the list at {speed} baud", speed=speed))
        return out.fields
    if view.startswith(b"/"):
        return _identification(out, view)
    if view.startswith(b"\x02"):
        out.add(1, tr("Start of the data"))
    etx = view.find(b"\x03", out.at)
    end = etx if etx >= 0 else len(view)
    while out.at < end:
        stop = view.find(b"\n", out.at, end)
        length = (stop + 1 if stop >= 0 else end) - out.at
        text = _plain(view[out.at : out.at + length])
        if text.startswith("!"):
            out.add(length, tr("End of the data"))
        else:
            _line(out, length, text)
    if out.left:
        out.add(1, tr("End"), "ETX")
    if out.left:
        right = reduce(xor, view[1 : out.at], 0)
        good = view[out.at] == right
        text = tr("right") if good else tr("wrong: should be {hex}", hex=f"{right:02X}")
        out.add(1, tr("Check sum"), text, good=good)
    out.rest(0, tr("Behind the end"))
    return out.fields


def _identification(out: Pieces, view: bytes) -> list[Field]:
    out.add(1, tr("Start"))
    out.add(3, tr("Manufacturer"), _plain(view[1:4]))
    letter = _plain(view[4:5])
    speed = _SPEEDS.get(letter)
    text = tr("{speed} baud offered", speed=speed) if speed else tr("no other speed offered")
    out.add(1, tr("Speed"), f"{letter}: {text}")
    ident = view[5:].rstrip(b"\r\n")
    if ident:
        out.add(len(ident), tr("Identification"), _plain(ident))
    out.rest(0, tr("Line end"))
    return out.fields


def _line(out: Pieces, length: int, text: str) -> None:
    if not text:
        out.add(length, tr("Empty line"), depth=1)
        return
    match = _CODE.match(text)
    if match is None:
        out.add(length, tr("Line"), text, depth=1)
        return
    name = obis_name(match[1].split("*")[0].split("&")[0])
    if "*" in match[1] and not match[1].endswith("*255"):
        name = tr("{name} (history)", name=name) if name else tr("History")
    out.add(length, name or match[1], text, depth=1)


def _plain(data: bytes) -> str:
    text = data.strip(b"\r\n").decode("latin-1")
    return "".join(c if c.isprintable() else "?" for c in text)[:200]
