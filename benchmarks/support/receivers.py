"""Who takes what is reported: a parent, and its peers, each with its database on one core."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from attrs import field, frozen
from machine import free_port, wait_for_port

from support.cores import found, running
from support.fleet import NAMES, http_request
from support.postgresql import PostgreSQL

__all__ = ["LeftOut", "Receiver", "healthchecks", "pushgateway", "victoria_metrics"]

HEALTHCHECKS = "v3.13"
"""The last version for Python 3.11."""


class LeftOut(Exception):
    """A peer is not there; says how to bring it."""


@frozen
class Receiver:
    """A server that runs.

    Attributes:
        url: Where it listens.
        pids: It and its database.
        request: Return request number *n* for it; the second argument closes the connection.
    """

    url: str
    pids: Sequence[int]
    request: Callable[[int, bool], bytes] = field(repr=False)


@contextmanager
def victoria_metrics(
    folder: Path, program: str | None, tls: tuple[Path, Path] | None = None
) -> Iterator[Receiver]:
    """Twenty lines of the Prometheus text format a request."""
    program = program or found("victoria-metrics")
    if program is None:
        raise LeftOut("victoria-metrics is not installed: apt-get install victoria-metrics, or "
                      "--victoria-metrics PROGRAM")  # fmt: skip
    port = free_port()
    command = [program, f"-storageDataPath={folder}", f"-httpListenAddr=127.0.0.1:{port}"]
    if tls is not None:
        command += ["-tls", f"-tlsCertFile={tls[0]}", f"-tlsKeyFile={tls[1]}"]

    def request(n: int, close: bool) -> bytes:
        return http_request("/api/v1/import/prometheus", exposition(n).encode(), {}, close)

    with running(command) as process:
        wait_for_port(port, process)
        scheme = "https" if tls else "http"
        yield Receiver(f"{scheme}://127.0.0.1:{port}", [process.pid], request)


@contextmanager
def pushgateway(program: str | None, *more: str) -> Iterator[Receiver]:
    """The same twenty lines, as one group a child."""
    program = program or found("prometheus-pushgateway")
    if program is None:
        raise LeftOut("prometheus-pushgateway is not installed: apt-get install "
                      "prometheus-pushgateway, or --pushgateway PROGRAM")  # fmt: skip
    port = free_port()
    command = [program, f"--web.listen-address=127.0.0.1:{port}", *more]

    def request(n: int, close: bool) -> bytes:
        path = f"/metrics/job/host/instance/h{n % 2000}"
        return http_request(path, exposition(n, labelled=False).encode(), {}, close)

    with running(command) as process:
        wait_for_port(port, process)
        yield Receiver(f"http://127.0.0.1:{port}", [process.pid], request)


def exposition(n: int, *, labelled: bool = True) -> str:
    labels = f'{{child="h{n % 2000}"}}' if labelled else ""
    return "".join(
        f"{name.replace('.', '_')}{labels} {(n * 7 + place) % 1000 / 10}\n"
        for place, name in enumerate(NAMES)
    )


@contextmanager
def healthchecks(
    source: str | None, folder: Path, database: PostgreSQL | None, checks: int = 500
) -> Iterator[Receiver]:
    """Its ping with a body of the same size, by uwsgi with the options of its own container.

    Args:
        source: A repository: a folder or an address that git can clone.
        folder: For the copy, its environment and its log.
        database: Where it keeps everything.
        checks: How many there are.
    """
    if source is None:
        raise LeftOut("healthchecks is in no registry: pass its repository's folder or address "
                      "as --healthchecks")  # fmt: skip
    if database is None:
        raise LeftOut("healthchecks needs PostgreSQL here: apt-get install postgresql")
    python = _install_healthchecks(source, folder)
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    database.create("hc")
    environment = {
        "PATH": os.environ["PATH"], "DB": "postgres", "DB_HOST": str(database.folder),
        "DB_NAME": "hc", "DB_USER": "bench", "SECRET_KEY": uuid.uuid4().hex, "DEBUG": "False",
        "ALLOWED_HOSTS": "*", "SITE_ROOT": url,
    }  # fmt: skip
    more = {"cwd": folder / "healthchecks", "env": environment}
    subprocess.run([python, "manage.py", "migrate", "-v", "0", "--skip-checks"], check=True, **more)
    codes = _make_checks(python, checks, **more)

    def request(n: int, _: bool) -> bytes:
        return http_request(f"/ping/{codes[n % checks]}", exposition(n).encode()[:800], {}, False)

    command = [
        python.with_name("uwsgi"), "--http-socket", f"127.0.0.1:{port}", "--strict", "--master",
        "--die-on-term", "--harakiri", "10", "--buffer-size", "32768", "--post-buffering", "16192",
        "--processes", "4", "--threads", "1", "--enable-threads", "--thunder-lock",
        "--disable-write-exception", "--max-fd", "10000", "--disable-logging",
        "--add-header", "Connection: close",  # As it does: so that clients know.
        "--module", "hc.wsgi:application",
    ]  # fmt: skip
    with (folder / "uwsgi.log").open("wb") as log:
        with running(command, stdout=log, stderr=log, **more) as process:
            wait_for_port(port, process)
            yield Receiver(url, [process.pid, database.pid], request)


def _install_healthchecks(source: str, folder: Path) -> Path:
    """Clone it and give it an environment; return that environment's Python."""
    copy, python = folder / "healthchecks", folder / "venv" / "bin" / "python"
    uv = [sys.executable, "-m", "uv"]
    if not python.exists():
        quiet = ["git", "-c", "advice.detachedHead=false", "clone", "-q"]
        subprocess.run([*quiet, "-b", HEALTHCHECKS, "--", source, copy], check=True)
        subprocess.run([*uv, "venv", "-q", folder / "venv"], check=True)
        subprocess.run(
            [*uv, "pip", "install", "-q", "-p", python, "-r", copy / "requirements.txt",
             "psycopg[binary]", "pyuwsgi"],
            check=True,
        )  # fmt: skip
    return python


def _make_checks(python: Path, count: int, **more: object) -> list[str]:
    script = (
        "from django.contrib.auth.models import User\n"
        "from hc.accounts.models import Project\n"
        "from hc.api.models import Check\n"
        "owner = User.objects.create(username='bench', email='bench@example.org')\n"
        "project = Project.objects.create(owner=owner)\n"
        f"made = [Check(project=project, name=f'host-{{n}}') for n in range({count})]\n"
        "Check.objects.bulk_create(made)\n"
        "print(*(check.code for check in made))\n"
    )
    done = subprocess.run(
        [python, "manage.py", "shell", "-v", "0", "-c", script],
        check=True, capture_output=True, text=True, **more,  # type: ignore[call-overload]
    )  # fmt: skip
    return str(done.stdout).split()
