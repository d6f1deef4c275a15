"""The parent's tables, the same on SQLite and PostgreSQL. `migrations/` brings a database here.

Times are seconds since the epoch (REAL) by the parent's clock, unless a comment says the child's.
JSON is kept as text, as it came. No page or sync may scan a table that grows with the fleet:
what is counted is counted when it changes (`tally`), what is searched stands in `term`.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    false,
    text,
)

__all__ = [
    "METADATA",
    "activity",
    "api_token",
    "child",
    "child_key",
    "child_place",
    "child_section",
    "child_state",
    "enrol_token",
    "event",
    "metric_set",
    "operator",
    "sample",
    "sample_day",
    "sample_hour",
    "saved_filter",
    "service",
    "session",
    "setting",
    "stream",
    "tally",
    "term",
]

METADATA = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)

_BIG = BigInteger().with_variant(Integer, "sqlite")  # SQLite numbers rows by INTEGER only.
_CHILD = "child.id"


def _words(length: int) -> String:
    """Return text that sorts by code point in both, so that a beginning is a range."""
    return String(length).with_variant(String(length, collation="C"), "postgresql")


setting = Table(
    "setting", METADATA,
    Column("name", String(64), primary_key=True), Column("value", Text, nullable=False),
)  # fmt: skip

# --- children ---

enrol_token = Table(
    "enrol_token", METADATA,
    Column("id", String(32), primary_key=True),
    Column("hash", String(64), nullable=False, unique=True),  # SHA-256 of the secret, hexadecimal
    Column("name", String(200), nullable=False),
    Column("labels", Text, nullable=False),  # JSON; what its children begin with
    Column("auto_accept", Boolean, nullable=False),
    Column("uses_left", Integer, nullable=False),
    Column("created_at", Float, nullable=False), Column("created_by", String(200), nullable=False),
    Column("expires_at", Float, nullable=False), Column("withdrawn_at", Float),
)  # fmt: skip

child = Table(
    "child", METADATA,
    Column("id", String(32), primary_key=True),
    Column("name", String(200), nullable=False),
    Column("kind", String(64), nullable=False),  # of its services: one, or `mixed`, or "" for none
    Column("state", String(16), nullable=False),  # bridge.protocol.ChildState
    Column("labels", Text, nullable=False),  # JSON
    Column("facts", Text, nullable=False),  # JSON, of its enrolment
    Column("token", String(32), ForeignKey("enrol_token.id")),
    Column("enrolled_at", Float, nullable=False),
    Column("decided_at", Float), Column("decided_by", String(200)),
    Column("reason", Text, nullable=False, server_default=""),
    Index(None, "state", "name", "id"),
    Index(None, "name", "id"),
    Index(None, "kind", "name", "id"),
)  # fmt: skip

child_key = Table(
    "child_key", METADATA,
    Column("thumbprint", String(43), primary_key=True),
    Column("child", String(32), ForeignKey(_CHILD), nullable=False, index=True),
    Column("public_key", LargeBinary, nullable=False),
    Column("state", String(16), nullable=False),  # current, next (rotated, unused yet), retired
    Column("created_at", Float, nullable=False), Column("retired_at", Float),
)  # fmt: skip

# The hot row: one update a sync, and nothing else in it.
child_state = Table(
    "child_state", METADATA,
    Column("child", String(32), ForeignKey(_CHILD), primary_key=True),
    Column("stream", String(36)), Column("n", _BIG, nullable=False, server_default="0"),
    Column("created", _BIG, nullable=False, server_default="0"),  # the child's clock
    Column("signature", LargeBinary),  # number and mark of the last requests; ingest.py
    Column("acked", _BIG, nullable=False, server_default="0"),
    Column("first_seen", Float), Column("last_seen", Float),
    Column("deadline_at", Float),  # NULL before its first sync and after it left
    Column("is_overdue", Boolean, nullable=False, server_default=false()),
    Column("overdue_since", Float),
    Column("status", String(24), nullable=False, server_default="unknown"),  # protocol.Status
    Column("status_since", Float),
    Column("next_s", Float), Column("sdk", String(200), nullable=False, server_default=""),
    Column("caps", Text, nullable=False, server_default="[]"),  # JSON
    Column("skew_s", Float, nullable=False, server_default="0"),
    Column("lag", _BIG, nullable=False, server_default="0"),  # items that it says it still owes
    Column("digests", Text, nullable=False, server_default="{}"),  # JSON; section -> digest we have
)  # fmt: skip
Index(
    "ix_child_state_due", child_state.c.deadline_at,
    sqlite_where=text("NOT is_overdue"), postgresql_where=text("NOT is_overdue"),
)  # fmt: skip

stream = Table(
    "stream", METADATA,
    Column("child", String(32), ForeignKey(_CHILD), primary_key=True),
    Column("id", String(36), primary_key=True),
    Column("acked", _BIG, nullable=False), Column("first_at", Float, nullable=False),
    Column("first_created", _BIG, nullable=False),  # of its first request, child's clock
    Column("superseded_at", Float),
)  # fmt: skip

child_section = Table(
    "child_section", METADATA,
    Column("child", String(32), ForeignKey(_CHILD), primary_key=True),
    Column("section", String(64), primary_key=True),
    Column("digest", String(16), nullable=False), Column("body", Text, nullable=False),
    Column("at", Float, nullable=False),
)  # fmt: skip

# What runs where: the section `inventory`, by service. A row that ended keeps its end, so that
# "since when" and "what ran before" have an answer.
service = Table(
    "service", METADATA,
    Column("id", _BIG, primary_key=True, autoincrement=True),
    Column("child", String(32), ForeignKey(_CHILD), nullable=False),
    Column("slug", String(200), nullable=False),
    Column("app", String(200), nullable=False), Column("environment", String(200), nullable=False),
    Column("client", String(200)), Column("kind", String(64), nullable=False),
    Column("release", _words(64), nullable=False), Column("commit_id", _words(64)),
    Column("manifest", String(64)), Column("sbom", String(64)), Column("lite", String(200)),
    Column("address", Text), Column("status", String(24), nullable=False),
    # What `lite` says, written so that an older version sorts first; NULL where it is none.
    Column("version", _words(64)),
    # `since` is the child's word, `seen_at` when it was first reported so.
    Column("since", Float), Column("seen_at", Float, nullable=False), Column("ended_at", Float),
    Index(None, "child", "slug", "id"), Index(None, "commit_id", "id"),
    Index(None, "release", "id"),
)  # fmt: skip
for _columns in (
    ("child", "slug", "id"), ("app", "environment", "id"), ("client", "id"), ("kind", "id"),
    ("version", "id"),
):  # fmt: skip
    Index(
        f"ix_service_current_{_columns[0]}", *(service.c[each] for each in _columns),
        sqlite_where=text("ended_at IS NULL"), postgresql_where=text("ended_at IS NULL"),
    )  # fmt: skip

event = Table(
    "event", METADATA,
    Column("id", _BIG, primary_key=True, autoincrement=True),
    Column("child", String(32), ForeignKey(_CHILD), nullable=False),
    Column("stream", String(36), nullable=False), Column("seq", _BIG, nullable=False),
    Column("kind", String(64), nullable=False),  # protocol.ItemKind, or what a newer child sent
    Column("type", String(200), nullable=False), Column("service", String(200)),
    Column("at", Float, nullable=False),  # child's clock, corrected by its skew
    Column("received_at", Float, nullable=False), Column("body", Text, nullable=False),
    UniqueConstraint("child", "stream", "seq"),
    Index(None, "child", "at", "id"), Index(None, "child", "type", "at", "id"),
    Index(None, "type", "at", "id"), Index(None, "at", "id"),
)  # fmt: skip

# --- metrics: a row a sync, packed; a chunk a day (counted from 1970); roll-ups by the hour ---

metric_set = Table(
    "metric_set", METADATA,
    Column("id", String(16), primary_key=True), Column("names", Text, nullable=False),  # JSON
)  # fmt: skip

sample = Table(
    "sample", METADATA,
    Column("child", String(32), primary_key=True), Column("at", _BIG, primary_key=True),  # seconds
    Column("metric_set", String(16), primary_key=True),
    Column("packed", LargeBinary, nullable=False),  # `packing.pack_row`
    sqlite_with_rowid=False,
)  # fmt: skip

sample_day = Table(
    "sample_day", METADATA,
    Column("id", _BIG, primary_key=True, autoincrement=True),
    Column("child", String(32), nullable=False), Column("day", Integer, nullable=False),
    Column("metric_set", String(16), nullable=False),
    Column("samples", Integer, nullable=False),
    Column("chunk", LargeBinary, nullable=False),  # `packing.pack_chunk`
    UniqueConstraint("child", "day", "metric_set"), Index(None, "day"),
)  # fmt: skip

sample_hour = Table(
    "sample_hour", METADATA,
    Column("id", _BIG, primary_key=True, autoincrement=True),
    Column("child", String(32), nullable=False), Column("day", Integer, nullable=False),
    Column("metric_set", String(16), nullable=False),
    Column("chunk", LargeBinary, nullable=False),  # `packing.pack_chunk`, four columns a name
    UniqueConstraint("child", "day", "metric_set"), Index(None, "day"),
)  # fmt: skip

# --- counted and searched without scans ---

# By what children are listed and counted, in one row of each: `tally.settle` keeps it.
child_place = Table(
    "child_place", METADATA,
    Column("child", String(32), ForeignKey(_CHILD), primary_key=True),
    Column("state", String(16), nullable=False), Column("kind", String(64), nullable=False),
    Column("status", String(24), nullable=False), Column("is_overdue", Boolean, nullable=False),
    Column("sort", _words(200), nullable=False),  # its name, without case
    Index("ix_child_place_all", "state", "kind", "status", "is_overdue", "sort", "child"),
    Index(None, "sort", "child"),
)  # fmt: skip

# One row for each combination that exists: (state, kind, status, overdue) of children.
tally = Table(
    "tally", METADATA,
    Column("state", String(16), primary_key=True), Column("kind", String(64), primary_key=True),
    Column("status", String(24), primary_key=True), Column("is_overdue", Boolean, primary_key=True),
    Column("count", _BIG, nullable=False),
)  # fmt: skip

# Words by which a child is found, in lower case: its name, its services' apps, clients, commits ...
term = Table(
    "term", METADATA,
    Column("word", _words(64), primary_key=True), Column("child", String(32), primary_key=True),
    Index(None, "child", "word"),
    sqlite_with_rowid=False,
)  # fmt: skip

# --- operators ---

operator = Table(
    "operator", METADATA,
    Column("id", String(32), primary_key=True),
    Column("name", String(200), nullable=False, unique=True),
    Column("password", Text),  # argon2id; NULL for who signs in elsewhere only
    Column("subject", Text, unique=True),  # `ISSUER SUBJECT` of an OpenID provider
    Column("role", String(16), nullable=False),
    Column("created_at", Float, nullable=False), Column("disabled_at", Float),
)  # fmt: skip

session = Table(
    "session", METADATA,
    Column("hash", String(64), primary_key=True),  # SHA-256 of the cookie's secret
    Column("operator", String(32), ForeignKey("operator.id"), nullable=False, index=True),
    Column("created_at", Float, nullable=False), Column("seen_at", Float, nullable=False),
    Column("expires_at", Float, nullable=False, index=True),
    Column("address", String(64), nullable=False), Column("agent", String(200), nullable=False),
)  # fmt: skip

api_token = Table(
    "api_token", METADATA,
    Column("id", String(32), primary_key=True),
    Column("hash", String(64), nullable=False, unique=True),
    Column("operator", String(32), ForeignKey("operator.id"), nullable=False, index=True),
    Column("name", String(200), nullable=False), Column("role", String(16), nullable=False),
    Column("created_at", Float, nullable=False), Column("expires_at", Float),
    Column("used_at", Float), Column("withdrawn_at", Float),
)  # fmt: skip

saved_filter = Table(
    "saved_filter", METADATA,
    Column("id", String(32), primary_key=True),
    Column("operator", String(32), ForeignKey("operator.id"), nullable=False),
    Column("name", String(200), nullable=False), Column("query", Text, nullable=False),
    Column("is_shared", Boolean, nullable=False, server_default=false()),
    UniqueConstraint("operator", "name"), Index(None, "is_shared", "name"),
)  # fmt: skip

# Everything that an operator or the parent itself did: only added to, shaped as AU-3 asks.
activity = Table(
    "activity", METADATA,
    Column("id", _BIG, primary_key=True, autoincrement=True),
    Column("at", Float, nullable=False, index=True),
    Column("actor", String(200), nullable=False),  # an operator's name, `parent`, `cli:USER`
    Column("action", String(64), nullable=False),  # `child.accept`
    Column("object", String(200), nullable=False),  # `child/ch_...`
    Column("outcome", String(16), nullable=False),  # done, refused, failed
    Column("address", String(64), nullable=False), Column("detail", Text, nullable=False),  # JSON
    Index(None, "object", "id"), Index(None, "actor", "id"),
)  # fmt: skip
