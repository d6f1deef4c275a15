"""Messages arrive: once, whoever is killed in between, and as soon as there is somebody to take it.

The receiver is a real HTTP server, the deliverer the real process, Apprise the real library.
"""

from __future__ import annotations

import json
import os
import random
import resource
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from chittyops_core._kit.retry import wait_until
from chittyops_core.model.monitoring import AlertState, Message, Severity
from chittyops_core.monitor.deliver import Delivery, spawn
from chittyops_core.monitor.outbox import Outbox, Outcome
from chittyops_core.monitor.store import Store
from conftest import IS_CHAOS_FULL
from webhook import Webhook

pytest.importorskip("apprise", reason="the extra [local] brings it")

DRIVER = Path(__file__).with_name("outbox_driver.py")
KILLS = 200 if IS_CHAOS_FULL else 40


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "monitor.sqlite"


def say(path: Path, *numbers: int, alert: str = "shop.production/http") -> list[str]:
    """Put messages into the outbox; return their ids."""
    messages = [
        Message(
            f"{alert}:{n}", alert, AlertState.FIRING if n % 2 else AlertState.RESOLVED,
            Severity.PAGE, time.time(), f"title {n}", "Ümläut & <b>body</b>",
        )
        for n in numbers
    ]  # fmt: skip
    store = Store(path)
    store.record([], [], messages)
    store.close()
    return [message.id for message in messages]


def deliver(path: Path, delivery: Delivery) -> int:
    """Run one deliverer to its end; return its exit status."""
    return spawn(path, delivery).wait(timeout=60)


def pending(path: Path) -> bool:
    outbox = Outbox(path)
    try:
        return outbox.has_pending()
    finally:
        outbox.close()


