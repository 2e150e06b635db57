"""A matchmaking centre that cheats, with a majority of endorsers: found by recomputing the slot.

Signatures, flags and commit hashes are all in order. What gives it away are the quotes and readings
in the verified blocks, which their senders signed.
"""

import base64
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from light_node import cli, jsonio
from light_node.chain.auditor import Auditor
from light_node.chain.node import LightNode, VerifiedTransaction
from light_node.chain.status import Level
from light_node.clock import SystemClock
from light_node.contract.stub import split_composite_key
from light_node.devnet.certificates import issue_identity
from light_node.devnet.dishonest_contract import false_price
from light_node.devnet.network import Options
from light_node.devnet.threaded import DevnetThread
from light_node.fabric import crypto
from light_node.fabric.errors import EndorsersDisagree
from light_node.fabric.gateway import Gateway, Result
from light_node.fabric.identity import SigningIdentity
from light_node.fabric.transaction import ParsedTransaction
from light_node.market import rounds, settlement
from light_node.market.quotes import PriceBounds, Quote, Side
from light_node.market.units import EnergyWh, PriceTick

SOON = 20.0
FLOOR, CAP = 4000, 11000
BOUNDS = PriceBounds(PriceTick(FLOOR), PriceTick(CAP))
LIARS = ("Org1MSP", "Org2MSP")
TRADERS = {
    # participant: side, energy in Wh, price in ticks, metered import and export in Wh
    "seller-a": ("sell", 3000, 5000, 0, 3000),
    "seller-b": ("sell", 3000, 6000, 0, 3000),
    "buyer-c": ("buy", 2000, 9000, 2000, 0),
    "buyer-d": ("buy", 2000, 8000, 2000, 0),
}


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cheats")


@pytest.fixture(scope="module")
def net(directory: Path) -> Iterator[DevnetThread]:
    with DevnetThread(directory, Options(base_port=0, batch_timeout_ms=2)) as made:
        yield made


def trader(net: DevnetThread, name: str) -> SigningIdentity:
    member, key = net.network.material.peers[0], crypto.generate_key()
    attributes = {
        "hf.EnrollmentID": name,
        "market.user_type": "household",
        "market.permissions": "trade",
        "market.credit": "A",
    }
    expiry = member.ca.certificate.not_valid_after_utc
    certificate = issue_identity(
        member.ca, key.public_key(), name, ["client"], expiry, attributes=attributes
    )
    return SigningIdentity.from_key("Org1MSP", crypto.certificate_pem(certificate), key)


class Market:
    """Four traders and an operator at one organisation's gateway."""

    def __init__(self, net: DevnetThread) -> None:
        self.net = net
        self.channel = net.connect()
        self.people = {name: trader(net, name) for name in TRADERS}
        self.gateways = {
            name: Gateway(self.channel, identity, net.profile.channel, SystemClock())
            for name, identity in {"operator": net.user(), **self.people}.items()
        }
        for name in TRADERS:
            admission = {"wallet_address": name, "capacity_w": 9000, "voltage_v": 230}
            admission |= {"zone": "north", "green": True}
            self.submit(name, "Admit", json.dumps(admission))

    def submit(self, who: str, *args: str) -> Result:
        return self.gateways[who].submit_transaction("market", *args)

    def signed(self, name: str, fields: Mapping[str, Any]) -> str:
        whole = {"participant": f"{name}@Org1MSP", **fields}
        signature = self.people[name].sign(jsonio.canonical_dumps(whole))
        return json.dumps({**whole, "signature": base64.b64encode(signature).decode()})

    def open(self, slot: str) -> None:
        opening = {"slot": slot, "floor": FLOOR, "cap": CAP, "rounds": 1}
        self.submit("operator", "OpenSlot", json.dumps(opening))
        for name, (side, energy, price, _, _) in TRADERS.items():
            fields = {"slot": slot, "round": 1, "wallet_address": name, "side": side}
            fields |= {"energy_wh": energy, "price": price}
            self.submit(name, "SubmitQuote", self.signed(name, fields))
        self.submit("operator", "CloseRound", slot, "1")

    def clear(self, slot: str) -> Result:
        self.submit("operator", "PublishStanding", slot, "1")
        return self.submit("operator", "ClearSlot", slot)

    def settle(self, slot: str, register: int) -> Result:
        for name, (_, _, _, imported, exported) in TRADERS.items():
            fields = {"slot": slot, "import_wh": imported, "export_wh": exported, "meter": name}
            fields |= {"register_import_wh": register, "register_export_wh": register}
            fields |= {"origin": "test", "estimated": False}
            self.submit(name, "SubmitReading", self.signed(name, fields))
        self.submit("operator", "CloseDelivery", slot)
        return self.submit("operator", "SettleSlot", slot)

    def close(self) -> None:
        for gateway in self.gateways.values():
            gateway.close()
        self.channel.close()


