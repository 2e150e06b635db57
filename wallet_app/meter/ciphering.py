"""General-glo-ciphering as DLMS push lists and some P1 ports use it (meter-protocols.md 7, 9).

``DB 08 | title 8 | length | security | counter 4 | text | [tag 12]``, AES-128-GCM; the vector is
title and counter, the authenticated data are the security byte and the second key.
"""

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from wallet_app.i18n import tr

START = b"\xdb\x08"
_AUTHENTICATED, _ENCRYPTED = 0x10, 0x20
_TAG, _HEAD = 12, 5
_MOST_TITLES = 64


class CipherError(Exception):
    """The text cannot be read; ``kind`` is the problem's ("encrypted", "replay" or "value")."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(text)
        self.kind = kind


class Deciphering:
    """Decrypts with one meter's keys (16 bytes each, or empty) and refuses counters seen before.

    ``ValueError`` for keys of another length.
    """

    def __init__(self, key: bytes = b"", auth_key: bytes = b"") -> None:
        if len(key) not in (0, 16) or len(auth_key) not in (0, 16):
            raise ValueError(tr("the keys of a meter have 16 bytes: 32 hex digits"))
        self._key, self._auth_key = key, auth_key
        self._counters: dict[bytes, int] = {}

    def plain(self, title: bytes, body: bytes, begins: bytes) -> bytes:
        """Return the plain text of ``body`` (security byte to tag), which ``begins`` so."""
        if not self._key:
            raise CipherError("encrypted", tr("encrypted: the grid operator hands out the key"))
        if len(body) <= _HEAD + _TAG or not body[0] & _ENCRYPTED:
            raise CipherError("value", tr("an encrypted text that cannot be one"))
        vector, text, tag = title + body[1:_HEAD], body[_HEAD:], b""
        if body[0] & _AUTHENTICATED:
            text, tag = text[:-_TAG], text[-_TAG:]
        if tag and self._auth_key:
            plain = self._authenticated(vector, text, tag, body[:1] + self._auth_key)
        else:
            # Without the second key nothing but the text itself shows whether the key fits.
            mode = modes.CTR(vector + b"\x00\x00\x00\x02")
            decryptor = Cipher(algorithms.AES(self._key), mode).decryptor()
            plain = decryptor.update(text) + decryptor.finalize()
        if not plain.startswith(begins):
            raise CipherError("encrypted", tr("the key does not fit this meter"))
        self._grows(title, int.from_bytes(body[1:_HEAD], "big"))
        return plain

    def _authenticated(self, vector: bytes, text: bytes, tag: bytes, known: bytes) -> bytes:
        mode = modes.GCM(vector, tag, min_tag_length=_TAG)
        decryptor = Cipher(algorithms.AES(self._key), mode).decryptor()
        decryptor.authenticate_additional_data(known)
        try:
            return decryptor.update(text) + decryptor.finalize()
        except InvalidTag as error:
            text_ = tr("the keys do not fit this meter, or the text was altered")
            raise CipherError("encrypted", text_) from error

    def _grows(self, title: bytes, counter: int) -> None:
        """Refuse a counter that was there before: a recording played back."""
        if counter <= self._counters.get(title, -1):
            raise CipherError(
                "replay", tr("the frame counter does not grow: a recording played back")
            )
        if len(self._counters) >= _MOST_TITLES:
            self._counters.clear()
        self._counters[title] = counter
