"""The header store: compact, whole after a kill at any write, never two writers."""

import errno
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from light_node.chain import errors, header_file, received, trust, verify
from light_node.chain import store as stores
from light_node.chain.store import HeaderStore
from light_node.chain.trust import TrustRoot

Blocks = Callable[[str, str], list[bytes]]
HEADER, RECORD = header_file.HEADER.size, header_file.RECORD.size


def fill(store: HeaderStore, raws: Sequence[bytes], *, batch: int = 1) -> None:
    """Verify and append the blocks after what is stored."""
    todo = raws[store.state.height :]
    for at in range(0, len(todo), batch):
        state, found = received.verify_received(store.state, todo[at : at + batch])
        store.append(found, state)


@pytest.fixture(params=["raft", "bft"])
def raws(request: pytest.FixtureRequest, real_blocks: Blocks) -> list[bytes]:
    return real_blocks(request.param, "headers")


@pytest.fixture
def root(raws: list[bytes]) -> TrustRoot:
    return trust.load(raws[0])


@pytest.mark.parametrize("batch", [1, 5, 100])
def test_what_was_stored_is_there_again(
    tmp_path: Path, raws: list[bytes], root: TrustRoot, batch: int
) -> None:
    with HeaderStore(tmp_path / "s", root) as store:
        assert store.state == root.state
        fill(store, raws, batch=batch)
        tip = store.state
    with HeaderStore(tmp_path / "s", root) as store:
        assert (store.state.number, store.state.hash) == (tip.number, tip.hash)
        assert (store.state.config.block_number, store.state.config.sequence) == (11, 1)
        for raw in raws:
            block = verify.parse(raw)
            assert store.hash(block.number) == block.hash
            if block.number:
                header = store.header(block.number)
                assert header is not None
                assert header.previous_hash == block.previous_hash
                assert header.data_hash == block.data_hash
                assert header.config == (11 if block.number >= 11 else 0)
        for number in (-1, len(raws), 10**9):
            assert store.hash(number) is None
            assert store.header(number) is None
        assert store.config_block(11) == raws[11]
        assert store.config_block(3) is None


def test_the_configuration_in_force_for_each_block(
    tmp_path: Path, raws: list[bytes], root: TrustRoot
) -> None:
    with HeaderStore(tmp_path, root) as store:
        fill(store, raws)
        sequences = [store.config_before(n) for n in range(1, len(raws) + 1)]
        assert [c.sequence for c in sequences if c] == [0] * 11 + [1] * (len(raws) - 11)
        assert store.config_before(0) is None
        assert store.config_before(len(raws) + 1) is None


def test_a_header_takes_less_than_120_bytes(
    tmp_path: Path, raws: list[bytes], root: TrustRoot
) -> None:
    with HeaderStore(tmp_path, root) as store:
        fill(store, raws)
        size = (tmp_path / "headers.bin").stat().st_size
        assert size == store.size_bytes()
        assert size - HEADER == RECORD * (len(raws) - 1)
    assert RECORD <= 120


def test_a_kill_at_any_byte_loses_at_most_the_last_record(
    tmp_path: Path, raws: list[bytes], root: TrustRoot
) -> None:
    with HeaderStore(tmp_path, root) as store:
        fill(store, raws)
    path = tmp_path / "headers.bin"
    whole = path.read_bytes()
    config_change = range(HEADER + 10 * RECORD - 2, HEADER + 12 * RECORD, 5)
    for length in (*range(HEADER + 3 * RECORD), *config_change, len(whole) - 1):
        path.write_bytes(whole[:length])
        with HeaderStore(tmp_path, root) as store:
            kept = max(0, length - HEADER) // RECORD
            assert store.state.number == kept
            assert store.state.hash == verify.parse(raws[kept]).hash
            assert store.state.config.sequence == (1 if kept >= 11 else 0)
        if length % 40 == 0:
            with HeaderStore(tmp_path, root) as store:
                fill(store, raws)
            assert path.read_bytes() == whole


