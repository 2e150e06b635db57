"""Skipping ahead by configuration blocks: what it proves, what breaks it off, what is kept."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from light_node.chain import errors, received, skip
from light_node.chain.parting import config_blocks
from light_node.chain.skip import effective_root, skip_ahead
from light_node.chain.store import HeaderStore
from light_node.chain.sync import ChainSync
from light_node.clock import SystemClock
from light_node.fabric.block import without_data
from light_node.fabric.errors import Unavailable

Pair = Callable[..., list[Any]]


@pytest.fixture
def long_channel(channel: Any) -> Any:
    """Configuration blocks 21, 22 and 43 in 60 blocks."""
    channel.extend(20)
    channel.add_config()
    channel.add_config()
    channel.extend(20)
    channel.add_config()
    channel.extend(16)
    assert channel.height == 60
    return channel


@pytest.fixture
def pair(long_channel: Any, make_source: Any) -> Pair:
    def make(**options: Any) -> list[Any]:
        return [make_source(o, long_channel.raw, **options) for o in ("Org1MSP", "Org2MSP")]

    return make


def same(one: Any, other: Any) -> bool:
    """Whether two roots are one; channel configurations do not compare."""
    return bool(
        (one.hash, one.path, one.anchor.hash) == (other.hash, other.path, other.anchor.hash)
    )


def files(directory: Path, kind: str) -> list[int]:
    return [int(p.stem) for p in sorted((directory / skip.FOLDER).glob(f"*.{kind}"))]


def test_it_starts_from_the_newest_configuration(
    long_channel: Any, pair: Pair, tmp_path: Path
) -> None:
    root, told = long_channel.root, list[int]()
    start = skip_ahead(tmp_path, root, pair(), told.append)
    assert (start.number, start.hash) == (43, long_channel.parsed(43).hash)
    assert start.config.sequence == 3
    assert told == [43, 22, 21], "only configurations are fetched whole"
    assert start.fingerprint == root.fingerprint, "what the user compares stays the same"
    assert start.anchor.hash == root.hash
    assert start.path == tuple(long_channel.raw[n] for n in (21, 22, 43))
    assert files(tmp_path, "block") == [21, 22, 43]
    assert files(tmp_path, "part") == []
    assert same(effective_root(tmp_path, root), start)
    assert same(skip_ahead(tmp_path, root, pair()), start), "nothing more to skip"


def test_following_goes_on_from_there(
    long_channel: Any, pair: Pair, tmp_path: Path, running: list[Any]
) -> None:
    with HeaderStore(tmp_path, long_channel.root):
        pass  # a store that has begun at block 0
    start = skip_ahead(tmp_path, long_channel.root, pair())
    store = HeaderStore(tmp_path, start)
    sync = ChainSync(start, store, pair(), SystemClock(), tmp_path)
    running.append(sync)
    sync.start()
    assert sync.wait_height(60, 20, agreed=True), sync.status()
    assert (store.first, store.state.height) == (43, 60)
    assert store.hash(42) is None
    assert start.path + config_blocks(store, 60) == start.path
    sync.stop()
    store.close()
    with HeaderStore(tmp_path, effective_root(tmp_path, long_channel.root)) as again:
        assert again.state.height == 60


def test_a_further_skip_goes_on_from_the_last_one(
    long_channel: Any, pair: Pair, tmp_path: Path
) -> None:
    skip_ahead(tmp_path, long_channel.root, pair())
    long_channel.extend(3)
    long_channel.add_config()
    told: list[int] = []
    start = skip_ahead(tmp_path, long_channel.root, pair(), told.append)
    assert (start.number, told) == (63, [63])
    assert files(tmp_path, "block") == [21, 22, 43, 63]


def test_what_was_fetched_before_it_broke_off_is_not_fetched_again(
    long_channel: Any, pair: Pair, tmp_path: Path
) -> None:
    first, second = pair()
    asked: list[int] = []
    honest = first.block

    def breaks(number: int, *, headers_only: bool = False) -> bytes:
        if number == 21:
            raise Unavailable("the line broke")
        raw: bytes = honest(number, headers_only=headers_only)
        return raw

    first.block = second.block = breaks
    with pytest.raises(errors.NotVerified, match="the line broke"):
        skip_ahead(tmp_path, long_channel.root, [first, second])
    assert files(tmp_path, "part") == [22, 43]
    assert same(effective_root(tmp_path, long_channel.root), long_channel.root)

    def counts(number: int, *, headers_only: bool = False) -> bytes:
        asked.append(number)
        raw: bytes = honest(number, headers_only=headers_only)
        return raw

    first.block = counts
    assert skip_ahead(tmp_path, long_channel.root, [first, pair()[1]]).number == 43
    assert 43 not in asked
    assert 22 not in asked


def test_a_liar_is_passed_over_and_leaves_nothing_behind(
    long_channel: Any, pair: Pair, make_channel: Any, make_source: Any, tmp_path: Path
) -> None:
    stranger = make_channel(bft=long_channel.bft)
    stranger.extend(30)
    stranger.add_config()
    stranger.extend(30)
    liar = make_source("Org3MSP", stranger.raw)
    start = skip_ahead(tmp_path, long_channel.root, [liar, *pair()])
    assert start.hash == long_channel.parsed(43).hash
    other = tmp_path / "other"
    with pytest.raises(errors.NotVerified, match="no source leads"):
        skip_ahead(other, long_channel.root, [liar, make_source("Org1MSP", stranger.raw)])
    assert files(other, "part") == files(other, "block") == []


def test_one_organisation_alone_leads_nowhere(
    long_channel: Any, pair: Pair, make_source: Any, tmp_path: Path
) -> None:
    """A signed configuration that only one organisation shows may be of a fork."""
    fork = long_channel.fork(40)
    fork.sequence = 2
    fork.add_config()
    fork.extend(3)
    forker = make_source("Org3MSP", fork.raw)
    behind = make_source("Org1MSP", long_channel.raw[:30])
    with pytest.raises(errors.NotVerified, match="no second organisation"):
        skip_ahead(
            tmp_path, long_channel.root, [forker, make_source("Org1MSP", [*long_channel.raw])]
        )
    with pytest.raises(errors.TooFewOrganizations):
        skip_ahead(tmp_path, long_channel.root, [forker, forker])
    assert skip_ahead(tmp_path, long_channel.root, [behind, *pair()]).number in (22, 43)


def test_hidden_and_swapped_configurations_are_refused(
    long_channel: Any, pair: Pair, tmp_path: Path
) -> None:
    for at, other in ((21, 20), (22, 43), (43, 42)):
        raws = list(long_channel.raw)
        raws[at] = raws[other]
        sources = pair()
        for source in sources:
            source.serve(raws)
        with pytest.raises(errors.NotVerified, match="no source leads"):
            skip_ahead(tmp_path / str(at), long_channel.root, sources)


def test_what_is_kept_is_verified_at_every_start(
    long_channel: Any, pair: Pair, tmp_path: Path
) -> None:
    root = long_channel.root
    skip_ahead(tmp_path, root, pair())
    folder = tmp_path / skip.FOLDER
    middle, last = (folder / f"{n:020}.block" for n in (22, 43))
    good = middle.read_bytes()
    for damage in (b"", good[:-9], without_data(long_channel.raw[20]), last.read_bytes()):
        middle.write_bytes(damage)
        with pytest.raises(errors.StoreError, match="delete"):
            effective_root(tmp_path, root)
    middle.unlink()
    with pytest.raises(errors.StoreError, match="does not follow"):
        effective_root(tmp_path, root)


def test_a_store_in_use_is_left_alone(long_channel: Any, pair: Pair, tmp_path: Path) -> None:
    with (
        HeaderStore(tmp_path, long_channel.root),
        pytest.raises(errors.StoreError, match="another light node"),
    ):
        skip_ahead(tmp_path, long_channel.root, pair())


def test_a_renewed_root_makes_the_way_before_it_history(
    long_channel: Any, pair: Pair, tmp_path: Path
) -> None:
    from light_node.chain import trust

    skip_ahead(tmp_path, long_channel.root, pair())
    later = trust.load(long_channel.raw[22])
    start = effective_root(tmp_path, later)
    assert (start.number, start.path, start.anchor) == (43, (long_channel.raw[43],), later)
    newest = trust.load(long_channel.raw[43])
    assert effective_root(tmp_path, newest) == newest


def test_endless_configurations_are_bounded(
    long_channel: Any, pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(skip, "MAX_CONFIGS", 2)
    with pytest.raises(errors.NotVerified, match="more than 2"):
        skip_ahead(tmp_path, long_channel.root, pair())


def test_headers_stay_when_there_is_nothing_to_skip(
    channel: Any, make_source: Any, tmp_path: Path
) -> None:
    channel.extend(5)
    sources = [make_source(o, channel.raw) for o in ("Org1MSP", "Org2MSP")]
    with HeaderStore(tmp_path, channel.root) as store:
        state, found = received.verify_received(store.state, channel.raw[1:])
        store.append(found, state)
    assert same(skip_ahead(tmp_path, channel.root, sources), channel.root)
    with HeaderStore(tmp_path, channel.root) as store:
        assert store.state.height == 6


def test_what_is_fetched_before_it_is_verified_is_bounded(
    long_channel: Any, pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(skip, "MAX_BYTES", len(long_channel.raw[43]) + 1)
    with pytest.raises(errors.NotVerified, match="of configurations to skip"):
        skip_ahead(tmp_path, long_channel.root, pair())
    assert files(tmp_path, "part") == []
