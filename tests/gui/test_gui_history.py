"""The history: ranges by the local calendar, sums, a fluid table, exports that match the screen."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from PySide6.QtCore import QModelIndex, Qt
from PySide6.QtGui import QTextDocument
from PySide6.QtWidgets import QDialog, QLabel, QMessageBox, QTableView
from pytestqt.modeltest import ModelTester
from pytestqt.qtbot import QtBot

from tests.gui.fake_source import DAY, FakeSource, full_view, long_history, slot_at
from wallet_app.gui import app, dialogs, pdf, ranges, settings, statement, words
from wallet_app.gui.feed import ALL
from wallet_app.gui.history import HistoryPage
from wallet_app.gui.history_model import HistoryModel
from wallet_app.gui.ranges import Span
from wallet_app.gui.theme import LIGHT
from wallet_app.trading.view import Change, Phase, Proof


@pytest.fixture
def page(qtbot: QtBot, source: FakeSource) -> HistoryPage:
    app.application(settings.WindowSettings(), UTC)
    page = HistoryPage(LIGHT, source)
    qtbot.addWidget(page)
    page.resize(1000, 700)
    page.show()
    page.refresh(source.view(), ALL)
    qtbot.waitUntil(lambda: not page.busy())
    return page


def cell(model: HistoryModel, row: int, head: str) -> str:
    heads = [column.head for column in model.columns]
    return str(model.data(model.index(row, heads.index(head))))


# ---- ranges


@pytest.mark.parametrize(
    ("span", "first", "after"),
    [
        (Span.DAY, "2026-06-21", "2026-06-22"),
        (Span.WEEK, "2026-06-15", "2026-06-22"),
        (Span.MONTH, "2026-06-01", "2026-07-01"),
        (Span.YEAR, "2026-01-01", "2027-01-01"),
    ],
)
def test_spans_hold_their_day(span: Span, first: str, after: str) -> None:
    wanted = (date.fromisoformat(first), date.fromisoformat(after))
    assert ranges.bounds(span, date(2026, 6, 21)) == wanted


@pytest.mark.parametrize(("day", "hours"), [(date(2026, 3, 29), 23), (date(2026, 10, 25), 25)])
def test_days_on_which_clocks_change_have_their_own_length(day: date, hours: int) -> None:
    start, end = ranges.instants(day, day + timedelta(days=1), ZoneInfo("Europe/Berlin"))
    assert end.astimezone(UTC) - start.astimezone(UTC) == timedelta(hours=hours)


def test_sums_hold_settled_slots_only_and_never_net_directions() -> None:
    slots = [slot_at(hour) for hour in range(24)]
    open_slot = slot_at(3, settled=False)
    sums = ranges.totals([*slots, open_slot])
    assert sums.slots == 24
    assert sums.earned == sum(max(s.market_money or 0, 0) for s in slots)
    assert sums.spent == sum(min(s.market_money or 0, 0) for s in slots)
    assert sums.earned > 0 > sums.spent
    assert sums.saved == sums.total - sums.grid_only
    assert sums.saved == sum(ranges.slot_saved(s) or 0 for s in slots)
    disputed = replace(slots[0], proof=Proof.DISPUTED)
    assert ranges.totals([disputed]).unverified == 1


@pytest.mark.parametrize(
    ("count", "bars", "label"),
    [(0, 0, ""), (24, 24, "00:00"), (24 * 10, 11, "2026-06-11"), (24 * 400, 14, "2025-05")],
)
def test_bars_stay_few_and_lose_nothing(count: int, bars: int, label: str) -> None:
    slots = long_history(count)
    drawn = ranges.bars(slots, UTC)
    assert len(drawn.labels) <= 100
    if count:
        assert drawn.labels[0].startswith(label[:4]) or label == "00:00"
        assert sum(drawn.with_market) == ranges.totals(slots).total
        assert sum(drawn.grid_only) == ranges.totals(slots).grid_only
    assert abs(len(drawn.labels) - bars) <= 1


# ---- table


def test_the_model_is_sound_and_newest_first(qtbot: QtBot, qtmodeltester: ModelTester) -> None:
    model = HistoryModel(LIGHT)
    model.set_slots(long_history(600))
    qtmodeltester.check(model)
    assert model.slot(0).start > model.slot(1).start


def test_a_hundred_thousand_slots_are_handed_out_in_portions(qtbot: QtBot) -> None:
    app.application(settings.WindowSettings(), UTC)
    model = HistoryModel(LIGHT)
    formatted: list[int] = []
    plain = model.data

    def counting(index: QModelIndex, role: int = Qt.ItemDataRole.DisplayRole) -> object:
        if role == Qt.ItemDataRole.DisplayRole:
            formatted.append(index.row())
        return plain(index, role)

    model.data = counting  # type: ignore[method-assign]
    table = QTableView()
    qtbot.addWidget(table)
    table.setModel(model)
    table.resize(900, 500)
    table.show()
    slots = long_history(100_000)
    model.set_slots(slots)
    table.grab()
    assert model.rowCount() < 1000
    for _ in range(5):
        table.scrollToBottom()
        table.grab()
    assert model.rowCount() < 5000, "scrolling asks for a little more, not for all"
    assert len(set(formatted)) < 500, "only rows on screen are formatted"
    while model.canFetchMore(QModelIndex()):
        model.fetchMore(QModelIndex())
    assert model.rowCount() == 100_000
    assert model.slot(99_999) is slots[0]


def test_the_cells_say_planned_quoted_matched_delivered(page: HistoryPage) -> None:
    model = page.model
    row = next(r for r in range(model.rowCount()) if model.slot(r).start.hour == 9)
    assert cell(model, row, "Planned") == "sell 3.61"
    assert cell(model, row, "Quoted") == "sell 3.42 at 0.4142"
    assert cell(model, row, "Matched") == "sell 3.42"
    assert cell(model, row, "Delivered") == "sell 3.63"
    assert cell(model, row, "Price") == "0.4182"
    assert cell(model, row, "Penalty") == "−0.1200"
    assert cell(model, row, "Proof") == "agreed" or cell(model, row, "Proof") == "audited"
    # The slot under way has no money yet, and no zero pretends otherwise.
    assert cell(model, 0, "Saved") == "–"
    assert cell(model, 0, "Proof") == "delivering"


def test_a_line_opens_with_its_transaction(qtbot: QtBot, page: HistoryPage) -> None:
    page._table.activated.emit(page.model.index(2, 0))
    dialog = page.findChildren(QDialog)[0]
    shown = [label.text() for label in dialog.findChildren(QLabel)]
    assert "5f0c" * 16 in shown
    dialog.close()


# ---- page


def test_the_page_asks_for_the_local_day_of_market_time(
    page: HistoryPage, source: FakeSource
) -> None:
    kind, start, end = source.calls[-1]
    assert kind == "history"
    assert isinstance(start, datetime)
    assert isinstance(end, datetime)
    today = source.current.market_now.astimezone().date()
    assert (start.date(), end.date()) == (today, today + timedelta(days=1))


def test_days_are_those_of_the_zone_in_use(qtbot: QtBot, source: FakeSource) -> None:
    source.current = full_view(20.0)  # 04:00 of the next day in Shanghai
    source.past = long_history(48) + source.current.slots
    app.application(settings.WindowSettings(), ZoneInfo("Asia/Shanghai"))
    page = HistoryPage(LIGHT, source)
    qtbot.addWidget(page)
    page.refresh(source.view(), ALL)
    qtbot.waitUntil(lambda: not page.busy())
    assert page.days() == (date(2026, 6, 22), date(2026, 6, 23))
    _, start, _ = source.calls[-1]
    assert start == datetime(2026, 6, 21, 16, tzinfo=UTC)
    assert page.model.data(page.model.index(0, 0)) == "04:00–05:00"


def test_moving_and_widening_the_range(qtbot: QtBot, page: HistoryPage, source: FakeSource) -> None:
    first, _ = page.days()
    page._back.click()
    assert page.days() == (first - timedelta(days=1), first)
    page._forth.click()
    assert page.days() == (first, first + timedelta(days=1))
    page._spans.set_value(Span.MONTH)
    page._spans.chosen.emit(Span.MONTH)
    assert page.days()[0].day == 1
    qtbot.waitUntil(lambda: not page.busy())
    assert page.model.data(page.model.index(0, 0)).startswith("2026-06-21")
    page._spans.set_value(Span.OWN)
    page._spans.chosen.emit(Span.OWN)
    assert page.days() == (date(first.year, first.month, 1), ranges.bounds(Span.MONTH, first)[1])
    qtbot.waitUntil(lambda: not page.busy())


def test_new_history_is_fetched_again(qtbot: QtBot, page: HistoryPage, source: FakeSource) -> None:
    page._later.setInterval(1)
    asked = len(source.calls)
    page.refresh(source.view(), frozenset({Change.TRUST}))
    qtbot.wait(20)
    assert len(source.calls) == asked
    page.refresh(source.view(), frozenset({Change.HISTORY}))
    qtbot.waitUntil(lambda: len(source.calls) == asked + 1)
    qtbot.waitUntil(lambda: not page.busy())


def test_a_history_that_cannot_be_read_says_so(
    qtbot: QtBot, page: HistoryPage, source: FakeSource
) -> None:
    source.error = OSError("the store is locked")
    page.fetch()
    qtbot.waitUntil(lambda: "the store is locked" in page._notice.text.text())
    source.error = None
    page.fetch()
    qtbot.waitUntil(lambda: page._notice.text.text() == "")


# ---- exports


def test_the_csv_covers_what_is_shown(
    qtbot: QtBot, page: HistoryPage, source: FakeSource, tmp_path: Path
) -> None:
    path = tmp_path / "day.csv"
    page.export_csv(path)
    qtbot.waitUntil(lambda: str(path) in page._notice.text.text())
    assert path.read_text().splitlines()[1:] == [slot.slot for slot in page.model.slots()]


@pytest.mark.parametrize("suffix", [".pdf", ".html"])
def test_the_statement_is_written(
    qtbot: QtBot, page: HistoryPage, tmp_path: Path, suffix: str
) -> None:
    path = tmp_path / f"statement{suffix}"
    page.export_statement(path)
    qtbot.waitUntil(lambda: "Written" in page._notice.text.text())
    start = path.read_bytes()[:15]
    assert start.startswith(b"%PDF" if suffix == ".pdf" else b"<!DOCTYPE html>")


def test_an_export_that_fails_is_said_and_leaves_no_half_file(
    qtbot: QtBot, page: HistoryPage, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    page.export_statement(tmp_path / "file" / "statement.pdf")
    qtbot.waitUntil(lambda: bool(page.findChildren(QMessageBox)))
    box = page.findChildren(QMessageBox)[0]
    assert "was not written" in box.text()
    box.close()
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith("s")] == []


def test_the_statement_holds_times_with_offset_and_utc_and_its_baseline() -> None:
    view = full_view()
    zone = ZoneInfo("Asia/Shanghai")
    page = statement.statement_html(view, view.slots, DAY, DAY + timedelta(days=1), zone)
    assert "2026-06-21T08:00+08:00" in page
    assert "2026-06-21T00:00Z" in page
    assert "Saved against grid only" in page
    assert "Simulated: no real money moves." in page
    assert "trust root 9f2c4e1a" in page
    document = QTextDocument()
    document.setHtml(page)
    assert "sell 3.42" in document.toPlainText()


def test_a_long_statement_is_summed_by_day_to_the_same_total() -> None:
    slots = long_history(24 * 30)
    page = statement.statement_html(full_view(), slots, DAY - timedelta(days=30), DAY, UTC)
    document = QTextDocument()
    document.setHtml(page)
    text = document.toPlainText()
    assert "2026-05-22" in text
    total = ranges.totals(slots)
    assert text.count(f"+{total.saved / 1e7:.4f}") == 2, "in the summary and below the days"


def test_the_pdf_has_as_many_pages_as_it_needs(qtbot: QtBot, tmp_path: Path) -> None:
    app.application(settings.WindowSettings(), UTC)
    sizes = []
    for count in (24, 24 * 90):
        slots = long_history(count)
        page = statement.statement_html(full_view(), slots, DAY, DAY, UTC)
        path = tmp_path / f"{count}.pdf"
        pdf.write_pdf(page, path)
        sizes.append(path.read_bytes().count(b"/Type /Page\n"))
    assert sizes[0] >= 1
    assert sizes[1] > sizes[0]


@pytest.mark.parametrize(
    ("proof", "said"),
    [
        (Proof.NONE, "one peer's word"),
        (Proof.VERIFIED, "verified"),
        (Proof.DISPUTED, "disputed"),
        (Proof.AGREED, "settled"),
        (Proof.AUDITED, "settled"),
    ],
)
def test_settled_is_said_only_where_two_organisations_agree(
    qtbot: QtBot, proof: Proof, said: str
) -> None:
    app.application(settings.WindowSettings(), UTC)
    slot = replace(full_view().slots[0], phase=Phase.SETTLED, proof=proof)
    assert words.stage(slot) == said
    assert dict(dialogs._slot_facts(slot, "CNY"))["State"] == said
    # Until a household's money is known, the table shows how far the slot got.
    unknown = replace(slot, grid_only_money=None)
    model = HistoryModel(LIGHT)
    model.set_slots((unknown,))
    assert cell(model, 0, "Proof") == said


def test_before_it_is_settled_a_slot_is_where_it_is(qtbot: QtBot) -> None:
    app.application(settings.WindowSettings(), UTC)
    slot = replace(full_view().slots[0], phase=Phase.DELIVERING, proof=Proof.NONE)
    assert words.stage(slot) == "delivering"
