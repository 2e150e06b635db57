"""A kill, or lost power, after every system call that changes the light node's folder.

What may be left is simulated (:mod:`simulated_disk`). From each the store must open, hold what was
promised and nothing that was not verified, and come to the same end as without the crash. A short
sync, one source after the other in this thread, is crashed after every call; a longer one, with its
threads, after a sample of them.
"""

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest

from light_node import cli
from light_node.chain import (
    evidence,
    follower,
    fork_evidence,
    history_record,
    proof,
    quarantine,
    received,
    skip,
    trust,
    verify,
)
from light_node.chain.conflicts import Elsewhere
from light_node.chain.store import HeaderStore
from light_node.chain.sync import ChainSync
from light_node.clock import SystemClock
from light_node.commands import prove
from light_node.fabric.block import without_data
from light_node.fabric.errors import Unavailable
from tests.fuzz import node_inputs
from tests.light_node.chain.conftest import FakeStream
from tests.light_node.chain.simulated_disk import Folder, Recording, lay_out

Record = Callable[[str], Recording]


@pytest.fixture
def patch() -> Iterator[pytest.MonkeyPatch]:
    with pytest.MonkeyPatch.context() as context:
        yield context


@pytest.fixture
def record(tmp_path: Path, patch: pytest.MonkeyPatch) -> Record:
    return lambda name: Recording(tmp_path / name, patch)


