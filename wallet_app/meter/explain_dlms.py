"""HDLC frames and the DLMS push lists in them, field by field (docs/meter-protocols.md 9)."""

from wallet_app.i18n import tr
from wallet_app.meter import axdr, ciphering, crc
from wallet_app.meter.explain_axdr import DLMS, explain_data
from wallet_app.meter.explain_fields import Field, Pieces, Span, merged
from wallet_app.meter.hdlc import HdlcFrame, Wait, next_frame


def hdlc_spans(data: bytes) -> list[Span]:
    """Return where HDLC frames lie in ``data``; a flag that two of them share counts to the first.

    Not the parser's frames: those of a list in several segments hold all of them at once.
    """
    buffer, position = bytearray(data), 0
    good: list[Span] = []
    damaged: list[Span] = []
    while position < len(buffer):
        found = next_frame(buffer, position, 0, final=True)
        if isinstance(found, Wait):
            break
        following, what = found
        if isinstance(what, HdlcFrame):
            good.append(Span(what.at, what.at + len(what.raw)))
        elif what is not None and what.raw:
            damaged.append(Span(what.at, what.at + len(what.raw)))
        position = following
    return merged(good, damaged, len(data))


def explain_hdlc(raw: bytes, key: bytes = b"", auth_key: bytes = b"") -> list[Field]:
    """Return the fields of one HDLC frame, damaged or not; the first flag may be missing."""
    out = Pieces(raw)
    if out.peek() == b"\x7e":
        out.add(1, tr("Flag"))
    head = out.peek(2)
    segmented = bool(head[:1] and head[0] & 0x08)
    length = ((head[0] & 0x07) << 8 | head[1]) if len(head) == 2 else 0
    text = tr("length {number}", number=length)
    out.add(2, tr("Format"), f"{text}, {tr('more segments follow')}" if segmented else text)
    begin = out.at - 2
    for name in (tr("Destination"), tr("Source")):
        size = _address_size(out.peek(4))
        out.add(size, name, out.peek(size).hex(" ").upper())
    control = out.peek()[0] if out.left else 0
    out.add(1, tr("Control"), _control(control))
    if begin + length - out.at > 2 and out.left > 2:
        right = crc.x25(raw[begin : out.at]).to_bytes(2, "little")
        out.checksum(right, tr("Check sum of the header"))
        information = raw[out.at : max(out.at, min(begin + length - 2, len(raw)))]
        inner = Pieces(information)
        _information(inner, key, auth_key, segmented=segmented)
        out.take(inner.fields, out.at, depth=1)
    if out.left >= 2:
        right = crc.x25(raw[begin : out.at]).to_bytes(2, "little")
        out.checksum(right, tr("Check sum of the frame"))
    if out.peek() == b"\x7e":
        out.add(1, tr("Flag"))
    out.rest(0, tr("Behind the end"))
    return out.fields


def explain_ciphered(raw: bytes, key: bytes = b"", auth_key: bytes = b"") -> list[Field]:
    """Return the fields of one ciphered message, from its DB 08 on."""
    out = Pieces(raw)
    _ciphered(out, key, auth_key)
    return out.fields


def _address_size(head: bytes) -> int:
    for size, byte in enumerate(head, 1):
        if byte & 1:
            return size
    return 1


def _control(control: int) -> str:
    names = {
        0x93: "SNRM",
        0x73: "UA",
        0x53: "DISC",
        0x1F: "DM",
        0x97: "FRMR",
        0x13: tr("unnumbered information"),
        0x03: tr("unnumbered information"),
        0x10: tr("unnumbered information"),
    }
    if control in names:
        return names[control]
    return tr("information") if not control & 1 else f"{control:02X}"


