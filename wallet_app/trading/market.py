"""The market as the ledger tells it: the contract's answers, read strictly into values.

What a query answers is one peer's word; :mod:`wallet_app.trading.proofs` says how far it has been
verified. ``JsonError`` for an answer that is not what docs/contract.md promises.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from light_node import jsonio
from light_node.contract import records
from light_node.contract.slots import SlotRecord as LedgerSlot
from light_node.contract.stub import composite_key
from light_node.i18n import Text
from light_node.market.quotes import Quote, Side
from light_node.market.units import EnergyWh, MoneyWhTick, PriceTick
from wallet_app.strategy.game import PublicBook
from wallet_app.trading.ledger import Ledger

_MAX_QUOTES = 200_000


@dataclass(frozen=True, slots=True)
class Standing:
    """A published standing with its whole book. Price in ticks, energies in Wh."""

    slot: str
    round: int
    market: str
    price: PriceTick | None
    volume: EnergyWh
    changed: bool
    final: bool
    standing: tuple[str, ...]
    quotes: tuple[Quote, ...]
    fills: Mapping[str, EnergyWh]

    @property
    def book(self) -> PublicBook:
        """The quotes as the strategy takes them."""
        return PublicBook(self.slot, self.quotes, self.standing)

    def quote_of(self, participant: str) -> Quote | None:
        """Return the quote of ``participant``, None if it has none."""
        return self.book.quote_of(participant)


@dataclass(frozen=True, slots=True)
class SettlementLine:
    """One household's line of a settlement; money in Wh·tick, positive is received."""

    side: str | None
    contracted_wh: int
    market_money: int
    grid_money: int
    penalty_money: int
    compensation_money: int
    grid_only_money: int
    estimated: bool


@dataclass(frozen=True, slots=True)
class OwnSettlement:
    """A slot's settlement for one household; ``line`` is None if it had no part in it."""

    price: PriceTick | None
    transaction: str
    line: SettlementLine | None


class MarketReader:
    """Queries of the market contract, answered by the own organisation's peer."""

    def __init__(self, ledger: Ledger) -> None:
        """Ask through ``ledger``."""
        self._ledger = ledger

    def slot(self, slot: str) -> LedgerSlot:
        """Return the record of ``slot``."""
        return LedgerSlot.from_json(self._ledger.evaluate("GetSlot", slot))

    def slots(self, first: str, end: str) -> list[LedgerSlot]:
        """Return the slots that start in [first, end), ids or times like 2026-06-21T10:00Z."""
        answer = jsonio.mapping(self._ledger.evaluate("ListSlots", first, end), "ListSlots")
        return [LedgerSlot.from_json(item) for item in jsonio.array(answer, "slots")]

    def standing(self, slot: str, round_: int) -> Standing:
        """Return the standing published after ``round_``."""
        return standing_from(self._ledger.evaluate("GetStanding", slot, str(round_)))

    def clearing(self, slot: str, participant: str) -> tuple[PriceTick | None, EnergyWh]:
        """Return the price of a cleared slot and what ``participant`` was matched for."""
        record = jsonio.mapping(self._ledger.evaluate("GetClearing", slot), "GetClearing")
        fills = jsonio.mapping(jsonio.required(record, "fills"), "fills")
        own = jsonio.integer(fills, participant, low=0) if participant in fills else 0
        return _price(record), EnergyWh(own)

    def settlement(self, slot: str, participant: str) -> "OwnSettlement":
        """Return the settlement of ``slot`` as far as it concerns ``participant``."""
        answer = self._ledger.evaluate("GetSettlement", slot, participant)
        record = jsonio.mapping(answer, "GetSettlement")
        lines = [jsonio.mapping(line, Text("a line")) for line in jsonio.array(record, "lines")]
        own = [line for line in lines if line.get("participant") == participant]
        return OwnSettlement(
            _price(record),
            jsonio.string(record, "transaction", max_length=64),
            _line(own[0]) if own else None,
        )

    def balance(self, participant: str) -> MoneyWhTick:
        """Return the participant's balance: market money, penalties and compensations."""
        account = jsonio.mapping(self._ledger.evaluate("GetAccount", participant), "GetAccount")
        return MoneyWhTick(jsonio.integer(account, "balance"))

    def participant(self, participant: str) -> dict[str, Any]:
        """Return the admission record of ``participant``."""
        return jsonio.mapping(self._ledger.evaluate("GetParticipant", participant), "participant")


