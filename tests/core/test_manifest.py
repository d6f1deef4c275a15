"""`chittyops.toml`: read strictly, with errors that help."""

from __future__ import annotations

import json
import string
from datetime import timedelta

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chittyops_core.errors import ManifestError
from chittyops_core.model.manifest import Builder, EnvVar, StrategyChoice
from chittyops_core.model.manifest_reader import find_line, parse, parse_duration, parse_size
from chittyops_core.model.manifest_schema import manifest_schema

FULL = """\
schema = 1
x-owner = "clerk"
[app]
name = "case-portal"
kind = "cook-county"
hosts = ["portal.example.gov"]
[build]
builder = "requirements"
[process.web]
command = "uvicorn portal:app --uds $SOCKET"
instances = 2
memory = "512M"
[health]
path = "/healthz"
timeout = "90s"
[deploy]
strategy = "recreate"
release = "python -m portal migrate"
[env]
LOG_LEVEL = "info"
WORKERS = 4
DEBUG = false
SECRET_KEY = { secret = "portal/secret-key", generate = "hex64" }
[edge.headers]
Content-Security-Policy = "default-src 'self'"
[environment.staging]
app.hosts = ["staging.example.gov"]
env.LOG_LEVEL = "debug"
"""


def test_a_whole_manifest_is_read() -> None:
    """Every section, with units and types."""
    manifest = parse(FULL)

    assert manifest.app.hosts == ("portal.example.gov",)
    assert manifest.build.builder is Builder.REQUIREMENTS
    assert manifest.process["web"].memory == 512 * 2**20
    assert manifest.health.timeout == timedelta(seconds=90)
    assert manifest.deploy.strategy is StrategyChoice.RECREATE
    assert manifest.env["WORKERS"] == EnvVar(value="4")
    assert manifest.env["DEBUG"] == EnvVar(value="false")
    assert manifest.env["SECRET_KEY"].generate == "hex64"


def test_an_overlay_changes_only_what_it_says() -> None:
    """The rest is as it was."""
    manifest = parse(FULL, environment="staging")

    assert manifest.app.hosts == ("staging.example.gov",)
    assert manifest.app.name == "case-portal"
    assert manifest.env["LOG_LEVEL"].value == "debug"


def test_layers_are_laid_over_in_their_order() -> None:
    """A client's file, then what was given in code; a mistake names the layer."""
    layers = [("clients/acme.toml", {"env": {"A": "1", "B": "1"}}), ("given", {"env": {"B": "2"}})]

    manifest = parse(FULL, layers=layers)

    assert (manifest.env["A"].value, manifest.env["B"].value) == ("1", "2")
    with pytest.raises(ManifestError, match=r"clients/acme\.toml: health\.pth: unknown key"):
        parse(FULL, layers=[("clients/acme.toml", {"health": {"pth": "/"}})])


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ('[health]\npathh = "/"', 2, "did you mean 'path'?"),
        ('\n\n[proces.web]\ncommand = "x"', 3, "did you mean 'process'?"),
        ("[process.web]\ninstances = 3", 1, "'command' is missing"),
        ("[process.web]\ncomand = 'x'", 2, "did you mean 'command'"),
        ('[process.web]\ncommand = "x"\ninstances = true', 3, "expected a whole number"),
        ('[process.web]\ncommand = "x"\ninstances = 40', 3, "expected 1 to 12, got 40"),
        ('[process.web]\ncommand = " "', 2, "expected a command"),
        ('[process.Web]\ncommand = "x"', 1, "cannot name the process"),
        ("[app]\nname = 3", 2, "expected a text in quotes"),
        ('[app]\nname = "../x"', 2, "cannot name the app"),
        ('[app]\nhosts = "x"', 2, "expected a list of texts"),
        ('[app]\nhosts = ["A b"]', 2, "is no host name"),
        ("[health]\ntimeout = 3", 2, 'such as "30s"'),
        ('[health]\npath = "healthz"', 2, "starts with '/'"),
        ('[deploy]\nstrategy = "bluegreen"', 2, "did you mean 'blue-green'?"),
        ("[deploy]\nkeep = -1", 2, "expected 0 to 1000"),
        ('[resource.db]\ntype = "postgres"', 1, "cannot be used yet"),
        ('[env]\nA = { from = "resource:db.url" }', 2, "cannot be used yet"),
        ('[env]\nA = { secret = "x", value = "y" }', 2, "both `value` and `secret`"),
        ('[env]\nA = { generate = "hex64" }', 2, "need `secret`"),
        ('[env]\nA = { secret = "x", generate = "hex65" }', 2, "hex32, hex64 or password"),
        ('[env]\nA = { secret = "../../etc" }', 2, "cannot name a secret"),
        ('[env]\nA = { value = "x", type = "integer" }', 2, "is no integer"),
        ("[env]\nA = [1]", 2, "expected a text, a number or a table"),
        ('[env]\n"a b" = "x"', 2, "cannot name an environment variable"),
        ('[env]\nPORT = "1"', 2, "is set by ChittyOps"),
        ('[env]\nCHITTYOPS_X = "1"', 2, "is set by ChittyOps"),
        ("env = 3", 1, "expected a table"),
        ("app = 3", 1, "expected a table"),
        ('[edge.headers]\nX = "{env.SECRET}"', 2, "nor '{'"),
        ('[edge.headers]\nX = "a\\r\\nSet-Cookie: b"', 2, "control characters"),
        ('[edge.headers]\n"X Y" = "a"', 2, "cannot name a header"),
        ("schema = 2", 1, "reads schema 1"),
        ('[environment.staging]\nhealth.pth = "/"', 2, "did you mean 'path'?"),
        ("[environment.STAGING]", 1, "cannot name the environment"),
        ('[target]\nkind = "kubernetes"', 2, "expected one of local"),
    ],
)
def test_a_mistake_is_named_with_its_line_and_what_was_expected(
    text: str, line: int, said: str
) -> None:
    """File, line, key, and the nearest known word."""
    with pytest.raises(ManifestError) as caught:
        parse(text)

    assert caught.value.message.startswith(f"chittyops.toml:{line}: ")
    assert said in caught.value.message


