"""The first tables."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Bring the tables from the revision before to this one."""
    op.create_table(
        "activity",
        sa.Column(
            "id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=True,
            nullable=False,
        ),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("actor", sa.String(length=200), nullable=False),
        sa.Column("action", sa.String(length=64), nullable=False),
        sa.Column("object", sa.String(length=200), nullable=False),
        sa.Column("outcome", sa.String(length=16), nullable=False),
        sa.Column("address", sa.String(length=64), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_activity")),
    )
    op.create_index(op.f("ix_activity_actor_id"), "activity", ["actor", "id"], unique=False)
    op.create_index(op.f("ix_activity_at"), "activity", ["at"], unique=False)
    op.create_index(op.f("ix_activity_object_id"), "activity", ["object", "id"], unique=False)
    op.create_table(
        "enrol_token",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("labels", sa.Text(), nullable=False),
        sa.Column("auto_accept", sa.Boolean(), nullable=False),
        sa.Column("uses_left", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("created_by", sa.String(length=200), nullable=False),
        sa.Column("expires_at", sa.Float(), nullable=False),
        sa.Column("withdrawn_at", sa.Float(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_enrol_token")),
        sa.UniqueConstraint("hash", name=op.f("uq_enrol_token_hash")),
    )
    op.create_table(
        "metric_set",
        sa.Column("id", sa.String(length=16), nullable=False),
        sa.Column("names", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_metric_set")),
    )
    op.create_table(
        "operator",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("password", sa.Text(), nullable=True),
        sa.Column("subject", sa.Text(), nullable=True),
        sa.Column("role", sa.String(length=16), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("disabled_at", sa.Float(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_operator")),
        sa.UniqueConstraint("name", name=op.f("uq_operator_name")),
        sa.UniqueConstraint("subject", name=op.f("uq_operator_subject")),
    )
    op.create_table(
        "sample",
        sa.Column("child", sa.String(length=32), nullable=False),
        sa.Column("at", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("metric_set", sa.String(length=16), nullable=False),
        sa.Column("packed", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("child", "at", "metric_set", name=op.f("pk_sample")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "sample_day",
        sa.Column(
            "id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=True,
            nullable=False,
        ),
        sa.Column("child", sa.String(length=32), nullable=False),
        sa.Column("day", sa.Integer(), nullable=False),
        sa.Column("metric_set", sa.String(length=16), nullable=False),
        sa.Column("samples", sa.Integer(), nullable=False),
        sa.Column("chunk", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sample_day")),
        sa.UniqueConstraint(
            "child", "day", "metric_set", name=op.f("uq_sample_day_child_day_metric_set")
        ),
    )
    op.create_index(op.f("ix_sample_day_day"), "sample_day", ["day"], unique=False)
    op.create_table(
        "sample_hour",
        sa.Column(
            "id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=True,
            nullable=False,
        ),
        sa.Column("child", sa.String(length=32), nullable=False),
        sa.Column("day", sa.Integer(), nullable=False),
        sa.Column("metric_set", sa.String(length=16), nullable=False),
        sa.Column("chunk", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sample_hour")),
        sa.UniqueConstraint(
            "child", "day", "metric_set", name=op.f("uq_sample_hour_child_day_metric_set")
        ),
    )
    op.create_index(op.f("ix_sample_hour_day"), "sample_hour", ["day"], unique=False)
    op.create_table(
        "setting",
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_setting")),
    )
    op.create_table(
        "tally",
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("kind", sa.String(length=64), nullable=False),
        sa.Column("status", sa.String(length=24), nullable=False),
        sa.Column("is_overdue", sa.Boolean(), nullable=False),
        sa.Column("count", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.PrimaryKeyConstraint("state", "kind", "status", "is_overdue", name=op.f("pk_tally")),
    )
    op.create_table(
        "term",
        sa.Column(
            "word",
            sa.String(length=64).with_variant(sa.String(length=64, collation="C"), "postgresql"),
            nullable=False,
        ),
        sa.Column("child", sa.String(length=32), nullable=False),
        sa.PrimaryKeyConstraint("word", "child", name=op.f("pk_term")),
        sqlite_with_rowid=False,
    )
    op.create_index(op.f("ix_term_child_word"), "term", ["child", "word"], unique=False)
    op.create_table(
        "api_token",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.Column("operator", sa.String(length=32), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("role", sa.String(length=16), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("expires_at", sa.Float(), nullable=True),
        sa.Column("used_at", sa.Float(), nullable=True),
        sa.Column("withdrawn_at", sa.Float(), nullable=True),
        sa.ForeignKeyConstraint(
            ["operator"], ["operator.id"], name=op.f("fk_api_token_operator_operator")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_token")),
        sa.UniqueConstraint("hash", name=op.f("uq_api_token_hash")),
    )
    op.create_index(op.f("ix_api_token_operator"), "api_token", ["operator"], unique=False)
    op.create_table(
        "child",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("kind", sa.String(length=64), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("labels", sa.Text(), nullable=False),
        sa.Column("facts", sa.Text(), nullable=False),
        sa.Column("token", sa.String(length=32), nullable=True),
        sa.Column("enrolled_at", sa.Float(), nullable=False),
        sa.Column("decided_at", sa.Float(), nullable=True),
        sa.Column("decided_by", sa.String(length=200), nullable=True),
        sa.Column("reason", sa.Text(), server_default="", nullable=False),
        sa.ForeignKeyConstraint(
            ["token"], ["enrol_token.id"], name=op.f("fk_child_token_enrol_token")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_child")),
    )
    op.create_index(op.f("ix_child_kind_name_id"), "child", ["kind", "name", "id"], unique=False)
    op.create_index(op.f("ix_child_name_id"), "child", ["name", "id"], unique=False)
    op.create_index(op.f("ix_child_state_name_id"), "child", ["state", "name", "id"], unique=False)
    op.create_table(
        "saved_filter",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("operator", sa.String(length=32), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("query", sa.Text(), nullable=False),
        sa.Column("is_shared", sa.Boolean(), server_default=sa.text("0"), nullable=False),
        sa.ForeignKeyConstraint(
            ["operator"], ["operator.id"], name=op.f("fk_saved_filter_operator_operator")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_saved_filter")),
        sa.UniqueConstraint("operator", "name", name=op.f("uq_saved_filter_operator_name")),
    )
    op.create_index(
        op.f("ix_saved_filter_is_shared_name"), "saved_filter", ["is_shared", "name"], unique=False
    )
    op.create_table(
        "session",
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.Column("operator", sa.String(length=32), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("seen_at", sa.Float(), nullable=False),
        sa.Column("expires_at", sa.Float(), nullable=False),
        sa.Column("address", sa.String(length=64), nullable=False),
        sa.Column("agent", sa.String(length=200), nullable=False),
        sa.ForeignKeyConstraint(
            ["operator"], ["operator.id"], name=op.f("fk_session_operator_operator")
        ),
        sa.PrimaryKeyConstraint("hash", name=op.f("pk_session")),
    )
    op.create_index(op.f("ix_session_expires_at"), "session", ["expires_at"], unique=False)
    op.create_index(op.f("ix_session_operator"), "session", ["operator"], unique=False)
    op.create_table(
        "child_key",
        sa.Column("thumbprint", sa.String(length=43), nullable=False),
        sa.Column("child", sa.String(length=32), nullable=False),
        sa.Column("public_key", sa.LargeBinary(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("retired_at", sa.Float(), nullable=True),
        sa.ForeignKeyConstraint(["child"], ["child.id"], name=op.f("fk_child_key_child_child")),
        sa.PrimaryKeyConstraint("thumbprint", name=op.f("pk_child_key")),
    )
    op.create_index(op.f("ix_child_key_child"), "child_key", ["child"], unique=False)
    op.create_table(
        "child_place",
        sa.Column("child", sa.String(length=32), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("kind", sa.String(length=64), nullable=False),
        sa.Column("status", sa.String(length=24), nullable=False),
        sa.Column("is_overdue", sa.Boolean(), nullable=False),
        sa.Column(
            "sort",
            sa.String(length=200).with_variant(sa.String(length=200, collation="C"), "postgresql"),
            nullable=False,
        ),
        sa.ForeignKeyConstraint(["child"], ["child.id"], name=op.f("fk_child_place_child_child")),
        sa.PrimaryKeyConstraint("child", name=op.f("pk_child_place")),
    )
    op.create_index(
        "ix_child_place_all",
        "child_place",
        ["state", "kind", "status", "is_overdue", "sort", "child"],
        unique=False,
    )
    op.create_table(
        "child_section",
        sa.Column("child", sa.String(length=32), nullable=False),
        sa.Column("section", sa.String(length=64), nullable=False),
        sa.Column("digest", sa.String(length=16), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(["child"], ["child.id"], name=op.f("fk_child_section_child_child")),
        sa.PrimaryKeyConstraint("child", "section", name=op.f("pk_child_section")),
    )
    op.create_table(
        "child_state",
        sa.Column("child", sa.String(length=32), nullable=False),
        sa.Column("stream", sa.String(length=36), nullable=True),
        sa.Column(
            "n",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            server_default="0",
            nullable=False,
        ),
        sa.Column(
            "created",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            server_default="0",
            nullable=False,
        ),
        sa.Column("signature", sa.LargeBinary(), nullable=True),
        sa.Column(
            "acked",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            server_default="0",
            nullable=False,
        ),
        sa.Column("first_seen", sa.Float(), nullable=True),
        sa.Column("last_seen", sa.Float(), nullable=True),
        sa.Column("deadline_at", sa.Float(), nullable=True),
        sa.Column("is_overdue", sa.Boolean(), server_default=sa.text("0"), nullable=False),
        sa.Column("overdue_since", sa.Float(), nullable=True),
        sa.Column("status", sa.String(length=24), server_default="unknown", nullable=False),
        sa.Column("status_since", sa.Float(), nullable=True),
        sa.Column("next_s", sa.Float(), nullable=True),
        sa.Column("sdk", sa.String(length=200), server_default="", nullable=False),
        sa.Column("caps", sa.Text(), server_default="[]", nullable=False),
        sa.Column("skew_s", sa.Float(), server_default="0", nullable=False),
        sa.Column(
            "lag",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            server_default="0",
            nullable=False,
        ),
        sa.Column("digests", sa.Text(), server_default="{}", nullable=False),
        sa.ForeignKeyConstraint(["child"], ["child.id"], name=op.f("fk_child_state_child_child")),
        sa.PrimaryKeyConstraint("child", name=op.f("pk_child_state")),
    )
    op.create_index(
        "ix_child_state_due",
        "child_state",
        ["deadline_at"],
        unique=False,
        sqlite_where=sa.text("NOT is_overdue"),
        postgresql_where=sa.text("NOT is_overdue"),
    )
    op.create_table(
        "event",
        sa.Column(
            "id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=True,
            nullable=False,
        ),
        sa.Column("child", sa.String(length=32), nullable=False),
        sa.Column("stream", sa.String(length=36), nullable=False),
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("kind", sa.String(length=64), nullable=False),
        sa.Column("type", sa.String(length=200), nullable=False),
        sa.Column("service", sa.String(length=200), nullable=True),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("received_at", sa.Float(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["child"], ["child.id"], name=op.f("fk_event_child_child")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_event")),
        sa.UniqueConstraint("child", "stream", "seq", name=op.f("uq_event_child_stream_seq")),
    )
    op.create_index(op.f("ix_event_at_id"), "event", ["at", "id"], unique=False)
    op.create_index(op.f("ix_event_child_at_id"), "event", ["child", "at", "id"], unique=False)
    op.create_index(
        op.f("ix_event_child_type_at_id"), "event", ["child", "type", "at", "id"], unique=False
    )
    op.create_index(op.f("ix_event_type_at_id"), "event", ["type", "at", "id"], unique=False)
    op.create_table(
        "service",
        sa.Column(
            "id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=True,
            nullable=False,
        ),
        sa.Column("child", sa.String(length=32), nullable=False),
        sa.Column("slug", sa.String(length=200), nullable=False),
        sa.Column("app", sa.String(length=200), nullable=False),
        sa.Column("environment", sa.String(length=200), nullable=False),
        sa.Column("client", sa.String(length=200), nullable=True),
        sa.Column("kind", sa.String(length=64), nullable=False),
        sa.Column(
            "release",
            sa.String(length=64).with_variant(sa.String(length=64, collation="C"), "postgresql"),
            nullable=False,
        ),
        sa.Column(
            "commit_id",
            sa.String(length=64).with_variant(sa.String(length=64, collation="C"), "postgresql"),
            nullable=True,
        ),
        sa.Column("manifest", sa.String(length=64), nullable=True),
        sa.Column("sbom", sa.String(length=64), nullable=True),
        sa.Column("lite", sa.String(length=200), nullable=True),
        sa.Column("address", sa.Text(), nullable=True),
        sa.Column("status", sa.String(length=24), nullable=False),
        sa.Column(
            "version",
            sa.String(length=64).with_variant(sa.String(length=64, collation="C"), "postgresql"),
            nullable=True,
        ),
        sa.Column("since", sa.Float(), nullable=True),
        sa.Column("seen_at", sa.Float(), nullable=False),
        sa.Column("ended_at", sa.Float(), nullable=True),
        sa.ForeignKeyConstraint(["child"], ["child.id"], name=op.f("fk_service_child_child")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_service")),
    )
    op.create_index(
        op.f("ix_service_child_slug_id"), "service", ["child", "slug", "id"], unique=False
    )
    op.create_index(op.f("ix_service_commit_id_id"), "service", ["commit_id", "id"], unique=False)
    op.create_index(
        "ix_service_current_app",
        "service",
        ["app", "environment", "id"],
        unique=False,
        sqlite_where=sa.text("ended_at IS NULL"),
        postgresql_where=sa.text("ended_at IS NULL"),
    )
    op.create_index(
        "ix_service_current_child",
        "service",
        ["child", "slug", "id"],
        unique=False,
        sqlite_where=sa.text("ended_at IS NULL"),
        postgresql_where=sa.text("ended_at IS NULL"),
    )
    op.create_index(
        "ix_service_current_client",
        "service",
        ["client", "id"],
        unique=False,
        sqlite_where=sa.text("ended_at IS NULL"),
        postgresql_where=sa.text("ended_at IS NULL"),
    )
    op.create_index(
        "ix_service_current_kind",
        "service",
        ["kind", "id"],
        unique=False,
        sqlite_where=sa.text("ended_at IS NULL"),
        postgresql_where=sa.text("ended_at IS NULL"),
    )
    op.create_index(
        "ix_service_current_version",
        "service",
        ["version", "id"],
        unique=False,
        sqlite_where=sa.text("ended_at IS NULL"),
        postgresql_where=sa.text("ended_at IS NULL"),
    )
    op.create_index(op.f("ix_service_release_id"), "service", ["release", "id"], unique=False)
    op.create_table(
        "stream",
        sa.Column("child", sa.String(length=32), nullable=False),
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("acked", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("first_at", sa.Float(), nullable=False),
        sa.Column(
            "first_created", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column("superseded_at", sa.Float(), nullable=True),
        sa.ForeignKeyConstraint(["child"], ["child.id"], name=op.f("fk_stream_child_child")),
        sa.PrimaryKeyConstraint("child", "id", name=op.f("pk_stream")),
    )
