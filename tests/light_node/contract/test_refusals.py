"""What the contract refuses, each with its code, and that hostile input changes nothing."""

import json
from typing import Any

import pytest

from light_node.contract.contract import FUNCTIONS, TRANSACTIONS
from light_node.contract.errors import Code
from light_node.contract.fields import MAX_ARGUMENT_BYTES

SLOT = "2026-06-21T10:00Z/PT60M"


def code(endorsed: Any) -> str:
    word, separator, text = endorsed.response.message.partition(": ")
    assert endorsed.response.status == Code[word].status >= 400
    assert separator
    assert text
    assert endorsed.response.message.encode()  # it can be sent
    assert endorsed.rwset.writes == {}
    assert endorsed.event is None
    assert endorsed.response.payload == b""
    return str(word)


def refused(world: Any, name: str, function: str, *args: str | bytes) -> str:
    identity = world.operator if name == "operator" else world.traders[name]
    return code(world.channel.endorse(identity, function, *args))


def test_unknown_functions(world: Any) -> None:
    for function in ("", "admit", "Admit ", "Admit\0", "中"):
        assert refused(world, "E", function) == "UNKNOWN_FUNCTION"


@pytest.mark.parametrize(
    ("function", "args"),
    [
        ("OpenSlot", (f'{{"slot":"{SLOT}","floor":1,"cap":2,"rounds":3}}',)),
        ("CloseRound", (SLOT, "1")),
        ("PublishStanding", (SLOT, "1")),
        ("ClearSlot", (SLOT,)),
        ("CloseDelivery", (SLOT,)),
        ("SettleSlot", (SLOT,)),
        ("Delist", ('{"participant":"E@Org1MSP","reason":"x"}',)),
        ("Reinstate", ('{"participant":"E@Org1MSP","reason":"x"}',)),
    ],
)
def test_traders_do_not_operate(world: Any, function: str, args: tuple[str, ...]) -> None:
    assert refused(world, "E", function, *args) == "NOT_PERMITTED"


def test_operators_do_not_trade(world: Any) -> None:
    world.open()
    text = world.quote_text("E", "sell", 1_000, 5000)
    assert refused(world, "operator", "Admit", world.admission("E")) == "NOT_PERMITTED"
    assert refused(world, "operator", "SubmitQuote", text) == "NOT_PERMITTED"
    assert refused(world, "operator", "SubmitReading", text) == "NOT_PERMITTED"


def test_queries_are_for_every_member(world: Any, new_identity: Any) -> None:
    guest = new_identity("guest", "Org2MSP", {})
    world.open()
    record = json.loads(world.channel.evaluate(guest, "GetSlot", SLOT))
    assert record["phase"] == "quoting"
    assert code(world.channel.endorse(guest, "Admit", world.admission("E"))) == "NOT_PERMITTED"


@pytest.mark.parametrize(
    "attributes",
    [
        {"market.permissions": "trade"},
        {"market.permissions": "trade", "market.user_type": "martian"},
        {"market.permissions": "trader,Trade", "market.user_type": "household"},
    ],
)
def test_admission_needs_the_attributes(
    world: Any, new_identity: Any, attributes: dict[str, str]
) -> None:
    guest = new_identity("guest", "Org2MSP", attributes)
    assert code(world.channel.endorse(guest, "Admit", world.admission("E"))) == "NOT_PERMITTED"


def test_an_enrolment_id_with_an_at_sign_is_nobody(world: Any, new_trader: Any) -> None:
    guest = new_trader("E@Org1MSP", "Org2MSP")
    assert code(world.channel.endorse(guest, "Admit", world.admission("E"))) == "NOT_PERMITTED"


def test_quotes_before_admission(world: Any, new_trader: Any) -> None:
    world.open()
    world.traders["N"] = new_trader("N")
    text = world.quote_text("N", "sell", 1_000, 5000)
    assert refused(world, "N", "SubmitQuote", text) == "NOT_ADMITTED"


