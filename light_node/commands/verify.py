"""``light-node verify``: check block files against a configuration block one trusts.

Verdicts, one per file in name order:

* ``verified``: proved from the trust root. Blocks after it by numbering, hash link, signatures,
  signed last-config index and data hash; blocks before it by the hash link back from it and their
  data hash (they cannot be altered without changing the trust root's ``previous_hash``).
* ``rejected``: unreadable, or contradicts what is proved: altered, not signed as the channel
  requires, or not following the verified block right before it.
* ``unlinked``: sound in itself, but nothing verified to link it to. Once a block is rejected or
  missing, the blocks after it are unlinked, since nothing proved says what they must follow; a
  good copy of that block under another file name closes the gap. Data hash and, where the
  configuration in force is known, signatures are checked all the same: an altered block is
  rejected wherever it stands.

No signature covers the validity flags and the commit hash; where two neighbouring blocks are there
in full, the commit hash is recomputed from the flags and writes, so altered flags are rejected too.

``height`` is one more than the highest verified number. ``ok`` says that every block is verified:
nothing vouches for one that is merely unlinked. Exit code 1 if any block is rejected, else 0; a
script that must not act on unlinked blocks reads ``ok`` or ``height``.
"""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from light_node import commandline
from light_node.chain import errors, trust, verify
from light_node.chain.trust import TrustRoot
from light_node.chain.verify import TrustedState
from light_node.fabric.block import MAX_BLOCK_BYTES, Block
from light_node.i18n import Text, os_reason, said, told, tr, use_language

SUMMARY = "Verify block files against a trusted configuration block."

VERIFIED, REJECTED, UNLINKED = "verified", "rejected", "unlinked"