# --- bad input -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    ["", "{", '{"channels": {"ops": "json://u:secret@host"', '{"channels": {}}', "[]", '"x"',
     '{"channels": {"ops": 5}}', '{"channels": {"": "json://x"}}', '{"other": 1}',
     '{"channels": {"ops": "json://u:secret@h"}, "life_s": -1}'],
)  # fmt: skip
def test_channels_that_did_not_come_whole_send_nothing_and_show_nothing(
    path: Path, text: str
) -> None:
    """As when the agent is killed while it writes them."""
    say(path, 1)

    done = subprocess.run(
        [sys.executable, "-m", "chittyops_core.monitor.deliver", path],
        input=text, capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert done.returncode == 2
    assert "secret" not in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert pending(path)


def test_an_address_that_apprise_does_not_know_is_kept_as_undelivered(
    path: Path, webhook: Webhook, capfd: pytest.CaptureFixture[str]
) -> None:
    """The other channel gets its message all the same."""
    say(path, 1)

    channels = {"bad": "nosuch://u:secret@host", "ops": webhook.url}
    assert deliver(path, Delivery(channels, max_attempts=2)) == 0

    outbox = Outbox(path)
    (left,) = outbox.undelivered()
    assert (left.channel, left.outcome, left.attempts) == ("bad", Outcome.UNDELIVERED, 2)
    assert "does not understand" in left.error and "secret" not in left.error
    assert not outbox.has_pending()
    outbox.close()
    assert len(webhook.posts) == 1
    said = capfd.readouterr().err
    assert "deliver.gave_up" in said and "secret" not in said


# --- what arrives --------------------------------------------------------------------------------


def test_a_message_arrives_with_its_id_and_in_order(path: Path, webhook: Webhook) -> None:
    ids = say(path, 1, 2, 3)

    assert deliver(path, Delivery({"ops": webhook.url})) == 0

    assert webhook.ids == ids
    assert webhook.keys == ids
    first = webhook.posts[0]
    assert (first["title"], first["type"]) == ("title 1", "failure")
    assert first["message"] == f"Ümläut & <b>body</b>\n\nMessage {ids[0]}"
    assert (first["alert"], first["state"], first["severity"]) == (
        "shop.production/http", "firing", "page",
    )  # fmt: skip
    assert webhook.posts[1]["type"] == "success"


def test_the_address_is_in_no_argument_no_environment_and_no_file(
    path: Path, webhook: Webhook
) -> None:
    say(path, 1)
    inside = threading.Event()
    go_on = threading.Event()

    def answer(_: dict[str, str]) -> int:
        inside.set()
        go_on.wait(30)
        return 200

    webhook.answer = answer
    url = f"json://user:Tok3nTok3n@127.0.0.1:{webhook.port}/"
    process = spawn(path, Delivery({"ops": url}))
    assert inside.wait(30)
    for name in ("cmdline", "environ"):
        assert b"Tok3n" not in Path(f"/proc/{process.pid}/{name}").read_bytes()
    assert os.getsid(process.pid) == process.pid
    go_on.set()

    assert process.wait(30) == 0
    for file in path.parent.iterdir():
        assert b"Tok3n" not in file.read_bytes()


def test_only_one_deliverer_delivers(path: Path, webhook: Webhook) -> None:
    ids = say(path, *range(1, 30))

    processes = [spawn(path, Delivery({"ops": webhook.url})) for _ in range(4)]

    assert [process.wait(60) for process in processes] == [0] * 4
    assert sorted(webhook.ids) == sorted(ids)


def test_a_new_channel_is_not_told_what_is_settled(path: Path, webhook: Webhook) -> None:
    say(path, 1)
    deliver(path, Delivery({"ops": webhook.url}))

    deliver(path, Delivery({"ops": webhook.url, "new": webhook.url}))
    (second,) = say(path, 2)
    deliver(path, Delivery({"ops": webhook.url, "new": webhook.url}))

    assert Counter(webhook.ids)[second] == 2
    assert len(webhook.ids) == 3


# --- webhooks that do not work -------------------------------------------------------------------


def test_a_dead_webhook_gets_everything_once_when_it_is_back(path: Path) -> None:
    gone = Webhook()
    gone.close()
    ids = say(path, 1, 2, 3)
    process = spawn(path, Delivery({"ops": gone.url}))
    outbox = Outbox(path)
    assert wait_until(outbox.undelivered, timeout_s=30)
    back = Webhook(gone.port)

    assert process.wait(60) == 0

    assert back.ids == ids
    outbox.close()
    back.close()


def test_500_then_200_is_delivered_once_for_whoever_counts_what_was_taken(
    path: Path, webhook: Webhook
) -> None:
    ids = say(path, 1, 2)
    answers = iter([500, 503, 200, 200])
    webhook.answer = lambda _: next(answers)

    assert deliver(path, Delivery({"ops": webhook.url})) == 0

    assert webhook.ids == [ids[0], ids[0], ids[0], ids[1]]


def test_a_slow_webhook_gets_it_once(path: Path, webhook: Webhook) -> None:
    """Slower than the 4 s that Apprise waits by itself."""
    ids = say(path, 1)

    def answer(_: dict[str, str]) -> int:
        time.sleep(5)
        return 200

    webhook.answer = answer

    assert deliver(path, Delivery({"ops": webhook.url})) == 0
    assert webhook.ids == ids


def test_a_channel_that_refuses_one_alert_holds_up_no_other_channel_and_no_other_alert(
    path: Path, webhook: Webhook
) -> None:
    bad = say(path, 1, 2, alert="a/bad")
    good = say(path, 1, 2, alert="b/good")
    webhook.answer = lambda post: 500 if post["alert"] == "a/bad" else 200

    assert deliver(path, Delivery({"ops": webhook.url}, max_attempts=2)) == 0

    assert Counter(webhook.ids) == {bad[0]: 2, bad[1]: 2, good[0]: 1, good[1]: 1}
    assert webhook.ids.index(good[1]) < len(webhook.ids) - 2
    outbox = Outbox(path)
    assert [left.message.id for left in outbox.undelivered()] == bad[::-1]
    outbox.close()


def test_a_deliverer_ends_in_time_and_the_next_one_goes_on(path: Path, webhook: Webhook) -> None:
    """So that an address that was mended comes into use."""
    ids = say(path, 1)
    webhook.answer = lambda _: 500
    assert deliver(path, Delivery({"ops": webhook.url}, life_s=1.0)) == 1
    assert pending(path)
    webhook.answer = lambda _: 200

    assert deliver(path, Delivery({"ops": webhook.url})) == 0
    assert set(webhook.ids) == set(ids)


def test_a_deliverer_that_is_asked_to_end_finishes_what_it_sends(
    path: Path, webhook: Webhook
) -> None:
    ids = say(path, 1, 2)
    inside, go_on = threading.Event(), threading.Event()

    def answer(_: dict[str, str]) -> int:
        inside.set()
        go_on.wait(30)
        return 200

    webhook.answer = answer
    process = spawn(path, Delivery({"ops": webhook.url}))
    assert inside.wait(30)
    process.terminate()
    time.sleep(0.1)
    go_on.set()
    assert process.wait(30) == 1
    deliver(path, Delivery({"ops": webhook.url}))

    assert webhook.ids == ids


def test_a_disk_that_fails_between_answer_and_note_sends_nothing_twice(
    path: Path, webhook: Webhook
) -> None:
    """The deliverer waits with its note until the disk is back."""
    ids = say(path, 1, 2)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    started: list[subprocess.Popen[bytes]] = []
    fails = threading.Event()

    def answer(_: dict[str, str]) -> int:
        if not fails.is_set():
            resource.prlimit(started[0].pid, resource.RLIMIT_FSIZE, (0, limits[1]))
            fails.set()
        return 200

    webhook.answer = answer
    started.append(spawn(path, Delivery({"ops": webhook.url})))
    assert fails.wait(30)
    time.sleep(2.5)
    assert webhook.ids == ids[:1]
    resource.prlimit(started[0].pid, resource.RLIMIT_FSIZE, limits)

    assert started[0].wait(60) == 0
    assert webhook.ids == ids


# --- kills ---------------------------------------------------------------------------------------


def test_a_deliverer_killed_before_the_answer_repeats_the_same_id(
    path: Path, webhook: Webhook
) -> None:
    """The one window there is; the receiver can tell by the id."""
    (only,) = say(path, 1)
    inside, go_on = threading.Event(), threading.Event()

    def answer(_: dict[str, str]) -> int:
        inside.set()
        go_on.wait(30)
        return 200

    webhook.answer = answer
    process = spawn(path, Delivery({"ops": webhook.url}))
    assert inside.wait(30)
    process.kill()
    process.wait()
    go_on.set()

    assert deliver(path, Delivery({"ops": webhook.url})) == 0
    assert webhook.ids == [only, only]
    assert webhook.keys == [only, only]


@pytest.mark.chaos
def test_every_message_arrives_once_though_the_agent_is_killed_again_and_again(
    path: Path, webhook: Webhook
) -> None:
    """0 lost, 0 twice, over seeded `kill -9` at random points of an agent that alerts."""
    chance = random.Random(4)
    channels = json.dumps({"channels": {"ops": webhook.url}})
    said: set[str] = set()
    for _ in range(KILLS):
        driver = subprocess.Popen(
            [sys.executable, DRIVER, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert driver.stdin is not None and driver.stdout is not None
        driver.stdin.write(channels)
        driver.stdin.close()
        # Most of them after it began to work, some before.
        if chance.random() < 0.9:
            said.add(driver.stdout.readline().strip())
        time.sleep(chance.uniform(0, 0.4))
        os.kill(driver.pid, signal.SIGKILL)
        said |= set(driver.stdout.read().split())
        driver.stdout.close()
        driver.wait()
    while pending(path):
        deliver(path, Delivery({"ops": webhook.url}))

    store = Store(path)
    kept = [row[0] for row in store._db.execute("SELECT id FROM message")]
    last = {alert.name: alert.seq for alert in store.alerts().values()}
    store.close()
    assert len(kept) > KILLS
    assert said - {""} <= set(kept)
    assert sorted(kept) == sorted(f"{n}:{s + 1}" for n, seq in last.items() for s in range(seq))
    assert {id_: count for id_, count in Counter(webhook.ids).items() if count > 1} == {}
    assert set(kept) - set(webhook.ids) == set()
    for name in last:
        own = [int(i.rpartition(":")[2]) for i in webhook.ids if i.startswith(f"{name}:")]
        assert own == sorted(own)