def _information(out: Pieces, key: bytes, auth_key: bytes, *, segmented: bool) -> None:
    head = out.peek(3)
    if head in (b"\xe6\xe7\x00", b"\xe6\xe6\x00"):
        from_meter = head[1] == 0xE7
        out.add(3, "LLC", tr("from the meter") if from_meter else tr("to the meter"))
    elif head[:2] == b"\x81\x80":
        out.rest(0, tr("Parameters of the link"))
        return
    elif out.peek() not in (b"\xe0", b"\x0f"):
        out.rest(0, tr("A part of a longer list"))
        return
    tag = out.peek()
    if tag == b"\xe0":
        _block(out)
    elif out.peek(2) == ciphering.START:
        _ciphered(out, key, auth_key)
    elif tag == b"\x0f":
        _notification(out)
        if segmented and out.left:
            out.rest(0, tr("goes on in the next segment"))
    else:
        out.rest(0, tr("Message"), tr("no push list: not explained"))
    out.rest(0, tr("Behind the list"))


def _notification(out: Pieces) -> None:
    out.add(1, tr("Message"), tr("the meter pushes data"))
    out.number(4, tr("Number of the message"), "big")
    form = out.peek(2)
    if form[:1] == b"\x00":
        out.add(1, tr("Date and time"), tr("none"))
    elif form[:1] == b"\x0c" or form == b"\x09\x0c":
        skip = 1 if form[:1] == b"\x0c" else 2
        octets = out.peek(skip + 12)[skip:]
        out.add(skip + 12, tr("Date and time"), axdr.clock(octets) or tr("not set"))
    else:
        out.rest(0, tr("Date and time"), tr("of an unknown form"))
        return
    explain_data(out, DLMS, depth=1)


def _block(out: Pieces) -> None:
    out.add(1, tr("Message"), tr("a block of a longer list"))
    control = out.peek()[0] if out.left else 0
    out.add(1, tr("Control"), tr("last block") if control & 0x80 else tr("more blocks follow"))
    out.number(2, tr("Number of the block"), "big")
    out.number(2, tr("Acknowledged"), "big")
    size = out.peek()[0] if out.left else 0
    out.add(1 if size < 0x80 else 1 + (size & 0x03), tr("Length"))
    if control & 0x80 or out.peek(2) != ciphering.START:
        out.rest(0, tr("A part of a longer list"))
    else:
        _ciphered(out, b"", b"")


def _ciphered(out: Pieces, key: bytes, auth_key: bytes) -> None:
    whole = out.data[out.at :]
    out.add(1, tr("Message"), tr("encrypted"))
    out.add(1, tr("Length"), "8")
    title = out.peek(8)
    out.add(8, tr("System title"), _title(title))
    size = out.peek()[0] if out.left else 0
    heads = 1 if size < 0x80 else 1 + (size & 0x03)
    if heads > 1:
        size = int.from_bytes(out.peek(heads)[1:], "big")
    out.add(heads, tr("Length"), str(size))
    kind = out.peek()[0] if out.left else 0
    kinds = {0x20: tr("encrypted"), 0x30: tr("encrypted and authenticated")}
    out.add(1, tr("Security"), kinds.get(kind & 0x70, f"{kind:02X}"))
    out.number(4, tr("Counter"), "big")
    tag = 12 if kind & 0x10 else 0
    inside = _plain(whole, title, heads, key, auth_key)
    out.rest(tag, tr("Encrypted part"), inside)
    if tag:
        out.rest(0, tr("Authentication tag"))


def _plain(whole: bytes, title: bytes, heads: int, key: bytes, auth_key: bytes) -> str:
    """Say what decryption brought, in one line."""
    if not key:
        return tr("the grid operator hands out the key")
    try:
        plain = ciphering.Deciphering(key, auth_key).plain(title, whole[10 + heads :], b"\x0f")
    except (ciphering.CipherError, ValueError) as error:
        return str(error)
    return tr("decrypted: {hex}", hex=plain.hex(" ").upper())


def _title(title: bytes) -> str:
    maker = title[:3].decode("ascii", "replace")
    return f"{maker} {title[3:].hex().upper()}" if maker.isalpha() else title.hex().upper()