def test_quotes_while_delisted_and_after(world: Any) -> None:
    world.open()
    decision = json.dumps({"participant": world.id("E"), "reason": "meter seal broken"})
    assert world.operate("Delist", decision)["status"] == "delisted"
    text = world.quote_text("E", "sell", 1_000, 5000)
    assert refused(world, "E", "SubmitQuote", text) == "DELISTED"
    # Entering again does not lift it.
    world.admit("E")
    assert world.ask("GetParticipant", world.id("E"))["reason"] == "meter seal broken"
    assert refused(world, "E", "SubmitQuote", text) == "DELISTED"
    world.operate("Reinstate", json.dumps({"participant": world.id("E"), "reason": "repaired"}))
    world.quote("E", "sell", 1_000, 5000)


def test_nobody_quotes_for_another(world: Any) -> None:
    world.open()
    text = world.quote_text("E", "sell", 1_000, 5000)
    assert refused(world, "F", "SubmitQuote", text) == "NOT_YOURS"


def test_the_same_name_of_another_organisation_is_somebody_else(
    world: Any, new_trader: Any
) -> None:
    world.open()
    twin = new_trader("E", "Org2MSP")
    text = world.quote_text("E", "sell", 1_000, 5000)
    assert code(world.channel.endorse(twin, "SubmitQuote", text)) == "NOT_YOURS"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("energy_wh", 1_001),
        ("price", 5001),
        ("side", "buy"),
    ],
)
def test_a_signature_binds_every_field(world: Any, field: str, value: Any) -> None:
    world.open()
    fields = json.loads(world.quote_text("E", "sell", 1_000, 5000))
    fields[field] = value
    assert refused(world, "E", "SubmitQuote", json.dumps(fields)) == "BAD_SIGNATURE"


def test_a_signature_binds_the_round(world: Any) -> None:
    world.open()
    world.quote("E", "sell", 1_000, 5000)
    world.quote("X", "buy", 1_000, 5000)
    world.close_and_publish(1)
    fields = json.loads(world.quote_text("E", "sell", 1_000, 5000, 1))
    fields["round"] = 2
    assert refused(world, "E", "SubmitQuote", json.dumps(fields)) == "BAD_SIGNATURE"


@pytest.mark.parametrize("signature", ["AA==", "not base64", "é", "A" * 256])
def test_signatures_that_are_none(world: Any, signature: str) -> None:
    world.open()
    fields = json.loads(world.quote_text("E", "sell", 1_000, 5000))
    text = json.dumps({**fields, "signature": signature})
    assert refused(world, "E", "SubmitQuote", text) == "BAD_SIGNATURE"


def test_a_signature_of_another_key(world: Any, sign_fields: Any) -> None:
    world.open()
    fields = json.loads(world.quote_text("E", "sell", 1_000, 5000))
    del fields["signature"]
    text = sign_fields(world.traders["F"], fields)
    assert refused(world, "E", "SubmitQuote", text) == "BAD_SIGNATURE"


def test_an_ed25519_participant_may_trade(world: Any, new_trader: Any) -> None:
    world.open()
    world.traders["N"] = new_trader("N", ed25519=True)
    world.admit("N")
    world.quote("N", "sell", 1_000, 5000)


@pytest.mark.parametrize("price", [3999, 11001])
def test_prices_outside_floor_and_cap(world: Any, price: int) -> None:
    world.open()
    text = world.quote_text("E", "sell", 1_000, price)
    assert refused(world, "E", "SubmitQuote", text) == "PRICE_OUT_OF_BOUNDS"


