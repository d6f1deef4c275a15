"""A real Prometheus runs the rules that we print; its decisions and ours agree."""

from __future__ import annotations

import json
import random
import re
import shutil
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from attrs import evolve

from chittyops_core.model.monitoring import Severity
from chittyops_core.monitor import prometheus_rules
from chittyops_core.monitor.burn_rates import MinuteCounts, evaluate
from chittyops_core.monitor.objectives import (
    DAY_S,
    Alerting,
    AlertSwitch,
    Indicator,
    Metric,
    MetricEvents,
    MonitorEvents,
    Objective,
    RatioQuery,
)
from conftest import free_port

if not (shutil.which("prometheus") and shutil.which("promtool")):
    pytest.skip("there is no prometheus here: apt-get install prometheus", allow_module_level=True)

START = 1_767_225_600  # 2026-01-01T00:00:00Z; any time would do, none of it is now.
DAYS = 7
SCRAPE_S, OFFSET_S = 15, 7  # Scrapes fall between the minutes, as they do in life.

OBJECTIVE = Objective(
    name="requests",
    service="court.production",
    indicator=MetricEvents(
        total=Metric("requests_total"), bad=Metric("requests_total", {"result": "bad"})
    ),
    target=0.999,
)

# (start in hours, length in minutes, share of bad events): what each rule is there for, what none
# of them should see, two that come soon after each other, and one that lasts.
INCIDENTS = (
    (5, 3, 0.03), (20, 12, 0.5), (21, 6, 1.0), (31, 4, 0.2), (40, 90, 0.012), (55, 240, 0.008),
    (70, 600, 0.004), (95, 45, 0.02), (110, 1, 1.0), (120, 30, 0.018), (121, 30, 0.018),
    (130, 900, 0.0035), (160, 20, 0.9),
)  # fmt: skip


def events() -> Iterator[tuple[int, int, int]]:
    """Yield (second, good, bad) for each scrape interval of a week: busy days, quiet nights."""
    chance = random.Random(4)
    for second in range(0, DAYS * DAY_S, SCRAPE_S):
        hour = second / 3600
        share = 0.0002
        for begin, minutes, worse in INCIDENTS:
            if begin <= hour < begin + minutes / 60:
                share = max(share, worse)
        is_day = 7 <= hour % 24 < 22
        total = chance.randint(80, 160) if is_day else chance.randint(4, 20)
        bad = sum(chance.random() < share for _ in range(total))
        yield second, total - bad, bad


@pytest.fixture(scope="module")
def week() -> list[tuple[int, int, int]]:
    return list(events())


class Prometheus:
    """One on a loopback port, over back-filled blocks, that scrapes nothing."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        (folder / "prometheus.yml").write_text("global: {}\n")
        with (folder / "log").open("w") as log:
            self.process = subprocess.Popen(
                ["prometheus", "--config.file=prometheus.yml", "--storage.tsdb.path=data",
                 "--storage.tsdb.retention.time=10y",
                 f"--web.listen-address=127.0.0.1:{self.port}"],
                cwd=folder, stdout=log, stderr=log,
            )  # fmt: skip
        deadline = time.monotonic() + 20
        while True:
            try:
                self._get("/-/ready")
                return
            except OSError:  # Not yet, or 503 while it reads its blocks.
                if time.monotonic() > deadline or self.process.poll() is not None:
                    self.stop()
                    raise AssertionError((folder / "log").read_text()) from None
                time.sleep(0.05)

    def minutes_where(self, query: str, since: int, until: int) -> set[int]:
        """Return the whole minutes at which *query* has a result."""
        asked = urllib.parse.urlencode(
            {"query": query, "start": since, "end": until, "step": 60, "timeout": "60s"}
        )
        result = json.loads(self._get(f"/api/v1/query_range?{asked}"))["data"]["result"]
        return {int(at) for series in result for at, _ in series["values"]}

    def _get(self, path: str) -> bytes:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=60) as answer:
            body: bytes = answer.read()
            return body

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(10)


@pytest.fixture(scope="module")
def prometheus(
    week: list[tuple[int, int, int]], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Prometheus]:
    """Counters of the week, as scrapes would have found them."""
    folder = tmp_path_factory.mktemp("prometheus")
    # The counters are there before their first event (ADR 11).
    lines = {result: [_sample(result, 0, -SCRAPE_S)] for result in ("good", "bad")}
    sums = {"good": 0, "bad": 0}
    for second, good, bad in week:
        for result, count in (("good", good), ("bad", bad)):
            seen = sums[result] + count * OFFSET_S // SCRAPE_S
            lines[result].append(_sample(result, seen, second))
            sums[result] += count
    text = "\n".join(["# TYPE requests counter", *lines["good"], *lines["bad"], "# EOF", ""])
    (folder / "week.om").write_text(text)
    subprocess.run(
        ["promtool", "tsdb", "create-blocks-from", "openmetrics", "week.om", "data"],
        cwd=folder, check=True, capture_output=True, text=True,
    )  # fmt: skip
    running = Prometheus(folder)
    yield running
    running.stop()


def _sample(result: str, count: int, second: int) -> str:
    labels = f'service="court.production",result="{result}"'
    return f"requests_total{{{labels}}} {count} {START + second + OFFSET_S}"


def inlined(severity: Severity) -> str:
    """Return the generated alert with each recorded series replaced by its rule's expression."""
    made = prometheus_rules.rules([OBJECTIVE])["groups"]
    recorded = {rule["record"]: rule["expr"] for rule in made[0]["rules"]}
    alert = next(rule for rule in made[2]["rules"] if rule["labels"]["sloth_severity"] == severity)
    return re.sub(
        r"(slo:sli_error:ratio_rate\w+)\{[^}]*\}", lambda m: f"({recorded[m[1]]})", alert["expr"]
    )


