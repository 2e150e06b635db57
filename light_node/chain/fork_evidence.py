"""Evidence that orderers signed two contradicting things, for others to check.

Either two successors of one block: two histories. Or one header with two last-config indices: the
index says which configuration is in force, and a false one hides a configuration block from who
gets headers alone. Both versions are put into a file with the configurations under which they
verify. Where the first block of a history is unsigned, a later one that is signed stands for it by
the hash links between (:mod:`light_node.chain.branch`). Whoever trusts the same first configuration
can check it without a network; who signed both is named by the signatures. Which node showed which
version (``witnesses``) is the reporter's word: the reporter's signature says who saw it when; the
proof does not rest on it.

Format (canonical JSON, bytes in Base64; ``docs/light-node.md``): ``version`` 2 or 3, ``kind``,
``channel``, ``trust_root`` and ``configs`` (configuration blocks), ``ours``, ``theirs`` (blocks
without data, but for configuration blocks), ``organization`` and ``address`` of the source that
showed ``theirs``, ``seen_at`` (ISO 8601), ``witnesses`` (absent from version 1), ``reporter``
(serialized identity), ``signature`` over the canonical JSON of all else. Version 3, where a first
block is unsigned, has also ``parent``, the hash of the last common block, and ``ours_before``,
``theirs_before``: the data hashes of the blocks before ``ours`` and ``theirs``, from the first that
differs on.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cryptography.x509.oid import NameOID

from light_node import files, jsonio
from light_node.chain import branch, disk, errors, reported, trust, verify
from light_node.chain.branch import Branch
from light_node.chain.proof import decode, encode, follow
from light_node.chain.reported import FIELDS, ReportedFile
from light_node.chain.trust import TrustRoot
from light_node.chain.witnesses import SHOWS, Witness, same_version
from light_node.fabric.block import HASH_BYTES, MAX_BLOCK_BYTES, Block
from light_node.fabric.channel_config import ChannelConfig
from light_node.fabric.msp import Identity
from light_node.i18n import Text, told

KIND = "fabric fork evidence"
FOLDER = "evidence"
MAX_FILES = 100
MAX_BYTES = 512 * 1024 * 1024
MAX_FILE_BYTES = 2 * MAX_BLOCK_BYTES
_OF_BRANCHES = frozenset(("parent", "ours_before", "theirs_before"))
_FIELDS_BY_VERSION = {
    1: FIELDS,
    2: FIELDS | {"witnesses"},
    3: FIELDS | {"witnesses"} | _OF_BRANCHES,
}
_MAX_WITNESSES = 1000


@dataclass(frozen=True, slots=True)
class ForkEvidence(ReportedFile):
    """What the file holds; nothing in it is believed before :func:`check`.

    ``witnesses`` is None in a file of version 1. ``parent`` is empty before version 3, where
    ``ours`` and ``theirs`` are the first blocks that differ.
    """

    channel: str
    trust_root: bytes
    configs: tuple[bytes, ...]
    ours: bytes
    theirs: bytes
    organization: str
    address: str
    seen_at: str
    reporter: bytes = b""
    signature: bytes = b""
    witnesses: tuple[Witness, ...] | None = None
    parent: bytes = b""
    ours_before: bytes = b""
    theirs_before: bytes = b""

    def _fields(self) -> dict[str, Any]:
        told: dict[str, Any] = {"version": 1}
        if self.witnesses is not None:
            told = {"version": 2, "witnesses": [asdict(witness) for witness in self.witnesses]}
        if self.parent:
            told["version"] = 3
            told["parent"] = encode(self.parent)
            told["ours_before"] = encode(self.ours_before)
            told["theirs_before"] = encode(self.theirs_before)
        # By name: slots=True makes another class than the one that bare super() means.
        return {**super(ForkEvidence, self)._fields(), **told, "kind": KIND}


@dataclass(frozen=True, slots=True)
class ProvenFork:
    """Two versions of block ``number``, both signed as the channel requires, from a trust root.

    ``ours_hash`` and ``theirs_hash`` are their hashes. ``ours`` and ``theirs`` are the blocks whose
    signatures stand for them: the same, or later ones that rest on them. ``ours_signers`` and
    ``theirs_signers`` are the organisations whose orderers signed those, ``double_signers`` the
    certificates that signed both, as "MSP id (common name)"; ``reporter`` is the organisation of
    who signed the file, "" if nobody did.
    """

    number: int
    ours_hash: bytes
    theirs_hash: bytes
    ours: Block
    theirs: Block
    ours_signers: tuple[str, ...]
    theirs_signers: tuple[str, ...]
    double_signers: tuple[str, ...]
    reporter: str
    trust_root: TrustRoot

    @property
    def same_header(self) -> bool:
        """Whether it is one header with two last-config indices, not two histories."""
        return self.ours_hash == self.theirs_hash

    @property
    def both(self) -> tuple[str, ...]:
        """The organisations that signed both histories."""
        return tuple(sorted(set(self.ours_signers) & set(self.theirs_signers)))

    @property
    def ours_only(self) -> tuple[str, ...]:
        """The organisations that signed ours alone, as far as the file shows."""
        return tuple(sorted(set(self.ours_signers) - set(self.theirs_signers)))

    @property
    def theirs_only(self) -> tuple[str, ...]:
        """The organisations that signed theirs alone, as far as the file shows."""
        return tuple(sorted(set(self.theirs_signers) - set(self.ours_signers)))

    def only_showed(self, witnesses: Iterable[Witness]) -> tuple[str, ...]:
        """The organisations that showed theirs, by the reporter's word, and signed neither."""
        shown = {witness.organization for witness in witnesses if witness.shows == "theirs"}
        return tuple(sorted(shown.difference(self.ours_signers, self.theirs_signers)))


