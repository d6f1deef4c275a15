"""What an operation costs over doing the same by hand, each beside its peer in the same run.

    python benchmarks/overhead.py [--only ROW ...] [--json FILE] [--strict]

Rounds of ours and of the peer's alternate, and medians are compared, so that what else the
machine does falls on both. See docs/benchmarks.md for what each row means.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

from rows import ROWS, LeftOut, Row


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--only", action="append", choices=ROWS, help="measure this row only")
    arguments.add_argument("--json", type=Path, help="also write the figures there")
    arguments.add_argument("--strict", action="store_true", help="exit 1 when a goal is missed")
    chosen = arguments.parse_args()
    report: dict[str, object] = {}
    is_missed = False
    print(f"{'':28} {'ours':>9} {'peer':>9}      {'ratio':>7}  {'goal':8}         load  beside")
    for name in chosen.only or ROWS:
        with tempfile.TemporaryDirectory(prefix="chi-", dir="/tmp") as folder:
            try:
                row = ROWS[name](Path(folder))
            except LeftOut as why:
                print(f"{name:28} {why}", flush=True)
                report[name] = {"missing": str(why)}
                continue
        _print(row)
        report[name] = _figures(row)
        is_missed |= not row.is_met
    if chosen.json:
        chosen.json.write_text(json.dumps(report, indent=1))
    sys.exit(1 if is_missed and chosen.strict else 0)


def _print(row: Row) -> None:
    ours, theirs = row.medians
    said = "met" if row.is_met else "missed"
    print(
        f"{row.what:28} {ours:9.2f} {theirs:9.2f} {row.unit:4} {row.ratio:6.2f}x  {row.goal:8} "
        f"{said:6} {os.getloadavg()[0]:6.1f}  {row.peer}",
        flush=True,
    )


def _figures(row: Row) -> dict[str, object]:
    return {
        "unit": row.unit,
        "ours": row.ours,
        "peer": row.theirs,
        "ratio": round(row.ratio, 3),
        "goal": row.goal,
        "is_met": row.is_met,
        "load_average": os.getloadavg()[0],
    }


if __name__ == "__main__":
    main()
