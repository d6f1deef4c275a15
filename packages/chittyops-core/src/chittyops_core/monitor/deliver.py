"""Tell what is in the outbox: a process of its own, which outlives an agent that is killed.

    python -m chittyops_core.monitor.deliver DB  < {"channels": {NAME: APPRISE-URL}}

The addresses hold tokens, so they come over stdin, never in arguments or environment. An agent
that dies before it has written all of them leaves a deliverer that reads half a JSON text and
ends. One deliverer at a time holds a lock beside the database. It sends each message to each
channel, notes for each that it did, and ends when the outbox is empty, or after ten minutes, so
that changed addresses come into use; the agent starts the next one.

What this promises: killing the agent at any point loses and repeats nothing. Killing this very
process, or the machine, between a channel's answer and the note of it (a millisecond or so) makes
the next one send that message again; so does a channel that takes a message but answers too late
or not at all. No sender can do better. So each message carries its id: in the text, and for
`json://`, `xml://` and `form://` also as the field `message_id` and the header `Idempotency-Key`
(draft-ietf-httpapi-idempotency-key-header).
"""

from __future__ import annotations

import json
import logging
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from attrs import asdict, field, frozen, validators

from chittyops_core._kit.locks import FileLock, LockHeldError
from chittyops_core._kit.logs import configure, get_logger
from chittyops_core.errors import ChittyOpsError, StoreError
from chittyops_core.model.monitoring import AlertState, Message
from chittyops_core.monitor.outbox import MAX_ATTEMPTS, Outbox, Outcome

__all__ = ["Delivery", "is_understood", "main", "run", "send", "spawn"]

_log = get_logger("chittyops.monitor.deliver")

_MODULE = "chittyops_core.monitor.deliver"
"""Not `__name__`, which is `__main__` in the deliverer."""

LIFE_S = 600.0
FIRST_WAIT_S, LONGEST_WAIT_S = 0.5, 300.0
CONNECT_S, ANSWER_S = 10, 60
"""Apprise itself waits 4 s for an answer; a slow channel would get everything twice."""

MARK_S = 1.0
STOPPED_MARK_TRIES = 5

_WITH_FIELDS = {"json", "jsons", "xml", "xmls", "form", "forms"}
"""Apprise's plugins that take `:field=value` and `+Header=value` (custom_json.py, parse_url)."""


@frozen
class Delivery:
    """What a deliverer is given over stdin.

    Attributes:
        channels: Mapping of a channel's name, which is kept, to its Apprise URL, which is not.
        max_attempts: Per message and channel, until it is given up.
        life_s: Seconds until the deliverer ends, though not all was told.
    """

    channels: Mapping[str, str] = field(
        repr=False,
        validator=validators.deep_mapping(
            key_validator=validators.and_(validators.instance_of(str), validators.min_len(1)),
            value_validator=validators.instance_of(str),
            mapping_validator=validators.min_len(1),
        ),
    )
    max_attempts: int = field(default=MAX_ATTEMPTS, validator=validators.ge(1))
    life_s: float = field(default=LIFE_S, validator=validators.gt(0))