def test_rules_of_later_rounds(world: Any) -> None:
    world.open()
    world.quote("E", "sell", 2_000, 5000)
    world.quote("E", "sell", 3_000, 5500)  # in round 1 a quote may still be replaced
    world.quote("X", "buy", 1_000, 9000)
    world.close_and_publish(1)
    cases = [
        ("E", ("buy", 1_000, 5000), "SIDE_CHANGED"),
        ("E", ("sell", 3_001, 5000), "ENERGY_RAISED"),
        ("F", ("sell", 1_000, 5000), "FIRST_QUOTE_TOO_LATE"),
    ]
    for name, quote, expected in cases:
        text = world.quote_text(name, *quote, 2)
        assert refused(world, name, "SubmitQuote", text) == expected
    world.quote("E", "sell", 2_000, 5000, 2)
    world.close_and_publish(2)
    # The limit follows the latest quote, also over a round without one.
    text = world.quote_text("E", "sell", 2_001, 5000, 3)
    assert refused(world, "E", "SubmitQuote", text) == "ENERGY_RAISED"


def test_more_than_the_connection_carries(world: Any) -> None:
    world.open()
    text = world.quote_text("E", "sell", 40_101, 5000)
    assert refused(world, "E", "SubmitQuote", text) == "BAD_INPUT"
    world.quote("E", "sell", 40_100, 5000)


def test_a_wallet_address_that_was_not_admitted(world: Any) -> None:
    world.open()
    text = world.quote_text("E", "sell", 1_000, 5000, wallet_address="elsewhere")
    assert refused(world, "E", "SubmitQuote", text) == "BAD_INPUT"


def test_slots_open_once_and_do_not_overlap(world: Any) -> None:
    def opening(slot: str) -> str:
        return json.dumps({"slot": slot, "floor": 1, "cap": 2, "rounds": 1})

    world.open()
    assert refused(world, "operator", "OpenSlot", opening(SLOT)) == "SLOT_EXISTS"
    for slot in (
        "2026-06-21T10:00Z/PT15M",
        "2026-06-21T09:45Z/PT30M",
        "2026-06-21T10:59Z/PT1M",
        "2026-06-20T12:00Z/PT1440M",
        "2026-06-21T00:00Z/PT1440M",
    ):
        assert refused(world, "operator", "OpenSlot", opening(slot)) == "SLOT_OVERLAPS"
    for slot in ("2026-06-21T09:45Z/PT15M", "2026-06-21T11:00Z/PT60M", "2026-06-20T09:45Z/PT1440M"):
        world.operate("OpenSlot", opening(slot))


def test_slots_at_the_ends_of_time_open(empty_world: Any) -> None:
    for slot in ("1970-01-01T00:00Z/PT60M", "9999-12-30T23:00Z/PT60M"):
        empty_world.open(slot)
    with_floor_above_cap = json.dumps({"slot": SLOT, "floor": 2, "cap": 1, "rounds": 1})
    assert refused(empty_world, "operator", "OpenSlot", with_floor_above_cap) == "BAD_INPUT"


def test_steps_out_of_order(world: Any) -> None:
    assert refused(world, "operator", "CloseRound", SLOT, "1") == "UNKNOWN_SLOT"
    world.open()
    for function, args in (
        ("CloseRound", ("2",)),
        ("PublishStanding", ("1",)),
        ("ClearSlot", ()),
        ("CloseDelivery", ()),
        ("SettleSlot", ()),
    ):
        assert refused(world, "operator", function, SLOT, *args) == "WRONG_PHASE"
    world.operate("CloseRound", SLOT, "1")
    assert refused(world, "operator", "CloseRound", SLOT, "1") == "WRONG_PHASE"
    assert refused(world, "operator", "PublishStanding", SLOT, "2") == "WRONG_PHASE"


def test_what_is_not_there_yet(world: Any) -> None:
    world.open()
    for function in ("GetStanding", "GetClearing", "GetOrders", "GetSettlement"):
        assert refused(world, "E", function, SLOT) == "NOT_YET"
    assert refused(world, "E", "GetStanding", SLOT, "1") == "NOT_YET"
    world.quote("E", "sell", 1_000, 5000)
    world.close_and_publish(1)
    assert refused(world, "E", "GetStanding", SLOT, "2") == "NOT_YET"
    assert refused(world, "E", "GetSlot", "2026-06-21T12:00Z/PT60M") == "UNKNOWN_SLOT"
    assert refused(world, "E", "GetParticipant", "nobody@Org1MSP") == "UNKNOWN_PARTICIPANT"
    assert refused(world, "E", "GetAccount", "nobody@Org1MSP") == "UNKNOWN_PARTICIPANT"


