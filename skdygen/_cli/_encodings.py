"""Text files in other encodings than UTF-8, and how they are written as they came."""

import codecs
import re

_MARKS = {
    "utf-8": codecs.BOM_UTF8,
    "utf-16-le": codecs.BOM_UTF16_LE,
    "utf-16-be": codecs.BOM_UTF16_BE,
}
# A first line, whose cells may have other line ends between quotes.
_FIRST_LINE = re.compile(r'(?:"(?:[^"]|"")*"|[^"\r\n])*(\r?\n)')
_FIRST = 2**20  # characters in which it is looked for


def decode(content, encoding=None, fallback=None):
    """Give the text of a file, and a dict of what `encode` needs to write one alike.

    A byte-order mark says what the encoding is. Without one it is `encoding`, or UTF-8
    if the file can be that, or else, if this is to be guessed, `fallback`.
    """
    for name, mark in _MARKS.items():
        if content.startswith(mark):
            text = content[len(mark) :].decode(name)
            return text, {"encoding": name, "has_mark": True} | _line_end(text)
    if encoding is not None:
        text = content.decode(encoding)
        return text, {"encoding": encoding} | _line_end(text)
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        if fallback is None or _is_mostly_utf8(content):
            raise
        try:
            text = content.decode(fallback)
        except UnicodeDecodeError:
            raise error from None
        found = {"encoding": fallback, "encoding_is_guessed": True}
        return text, found | _line_end(text)
    if "\0" in text[:_FIRST]:
        raise ValueError(
            "it has NUL characters; if it is UTF-16, say --encoding utf-16"
        )
    return text, _line_end(text)


def encode(text, found):
    """Give the bytes of a text, as `decode` has found them; a mark in front if so."""
    name = found.get("encoding", "utf-8")
    # A lone surrogate, which UTF-8 cannot hold, is written as its escape.
    errors = "backslashreplace" if name == "utf-8" else "strict"
    mark = _MARKS[name] if found.get("has_mark") else b""
    return mark + text.encode(name, errors)


def name_encoding(found):
    """Say what a table was read as, if that is not simply UTF-8."""
    if "encoding" not in found:
        return {}
    how = " with a byte-order mark" * found.get("has_mark", False)
    if found.get("encoding_is_guessed"):
        how = ", guessed since it is not UTF-8; --encoding names another"
    return {"encoding": f"{found['encoding']}{how}"}


def _line_end(text):
    """Find out how lines end, if not as usual."""
    first = _FIRST_LINE.match(text[:_FIRST])
    return {"line_end": "\r\n"} if first and first[1] == "\r\n" else {}


def _is_mostly_utf8(content):
    """Whether it is UTF-8 with few damaged characters, not another encoding."""
    text = content.decode(errors="replace")
    n_damaged = text.count("\ufffd")
    return len(text) - len(text.encode("ascii", "ignore")) > 2 * n_damaged
