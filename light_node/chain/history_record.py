"""What a user saw of a history that nobody signed: a signed record, which proves nothing.

Nodes do not sign what they stream. Where a history leaves ours and no orderer signed any of it,
who showed it can deny it: there is nothing to hand on but the word of the light node's user. The
record is that word, signed, so that operators can ask who is behind the node; whoever reads it
believes the user or not.

Format (canonical JSON, bytes in Base64; ``docs/light-node.md``): ``version`` 1, ``kind``,
``channel``, ``trust_root`` and ``configs`` (configuration blocks, as in evidence of a fork),
``ours`` (hash of our block), ``theirs`` (the block shown in its place, without data), ``last`` (up
to this number nothing shown was signed), ``organization`` and ``address`` of who showed it,
``seen_at`` (ISO 8601), ``reporter`` (serialized identity), ``signature`` over the canonical JSON of
all else.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from light_node import files, jsonio
from light_node.chain import branch, disk, errors, reported, trust, verify
from light_node.chain.fork_evidence import file_name, name
from light_node.chain.proof import decode, follow
from light_node.chain.reported import FIELDS, ReportedFile
from light_node.chain.trust import TrustRoot
from light_node.fabric.block import HASH_BYTES, MAX_BLOCK_BYTES, MAX_UINT64
from light_node.i18n import Text, told

KIND = "fabric history record"
FOLDER = "records"
MAX_FILES = 100
MAX_OF_ONE = 10
"""About one organisation: it must not use up the room for what others show."""
MAX_BYTES = 64 * 1024 * 1024
MAX_THEIRS_BYTES = 1024 * 1024
MAX_FILE_BYTES = 2 * MAX_BLOCK_BYTES
_FIELDS = FIELDS | {"last"}


@dataclass(frozen=True, slots=True)
class HistoryRecord(ReportedFile):
    """What the file holds."""

    channel: str
    trust_root: bytes
    configs: tuple[bytes, ...]
    ours: bytes
    theirs: bytes
    last: int
    organization: str
    address: str
    seen_at: str
    reporter: bytes = b""
    signature: bytes = b""

    def _fields(self) -> dict[str, Any]:
        # By name: slots=True makes another class than the one that bare super() means.
        fields = super(HistoryRecord, self)._fields()
        return {**fields, "version": 1, "kind": KIND, "last": self.last}


@dataclass(frozen=True, slots=True)
class Testified:
    """A record whose signature is right: ``reporter``, "MSP id (common name)", says what it says.

    Nothing else of it is proved. ``number`` is the block that ``theirs``, a hash, was shown for.
    """

    number: int
    ours: bytes
    theirs: bytes
    reporter: str
    trust_root: TrustRoot


def loads(raw: bytes) -> HistoryRecord:
    """Read a record; ``UnusableFile`` if it is none."""
    if len(raw) > MAX_FILE_BYTES:
        raise errors.UnusableFile(
            Text("a record has at most {most} MiB", most=MAX_FILE_BYTES >> 20)
        )
    try:
        fields = jsonio.mapping(jsonio.strict_loads(raw), "a record")
        jsonio.integer(fields, "version", low=1, high=1)
        if jsonio.string(fields, "kind", max_length=100) != KIND:
            raise jsonio.JsonError(Text("this is no record of a history"))
        if fields.keys() != _FIELDS:
            raise jsonio.JsonError(Text("a record has other fields"))
        return HistoryRecord(
            **reported.read(fields),
            ours=decode(fields["ours"], "ours", HASH_BYTES),
            theirs=decode(fields["theirs"], "theirs", MAX_THEIRS_BYTES),
            last=jsonio.integer(fields, "last", low=1, high=MAX_UINT64),
        )
    except jsonio.JsonError as error:
        raise errors.UnusableFile(told(error)) from error


def check(record: HistoryRecord, root: TrustRoot | None = None) -> Testified:
    """Find out whose word a record is, from ``root``; without one, from the file's.

    ``VerificationError`` if a configuration does not verify, ``TrustRootError`` if the file's root
    is none, ``NotVerified`` if the signature is wrong, or the file says what cannot be.
    """
    if root is None:
        root = trust.load(record.trust_root, channel=record.channel)
    elif root.config.channel_id != record.channel:
        raise errors.NotVerified(
            Text("the record is of channel {channel}", channel=ascii(record.channel))
        )
    config = follow(root.config, record.configs)
    by = record.signer(config)
    theirs = verify.parse(record.theirs)
    if theirs.hash == record.ours or record.last < theirs.number:
        raise errors.NotVerified(Text("the record says of one history that it is two"))
    if branch.is_signed(config, theirs, theirs.number):
        raise errors.NotVerified(Text("the block it calls unsigned is signed"))
    return Testified(theirs.number, record.ours, theirs.hash, name(by), root)


def keep(directory: Path, record: HistoryRecord) -> Path | None:
    """Write a record below ``directory``; None when a bound of files or bytes is reached.

    ``OSError`` if the disk refuses. The same case is written once.
    """
    folder = directory / FOLDER
    path = folder / file_name(verify.parse(record.theirs).number, record.organization)
    if path.exists():
        return path
    data = record.dumps()
    of_one = sum(1 for _ in folder.glob(f"*{path.name[path.name.index('-') :]}"))
    if (
        len(record.theirs) > MAX_THEIRS_BYTES
        or of_one >= MAX_OF_ONE
        or not disk.has_room(folder, len(data), most_files=MAX_FILES, most_bytes=MAX_BYTES)
    ):
        return None
    files.write_atomically(path, data)
    return path