def test_damage_in_the_middle_cuts_off_what_follows(
    tmp_path: Path, raws: list[bytes], root: TrustRoot
) -> None:
    """As after lost power, when later pages reach the disk and earlier ones do not."""
    with HeaderStore(tmp_path, root) as store:
        fill(store, raws)
    path = tmp_path / "headers.bin"
    whole = path.read_bytes()
    for record in range(len(raws) - 1):
        for at in (0, 40, 70, RECORD - 1):
            damaged = bytearray(whole)
            damaged[HEADER + record * RECORD + at] ^= 0x40
            path.write_bytes(damaged)
            with HeaderStore(tmp_path, root) as store:
                assert store.state.number == record
    path.write_bytes(whole[: HEADER + 3 * RECORD] + bytes(5 * RECORD))
    with HeaderStore(tmp_path, root) as store:
        assert store.state.number == 3


def test_a_header_does_not_count_without_its_configuration(
    tmp_path: Path, raws: list[bytes], root: TrustRoot
) -> None:
    with HeaderStore(tmp_path, root) as store:
        fill(store, raws)
    config = tmp_path / "configs" / "0000000011.block"
    for spoil in (config.unlink, lambda: config.write_bytes(b"half")):
        spoil()
        with HeaderStore(tmp_path, root) as store:
            assert store.state.number == 10
            assert store.state.config.sequence == 0
            fill(store, raws)
        with HeaderStore(tmp_path, root) as store:
            assert store.state.number == len(raws) - 1


def test_damage_found_while_running_is_said(
    tmp_path: Path, raws: list[bytes], root: TrustRoot
) -> None:
    with HeaderStore(tmp_path, root) as store:
        fill(store, raws)
        with (tmp_path / "headers.bin").open("r+b") as file:
            file.seek(HEADER + 4 * RECORD)
            file.write(b"\x00" * 8)
        with pytest.raises(errors.StoreError, match="stored header 5 is damaged"):
            store.hash(5)


def test_links_can_be_recomputed(tmp_path: Path, raws: list[bytes], root: TrustRoot) -> None:
    """Against a change that keeps the checksum right, which opening does not look for."""
    with HeaderStore(tmp_path, root) as store:
        fill(store, raws)
        assert store.verify_links() == len(raws) - 1
    path = tmp_path / "headers.bin"
    forged = bytearray(path.read_bytes())
    start = HEADER + 4 * RECORD
    forged[start : start + RECORD] = header_file.pack(5, bytes(32), store_hash(raws[5]), 0)
    path.write_bytes(forged)
    with HeaderStore(tmp_path, root) as store:
        assert store.state.number == len(raws) - 1
        with pytest.raises(errors.StoreError, match="stored header 5 does not follow"):
            store.verify_links()
    with pytest.raises(errors.StoreError, match="closed"):
        store.verify_links()


def store_hash(raw: bytes) -> bytes:
    return verify.parse(raw).hash


