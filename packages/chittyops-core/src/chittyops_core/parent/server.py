"""The parent as a process: its folder, and how it serves."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import re
import signal
import socket
import stat
import tomllib
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from attrs import frozen

from chittyops_core._kit.files import ensure_private_dir, write_durably
from chittyops_core._kit.logs import get_logger
from chittyops_core.errors import ParentError
from chittyops_core.parent import migrations
from chittyops_core.parent.addresses import Network
from chittyops_core.parent.app import Parent, create_app
from chittyops_core.parent.database import Database
from chittyops_core.parent.keys import ParentKey
from chittyops_core.parent.live import Live
from chittyops_core.parent.samples import compact, forget
from chittyops_core.parent.sweeper import Chore, Housekeeper, Sweeper

__all__ = ["Bind", "init", "open_database", "open_parent", "serve"]

SETTINGS, KEY, DATABASE = "parent.toml", "parent.key", "parent.db"

BACKLOG = 1024
"""Connections that may wait to be taken."""

PACE_S = 5.0
"""How often the pace is read anew from the settings."""
STORAGE_S = 3600.0
"""Between two times that metrics are packed and forgotten."""

_LOG = get_logger("chittyops.parent")
_NAME = re.compile(r"[^\x00-\x1f\x7f]{1,200}")


@frozen
class Bind:
    """Where to serve, and how.

    Attributes:
        host: Address.
        port: Port.
        tls: Files of the certificate (chain) and its key; None for plain HTTP.
        is_behind_proxy: Whether a proxy in front does TLS.
    """

    host: str
    port: int
    tls: tuple[Path, Path] | None = None
    is_behind_proxy: bool = False

    @classmethod
    def parse(
        cls, text: str, *, tls: tuple[Path, Path] | None = None, is_behind_proxy: bool = False
    ) -> Bind:
        """Read `HOST:PORT` or `[IPv6]:PORT`. Raises ParentError: unreadable, or not safe."""
        host, _, port = text.rpartition(":")
        host = host.removeprefix("[").removesuffix("]")
        if not host or not port.isdigit() or not 0 < int(port) < 65536:
            raise ParentError(
                f"{text!r} is no address to serve on", remedy="Use HOST:PORT or [IPv6]:PORT."
            )
        bind = cls(host, int(port), tls, is_behind_proxy)
        if tls is None and not is_behind_proxy and not _is_loopback(host):
            raise ParentError(
                f"plain HTTP is for loopback addresses only, not for {host}",
                remedy="Give --tls-cert and --tls-key, or --behind-proxy if a proxy does TLS.",
            )
        return bind


def init(data: Path, *, database_url: str = "", name: str = "ChittyOps") -> ParentKey:
    """Make a parent in *data*: its folder, key, settings and database; return its key.

    Args:
        data: The folder; it may be there, but hold no parent.
        database_url: "" for a SQLite file in the folder.
        name: How it calls itself, for people.

    Raises:
        ParentError: A parent is there already, or the database cannot be made.
    """
    if not _NAME.fullmatch(name):
        raise ParentError("a parent's name has 1 to 200 characters, and no control characters")
    _require_no_password(database_url)
    for taken in (SETTINGS, KEY, DATABASE):
        if (data / taken).exists():
            raise ParentError(
                f"{data / taken} is there already; nothing was changed",
                remedy="Serve it, or choose another folder.",
            )
    try:
        ensure_private_dir(data)
        database = Database(database_url or f"sqlite:///{(data / DATABASE).absolute()}")
        _prepare(database)
        key = ParentKey.make()
        key.write(data / KEY)
        write_durably(data / SETTINGS, _settings_text(name, database_url), mode=0o600)
    except OSError as error:
        raise ParentError(f"{data} cannot be written: {error.strerror}") from error
    return key


def _prepare(database: Database) -> None:
    try:
        if migrations.revision(database) is not None:
            raise ParentError(
                "the database holds a parent already; nothing was changed",
                remedy="Restore that parent's folder, or give this one a database of its own.",
            )
        migrations.upgrade(database)
    finally:
        database.close()


def open_database(data: Path) -> Database:
    """Return the database of the parent in *data*, not started. Raises ParentError."""
    return _database(data, _settings(data))


def open_parent(data: Path) -> Parent:
    """Return the parent in *data*, whose database is up to date and not started.

    Raises:
        ParentError: There is none, or something of it cannot be read.
    """
    settings = _settings(data)
    key = ParentKey.read(data / KEY)
    database = _database(data, settings)
    try:
        migrations.require_current(database)
    except BaseException:
        database.close()
        raise
    return Parent(
        data, database, name=str(settings.get("name", "ChittyOps")), key=key,
        trusted=_networks(settings.get("trusted_proxies", [])),
    )  # fmt: skip


def serve(parent: Parent, bind: Bind) -> None:
    """Serve *parent* until SIGTERM or SIGINT; then finish what is under way, and return.

    Raises:
        ParentError: Another server has the database, or the address cannot be served on.
    """
    parent.database.start(exclusive=True)
    try:
        app = create_app(parent)
        pace = app.state.wire.pace
        pace.reread()
        sweeper = Sweeper(parent.database, parent.live, parent.clock)
        keeper = Housekeeper(
            [Chore("pace", PACE_S, lambda *_: pace.reread()), *_storage_chores(parent.database)],
            parent.clock,
        )
        sweeper.start()
        keeper.start()
        try:
            asyncio.run(_serve(app, bind))
        finally:
            keeper.close()
            sweeper.close()
    finally:
        parent.database.close()


def _storage_chores(database: Database) -> list[Chore]:
    """Return what keeps the metrics small: days that are over are packed, old ones deleted."""
    return [
        Chore("compact", STORAGE_S, lambda now, is_over: compact(database, now, is_over=is_over)),
        Chore("forget", STORAGE_S, lambda now, is_over: forget(database, now, is_over=is_over)),
    ]


async def _serve(app: Any, bind: Bind) -> None:
    from granian.constants import HTTPModes, Interfaces
    from granian.server.embed import Server

    cert, key = bind.tls or (None, None)
    server = Server(
        app, address=bind.host, port=bind.port, interface=Interfaces.ASGI, http=HTTPModes.auto,
        websockets=False, backlog=BACKLOG, log_enabled=False, ssl_cert=cert, ssl_key=key,
    )  # fmt: skip
    _require_free(bind)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, _end, app.state.parent.live, server)
    _LOG.info("parent.serving", host=bind.host, port=bind.port, tls=bind.tls is not None)
    await server.serve()
    _LOG.info("parent.ended")


def _require_free(bind: Bind) -> None:
    """Raise ParentError where somebody listens: granian would share the port with another one."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            bind.host, bind.port, type=socket.SOCK_STREAM
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        raise ParentError(
            f"{bind.host}:{bind.port} cannot be served on: {error.strerror}",
            remedy="Choose another address or port, or stop who listens there.",
        ) from error


