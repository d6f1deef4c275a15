"""Metrics of children: rows as they came, a chunk a day afterwards, and roll-ups by the hour.

`put` runs in the transaction of a sync. `compact` and `forget` run beside: they read and press on
a connection of their own, and hand small pieces to the writer, so that no sync waits for them.
A piece is one day of one child, all or nothing; after a kill, `compact` begins with what is left.
"""

from __future__ import annotations

import json
import math
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import partial

import sqlalchemy as sa
from attrs import field, frozen
from sqlalchemy.dialects import postgresql, sqlite

from chittyops_core._kit.logs import get_logger
from chittyops_core.bridge.protocol import MAX_METRICS
from chittyops_core.errors import ParentError
from chittyops_core.parent.database import Database
from chittyops_core.parent.packing import Chunk, pack_chunk, pack_row, unpack_chunk, unpack_row
from chittyops_core.parent.schema import metric_set, sample, sample_day, sample_hour

__all__ = [
    "Compacted",
    "Line",
    "Retention",
    "Row",
    "Series",
    "compact",
    "forget",
    "names",
    "put",
    "series",
]

DAY_S = 86_400
HOUR_S = 3600

LATE_S = 2 * HOUR_S
"""After a day's end, before it is compacted; what comes later still is merged."""

MAX_AT = 2**32 - 1
"""Seconds since the epoch, the year 2106; what says that it is later is not kept."""

MAX_DAY_ROWS = 20_000
"""Rows that one piece of compaction takes: a day with one every 5 s."""

MAX_RAW_ROWS = 50_000
"""Rows as they came that one graph reads."""

MAX_SETS = 16
"""Metric sets of a child that are looked at."""

MAX_POINTS = 2000
"""Of a graph."""

FORGET_PIECE = 200
"""Chunks that are deleted in one transaction."""

BUSY_S = 0.05
"""Until the writer is asked again, when it had too much to do."""

_LOG = get_logger("chittyops.parent.samples")

Row = tuple[str, object, str, Sequence[object]]
"""Child, seconds since the epoch, metric set, values in the order of its names."""


@frozen
class Retention:
    """For how long metrics are kept.

    Attributes:
        days: Samples.
        rollup_days: Their roll-ups by the hour.
    """

    days: int = 30
    rollup_days: int = 400


@frozen
class Compacted:
    """What `compact` did: children looked at, days written, samples in them."""

    children: int = 0
    days: int = 0
    samples: int = 0


@frozen
class Line:
    """One metric of a graph; each as long as the times, None where nothing was seen.

    Attributes:
        low: The lowest value of each point's span.
        high: The highest.
        mean: The mean.
    """

    low: tuple[float | None, ...]
    high: tuple[float | None, ...]
    mean: tuple[float | None, ...]


@frozen
class Series:
    """What a graph shows.

    Attributes:
        times: Where each point's span begins, in seconds since the epoch.
        step: Seconds of a point.
        lines: By name.
    """

    times: tuple[float, ...]
    step: float
    lines: Mapping[str, Line] = field(factory=dict)


# --- in ---


def put(connection: sa.Connection, rows: Iterable[Row]) -> None:
    """Keep samples; one that is there already (child, time, set) stays as it is."""
    values = [
        {"child": child, "at": int(at), "metric_set": set_id, "packed": pack_row(row[:MAX_METRICS])}
        for child, at, set_id, row in rows
        if isinstance(at, int | float) and 0 <= at <= MAX_AT
    ]
    if values:
        connection.execute(_PUT[connection.dialect.name], values)


_PUT: dict[str, sa.Insert] = {
    "sqlite": sqlite.insert(sample).on_conflict_do_nothing(),
    "postgresql": postgresql.insert(sample).on_conflict_do_nothing(),
}

# --- compaction ---