def runs(minutes: set[int]) -> list[int]:
    """Return how many minutes each unbroken run of them has."""
    begins = sorted(at for at in minutes if at - 60 not in minutes)
    ends = sorted(at for at in minutes if at + 60 not in minutes)
    return [(end - begin) // 60 + 1 for begin, end in zip(begins, ends, strict=True)]


def test_prometheus_decides_as_we_do(
    prometheus: Prometheus, week: list[tuple[int, int, int]]
) -> None:
    """On 99.9 % of a week's minutes; where they differ, it is for one minute and no more.

    So each alert begins and ends within one minute of ours, and none that lasts longer is missed
    by either. Some incidents burn so near a factor that noise alone makes alerts of one minute.
    """
    kept = MinuteCounts(START)
    for second, good, bad in week:
        kept.add(START + second, good, good + bad)
    every = range(START + 600, START + DAYS * DAY_S, 60)
    states = [evaluate(OBJECTIVE, kept.counts, at) for at in every]

    for severity in Severity:
        ours = {int(each.at) for each in states if getattr(each, severity)}
        theirs = prometheus.minutes_where(inlined(severity), every[0], every[-1])
        agreed = 1 - len(ours ^ theirs) / len(every)
        print(f"{severity}: {agreed:.3%} of {len(every)} minutes, "
              f"ours {len(ours)}, theirs {len(theirs)}, {len(runs(ours))} alerts")  # fmt: skip

        assert len(runs(ours)) >= 3
        assert agreed >= 0.999
        # What a clock five minutes late would decide is found to be different.
        late = {at + 300 for at in ours}
        assert 1 - len(late ^ theirs) / len(every) < 0.999
        assert max(runs(ours ^ theirs), default=0) <= 1


def test_prometheus_takes_the_rule_file_and_alerts_by_it(tmp_path: Path) -> None:
    """Its own rule engine, the file as `slo rules` prints it: a tenth of all requests fails."""
    only_page = evolve(OBJECTIVE, alerting=Alerting(ticket=AlertSwitch(is_on=False)))
    about = {
        "sloth_id": only_page.id, "sloth_service": only_page.service, "sloth_slo": only_page.name
    }  # fmt: skip
    text = "court.production requests SLO error budget burn rate is"
    series = 'requests_total{service="court.production",result='
    (tmp_path / "rules.yml").write_text(
        prometheus_rules.to_yaml(prometheus_rules.rules([only_page]))
    )
    (tmp_path / "test.yml").write_text(
        json.dumps(
            {
                "rule_files": ["rules.yml"],
                "tests": [
                    {
                        "interval": "1m",
                        "input_series": [
                            {"series": f'{series}"good"}}', "values": "0+100x30 3090+90x90"},
                            {"series": f'{series}"bad"}}', "values": "0x30 10+10x90"},
                        ],
                        "alert_rule_test": [
                            {"eval_time": "25m", "alertname": "ErrorBudgetBurn", "exp_alerts": []},
                            {
                                "eval_time": "110m",
                                "alertname": "ErrorBudgetBurn",
                                "exp_alerts": [
                                    {
                                        "exp_labels": {**about, "sloth_severity": "page"},
                                        "exp_annotations": {
                                            "summary": f"{text} over expected.",
                                            "title": f"(page) {text} too fast.",
                                        },
                                    }
                                ],
                            },
                        ],
                    }
                ],
            }
        )
    )

    done = subprocess.run(
        ["promtool", "test", "rules", "test.yml"], cwd=tmp_path, capture_output=True, text=True
    )

    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    "indicator",
    [
        MonitorEvents('court.production/"http"\\'),
        MetricEvents(total=Metric("requests_total"), good=Metric("requests_total", {"ok": "1"})),
        RatioQuery("1 - avg_over_time(up[{{ .window }}])"),
    ],
    ids=["monitor", "metric", "ratio"],
)
def test_prometheus_takes_the_rules_of_every_indicator(
    indicator: Indicator, tmp_path: Path
) -> None:
    """Names with quotes too."""
    made = prometheus_rules.rules([evolve(OBJECTIVE, indicator=indicator)])
    (tmp_path / "rules.yml").write_text(prometheus_rules.to_yaml(made))

    done = subprocess.run(
        ["promtool", "check", "rules", "rules.yml"], cwd=tmp_path, capture_output=True, text=True
    )

    assert done.returncode == 0, done.stderr
    assert "17 rules found" in done.stdout
