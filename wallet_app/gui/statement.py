"""The statement of a range as HTML: made without Qt, so that it can be written anywhere.

It is a document to keep: times with their offset and in UTC, every figure with how far it is
verified, the baseline named. Text that others wrote is escaped and bounded.
"""

import html
from collections.abc import Sequence
from datetime import datetime, tzinfo

from wallet_app import format as fmt
from wallet_app.gui import ranges, words
from wallet_app.gui.ranges import Totals
from wallet_app.i18n import language, tr
from wallet_app.trading.view import Proof, SlotView, WalletView

_MOST_SLOT_ROWS = 200
# QTextDocument knows CSS 2.1 only in part: no flex, no grid, no max-width.
_STYLE = """
body { font-family: "Noto Sans", "DejaVu Sans", "Microsoft YaHei", "PingFang SC",
       "WenQuanYi Micro Hei", sans-serif; font-size: 8pt; color: #17212b; }
h1 { font-size: 17pt; margin-bottom: 2px; color: #0b6e75; }
h2 { font-size: 11pt; margin-top: 14px; margin-bottom: 4px; }
p.note { color: #5a6773; font-size: 7.5pt; }
td, th { padding: 2px 5px; }
th { background-color: #eef3f4; text-align: right; font-size: 7pt; }
td { text-align: right; }
.l { text-align: left; }
tr.sum td { background-color: #eef3f4; font-weight: bold; }
"""


def statement_html(
    view: WalletView,
    slots: Sequence[SlotView],
    start: datetime,
    end: datetime,
    zone: tzinfo | None = None,
) -> str:
    """Return the statement of ``slots`` (ascending) for the range [start, end) as a whole page.

    ``view`` says whose it is and what was verified; more than 200 slots are summed by day.
    """
    sums = ranges.totals(slots)
    parts = [
        f"<!DOCTYPE html><html lang='{language().replace('_', '-')}'><head><meta charset='utf-8'>",
        f"<title>{_text(tr('Statement'))}</title><style>{_STYLE}</style></head><body>",
        f"<h1>{_text(tr('Statement'))}</h1>",
        _heading(view, start, end, zone),
        f"<h2>{_text(tr('In short'))}</h2>",
        _summary(sums, view.currency),
    ]
    if len(slots) <= _MOST_SLOT_ROWS:
        parts += [f"<h2>{_text(tr('Slots'))}</h2>", _slot_table(slots, sums, zone)]
    else:
        parts += [f"<h2>{_text(tr('Days'))}</h2>", _day_table(slots, sums, zone)]
    parts += [_notes(sums, view), "</body></html>"]
    return "".join(parts)


def _text(value: str, limit: int = 300) -> str:
    return html.escape(fmt.foreign(value, limit))


def _stamp(at: datetime, zone: tzinfo | None) -> str:
    return fmt.local(at, zone).isoformat(timespec="minutes")


def _heading(view: WalletView, start: datetime, end: datetime, zone: tzinfo | None) -> str:
    rows = [
        (tr("Participant"), view.participant),
        (tr("Organisation"), view.organisation),
        (tr("Network"), view.network),
        (tr("Period"), f"{_stamp(start, zone)} {fmt.DASH} {_stamp(end, zone)}"),
        (tr("Made at"), _stamp(view.market_now, zone)),
    ]
    cells = "".join(
        f"<tr><td class='l'>{_text(name)}</td><td class='l'><b>{_text(value) or fmt.DASH}</b></td>"
        "</tr>"
        for name, value in rows
    )
    mark = ""
    if view.demo:
        mark = f"<p><b>{_text(tr('Simulated: no real money moves.'))}</b></p>"
    return f"{mark}<table cellspacing='0'>{cells}</table>"


def _summary(sums: Totals, currency: str) -> str:
    rows = [
        (tr("Earned on the market"), sums.earned),
        (tr("Spent on the market"), sums.spent),
        (tr("Grid tariffs"), sums.grid),
        (tr("Penalties"), sums.penalty),
        (tr("Together"), sums.total),
        (tr("Grid only would be"), sums.grid_only),
        (tr("Saved against grid only"), sums.saved),
    ]
    unit = _text(currency, 12)
    cells = "".join(
        f"<tr><td class='l'>{_text(name)}</td>"
        f"<td>{fmt.money(amount, 4, sign=True)} {unit}</td></tr>"
        for name, amount in rows
    )
    energy = tr(
        "sold {sold} kWh · bought {bought} kWh",
        sold=fmt.kwh(sums.sold_wh, 3),
        bought=fmt.kwh(sums.bought_wh, 3),
    )
    return f"<table cellspacing='0'>{cells}</table><p>{_text(energy)}</p>"


