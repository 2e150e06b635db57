"""``light-node clear``: its input and output stay as other programs know them."""

import io
import json
from pathlib import Path
from typing import Any

import pytest

from light_node.cli import main

BOOK: dict[str, Any] = {
    "slot": "2026-06-21T23:00Z/PT60M",
    "floor": 3800,
    "cap": 11080,
    "previous_standing": ["S", "B", "D"],
    "quotes": [
        {"id": "S", "side": "sell", "energy_wh": 16000, "price": 3800},
        {"id": "A", "side": "buy", "energy_wh": 4000, "price": 6800},
        {"id": "B", "side": "buy", "energy_wh": 11000, "price": 6900},
        {"id": "C", "side": "buy", "energy_wh": 6000, "price": 6500},
        {"id": "D", "side": "buy", "energy_wh": 10000, "price": 6800},
    ],
}
TABLE_2 = {
    "market": "seller",
    "price": 6800,
    "volume_wh": 16000,
    "fills": {"S": 16000, "A": 0, "B": 11000, "C": 0, "D": 5000},
}


def run(*argv: str) -> int:
    try:
        return main(["clear", *argv])
    except SystemExit as stop:
        return int(stop.code or 0)


@pytest.fixture
def clear_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    """Clear a book given as text; return exit code, standard output and standard error."""

    def cleared(text: str | bytes, *options: str) -> tuple[int, str, str]:
        path = tmp_path / "book.json"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        code = run(str(path), *options)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return cleared


def test_json_output_is_exactly_what_was_promised(clear_text: Any) -> None:
    code, out, err = clear_text(json.dumps(BOOK), "--json")
    assert (code, json.loads(out), err) == (0, TABLE_2, "")


def test_standard_input(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stdin = io.TextIOWrapper(io.BytesIO(json.dumps(BOOK).encode()))
    monkeypatch.setattr("sys.stdin", stdin)
    assert run("-", "--json") == 0
    assert json.loads(capsys.readouterr().out) == TABLE_2
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"{")))
    assert run("-", "--json") == 2
    assert capsys.readouterr().err.startswith("light-node clear: standard input: not valid JSON")


def test_without_json_people_can_read_it(clear_text: Any) -> None:
    code, out, _ = clear_text(json.dumps(BOOK))
    assert code == 0
    lines = out.splitlines()
    assert lines[0].endswith("seller's market: more is wanted than offered")
    assert lines[1] == "price 0.6800 per kWh, 16.000 kWh traded"
    rows = [line.split() for line in lines[4:]]
    assert rows == [
        ["sell", "16.000", "0.3800", "16.000", "S"],
        ["buy", "11.000", "0.6900", "11.000", "B"],
        ["buy", "10.000", "0.6800", "5.000", "D"],
        ["buy", "4.000", "0.6800", "-", "A"],
        ["buy", "6.000", "0.6500", "-", "C"],
    ]


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_an_empty_book_is_valid(clear_text: Any, options: tuple[str, ...]) -> None:
    code, out, err = clear_text(json.dumps({**BOOK, "quotes": []}), *options)
    assert (code, err) == (0, "")
    if options:
        empty = {"market": "balanced", "price": None, "volume_wh": 0, "fills": {}}
        assert json.loads(out) == empty
    else:
        assert "nothing trades" in out


def changed(**changes: Any) -> dict[str, Any]:
    return {**BOOK, **changes}


def with_quote(**changes: Any) -> dict[str, Any]:
    quotes = [dict(quote) for quote in BOOK["quotes"]]
    quotes[1].update(changes)
    return changed(quotes=quotes)


def without(name: str, *, quote: bool = False) -> dict[str, Any]:
    book = json.loads(json.dumps(BOOK))
    del (book["quotes"][1] if quote else book)[name]
    assert isinstance(book, dict)
    return book


@pytest.mark.parametrize(
    ("book", "changes"),
    [
        (changed(previous_standing=["D", "gone", "B"]), {}),
        (changed(comment="hour 23", previous_standing=["B", "D", "S"]), {}),
        (without("previous_standing"), None),
        (with_quote(energy_wh=0), {}),
        (with_quote(price=-5), None),
    ],
)
def test_harmless_oddities(clear_text: Any, book: dict[str, Any], changes: Any) -> None:
    book["floor"] = min(book["floor"], *(quote["price"] for quote in book["quotes"]))
    code, out, _ = clear_text(json.dumps(book), "--json")
    assert code == 0
    outcome = json.loads(out)
    assert list(outcome["fills"]) == [quote["id"] for quote in book["quotes"]]
    if changes is not None:
        assert outcome == TABLE_2