def _end(live: Live, server: Any) -> None:
    """End the pages that are open, for the server waits for them; then the server."""
    live.close()
    server.stop()


# --- settings ---


def _settings_text(name: str, url: str) -> str:
    lines = [
        "# Settings of a ChittyOps parent. No password belongs in here.",
        f"name = {json.dumps(name, ensure_ascii=False)}",
        "",
        "# PostgreSQL; without it, parent.db in this folder. The password comes from PGPASSFILE,",
        '# or from a file that only its owner can read: password_file = "/path"',
        f"database = {json.dumps(url)}" if url else '# database = "postgresql://USER@HOST/NAME"',
        "",
        "# Proxies whose X-Forwarded-For is believed.",
        'trusted_proxies = ["127.0.0.1/32", "::1/128"]',
        "",
    ]
    return "\n".join(lines)


def _settings(data: Path) -> dict[str, Any]:
    path = data / SETTINGS
    try:
        return tomllib.loads(path.read_text())
    except FileNotFoundError as error:
        raise ParentError(
            f"there is no parent in {data}", remedy=f"chittyops parent init --data {data}"
        ) from error
    except (OSError, ValueError) as error:
        raise ParentError(f"{path} cannot be read: {error}") from error


def _database(data: Path, settings: dict[str, Any]) -> Database:
    url = settings.get("database") or f"sqlite:///{(data / DATABASE).absolute()}"
    if not isinstance(url, str):
        raise ParentError(f"{data / SETTINGS}: database: a URL is expected")
    _require_no_password(url)
    if url.startswith("sqlite") and not Path(str(sa.make_url(url).database)).exists():
        raise ParentError(
            "the parent's database is not there", remedy="chittyops parent restore", cause="missing"
        )
    return Database(url, password=_password(settings.get("password_file")))


def _password(named: object) -> str:
    if not named:
        return ""
    path = Path(str(named))
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        text = path.read_text()
    except (OSError, ValueError) as error:
        raise ParentError(f"password_file {path} cannot be read: {error}") from error
    if mode & 0o077:
        raise ParentError(
            f"password_file {path} can be read by others (its mode is {mode:04o})",
            remedy=f"chmod 600 {path}",
        )
    return text.rstrip("\n")


def _require_no_password(url: str) -> None:
    try:
        found = sa.make_url(url) if url else None
    except sa.exc.ArgumentError:
        return  # The database says what is wrong with it.
    if found is not None and (found.password is not None or "password" in found.query):
        raise ParentError(
            "a database's URL with a password is not taken: others could read it",
            remedy="Leave it out, and use PGPASSFILE, or `password_file` in parent.toml.",
        )


def _networks(said: object) -> tuple[Network, ...]:
    try:
        return tuple(ipaddress.ip_network(each) for each in said)  # type: ignore[attr-defined]
    except (TypeError, ValueError) as error:
        raise ParentError(
            f"{SETTINGS}: trusted_proxies: {error}", remedy='Use such as ["127.0.0.1/32"].'
        ) from error


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
