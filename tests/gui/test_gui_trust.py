"""The Trust page tells what light nodes find in the user's language, and keeps its form."""

from dataclasses import replace
from typing import get_args

import pytest
from PySide6.QtWidgets import QTableWidget
from pytestqt.qtbot import QtBot

from light_node.chain import errors, quarantine
from light_node.i18n import Text
from tests.gui.fake_source import full_view
from wallet_app import i18n
from wallet_app.gui import theme
from wallet_app.gui.trust import TrustPage
from wallet_app.trading.view import Change, TrustView

FORK = errors.Fork(7, b"\x01" * 32, b"\x02" * 32, "Org2MSP").text


def page(qtbot: QtBot, language: str, **changes: object) -> TrustPage:
    i18n.use_language(language)
    made = TrustPage(theme.LIGHT)
    qtbot.addWidget(made)
    made.resize(896, 520)
    made.show()
    view = full_view()
    trust: TrustView = replace(view.trust, **changes)  # type: ignore[arg-type]
    made.refresh(replace(view, trust=trust), frozenset({Change.TRUST}))
    qtbot.wait(20)
    return made


@pytest.mark.parametrize(
    ("language", "words"), [("en", "two histories: block 7 is"), ("zh_CN", "出现两条历史：区块 7")]
)
def test_a_problem_takes_the_place_of_what_is_waited_for(
    qtbot: QtBot, language: str, words: str
) -> None:
    waited = Text("a node of {names} to answer", names="Org1MSP")
    stuck = page(qtbot, language, problem=FORK, waiting_for=waited)
    assert stuck._waiting.text.text().startswith(words)
    waiting = page(qtbot, language, problem=Text(""), waiting_for=waited)
    assert "Org1MSP" in waiting._waiting.text.text()
    assert not waiting._waiting.text.text().startswith(words)


@pytest.mark.parametrize("language", list(i18n.LANGUAGES))
@pytest.mark.parametrize("kind", get_args(quarantine.Kind))
def test_a_long_reason_leaves_the_columns_where_they_are(
    qtbot: QtBot, language: str, kind: quarantine.Kind
) -> None:
    case = quarantine.Case(7, "2026-06-21T10:00:00+00:00", "0000000007-Org2MSP.json", kind)
    plain = page(qtbot, language)
    before = plain.findChild(QTableWidget)
    view = full_view()
    peers = tuple(
        replace(p, agrees=False, state="shut out", error=case.text)
        if p.organisation == "Org2MSP"
        else replace(p, error=Text(""))
        for p in view.trust.peers
    )
    shown = page(qtbot, language, peers=peers)
    table = shown.findChild(QTableWidget)
    assert table.columnWidth(0) == before.columnWidth(0) < 200
    assert table.horizontalScrollBar().maximum() == 0
    cells = [table.item(row, 0) for row in range(table.rowCount())]
    (said,) = [cell.text() for cell in cells if "7" in cell.text()]
    assert ("被隔离" in said) == (language == "zh_CN")
    states = [table.item(row, 2) for row in range(table.rowCount())]
    words = "已隔离" if language == "zh_CN" else "in quarantine"
    assert [item.text() for item in states if item].count(words) == 1