@pytest.mark.parametrize(
    ("book", "says"),
    [
        ("", "not valid JSON"),
        ('{"slot": ', "not valid JSON"),
        ("[]", "the book must be a JSON object, not an array"),
        ("null", "the book must be a JSON object, not null"),
        (b"\xff\xfe{", "not UTF-8"),
        ("[" * 100_000, "nested too deeply"),
        (json.dumps(BOOK).replace("11080", "9" * 5_000), "too many digits"),
        (json.dumps(BOOK).replace("6800", "NaN"), "NaN"),
        (json.dumps(BOOK).replace('"cap"', '"floor"'), "'floor' appears twice"),
        (without("slot"), '"slot" is missing'),
        (without("floor"), '"floor" is missing'),
        (without("cap"), '"cap" is missing'),
        (without("quotes"), '"quotes" is missing'),
        (without("id", quote=True), '"quotes"[1]: "id" is missing'),
        (without("side", quote=True), '"quotes"[1]: "side" is missing'),
        (without("energy_wh", quote=True), '"quotes"[1]: "energy_wh" is missing'),
        (without("price", quote=True), '"quotes"[1]: "price" is missing'),
        (changed(slot=7), '"slot" must be a string'),
        (changed(slot=""), '"slot" must have 1 to 256 characters'),
        (changed(slot="a\nb"), "control characters"),
        (changed(floor=3800.0), '"floor" must be an integer, not the fraction 3800.0'),
        (changed(cap=True), '"cap" must be an integer, not a truth value'),
        (changed(cap="11080"), '"cap" must be an integer, not a string'),
        (changed(cap=10**40), "more than 30 digits; it must be at most 1000000000"),
        (changed(floor=11081), "floor 11081 is above cap 11080"),
        (changed(quotes={}), '"quotes" must be an array, not an object'),
        (changed(quotes=[7]), '"quotes"[0] must be a JSON object, not a number'),
        (changed(previous_standing="S"), '"previous_standing" must be an array'),
        (changed(previous_standing=None), '"previous_standing" must be an array'),
        (changed(previous_standing=["S", 7]), '"previous_standing"[1] must be an id'),
        (changed(previous_standing=["S", "S"]), "S appears twice in the previous standing"),
        (changed(previous_standing=["a\nb" * 99] * 2), "appears twice in the previous standing"),
        (with_quote(energy_wh=4000.0), '"energy_wh" must be an integer, not the fraction 4000.0'),
        (with_quote(energy_wh=4e3), '"energy_wh" must be an integer, not the fraction'),
        (with_quote(energy_wh=-1), '"energy_wh" is -1; it must be at least 0'),
        (with_quote(energy_wh=10**12 + 1), "it must be at most 1000000000000"),
        (with_quote(energy_wh=True), '"energy_wh" must be an integer, not a truth value'),
        (with_quote(energy_wh=None), '"energy_wh" must be an integer, not null'),
        (with_quote(price=6800.5), '"price" must be an integer, not the fraction 6800.5'),
        (with_quote(price=11081), "A: price 11081 is outside 3800 to 11080"),
        (with_quote(price=3799), "A: price 3799 is outside 3800 to 11080"),
        (with_quote(side="both"), '"side" must be "buy" or "sell", not \'both\''),
        (with_quote(side="BUY"), "not 'BUY'"),
        (with_quote(side=None), '"side" must be a string, not null'),
        (with_quote(id="S"), "S has two quotes"),
        (with_quote(id=""), '"id" must have 1 to 256 characters'),
        (with_quote(id=5), '"id" must be a string'),
        (with_quote(id="x\x1b[31m"), "control characters"),
        (with_quote(id="\ud800"), "halves of surrogates"),
    ],
)
def test_bad_input_is_one_clear_line(clear_text: Any, book: Any, says: str) -> None:
    text = json.dumps(book) if isinstance(book, dict) else book
    for options in ((), ("--json",)):
        code, out, err = clear_text(text, *options)
        assert (code, out) == (2, "")
        assert says in err
        assert err.startswith("light-node clear: ")
        assert err.endswith("\n")
        assert err[:-1].isprintable()
        assert len(err) < 400


def test_a_file_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(str(tmp_path / "none.json")) == 2
    assert "none.json: No such file or directory" in capsys.readouterr().err
    assert run() == 2
    assert "FILE" in capsys.readouterr().err
