"""Verified headers on disk: append-only, compact, whole after a kill at any instruction.

``headers.bin`` is a file header and one record of 76 bytes per block after the trust root:

=====  ========================================================================================
bytes  content (big-endian)
=====  ========================================================================================
32     data hash
32     block hash (SHA-256 of the header's DER)
8      number of the configuration block in force, as signed
4      CRC-32 over the block number (8 bytes) and the above
=====  ========================================================================================

The number follows from the position, the previous hash from the record before. Configuration
blocks are kept whole in ``configs``, written before the header that needs them. A kill, a full
disk or lost power can leave a torn tail or records whose configuration is missing: on opening,
everything from the first bad record on is cut off and fetched again. Files of the store are ours:
the checksum is against accidents, not against somebody who may write to this disk.
"""

import os
import struct
import sys
import threading
import zlib
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from light_node.chain import errors, trust
from light_node.chain.received import Received
from light_node.chain.trust import TrustRoot
from light_node.chain.verify import TrustedState
from light_node.fabric.block import block_hash
from light_node.fabric.channel_config import ChannelConfig

_MAGIC = b"PWHEAD\x00\x01"  # the last byte is the version
_HEADER = struct.Struct(">8sQ32s32sI")
_RECORD = struct.Struct(">32s32sQI")
_BODY = _RECORD.size - 4
_NUMBER = struct.Struct(">Q")
_CHECK_CHUNK = 4096  # records read at once when checking


@dataclass(frozen=True, slots=True)
class StoredHeader:
    """One verified header: ``config`` is the number of the configuration block it names."""

    number: int
    previous_hash: bytes
    data_hash: bytes
    hash: bytes
    config: int