def _slot_table(slots: Sequence[SlotView], sums: Totals, zone: tzinfo | None) -> str:
    heads = [
        (tr("Local time"), True),
        (tr("UTC"), True),
        (tr("Planned"), False),
        (tr("Quoted"), False),
        (tr("Matched"), False),
        (tr("Delivered"), False),
        (tr("Price"), False),
        (tr("Market"), False),
        (tr("Grid"), False),
        (tr("Penalty"), False),
        (tr("Saved"), False),
        (tr("Proof"), True),
    ]
    rows = [_slot_row(slot, zone) for slot in slots]
    rows.append(
        "<tr class='sum'><td class='l' colspan='7'>"
        f"{_text(tr('Together'))}</td><td>{fmt.money(sums.earned + sums.spent, 4, sign=True)}</td>"
        f"<td>{fmt.money(sums.grid, 4, sign=True)}</td>"
        f"<td>{fmt.money(sums.penalty, 4, sign=True)}</td>"
        f"<td>{fmt.money(sums.saved, 4, sign=True)}</td><td></td></tr>"
    )
    return _table(heads, rows)


def _slot_row(slot: SlotView, zone: tzinfo | None) -> str:
    direction = 1 if slot.side == "buy" else -1
    left = [_stamp(slot.start, zone), slot.start.strftime("%Y-%m-%dT%H:%MZ")]
    right = [
        words.quantity(slot.planned_wh),
        words.quantity(direction * slot.quoted_wh) if slot.quoted_wh else fmt.DASH,
        words.quantity(direction * slot.matched_wh),
        words.quantity(slot.delivered_wh),
        fmt.price(slot.price),
        fmt.money(slot.market_money, 4, sign=True),
        fmt.money(slot.grid_money, 4, sign=True),
        fmt.money(slot.penalty_money, 4, sign=True),
        fmt.money(ranges.slot_saved(slot), 4, sign=True),
    ]
    state = words.proof(slot.proof) if ranges.settled(slot) else words.stage(slot)
    cells = "".join(f"<td class='l'>{_text(text)}</td>" for text in left)
    cells += "".join(f"<td>{_text(text)}</td>" for text in right)
    return f"<tr>{cells}<td class='l'>{_text(state)}</td></tr>"


def _day_table(slots: Sequence[SlotView], sums: Totals, zone: tzinfo | None) -> str:
    by_day: dict[str, list[SlotView]] = {}
    for slot in slots:
        by_day.setdefault(fmt.date(slot.start, zone), []).append(slot)
    heads = [
        (tr("Day"), True),
        (tr("Slots"), False),
        (tr("Sold, kWh"), False),
        (tr("Bought, kWh"), False),
        (tr("Earned"), False),
        (tr("Spent"), False),
        (tr("Grid"), False),
        (tr("Penalty"), False),
        (tr("Grid only would be"), False),
        (tr("Saved"), False),
        (tr("Not verified"), False),
    ]
    rows = [_day_row(day, ranges.totals(part)) for day, part in by_day.items()]
    rows.append(_day_row(tr("Together"), sums).replace("<tr>", "<tr class='sum'>"))
    return _table(heads, rows)


def _day_row(day: str, sums: Totals) -> str:
    amounts = (sums.earned, sums.spent, sums.grid, sums.penalty, sums.grid_only, sums.saved)
    texts = [fmt.count(sums.slots), fmt.kwh(sums.sold_wh, 3), fmt.kwh(sums.bought_wh, 3)]
    texts += [fmt.money(amount, 4, sign=True) for amount in amounts]
    texts.append(fmt.count(sums.unverified))
    cells = "".join(f"<td>{_text(text)}</td>" for text in texts)
    return f"<tr><td class='l'>{_text(day)}</td>{cells}</tr>"


def _table(heads: Sequence[tuple[str, bool]], rows: Sequence[str]) -> str:
    head = "".join(
        f"<th class='l'>{_text(name)}</th>" if left else f"<th>{_text(name)}</th>"
        for name, left in heads
    )
    return f"<table cellspacing='0' width='100%'><tr>{head}</tr>{''.join(rows)}</table>"


def _notes(sums: Totals, view: WalletView) -> str:
    lines = [
        tr(
            "Energy in kWh; positive money was received, negative paid. Grid only: the same metered"
            " energy at feed-in and retail tariff, without the market."
        )
    ]
    if sums.unverified:
        lines.append(
            tr(
                "{number} of {slots} slots are not verified by the own light node.",
                number=fmt.count(sums.unverified),
                slots=fmt.count(sums.slots),
            )
        )
    trust = view.trust
    if trust.verified_height is not None:
        lines.append(
            tr(
                "Blocks verified to height {height}, trust root {root}.",
                height=fmt.count(trust.verified_height),
                root=fmt.foreign(trust.trust_root, 80) or fmt.DASH,
            )
        )
    ladder = [words.proof(proof) for proof in Proof if proof is not Proof.DISPUTED]
    lines.append(
        tr(
            "Proof, weakest first: {states}. {disputed}: organisations or the recomputation"
            " differ.",
            states=", ".join(ladder),
            disputed=words.proof(Proof.DISPUTED),
        )
    )
    return "".join(f"<p class='note'>{_text(line, 600)}</p>" for line in lines)