def loads(raw: bytes) -> ForkEvidence:
    """Read an evidence file; ``UnusableFile`` if it is none."""
    if len(raw) > MAX_FILE_BYTES:
        raise errors.UnusableFile(
            Text("evidence has at most {most} MiB", most=MAX_FILE_BYTES >> 20)
        )
    try:
        fields = jsonio.mapping(jsonio.strict_loads(raw), "evidence")
        version = jsonio.integer(fields, "version", low=1, high=3)
        if jsonio.string(fields, "kind", max_length=100) != KIND:
            raise jsonio.JsonError(Text("this is no evidence of a fork"))
        if fields.keys() != _FIELDS_BY_VERSION[version]:
            raise jsonio.JsonError(Text("evidence has other fields"))
        branches: dict[str, Any] = (
            {field: _hashes(fields, field) for field in _OF_BRANCHES} if version > 2 else {}
        )
        return ForkEvidence(
            **reported.read(fields),
            ours=decode(fields["ours"], "ours", MAX_BLOCK_BYTES),
            theirs=decode(fields["theirs"], "theirs", MAX_BLOCK_BYTES),
            witnesses=_witnesses(fields) if version > 1 else None,
            **branches,
        )
    except jsonio.JsonError as error:
        raise errors.UnusableFile(told(error)) from error


def check(evidence: ForkEvidence, root: TrustRoot | None = None) -> ProvenFork:
    """Prove the fork from ``root``; without one, from the file's, which then is to be compared.

    ``VerificationError`` if a block does not verify, ``TrustRootError`` if the file's root is none,
    ``NotVerified`` if the two blocks do not contradict each other, or the signature is wrong.
    """
    if root is None:
        root = trust.load(evidence.trust_root, channel=evidence.channel)
    elif root.config.channel_id != evidence.channel:
        raise errors.NotVerified(
            Text("the evidence is of channel {channel}", channel=ascii(evidence.channel))
        )
    config = follow(root.config, evidence.configs)
    ours, theirs = verify.parse(evidence.ours), verify.parse(evidence.theirs)
    number, hashes = ours.number, (ours.hash, theirs.hash)
    if evidence.parent:
        number, hashes = _parting(evidence, ours, theirs)
    elif not contradict(ours, theirs):
        raise errors.NotVerified(Text("the two blocks do not contradict each other"))
    ours_signers, theirs_signers = (
        _signers(config, block, number, index_is_at_issue=hashes[0] == hashes[1])
        for block in (ours, theirs)
    )
    return ProvenFork(
        number=number,
        ours_hash=hashes[0],
        theirs_hash=hashes[1],
        ours=ours,
        theirs=theirs,
        ours_signers=_organizations(ours_signers),
        theirs_signers=_organizations(theirs_signers),
        double_signers=tuple(
            sorted(name(ours_signers[key]) for key in ours_signers.keys() & theirs_signers.keys())
        ),
        reporter=_reporter(config, evidence),
        trust_root=root,
    )