def spawn(path: Path, delivery: Delivery) -> subprocess.Popen[bytes]:
    """Start a deliverer for the store *path*, in a session of its own; return its process.

    Cheap when one runs already: the new one ends. Call it after every `record` with a message,
    and while `Outbox.has_pending`; poll what it returned, so that no zombie stays.
    """
    process = subprocess.Popen(
        # -P: a folder that happens to be the current one is no place to import from.
        [sys.executable, "-P", "-m", _MODULE, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    assert process.stdin is not None
    try:
        with process.stdin as pipe:
            pipe.write(json.dumps(asdict(delivery)).encode())
    except BrokenPipeError:
        pass  # It ended already; its exit status says why.
    return process


def main(arguments: list[str] | None = None) -> int:
    """Deliver what stdin says; return `run`'s status, or 2 when stdin does not say it."""
    configure("INFO")
    (path,) = sys.argv[1:] if arguments is None else arguments
    try:
        delivery = Delivery(**json.load(sys.stdin))
    except (ValueError, TypeError):
        # The text holds tokens; neither it nor the error that quotes it may be shown.
        _log.error("deliver.refused", why="no channels came over stdin, or not all of them")
        return 2
    return run(Path(path), delivery)


def run(path: Path, delivery: Delivery) -> int:
    """Deliver; return 0 when the outbox is empty or another one delivers, 1 otherwise.

    For the main thread of a process that does nothing else.
    """
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    try:
        return 0 if _deliver(path, delivery, stop) else 1
    except ChittyOpsError as error:
        _log.error("deliver.failed", error=error.message)
        return 1


def _deliver(path: Path, delivery: Delivery, stop: threading.Event) -> bool:
    lock = FileLock(path.with_name(path.name + ".deliver.lock"))
    outbox = Outbox(path)
    deadline = time.monotonic() + delivery.life_s
    # A message that comes while this one ends finds its own deliverer locked out. So look once
    # more after the lock is free: whoever wrote before trying the lock is seen here.
    while outbox.has_pending():
        try:
            lock.acquire("deliver", wait=None)
        except LockHeldError:
            return True
        try:
            workers = [
                threading.Thread(
                    target=_Channel(path, name, url, delivery, deadline, stop).tell_all, name=name
                )
                for name, url in delivery.channels.items()
            ]
            for worker in workers:
                worker.start()
            for worker in workers:
                worker.join()
            outbox.settle(delivery.channels)
        finally:
            lock.release()
        if stop.is_set() or time.monotonic() >= deadline:
            return not outbox.has_pending()
        if outbox.has_pending():
            stop.wait(FIRST_WAIT_S)  # A new message, or a disk that does not play along.
    return True


class _Channel:
    """One channel's share of the work, in a thread of its own: a dead one delays no other."""

    def __init__(
        self, path: Path, name: str, url: str, delivery: Delivery, deadline: float,
        stop: threading.Event,
    ) -> None:  # fmt: skip
        self._path, self._name, self._url = path, name, url
        self._delivery, self._deadline, self._stop = delivery, deadline, stop

    def tell_all(self) -> None:
        """Tell everything, in time order, until nothing is left, time is up or it is stopped."""
        from tenacity import (
            Retrying,
            retry_if_result,
            sleep_using_event,
            stop_after_delay,
            stop_any,
            stop_when_event_set,
            wait_random_exponential,
        )

        try:
            outbox = Outbox(self._path, max_attempts=self._delivery.max_attempts)
        except StoreError as error:
            _log.warning("deliver.store_failed", error=error.message)
            return
        try:
            while (left_s := self._deadline - time.monotonic()) > 0 and not self._stop.is_set():
                done = Retrying(
                    retry=retry_if_result(lambda told: told is False),
                    wait=wait_random_exponential(multiplier=FIRST_WAIT_S, max=LONGEST_WAIT_S),
                    stop=stop_any(stop_after_delay(left_s), stop_when_event_set(self._stop)),
                    sleep=sleep_using_event(self._stop),
                    retry_error_callback=lambda _: None,
                )(self._tell_next, outbox)
                if not done:
                    return
        except StoreError as error:
            _log.error("deliver.not_noted", channel=self._name, error=error.message)
        finally:
            outbox.close()

    def _tell_next(self, outbox: Outbox) -> bool | None:
        """Tell one message; return None when there is none, false when it did not work."""
        try:
            message = outbox.next(self._name)
            if message is None:
                return None
            error = send(self._url, message)
            if not error:
                self._mark(outbox, message)
                return True
            if outbox.mark_failed(message.id, self._name, time.time(), error) is Outcome.PENDING:
                _log.info("deliver.retried", id=message.id, channel=self._name, error=error)
            else:
                _log.error("deliver.gave_up", id=message.id, channel=self._name, error=error)
        except StoreError as error:
            _log.warning("deliver.store_failed", error=error.message)
        return False

    def _mark(self, outbox: Outbox, message: Message) -> None:
        """Note that it was told, however long the disk takes: a lost note is a second message."""
        tries = 0
        while True:
            try:
                outbox.mark_delivered(message.id, self._name, time.time())
                _log.info("deliver.told", id=message.id, channel=self._name)
                return
            except StoreError as error:
                tries += 1
                if self._stop.is_set() and tries >= STOPPED_MARK_TRIES:
                    raise
                _log.warning("deliver.store_failed", error=error.message)
                time.sleep(MARK_S)


def is_understood(url: str) -> bool:
    """Say whether Apprise knows what kind of channel *url* is of; nothing is sent."""
    return _silent_apprise().Apprise.instantiate(url, suppress_exceptions=True) is not None


def _silent_apprise() -> Any:
    import apprise

    # Its errors quote addresses; what failed is said by us, without them.
    logging.getLogger("apprise").setLevel(logging.CRITICAL + 1)
    return apprise


def send(url: str, message: Message) -> str:
    """Send by Apprise; return why it failed, without anything of the address, or nothing."""
    apprise = _silent_apprise()

    kinds = {
        AlertState.FIRING: apprise.NotifyType.FAILURE,
        AlertState.RESOLVED: apprise.NotifyType.SUCCESS,
    }
    try:
        channel = apprise.Apprise.instantiate(
            _address(url, message), asset=apprise.AppriseAsset(app_id="ChittyOps")
        )
        if channel is None:
            return "Apprise does not understand the channel's address"
        took = channel.notify(
            title=message.title,
            body=f"{message.body}\n\nMessage {message.id}",
            notify_type=kinds.get(message.state, apprise.NotifyType.WARNING),
            body_format=apprise.NotifyFormat.TEXT,
        )
    except Exception as error:  # A plugin of 170, each by somebody else; one must not end the rest.
        return f"Apprise failed ({type(error).__name__})"
    return "" if took else "the channel did not take it"


def _address(url: str, message: Message) -> str:
    """Return *url* with our time limits, and for a webhook with the message's facts."""
    more: dict[str, str] = {}
    if "rto=" not in url:
        more |= {"cto": str(CONNECT_S), "rto": str(ANSWER_S)}
    if urlsplit(url).scheme.lower() in _WITH_FIELDS:
        more |= {
            ":message_id": message.id, ":alert": message.alert, ":state": message.state.value,
            ":severity": message.severity.value, "+Idempotency-Key": message.id,
        }  # fmt: skip
    return f"{url}{'&' if '?' in url else '?'}{urlencode(more)}"


if __name__ == "__main__":
    sys.exit(main())