@pytest.fixture(scope="module")
def market(net: DevnetThread) -> Iterator[Market]:
    made = Market(net)
    yield made
    made.close()


@pytest.fixture
def node(net: DevnetThread, tmp_path: Path) -> Iterator[LightNode]:
    with LightNode(net.profile, tmp_path / "node", net.user(), SystemClock()) as made:
        yield made


@pytest.fixture(autouse=True)
def _honest_afterwards(net: DevnetThread) -> Iterator[None]:
    yield
    net.tell_the_truth()


def proved(node: LightNode, first: int, result: Result) -> list[VerifiedTransaction]:
    """All transactions from block ``first`` to the result's, each proved by two organisations."""
    assert node.wait_height(result.block_number + 1, SOON, agreed=True), node.status()
    found = []
    for number in range(first, result.block_number + 1):
        for entry in node.block(number).transactions:
            transaction = node.transaction(number, entry.transaction_id)
            assert (transaction.level, transaction.problems) == (Level.AGREED, ())
            if transaction.is_valid:
                found.append(transaction)
    return found


def invocations(found: Sequence[VerifiedTransaction], function: str) -> Iterator[ParsedTransaction]:
    for entry in found:
        if entry.transaction is not None and entry.transaction.args[0] == function.encode():
            yield entry.transaction


def written(transaction: ParsedTransaction, kind: str) -> dict[str, Any]:
    """The record of a kind that a transaction writes."""
    for rwset in transaction.rwsets:
        for key, value in rwset.writes.items():
            if key.startswith("\x00") and split_composite_key(key)[0] == kind and value:
                record: dict[str, Any] = json.loads(value)
                return record
    raise AssertionError(f"no {kind} is written")


def fair_round(slot: str, found: Sequence[VerifiedTransaction]) -> rounds.Round:
    """What the signed quotes lead to."""
    quotes = []
    for transaction in invocations(found, "SubmitQuote"):
        given = json.loads(transaction.args[1])
        if given["slot"] == slot:
            quotes.append(
                Quote(
                    given["participant"],
                    Side(given["side"]),
                    EnergyWh(given["energy_wh"]),
                    PriceTick(given["price"]),
                )
            )
    assert len(quotes) == len(TRADERS)
    return rounds.close_round(slot, BOUNDS, quotes, last=1)


def test_the_honest_slot_is_what_its_quotes_and_readings_give(
    net: DevnetThread, market: Market, node: LightNode
) -> None:
    first, slot = net.height, "2031-01-01T01:00Z/PT60M"
    market.open(slot)
    market.clear(slot)
    found = proved(node, first, market.settle(slot, 10_000))
    fair = fair_round(slot, found).standing
    (clearing,) = (written(t, "clearing") for t in invocations(found, "ClearSlot"))
    assert clearing["price"] == fair.price
    assert {**clearing["sellers"], **clearing["buyers"]} == fair.fills
    (settled,) = (written(t, "settlement") for t in invocations(found, "SettleSlot"))
    assert_settlement_money(settled, fair_settlement(slot, found), equal=True)
    audit = Auditor(node, "market").audit(slot)
    assert (audit.agrees, audit.complete) == (True, True)


def test_misprice(net: DevnetThread, market: Market, node: LightNode) -> None:
    first, slot = net.height, "2031-01-01T02:00Z/PT60M"
    market.open(slot)
    for liar in LIARS:
        net.lie(liar, "misprice")
    result = market.clear(slot)
    found = proved(node, first, result)
    fair = fair_round(slot, found).standing
    (cleared,) = invocations(found, "ClearSlot")
    clearing = written(cleared, "clearing")
    assert fair.price is not None
    assert clearing["price"] == written(cleared, "orders")["price"]
    assert clearing["price"] == false_price(fair.price, {"cap": CAP}) != fair.price
    assert cleared.event is not None
    assert json.loads(cleared.event.payload)["price"] == clearing["price"], "it lies consistently"
    (difference,) = {d.subject for d in audited(node, slot) if "clearing" in d.subject}
    assert "price" in difference


def test_skip_quote(net: DevnetThread, market: Market, node: LightNode) -> None:
    first, slot = net.height, "2031-01-01T03:00Z/PT60M"
    market.open(slot)
    for liar in LIARS:
        net.lie(liar, "skip-quote")
    found = proved(node, first, market.clear(slot))
    fair = fair_round(slot, found).standing
    (clearing,) = (written(t, "clearing") for t in invocations(found, "ClearSlot"))
    best = "seller-a@Org1MSP"
    assert fair.fills[best] > 0
    assert best not in clearing["sellers"]
    assert clearing["price"] != fair.price or clearing["volume_wh"] != fair.volume
    assert audited(node, slot)


