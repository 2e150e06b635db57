"""Verified headers on disk: append-only, compact, whole after a kill at any instruction.

``headers.bin`` (:mod:`~light_node.chain.header_file`) has 76 bytes per block after the trust root.
Configuration blocks are kept whole in ``configs``, written before the header that needs them. A
kill, a full disk or lost power can leave a torn tail or records whose configuration is missing: on
opening, everything from the first bad record on is cut off and fetched again. What is cut off, and
what a new trust root rests on, is on the disk before anything is written after it. Files of the
store are ours: the checksum is against accidents, not against somebody who may write to this disk.
"""

import os
import threading
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from light_node import files
from light_node.chain import disk, errors, trust
from light_node.chain.header_file import (
    HEADER,
    RECORD,
    file_header,
    is_whole,
    pack,
    read_file_header,
)
from light_node.chain.received import Received
from light_node.chain.trust import TrustRoot
from light_node.chain.verify import TrustedState
from light_node.fabric.block import block_hash
from light_node.fabric.channel_config import ChannelConfig
from light_node.i18n import Text

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
                self._lock_file = disk.acquire_lock(directory / "lock")
                disk.remove_leftovers(directory)
                _create(directory / "headers.bin", root)
                self._write_config(root.number, root.config_block)
            self._load(root, read_only)
            if root.number > self._first + self._count and not read_only:
                # Damage cut off the block of a renewed root: what is left proves nothing from it.
                self._close_file()
                files.write_atomically(directory / "headers.bin", file_header(root))
                self._load(root, read_only)
            self._state = self._load_state(root)
        except OSError as error:
            self._let_go()
            raise disk.refused(
                Text("the header store {directory}", directory=directory), error
            ) from error
        except errors.ChainError:
            self._let_go()
            raise

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
        return self._kept_config(index)

    def verify_links(self) -> int:
        """Recompute the hash of every stored header from the trust root on; return how many.

        ``StoreError`` at the first that does not follow from the one before. Opening checks
        checksums only, which find accidents; this finds whatever was changed.
        """
        number, tip, at = self._first, self._root_hash, HEADER.size
        end = at + self._count * RECORD.size
        while at < end:
            with self._lock:
                if self._file is None:
                    raise errors.StoreError(Text("the header store is closed"))
                self._file.seek(at)
                chunk = self._file.read(min(end - at, _CHECK_CHUNK * RECORD.size))
            at += len(chunk)
            for data_hash, digest, _, _ in RECORD.iter_unpack(chunk):
                number += 1
                if block_hash(number, tip, data_hash) != digest:
                    raise errors.StoreError(
                        Text(
                            "the stored header {number} does not follow from the one before; "
                            "delete {directory} to fetch anew",
                            number=number,
                            directory=self._directory,
                        )
                    )
                tip = digest
        return number - self._first

    def size_bytes(self) -> int:
        """Return how much disk the headers take, without the configuration blocks."""
        return HEADER.size + self._count * RECORD.size

    # -- writing --------------------------------------------------------------------------------

    def append(self, received: Received, state: TrustedState) -> None:
        """Store blocks verified from the current state, of which ``state`` is the result.

        ``StoreError`` if the disk refuses; then nothing counts as stored and the same call may be
        repeated.
        """
        with self._lock:
            if self._file is None:
                raise errors.StoreError(Text("the header store is closed"))
            first, config = self._state.height, self._state.config.block_number
            if first + len(received.hashes) != state.height:
                raise ValueError(f"blocks up to {state.number} do not follow {self._state.number}")
            records, configs = bytearray(), received.configs
            pairs = zip(received.data_hashes, received.hashes, strict=True)
            for number, (data_hash, digest) in enumerate(pairs, start=first):
                config = number if number in configs else config
                records += pack(number, data_hash, digest, config)
            try:
                for config_number, raw in configs.items():
                    self._write_config(config_number, raw)
                self._file.seek(HEADER.size + self._count * RECORD.size)
                _write_all(self._file, records)
            except OSError as error:
                raise disk.refused(
                    Text("cannot store headers in {directory}", directory=self._directory), error
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
                raise errors.StoreError(Text("the header store is closed"))
            count = number - self._first - 1
            try:
                self._file.truncate(HEADER.size + count * RECORD.size)
                os.fsync(self._file.fileno())
            except OSError as error:
                raise disk.refused(
                    Text("cannot drop headers in {directory}", directory=self._directory), error
                ) from error
            self._count = count
            self._tip = self.hash(number - 1) or b""
            self._state = TrustedState(config, number - 1, self._tip)

    def close(self) -> None:
        """Flush to the disk and let another process in; ``StoreError`` if flushing fails."""
        with self._lock:
            try:
                if self._file is not None and self._file.writable():
                    os.fsync(self._file.fileno())
            except OSError as error:
                raise disk.refused(
                    Text("cannot flush headers to {directory}", directory=self._directory), error
                ) from error
            finally:
                self._let_go()

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

    def _load(self, root: TrustRoot, read_only: bool) -> None:
        """Open and check the file; unless ``read_only`` cut it to what is whole."""
        path = self._directory / "headers.bin"
        self._file = path.open("rb" if read_only else "r+b", buffering=0)
        self._first, self._root_hash = read_file_header(self._file, root, self._directory)
        self._count, self._tip = self._check_records(root)
        if not read_only:
            self._file.truncate(HEADER.size + self._count * RECORD.size)
            # Else lost power could bring back what was cut off, behind records written since.
            os.fsync(self._file.fileno())

    def _let_go(self) -> None:
        self._close_file()
        if self._lock_file is not None:
            self._lock_file.close()  # which releases the lock
            self._lock_file = None

    def _close_file(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _record(self, number: int) -> tuple[bytes, bytes, int, int] | None:
        index = number - self._first - 1
        with self._lock:
            if self._file is None or not 0 <= index < self._count:
                return None
            self._file.seek(HEADER.size + index * RECORD.size)
            raw = self._file.read(RECORD.size)
        if len(raw) != RECORD.size or not is_whole(number, raw):
            raise errors.StoreError(
                Text(
                    "the stored header {number} is damaged; delete {directory} to fetch anew",
                    number=number,
                    directory=self._directory,
                )
            )
        fields: tuple[bytes, bytes, int, int] = RECORD.unpack(raw)
        return fields

    def _check_records(self, root: TrustRoot) -> tuple[int, bytes]:
        """Return how many records are whole and rest on a kept configuration, and the last hash."""
        assert self._file is not None
        self._file.seek(HEADER.size)
        count, tip, number = 0, self._root_hash, self._first
        configs = {self._first}
        while True:
            chunk = self._file.read(_CHECK_CHUNK * RECORD.size)
            for start in range(0, len(chunk) - RECORD.size + 1, RECORD.size):
                raw = chunk[start : start + RECORD.size]
                number += 1
                if not is_whole(number, raw):
                    return count, tip
                _, digest, config, _ = RECORD.unpack(raw)
                if config not in configs:
                    if config != number or not self._has_config(number, digest):
                        return count, tip
                    configs.add(config)
                count, tip = count + 1, digest
            if len(chunk) < _CHECK_CHUNK * RECORD.size:
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

    def _kept_config(self, number: int) -> ChannelConfig | None:
        with self._lock:
            known = self._older_configs.get(number)
        if known is None:
            raw = self.config_block(number)
            if raw is None:
                return None
            known = trust.load(raw).config
            with self._lock:
                self._older_configs[number] = known
        return known

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
                    Text(
                        "the header store is damaged; delete {directory} to fetch anew",
                        directory=self._directory,
                    )
                )
        config = root.config if in_force == root.number else self._kept_config(in_force)
        if config is None:
            raise errors.StoreError(
                Text(
                    "configuration block {in_force} is missing; delete {directory} to fetch anew",
                    in_force=in_force,
                    directory=self._directory,
                )
            )
        return TrustedState(config, number, self._tip)

    def _config_path(self, number: int) -> Path:
        return self._configs / f"{number:010}.block"

    def _write_config(self, number: int, raw: bytes) -> None:
        path = self._config_path(number)
        if path.exists() and path.read_bytes() == raw:
            return
        files.write_atomically(path, raw)


def _create(path: Path, root: TrustRoot) -> None:
    if path.exists() and path.stat().st_size >= HEADER.size:
        return
    # Absent, or cut off before its own header was complete: nothing is lost.
    files.write_atomically(path, file_header(root))


def _write_all(file: BinaryIO, data: bytes | bytearray) -> None:
    view = memoryview(data)
    while view:
        written = file.write(view)
        view = view[written:]


def drop_headers(directory: Path) -> None:
    """Forget all headers of a store whose lock the caller holds; configurations stay."""
    files.remove_durably(directory / "headers.bin")