def configure(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments."""
    parser.add_argument(
        "--trust",
        required=True,
        metavar="CONFIG_BLOCK",
        help="file with the configuration block you trust (- reads standard input)",
    )
    parser.add_argument("directory", metavar="DIR", help="folder with *.block files")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of one file. ``number`` and ``hash`` are None where it could not be parsed."""

    file: str
    number: int | None
    hash: str | None
    verdict: str
    reason: Text | None = None


def execute(arguments: argparse.Namespace) -> int:
    """Verify the files of a directory; exit code 1 when any is rejected."""
    use_language()
    try:
        root = trust.load(commandline.read_bytes(arguments.trust))
    except errors.TrustRootError as error:
        raise commandline.InputError(
            Text("{trust}: {error}", trust=arguments.trust, error=error)
        ) from error
    files = block_files(Path(arguments.directory))
    verdicts, height = verify_files(root, files)
    ok = all(v.verdict == VERIFIED for v in verdicts)
    if arguments.json:
        rows = [
            {"number": v.number, "hash": v.hash, "verdict": v.verdict, "reason": v.reason}
            for v in verdicts
        ]
        commandline.print_json({"blocks": rows, "height": height, "ok": ok})
    else:
        _print_for_people(root, verdicts, height)
    rejected = any(v.verdict == REJECTED for v in verdicts)
    return commandline.NO if rejected else commandline.GOOD


def block_files(directory: Path) -> list[Path]:
    """Return a directory's ``*.block`` files in name order; ``InputError`` if there are none."""
    try:
        found = sorted(p for p in directory.iterdir() if p.suffix == ".block" and p.is_file())
    except OSError as error:
        raise commandline.InputError(
            Text("cannot read {directory}: {why}", directory=directory, why=os_reason(error))
        ) from error
    if not found:
        raise commandline.InputError(
            Text("there are no *.block files in {directory}", directory=directory)
        )
    return found


def verify_files(root: TrustRoot, files: Sequence[Path]) -> tuple[list[Verdict], int]:
    """Return a verdict for each file, in the order given, and the height reached.

    Files are looked at in the order of their block numbers, so that their names do not matter.
    """
    verdicts: dict[int, Verdict] = {}
    numbers: list[tuple[int, int]] = []
    for index, path in enumerate(files):
        try:
            numbers.append((_read(path).number, index))
        except errors.MalformedBlock as error:
            verdicts[index] = Verdict(path.name, None, None, REJECTED, told(error))
    numbers.sort()
    chain = _Chain(root)
    for number, index in _from_root_outwards(numbers, root.number):
        path = files[index]
        try:
            block = _read(path)
        except errors.MalformedBlock as error:  # it changed since
            verdicts[index] = Verdict(path.name, number, None, REJECTED, told(error))
            continue
        verdict, reason = chain.judge(block)
        verdicts[index] = Verdict(path.name, block.number, block.hash.hex(), verdict, reason)
    return [verdicts[index] for index in range(len(files))], chain.height


def _from_root_outwards(numbers: Sequence[tuple[int, int]], root: int) -> Iterator[tuple[int, int]]:
    yield from (entry for entry in numbers if entry[0] >= root)
    yield from (entry for entry in reversed(numbers) if entry[0] < root)


class _Chain:
    """Judges blocks, given in the order of :func:`_from_root_outwards`."""

    def __init__(self, root: TrustRoot) -> None:
        self._root = root
        self._state = root.state
        self._before: dict[int, TrustedState] = {}
        self._commit_hashes: dict[int, bytes | None] = {0: b""}
        block = verify.parse(root.config_block)
        # What each number's hash must be, going back from the root by hash links.
        self._ancestors = {block.number: block.hash, block.number - 1: block.previous_hash}

    @property
    def height(self) -> int:
        return self._state.height

    def judge(self, block: Block) -> tuple[str, Text | None]:
        """Return (verdict, reason) for the next block and remember what it proves."""
        try:
            if block.number > self._state.number + 1:
                return self._judge_beyond_gap(block)
            if block.number <= self._root.number:
                return self._judge_ancestor(block)
            self._judge_successor(block)
        except (errors.VerificationError, errors.Fork) as error:
            return REJECTED, told(error)
        return VERIFIED, None

    def _judge_beyond_gap(self, block: Block) -> tuple[str, Text | None]:
        verify.verify_data(block)
        if verify.last_config(block) == self._state.config.block_number:
            verify.verify_attestation(self._state.config, block)
        return UNLINKED, Text("block {number} is not verified", number=self._state.number + 1)

    def _judge_ancestor(self, block: Block) -> tuple[str, Text | None]:
        expected = self._ancestors.get(block.number)
        if expected is None:
            verify.verify_data(block)
            return UNLINKED, Text("block {number} is not verified", number=block.number + 1)
        verify.verify_hash(block, expected)
        self._ancestors[block.number - 1] = block.previous_hash
        return VERIFIED, None

    def _judge_successor(self, block: Block) -> None:
        before = self._before.get(block.number, self._state)
        verified = verify.verify_block(before, block)
        previous = self._commit_hashes.get(block.number - 1)
        self._commit_hashes[block.number] = verify.verify_commit_hash(block, previous)
        if block.number == self._state.number + 1:
            self._before[block.number] = self._state
            self._state = verify.apply(self._state, verified)
            return
        # A second file of a verified number: the same block again, or proof of a fork.
        after = self._before.get(block.number + 1, self._state)
        if block.hash != after.hash:
            raise errors.Fork(block.number, after.hash, block.hash, Text("another file"))


def _read(path: Path) -> Block:
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BLOCK_BYTES + 1)
    except OSError as error:
        raise errors.MalformedBlock(Text("cannot be read: {why}", why=os_reason(error))) from error
    return verify.parse(raw)


def _print_for_people(root: TrustRoot, verdicts: Sequence[Verdict], height: int) -> None:
    lines = [
        tr(
            "Channel {channel}, trust root: block {number}, fingerprint {fingerprint}",
            channel=root.config.channel_id,
            number=root.number,
            fingerprint=root.fingerprint,
        )
    ]
    words = {VERIFIED: tr("verified"), REJECTED: tr("rejected"), UNLINKED: tr("unlinked")}
    for v in verdicts:
        number = "?" if v.number is None else str(v.number)
        line = f"{words[v.verdict]:9} {number:>8}  {(v.hash or '')[:16]:16}  {v.file}"
        lines.append(line + (f"\n{'':9} {said(v.reason)}" if v.reason else ""))
    counts = {kind: sum(v.verdict == kind for v in verdicts) for kind in (REJECTED, UNLINKED)}
    if not any(counts.values()):
        text = tr(
            "All blocks of the folder are verified: {number}; the chain reaches height {height}.",
            number=len(verdicts),
            height=height,
        )
    else:
        text = tr(
            "{rejected} rejected, {unlinked} unlinked of {number} blocks; the chain is verified to "
            "height {height}.",
            rejected=counts[REJECTED],
            unlinked=counts[UNLINKED],
            number=len(verdicts),
            height=height,
        )
    lines.append(text)
    print("\n".join(lines))
