"""Colluding orderers that sign a header with a false last-config index: found out, with proof."""

import json
from pathlib import Path
from typing import Any

import pytest

from light_node import cli
from light_node.chain import errors, fork_evidence, quarantine, verify
from light_node.chain.status import PeerState
from light_node.chain.witnesses import Witness
from light_node.fabric import block as wire

from .test_fork_evidence import Node

CHANGED = 4
"""The block that changes the configuration."""


@pytest.fixture
def changed(channel: Any) -> Any:
    """A channel with a configuration change and some blocks behind it."""
    channel.extend(CHANGED - 1)
    channel.add_config()
    return channel.extend(4)


def reindexed(channel: Any, number: int, index: int, *, data: bool = False) -> bytes:
    """A block signed by the same orderers with another index, without data if not asked for."""
    block = channel.parsed(number)
    entry = channel.sign(number, block.previous_hash, block.data_hash, index)
    metadata = [entry, wire.encode_last_config_entry(index), *block.metadata[2:]]
    return wire.encode_block(
        number, block.previous_hash, block.envelopes if data else None, metadata,
        header_data_hash=block.data_hash,
    )  # fmt: skip


def hiding(channel: Any) -> list[bytes]:
    """The chain as colluders show it: the change looks like an ordinary block."""
    return [
        raw if number < CHANGED else reindexed(channel, number, 0)
        for number, raw in enumerate(channel.raw)
    ]


def node_of(channel: Any, folder: Path, running: list[Any], *sources: Any) -> Node:
    node = Node(folder, channel, list(sources), channel.peers[0].identity("household", "client"))
    running.append(node)
    return node


def test_what_was_hidden_is_found_when_one_honest_node_answers(
    changed: Any, make_source: Any, tmp_path: Path, running: list[Any], capsys: Any
) -> None:
    liars = [make_source(name, hiding(changed)) for name in ("Org1MSP", "Org2MSP")]
    honest = make_source("Org3MSP", changed.raw, down=True)
    node = node_of(changed, tmp_path / "node", running, *liars, honest)
    node.wait(lambda s: s.agreed_height == changed.height)
    honest.come_up()
    status = node.wait(lambda s: s.fork is not None and s.evidence is not None)
    assert isinstance(status.fork, errors.HiddenChange)
    assert status.fork.number == CHANGED
    assert "Org1MSP and Org2MSP show the version verified here" in status.problem
    assert not status.running
    node.stop()
    cases = quarantine.load(node.directory)
    found = fork_evidence.loads(node.kept[0].read_bytes())
    proven = fork_evidence.check(found, changed.root)
    assert {name: case.kind for name, case in cases.items()} == {
        "Org1MSP": "config",
        "Org2MSP": "config",
        **dict.fromkeys(proven.both, "signed"),
    }
    assert proven.same_header
    assert proven.double_signers
    assert set(proven.both) <= {o.msp_id for o in changed.orderers}
    assert cli.main(["evidence", "check", str(node.kept[0])]) == 0
    said = capsys.readouterr().out
    assert "was signed with two last-config indices" in said
    assert proven.double_signers[0] in said
    assert "By the reporter's word: Org1MSP and Org2MSP show the version verified here" in said

    # What rested on the wrong configuration is gone; honest nodes lead on from there.
    again = node_of(changed, node.directory, running, liars[0], honest,
                    make_source("Org4MSP", changed.raw))  # fmt: skip
    status = again.wait(lambda s: s.agreed_height == changed.height)
    assert status.fork is None
    assert again.store.state.config.block_number == CHANGED
    assert again.store.config_block(CHANGED) == changed.raw[CHANGED]


def test_who_passes_on_the_data_with_a_false_index_hides_nothing(
    changed: Any, make_source: Any, tmp_path: Path, running: list[Any]
) -> None:
    """A peer does not check the index it was sent (2.7): its copy refutes itself, no more."""
    false = hiding(changed)
    relayed = [*false[:CHANGED], reindexed(changed, CHANGED, 0, data=True), *false[CHANGED + 1 :]]
    liar = make_source("Org1MSP", false)
    late = [make_source("Org2MSP", relayed, down=True), make_source("Org3MSP", changed.raw,
            down=True)]  # fmt: skip
    node = node_of(changed, tmp_path / "node", running, liar, *late)
    node.wait(lambda s: s.verified_height == changed.height)
    late[1].come_up()
    late[0].come_up()
    node.wait(lambda s: s.fork is not None and s.evidence is not None)
    node.stop()
    cases = quarantine.load(node.directory)
    assert [name for name in cases if name.startswith("Org")] == ["Org1MSP"]