def test_a_full_disk_loses_nothing(
    tmp_path: Path, raws: list[bytes], root: TrustRoot, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_all = stores._write_all

    def short(file: Any, data: bytes) -> None:
        file.write(bytes(data)[: len(data) // 2])
        raise OSError(28, "No space left on device")

    with HeaderStore(tmp_path, root) as store:
        fill(store, raws[:6])
        monkeypatch.setattr(stores, "_write_all", short)
        with pytest.raises(errors.StoreError, match="free some space"):
            fill(store, raws)
        assert store.state.number == 5
        assert store.hash(6) is None
        monkeypatch.setattr(stores, "_write_all", write_all)
        fill(store, raws)
        assert store.state.number == len(raws) - 1
    with HeaderStore(tmp_path, root) as store:
        assert store.state.number == len(raws) - 1


def test_one_writer_at_a_time_but_any_number_of_readers(
    tmp_path: Path, raws: list[bytes], root: TrustRoot
) -> None:
    with HeaderStore(tmp_path, root) as store:
        fill(store, raws[:4])
        with pytest.raises(errors.StoreError, match="another light node"):
            HeaderStore(tmp_path, root)
        with HeaderStore(tmp_path, root, read_only=True) as reader:
            assert reader.state.number == 3
            with pytest.raises(errors.StoreError):
                fill(reader, raws)
    with HeaderStore(tmp_path, root) as store:
        assert store.state.number == 3


def test_reading_repairs_nothing(tmp_path: Path, raws: list[bytes], root: TrustRoot) -> None:
    with HeaderStore(tmp_path, root) as store:
        fill(store, raws[:4])
    path = tmp_path / "headers.bin"
    torn = path.read_bytes()[:-5]
    path.write_bytes(torn)
    with HeaderStore(tmp_path, root, read_only=True) as reader:
        assert reader.state.number == 2
    assert path.read_bytes() == torn
    with pytest.raises(errors.StoreError):
        HeaderStore(tmp_path / "absent", root, read_only=True)


def test_another_root_channel_or_version_is_refused(
    tmp_path: Path, real_blocks: Blocks, make_channel: Any
) -> None:
    raws = real_blocks("raft", "headers")
    with HeaderStore(tmp_path, trust.load(raws[0])) as store:
        fill(store, raws[:4])
    before = (tmp_path / "headers.bin").read_bytes()
    with pytest.raises(errors.StoreError, match="another channel"):
        HeaderStore(tmp_path, trust.load(real_blocks("bft", "full")[0]))
    same_name = make_channel(bft=False, name="raftch").root
    with pytest.raises(errors.StoreError, match="another trust root"):
        HeaderStore(tmp_path, same_name)
    path = tmp_path / "headers.bin"
    assert path.read_bytes() == before
    path.write_bytes(b"PWHEAD\x00\x09" + before[8:])
    with pytest.raises(errors.StoreError, match="another version"):
        HeaderStore(tmp_path, trust.load(raws[0]))
    path.write_bytes(before[:20] + b"\xff" + before[21:])
    with pytest.raises(errors.StoreError):
        HeaderStore(tmp_path, trust.load(raws[0]))
    path.write_bytes(b"something else entirely, long enough to be a header" * 3)
    with pytest.raises(errors.StoreError, match="no header store"):
        HeaderStore(tmp_path, trust.load(raws[0]))


def test_a_renewed_root_that_was_verified_here_keeps_the_store(
    tmp_path: Path, raws: list[bytes], root: TrustRoot
) -> None:
    with HeaderStore(tmp_path, root) as store:
        fill(store, raws)
    with HeaderStore(tmp_path, trust.load(raws[11])) as store:
        assert store.state.number == len(raws) - 1
        assert store.first == 0


def test_a_store_may_begin_at_a_later_root(tmp_path: Path, raws: list[bytes]) -> None:
    with HeaderStore(tmp_path, trust.load(raws[11])) as store:
        fill(store, raws)
        assert (store.first, store.state.number) == (11, len(raws) - 1)
        assert store.hash(10) is None
    with HeaderStore(tmp_path, trust.load(raws[11])) as store:
        assert store.state.number == len(raws) - 1


def test_blocks_must_be_appended_in_order(
    tmp_path: Path, raws: list[bytes], root: TrustRoot
) -> None:
    with HeaderStore(tmp_path, root) as store:
        state, first = received.verify_received(root.state, raws[1:4])
        after, second = received.verify_received(state, raws[4:6])
        with pytest.raises(ValueError, match="do not follow"):
            store.append(second, after)
        store.append(first, state)
    with pytest.raises(errors.StoreError, match="closed"):
        store.append(second, after)


LEFT = [
    ".headers.bin.k3_9xq2a.new",
    ".headers.bin.new",
    "configs/.0000000011.block.abcdefgh.new",
    "skip/.00000000000000000011.part.abcdefgh.new",
    "conflicts/.0000000011-Org1MSP.json.abcdefgh.new",
    "evidence/.0000000011-Org1MSP.json.abcdefgh.new",
]
OTHERS = [
    ".notes.new",
    ".headers.bin.ABCDEFGH.new",
    "headers.bin.new",
    ".quarantine.json.abcdefgh.new",  # has a lock of its own
    "configs/.other.abcdefgh.new",
    "configs/0000000011.block.bak",
    "other/.headers.bin.abcdefgh.new",
]


def test_opening_removes_what_kills_left_and_nothing_else(
    tmp_path: Path, raws: list[bytes], root: TrustRoot
) -> None:
    for name in LEFT + OTHERS:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"half")
    (tmp_path / "configs" / ".0000000012.block.abcdefgh.new").mkdir()
    with pytest.raises(errors.StoreError), HeaderStore(tmp_path, root, read_only=True):
        pass
    assert all((tmp_path / name).exists() for name in LEFT)
    with HeaderStore(tmp_path, root) as store:
        fill(store, raws)
    assert [name for name in LEFT if (tmp_path / name).exists()] == []
    assert [name for name in OTHERS if not (tmp_path / name).exists()] == []


def test_damage_below_a_renewed_root_starts_anew_from_it(
    tmp_path: Path, raws: list[bytes], root: TrustRoot
) -> None:
    renewed = trust.load(raws[11])
    with HeaderStore(tmp_path, root) as store:
        fill(store, raws)
    path = tmp_path / "headers.bin"
    damaged = bytearray(path.read_bytes())
    damaged[HEADER + 3 * RECORD] ^= 1
    path.write_bytes(damaged)
    for _ in range(2):
        with HeaderStore(tmp_path, renewed) as store:
            assert (store.first, store.state.hash) == (11, renewed.hash)
    with HeaderStore(tmp_path, renewed) as store:
        fill(store, raws)
        assert store.state.number == len(raws) - 1


@pytest.mark.parametrize(
    ("number", "advice"),
    [(errno.ENOSPC, "free some space"), (errno.EROFS, "make the disk writable")],
)
@pytest.mark.parametrize("step", ["os.fsync", "os.replace", "os.open", "os.mkdir", "io.open"])
def test_a_disk_that_refuses_is_said_and_loses_nothing(
    tmp_path: Path,
    raws: list[bytes],
    root: TrustRoot,
    monkeypatch: pytest.MonkeyPatch,
    step: str,
    number: int,
    advice: str,
) -> None:
    """Whatever is refused, from the opening of a new store to the writing of a configuration."""
    with HeaderStore(tmp_path / "kept", root) as store:
        fill(store, raws[:11])
    module, name = step.split(".")
    honest = getattr(sys.modules[module], name)

    def refuse(target: Any, *arguments: Any, **options: Any) -> Any:
        writes = step != "io.open" or "b" in (arguments[:1] or ("",))[0].replace("rb", "")
        if writes:
            raise OSError(number, os.strerror(number))
        return honest(target, *arguments, **options)

    with HeaderStore(tmp_path / "kept", root) as store:
        with monkeypatch.context() as patch:
            patch.setattr(step, refuse)
            with pytest.raises(errors.StoreError, match=advice):
                HeaderStore(tmp_path / "new", root)
            if step in ("os.fsync", "os.replace", "os.open"):
                with pytest.raises(errors.StoreError, match=advice):
                    fill(store, raws)
                assert store.state.number == 10
        fill(store, raws)
    with HeaderStore(tmp_path / "kept", root) as store:
        assert store.state.number == len(raws) - 1
    with HeaderStore(tmp_path / "new", root) as store:
        fill(store, raws)
        assert store.state.number == len(raws) - 1


def test_a_flush_that_fails_is_said_and_lets_others_in(
    tmp_path: Path, raws: list[bytes], root: TrustRoot, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = HeaderStore(tmp_path, root)
    fill(store, raws)

    def fail(descriptor: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", fail)
        with pytest.raises(errors.StoreError, match="cannot flush headers"):
            store.close()
    with HeaderStore(tmp_path, root) as again:
        assert again.state.number == len(raws) - 1
