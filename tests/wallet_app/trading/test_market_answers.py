"""What the market answers and what it is told: read strictly, whatever a peer says."""

import json
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from light_node import jsonio
from light_node.contract.stub import composite_key
from light_node.fabric.crypto import KeySigner, generate_key
from light_node.fabric.errors import MalformedMessage, TimedOut, Unavailable
from light_node.market.quotes import Quote, Side
from light_node.market.units import EnergyWh, PriceTick
from tests.wallet_app.trading.house import SLOT
from wallet_app.trading import network
from wallet_app.trading.ledger import LedgerEvent, Outcome
from wallet_app.trading.market import (
    MarketReader,
    SettlementLine,
    settlement_written,
    standing_from,
    standing_written,
)
from wallet_app.trading.messages import quote_message, read_quote

STANDING = {
    "slot": SLOT.id,
    "round": 1,
    "market": "buyer",
    "price": 5000,
    "volume_wh": 900,
    "changed": True,
    "final": False,
    "standing": ["E@Org1MSP"],
    "quotes": [
        {"participant": "E@Org1MSP", "side": "sell", "energy_wh": 900, "price": 4900,
         "fill_wh": 900},
        {"participant": "X@Org1MSP", "side": "buy", "energy_wh": 1000, "price": 9000,
         "fill_wh": 900},
    ],
}  # fmt: skip
LINE = {
    "side": "sell", "contracted_wh": 900, "market_money": 5, "grid_money": 0, "penalty_money": 0,
    "compensation_money": 0, "grid_only_money": 3, "estimated": False,
}  # fmt: skip


class Answers:
    """A ledger that answers every query with the same."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def evaluate(self, function: str, *arguments: str) -> Any:
        return self.answer


def reader(answer: Any) -> MarketReader:
    return MarketReader(Answers(answer))  # type: ignore[arg-type]


def test_a_standing_is_read_and_known_again_in_the_block() -> None:
    standing = standing_from(STANDING)
    assert standing.quote_of("X@Org1MSP") == Quote(
        "X@Org1MSP", Side.BUY, EnergyWh(1000), PriceTick(9000)
    )
    assert standing.quote_of("nobody") is None
    written = {
        **STANDING,
        "quotes": [["E@Org1MSP", "sell", 900, 4900, 900], ["X@Org1MSP", "buy", 1000, 9000, 900]],
    }
    key = composite_key("standing", (SLOT.id, "1"))
    assert standing_written({key: jsonio.canonical_dumps(written)}, standing)
    for name, value in (
        ("price", 5001), ("volume_wh", 901), ("standing", []), ("quotes", written["quotes"][:1]),
    ):  # fmt: skip
        other = jsonio.canonical_dumps({**written, name: value})
        assert not standing_written({key: other}, standing)
    with pytest.raises(jsonio.JsonError, match="did not write"):
        standing_written({}, standing)


def test_a_settlement_line_is_known_again_in_the_block() -> None:
    line = SettlementLine(**LINE)  # type: ignore[arg-type]
    columns = ["participant", *LINE]
    key = composite_key("settlement", (SLOT.id,))

    def record(**changes: Any) -> dict[str, bytes | None]:
        row = ["home", *{**LINE, **changes}.values()]
        return {key: jsonio.canonical_dumps({"columns": columns, "lines": [["E"], row]})}

    assert settlement_written(record(), SLOT.id, "home", line)
    assert not settlement_written(record(), SLOT.id, "another", line)
    for name, value in (("market_money", 6), ("side", "buy"), ("estimated", True)):
        assert not settlement_written(record(**{name: value}), SLOT.id, "home", line)
    with pytest.raises(jsonio.JsonError):
        settlement_written({key: None}, SLOT.id, "home", line)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)


@given(st.sampled_from(sorted(STANDING)), JSON)
def test_a_standing_with_a_field_of_anything_is_read_or_refused(name: str, value: Any) -> None:
    try:
        standing_from({**STANDING, name: value})
    except jsonio.JsonError:
        return


@given(st.sampled_from(["participant", "side", "energy_wh", "price", "fill_wh"]), JSON)
def test_a_quote_with_a_field_of_anything_is_read_or_refused(name: str, value: Any) -> None:
    row = {**STANDING["quotes"][0], name: value}  # type: ignore[index]
    try:
        standing_from({**STANDING, "quotes": [row]})
    except jsonio.JsonError:
        return


@given(JSON)
def test_any_answer_is_read_or_refused(answer: Any) -> None:
    market = reader(answer)
    for ask in (
        lambda: market.slot(SLOT.id),
        lambda: market.slots("a", "b"),
        lambda: market.standing(SLOT.id, 1),
        lambda: market.clearing(SLOT.id, "home"),
        lambda: market.settlement(SLOT.id, "home"),
        lambda: market.balance("home"),
        lambda: market.participant("home"),
    ):
        try:
            ask()
        except jsonio.JsonError:
            continue


def test_answers_of_the_right_kind() -> None:
    assert reader({"price": None, "fills": {}}).clearing(SLOT.id, "home") == (None, 0)
    assert reader({"price": 7, "fills": {"home": 5}}).clearing(SLOT.id, "home") == (7, 5)
    answer = {"price": 7, "transaction": "ab", "lines": [{"participant": "home", **LINE}]}
    found = reader(answer).settlement(SLOT.id, "home")
    assert found.line == SettlementLine(**LINE)  # type: ignore[arg-type]
    assert reader(answer).settlement(SLOT.id, "nobody").line is None
    assert reader({"balance": -9}).balance("home") == -9


# -- messages -----------------------------------------------------------------------------------


@given(st.sampled_from(Side), st.integers(0, 10**9), st.integers(-(10**6), 10**6))
def test_a_quote_is_read_back_from_its_message(side: Side, energy: int, price: int) -> None:
    quote = Quote("home@Org1MSP", side, EnergyWh(energy), PriceTick(price))
    message = quote_message(KeySigner(generate_key()), SLOT.id, 2, "pw12", quote)
    assert read_quote(message) == (SLOT.id, quote)
    fields = json.loads(message)
    assert set(fields) == {
        "slot", "round", "participant", "wallet_address", "side", "energy_wh", "price",
        "signature",
    }  # fmt: skip


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"slot": "x"}'])
def test_what_is_no_quote_is_refused(text: str) -> None:
    with pytest.raises(jsonio.JsonError):
        read_quote(text)


# -- the ledger over the gateway ----------------------------------------------------------------


class Stream:
    """An event stream of given blocks."""

    def __init__(self, blocks: list[Any]) -> None:
        self._blocks, self.closed = iter(blocks), False

    def __enter__(self) -> "Stream":
        return self

    def __exit__(self, *_: object) -> None:
        self.closed = True

    def __iter__(self) -> Iterator[Any]:
        return self._blocks


class FakeGateway:
    """Answers as told, and notes what it is asked."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.stream = Stream([])
        self.status: Any = SimpleNamespace(code=0, block_number=9)

    def __call__(self, *_: Any, **__: Any) -> "FakeGateway":
        return self

    def evaluate(self, chaincode: str, function: str, *arguments: str) -> bytes:
        self.calls.append((chaincode, function, *arguments))
        return b'{"a": 1}'

    def endorse(self, chaincode: str, function: str, *arguments: str) -> Any:
        return SimpleNamespace(transaction_id="tx", envelope=b"signed")

    def submit(self, endorsed: Any) -> None:
        self.calls.append(("submit", endorsed.transaction_id, endorsed.envelope))

    def commit_status(self, transaction_id: str, timeout: float) -> Any:
        if isinstance(self.status, Exception):
            raise self.status
        return self.status

    def events(self, chaincode: str, start_block: int | None) -> Stream:
        self.calls.append(("events", start_block))
        return self.stream

    def close(self) -> None:
        self.calls.append(("close",))


