"""Skipping ahead: from the trust root to the newest configuration, without the headers between.

``docs/fabric-protocol.md`` 2.7. The newest header names the configuration block in force; the
header before that block names the one before it, and so on down to the trust root. Verified
upwards, each signed under the one before, the last becomes the block the header store starts from.
What is lost is the hash link to the trust root: on a Raft channel one dishonest orderer's signature
would do. So the configuration blocks count only if two organisations show the same.

On disk: ``skip/<number>.part`` while they are fetched (kept when it is broken off, and used when it
is begun again), ``skip/<number>.block`` once the whole chain is verified. It is verified again at
every start, from the trust root of the profile.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from light_node import files
from light_node.chain import disk, errors, trust, verify
from light_node.chain.sources import Source, check_organizations
from light_node.chain.store import drop_headers
from light_node.chain.trust import TrustRoot
from light_node.fabric.block import MAX_BLOCK_BYTES, Block
from light_node.fabric.errors import FabricError
from light_node.i18n import Text, plain, row_of

FOLDER = "skip"
MAX_CONFIGS = 1000
MAX_BYTES = 256 * 1024 * 1024
"""Of all of them: nothing is verified before the last is at hand, and they lie on the disk."""

Progress = Callable[[int], None]
"""Told the number of each configuration block that is at hand."""


def effective_root(directory: Path, root: TrustRoot) -> TrustRoot:
    """Return the configuration block the store in ``directory`` starts from, proved from ``root``.

    ``root`` itself where nothing was skipped. ``StoreError`` if what is kept does not verify.
    """
    path: list[bytes] = []
    config = root.config
    found = None
    for file in sorted((directory / FOLDER).glob("*.block")):
        raw = _read(file)
        try:
            block = verify.parse(raw)
            if block.number <= root.number:
                continue  # a renewed root: what comes before it is history
            config = verify.skip_to_config(config, block)
        except errors.VerificationError as error:
            raise errors.StoreError(
                Text(
                    "{file} does not follow from the trust root ({error}); delete {directory} to "
                    "fetch anew",
                    file=file,
                    error=error,
                    directory=directory,
                )
            ) from error
        path.append(raw)
        found = raw
    if found is None:
        return root
    loaded = trust.load(found, channel=root.config.channel_id)
    return replace(
        loaded, obtained=root.obtained, expires=root.expires, origin=root, path=tuple(path)
    )


def skip_ahead(
    directory: Path,
    root: TrustRoot,
    sources: Sequence[Source],
    progress: Progress = lambda number: None,
) -> TrustRoot:
    """Move the start of the store in ``directory`` to the newest configuration; return it.

    Headers stored so far are dropped if the new start is past the old one. ``TooFewOrganizations``
    for sources of one organisation; ``NotVerified`` if no source leads there, or no second
    organisation shows the same; ``StoreError`` if the store is in use or the disk refuses.
    """
    check_organizations(sources)
    try:
        folder = directory / FOLDER
        folder.mkdir(parents=True, exist_ok=True)
        with disk.acquire_lock(directory / "lock"):
            disk.remove_leftovers(directory)
            before = effective_root(directory, root)
            return _skip(directory, root, before, sources, progress)
    except OSError as error:
        raise disk.refused(plain(str(directory)), error) from error


def _skip(
    directory: Path,
    root: TrustRoot,
    before: TrustRoot,
    sources: Sequence[Source],
    progress: Progress,
) -> TrustRoot:
    folder, refusals = directory / FOLDER, list[str]()
    for source in sources:
        try:
            newest, numbers = _walk(source, folder, before, progress)
            if not numbers:
                return before
            _verify(folder, before, newest, numbers)
            for number in numbers:
                _cross_check(source, sources, verify.parse(_read(_part(folder, number))))
        except FabricError as error:
            refusals.append(Text("{who}: {error}", who=source.organization, error=error))
            continue
        except (errors.VerificationError, errors.NotVerified) as error:
            refusals.append(Text("{who}: {error}", who=source.organization, error=error))
            for file in folder.glob("*.part"):
                file.unlink()
            continue
        # In this order, each on the disk before the next, a kill leaves a store that starts anew,
        # from one of these at worst.
        drop_headers(directory)
        for number in numbers:
            files.rename_durably(_part(folder, number), folder / f"{number:020}.block")
        return effective_root(directory, root)
    raise errors.NotVerified(
        Text("no source leads to the newest configuration: {refusals}", refusals=row_of(refusals))
    )


def _walk(
    source: Source, folder: Path, before: TrustRoot, progress: Progress
) -> tuple[Block, list[int]]:
    """Fetch configuration blocks from the newest down to ``before``; return their numbers."""
    newest = verify.parse(source.newest())
    numbers: list[int] = []
    index, size = _last_config(newest), 0
    while index > before.number:
        if len(numbers) >= MAX_CONFIGS:
            raise errors.NotVerified(
                Text("more than {most} configurations to skip", most=MAX_CONFIGS)
            )
        file = _part(folder, index)
        raw = _read(file) if file.exists() else source.block(index, headers_only=True)
        block, size = verify.parse(raw), size + len(raw)
        if size > MAX_BYTES:
            raise errors.NotVerified(
                Text("more than {most} MiB of configurations to skip", most=MAX_BYTES >> 20)
            )
        if block.number != index:
            raise errors.WrongNumber(block.number, block.hash, index)
        if not file.exists():
            files.write_atomically(file, raw)
        numbers.append(index)
        progress(index)
        if index - 1 == before.number:
            break
        header = verify.parse(source.block(index - 1, headers_only=True))
        if header.number != index - 1 or header.hash != block.previous_hash:
            raise errors.HashMismatch(header.number, header.hash, block.previous_hash)
        index = _last_config(header)
    if not numbers and index < before.number:
        raise errors.HiddenConfig(newest.number, newest.hash, index, before.number)
    return newest, numbers[::-1]


def _last_config(block: Block) -> int:
    index = verify.last_config(block)
    if index is None or index > block.number:
        raise errors.LastConfigMissing(
            Text(
                "block {number} does not say which configuration is in force", number=block.number
            ),
            number=block.number,
            hash=block.hash,
        )
    return index


def _verify(folder: Path, before: TrustRoot, newest: Block, numbers: Sequence[int]) -> None:
    config = before.config
    for number in numbers:
        config = verify.skip_to_config(config, verify.parse(_read(_part(folder, number))))
    if newest.number > config.block_number:
        verify.verify_alone(config, newest)


def _cross_check(first: Source, sources: Sequence[Source], block: Block) -> None:
    """``NotVerified`` unless another organisation shows the same configuration block."""
    for source in sources:
        if source.organization == first.organization:
            continue
        try:
            if verify.parse(source.block(block.number, headers_only=True)).hash == block.hash:
                return
        except (FabricError, errors.VerificationError):
            continue
    raise errors.NotVerified(
        Text("no second organisation shows configuration block {number}", number=block.number)
    )


def _part(folder: Path, number: int) -> Path:
    return folder / f"{number:020}.part"


def _read(file: Path) -> bytes:
    with file.open("rb") as opened:
        return opened.read(MAX_BLOCK_BYTES + 1)