def test_broken_toml_is_named_with_its_place() -> None:
    """In tomllib's own words."""
    with pytest.raises(ManifestError, match="line 2"):
        parse("a = 1\nb =\n")


def test_every_overlay_is_checked_not_only_the_one_in_use() -> None:
    """A typo in staging is found on the way to production."""
    with pytest.raises(ManifestError, match=r"environment\.staging\.app\.nam"):
        parse('[environment.staging]\napp.nam = "x"', environment="production")


@given(st.integers(0, 10**6), st.sampled_from(["ms", "s", "m", "h", "d"]))
def test_durations_are_read_by_their_unit(number: int, unit: str) -> None:
    """A whole number and one of five units."""
    seconds = number * {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}[unit]

    assert parse_duration(f"{number}{unit}") == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "30", "s", "-1s", "1 s", "1w", "1s2s", 30, None])
def test_what_is_no_duration_is_refused(text: object) -> None:
    """Neither bare numbers nor unknown units nor other scripts' digits."""
    with pytest.raises(ValueError, match="expected a duration"):
        parse_duration(text)


@given(st.integers(0, 4096), st.sampled_from("KMGT"))
def test_sizes_are_powers_of_1024(number: int, unit: str) -> None:
    """With or without the B, whatever the case."""
    expected = number * 1024 ** ("KMGT".index(unit) + 1)

    assert parse_size(f"{number}{unit}") == expected
    assert parse_size(f"{number}{unit.lower()}iB") == expected


@given(st.text(string.printable, max_size=80))
def test_no_text_makes_the_reader_fail_otherwise(text: str) -> None:
    """Whatever stands in the file, the error is a ManifestError."""
    try:
        parse(text)
    except ManifestError as error:
        assert error.message


def test_a_key_is_found_where_it_stands() -> None:
    """In a table, dotted, quoted, or inside an inline table."""
    text = "[a]\nb.c = 1\n[d.'e f']\ng = { h = 1 }\n"

    assert find_line(text, ("a", "b", "c")) == 2
    assert find_line(text, ("d", "e f", "g", "h")) == 4
    assert find_line(text, ("nowhere",)) is None


def test_the_schema_accepts_what_the_reader_accepts() -> None:
    """And refuses an unknown key, as the reader does."""
    import tomllib

    schema = manifest_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)

    assert list(validator.iter_errors(tomllib.loads(FULL))) == []
    assert list(validator.iter_errors({"health": {"pathh": "/"}}))
    assert list(validator.iter_errors({"deploy": {"drain": 30}}))
    assert json.dumps(schema)
