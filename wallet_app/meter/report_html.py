"""The field tester's report as HTML, made without Qt; :mod:`wallet_app.gui.pdf` prints it.

A document to keep: who was read over what, all values with their spread, timing, error rates, what
was odd, and the raw log. Text that the meter sent is escaped and bounded.
"""

import html
from collections.abc import Iterable, Sequence

from wallet_app import format as fmt
from wallet_app.i18n import language, tr
from wallet_app.meter.events import Origin, plain
from wallet_app.meter.names import proof_name, value_name, value_order, value_unit
from wallet_app.meter.plausibility import clock_offset_s
from wallet_app.meter.report import Report
from wallet_app.meter.words import flag_words, gap_words

_MOST_TURNS, _MOST_TURN_BYTES = 120, 400
_MOST_READINGS = 60
# QTextDocument knows CSS 2.1 only in part: no flex, no grid, no max-width.
_STYLE = """
body { font-family: "Noto Sans", "DejaVu Sans", "Microsoft YaHei", "PingFang SC",
       "WenQuanYi Micro Hei", sans-serif; font-size: 8pt; color: #17212b; }
h1 { font-size: 17pt; margin-bottom: 2px; color: #0b6e75; }
h1.meter { font-size: 13pt; margin-top: 24px; }
h2 { font-size: 11pt; margin-top: 14px; margin-bottom: 4px; }
p.note { color: #5a6773; font-size: 7.5pt; }
td, th { padding: 2px 6px; }
th { background-color: #eef3f4; text-align: left; font-size: 7pt; }
td.n, th.n { text-align: right; }
td.hex { font-family: "DejaVu Sans Mono", Consolas, Menlo, monospace; font-size: 6.5pt; }
"""


