"""suggest, replay and simulate on the command line."""

import json

import pytest

from wallet_app.cli import main

POSITION = {
    "slot": "2026-06-21T10:00Z/PT60M",
    "floor": 3800,
    "cap": 11080,
    "participant": "me",
    "net_wh": -4000,
    "reservation": 5000,
    "quotes": [
        {"id": "d", "side": "buy", "energy_wh": 5000, "price": 11080},
        {"id": "s", "side": "sell", "energy_wh": 3000, "price": 7000},
    ],
}
RECORD = {
    "participant": "me",
    "time_zone": "Europe/Berlin",
    "reservation": 3800,
    "battery": {"capacity_wh": 1000, "stored_wh": 1000},
    "slots": [
        {**{k: POSITION[k] for k in ("slot", "floor", "cap", "net_wh", "quotes")}},
        {
            "slot": "2026-06-21T22:00Z/PT60M",
            "floor": 3800,
            "cap": 11080,
            "net_wh": 500,
            "quotes": [],
        },
    ],
}


def run(tmp_path, capsys, command, value, *options):
    path = tmp_path / "in.json"
    path.write_text(json.dumps(value), encoding="utf-8")
    code = main([*command, str(path), *options])
    printed = capsys.readouterr()
    return code, printed.out, printed.err


def test_suggestion_with_reason_and_json(tmp_path, capsys):
    code, out, _ = run(tmp_path, capsys, ["suggest"], POSITION, "--json")
    found = json.loads(out)
    assert code == 0
    assert found["side"] == "sell"
    assert found["energy_wh"] == 4000
    # 2 kWh at the cap earn more over 5000 than 4 kWh at the competitor's 7000.
    assert found["price"] == 11080
    assert found["regret"] == 0
    code, out, _ = run(tmp_path, capsys, ["suggest"], POSITION)
    assert code == 0
    assert "grid only" in out


def test_suggestion_without_a_book_is_an_estimate(tmp_path, capsys):
    alone = {k: v for k, v in POSITION.items() if k != "quotes"}
    _, out, _ = run(tmp_path, capsys, ["suggest"], alone, "--json")
    found = json.loads(out)
    assert found["estimated"] is True
    assert found["price"] == 5000


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"slot": "tomorrow"}, "slot id"),
        ({"net_wh": 1.5}, "net_wh"),
        ({"reservation": "guess"}, "reservation"),
        ({"participant": 5}, "participant"),
        ({"battery": {"capacity_wh": 100, "stored_wh": 200}}, "fit"),
        ({"battery": {"capacity_wh": 100, "reserve_wh": 200}}, "reserve"),
        ({"battery": {}}, "capacity_wh"),
        ({"quotes": [{"id": "d", "side": "buy", "energy_wh": 1, "price": 1}]}, "outside"),
    ],
)
def test_bad_positions_are_named(tmp_path, capsys, change, named):
    code, out, err = run(tmp_path, capsys, ["suggest"], {**POSITION, **change})
    assert (code, out) == (2, "")
    assert named in err
    assert err.count("\n") == 1


def test_replay_compares_all_strategies_of_a_local_day(tmp_path, capsys):
    code, out, _ = run(tmp_path, capsys, ["replay", "2026-06-21", "--record"], RECORD, "--json")
    found = json.loads(out)
    assert code == 0
    assert [r["strategy"] for r in found["replays"]] == [
        "grid",
        "battery",
        "quoted",
        "honest",
        "suggested",
    ]
    # 22:00 UTC is the next day in Berlin.
    assert all(len(r["slots"]) == 1 for r in found["replays"])
    money = {r["strategy"]: r["money"] for r in found["replays"]}
    assert money["grid"] == 4000 * 3800
    assert money["suggested"] > money["honest"] > money["grid"]


def test_replay_with_another_battery_and_tariff(tmp_path, capsys):
    code, out, _ = run(
        tmp_path,
        capsys,
        ["replay", "2026-06-21", "--strategy", "battery", "--battery-wh", "4500", "--cap", "9000",
         "--record"],
        RECORD,
    )  # fmt: skip
    assert code == 0
    assert "battery" in out
    code, out, _ = run(
        tmp_path, capsys, ["replay", "2026-06-22", "--cap", "9000", "--record"], RECORD, "--json"
    )
    grid = json.loads(out)["replays"][0]
    assert grid["money"] == -500 * 9000


