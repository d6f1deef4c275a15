"""History for other tools: CSV by itself, Parquet with pyarrow."""

from __future__ import annotations

import csv
import secrets
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

from chittyops_core.errors import HostError, UsageError
from chittyops_core.monitor.history import Span
from chittyops_core.monitor.store import Store

__all__ = ["COLUMNS", "export"]

COLUMNS = ("monitor", "at", "good", "total", "min_s", "max_s", "sum_s", "p50_s", "p95_s", "p99_s",
           "why")  # fmt: skip
"""`at` is when the span begins, in UTC; durations are of good looks, in seconds; the quantiles are
within 1 %."""

ROWS_AT_ONCE = 10_000


def export(
    store: Store, path: Path, format: str, *, step: str = "minute", since: float, until: float
) -> int:
    """Write what *store* has to *path*, whole or not at all; return the number of rows.

    Args:
        store: One that nothing else uses meanwhile.
        path: What it replaces.
        format: `csv` or `parquet`.
        step: `raw`, `minute` or `hour`.
        since: Seconds since the epoch.
        until: Seconds since the epoch, not included.

    Raises:
        UsageError: There is no such format or step.
        HostError: The file cannot be written, or pyarrow is not installed.
    """
    write = {"csv": _write_csv, "parquet": _write_parquet}.get(format)
    if write is None:
        raise UsageError(f"there is no format {format!r}", remedy="Ask for csv or parquet.")
    temp = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        count = write(temp, map(_row, store.series(step, since, until)))
        temp.replace(path)
    except OSError as error:
        raise HostError(
            f"{path} cannot be written: {error.strerror or error}",
            remedy="Choose a folder that exists, is yours and has room.",
        ) from error
    finally:
        temp.unlink(missing_ok=True)
    return count


def _row(span: Span) -> tuple[Any, ...]:
    quantile: Callable[[float], float | None] = span.sketch.quantile
    return (
        span.monitor, datetime.fromtimestamp(span.at, UTC), span.good, span.total,
        span.min_s, span.max_s, span.sum_s, quantile(0.5), quantile(0.95), quantile(0.99), span.why,
    )  # fmt: skip


def _write_csv(path: Path, rows: Iterator[tuple[Any, ...]]) -> int:
    count = 0
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for monitor, at, *rest in rows:
            # Six digits are more than the sketch knows, and as many as the store keeps.
            cells = (f"{cell:.6g}" if isinstance(cell, float) else cell for cell in rest)
            writer.writerow((monitor, at.isoformat(timespec="milliseconds"), *cells))
            count += 1
    return count


def _write_parquet(path: Path, rows: Iterator[tuple[Any, ...]]) -> int:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise HostError(
            "Parquet needs pyarrow, which is not installed",
            remedy="pip install 'chittyops-core[parquet]', or export CSV.",
        ) from error
    kinds = (
        pyarrow.string(), pyarrow.timestamp("ms", "UTC"), pyarrow.int64(), pyarrow.int64(),
        *[pyarrow.float64()] * 6, pyarrow.string(),
    )  # fmt: skip
    schema = pyarrow.schema(list(zip(COLUMNS, kinds, strict=True)))
    count = 0
    with parquet.ParquetWriter(path, schema, compression="zstd") as writer:
        while chunk := list(islice(rows, ROWS_AT_ONCE)):
            columns = zip(*chunk, strict=True)
            arrays = [pyarrow.array(c, k) for c, k in zip(columns, kinds, strict=True)]
            writer.write_table(pyarrow.Table.from_arrays(arrays, schema=schema))
            count += len(chunk)
    return count
