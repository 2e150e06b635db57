"""Organisations that were proved to lie: not followed again until a person lifts it.

They signed two versions of a block, showed another signed history, validity flags that refute
themselves, or a signed index that hides a configuration block.

Kept beside the headers in ``quarantine.json``: ``{"version": 1, "organizations": {MSP id: {number,
seen_at, evidence[, kind]}}}``, ``kind`` "fork" (also where absent), "signed", "flags" or "config".
Excluding them is safe whichever history is the right one: nothing counts as agreed on before two
organisations that are left agree.
"""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, Literal

from light_node import files, jsonio
from light_node.chain import disk
from light_node.chain.errors import StoreError
from light_node.i18n import Text, os_reason

FILE_NAME = "quarantine.json"
MAX_ORGANIZATIONS = 1000
SHUT_OUT = "Quarantine"
"""The kind of the sentence that says why an organisation is in quarantine."""
Kind = Literal["fork", "signed", "flags", "config"]
_KINDS: tuple[Kind, ...] = ("fork", "signed", "config", "flags")
_MAX_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Case:
    """Why an organisation is in quarantine: block, time (ISO 8601), name of the evidence file."""

    number: int
    seen_at: str
    evidence: str
    kind: Kind = "fork"

    @property
    def reason(self) -> Text:
        """What the organisation was proved to have done."""
        number = self.number
        if self.kind == "signed":
            return Text("its orderers signed two versions of block {number}", number=number)
        if self.kind == "config":
            return Text(
                "it showed block {number} with a false signed index, which hides a configuration",
                number=number,
            )
        if self.kind == "flags":
            return Text(
                "the commit hash it stated for block {number} does not follow from its validity "
                "flags",
                number=number,
            )
        return Text("it showed another signed history from block {number} on", number=number)

    def __str__(self) -> str:
        return self.text

    @property
    def text(self) -> Text:
        """Say it to people."""
        reason = self.reason
        if self.evidence:
            reason = Text("{reason}, see evidence {file}", reason=reason, file=self.evidence)
        return Text(
            "in quarantine since {time}: {reason}. 'light-node evidence release' lifts it",
            time=readable(self.seen_at),
            reason=reason,
        ).of(SHUT_OUT)


def readable(seen_at: str) -> str:
    """Return a time of ISO 8601 as sentences have it; text that is none as it is."""
    try:
        return f"{datetime.fromisoformat(seen_at).astimezone(UTC):%Y-%m-%d %H:%M} UTC"
    except ValueError:
        return seen_at


def load(directory: Path) -> dict[str, Case]:
    """Return who is in quarantine; ``StoreError`` if the file cannot be read.

    A damaged file is an error rather than an empty list, which would let everybody out.
    """
    path = directory / FILE_NAME
    try:
        with path.open("rb") as file:
            raw = file.read(_MAX_BYTES)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise StoreError(
            Text("cannot read {path}: {why}", path=path, why=os_reason(error))
        ) from error
    try:
        fields = jsonio.mapping(jsonio.strict_loads(raw), Text("the quarantine"))
        jsonio.integer(fields, "version", low=1, high=1)
        found = jsonio.mapping(jsonio.required(fields, "organizations"), '"organizations"')
        return {name: _case(entry) for name, entry in found.items()}
    except jsonio.JsonError as error:
        raise StoreError(
            Text("{path} is damaged ({error}); repair or delete it", path=path, error=error)
        ) from error


def add(directory: Path, organization: str, case: Case) -> None:
    """Put an organisation into quarantine; the first case stands. ``OSError``, ``StoreError``."""
    with _locked(directory):
        known = load(directory)
        if organization not in known and len(known) < MAX_ORGANIZATIONS:
            _save(directory, {**known, organization: case})


def release(directory: Path, organization: str) -> bool:
    """Lift a quarantine; False if there was none. ``OSError``, ``StoreError``."""
    if organization not in load(directory):
        return False
    with _locked(directory):
        known = load(directory)
        if known.pop(organization, None) is None:
            return False
        _save(directory, known)
        return True


def tidy(directory: Path) -> None:
    """Remove what kills left behind while it was written; ``OSError``, ``StoreError``."""
    with _locked(directory):
        files.remove_leftovers(directory, re.escape(FILE_NAME))


def _locked(directory: Path) -> BinaryIO:
    """Keep other processes from changing it: a running light node and a person may at once."""
    return disk.acquire_lock(directory / "quarantine.lock", wait=True)


def _save(directory: Path, known: Mapping[str, Case]) -> None:
    cases = {name: asdict(case) for name, case in known.items()}
    value = {"version": 1, "organizations": cases}
    files.write_atomically(directory / FILE_NAME, jsonio.canonical_dumps(value))


def _case(value: object) -> Case:
    fields = jsonio.mapping(value, Text("a case"))
    told = fields.get("kind", "fork")
    kind = next((known for known in _KINDS if known == told), None)
    if kind is None:
        raise jsonio.JsonError(Text('"kind" must be fork, signed, flags or config'))
    evidence = jsonio.required(fields, "evidence")
    if not isinstance(evidence, str) or len(evidence) > 200:
        raise jsonio.JsonError(Text('"evidence" must be a file name'))
    return Case(
        jsonio.integer(fields, "number", low=0),
        jsonio.string(fields, "seen_at", max_length=64),
        evidence,
        kind,
    )