def report_html(*reports: Report) -> str:
    """Return the reports as one page, a section for each meter, in the language in use."""
    title = _text(tr("Meter test report"))
    meters = [(line, meter) for line in reports for meter in line.meters()]
    parts = [
        f"<!DOCTYPE html><html lang='{language().replace('_', '-')}'><head><meta charset='utf-8'>",
        f"<title>{title}</title><style>{_STYLE}</style></head><body><h1>{title}</h1>",
        _simulated(reports),
    ]
    if len(meters) == 1:
        parts += _meter(meters[0][1])
        parts.append(_section(tr("Raw log"), _raw(reports[0])))
    else:
        parts.append(_section(tr("Summary"), _summary(meters)))
        for place, (_, meter) in enumerate(meters, 1):
            name = f"{place}. {_name(meter)}"
            parts += [f"<h1 class='meter'>{_text(name)}</h1>", *_meter(meter)]
        for line in reports:
            heading = tr("Raw log of {port}", port=line.port)
            parts.append(_section(heading, _raw(line, _MOST_TURNS // len(reports))))
    parts.append(f"<p class='note'>{_text(_meaning(), 600)}</p></body></html>")
    return "".join(parts)


def _meter(report: Report) -> list[str]:
    return [
        f"<p><b>{_text(report.advice())}</b></p>",
        _section(tr("Identification"), _pairs(_identification(report))),
        _section(tr("Values"), _values(report)),
        _section(tr("Timing"), _pairs(_timing(report))),
        _section(tr("Errors"), _pairs(_errors(report))),
        _section(tr("What was odd"), _odd(report)),
        _section(tr("Readings"), _readings(report)),
    ]


def _name(report: Report) -> str:
    return ", ".join(report.meter_ids) or report.port


def _summary(meters: Sequence[tuple[Report, Report]]) -> str:
    rows = []
    for place, (line, meter) in enumerate(meters, 1):
        figures = meter.to_json()
        newest = figures["values"]
        rows.append(
            (
                f"{place}. {_name(meter)}",
                line.port,
                line.protocol,
                str(len(meter.readings)),
                f"{figures['damaged_percent']} %",
                newest.get("import_kwh", fmt.DASH),
                newest.get("export_kwh", fmt.DASH),
                meter.advice(),
            )
        )
    heads = (
        tr("Meter"),
        tr("Port"),
        tr("Protocol"),
        tr("Readings"),
        tr("Damaged"),
        tr("Import, kWh"),
        tr("Export, kWh"),
        tr("Result"),
    )
    return _table(heads, rows, numbers=(3, 4, 5, 6))


def _meaning() -> str:
    return tr(
        "This report says what this computer received and how reliably. It does not prove that the "
        "bytes came from a meter, nor that the meter measures right."
    )


def _simulated(reports: Sequence[Report]) -> str:
    readings = [reading for report in reports for reading in report.readings]
    simulated = sum(reading.origin is Origin.SIMULATED for reading in readings)
    if not simulated:
        return ""
    if simulated < len(readings):
        return f"<p><b>{_text(tr('Some of these meters are simulated, not real ones.'))}</b></p>"
    return f"<p><b>{_text(tr('Read from a simulated meter, not from a real one.'))}</b></p>"


def _identification(report: Report) -> list[tuple[str, str]]:
    status, last = report.status, report.readings[-1] if report.readings else None
    return [
        (tr("Meter number"), ", ".join(report.meter_ids)),
        (tr("Protocol"), report.protocol),
        (tr("Port"), report.port),
        (tr("Adapter"), report.adapter),
        (tr("Speed and format"), status.link if status else ""),
        (tr("Proven by"), proof_name(str(last.proof)) if last else ""),
        (tr("Begun"), report.started.isoformat(timespec="seconds")),
        (tr("Ended"), report.ended.isoformat(timespec="seconds") if report.ended else ""),
    ]


def _values(report: Report) -> str:
    if not report.readings:
        return _none()
    newest = report.readings[-1].values
    rows = []
    ranges = report.ranges()
    for key in sorted(ranges, key=value_order):
        low, high = ranges[key]
        now = plain(newest[key]) if key in newest else fmt.DASH
        rows.append((value_name(key), now, plain(low), plain(high), value_unit(key)))
    heads = (tr("Value"), tr("Last"), tr("Smallest"), tr("Largest"), tr("Unit"))
    return _table(heads, rows, numbers=(1, 2, 3))


def _timing(report: Report) -> list[tuple[str, str]]:
    figures = report.to_json()
    clocked = report.clocked()
    offset = clock_offset_s(clocked) if clocked else None
    return [
        (tr("Readings"), str(len(report.readings))),
        (tr("Seconds between readings"), _spread(figures["interval_s"])),
        (tr("Seconds from request to answer"), _spread(figures["reply_s"])),
        (tr("Clock of the meter"), clocked.meter_clock if clocked else ""),
        (
            tr("Clock of the meter, ahead of this computer"),
            "" if offset is None else tr("{seconds} s", seconds=f"{offset:+.0f}"),
        ),
    ]


def _spread(figures: dict[str, float]) -> str:
    if not figures:
        return ""
    return tr(
        "shortest {low}, mean {mean}, longest {high}",
        low=figures["shortest"],
        mean=figures["mean"],
        high=figures["longest"],
    )


def _errors(report: Report) -> list[tuple[str, str]]:
    figures = report.to_json()
    return [
        (tr("Good frames"), str(figures["good_frames"])),
        (tr("Damaged frames"), f"{figures['bad_frames']} ({figures['damaged_percent']} %)"),
        (tr("Polls without an answer"), f"{figures['missed_polls']} / {figures['polls']}"),
        (tr("Gaps"), str(figures["gaps"])),
        (tr("Readings set aside"), str(figures["rejected"])),
    ]


def _odd(report: Report) -> str:
    rows = [
        (flag_words(flag), str(number))
        for flag, number in sorted(report.flags().items())
        if flag != "first"
    ]
    rows += [
        (gap_words(reading.after_gap), reading.host_time.isoformat(timespec="seconds"))
        for reading in report.readings
        if reading.after_gap
    ]
    rows += [(status.text, f"{at:%H:%M:%S} UTC") for at, status in report.states[-20:]]
    return _table((tr("What"), tr("How often, or when")), rows) if rows else _none()


def _readings(report: Report) -> str:
    shown = report.readings[-_MOST_READINGS:]
    if not shown:
        return _none()
    keys = sorted({key for reading in shown for key in reading.values}, key=value_order)[:8]
    heads = [tr("Time (UTC)"), *(f"{value_name(k)} {value_unit(k)}".strip() for k in keys)]
    rows = [
        [
            f"{reading.host_time:%H:%M:%S}.{reading.host_time.microsecond // 100_000}",
            *(plain(reading.values[k]) if k in reading.values else fmt.DASH for k in keys),
        ]
        for reading in shown
    ]
    table = _table(heads, rows, numbers=range(1, len(heads)))
    left = len(report.readings) - len(shown)
    return table + (
        _note(tr("{number} earlier ones are in the table.", number=left)) if left else ""
    )


def _raw(report: Report, most: int = _MOST_TURNS) -> str:
    shown = report.turns[:most]
    if not shown:
        return _none()
    rows = []
    for turn in shown:
        data = turn.data[:_MOST_TURN_BYTES]
        more = "" if len(data) == len(turn.data) else f" … ({len(turn.data)})"
        direction = tr("to the meter") if turn.sent else tr("from the meter")
        moment = f"{turn.time:%H:%M:%S}.{turn.time.microsecond // 1000:03d}"
        rows.append((moment, direction, data.hex(" ").upper() + more))
    left = len(report.turns) + report.turns_dropped - len(shown)
    table = _table((tr("Time (UTC)"), tr("Direction"), tr("Bytes")), rows, hexed=2)
    return table + (_note(tr("{number} more are not shown.", number=left)) if left else "")


def _section(title: str, body: str) -> str:
    return f"<h2>{_text(title)}</h2>{body}"


def _pairs(pairs: Iterable[tuple[str, str]]) -> str:
    rows = "".join(
        f"<tr><td>{_text(name)}</td><td><b>{_text(value) or fmt.DASH}</b></td></tr>"
        for name, value in pairs
    )
    return f"<table cellspacing='0'>{rows}</table>"


def _table(
    heads: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    numbers: Iterable[int] = (),
    hexed: int = -1,
) -> str:
    right = frozenset(numbers)
    head = "".join(
        f"<th class='n'>{_text(name)}</th>" if place in right else f"<th>{_text(name)}</th>"
        for place, name in enumerate(heads)
    )
    body = []
    for row in rows:
        cells = []
        for place, text in enumerate(row):
            kind = " class='n'" if place in right else " class='hex'" if place == hexed else ""
            cells.append(f"<td{kind}>{_text(text, 4000)}</td>")
        body.append(f"<tr>{''.join(cells)}</tr>")
    return f"<table cellspacing='0' width='100%'><tr>{head}</tr>{''.join(body)}</table>"


def _none() -> str:
    return f"<p>{_text(tr('none'))}</p>"


def _note(text: str) -> str:
    return f"<p class='note'>{_text(text)}</p>"


def _text(value: str, limit: int = 300) -> str:
    return html.escape(fmt.foreign(value, limit))