def contradict(ours: Block, theirs: Block) -> bool:
    """Say whether two blocks are different successors of one block, or one with two indices.

    Headers do not name their channel (2.7). Only the common predecessor makes them two histories
    of one channel; two channels' blocks of the same number are no fork. The last-config index is
    determined by the blocks up to this one, so honest orderers sign but one with a header.
    """
    if ours.number != theirs.number or ours.previous_hash != theirs.previous_hash:
        return False
    return not same_version(ours, theirs)


def _parting(evidence: ForkEvidence, ours: Block, theirs: Block) -> tuple[int, tuple[bytes, bytes]]:
    """Return number and hashes of the first blocks of two branches after one predecessor."""
    branches = (
        Branch(evidence.ours, evidence.ours_before),
        Branch(evidence.theirs, evidence.theirs_before),
    )
    number = branches[0].first_number(ours)
    one, other = (branch.first_hash(b, evidence.parent) for b in branches)
    if number != branches[1].first_number(theirs) or one == other:
        raise errors.NotVerified(Text("the two histories do not part there"))
    return number, (one, other)


def file_name(number: int, organization: str) -> str:
    """Return the name of a file about what an organisation showed for block ``number``."""
    plain = "".join(c if c.isalnum() else "-" for c in organization)[:60]
    return f"{number:010}-{plain}.json"


def keep(directory: Path, evidence: ForkEvidence, number: int) -> Path | None:
    """Write evidence below ``directory``; None when a bound of files or bytes is reached.

    ``OSError`` if the disk refuses. The same case is written once.
    """
    folder = directory / FOLDER
    path = folder / file_name(number, evidence.organization)
    if path.exists():
        return path
    data = evidence.dumps()
    if not disk.has_room(folder, len(data), most_files=MAX_FILES, most_bytes=MAX_BYTES):
        return None
    files.write_atomically(path, data)
    return path


def _reporter(config: ChannelConfig, evidence: ForkEvidence) -> str:
    """Return the organisation of who signed, "" if nobody did; ``NotVerified`` if wrongly."""
    if not evidence.reporter and not evidence.signature:
        return ""
    return evidence.signer(config).msp_id


def _signers(
    config: ChannelConfig, block: Block, first: int, *, index_is_at_issue: bool
) -> dict[tuple[str, str], Identity]:
    if index_is_at_issue:
        verify.verify_data(block)
        found = verify.verify_attestation(config, block)
    else:
        found = branch.signers(config, block, first)
    return {identity.key: identity for identity in found}


def _organizations(signers: Mapping[tuple[str, str], Identity]) -> tuple[str, ...]:
    return tuple(sorted({identity.msp_id for identity in signers.values()}))


def name(identity: Identity) -> str:
    """Return who that is, as "MSP id (common name)"."""
    names = identity.certificate.parsed.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    common = str(names[0].value) if names else identity.id[:16]
    return f"{identity.msp_id} ({common})"


def _witnesses(fields: dict[str, Any]) -> tuple[Witness, ...]:
    found = []
    entries = jsonio.array(fields, "witnesses")
    if len(entries) > _MAX_WITNESSES:
        raise jsonio.JsonError(Text("more than {most} witnesses", most=_MAX_WITNESSES))
    for entry in entries:
        told = jsonio.mapping(entry, Text("a witness"))
        shows = jsonio.string(told, "shows", max_length=20)
        if told.keys() != {"organization", "address", "shows"} or shows not in SHOWS:
            raise jsonio.JsonError(Text("a witness has other fields"))
        organization = jsonio.string(told, "organization", max_length=250)
        address = jsonio.string(told, "address", max_length=300)
        found.append(Witness(organization, address, shows))
    return tuple(found)


def _hashes(fields: dict[str, Any], name: str) -> bytes:
    most = HASH_BYTES * (1 if name == "parent" else branch.MAX_BLOCKS)
    found = decode(fields[name], name, most)
    if len(found) % HASH_BYTES or (name == "parent" and not found):
        raise jsonio.JsonError(
            Text('"{name}" must hold hashes of {size} bytes', name=name, size=HASH_BYTES)
        )
    return found
