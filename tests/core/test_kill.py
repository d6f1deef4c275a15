"""kill -9 of the deploying process at every point that the engine passes, under load."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from chittyops_core.testing.load import Load
from conftest import IS_CHAOS_FULL, HostUnderTest, address_of, require_nothing_left, write_app

pytestmark = [pytest.mark.chaos, pytest.mark.host, pytest.mark.long]

SCRIPT = Path(__file__).with_name("deploy_killed.py")


@pytest.mark.parametrize("strategy", ["blue-green", "recreate"])
def test_kill_at_every_point_converges_at_the_next_command(
    host: HostUnderTest, app: Path, tmp_path: Path, strategy: str
) -> None:
    """One release serves, no process or file is left over, no request is lost.

    The points are taken from a deploy that is left alone, and then each is killed at.
    """
    more = f'[deploy]\nstrategy = "{strategy}"\n[health]\nsuccesses = 1\nsoak = "300ms"'
    report = host.deploy(write_app(app, version="0", more=more))
    points = _deploy(host, write_app(app, version="1", more=more), tmp_path / "all", at=-1)
    assert len(points) >= 15, points
    slowest = 0.0

    with Load(address_of(report), pause_s=0.003) as load:
        every = range(len(points))
        for at in list(every) * 5 if IS_CHAOS_FULL else every[strategy == "recreate" :: 2]:
            version = f"killed at {at}"
            folder = write_app(app, version=version, more=more)
            seen = _deploy(host, folder, tmp_path / f"{at}-{time.monotonic_ns()}", at=at)
            start = time.monotonic()

            services = host.status()

            slowest = max(slowest, time.monotonic() - start)
            where = f"killed at {at}: {seen[-1]}"
            assert len(services) == 1, where
            assert (services[0]["health"], services[0]["unfinished"]) == ("healthy", 0), where
            require_nothing_left(host, services[0]["serving"], where)
        load.wait(50)

    assert load.tally.failed == {}, load.tally.reasons
    print(f"{strategy}: {len(points)} points, slowest recovery with its command {slowest:.2f} s")


def _deploy(host: HostUnderTest, folder: Path, log: Path, *, at: int) -> list[str]:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), str(host.home), str(folder), str(at), str(log)],
        env=host.environment, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == (0 if at < 0 else -9), done.stderr
    return log.read_text().splitlines()
