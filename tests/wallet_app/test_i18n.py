"""Every sentence the wallet shows is translated, with the same fields, and none is left over."""

import ast
import string
from collections.abc import Iterator
from pathlib import Path

import pytest

from wallet_app import i18n
from wallet_app.settings import SETTINGS

PACKAGE = Path(i18n.__file__).parent


def constants(node: ast.AST) -> list[str]:
    return [
        part.value
        for part in ast.walk(node)
        if isinstance(part, ast.Constant) and isinstance(part.value, str)
    ]


def sentences(text: str, name: str) -> Iterator[tuple[str, set[str] | None]]:
    """Yield every English sentence given to tr() with the names of its fields (None: ``**``).

    A variable is allowed where the same function assigns it nothing but literals.
    """
    tree = ast.parse(text)
    scopes: list[ast.AST] = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)]
    seen: set[ast.Call] = set()
    for scope in [*scopes, tree]:
        for call in ast.walk(scope):
            is_tr = isinstance(call, ast.Call) and isinstance(call.func, ast.Name)
            if not is_tr or call.func.id != "tr" or call in seen:
                continue
            seen.add(call)
            fields = {keyword.arg for keyword in call.keywords}
            given = None if None in fields else {str(field) for field in fields}
            argument = call.args[0]
            found = [argument.value] if isinstance(argument, ast.Constant) else []
            if isinstance(argument, ast.Name):
                for assigned in ast.walk(scope):
                    if isinstance(assigned, ast.Assign) and any(
                        isinstance(t, ast.Name) and t.id == argument.id for t in assigned.targets
                    ):
                        found += constants(assigned.value)
            assert found, f"{name}:{call.lineno}: tr() needs a literal sentence"
            for sentence in found:
                yield sentence, given if isinstance(argument, ast.Constant) else None


def used() -> dict[str, list[tuple[str, set[str] | None]]]:
    result: dict[str, list[tuple[str, set[str] | None]]] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        for sentence, fields in sentences(path.read_text(encoding="utf-8"), path.name):
            result.setdefault(sentence, []).append((path.name, fields))
    for setting in SETTINGS:
        for text in (setting.title, setting.help):
            result.setdefault(text, []).append(("settings.py", set()))
    return result


def fields_of(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name is not None}


def test_every_sentence_is_translated_and_none_is_stale() -> None:
    catalogue = i18n.load_catalogue(i18n.CHINESE)
    known = used()
    missing = {key: places[0][0] for key, places in known.items() if key not in catalogue}
    assert not missing, f"resources/i18n/zh_CN.json lacks {missing}"
    stale = sorted(set(catalogue) - set(known))
    assert not stale, f"resources/i18n/zh_CN.json has sentences nobody uses: {stale}"


def test_translations_have_the_same_fields() -> None:
    for english, chinese in i18n.load_catalogue(i18n.CHINESE).items():
        assert fields_of(english) == fields_of(chinese), english
        assert chinese.strip(), english


def test_calls_give_exactly_the_fields_of_their_sentence() -> None:
    for sentence, places in used().items():
        for name, given in places:
            if given is not None:
                assert given == fields_of(sentence), f"{name}: {sentence}"


def test_the_scan_finds_what_is_missing() -> None:
    # The guard itself: a sentence in a variable, and one that is computed.
    code = "def f(x):\n    t = 'one {a}' if x else 'two {a}'\n    return tr(t, a=x)\n"
    assert [s for s, _ in sentences(code, "x")] == ["one {a}", "two {a}"]
    with pytest.raises(AssertionError, match="literal"):
        list(sentences("def f(x):\n    return tr(x)\n", "x"))


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
