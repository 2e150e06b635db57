"""Sentences in the user's language: English is the key, a JSON catalogue holds the other language.

``tr("Sell {energy} kWh", energy="1.20")`` looks the English sentence up in the catalogue of the
language in use and fills the fields in. A sentence without a translation is shown in English.

What this package finds wrong travels further than one process and one language: into files, over
the status socket, to programs. So errors and states carry a :class:`Text`: an English sentence
that knows its template and fields. It is a ``str`` for whoever wants English, and :func:`said`
puts it into the user's language where it is shown. Fields are filled in as they are, so braces in
foreign text mean nothing.

A language is chosen by the program (:func:`use_language`), once for the process. The catalogue
``zh_CN.json`` beside this module holds the sentences of this package; a program built on it gives
the folders of its own ones.
"""

import errno
import json
import locale
import os
import string
from collections.abc import Callable, Mapping, Sequence
from importlib import resources
from importlib.resources.abc import Traversable

ENGLISH = "en"
CHINESE = "zh_CN"
LANGUAGES: Mapping[str, str] = {ENGLISH: "English", CHINESE: "简体中文"}
"""Every language there is, by code, in its own words."""

OWN_CATALOGUES: Traversable = resources.files("light_node") / "i18n"
"""The folder with this package's sentences, a file for each language."""

_language = ENGLISH
_catalogue: Mapping[str, str] = {}


class Text(str):
    """A sentence in English that knows what it is made of: ``Text("block {number}", number=5)``.

    ``template`` is the sentence with its places, ``fields`` what stands there: numbers, foreign
    text, or further Texts. An exception as a field stands for its message. ``kind`` is the class
    of the error that says it, "" where no error does: what programs may branch on.
    """

    template: str
    fields: Mapping[str, "str | int"]
    kind: str

    def __new__(cls, template: str, /, **fields: object) -> "Text":
        """Make a sentence; the template is a literal, so that it can be translated."""
        kept = {name: _kept(value) for name, value in fields.items()}
        self = super().__new__(cls, template.format_map(kept) if kept else template)
        self.template, self.fields, self.kind = template, kept, ""
        return self

    def of(self, kind: str) -> "Text":
        """Return the same sentence, said by an error of class ``kind``."""
        other = Text(self.template, **self.fields)
        other.kind = kind
        return other


NOTHING = Text("")
"""What there is nothing to say about."""


class SaidError(Exception):
    """Base of errors whose message is a :class:`Text`."""

    def __init__(self, text: Text) -> None:
        super().__init__(text)

    @property
    def text(self) -> Text:
        """The message, with the class of the error as its kind."""
        return told(self)


def told(error: BaseException) -> Text:
    """Return what an exception says; the message of one that has no Text is taken as foreign."""
    message = error.args[0] if error.args else ""
    if isinstance(message, Text):
        return message.of(type(error).__name__)
    if isinstance(error, OSError):
        why = os_reason(error)
        if error.filename is not None:
            why = Text("{file}: {why}", file=str(error.filename), why=why)
        return why.of(type(error).__name__)
    return plain(str(error) or type(error).__name__).of(type(error).__name__)


def plain(text: str) -> Text:
    """Return text that is the same in every language, such as a name or what another one wrote."""
    return text if isinstance(text, Text) else Text("{what}", what=text)


def os_reason(error: OSError) -> Text:
    """Return why the system refused, without the file's name."""
    known = _REASONS.get(error.errno or 0)
    return known or plain(error.strerror or str(error) or type(error).__name__)


def said(what: "str | BaseException") -> str:
    """Return a Text, or an exception's message, in the language in use; other text as it is."""
    text = told(what) if isinstance(what, BaseException) else what
    if not isinstance(text, Text):
        return text
    fields = {n: said(v) if isinstance(v, str) else v for n, v in text.fields.items()}
    return tr(text.template, **fields)


def all_of(parts: Sequence[str]) -> Text:
    """Return "A and B and C"."""
    return _chain(parts, lambda first, rest: Text("{first} and {rest}", first=first, rest=rest))


def any_of(parts: Sequence[str]) -> Text:
    """Return "A or B or C"."""
    return _chain(parts, lambda first, rest: Text("{first} or {rest}", first=first, rest=rest))


def row_of(parts: Sequence[str]) -> Text:
    """Return "A; B; C"."""
    return _chain(parts, lambda first, rest: Text("{first}; {rest}", first=first, rest=rest))