@pytest.fixture
def gateway(monkeypatch: pytest.MonkeyPatch) -> FakeGateway:
    fake = FakeGateway()
    monkeypatch.setattr(network, "Gateway", fake)
    idle = SimpleNamespace(close=lambda: None, start=lambda: None, stop=lambda: None)
    monkeypatch.setattr(network.Peers, "of_profile", lambda *_, **__: idle)
    monkeypatch.setattr(network, "PeerWatch", lambda *_, **__: idle)
    monkeypatch.setattr(network.ChannelConfig, "from_block", lambda block: None)
    monkeypatch.setattr(network.endorsement, "by_reference", lambda config: None)
    return fake


@pytest.fixture
def ledger(gateway: FakeGateway) -> network.GatewayLedger:
    profile = SimpleNamespace(
        chaincode="market",
        channel="market",
        trust_root=SimpleNamespace(config_block=b""),
        organizations=(),
    )
    identity = SimpleNamespace(msp_id="Org1MSP")
    clock = SimpleNamespace(monotonic=lambda: 0.0)
    return network.GatewayLedger(profile, identity, clock)  # type: ignore[arg-type]


def block(number: int, *payloads: bytes) -> Any:
    events = [SimpleNamespace(name="SlotOpened", payload=p, transaction_id="t") for p in payloads]
    return SimpleNamespace(block_number=number, events=events)


def test_calls_reach_the_gateway(ledger: network.GatewayLedger, gateway: FakeGateway) -> None:
    assert ledger.evaluate("GetSlot", SLOT.id) == {"a": 1}
    transaction_id, envelope = ledger.prepare("SubmitQuote", "{}")
    ledger.submit(transaction_id, envelope)
    assert gateway.calls == [("market", "GetSlot", SLOT.id), ("submit", "tx", b"signed")]
    ledger.close()
    assert gateway.calls[-1] == ("close",)


def test_an_outcome_is_known_or_not_or_nobody_answers(
    ledger: network.GatewayLedger, gateway: FakeGateway
) -> None:
    assert ledger.outcome("tx", 1.0) == Outcome(0, 9)
    gateway.status = TimedOut("commit status: no answer in time")
    assert ledger.outcome("tx", 1.0) is None
    gateway.status = Unavailable("nobody")
    with pytest.raises(Unavailable):
        ledger.outcome("tx", 1.0)
    assert (Outcome(0, 1).valid, Outcome(11, 1).conflict, Outcome(12, 1).conflict) == (True,) * 3
    assert (Outcome(10, 1).valid, Outcome(10, 1).conflict) == (False, False)


def test_events_begin_when_they_are_asked_for_not_when_they_are_read(
    ledger: network.GatewayLedger, gateway: FakeGateway
) -> None:
    gateway.stream = Stream([block(5, b'{"slot": "a"}', b'{"slot": "b"}')])
    events = ledger.events(None)
    assert gateway.calls == [("events", None)]
    assert list(events) == [
        LedgerEvent("SlotOpened", {"slot": "a"}, "t", 5),
        LedgerEvent("SlotOpened", {"slot": "b"}, "t", 5),
    ]
    assert gateway.stream.closed


@pytest.mark.parametrize(
    ("payload", "error"),
    [(b"[]", MalformedMessage), (b"{", jsonio.JsonError), (b"\xff", jsonio.JsonError)],
)
def test_an_event_that_is_none_ends_the_stream(
    ledger: network.GatewayLedger, gateway: FakeGateway, payload: bytes, error: type[Exception]
) -> None:
    gateway.stream = Stream([block(5, payload)])
    with pytest.raises(error):
        next(ledger.events(3))
    assert gateway.stream.closed
