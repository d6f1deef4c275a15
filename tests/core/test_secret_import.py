"""Importing many secrets: a strict reader, all or nothing, and hostile files."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chittyops_core.errors import SecretError
from chittyops_core.secrets.envfile import MAX_FILE_BYTES, read_secrets
from conftest import HostUnderTest

GOOD = """\ufeff# a comment
export DATABASE_URL=postgres://u:p@db/x#fragment   # a comment

  API_KEY = "two\\nlines \\"quoted\\" \\$HOME"
PLAIN=hello world
TLS_KEY='-----BEGIN
${KEY}\\n
-----END'\r
"""


def test_a_dotenv_file_is_read_as_written_down() -> None:
    """Comments, `export`, both quotes, many lines, CRLF, a byte order mark."""
    found = read_secrets(GOOD.encode(), prefix="portal/")

    assert [(g.key, g.name, g.value, g.line) for g in found] == [
        ("DATABASE_URL", "portal/database-url", "postgres://u:p@db/x#fragment", 2),
        ("API_KEY", "portal/api-key", 'two\nlines "quoted" $HOME', 4),
        ("PLAIN", "portal/plain", "hello world", 5),
        ("TLS_KEY", "portal/tls-key", "-----BEGIN\n${KEY}\\n\n-----END", 6),
    ]
    assert "postgres" not in repr(found)


def test_a_json_object_is_known_by_its_first_sign() -> None:
    """Keys may be names of secrets already."""
    found = read_secrets(b' {"DB_URL": "x\\u00e9",\n "tls/key": "y"} ')

    assert [(g.name, g.value, g.line) for g in found] == [("db-url", "xé", 1), ("tls/key", "y", 2)]


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("A=1\nB=x\0y", 2, "NUL"),
        ("A=1\n\nA=2", 3, "as A of line 1"),
        ("A_B=1\na_b=2", 2, "as A_B of line 1"),
        ("A=1\nB='never\n\nclosed", 2, "never closed"),
        ('A="never \\"', 1, "never closed"),
        ("A=1\n2B=x", 2, "no NAME=value"),
        ("A=1\njust words", 2, "no NAME=value"),
        ("A=1\n_B=x", 2, "cannot name a secret"),
        ("A=1\nB=", 2, "is empty"),
        ("A=1\nB= # nothing", 2, "is empty"),
        ("A=it's", 1, "a quote"),
        ("A='x'y", 1, "after the closing quote"),
        ("A='x'#y", 1, "after the closing quote"),
        ("A=${HOME}", 1, "some readers replace"),
        ('A="$(id)"', 1, "some readers replace"),
        ('A="a\n\\x"', 2, "an escape"),
        ("A=x\x1b[2J", 1, "control sign"),
        ("A=x\rB=y", 1, "carriage return"),
        ("A=1\nB=" + "x" * (2**20 + 1), 2, "more than"),
        ('{"A": "1",\n "A": "2"}', 2, "as A of line 1"),
        ('{"A": 1}', 1, "no text in quotes"),
        ('{"A": ' + "[" * 100_000, 1, "no text in quotes"),
        ('{"A": "1"\n "B": "2"}', 2, "is missing"),
        ('{"A": "1",}', 1, "a key is no text"),
        ('{"A":\n "x', 2, "no JSON text"),
        ('{"A": "\\ud800"}', 1, "no text of Unicode"),
        ('{"A": "a\\u0000b"}', 1, "NUL"),
        ('{"A": "1"}\n{}', 2, "after the object"),
        ('{"../x": "1"}', 1, "cannot name a secret"),
    ],
)
def test_hostile_text_is_refused_with_its_line(text: str, line: int, says: str) -> None:
    """And without any of its values."""
    with pytest.raises(SecretError, match=says) as caught:
        read_secrets(text.encode("utf-8", "surrogatepass"))

    assert caught.value.facts["line"] == line
    assert caught.value.message.startswith(f"line {line}: ")


@pytest.mark.parametrize("raw", [b"", b"# nothing\n", b"{}", b"A=" + b"x" * MAX_FILE_BYTES])
def test_an_empty_or_huge_file_is_refused(raw: bytes) -> None:
    """There is nothing in it, or it is the wrong one."""
    with pytest.raises(SecretError):
        read_secrets(raw)


def test_what_is_no_utf8_is_refused_with_its_line() -> None:
    """A file of another encoding, or no text at all."""
    with pytest.raises(SecretError, match="line 2: it is no UTF-8"):
        read_secrets(b"A=1\nB=\xff\n")


@given(st.dictionaries(st.from_regex(r"[A-Z][A-Z0-9]{0,8}", fullmatch=True),
                       st.text(min_size=1).filter(lambda v: "\0" not in v and v.isprintable()),
                       min_size=1, max_size=5))  # fmt: skip
def test_any_text_comes_through_either_way(values: dict[str, str]) -> None:
    """JSON, and dotenv with everything escaped."""
    escaped = {k: v.replace("\\", "\\\\").replace('"', '\\"').replace("$", "\\$")
               for k, v in values.items()}  # fmt: skip
    dotenv = "\n".join(f'{k}="{v}"' for k, v in escaped.items())

    for text in (json.dumps(values), dotenv):
        assert {g.key: g.value for g in read_secrets(text.encode())} == values


@given(st.binary(max_size=200))
def test_no_bytes_break_the_reader(raw: bytes) -> None:
    """Whatever is in a file, it is read or refused."""
    try:
        read_secrets(raw)
    except SecretError:
        pass


# --- the command ---------------------------------------------------------------------------------


@pytest.mark.host
def test_an_import_shows_names_first_and_keeps_all(host: HostUnderTest, tmp_path: Path) -> None:
    """New, changed and same; never a value. A second time all are the same."""
    host.run("secrets", "set", "portal/a", stdin="same-value")
    host.run("secrets", "set", "portal/b", stdin="other-value")
    file = tmp_path / "file.env"
    file.write_text("A=same-value\nB=new-value\nC=third-value\n")
    file.chmod(0o600)
    words = ("secrets", "import", str(file), "--prefix", "portal/")

    asked = host.run(*words)
    names = json.loads(host.run("secrets", "list", "--json").stdout)["secrets"]
    done = host.run(*words, "--yes", "--json")
    again = json.loads(host.run(*words, "--yes", "--json").stdout)

    assert asked.returncode != 0
    assert [row["name"] for row in names] == ["portal/a", "portal/b"]
    assert json.loads(done.stdout) == {
        "secrets": [
            {"key": "A", "name": "portal/a", "change": "same"},
            {"key": "B", "name": "portal/b", "change": "changed"},
            {"key": "C", "name": "portal/c", "change": "new"},
        ],
        "warnings": [],
    }
    assert {row["change"] for row in again["secrets"]} == {"same"}
    assert "-value" not in asked.stdout + asked.stderr + done.stdout + done.stderr


@pytest.mark.host
def test_hostile_import_files_change_nothing(host: HostUnderTest, tmp_path: Path) -> None:
    """10 MB, a half of it good, a link, a pipe, a folder, /dev/zero: refused, nothing kept."""
    (tmp_path / "huge").write_bytes(b"A=" + b"x" * 10_000_000)
    (tmp_path / "half").write_text("A=good-value\nB='never closed")
    (tmp_path / "good").write_text("A=good-value\n")
    (tmp_path / "link").symlink_to("good")
    os.mkfifo(tmp_path / "pipe")

    for name, says in {
        str(tmp_path / "huge"): "more than", str(tmp_path / "half"): "line 2",
        str(tmp_path / "link"): "is a link", str(tmp_path / "pipe"): "no regular file",
        str(tmp_path): "no regular file", "/dev/zero": "no regular file",
        str(tmp_path / "none"): "cannot read",
    }.items():  # fmt: skip
        done = host.run("secrets", "import", name, "--yes")

        assert done.returncode in (1, 2), name
        assert says in done.stderr, done.stderr
        assert "Traceback" not in done.stderr
        assert "good-value" not in done.stderr
    assert json.loads(host.run("secrets", "list", "--json").stdout) == {"secrets": []}


@pytest.mark.host
def test_a_world_readable_import_file_is_warned_of(host: HostUnderTest, tmp_path: Path) -> None:
    """On stderr before anything, and in the report; stdin has no such thing and needs --yes."""
    file = tmp_path / "file.env"
    file.write_text("A=value\n")
    file.chmod(0o644)

    done = host.run("secrets", "import", str(file), "--yes", "--json")
    piped = host.run("secrets", "import", "-", stdin="B=value")
    agreed = host.run("secrets", "import", "-", "--yes", "--json", stdin='{"B": "value"}')

    assert "warning:" in done.stderr
    assert "mode 644" in json.loads(done.stdout)["warnings"][0]
    assert (piped.returncode, "Add --yes" in piped.stderr) == (2, True)
    assert json.loads(agreed.stdout)["secrets"] == [{"key": "B", "name": "b", "change": "new"}]