def standing_from(value: Any) -> Standing:
    """Read what GetStanding answers; ``JsonError`` if it is not that."""
    fields = jsonio.mapping(value, Text("a standing"))
    rows = jsonio.array(fields, "quotes")
    if len(rows) > _MAX_QUOTES:
        raise jsonio.JsonError(Text("a standing holds more quotes than a slot may have"))
    quotes, fills = [], {}
    for row in rows:
        entry = jsonio.mapping(row, Text("a quote of a standing"))
        quote = _quote(entry)
        quotes.append(quote)
        fills[quote.participant] = EnergyWh(jsonio.integer(entry, "fill_wh", low=0))
    return Standing(
        slot=jsonio.string(fields, "slot", max_length=64),
        round=jsonio.integer(fields, "round", low=1, high=9),
        market=jsonio.string(fields, "market", max_length=16),
        price=_price(fields),
        volume=EnergyWh(jsonio.integer(fields, "volume_wh", low=0)),
        changed=bool(jsonio.required(fields, "changed")),
        final=bool(jsonio.required(fields, "final")),
        standing=tuple(str(name)[:256] for name in jsonio.array(fields, "standing")),
        quotes=tuple(quotes),
        fills=fills,
    )


def settlement_written(
    writes: Mapping[str, bytes | None], slot: str, participant: str, line: SettlementLine
) -> bool:
    """Tell whether a transaction's writes hold exactly this line; ``JsonError`` if unreadable."""
    record = _written(writes, records.SETTLEMENT, slot)
    columns = [str(name) for name in jsonio.array(record, "columns")]
    for row in jsonio.array(record, "lines"):
        if isinstance(row, list) and len(row) == len(columns):
            fields = dict(zip(columns, row, strict=True))
            if fields.get("participant") == participant:
                return _line(fields) == line
    return False


def standing_written(writes: Mapping[str, bytes | None], standing: Standing) -> bool:
    """Tell whether a transaction's writes hold exactly this standing; ``JsonError`` if not read."""
    record = _written(writes, records.STANDING, standing.slot, str(standing.round))
    rows = [
        [q.participant, q.side.value, q.energy, q.price, standing.fills[q.participant]]
        for q in standing.quotes
    ]
    return (
        record.get("price") == standing.price
        and record.get("volume_wh") == standing.volume
        and record.get("standing") == list(standing.standing)
        and record.get("quotes") == rows
    )


def _written(writes: Mapping[str, bytes | None], kind: str, *attributes: str) -> dict[str, Any]:
    value = writes.get(composite_key(kind, attributes))
    if value is None:
        raise jsonio.JsonError(Text("the transaction did not write this record"))
    return jsonio.mapping(jsonio.strict_loads(value), kind)


def _price(record: dict[str, Any]) -> PriceTick | None:
    price = jsonio.required(record, "price")
    return None if price is None else PriceTick(jsonio.integer(record, "price"))


def _line(fields: dict[str, Any]) -> SettlementLine:
    side = jsonio.required(fields, "side")
    return SettlementLine(
        side=None if side is None else jsonio.string(fields, "side", max_length=8),
        contracted_wh=jsonio.integer(fields, "contracted_wh", low=0),
        market_money=jsonio.integer(fields, "market_money"),
        grid_money=jsonio.integer(fields, "grid_money"),
        penalty_money=jsonio.integer(fields, "penalty_money"),
        compensation_money=jsonio.integer(fields, "compensation_money"),
        grid_only_money=jsonio.integer(fields, "grid_only_money"),
        estimated=bool(jsonio.required(fields, "estimated")),
    )


def _quote(entry: dict[str, Any]) -> Quote:
    try:
        return Quote(
            jsonio.string(entry, "participant", max_length=256),
            Side(jsonio.string(entry, "side", max_length=8)),
            EnergyWh(jsonio.integer(entry, "energy_wh")),
            PriceTick(jsonio.integer(entry, "price")),
        )
    except jsonio.JsonError:
        raise
    except ValueError as error:
        raise jsonio.JsonError(Text("a quote of a standing: {error}", error=error)) from error
