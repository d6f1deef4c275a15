"""What is printed for a person."""

from __future__ import annotations

import pytest

from chittyops_core.cli.render import fit

HEADS = ("SERVICE", "KIND", "RELEASE", "HEALTH", "INSTANCES", "WATCH", "SINCE (UTC)", "URL")
ROW = (
    "shop", "chitty-apps", "0a2b59e5e488c3ef", "healthy", "1/1", "ok", "2026-11-25T09:04:26",
    "http://shop.localhost:7080",
)  # fmt: skip


@pytest.mark.parametrize(
    ("columns", "left_out"),
    [
        (200, set()),
        (105, {"KIND"}),
        (80, {"KIND", "SINCE (UTC)"}),
        (10, {"KIND", "SINCE (UTC)", "RELEASE", "INSTANCES"}),
    ],
)
def test_a_narrow_terminal_is_spared_what_matters_least(columns: int, left_out: set[str]) -> None:
    """How a service is, and what the agent says of it, always stand there."""
    heads, rows = fit(HEADS, [ROW], columns)

    assert set(HEADS) - set(heads) == left_out
    assert [dict(zip(heads, row, strict=True))["WATCH"] for row in rows] == ["ok"]
