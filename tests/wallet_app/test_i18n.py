"""Every sentence the wallet shows is translated, with the same fields, and none is left over."""

from pathlib import Path

import pytest

from light_node import i18n as node_i18n
from tests.sentences import Used, faults, said_in, sentences
from wallet_app import i18n
from wallet_app.settings import SETTINGS

PACKAGE = Path(i18n.__file__).parent


def used() -> Used:
    result = said_in(PACKAGE)
    for setting in SETTINGS:
        for text in (setting.title, setting.help):
            result.setdefault(text, []).append(("settings.py", set()))
    return result


def test_every_sentence_is_translated_and_none_is_stale() -> None:
    assert not faults(used(), node_i18n.load_catalogue(i18n.CATALOGUES, i18n.CHINESE))


def test_what_wallet_and_light_node_both_say_is_translated_alike() -> None:
    mine = node_i18n.load_catalogue(i18n.CATALOGUES, i18n.CHINESE)
    theirs = node_i18n.load_catalogue(node_i18n.OWN_CATALOGUES, i18n.CHINESE)
    assert {k: mine[k] for k in mine.keys() & theirs.keys()} == {
        k: theirs[k] for k in mine.keys() & theirs.keys()
    }


def test_the_scan_finds_what_is_missing() -> None:
    # The guard itself: a sentence in a variable, and one that is computed.
    head = "from wallet_app.i18n import tr\n"
    code = head + "def f(x):\n    t = 'one {a}' if x else 'two {a}'\n    return tr(t, a=x)\n"
    assert [s for s, _ in sentences(code, "x")] == ["one {a}", "two {a}"]
    with pytest.raises(AssertionError, match="literal"):
        list(sentences(head + "def f(x):\n    return tr(x)\n", "x"))
    assert faults({"one {a}": [("x", {"b"})], "two": [("x", set())]}, {"one {a}": "1 {b}"}) == [
        "not translated: two (x)",
        "other fields: one {a}",
        "x gives other fields: one {a}",
    ]


@pytest.mark.parametrize(
    ("name", "language"),
    [
        ("zh_CN.UTF-8", "zh_CN"),
        ("zh-Hans-SG", "zh_CN"),
        ("zh", "zh_CN"),
        ("de_DE.UTF-8", "en"),
        ("C", "en"),
        ("zha_CN", "en"),
    ],
)
def test_the_language_that_serves_a_locale(name: str, language: str) -> None:
    assert i18n.best_language(name) == language


def test_an_explicit_choice_wins_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROSUMER_LANG", "zh_CN")
    try:
        assert i18n.use_language() == "zh_CN"
        assert i18n.tr("Sell") == "卖出"
        assert i18n.use_language("en") == "en"
        assert i18n.tr("Sell") == "Sell"
        monkeypatch.delenv("PROSUMER_LANG")
        monkeypatch.setenv("LC_ALL", "zh_TW.UTF-8")
        assert i18n.use_language() == "zh_CN"
    finally:
        i18n.use_language("en")


def test_braces_in_foreign_text_mean_nothing() -> None:
    shown = i18n.tr("Waiting for: {what}", what="{agrees.__class__} {0}")
    assert shown == "Waiting for: {agrees.__class__} {0}"
