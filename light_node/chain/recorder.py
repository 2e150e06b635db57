"""Keeping what contradicts: every case as received, forks as evidence, liars in quarantine."""

import logging
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from light_node.chain import (
    dissent,
    divergence,
    errors,
    evidence,
    parting,
    quarantine,
    verify,
    witnesses,
)
from light_node.chain.branch import Branch
from light_node.chain.sources import Source
from light_node.chain.store import HeaderStore
from light_node.chain.trust import TrustRoot
from light_node.clock import Clock
from light_node.fabric.block import without_data
from light_node.fabric.identity import SigningIdentity
from light_node.i18n import NOTHING, Text, os_reason

_RECENT_BLOCKS = 64
_RECENT_BYTES = 64 * 1024  # of larger ones only the header is remembered

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Attributed:
    """A contradiction that was kept: the evidence file's name ("" if none), who is shut out."""

    evidence: str
    cases: Mapping[str, quarantine.Case]
    testimony: witnesses.Testimony


class Recorder:
    """Writes the cases of one light node. The caller sees to it that one thread at a time does."""

    def __init__(
        self,
        directory: Path,
        root: TrustRoot,
        store: HeaderStore,
        clock: Clock,
        reporter: SigningIdentity | None,
    ) -> None:
        """``reporter`` signs evidence of forks, if anybody does."""
        self._directory = directory
        self._root = root
        self._store = store
        self._clock = clock
        self._reporter = reporter
        self._recent: OrderedDict[int, bytes] = OrderedDict()

    def remember(self, first: int, raws: Sequence[bytes]) -> None:
        """Keep the last of these verified blocks at hand, for cases that concern them."""
        newest = raws[-_RECENT_BLOCKS:]
        for number, raw in enumerate(newest, start=first + len(raws) - len(newest)):
            self._recent[number] = raw if len(raw) <= _RECENT_BYTES else without_data(raw)
        while len(self._recent) > _RECENT_BLOCKS:
            self._recent.popitem(last=False)

    def keep(
        self, source: Source, number: int, ours: bytes | None, theirs: bytes, reason: Text
    ) -> Text:
        """Write a case: what ``source`` showed for ``number``; return a problem of ours or ""."""
        try:
            self._keep(source, number, ours, theirs, reason)
        except OSError as error:
            return Text(
                "evidence could not be kept in {directory}: {why}",
                directory=self._directory,
                why=os_reason(error),
            )
        return NOTHING

    def keep_flags(self, liar: dissent.Copy) -> quarantine.Case:
        """Keep a copy whose flags refute themselves; quarantine its organisation for good."""
        block = liar.block
        reason = Text("its commit hash does not follow from its validity flags and the one before")
        try:
            path = self._keep(liar.source, block.number, block.hash, liar.raw, reason)
        except OSError as error:
            _log.error("a lie in the flags of block %d could not be kept: %s", block.number, error)
            path = None
        name = path.name if path is not None else ""
        return self.quarantine(liar.source.organization, block.number, name, "flags")

    def _keep(
        self, source: Source, number: int, ours: bytes | None, theirs: bytes, reason: Text
    ) -> Path | None:
        conflict = evidence.Conflict(
            self._root.config.channel_id,
            number,
            source.organization,
            source.address,
            self._clock.now(),
            reason,
            ours,
            self._recent.get(number),
            theirs,
            self._root.hash,
        )
        return evidence.keep(self._directory, conflict)

    def keep_fork(
        self,
        theirs: bytes,
        found: Branch,
        shown_by: Source,
        others: Sequence[Source],
        *,
        ours_is_false: bool = False,
    ) -> Attributed:
        """Keep both signed versions for others to check; quarantine who lies, for good.

        ``theirs`` is the first block that differs, ``found`` what stands for it. In quarantine are
        those whose orderers are proved to have signed both: their word counts no more. And who
        shows ours where that is proved to be false; else the minority of the other organisations
        asked; without one, the organisation that showed the second version, for either may be
        right.
        """
        block = verify.parse(theirs)
        number, ours = block.number, self._store.hash(block.number) or b""
        header, asked = self._store.header(number), (shown_by, *others)
        our_version = (ours, header.config if header is not None else self._store.first)
        testimony = witnesses.ask(number, our_version, witnesses.version_of(block), asked)
        seen_at = self._clock.now()
        our_branch = parting.first_of_ours(self._store, number, testimony.ours)
        if our_branch is None and block.hash != ours:
            showing = testimony.sources(asked, "ours")
            our_branch = divergence.own_branch(showing, self._store, number, dict(self._recent))
        name, both = parting.keep(
            self._directory, self._root, self._store, number, our_branch, found, shown_by,
            testimony, seen_at, self._reporter,
        )  # fmt: skip
        kind: quarantine.Kind = "config" if block.hash == ours else "fork"
        if ours_is_false:
            false = testimony.organizations("ours")
        else:
            false = testimony.minority(without=both) or frozenset((shown_by.organization,))
        cases = {who: self.quarantine(who, number, name, "signed") for who in both}
        for who in sorted(false.difference(both)):
            cases[who] = self.quarantine(who, number, name, kind)
        return Attributed(name, cases, testimony)

    def keep_record(self, theirs: bytes, last: int, shown_by: Source) -> str:
        """Keep the user's word that a source showed ``theirs`` and nothing signed up to ``last``.

        Returns the file's name, "" where there is none.
        """
        if self._reporter is None:
            return ""
        return parting.keep_record(
            self._directory, self._root, self._store, theirs, last, shown_by, self._clock.now(),
            self._reporter,
        )  # fmt: skip

    def quarantine(
        self, organization: str, number: int, evidence_name: str, kind: quarantine.Kind = "fork"
    ) -> quarantine.Case:
        """Shut an organisation out until a person lifts it; the log says if that fails."""
        seen_at = self._clock.now().isoformat(timespec="seconds")
        case = quarantine.Case(number, seen_at, evidence_name, kind)
        try:
            quarantine.add(self._directory, organization, case)
        except (errors.StoreError, OSError) as error:
            _log.error("%s is not in quarantine: %s", organization, error)
        return case