def fair_settlement(slot: str, found: Sequence[VerifiedTransaction]) -> settlement.Settlement:
    """What the signed quotes and readings give."""
    closed = fair_round(slot, found)
    delivered = []
    for transaction in invocations(found, "SubmitReading"):
        given = json.loads(transaction.args[1])
        if given["slot"] == slot:
            delivered.append(
                settlement.Delivered(
                    given["participant"],
                    EnergyWh(given["import_wh"]),
                    EnergyWh(given["export_wh"]),
                )
            )
    agreed = settlement.contracts(tuple(closed.book.values()), closed.standing)
    return settlement.settle(BOUNDS, agreed, delivered)


def assert_settlement_money(
    record: Mapping[str, Any], fair: settlement.Settlement, *, equal: bool
) -> None:
    columns = record["columns"]
    lines = [dict(zip(columns, row, strict=True)) for row in record["lines"]]
    stated = {line["participant"]: line["market_money"] + line["grid_money"] for line in lines}
    right = {line.participant: line.market_money + line.grid_money for line in fair.lines}
    assert (stated == right) is equal


def test_missettle(net: DevnetThread, market: Market, node: LightNode) -> None:
    first, slot = net.height, "2031-01-01T04:00Z/PT60M"
    market.open(slot)
    market.clear(slot)
    for liar in LIARS:
        net.lie(liar, "missettle")
    found = proved(node, first, market.settle(slot, 40_000))
    (settled,) = (written(t, "settlement") for t in invocations(found, "SettleSlot"))
    assert_settlement_money(settled, fair_settlement(slot, found), equal=False)
    assert audited(node, slot)


def audited(node: LightNode, slot: str) -> Sequence[Any]:
    """What the light node's own audit finds: it must not agree."""
    audit = Auditor(node, "market").audit(slot)
    assert not audit.agrees
    assert audit.level is Level.AGREED, "the lie is in what was endorsed, not in the flags"
    blocks = {difference.block for difference in audit.replay.differences}
    assert [accused.block for accused in audit.accused] == sorted(blocks)
    assert {accused.organizations for accused in audit.accused} == {LIARS}
    return audit.replay.differences


def test_the_command_says_who_endorsed_it_and_how_to_show_it_to_others(
    net: DevnetThread, market: Market, directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    slot = "2031-01-01T07:00Z/PT60M"
    market.open(slot)
    for liar in LIARS:
        net.lie(liar, "misprice")
    block = market.clear(slot).block_number
    options = ["--profile", str(directory / "profile.json"), "--dir", str(directory / "headers")]
    assert cli.main(["audit", slot, *options]) == 1
    said = capsys.readouterr().out
    assert "This slot was not run by the rules." in said
    assert f"Block {block} was endorsed so by Org1MSP and Org2MSP" in said
    (hint,) = re.findall(r"light-node (prove \w+ --block \d+) --out FILE", said)
    proof = str(directory / "proof.json")
    assert cli.main([*hint.split(), "--out", proof, *options]) == 0
    capsys.readouterr()
    assert cli.main(["audit", slot, "--json", *options]) == 1
    told = json.loads(capsys.readouterr().out)
    assert told["endorsed_by"] == [
        {"block": block, "transaction": hint.split()[1], "organizations": [*LIARS]}
    ]


def test_a_slot_that_is_not_there_is_not_waited_for(
    net: DevnetThread, market: Market, directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    market.submit("operator", "OpenSlot", json.dumps(
        {"slot": "2031-01-01T08:00Z/PT60M", "floor": FLOOR, "cap": CAP, "rounds": 1}
    ))  # fmt: skip
    options = ["--profile", str(directory / "profile.json"), "--dir", str(directory / "headers")]
    last = net.height - 1
    for arguments, said in (
        (
            ["2031-01-01T09:00Z/PT60M"],
            f"blocks 1 to {last}; check the slot's id; it may be in a later block",
        ),
        (["2031-01-01T09:00Z/PT60M", "--max-blocks", "1"], "read from a block nearer to the slot"),
        (["2031-01-01T08:00Z/PT60M", "--last", "99999"], "block 99999 is not verified here"),
    ):
        assert cli.main(["audit", *arguments, *options]) == 1
        assert said in capsys.readouterr().err


@pytest.mark.parametrize("lie", ["misprice", "skip-quote"])
def test_one_cheat_among_three_gets_nothing_endorsed(
    net: DevnetThread, market: Market, lie: str
) -> None:
    hour = 5 if lie == "misprice" else 6
    slot = f"2031-01-01T{hour:02}:00Z/PT60M"
    market.open(slot)
    net.lie("Org1MSP", lie)
    with pytest.raises(EndorsersDisagree):
        market.clear(slot)
    phase = json.loads(market.gateways["operator"].evaluate("market", "GetSlot", slot))["phase"]
    assert phase in ("closed", "final")
    net.tell_the_truth()
    if phase == "closed":
        market.submit("operator", "PublishStanding", slot, "1")
    market.submit("operator", "ClearSlot", slot)
