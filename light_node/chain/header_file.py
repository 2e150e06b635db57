"""The file of verified headers, byte by byte.

``headers.bin`` is a file header and one record of 76 bytes per block after the trust root:

=====  ========================================================================================
bytes  content (big-endian)
=====  ========================================================================================
32     data hash
32     block hash (SHA-256 of the header's DER)
8      number of the configuration block in force, as signed
4      CRC-32 over the block number (8 bytes) and the above
=====  ========================================================================================

The number follows from the position, the previous hash from the record before.

The file header: magic with the version as its last byte, number and hash of the trust root's block,
SHA-256 of the channel's name, CRC-32.
"""

import struct
import zlib
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO

from light_node.chain import errors
from light_node.chain.trust import TrustRoot
from light_node.i18n import Text

_MAGIC = b"PWHEAD\x00\x01"
HEADER = struct.Struct(">8sQ32s32sI")
RECORD = struct.Struct(">32s32sQI")
_BODY = RECORD.size - 4
_NUMBER = struct.Struct(">Q")


def file_header(root: TrustRoot) -> bytes:
    """Return the header of a file that starts from ``root``."""
    channel = sha256(root.config.channel_id.encode()).digest()
    body = HEADER.pack(_MAGIC, root.number, root.hash, channel, 0)[:-4]
    return body + struct.pack(">I", zlib.crc32(body))


def read_file_header(file: BinaryIO, root: TrustRoot, directory: Path) -> tuple[int, bytes]:
    """Return number and hash of the block a file starts from; ``StoreError`` if not for ``root``.

    A later root does if the file has it as a verified block. ``directory`` is for messages.
    """
    raw = file.read(HEADER.size)
    advice = Text("choose another directory or delete {directory}", directory=directory)
    if len(raw) != HEADER.size or raw[:6] != _MAGIC[:6]:
        raise errors.StoreError(
            Text("{directory} holds no header store; {advice}", directory=directory, advice=advice)
        )
    magic, first, root_hash, channel, crc = HEADER.unpack(raw)
    if magic != _MAGIC:
        raise errors.StoreError(
            Text("the header store is of another version; {advice}", advice=advice)
        )
    if crc != zlib.crc32(raw[:-4]):
        raise errors.StoreError(Text("the header store is damaged; {advice}", advice=advice))
    if channel != sha256(root.config.channel_id.encode()).digest():
        raise errors.StoreError(
            Text("the header store is of another channel; {advice}", advice=advice)
        )
    if root.hash != root_hash and not _is_later_root(file, first, root):
        raise errors.StoreError(
            Text("the header store rests on another trust root; {advice}", advice=advice)
        )
    return first, root_hash


def _is_later_root(file: BinaryIO, first: int, root: TrustRoot) -> bool:
    """Say whether the new root is a block this store has verified: then it stays good."""
    if root.number <= first:
        return False
    file.seek(HEADER.size + (root.number - first - 1) * RECORD.size)
    raw = file.read(RECORD.size)
    return is_whole(root.number, raw) and RECORD.unpack(raw)[1] == root.hash


def pack(number: int, data_hash: bytes, digest: bytes, config: int) -> bytes:
    """Return the record of block ``number``."""
    body = RECORD.pack(data_hash, digest, config, 0)[:_BODY]
    return body + struct.pack(">I", zlib.crc32(_NUMBER.pack(number) + body))


def is_whole(number: int, raw: bytes) -> bool:
    """Say whether ``raw`` is the record of block ``number``, by its checksum."""
    if len(raw) != RECORD.size:
        return False
    crc = int.from_bytes(raw[_BODY:], "big")
    return crc == zlib.crc32(_NUMBER.pack(number) + raw[:_BODY])
