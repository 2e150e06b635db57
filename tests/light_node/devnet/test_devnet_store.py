"""The one file: versions, foreign files, atomic blocks, order of keys."""

import sqlite3
import stat
from pathlib import Path
from typing import Any

import pytest

from light_node.devnet.errors import DirectoryError
from light_node.devnet.network import Options, open_network
from light_node.devnet.store import FILE_NAME, SCHEMA_VERSION, Store, StoredBlock, Version


def block(number: int) -> StoredBlock:
    return StoredBlock(number, bytes([number]) * 32, b"", b"", b"", 0, b"", b"", b"")


def test_directory_of_another_version_is_refused(tmp_path: Path) -> None:
    Store.open(tmp_path).close()
    with sqlite3.connect(tmp_path / FILE_NAME) as connection:
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    connection.close()
    with pytest.raises(DirectoryError, match=f"format {SCHEMA_VERSION + 1}.*empty directory"):
        Store.open(tmp_path)


def test_another_programs_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / FILE_NAME) as connection:
        connection.execute("CREATE TABLE theirs (x)")
    connection.close()
    before = (tmp_path / FILE_NAME).read_bytes()
    with pytest.raises(DirectoryError, match="not made by this program"):
        Store.open(tmp_path)
    assert (tmp_path / FILE_NAME).read_bytes() == before


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_text("hello " * 1000)
    with pytest.raises(DirectoryError, match="cannot be used"):
        Store.open(tmp_path)


def test_a_directory_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(DirectoryError, match="cannot use"):
        Store.open(tmp_path / "file")


def test_only_the_owner_reads_the_keys(tmp_path: Path) -> None:
    Store.open(tmp_path).close()
    assert stat.S_IMODE((tmp_path / FILE_NAME).stat().st_mode) == 0o600


def test_a_block_is_written_with_its_state_or_not_at_all(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    store.commit_block(block(0), [("a", 0, 0)], {("kv", b"k"): (b"v", Version(0, 0))})
    with pytest.raises(sqlite3.IntegrityError):
        # The hash of block 0 again: the whole of block 1 must vanish.
        store.commit_block(
            StoredBlock(1, block(0).hash, b"", b"", b"", 0, b"", b"", b""),
            [("b", 0, 0)],
            {("kv", b"k"): (b"w", Version(1, 0))},
        )
    store.close()
    store = Store.open(tmp_path)
    assert store.height() == 1
    assert store.transaction_entry("b") is None
    found = store.get("kv", b"k")
    assert found is not None
    assert found.value == b"v"
    store.close()


def test_readers_see_a_snapshot_while_a_block_is_written(tmp_path: Path) -> None:
    writer = Store.open(tmp_path)
    reader = Store.open(tmp_path)
    writer.commit_block(block(0), [], {("kv", b"k"): (b"old", Version(0, 0))})
    with reader.snapshot():
        assert reader.height() == 1
        writer.commit_block(block(1), [], {("kv", b"k"): (b"new", Version(1, 0))})
        found = reader.get("kv", b"k")
        assert found is not None
        assert found.value == b"old"
        assert reader.height() == 1
    assert reader.height() == 2
    writer.close()
    reader.close()


def test_keys_come_in_the_order_of_their_bytes(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    keys = [
        b"\x00type\x00a\x00",
        b"\x00type\x00b\x00",
        b"A",
        b"a",
        b"a\x00",
        "ä".encode(),
        "🔋".encode(),
    ]
    updates: Any = {("kv", key): (b"v", Version(0, 0)) for key in reversed(keys)}
    store.commit_block(block(0), [], updates | {("other", b"a"): (b"v", Version(0, 0))})
    assert [key for key, _ in store.range("kv", b"", b"")] == keys
    assert [key for key, _ in store.range("kv", b"\x01", b"")] == keys[2:]
    assert [key for key, _ in store.range("kv", b"a", b"a\x00")] == [b"a"]
    store.close()


def test_block_numbers_beyond_what_sqlite_holds(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    assert store.block(2**64 - 1) is None
    store.close()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (Options(base_port=7051), "configured for ports from"),
        (Options(host="127.0.0.2"), "configured for host 127.0.0.1"),
        (Options(raft=True), "orders with BFT"),
    ],
)
def test_options_that_contradict_the_directory(ground: Any, options: Options, message: str) -> None:
    with pytest.raises(DirectoryError, match=message):
        open_network(ground.directory, options, ground.store, ground.clock.now(), bytes)


def test_second_start_finds_the_same_network(ground: Any) -> None:
    again = open_network(ground.directory, Options(), ground.store, ground.clock.now(), bytes)
    assert again.genesis == ground.network.genesis
    assert again.layout == ground.network.layout
    assert again.material.peers[0].identity.certificate_pem == (
        ground.network.material.peers[0].identity.certificate_pem
    )
    assert again.registrar_secret == ground.network.registrar_secret


def test_damaged_credentials_are_named(ground: Any) -> None:
    ground.store.execute("DELETE FROM credential WHERE name LIKE 'peer0.org2/%'")
    with pytest.raises(DirectoryError, match="damaged"):
        open_network(ground.directory, Options(), ground.store, ground.clock.now(), bytes)