HOSTILE = [
    "",
    "{",
    "[]",
    "null",
    "{}",
    '{"slot":1}',
    "1" * 5000,
    '{"a":' + "9" * 5000 + "}",
    "[" * 8000,
    '{"a":1,"a":2}',
    '{"a":NaN}',
    "x" * (MAX_ARGUMENT_BYTES + 1),
    b"\xff\xfe",
    '{"\\ud800":1}',
    '{"\\ud800":1,"\\ud800":2}',
]


@pytest.mark.parametrize("argument", HOSTILE, ids=range(len(HOSTILE)))
@pytest.mark.parametrize("function", sorted(FUNCTIONS.keys() - {"ListParticipants"}))
def test_hostile_arguments(world: Any, function: str, argument: str | bytes) -> None:
    by_operator = function not in ("Admit", "SubmitQuote", "SubmitReading")
    found = refused(world, "operator" if by_operator else "E", function, argument)
    # A plain string may well be taken for the id of somebody unknown.
    expected = {"BAD_INPUT"}
    if function in ("GetParticipant", "GetAccount"):
        expected.add("UNKNOWN_PARTICIPANT")
    assert found in expected


@pytest.mark.parametrize("after", [b"\xff", "a\0b", "x" * 300, "a\U0010ffff"])
def test_hostile_pages(world: Any, after: str | bytes) -> None:
    assert refused(world, "E", "ListParticipants", after) == "BAD_INPUT"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("energy_wh", -1),
        ("energy_wh", 1.0),
        ("energy_wh", True),
        ("energy_wh", "1000"),
        ("energy_wh", 10**30),
        ("energy_wh", None),
        ("price", 5000.0),
        ("side", "SELL"),
        ("side", ["sell"]),
        ("round", 0),
        ("round", 10),
        ("slot", "2026-06-21T10:00Z/PT1H"),
        ("slot", "2026-02-30T10:00Z/PT60M"),
        ("slot", "x" * 100),
        ("participant", "a\0b"),
        ("participant", "a\ud800"),
        ("wallet_address", ""),
        ("wallet_address", "x" * 129),
        ("extra", 1),
    ],
)
def test_hostile_fields_of_a_quote(world: Any, field: str, value: Any) -> None:
    world.open()
    fields = json.loads(world.quote_text("E", "sell", 1_000, 5000))
    assert refused(world, "E", "SubmitQuote", json.dumps({**fields, field: value})) == "BAD_INPUT"


def test_missing_fields_of_a_quote(world: Any) -> None:
    world.open()
    fields = json.loads(world.quote_text("E", "sell", 1_000, 5000))
    for name in fields:
        text = json.dumps({k: v for k, v in fields.items() if k != name})
        assert refused(world, "E", "SubmitQuote", text) == "BAD_INPUT"


@pytest.mark.parametrize("number", ["0", "10", "01", "-1", "١", "1 ", ""])
def test_rounds_that_are_none(world: Any, number: str) -> None:
    world.open()
    assert refused(world, "operator", "CloseRound", SLOT, number) == "BAD_INPUT"


def test_the_wrong_number_of_arguments(world: Any) -> None:
    for function in TRANSACTIONS:
        name = "E" if function in ("Admit", "SubmitQuote", "SubmitReading") else "operator"
        assert refused(world, name, function) == "BAD_INPUT"
        assert refused(world, name, function, "1", "2", "3", "4") == "BAD_INPUT"


@pytest.mark.parametrize(
    "times", [("2026-06-21", "2026-06-22"), ("", ""), ("2026-06-21T10:00Z", "x")]
)
def test_times_that_are_none(world: Any, times: tuple[str, str]) -> None:
    assert refused(world, "E", "ListSlots", *times) == "BAD_INPUT"