def test_replay_with_a_tariff_by_time_of_day(tmp_path, capsys):
    # The slot of 22:00 UTC is midnight in Berlin: the night's band, not the day's.
    bands = [
        {"from": "06:00", "floor": 3800, "cap": 11080},
        {"from": "22:00", "floor": 1000, "cap": 6000},
    ]
    tariff = tmp_path / "tariff.json"
    tariff.write_text(json.dumps({"time_zone": "Europe/Berlin", "bands": bands}))
    command = ["replay", "2026-06-22", "--tariff", str(tariff)]
    code, out, _ = run(tmp_path, capsys, [*command, "--record"], RECORD, "--json")
    assert code == 0
    assert json.loads(out)["replays"][0]["money"] == -500 * 6000
    code, _, err = run(tmp_path, capsys, [*command, "--cap", "9000", "--record"], RECORD)
    assert code == 2
    assert "leave out --floor and --cap" in err
    tariff.write_text(json.dumps({"time_zone": "Europe/Berlin", "bands": []}))
    code, _, err = run(tmp_path, capsys, [*command, "--record"], RECORD)
    assert code == 2
    assert "1 to 96 bands are needed" in err


@pytest.mark.parametrize(
    ("day", "change", "named"),
    [
        ("someday", {}, "date"),
        ("2026-06-25", {}, "no slot"),
        ("2026-06-21", {"time_zone": "Mars/Olympus"}, "time_zone"),
        ("2026-06-21", {"slots": [RECORD["slots"][0]] * 2}, "overlaps"),
        ("2026-06-21", {"slots": [{**RECORD["slots"][0], "net_wh": "x"}]}, "net_wh"),
    ],
)
def test_bad_records_are_named(tmp_path, capsys, day, change, named):
    code, out, err = run(tmp_path, capsys, ["replay", day, "--record"], {**RECORD, **change})
    assert (code, out) == (2, "")
    assert named in err


def test_simulate_prints_a_row_per_size(capsys):
    code = main(["simulate", "--participants", "5,20", "--slots", "5", "--json"])
    found = json.loads(capsys.readouterr().out)["studies"]
    assert code == 0
    assert [s["participants"] for s in found] == [5, 20]
    assert all(s["largest_regret"] == 0 for s in found)
    assert main(["simulate", "--participants", "5", "--slots", "3", "--withholding"]) == 0
    assert "honest is best" in capsys.readouterr().out


@pytest.mark.parametrize(
    "options",
    [["--participants", "0"], ["--participants", "many"], ["--slots", "0"], ["--seed", "-1"]],
)
def test_impossible_simulations_are_refused(capsys, options):
    assert main(["simulate", *options]) == 2
    assert options[0] in capsys.readouterr().err


def test_simulate_draws_what_it_prints(tmp_path, capsys):
    path = tmp_path / "communities.svg"
    options = ["--participants", "5,10", "--slots", "4,2", "--plot", str(path), "--json"]
    assert main(["simulate", *options]) == 0
    found = json.loads(capsys.readouterr().out)["studies"]
    assert [s["slots"] for s in found] == [4, 2]
    drawn = path.read_text(encoding="utf-8")
    assert drawn.startswith("<svg")
    assert "Price uplift" in drawn
    assert main(["simulate", *options]) == 0
    assert path.read_text(encoding="utf-8") == drawn


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--plot", "figure.pdf"], ".svg"),
        (["--plot", "nowhere/at/all.svg"], "no directory"),
        (["--participants", "5,10", "--slots", "1,2,3"], "as many"),
        (["--slots", "few"], "--slots"),
    ],
)
def test_impossible_plots_and_slots_are_refused_before_the_work(
    capsys, monkeypatch, tmp_path, options, named
):
    monkeypatch.chdir(tmp_path)
    assert main(["simulate", *options]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert named in printed.err
    assert list(tmp_path.iterdir()) == []
