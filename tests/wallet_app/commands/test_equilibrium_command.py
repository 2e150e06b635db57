import json

import pytest

from wallet_app.cli import main

BOOK = {
    "slot": "hour 24",
    "floor": 3800,
    "cap": 11080,
    "participants": [
        {"id": "E", "side": "sell", "energy_wh": 12000, "reservation": 5000},
        {"id": "F", "side": "sell", "energy_wh": 13000, "reservation": 6400},
        {"id": "G", "side": "sell", "energy_wh": 1000, "reservation": 7400},
        {"id": "H", "side": "sell", "energy_wh": 3000, "reservation": 4000},
        {"id": "D", "side": "buy", "energy_wh": 13000, "reservation": 11080},
    ],
}


def run(tmp_path, capsys, book, *options):
    path = tmp_path / "book.json"
    path.write_text(json.dumps(book), encoding="utf-8")
    code = main(["equilibrium", str(path), *options])
    printed = capsys.readouterr()
    return code, printed.out, printed.err


def test_solution_carries_its_certificate(tmp_path, capsys):
    code, out, _ = run(tmp_path, capsys, BOOK, "--json")
    found = json.loads(out)
    assert code == 0
    assert found["method"] == "iteration"
    assert found["market"] == "buyer"
    assert found["price"] == 6400
    assert found["fills"] == {"E": 10000, "F": 0, "G": 0, "H": 3000, "D": 13000}
    assert set(found["regret"].values()) == {0}
    assert found["max_regret"] == 0
    assert found["deviation"] == found["quotes"]
    assert found["standing"] == ["H", "E", "D"]


def test_check_accepts_the_solution_and_refuses_the_truth(tmp_path, capsys):
    _, out, _ = run(tmp_path, capsys, BOOK, "--json")
    solved = json.loads(out)
    given = {**BOOK, "quotes": solved["quotes"], "previous_standing": solved["standing"]}
    code, out, _ = run(tmp_path, capsys, given, "--check", "--json")
    assert (code, json.loads(out)["max_regret"]) == (0, 0)
    merged = {**BOOK, **solved}
    assert run(tmp_path, capsys, merged, "--check")[0] == 0
    honest = {p["id"]: p["reservation"] for p in BOOK["participants"]}
    code, out, _ = run(tmp_path, capsys, {**BOOK, "quotes": honest}, "--check", "--json")
    checked = json.loads(out)
    assert code == 1
    # One tick below F, 12 kWh short of what it sells: E gains (6399 − 5000) · 10000.
    assert checked["regret"]["E"] >= 13_990_000
    assert checked["deviation"]["E"] in (6399, 6400)


def test_paper_rounds(tmp_path, capsys):
    code, out, _ = run(tmp_path, capsys, BOOK, "--paper", "--json")
    found = json.loads(out)
    assert code == 0
    assert found["max_regret"] == 0
    assert [r["price"] for r in found["rounds"]] == [5000, 6400]
    assert found["rounds"][-1]["quotes"] == {"E": 6400, "F": 6400, "G": 7400, "H": 5000, "D": 11080}


def test_epsilon_keeps_the_truth(tmp_path, capsys):
    code, out, _ = run(tmp_path, capsys, {**BOOK, "epsilon": 10**9}, "--json")
    assert code == 0
    assert json.loads(out)["method"] == "truthful"


def test_text_says_what_is_proved(tmp_path, capsys):
    _, out, _ = run(tmp_path, capsys, BOOK)
    assert "certified" in out
    assert "0.6400 per kWh, 13.00 kWh" in out
    _, out, _ = run(tmp_path, capsys, BOOK, "--paper")
    assert "ended in: equilibrium" in out


def test_quantity_is_reported_apart_with_a_warning(tmp_path, capsys):
    book = {
        **BOOK,
        "participants": [
            {"id": "seller", "side": "sell", "energy_wh": 2, "reservation": 4000},
            {"id": "buyer", "side": "buy", "energy_wh": 7, "reservation": 9000},
            {"id": "rival", "side": "buy", "energy_wh": 9, "reservation": 4000},
        ],
        "quotes": {"seller": 4000, "buyer": 9000, "rival": 4000},
        "standing": ["rival"],
    }
    code, out, _ = run(tmp_path, capsys, book, "--check", "--quantity", "--json")
    found = json.loads(out)
    assert code == 1
    # Asking for the 2 Wh there are costs the rival's 4000; for all 7, a tick more on both.
    assert found["quantity"]["buyer"] == {"energy_wh": 2, "price": 9000, "gain": 10000}
    assert found["regret"]["buyer"] == 9998
    _, out, _ = run(tmp_path, capsys, book, "--check", "--quantity")
    assert "midpoint" in out
    _, out, _ = run(tmp_path, capsys, BOOK, "--quantity")
    assert "Nobody could gain" in out


def test_an_empty_book_trades_nothing(tmp_path, capsys):
    code, out, _ = run(tmp_path, capsys, {**BOOK, "participants": []}, "--json")
    assert (code, json.loads(out)["price"]) == (0, None)


def changed(**fields):
    first = {**BOOK["participants"][0], **fields}
    return {**BOOK, "participants": [first, *BOOK["participants"][1:]]}


@pytest.mark.parametrize(
    ("book", "options", "named"),
    [
        ([], (), "object"),
        ({**BOOK, "slot": 5}, (), "slot"),
        ({**BOOK, "floor": 12000}, (), "floor"),
        ({**BOOK, "floor": 1.5}, (), "floor"),
        ({**BOOK, "participants": {}}, (), "participants"),
        ({**BOOK, "epsilon": -1}, (), "epsilon"),
        ({**BOOK, "previous_standing": [5]}, (), "previous_standing"),
        ({**BOOK, "previous_standing": ["E", "E"]}, (), "twice"),
        (changed(id="F"), (), "twice"),
        (changed(id="a\nb"), (), "control"),
        (changed(side="hold"), (), "side"),
        (changed(energy_wh=-1), (), "energy_wh"),
        (changed(energy_wh=1.0), (), "energy_wh"),
        (changed(reservation=3799), (), "reservation"),
        (changed(reservation=11081), (), "reservation"),
        (BOOK, ("--check",), "quotes"),
        ({**BOOK, "quotes": {"E": 5000}}, ("--check",), "missing"),
        ({**BOOK, "quotes": {"Z": 5000}}, ("--check",), "take part"),
    ],
)
def test_bad_input_is_named_in_one_line(tmp_path, capsys, book, options, named):
    code, out, err = run(tmp_path, capsys, book, *options)
    assert (code, out) == (2, "")
    assert named in err
    assert err.count("\n") == 1
