"""Many secrets in one text: a dotenv file or a JSON object. Pure and strict.

There is no standard of dotenv files; what readers of them disagree about is refused here, with
its line, rather than guessed. The grammar:

    line     = blank | "#" comment | ["export "] NAME "=" value [" #" comment]
    NAME     = a letter or "_", then letters, digits, "_"
    value    = bare | "'" anything but "'" "'" | '"' text with escapes '"'
    bare     = one line without quotes, blanks around it left out
    escapes  = \\n \\r \\t \\\\ \\" \\$

A quoted value may have many lines. `$NAME`, `${...}` and `$(...)`, which some readers replace, are
refused outside of single quotes. A JSON object has only texts as values. Neither may name a
secret twice or give an empty value. UTF-8, a byte order mark is left out.

Not python-dotenv: it warns of a line that it cannot read and goes on, replaces variables, and
lets the last of two equal keys win.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from enum import StrEnum

from attrs import field, frozen

from chittyops_core.errors import SecretError
from chittyops_core.secrets.store import require_value

__all__ = ["MAX_FILE_BYTES", "Format", "Given", "read_secrets"]

MAX_FILE_BYTES = 4 << 20
"""Four of the longest values; a file of more is the wrong file."""

_START = re.compile(r"[ \t]*(?:export[ \t]+)?(?P<key>[A-Za-z_][A-Za-z0-9_]*)[ \t]*=[ \t]*")
_END = re.compile(r"[ \t]*(?:(?<=[ \t])#[^\n]*)?\r?(?:\n|\Z)")
_BARE = re.compile(r"[^\r\n]*")
_REPLACED = re.compile(r"\$[A-Za-z_{(]")
_SKIPPED = re.compile(r"[ \t]*(?:#[^\n]*)?\r?(?:\n|\Z)")
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "\\": "\\", '"': '"', "$": "$"}
_JSON_SPACE = re.compile(r"[ \t\r\n]*")


class Format(StrEnum):
    """How a text of many secrets is written."""

    DOTENV = "dotenv"
    JSON = "json"


@frozen
class Given:
    """One secret as a file gives it.

    Attributes:
        key: As it stands there, such as `DATABASE_URL`.
        name: What it is kept under, such as `portal/database-url`.
        value: Its value.
        line: Where its key stands, from 1.
    """

    key: str
    name: str
    value: str = field(repr=False)
    line: int


def read_secrets(raw: bytes, *, prefix: str = "", form: Format | None = None) -> list[Given]:
    """Return the secrets in *raw*, in their order.

    Args:
        raw: The bytes of a file.
        prefix: Goes before every name, such as `portal/`.
        form: How it is written; by its first sign, `{` is JSON, when left out.

    Raises:
        SecretError: With the line of what is wrong. Never with a value.
    """
    text = _decode(raw)
    form = form or (Format.JSON if text.lstrip().startswith("{") else Format.DOTENV)
    pairs = _json_pairs(text) if form is Format.JSON else _dotenv_pairs(text)
    found: dict[str, Given] = {}
    for key, value, line in pairs:
        given = Given(key, prefix + key.lower().replace("_", "-"), value, line)
        _require(given, found.get(given.name))
        found[given.name] = given
    if not found:
        raise SecretError("there is no secret in it", remedy="Write lines of NAME=value.")
    return list(found.values())


def _require(given: Given, before: Given | None) -> None:
    if before is not None:
        raise _wrong(
            given.line,
            f"{given.key} would be {given.name}, as {before.key} of line {before.line} is",
            "Keep one of them.",
        )
    try:
        require_value(given.name, given.value)
    except SecretError as error:
        raise _wrong(given.line, error.message, "Correct or remove it.") from error


def _decode(raw: bytes) -> str:
    if len(raw) > MAX_FILE_BYTES:
        raise SecretError(
            f"it has more than {MAX_FILE_BYTES} bytes", remedy="Is it the right file? Split it."
        )
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        raise _wrong(
            raw.count(b"\n", 0, error.start) + 1, "it is no UTF-8", "Save it as UTF-8."
        ) from error
    if "\0" in text:
        raise _wrong(_line(text, text.index("\0")), "a NUL character", "Is it the right file?")
    return text.removeprefix("\ufeff")


# --- dotenv --------------------------------------------------------------------------------------


def _dotenv_pairs(text: str) -> Iterator[tuple[str, str, int]]:
    at = 0
    while at < len(text):
        if skipped := _SKIPPED.match(text, at):
            at = skipped.end()
            continue
        line = _line(text, at)
        start = _START.match(text, at)
        if start is None:
            raise _wrong(line, "no NAME=value", "Write NAME=value, or # before a comment.")
        value, at = _dotenv_value(text, start.end(), line)
        yield start["key"], value, line


def _dotenv_value(text: str, at: int, line: int) -> tuple[str, int]:
    """Return the value that begins at *at*, and where the next line begins."""
    quote = text[at : at + 1]
    if quote not in ("'", '"') or not quote:
        return _bare(text, at, line)
    value, at = _quoted(text, at + 1, quote, line)
    end = _END.match(text, at)
    if end is None:
        raise _wrong(_line(text, at), "something after the closing quote", "End the line there.")
    return value, end.end()


def _bare(text: str, at: int, line: int) -> tuple[str, int]:
    whole = _BARE.match(text, at)
    assert whole is not None, "it matches nothing too"
    value = re.split(r"(?:^|[ \t])#", whole[0], maxsplit=1)[0].strip(" \t")
    if "'" in value or '"' in value or not value.isprintable():
        raise _wrong(line, "a quote or a control sign in a bare value", "Quote the whole value.")
    _require_plain(value, line)
    end = re.compile(r"\r?(?:\n|\Z)").match(text, whole.end())
    if end is None:
        raise _wrong(line, "a carriage return in a bare value", "Quote the whole value.")
    return value, end.end()


def _quoted(text: str, at: int, quote: str, line: int) -> tuple[str, int]:
    end = at
    while end < len(text) and text[end] != quote:
        end += 2 if quote == '"' and text[end] == "\\" else 1
    if end >= len(text):
        raise _wrong(line, f"the quote {quote} is never closed", "Close it.")
    value = text[at:end]
    return (value if quote == "'" else _unescape(value, line)), end + 1


def _unescape(value: str, line: int) -> str:
    _require_plain(re.sub(r"\\.", "", value, flags=re.DOTALL), line)

    def replace(escape: re.Match[str]) -> str:
        if escape[1] not in _ESCAPES:
            raise _wrong(
                line + value.count("\n", 0, escape.start()),
                'an escape that is not one of \\n \\r \\t \\\\ \\" \\$',
                "Write \\\\ for a backslash, or use single quotes.",
            )
        return _ESCAPES[escape[1]]

    return re.sub(r"\\(.)", replace, value, flags=re.DOTALL)


def _require_plain(value: str, line: int) -> None:
    if _REPLACED.search(value):
        raise _wrong(
            line,
            "a $ that some readers replace by a variable",
            "Put the value in single quotes when it is meant as it stands.",
        )


# --- JSON ----------------------------------------------------------------------------------------


def _json_pairs(text: str) -> Iterator[tuple[str, str, int]]:
    """Yield the pairs of a flat object; the standard reader would lose lines and doubles."""
    at = _json_sign(text, 0, "{")
    if text[_space(text, at) :].startswith("}"):
        return
    while True:
        start = _space(text, at)
        key, at = _json_text(text, start, "a key")
        value, at = _json_text(text, _space(text, _json_sign(text, at, ":")), f"the value of {key}")
        yield key, value, _line(text, start)
        at = _space(text, at)
        if not text.startswith(",", at):
            break
        at += 1
    end = _space(text, _json_sign(text, at, "}"))
    if end < len(text):
        raise _wrong(_line(text, end), "something after the object", "End the file there.")


def _json_text(text: str, at: int, what: str) -> tuple[str, int]:
    if not text.startswith('"', at):
        raise _wrong(_line(text, at), f"{what} is no text in quotes", 'Write "NAME": "value".')
    try:
        value, end = json.JSONDecoder().raw_decode(text, at)
    except json.JSONDecodeError as error:
        raise _wrong(error.lineno, f"{what} is no JSON text: {error.msg}", "Correct it.") from error
    return str(value), end


def _json_sign(text: str, at: int, sign: str) -> int:
    at = _space(text, at)
    if not text.startswith(sign, at):
        raise _wrong(_line(text, at), f"a {sign} is missing", "It has to be one JSON object.")
    return at + 1


def _space(text: str, at: int) -> int:
    match = _JSON_SPACE.match(text, at)
    assert match is not None, "it matches nothing too"
    return match.end()


def _line(text: str, at: int) -> int:
    return text.count("\n", 0, at) + 1


def _wrong(line: int, what: str, remedy: str) -> SecretError:
    return SecretError(f"line {line}: {what}", remedy=remedy, line=line)