def compact(
    database: Database,
    now: float,
    *,
    is_over: Callable[[], bool] = lambda: False,
    retention: Retention | None = None,
) -> Compacted:
    """Press every day that is over into a chunk and a roll-up for each set, a child at a time.

    It may be stopped or killed at any time and called again. Only one may run on a database.

    Args:
        database: Whose writer is started.
        now: Seconds since the epoch.
        is_over: Asked before each piece; True ends it early.
        retention: Days that are older are not compacted but deleted.
    """
    until = int((now - LATE_S) // DAY_S) * DAY_S
    oldest = int(now // DAY_S) - (retention or Retention()).days
    done = Compacted()
    child: str | None = ""
    while child is not None and not is_over():
        child, first = _next_child(database, child)
        while child is not None and first is not None and first < until and not is_over():
            try:
                days, samples = _compact_day(database, child, first, oldest)
            except ParentError as error:
                if error.facts.get("cause") != "damaged":
                    raise
                # Its rows stay as they came; the other children go on.
                _LOG.error("samples.chunk_damaged", child=child, day=first // DAY_S)
                break
            done = Compacted(done.children, done.days + days, done.samples + samples)
            first = _first_time(database, child)
        if child is not None:
            done = Compacted(done.children + 1, done.days, done.samples)
    return done


def _next_child(database: Database, after: str) -> tuple[str | None, int | None]:
    """Return the next child that has rows, and the time of its first."""
    with database.reading() as connection:
        row = connection.execute(
            sa.select(sample.c.child, sample.c.at)
            .where(sample.c.child > after)
            .order_by(sample.c.child, sample.c.at)
            .limit(1)
        ).one_or_none()
    return (row.child, row.at) if row else (None, None)


def _first_time(database: Database, child: str) -> int | None:
    with database.reading() as connection:
        return connection.scalar(
            sa.select(sample.c.at).where(sample.c.child == child).order_by(sample.c.at).limit(1)
        )


def _compact_day(database: Database, child: str, first: int, oldest: int) -> tuple[int, int]:
    """Compact the day of *first*; return how many chunks were written, and samples in them."""
    day = first // DAY_S
    if day < oldest:
        _write(database, partial(_delete_day, child=child, day=day))
        return 0, 0
    with database.reading() as connection:
        rows = connection.execute(
            sa.select(sample.c.at, sample.c.metric_set, sample.c.packed)
            .where(*_of_day(child, day))
            .order_by(sample.c.at)
            .limit(MAX_DAY_ROWS)
        ).all()
        old = _chunks_of_day(connection, child, day)
    by_set: dict[str, dict[int, Sequence[float]]] = defaultdict(dict)
    for row in rows:
        by_set[row.metric_set][row.at] = unpack_row(row.packed)
    for set_id, found in by_set.items():
        if set_id in old:  # What was compacted before is what counts.
            found.update(_rows_of(old[set_id]))
    pressed = {set_id: _press(found) for set_id, found in by_set.items()}
    _write(
        database,
        partial(
            _replace_day, child=child, day=day, taken=[tuple(r[:2]) for r in rows], new=pressed
        ),
    )
    return len(pressed), len(rows)


def _chunks_of_day(connection: sa.Connection, child: str, day: int) -> dict[str, bytes]:
    found = connection.execute(
        sa.select(sample_day.c.metric_set, sample_day.c.chunk).where(
            sample_day.c.child == child, sample_day.c.day == day
        )
    )
    return {row.metric_set: row.chunk for row in found}


def _rows_of(chunk: bytes) -> dict[int, Sequence[float]]:
    samples = unpack_chunk(chunk)
    columns = [samples.columns[number] for number in sorted(samples.columns)]
    rows: Iterable[Sequence[float]] = zip(*columns, strict=True)
    return dict(zip(samples.times, rows, strict=True))


def _press(found: Mapping[int, Sequence[float]]) -> tuple[int, bytes, bytes]:
    """Return how many samples there are, their chunk and their roll-up."""
    times = sorted(found)
    width = max(len(row) for row in found.values())
    columns = [
        [row[place] if place < len(row) else math.nan for row in map(found.__getitem__, times)]
        for place in range(width)
    ]
    return len(times), pack_chunk(times, columns), _rollup(times, columns)


def _rollup(times: Sequence[int], columns: Sequence[Sequence[float]]) -> bytes:
    """Return a chunk with a row an hour, and for each column: count, low, high, sum."""
    hours = sorted({at // HOUR_S for at in times})
    spans = {hour: [i for i, at in enumerate(times) if at // HOUR_S == hour] for hour in hours}
    rolled: list[list[float]] = []
    for column in columns:
        four: list[list[float]] = [[], [], [], []]
        for hour in hours:
            seen = [column[place] for place in spans[hour] if column[place] == column[place]]
            low, high = (min(seen), max(seen)) if seen else (math.nan, math.nan)
            total = math.fsum(seen) if seen else math.nan
            for kept, value in zip(four, (float(len(seen)), low, high, total), strict=True):
                kept.append(value)
        rolled += four
    return pack_chunk([hour * HOUR_S for hour in hours], rolled)


def _replace_day(
    connection: sa.Connection,
    child: str,
    day: int,
    taken: Sequence[tuple[int, str]],
    new: Mapping[str, tuple[int, bytes, bytes]],
) -> None:
    """Delete the rows that were *taken*, and put chunks and roll-ups in their place."""
    connection.execute(
        sample.delete().where(
            sample.c.child == child,
            sample.c.at == sa.bindparam("time"),
            sample.c.metric_set == sa.bindparam("set_id"),
        ),
        [{"time": at, "set_id": set_id} for at, set_id in taken],
    )
    for set_id, (count, chunk, rollup) in new.items():
        for table, values in (
            (sample_day, {"samples": count, "chunk": chunk}),
            (sample_hour, {"chunk": rollup}),
        ):
            here = (table.c.child == child, table.c.day == day, table.c.metric_set == set_id)
            if not connection.execute(table.update().where(*here).values(values)).rowcount:
                key = {"child": child, "day": day, "metric_set": set_id}
                connection.execute(table.insert().values(**key, **values))


def _delete_day(connection: sa.Connection, child: str, day: int) -> None:
    connection.execute(sample.delete().where(*_of_day(child, day)))


def _of_day(child: str, day: int) -> tuple[sa.ColumnElement[bool], ...]:
    return (
        sample.c.child == child,
        sample.c.at >= day * DAY_S,
        sample.c.at < (day + 1) * DAY_S,
    )


def _write(database: Database, work: Callable[[sa.Connection], None]) -> None:
    """Let the writer do *work*; wait while it has too much to do."""
    while True:
        try:
            database.write(work)
        except ParentError as error:
            if error.facts.get("cause") != "busy":
                raise
            time.sleep(BUSY_S)
        else:
            return


# --- retention ---


def forget(
    database: Database,
    now: float,
    retention: Retention | None = None,
    *,
    is_over: Callable[[], bool] = lambda: False,
) -> int:
    """Delete chunks and roll-ups that are too old, in small pieces; return how many.

    Rows as they came are `compact`'s: they are chunks, or gone, before they are that old.
    """
    kept = retention or Retention()
    today, deleted = int(now // DAY_S), 0
    for table, days in ((sample_day, kept.days), (sample_hour, kept.rollup_days)):
        while not is_over():
            with database.reading() as connection:
                old = connection.scalars(
                    sa.select(table.c.id)
                    .where(table.c.day < today - days)
                    .order_by(table.c.day)
                    .limit(FORGET_PIECE)
                ).all()
            if not old:
                break
            _write(database, partial(_delete, table=table, ids=old))
            deleted += len(old)
    return deleted


def _delete(connection: sa.Connection, table: sa.Table, ids: Sequence[int]) -> None:
    connection.execute(table.delete().where(table.c.id.in_(ids)))


# --- out ---


def names(connection: sa.Connection, child: str) -> tuple[str, ...]:
    """Return the names of the metrics that *child* sent of late, sorted."""
    recent = [
        sa.select(table.c.metric_set)
        .where(table.c.child == child)
        .order_by(order.desc())
        .limit(4 * MAX_SETS)
        for table, order in ((sample, sample.c.at), (sample_day, sample_day.c.day))
    ]
    sets = {set_id for found in recent for set_id in connection.scalars(found)}
    known = _names_of(connection, sets)
    return tuple(sorted({name for each in known.values() for name in each}))


def series(
    connection: sa.Connection,
    child: str,
    wanted: Sequence[str],
    since: float,
    until: float,
    points: int,
) -> Series:
    """Return what a graph of some metrics shows, over a span of time.

    Where a point is an hour or more, roll-ups are read, else samples; so the work grows with the
    points rather than with the span. What is not compacted yet is read as it came.

    Args:
        connection: To read on.
        child: Whose.
        wanted: Names of metrics; one that is not there has no values.
        since: Seconds since the epoch, where the first point begins.
        until: Where the last one ends.
        points: How many, at most `MAX_POINTS`.
    """
    count = max(1, min(points, MAX_POINTS))
    since, until = max(0.0, since), min(float(MAX_AT), until)
    step = max((until - since) / count, 1e-6)
    grid = _Grid(since, step, count, wanted)
    if since < until:
        _read(connection, child, grid, until)
    times = tuple(since + place * step for place in range(count))
    return Series(times, step, {name: grid.line(name) for name in wanted})


class _Grid:
    """The points of some lines while they are added up."""

    def __init__(self, since: float, step: float, count: int, wanted: Iterable[str]) -> None:
        self.since, self.step, self.count = since, step, count
        self.cells: dict[str, dict[int, list[float]]] = {name: {} for name in wanted}

    def add(
        self, name: str, at: float, count: float, low: float, high: float, total: float
    ) -> None:
        """Add *count* values to the point in which *at* lies; none is passed over."""
        place = int((at - self.since) // self.step)
        if not (0 <= place < self.count and count > 0):
            return
        cell = self.cells[name].get(place)
        if cell is None:
            self.cells[name][place] = [count, low, high, total]
            return
        cell[0] += count
        cell[1] = min(cell[1], low)
        cell[2] = max(cell[2], high)
        cell[3] += total

    def line(self, name: str) -> Line:
        cells = [self.cells[name].get(place) for place in range(self.count)]
        return Line(
            tuple(None if cell is None else cell[1] for cell in cells),
            tuple(None if cell is None else cell[2] for cell in cells),
            tuple(None if cell is None else cell[3] / cell[0] for cell in cells),
        )


def _read(connection: sa.Connection, child: str, grid: _Grid, until: float) -> None:
    first, last = int(grid.since // DAY_S), int(until // DAY_S)
    is_coarse = grid.step >= HOUR_S
    chunks = {} if is_coarse else _chunks(connection, sample_day, child, first, last)
    rollups = _chunks(connection, sample_hour, child, first, last)
    raw = connection.execute(
        sa.select(sample.c.at, sample.c.metric_set, sample.c.packed)
        .where(sample.c.child == child, sample.c.at >= int(grid.since), sample.c.at < until)
        .order_by(sample.c.at.desc())
        .limit(MAX_RAW_ROWS)
    ).all()
    sets = {set_id for _, set_id in (*chunks, *rollups)} | {row.metric_set for row in raw}
    columns = _columns(connection, sets, grid.cells)
    seen: set[tuple[str, int]] = set()
    for (_, set_id), body in chunks.items():
        samples = _readable(child, body, columns[set_id])
        seen.update((set_id, at) for at in samples.times)
        _add_samples(grid, samples, columns[set_id], until)
    for key, body in rollups.items():
        if key not in chunks:
            _add_hours(grid, child, body, columns[key[1]], until)
    for row in raw:
        if (row.metric_set, row.at) not in seen and columns[row.metric_set]:
            values = unpack_row(row.packed)
            for number, name in columns[row.metric_set].items():
                if number < len(values) and values[number] == values[number]:
                    _add_one(grid, name, row.at, values[number])


def _chunks(
    connection: sa.Connection, table: sa.Table, child: str, first: int, last: int
) -> dict[tuple[int, str], bytes]:
    rows = connection.execute(
        sa.select(table.c.day, table.c.metric_set, table.c.chunk).where(
            table.c.child == child, table.c.day >= first, table.c.day <= last
        )
    )
    return {(row.day, row.metric_set): row.chunk for row in rows}


def _add_samples(grid: _Grid, samples: Chunk, columns: Mapping[int, str], until: float) -> None:
    for number, values in samples.columns.items():
        for at, value in zip(samples.times, values, strict=True):
            if at < until and value == value:
                _add_one(grid, columns[number], at, value)


def _add_one(grid: _Grid, name: str, at: float, value: float) -> None:
    grid.add(name, at, 1, value, value, value)


def _readable(child: str, body: bytes, wanted: Collection[int]) -> Chunk:
    """Return what is in a chunk; nothing of one that is damaged, so that the rest is shown."""
    try:
        return unpack_chunk(body, wanted)
    except ParentError:
        _LOG.error("samples.chunk_damaged", child=child)
        return Chunk((), {})


def _add_hours(
    grid: _Grid, child: str, body: bytes, columns: Mapping[int, str], until: float
) -> None:
    if not columns:
        return
    wanted = [4 * number + part for number in columns for part in range(4)]
    hours = _readable(child, body, wanted)
    for number, name in columns.items():
        if 4 * number not in hours.columns:
            continue
        parts = (hours.columns[4 * number + part] for part in range(4))
        for at, count, low, high, total in zip(hours.times, *parts, strict=True):
            # An hour counts where its middle lies, so that the first is not lost.
            if at + HOUR_S / 2 < until:
                grid.add(name, at + HOUR_S / 2, count, low, high, total)


def _columns(
    connection: sa.Connection, sets: Iterable[str], wanted: Iterable[str]
) -> dict[str, dict[int, str]]:
    """Return for each set which of its columns have a wanted name."""
    asked = set(wanted)
    found: dict[str, dict[int, str]] = {set_id: {} for set_id in sets}
    for set_id, known in _names_of(connection, found).items():
        found[set_id] = {number: name for number, name in enumerate(known) if name in asked}
    return found


def _names_of(connection: sa.Connection, sets: Iterable[str]) -> dict[str, list[str]]:
    ids = sorted(sets)[: 4 * MAX_SETS]
    if not ids:
        return {}
    rows = connection.execute(
        sa.select(metric_set.c.id, metric_set.c.names).where(metric_set.c.id.in_(ids))
    )
    return {row.id: list(_texts(json.loads(row.names))) for row in rows}


def _texts(names: object) -> Iterator[str]:
    for name in names if isinstance(names, list) else ():
        yield name if isinstance(name, str) else ""