@pytest.mark.parametrize("index", [0, CHANGED - 1, CHANGED + 1])
def test_a_false_index_for_what_is_known_shuts_its_organisation_out(
    changed: Any, make_source: Any, tmp_path: Path, running: list[Any], index: int
) -> None:
    """An older configuration, or an ordinary block that is said to be one."""
    honest = [make_source(name, changed.raw) for name in ("Org1MSP", "Org2MSP")]
    tip = changed.height - 1
    liar = make_source("Org3MSP", [*changed.raw[:tip], reindexed(changed, tip, index)], down=True)
    node = node_of(changed, tmp_path / "node", running, *honest, liar)
    node.wait(lambda s: s.agreed_height == changed.height)
    liar.come_up()
    status = node.wait(lambda s: s.peers[2].state is PeerState.DISAGREES and s.evidence)
    assert status.fork is None
    assert status.running, "ours is proved by its data: there is no reason to stop"
    assert quarantine.load(node.directory)["Org3MSP"].kind == "config"
    found = fork_evidence.loads(node.kept[0].read_bytes())
    assert Witness("Org3MSP", liar.address, "theirs") in found.witnesses
    assert fork_evidence.check(found, changed.root).double_signers
    changed.add()
    for source in honest:
        source.serve(changed.raw)
    node.wait(lambda s: s.agreed_height == changed.height)


def test_the_hidden_block_itself_shown_as_an_ordinary_one(
    changed: Any, make_source: Any, tmp_path: Path, running: list[Any]
) -> None:
    """Met at the tip, where every copy of the change is compared."""
    short = changed.raw[: CHANGED + 1]
    honest = [make_source(name, short) for name in ("Org1MSP", "Org2MSP")]
    liar = make_source("Org3MSP", [*short[:CHANGED], reindexed(changed, CHANGED, 0)], down=True)
    node = node_of(changed, tmp_path / "node", running, *honest, liar)
    node.wait(lambda s: s.agreed_height == CHANGED + 1)
    liar.come_up()
    status = node.wait(lambda s: s.peers[2].state is PeerState.DISAGREES and s.evidence)
    assert (status.fork, status.agreed_height) == (None, CHANGED + 1)
    assert quarantine.load(node.directory)["Org3MSP"].kind == "config"


def test_an_unsigned_false_index_accuses_nobody(
    changed: Any, make_source: Any, tmp_path: Path, running: list[Any]
) -> None:
    tip = changed.height - 1
    forged = wire.parse_block(reindexed(changed, tip, 0))
    entry = wire.encode_signature_entry(wire.signed_value(0), [])
    raw = wire.encode_block(
        tip, forged.previous_hash, None, [entry, *forged.metadata[1:]],
        header_data_hash=forged.data_hash,
    )  # fmt: skip
    honest = [make_source(name, changed.raw) for name in ("Org1MSP", "Org2MSP")]
    liar = make_source("Org3MSP", [*changed.raw[:tip], raw], down=True)
    node = node_of(changed, tmp_path / "node", running, *honest, liar)
    node.wait(lambda s: s.agreed_height == changed.height)
    liar.come_up()
    node.wait(lambda s: s.peers[2].state is PeerState.DISAGREES)
    assert quarantine.load(node.directory) == {}
    assert node.kept == []


def test_headers_are_dropped_from_a_block_on(changed: Any, tmp_path: Path) -> None:
    from light_node.chain import received
    from light_node.chain.store import HeaderStore

    with HeaderStore(tmp_path, changed.root) as store:
        state, found = received.verify_received(store.state, changed.raw[1:])
        store.append(found, state)
        store.drop_from(changed.height)
        assert store.state.number == changed.height - 1, "there is nothing from there on"
        store.drop_from(CHANGED)
        assert (
            store.state
            == verify.TrustedState(
                changed.root.config, CHANGED - 1, changed.parsed(CHANGED - 1).hash
            )
            or store.state.number == CHANGED - 1
        )
        store.drop_from(0)
        assert store.state.number == CHANGED - 1
    with HeaderStore(tmp_path, changed.root) as store:
        assert store.state.number == CHANGED - 1
        assert store.state.config.block_number == 0


def test_evidence_of_version_1_is_read(changed: Any, tmp_path: Path) -> None:
    made = fork_evidence.ForkEvidence(
        channel="testch",
        trust_root=changed.raw[0],
        configs=(),
        ours=reindexed(changed, CHANGED, 0),
        theirs=changed.raw[CHANGED],
        organization="Org3MSP",
        address="org3:7051",
        seen_at="2026-06-21T12:00:00+00:00",
    )
    assert json.loads(made.dumps())["version"] == 1
    assert fork_evidence.loads(made.dumps()) == made
    assert fork_evidence.check(made).same_header