class HeaderStore:
    """The headers of one channel in one directory. Thread-safe; one process at a time writes.

    Opening creates, checks and repairs. ``StoreError`` if another process has it open, if it
    belongs to another trust root or version, or if the disk refuses. ``read_only`` neither locks
    nor repairs: it sees what is whole at that moment.
    """

    def __init__(self, directory: Path, root: TrustRoot, *, read_only: bool = False) -> None:
        self._directory = directory
        self._configs = directory / "configs"
        self._lock = threading.RLock()
        self._older_configs: dict[int, ChannelConfig] = {}
        self._lock_file: BinaryIO | None = None
        self._file: BinaryIO | None = None
        try:
            if not read_only:
                self._configs.mkdir(parents=True, exist_ok=True)
                self._lock_file = acquire_lock(directory / "lock")
                _create(directory / "headers.bin", root)
                self._write_config(root.number, root.config_block)
            self._file = (directory / "headers.bin").open("rb" if read_only else "r+b", buffering=0)
            self._first, self._root_hash = _read_file_header(self._file, root, directory)
            self._count, self._tip = self._check_records(root)
            if not read_only:
                self._file.truncate(_HEADER.size + self._count * _RECORD.size)
        except OSError as error:
            self.close()
            raise errors.StoreError(f"the header store {directory}: {error.strerror}") from error
        except errors.ChainError:
            self.close()
            raise
        self._state = self._load_state(root)

    # -- reading --------------------------------------------------------------------------------

    @property
    def state(self) -> TrustedState:
        """The state after the last stored header."""
        with self._lock:
            return self._state

    @property
    def first(self) -> int:
        """The number of the trust root's block, the lowest one known."""
        return self._first

    def hash(self, number: int) -> bytes | None:
        """Return the verified hash of block ``number``, None outside of what is stored."""
        if number == self._first:
            return self._root_hash
        record = self._record(number)
        return None if record is None else record[1]

    def header(self, number: int) -> StoredHeader | None:
        """Return the header of a block after the trust root, None outside of what is stored."""
        record, previous = self._record(number), self.hash(number - 1)
        if record is None or previous is None:
            return None
        data_hash, digest, config, _ = record
        return StoredHeader(number, previous, data_hash, digest, config)

    def config_block(self, number: int) -> bytes | None:
        """Return the kept configuration block ``number``, None if there is none."""
        try:
            return self._config_path(number).read_bytes()
        except FileNotFoundError:
            return None

    def config_before(self, number: int) -> ChannelConfig | None:
        """Return the configuration under which block ``number`` is verified, None if unknown.

        That is the one in force after the block before it, which must be stored.
        """
        if not self._first < number <= self.state.number + 1:
            return None
        before = self.header(number - 1)
        index = self._first if before is None else before.config
        if index == self.state.config.block_number:
            return self.state.config
        with self._lock:
            known = self._older_configs.get(index)
        if known is None:
            raw = self.config_block(index)
            if raw is None:
                return None
            known = trust.load(raw).config
            with self._lock:
                self._older_configs[index] = known
        return known

    def verify_links(self) -> int:
        """Recompute the hash of every stored header from the trust root on; return how many.

        ``StoreError`` at the first that does not follow from the one before. Opening checks
        checksums only, which find accidents; this finds whatever was changed.
        """
        number, tip, at = self._first, self._root_hash, _HEADER.size
        end = at + self._count * _RECORD.size
        while at < end:
            with self._lock:
                if self._file is None:
                    raise errors.StoreError("the header store is closed")
                self._file.seek(at)
                chunk = self._file.read(min(end - at, _CHECK_CHUNK * _RECORD.size))
            at += len(chunk)
            for data_hash, digest, _, _ in _RECORD.iter_unpack(chunk):
                number += 1
                if block_hash(number, tip, data_hash) != digest:
                    raise errors.StoreError(
                        f"the stored header {number} does not follow from the one before; "
                        f"delete {self._directory} to fetch anew"
                    )
                tip = digest
        return number - self._first

    def size_bytes(self) -> int:
        """Return how much disk the headers take, without the configuration blocks."""
        return _HEADER.size + self._count * _RECORD.size

    # -- writing --------------------------------------------------------------------------------

    def append(self, received: Received, state: TrustedState) -> None:
        """Store blocks verified from the current state, of which ``state`` is the result.

        ``StoreError`` if the disk refuses; then nothing counts as stored and the same call may be
        repeated.
        """
        with self._lock:
            if self._file is None:
                raise errors.StoreError("the header store is closed")
            first, config = self._state.height, self._state.config.block_number
            if first + len(received.hashes) != state.height:
                raise ValueError(f"blocks up to {state.number} do not follow {self._state.number}")
            records, configs = bytearray(), received.configs
            pairs = zip(received.data_hashes, received.hashes, strict=True)
            for number, (data_hash, digest) in enumerate(pairs, start=first):
                config = number if number in configs else config
                records += _pack(number, data_hash, digest, config)
            try:
                for config_number, raw in configs.items():
                    self._write_config(config_number, raw)
                self._file.seek(_HEADER.size + self._count * _RECORD.size)
                _write_all(self._file, records)
            except OSError as error:
                raise errors.StoreError(
                    f"cannot store headers in {self._directory}: {error.strerror}; free some space"
                ) from error
            self._count += len(received.hashes)
            self._tip = state.hash
            self._state = state

    def drop_from(self, number: int) -> None:
        """Forget block ``number`` and all after it; ``StoreError`` if the disk refuses."""
        if not self._first < number <= self.state.number:
            return
        with self._lock:
            config = self.config_before(number)
            if self._file is None or config is None:
                raise errors.StoreError("the header store is closed")
            count = number - self._first - 1
            try:
                self._file.truncate(_HEADER.size + count * _RECORD.size)
                os.fsync(self._file.fileno())
            except OSError as error:
                raise errors.StoreError(
                    f"cannot drop headers in {self._directory}: {error.strerror}"
                ) from error
            self._count = count
            self._tip = self.hash(number - 1) or b""
            self._state = TrustedState(config, number - 1, self._tip)

    def close(self) -> None:
        """Flush to the disk and let another process in."""
        with self._lock:
            if self._file is not None:
                if self._file.writable():
                    os.fsync(self._file.fileno())
                self._file.close()
                self._file = None
            if self._lock_file is not None:
                self._lock_file.close()  # which releases the lock
                self._lock_file = None

    def __enter__(self) -> "HeaderStore":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # -- inside ---------------------------------------------------------------------------------

    def _record(self, number: int) -> tuple[bytes, bytes, int, int] | None:
        index = number - self._first - 1
        with self._lock:
            if self._file is None or not 0 <= index < self._count:
                return None
            self._file.seek(_HEADER.size + index * _RECORD.size)
            raw = self._file.read(_RECORD.size)
        if len(raw) != _RECORD.size or not _is_whole(number, raw):
            raise errors.StoreError(
                f"the stored header {number} is damaged; delete {self._directory} to fetch anew"
            )
        fields: tuple[bytes, bytes, int, int] = _RECORD.unpack(raw)
        return fields

    def _check_records(self, root: TrustRoot) -> tuple[int, bytes]:
        """Return how many records are whole and rest on a kept configuration, and the last hash."""
        assert self._file is not None
        self._file.seek(_HEADER.size)
        count, tip, number = 0, self._root_hash, self._first
        configs = {self._first}
        while True:
            chunk = self._file.read(_CHECK_CHUNK * _RECORD.size)
            for start in range(0, len(chunk) - _RECORD.size + 1, _RECORD.size):
                raw = chunk[start : start + _RECORD.size]
                number += 1
                if not _is_whole(number, raw):
                    return count, tip
                _, digest, config, _ = _RECORD.unpack(raw)
                if config not in configs:
                    if config != number or not self._has_config(number, digest):
                        return count, tip
                    configs.add(config)
                count, tip = count + 1, digest
            if len(chunk) < _CHECK_CHUNK * _RECORD.size:
                return count, tip

    def _has_config(self, number: int, digest: bytes) -> bool:
        raw = self.config_block(number)
        try:
            loaded = None if raw is None else trust.load(raw)
        except errors.TrustRootError:
            return False
        if loaded is None or loaded.hash != digest:
            return False
        self._older_configs[number] = loaded.config
        return True

    def _load_state(self, root: TrustRoot) -> TrustedState:
        number = self._first + self._count
        record = self._record(number)
        in_force = self._first if record is None else record[2]
        if record is not None:
            # The tip is what everything new is linked to: recompute it rather than believe it.
            header = self.header(number)
            assert header is not None
            if block_hash(number, header.previous_hash, header.data_hash) != header.hash:
                raise errors.StoreError(
                    f"the header store is damaged; delete {self._directory} to fetch anew"
                )
        config = root.config if in_force == root.number else self._older_configs[in_force]
        return TrustedState(config, number, self._tip)

    def _config_path(self, number: int) -> Path:
        return self._configs / f"{number:010}.block"

    def _write_config(self, number: int, raw: bytes) -> None:
        path = self._config_path(number)
        if path.exists() and path.read_bytes() == raw:
            return
        replace_file(path, raw)


