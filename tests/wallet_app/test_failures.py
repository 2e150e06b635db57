"""What went wrong is said in the user's words, in either language, and never in another's."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from requests.exceptions import ConnectionError as NetworkError
from requests.exceptions import SSLError

import wallet_app
from light_node.chain import errors as chain_errors
from light_node.chain.errors import TrustRootExpired, TrustRootMismatch
from light_node.contract.errors import Code
from light_node.fabric.errors import (
    AccessDenied,
    CaAuthenticationFailed,
    CaUnavailable,
    ContractRefused,
)
from light_node.i18n import Text
from wallet_app import failures, i18n
from wallet_app.keys.store import KeyNotFound, KeyringUnavailable, KeyState
from wallet_app.settings import SettingsError

PACKAGE = Path(wallet_app.__file__).parent
CHINESE = re.compile("[\u4e00-\u9fff]")


@pytest.fixture(autouse=True)
def _english_again() -> Iterator[None]:
    yield
    i18n.use_language("en")


def test_what_others_say_is_no_part_of_our_words() -> None:
    error = CaAuthenticationFailed("x", foreign="<b>call 555</b>")
    assert "555" not in failures.explain(error)
    assert "555" in failures.foreign(error)
    assert failures.foreign(ValueError("x")) == ""


def test_a_server_in_the_place_of_the_ca_is_told_from_a_silent_one() -> None:
    def unavailable(cause: Exception) -> CaUnavailable:
        error = CaUnavailable("x")
        error.__cause__ = cause
        return error

    assert "TLS certificate" in failures.explain(unavailable(SSLError()))
    assert "cannot be reached" in failures.explain(unavailable(NetworkError()))


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (TrustRootExpired("x"), "expired"),
        (TrustRootMismatch("x"), "altered"),
        (KeyNotFound("x"), "restore your backup"),
        (KeyringUnavailable(KeyState.LOCKED, "x"), "unlock"),
        (OSError(28, "No space left on device", "f"), "No space left"),
        (SettingsError("mend it"), "mend it"),
        (RuntimeError(), "RuntimeError"),
    ],
)
def test_errors_become_one_line(error: Exception, words: str) -> None:
    text = failures.explain(error)
    assert words in text
    assert "\n" not in text


@pytest.mark.parametrize("code", list(Code), ids=lambda code: code.name)
def test_every_refusal_of_the_contract_has_words_in_both_languages(code: Code) -> None:
    error = ContractRefused(code.status, code.name, "<b>pay here</b>")
    english = failures.explain(error)
    assert english.endswith(f"({code.name})")
    assert "status" not in english
    i18n.use_language("zh_CN")
    chinese = failures.explain(error)
    assert CHINESE.search(chinese)
    assert chinese.endswith(f"（{code.name}）")
    assert "pay here" not in english + chinese


def test_a_refusal_of_another_contract_is_told_by_its_code() -> None:
    assert "(OUT_OF_ORDER)" in failures.explain(ContractRefused(409, "OUT_OF_ORDER", ""))
    i18n.use_language("zh_CN")
    assert failures.explain(ContractRefused(500, "", "")) == "合约拒绝了：状态 500"


def test_errors_of_the_light_node_are_said_in_the_language_of_the_moment() -> None:
    fork = chain_errors.Fork(7, b"\x01" * 32, b"\x02" * 32, "Org2MSP")
    denied = AccessDenied(Text("{call}: the connection was closed", call=Text("submit")))
    assert failures.explain(fork).startswith("two histories: block 7")
    i18n.use_language("zh_CN")
    assert failures.explain(fork).startswith("出现两条历史：区块 7")
    assert failures.explain(denied) == "提交：连接已关闭"


def test_no_screen_shows_an_exception_as_it_is() -> None:
    # str(error) is English whatever the language; explain() and said() are there for people.
    shown = []
    for folder in ("gui", "trading"):
        for path in sorted((PACKAGE / folder).glob("*.py")):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            for handler in (n for n in ast.walk(tree) if isinstance(n, ast.ExceptHandler)):
                shown += [
                    f"{path.name}:{call.lineno}"
                    for call in ast.walk(handler)
                    if isinstance(call, ast.Call)
                    and isinstance(call.func, ast.Name)
                    and call.func.id == "str"
                    and isinstance(call.args[0], ast.Name)
                    and call.args[0].id == handler.name
                ]
    assert [place.partition(":")[0] for place in shown] == ["libraries.py"]
