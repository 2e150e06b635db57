"""Running chaincode on the committed state: what was read and written becomes a read-write set.

Fabric's semantics (``docs/fabric-protocol.md`` 1.7, 1.11): a transaction does not see its own
writes; every read is recorded with the version found, every range query with all it returned, so
that commit can tell whether the answer would still be the same.
"""

from collections.abc import Generator, Iterator, Sequence
from typing import Protocol

from light_node.devnet.store import Version, VersionedValue
from light_node.fabric.pb import kvrwset_pb2, rwset_pb2

# An empty start means the first simple key: composite keys, which start with 0x00, are left out.
_FIRST_SIMPLE_KEY = "\x01"


class StateKeyError(ValueError):
    """A key that Fabric's shim refuses."""


class StateReader(Protocol):
    """Committed state, by namespace (the chaincode's name) and UTF-8 key."""

    def get(self, namespace: str, key: bytes) -> VersionedValue | None:
        """Return the value and version of a key, None if it does not exist."""
        ...

    def range(
        self, namespace: str, start: bytes, end: bytes
    ) -> Iterator[tuple[bytes, VersionedValue]]:
        """Yield keys from ``start`` (inclusive) to ``end`` (exclusive; empty: no end) in order."""
        ...


class Simulator:
    """The state one invocation of one chaincode sees, and the record of what it did."""

    def __init__(self, reader: StateReader, namespace: str) -> None:
        self._reader = reader
        self._namespace = namespace
        self._reads: dict[str, Version | None] = {}
        self._writes: dict[str, bytes | None] = {}
        self._ranges: list[kvrwset_pb2.RangeQueryInfo] = []
        self._iterators: list[Iterator[tuple[bytes, VersionedValue]]] = []

    def close(self) -> None:
        """End iterations the chaincode left open: they would hold on to the snapshot."""
        for iterator in self._iterators:
            if isinstance(iterator, Generator):
                iterator.close()

    def get(self, key: str) -> bytes | None:
        """Return the committed value of ``key``, None if there is none."""
        found = self._reader.get(self._namespace, _checked(key).encode())
        # The first read counts; the snapshot does not change during a simulation.
        self._reads.setdefault(key, found.version if found else None)
        return found.value if found else None

    def prefetch(self, keys: Sequence[str]) -> None:
        """Do nothing: the state is in this process."""

    def put(self, key: str, value: bytes) -> None:
        """Write ``value``; an empty value is a delete, as on Fabric."""
        self._writes[_checked(key)] = bytes(value) or None

    def delete(self, key: str) -> None:
        """Delete ``key``."""
        self._writes[_checked(key)] = None

    def range(self, start: str, end: str) -> Iterator[tuple[str, bytes]]:
        """Yield (key, value) from ``start`` (inclusive) to ``end`` (exclusive; empty: no end).

        What is not iterated is not protected: the record ends at the last key yielded.
        """
        info = kvrwset_pb2.RangeQueryInfo(start_key=start or _FIRST_SIMPLE_KEY, end_key=end)
        info.raw_reads.SetInParent()
        self._ranges.append(info)
        low, high = info.start_key.encode(), end.encode()
        iterator = self._reader.range(self._namespace, low, high)
        self._iterators.append(iterator)
        for raw_key, found in iterator:
            key = raw_key.decode()
            info.raw_reads.kv_reads.append(_read(key, found.version))
            info.end_key = key
            yield key, found.value
        info.end_key = end
        info.itr_exhausted = True

    def results(self) -> bytes:
        """Return the serialized rwset.TxReadWriteSet, the same for the same reads and writes."""
        rwset = kvrwset_pb2.KVRWSet(
            reads=[_read(key, self._reads[key]) for key in sorted(self._reads)],
            range_queries_info=self._ranges,
            writes=[
                kvrwset_pb2.KVWrite(key=key, is_delete=value is None, value=value or b"")
                for key, value in sorted(self._writes.items())
            ],
        )
        if not (rwset.reads or rwset.range_queries_info or rwset.writes):
            return b""
        named = rwset_pb2.NsReadWriteSet(namespace=self._namespace, rwset=rwset.SerializeToString())
        return rwset_pb2.TxReadWriteSet(ns_rwset=[named]).SerializeToString()


def _read(key: str, version: Version | None) -> kvrwset_pb2.KVRead:
    if version is None:
        return kvrwset_pb2.KVRead(key=key)
    return kvrwset_pb2.KVRead(
        key=key, version=kvrwset_pb2.Version(block_num=version.block, tx_num=version.tx)
    )


def _checked(key: str) -> str:
    if not key:
        raise StateKeyError("a key must not be empty")
    try:
        key.encode()
    except UnicodeEncodeError as error:
        raise StateKeyError("a key must be valid UTF-8 text") from error
    return key