def replace_file(path: Path, data: bytes) -> None:
    """Write ``data`` to ``path``: after a kill the old or the new content, never a part."""
    temporary = path.with_name(f".{path.name}.new")
    with temporary.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def _create(path: Path, root: TrustRoot) -> None:
    if path.exists() and path.stat().st_size >= _HEADER.size:
        return
    # Absent, or cut off before its own header was complete: nothing is lost.
    replace_file(path, _file_header(root.number, root.hash, root.config.channel_id))


def _file_header(first: int, root_hash: bytes, channel: str) -> bytes:
    body = _HEADER.pack(_MAGIC, first, root_hash, sha256(channel.encode()).digest(), 0)[:-4]
    return body + struct.pack(">I", zlib.crc32(body))


def _read_file_header(file: BinaryIO, root: TrustRoot, directory: Path) -> tuple[int, bytes]:
    raw = file.read(_HEADER.size)
    advice = f"choose another directory or delete {directory}"
    if len(raw) != _HEADER.size or raw[:6] != _MAGIC[:6]:
        raise errors.StoreError(f"{directory} holds no header store; {advice}")
    magic, first, root_hash, channel, crc = _HEADER.unpack(raw)
    if magic != _MAGIC:
        raise errors.StoreError(f"the header store is of another version; {advice}")
    if crc != zlib.crc32(raw[:-4]):
        raise errors.StoreError(f"the header store is damaged; {advice}")
    if channel != sha256(root.config.channel_id.encode()).digest():
        raise errors.StoreError(f"the header store is of another channel; {advice}")
    if root.hash != root_hash and not _is_later_root(file, first, root):
        raise errors.StoreError(f"the header store rests on another trust root; {advice}")
    return first, root_hash


def _is_later_root(file: BinaryIO, first: int, root: TrustRoot) -> bool:
    """Say whether the new root is a block this store has verified: then it stays good."""
    if root.number <= first:
        return False
    file.seek(_HEADER.size + (root.number - first - 1) * _RECORD.size)
    raw = file.read(_RECORD.size)
    return _is_whole(root.number, raw) and _RECORD.unpack(raw)[1] == root.hash


def _pack(number: int, data_hash: bytes, digest: bytes, config: int) -> bytes:
    body = _RECORD.pack(data_hash, digest, config, 0)[:_BODY]
    return body + struct.pack(">I", zlib.crc32(_NUMBER.pack(number) + body))


def _is_whole(number: int, raw: bytes) -> bool:
    if len(raw) != _RECORD.size:
        return False
    crc = int.from_bytes(raw[_BODY:], "big")
    return crc == zlib.crc32(_NUMBER.pack(number) + raw[:_BODY])


def _write_all(file: BinaryIO, data: bytes | bytearray) -> None:
    view = memoryview(data)
    while view:
        written = file.write(view)
        view = view[written:]


def drop_headers(directory: Path) -> None:
    """Forget all headers of a store whose lock the caller holds; configurations stay."""
    (directory / "headers.bin").unlink(missing_ok=True)


def acquire_lock(path: Path) -> BinaryIO:
    """Return the open lock file of a store, locked until it is closed; ``StoreError`` if in use."""
    file = path.open("ab")
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.close()
        raise errors.StoreError(
            f"another light node is using {path.parent}; stop it or choose another directory"
        ) from error
    return file
