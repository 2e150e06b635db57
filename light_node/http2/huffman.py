"""The Huffman code of header texts (RFC 7541, section 5.2 and appendix B)."""

from functools import lru_cache

# The code is canonical: lengths in the order of the symbols 0 to 255 and the end are all of it.
_LENGTHS = bytes.fromhex(
    """
    0d 17 1c 1c 1c 1c 1c 1c 1c 18 1e 1c 1c 1e 1c 1c 1c 1c 1c 1c 1c 1c 1e 1c 1c 1c 1c 1c 1c 1c 1c 1c
    06 0a 0a 0c 0d 06 08 0b 0a 0a 08 0b 08 06 06 06 05 05 05 06 06 06 06 06 06 06 07 08 0f 06 0c 0a
    0d 06 07 07 07 07 07 07 07 07 07 07 07 07 07 07 07 07 07 07 07 07 07 07 08 07 08 0d 13 0d 0e 06
    0f 05 06 05 06 05 06 06 06 05 07 07 06 06 06 05 06 07 06 05 05 06 07 07 07 07 07 0f 0b 0e 0d 1c
    14 16 14 14 16 16 16 17 16 17 17 17 17 17 18 17 18 18 16 17 18 17 17 17 17 15 16 17 16 17 17 18
    16 15 14 16 16 17 17 15 17 16 16 18 15 16 17 17 15 15 16 15 17 16 17 17 14 16 16 16 17 16 16 17
    1a 1a 14 13 16 17 16 19 1a 1a 1a 1b 1b 1a 18 19 13 15 1a 1b 1b 1a 1b 18 15 15 1a 1a 1c 1b 1b 1b
    14 18 14 15 16 15 15 17 16 16 19 19 18 18 1a 17 1a 1b 1a 1a 1b 1b 1b 1b 1b 1c 1b 1b 1b 1b 1b 1a
    1e
    """
)
_END = 256


class HuffmanError(ValueError):
    """The text is not coded as appendix B says."""


def _table() -> dict[tuple[int, int], int]:
    """Return (length, code) → symbol."""
    found, code, length = {}, 0, 0
    for symbol in sorted(range(len(_LENGTHS)), key=lambda s: (_LENGTHS[s], s)):
        code <<= _LENGTHS[symbol] - length
        length = _LENGTHS[symbol]
        found[length, code] = symbol
        code += 1
    return found


_SYMBOLS = _table()


@lru_cache(1024)
def decode(data: bytes) -> bytes:
    """Return the text that ``data`` codes; ``HuffmanError`` if it is none."""
    text = bytearray()
    code = length = 0
    for byte in data:
        for shift in range(7, -1, -1):
            code, length = code << 1 | byte >> shift & 1, length + 1
            symbol = _SYMBOLS.get((length, code))
            if symbol is not None:
                if symbol == _END:
                    raise HuffmanError("the end is no symbol of a text")
                text.append(symbol)
                code = length = 0
            elif length >= 30:
                raise HuffmanError("no such code")
    # What is left pads to a whole byte with the first bits of the end, which are all ones.
    if length > 7 or code != (1 << length) - 1:
        raise HuffmanError("the padding is wrong")
    return bytes(text)
