"""Explains bytes of a serial line field by field, for the field tester's raw view.

Pure: bytes in, a list of fields out that covers every byte exactly once and in order. Damaged
frames are explained as far as they go, with the check sum they should have had; what belongs to no
frame is shown as such. Where frames begin and end is what the protocol's own parser says.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from wallet_app.i18n import tr
from wallet_app.meter import dlms, dlt645, dlt698, iec62056, modbus, p1, sml
from wallet_app.meter.explain_chinese import explain_645, explain_698
from wallet_app.meter.explain_dlms import explain_hdlc, hdlc_spans
from wallet_app.meter.explain_fields import Field, Pieces, Span, parser_spans
from wallet_app.meter.explain_modbus import explain_modbus, modbus_spans
from wallet_app.meter.explain_sml import explain_sml
from wallet_app.meter.explain_text import d0_spans, explain_d0, explain_p1

__all__ = ["Context", "Field", "explain", "lines"]


@dataclass(frozen=True, slots=True)
class Context:
    """What is known beside the bytes: Modbus replies need their request and register profile."""

    request: bytes = b""
    profile: str = ""
    key: bytes = b""
    auth_key: bytes = b""


@dataclass(frozen=True, slots=True)
class _Explainer:
    spans: Callable[[bytes, Context], list[Span]]
    fields: Callable[[bytes, Context], list[Field]]


def explain(protocol: str, data: bytes, context: Context | None = None) -> list[Field]:
    """Return the fields of ``data`` in order, each byte in exactly one; never raises on it.

    ``ValueError`` for an unknown protocol or profile.
    """
    known = context or Context()
    try:
        explainer = _EXPLAINERS[protocol]
    except KeyError:
        raise ValueError(
            f"no protocol {protocol!r}; there are: {', '.join(sorted(_EXPLAINERS))}"
        ) from None
    out = Pieces(data)
    for span in explainer.spans(data, known):
        _between(out, span.start)
        part = explainer.fields(data[span.start : span.end], known)
        out.take(part, span.start)
    _between(out, len(data))
    return out.fields


def lines(data: bytes, fields: list[Field]) -> list[str]:
    """Return ``fields`` as aligned lines: offset, bytes in hex, name, meaning."""
    shown = []
    for field in fields:
        part = data[field.at : field.at + field.length]
        hexed = part.hex(" ").upper()
        if len(hexed) > 47:
            hexed = f"{hexed[:44]} …"
        mark = {True: "  ✓", False: "  ✗", None: ""}[field.good]
        name = "  " * field.depth + field.name
        text = f"{field.at:5d}  {hexed:<47}  {name:<34}  {field.text}{mark}"
        shown.append(text.rstrip())
    return shown


def _between(out: Pieces, end: int) -> None:
    """Name the bytes up to ``end`` that belong to no frame."""
    if end <= out.at:
        return
    rest = out.data[out.at : end]
    if not rest.strip(b"\xfe"):
        out.add(len(rest), tr("Wake-up bytes"), tr("they wake the receiver, and carry nothing"))
    elif not rest.strip(b"\x00\xff\x7f"):
        out.add(len(rest), tr("Idle line"), tr("what an unbiased line or a change of speed leaves"))
    else:
        out.add(len(rest), tr("Between frames"), tr("belongs to no frame of this protocol"))


_EXPLAINERS: Mapping[str, _Explainer] = {
    dlt645.PROTOCOL: _Explainer(
        lambda data, _: parser_spans(dlt645.Dlt645Parser(), data), lambda raw, _: explain_645(raw)
    ),
    dlt698.PROTOCOL: _Explainer(
        lambda data, _: parser_spans(dlt698.Dlt698Parser(), data), lambda raw, _: explain_698(raw)
    ),
    iec62056.PROTOCOL: _Explainer(lambda data, _: d0_spans(data), lambda raw, _: explain_d0(raw)),
    p1.PROTOCOL: _Explainer(
        lambda data, _: parser_spans(p1.P1Parser(), data), lambda raw, _: explain_p1(raw)
    ),
    sml.PROTOCOL: _Explainer(
        lambda data, _: parser_spans(sml.SmlParser(), data), lambda raw, _: explain_sml(raw)
    ),
    dlms.PROTOCOL: _Explainer(
        lambda data, _: hdlc_spans(data),
        lambda raw, context: explain_hdlc(raw, context.key, context.auth_key),
    ),
    modbus.PROTOCOL: _Explainer(
        lambda data, context: modbus_spans(data, context.request),
        lambda raw, context: explain_modbus(raw, context.request, context.profile),
    ),
}