def as_json(text: str) -> dict[str, object]:
    """Return what a file or socket keeps of a sentence beside its English words.

    ``{"kind", "template", "fields"}``; fields are numbers, strings, or objects of the same form.
    Text of no template is one field of ``{what}``.
    """
    sentence = plain(text)
    fields = {n: as_json(v) if isinstance(v, Text) else v for n, v in sentence.fields.items()}
    return {"kind": sentence.kind, "template": sentence.template, "fields": fields}


def from_json(value: object, english: str) -> str:
    """Return the sentence of :func:`as_json`; ``english`` where it is none that is known here.

    Only templates of the catalogue count: what another program wrote never becomes a template.
    """
    try:
        return _read(value, 0)
    except (KeyError, TypeError, ValueError):
        return english


def tr(text: str, /, **fields: object) -> str:
    """Return ``text`` in the current language with its ``{fields}`` filled in."""
    translated = _catalogue.get(text, text)
    return translated.format_map(fields) if fields else translated


def translated(text: str) -> str:
    """Return ``text`` in the current language, for texts that stand in tables, not in calls."""
    return _catalogue.get(text, text)


def language() -> str:
    """Return the code of the language in use."""
    return _language


def use_language(code: str | None = None, *more: Traversable) -> str:
    """Switch to ``code``; None takes ``PROSUMER_LANG``, else the user's locale. Return the code.

    ``more`` are folders with further catalogues.
    """
    global _language, _catalogue
    _language = best_language(code or os.environ.get("PROSUMER_LANG") or _locale_name())
    found: dict[str, str] = {}
    if _language != ENGLISH:
        for folder in (OWN_CATALOGUES, *more):
            found |= load_catalogue(folder, _language)
    _catalogue = found
    return _language


def best_language(name: str) -> str:
    """Return the language that serves a locale name such as ``zh_SG.UTF-8`` best."""
    plain = name.replace("-", "_").split(".")[0].lower()
    return CHINESE if plain == "zh" or plain.startswith("zh_") else ENGLISH


def load_catalogue(folder: Traversable, code: str) -> dict[str, str]:
    """Read the catalogue of language ``code``: English text to translated text."""
    text = (folder / f"{code}.json").read_text(encoding="utf-8")
    catalogue: dict[str, str] = json.loads(text)
    return catalogue


def _kept(value: object) -> str | int:
    if isinstance(value, BaseException):
        return told(value)
    return value if isinstance(value, str | int) else str(value)


def _chain(parts: Sequence[str], join: Callable[[str, str], Text]) -> Text:
    if not parts:
        return NOTHING
    result = plain(parts[-1])
    for part in reversed(parts[:-1]):
        result = join(part, result)
    return result


def _read(value: object, depth: int) -> Text:
    """``KeyError``, ``TypeError`` or ``ValueError`` if it is no sentence known in this language."""
    if not isinstance(value, dict) or depth > _MAX_DEPTH or value["template"] not in _catalogue:
        raise ValueError("no sentence")
    fields = value["fields"]
    if not isinstance(fields, dict) or set(fields) != _places(value["template"]):
        raise ValueError("no fields")
    return Text(value["template"], **{n: _field(v, depth + 1) for n, v in fields.items()})


def _field(value: object, depth: int) -> str | int:
    return value if isinstance(value, str | int) else _read(value, depth)


def _places(template: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(template) if name is not None}


def _locale_name() -> str:
    for variable in ("LC_ALL", "LC_MESSAGES", "LANG"):
        if os.environ.get(variable):
            return os.environ[variable]
    # Windows and macOS set no such variables.
    return locale.getlocale()[0] or ENGLISH


_MAX_DEPTH = 10
_REASONS: Mapping[int, Text] = {
    errno.ENOSPC: Text("No space left on device"),
    errno.EDQUOT: Text("Disk quota exceeded"),
    errno.EROFS: Text("Read-only file system"),
    errno.EACCES: Text("Permission denied"),
    errno.EPERM: Text("Operation not permitted"),
    errno.ENOENT: Text("No such file or directory"),
    errno.EISDIR: Text("Is a directory"),
    errno.ENOTDIR: Text("Not a directory"),
    errno.EEXIST: Text("File exists"),
    errno.EIO: Text("Input/output error"),
    errno.EADDRINUSE: Text("Address already in use"),
    errno.ECONNREFUSED: Text("Connection refused"),
}