def crashes(
    recording: Recording, patch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[tuple[Path, Any, str]]:
    """Yield a folder for every crash, what was promised before it, and what happened, in words."""
    patch.undo()
    patch.setattr("os.fsync", lambda descriptor: None)  # only to be quick
    seen: set[Any] = set()
    for done, lost, left in recording.crashes():
        promised = recording.promised(done, lost)
        key = (promised, frozenset(left.items()))
        if key in seen:
            continue
        seen.add(key)
        last = recording.steps[done - 1] if done else None
        text = f"{'lost power' if lost else 'kill'} after step {done}: {last}"[:300]
        yield lay_out(tmp_path / f"crash-{len(seen)}", left), promised, text


def fill(store: HeaderStore, raws: Sequence[bytes], batch: int = 3) -> None:
    todo = raws[store.state.height :]
    for at in range(0, len(todo), batch):
        state, found = received.verify_received(store.state, todo[at : at + batch])
        store.append(found, state)


def contents(folder: Path) -> Folder:
    """All files but locks, which are empty."""
    files = (p for p in sorted(folder.rglob("*")) if p.is_file() and not p.name.endswith("lock"))
    return {str(p.relative_to(folder)): p.read_bytes() for p in files}


@pytest.fixture
def history(bft_channel: Any) -> list[bytes]:
    """Ten blocks, two of them configurations."""
    bft_channel.extend(3)
    bft_channel.add_config()
    bft_channel.extend(2)
    bft_channel.add_config()
    bft_channel.extend(2)
    return [without_data(raw) for raw in bft_channel.raw]


# -- headers ------------------------------------------------------------------------------------


def test_headers(
    history: list[bytes], record: Record, patch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    root = trust.load(history[0])
    hashes = [verify.parse(raw).hash for raw in history]
    recording = record("store")
    for upto in (5, 6, len(history)):
        with HeaderStore(recording.base, root) as store:
            recording.mark(store.state.number, power=True)
            for height in range(store.state.height, upto, 2):
                fill(store, history[: min(height + 2, upto)], batch=2)
                recording.mark(store.state.number)
        recording.mark(upto - 1, power=True)
    expected, tried = contents(recording.base), 0
    for folder, promised, text in crashes(recording, patch, tmp_path):
        tried += 1
        with HeaderStore(folder, root) as store:
            number = store.state.number
            assert number >= (promised or 0), text
            assert [store.hash(n) for n in range(number + 1)] == hashes[: number + 1], text
            assert store.state.config.sequence == (number >= 4) + (number >= 7), text
            fill(store, history)
        assert contents(folder) == expected, text
    assert tried > 100


def test_headers_that_were_dropped_do_not_come_back(
    bft_channel: Any, record: Record, patch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A record says its number, not its history: old ones behind new ones would go unnoticed."""
    bft_channel.extend(4)
    other = bft_channel.fork(4)
    other.add([other.envelope("another")])
    other.extend(2)
    bft_channel.extend(4)
    root, left, right = bft_channel.root, bft_channel.raw, other.raw
    histories = [[verify.parse(raw).hash for raw in raws] for raws in (left, right)]
    base = tmp_path / "store"
    with HeaderStore(base, root) as store:
        fill(store, left)
    recording = record("store")
    with HeaderStore(base, root) as store:
        store.drop_from(4)
        recording.mark("dropped", power=True)
        fill(store, right[:6])
    with HeaderStore(base, root) as store:
        fill(store, right)
    expected, tried = contents(base), 0
    for folder, promised, text in crashes(recording, patch, tmp_path):
        tried += 1
        with HeaderStore(folder, root) as store:
            found = [store.hash(n) for n in range(store.state.height)]
            allowed = histories[1:] if promised else histories
            assert found in [hashes[: len(found)] for hashes in allowed], text
            assert len(found) >= 4, text
            assert store.verify_links() == len(found) - 1, text
            store.drop_from(4)
            fill(store, right)
        assert contents(folder) == expected, text
    assert tried > 10


# -- who lied -----------------------------------------------------------------------------------


def test_quarantine(record: Record, patch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Who was shut out when the call returned stays so; a crash lets nobody else in or out."""
    cases = {o: quarantine.Case(3, "2026-06-21T12:00:00+00:00", f"{o}.json") for o in "ABC"}
    recording = record("node")
    states: list[dict[str, quarantine.Case]] = [{}]
    for organization, case in cases.items():
        quarantine.add(recording.base, organization, case)
        states.append(quarantine.load(recording.base))
        recording.mark(len(states) - 1, power=True)
    assert quarantine.release(recording.base, "B")
    states.append(quarantine.load(recording.base))
    recording.mark(len(states) - 1, power=True)
    for folder, promised, text in crashes(recording, patch, tmp_path):
        found = quarantine.load(folder)
        assert found in states[promised or 0 : (promised or 0) + 2], text
        for organization, case in cases.items():
            quarantine.add(folder, organization, case)
        assert quarantine.load(folder) == cases, text
        quarantine.tidy(folder)
        assert list(contents(folder)) == [quarantine.FILE_NAME], text


def test_evidence_records_and_reports(
    bft_channel: Any, record: Record, patch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    bft_channel.extend(1)
    other = bft_channel.fork(2)
    other.add([other.envelope("another")])
    bft_channel.extend(1)
    ours, theirs = without_data(bft_channel.raw[2]), without_data(other.raw[2])
    now, root = datetime(2026, 6, 21, 12, tzinfo=UTC), bft_channel.root
    report = evidence.Conflict(
        "testch", 2, "Org3MSP", "x:1", now, "why", b"h", ours, theirs, root.hash
    )
    proof = fork_evidence.ForkEvidence(
        "testch", bft_channel.raw[0], (), ours, theirs, "Org3MSP", "x:1", now.isoformat()
    )
    told = history_record.HistoryRecord(
        "testch", bft_channel.raw[0], (), b"h" * 32, theirs, 2, "Org3MSP", "x:1", now.isoformat()
    )

    def keep(folder: Path) -> Iterator[str]:
        for path in (
            evidence.keep(folder, report),
            fork_evidence.keep(folder, proof, 2),
            history_record.keep(folder, told),
        ):
            assert path is not None
            yield str(path.relative_to(folder))

    recording = record("node")
    kept: list[str] = []
    for name in keep(recording.base):
        kept.append(name)
        recording.mark(tuple(kept), power=True)
    expected = contents(recording.base)
    for folder, promised, text in crashes(recording, patch, tmp_path):
        for name in (*(promised or ()), *(n for n in expected if (folder / n).exists())):
            assert (folder / name).read_bytes() == expected[name], text
        assert list(keep(folder)) == kept, text
        with HeaderStore(folder, root):
            pass
        assert {n: d for n, d in contents(folder).items() if n in expected} == expected, text
        assert not list(folder.rglob("*.new")), text


def test_a_proof(
    record: Record, patch: pytest.MonkeyPatch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What 'light-node prove' wrote before, or what it writes, is there whole."""
    root, first = node_inputs.root("bft"), proof.loads(node_inputs.targets()["proof"].seeds[0])
    second = replace(first, made_at="2026-06-22T12:00:00+00:00")
    made = [first, second]
    for name in ("load_profile", "need_identity", "store_directory"):
        monkeypatch.setattr(prove.node_options, name, lambda *_: None)
    monkeypatch.setattr(prove, "LightNode", lambda *_: MagicMock(root=root))
    monkeypatch.setattr(prove, "_catch_up", lambda *_: None)
    monkeypatch.setattr(prove.prover, "prove", lambda *_, **__: made[0])
    recording = record("out")
    written: list[bytes] = []
    for one in (first, second):
        made[0] = one
        out = recording.base / "proof.json"
        arguments = ["prove", first.transaction_id, "--profile", "p.json", "--out", str(out)]
        assert cli.main(arguments) == 0
        written.append(out.read_bytes())
        recording.mark(len(written), power=True)
    assert written == [first.dumps(), second.dumps()]
    tried = 0
    for folder, promised, text in crashes(recording, patch, tmp_path):
        tried += 1
        path = folder / "proof.json"
        if promised or path.exists():
            assert path.read_bytes() in written[max(0, (promised or 0) - 1) :], text
            assert proof.check(proof.loads(path.read_bytes()), root).number == 8, text
    assert tried > 20


# -- skipping ahead -----------------------------------------------------------------------------


def test_skipping_ahead(
    bft_channel: Any,
    make_source: Any,
    history: list[bytes],
    record: Record,
    patch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    root, raws = bft_channel.root, bft_channel.raw
    sources = [make_source(o, raws) for o in ("Org1MSP", "Org2MSP")]
    base = tmp_path / "store"
    with HeaderStore(base, root) as store:
        fill(store, history[:3])
    recording = record("store")
    start = skip.skip_ahead(base, root, sources)
    assert start.number == 7
    recording.mark(7, power=True)
    with HeaderStore(base, start) as store:
        fill(store, history)
    expected = contents(base)
    for folder, promised, text in crashes(recording, patch, tmp_path):
        found = skip.effective_root(folder, root)
        assert found.number in ([7] if promised else [0, 4, 7]), text
        with HeaderStore(folder, found) as store:
            tip = verify.parse(history[store.state.number])
            assert store.state.hash == tip.hash, text
            fill(store, history)
        again = skip.skip_ahead(folder, root, sources)
        assert (again.hash, again.path) == (start.hash, start.path), text
        with HeaderStore(folder, again) as store:
            fill(store, history)
        names = {n for n in contents(folder) if not n.startswith("configs")}
        assert names == {n for n in expected if not n.startswith("configs")}, text
        assert (folder / "headers.bin").read_bytes() == expected["headers.bin"], text


# -- a short sync, after every call ---------------------------------------------------------------


class Ending(FakeStream):
    """A stream that ends where the source does."""

    def __next__(self) -> bytes:
        if self._next >= len(self._source.blocks):
            raise StopIteration
        return super().__next__()


@dataclass
class Short:
    """A channel, and sources that are read one after the other: whatever happens is the same."""

    channel: Any
    sources: list[Any]
    clock: Any
    reporter: Any

    def sync(self, folder: Path, count: int) -> None:
        """Read the first ``count`` sources to their ends."""
        store = HeaderStore(folder, self.channel.root)
        sync = ChainSync(
            self.channel.root, store, self.sources[:count], self.clock, folder,
            reporter=self.reporter,
        )  # fmt: skip
        try:
            for tracker in sync._shared.trackers:
                if tracker.quarantined:
                    continue
                try:
                    sync._follower._follow(tracker)
                except Unavailable:  # the end
                    continue
                except Elsewhere as claim:
                    sync._conflicts.is_fork(tracker, claim)
        finally:
            sync.stop()
            store.close()


def parting(channel: Any, kind: str) -> Any:
    other = channel.fork(2)
    other.add([other.envelope("another")], signers=None if kind == "signed" else ())
    other.add(signers=() if kind == "unsigned" else None)
    return other


@pytest.mark.parametrize("kind", ["signed", "unsigned first", "unsigned"])
def test_a_short_sync_goes_on_from_a_crash_after_every_call(
    make_channel: Any,
    make_source: Any,
    still_clock: Any,
    record: Record,
    patch: pytest.MonkeyPatch,
    tmp_path: Path,
    kind: str,
) -> None:
    """Headers, a configuration, then another history: a report, evidence and quarantine, or a
    record."""
    channel = make_channel(bft=False)
    channel.add_config()
    other = parting(channel, kind)
    channel.extend(2)
    sources = [make_source(o, channel.raw) for o in ("Org1MSP", "Org2MSP")]
    sources.append(make_source("Org3MSP", other.raw))
    for source in sources:
        source.headers = partial(Ending, source)
    short = Short(channel, sources, still_clock, channel.peers[0].identity("household", "client"))
    recording = record("store")
    short.sync(recording.base, 2)
    recording.mark("fetched")
    short.sync(recording.base, 3)
    recording.mark("all", power=True)
    headers = (recording.base / "headers.bin").read_bytes()
    accused = set() if kind == "unsigned" else {"Org3MSP", "Orderer1MSP"}
    assert set(quarantine.load(recording.base)) == accused
    end = kept(recording.base)
    assert len(end) == (2 if kind == "unsigned" else 3)
    calls, tried = len(recording.steps), 0
    for folder, promised, text in crashes(recording, patch, tmp_path):
        tried += 1
        with HeaderStore(folder, channel.root) as store:
            tip = store.state
            assert tip.hash == channel.parsed(tip.number).hash, text
            assert tip.number == 3 or not promised, text
        shut_out = set(quarantine.load(folder))
        assert shut_out <= accused, text
        assert shut_out == accused or promised != "all", text
        short.sync(folder, 3)
        assert set(quarantine.load(folder)) == accused, text
        assert (folder / "headers.bin").read_bytes() == headers, text
        assert kept(folder) == end, text
        assert not list(folder.rglob("*.new")), text
        shutil.rmtree(folder)
    assert calls > 30
    assert tried > calls


def kept(folder: Path) -> dict[str, str]:
    """What is kept about others: by name, what proves or tells it, checked."""
    found = {}
    for path in sorted(folder.rglob("*-*.json")):
        raw = path.read_bytes()
        if path.parent.name == fork_evidence.FOLDER:
            proven = fork_evidence.check(fork_evidence.loads(raw))
            told = f"{proven.ours_hash.hex()} {proven.theirs_hash.hex()} {proven.both}"
        elif path.parent.name == history_record.FOLDER:
            told = history_record.check(history_record.loads(raw)).theirs.hex()
        else:
            told = json.loads(raw)["their_block"]
        found[str(path.relative_to(folder))] = told
    return found


# -- all of it ----------------------------------------------------------------------------------


def run(folder: Path, channel: Any, sources: list[Any]) -> None:
    """Sync until two organisations agree on everything, and somebody is found to lie."""
    store = HeaderStore(folder, channel.root)
    sync = ChainSync(channel.root, store, sources, SystemClock(), folder)
    sync.start()
    try:
        assert sync.wait(lambda s: s.fork is not None and s.evidence is not None, 20), sync.status()
    finally:
        sync.stop()
        store.close()


def test_sync_goes_on_from_any_crash(
    bft_channel: Any,
    make_source: Any,
    record: Record,
    patch: pytest.MonkeyPatch,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two honest organisations and one with another signed history, which comes late."""
    monkeypatch.setattr(follower, "FIRST_RETRY_S", 0.01)
    bft_channel.extend(2)
    bft_channel.add_config()
    bft_channel.extend(2)
    other = bft_channel.fork(5)
    other.add([other.envelope("another")])
    bft_channel.extend(2)
    raws, root = bft_channel.raw, bft_channel.root
    honest = [make_source(o, raws) for o in ("Org1MSP", "Org2MSP")]
    liar = make_source("Org3MSP", other.raw)
    recording = record("store")
    store = HeaderStore(recording.base, root)
    sync = ChainSync(root, store, honest, SystemClock(), recording.base)
    sync.start()
    assert sync.wait_height(len(raws), 20, agreed=True)
    sync.stop()
    store.close()
    run(recording.base, bft_channel, [*honest, liar])
    expected = (recording.base / "headers.bin").read_bytes()
    cases = list(crashes(recording, patch, tmp_path))
    for folder, _, text in cases[:: max(1, len(cases) // 60)]:
        with HeaderStore(folder, root) as store:
            tip = verify.parse(raws[store.state.number])
            assert store.state.hash == tip.hash, text
        if "Org3MSP" not in quarantine.load(folder):
            if (folder / "headers.bin").read_bytes() != expected:
                fetch(folder, bft_channel, honest)
            run(folder, bft_channel, [*honest, liar])
        shut_out = set(quarantine.load(folder))  # and orderers that signed both
        assert "Org3MSP" in shut_out, text
        assert not shut_out & {"Org1MSP", "Org2MSP"}, text
        fetch(folder, bft_channel, honest)
        assert (folder / "headers.bin").read_bytes() == expected, text


def fetch(folder: Path, channel: Any, sources: list[Any]) -> None:
    """Sync with honest sources to the end."""
    store = HeaderStore(folder, channel.root)
    sync = ChainSync(channel.root, store, sources, SystemClock(), folder)
    sync.start()
    try:
        assert sync.wait_height(channel.height, 20, agreed=True), sync.status()
    finally:
        sync.stop()
        store.close()


def test_the_simulation_finds_what_it_is_for(
    record: Record,
) -> None:
    """A file written without fsync and rename is lost, torn, or zero, and the rename undone."""
    recording = record("disk")
    with (recording.base / "a").open("wb") as file:
        file.write(b"12345678")
    (recording.base / "a").replace(recording.base / "b")
    left = [(lost, files) for _, lost, files in recording.crashes()]
    for files in ({}, {"a": b""}, {"a": b"1"}, {"a": b"12345678"}, {"b": b"12345678"}):
        assert (False, files) in left
    for files in ({}, {"a": b"12345678"}, {"b": b""}, {"b": b"1234"}, {"b": bytes(8)}):
        assert (True, files) in left
