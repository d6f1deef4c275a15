"""Files of objectives: what is wrong in one is said with its line, and nothing is guessed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chittyops_core.errors import ObjectiveError
from chittyops_core.monitor.objective_files import parse, read_files
from chittyops_core.monitor.objectives import EventQueries, MetricEvents, MonitorEvents, RatioQuery

ROOT = Path(__file__).parents[2]

SLOTH = """\
version: prometheus/v1
service: court
slos:
  - name: availability
    objective: 99.9
    sli:
      events:
        error_query: sum(rate(errors_total[{{.window}}]))
        total_query: sum(rate(requests_total[{{.window}}]))
"""

V1 = """\
apiVersion: openslo/v1
kind: SLO
metadata:
  name: reachable
spec:
  service: court.production
  timeWindow: [{duration: 4w, isRolling: true}]
  indicator:
    spec:
      ratioMetric:
        rawType: success
        raw:
          metricSource: {type: chittyops, spec: {monitor: court.production/http}}
  objectives:
    - target: 0.999
"""

ALPHA = """\
apiVersion: openslo/v1alpha
kind: SLO
metadata: {name: requests}
spec:
  service: court
  objectives:
    - ratioMetrics:
        good: {source: prometheus, queryType: promql, query: "sum(rate(a[{{.window}}]))"}
        total: {source: prometheus, queryType: promql, query: "sum(rate(b[{{.window}}]))"}
      target: 0.99
"""


@pytest.mark.parametrize(
    ("text", "old", "new", "line", "said"),
    [
        (SLOTH, "objective:", "objectve:", 5, "did you mean 'objective'?"),
        (SLOTH, "    sli:", "    sly:", 6, "did you mean 'sli'?"),
        (SLOTH, "error_query", "errors_query", 8, "did you mean 'error_query'?"),
        (SLOTH, "99.9", "high", 5, "expected a number, got 'high'"),
        (SLOTH, "99.9", "true", 5, "expected a number, got True"),
        (SLOTH, "99.9", "100", 4, "which would leave no budget"),
        (SLOTH, "99.9", ".nan", 4, "a target of nan % cannot be"),
        (SLOTH, "99.9", "-.inf", 4, "a target of -inf % cannot be"),
        (SLOTH, "99.9", "0.999e400", 5, "expected a number"),
        (SLOTH, "99.9", "!!python/object/apply:os.system [id]", 5, "expected one value"),
        (SLOTH, "99.9", "!!python/name:os.system", 5, "cannot be read"),
        (SLOTH, "availability", "2024-01-01", 4, "expected a text"),
        (SLOTH, "availability", "'a b'", 4, "cannot be the name"),
        (SLOTH, "name: availability", "name: a\n    name: b", 5, "the key is here twice"),
        (SLOTH, "[{{.window}}]", "[5m]", 8, "does not say where its window goes"),
        (SLOTH, "{{.window}}", "{{.window}}] * {{.factor}}[1m", 8, "no template but"),
        (SLOTH, "prometheus/v1", "prometheus/v2", 1, "expected `apiVersion: openslo/v1`"),
        (SLOTH, "service: court", "service: court\nslo_plugins: {}", 3, "Go programs"),
        (SLOTH, "events:", "plugin: {}\n      events:", 7, "Go programs"),
        (SLOTH, "    sli:", "    labels: {a-b: c}\n    sli:", 4, "'a-b' cannot name a label"),
        (SLOTH, "    sli:", "    labels: {a: 1}\n    sli:", 6, "put it in quotes"),
        (SLOTH, "    sli:", "    labels: [a]\n    sli:", 6, "expected a table"),
        (SLOTH, "    sli:", "    alerting: {page_alert: {disable: maybe}}\n    sli:", 6, "true or"),
        (SLOTH, "service:", "? [a]\n: b\nservice:", 2, "expected a text as key"),
        (SLOTH, "service: court", "service: {court", 3, "not YAML"),
        (SLOTH, "service: court", "service: \x07", None, "not YAML"),
        (V1, "timeWindow", "timeWindows", 7, "did you mean 'timeWindow'?"),
        (V1, "4w", "1M", 7, "expected days or weeks"),
        (V1, "4w", "5w", 15, "expected one of 7, 28, 30 days"),
        (V1, ", isRolling: true", "", 7, "periods are rolling"),
        (V1, "isRolling: true", "calendar: {}", 7, "periods are rolling"),
        (V1, "rawType: success", "rawType: maybe", 11, "expected success or failure"),
        (V1, "rawType: success", "rawType: failure", 12, "`rawType: success`"),
        (V1, "type: chittyops", "type: datadog", 13, "expected chittyops or Prometheus"),
        (V1, "monitor: court.production/http", "monitr: x", 13, "did you mean 'monitor'?"),
        (V1, "monitor: court.production/http", "monitor: ''", 13, "the name of a monitor"),
        (V1, "target: 0.999", "target: 99.9", 15, "a target of 9990 % cannot be"),
        (V1, "target: 0.999", "op: lte", 15, "count those under the threshold"),
        (V1, "target: 0.999", "targetPercent: 99\n      target: 0.99", 15, "expected either"),
        (V1, "  service:", "  alertPolicies: []\n  service:", 6, "SRE workbook"),
        (V1, "  service:", "  budgetingMethod: Timeslices\n  service:", 6, "Occurrences"),
        (V1, "kind: SLO", "kind: AlertPolicy", 2, "'AlertPolicy' cannot be used here"),
        (V1, "ratioMetric:", "thresholdMetric:", 10, "count those under the threshold"),
        (V1, "  name: r", "  annotations: {chittyops/pge: 'off'}\n  name: r", 4, "chittyops/page"),
        (V1, "  name: r", "  annotations: {chittyops/page: 1}\n  name: r", 4, "on or off"),
        (ALPHA, "promql", "sql", 8, "expected promql"),
        (ALPHA, "sum(rate(b[{{.window}}]))", "b", 9, "where its window goes"),
        (ALPHA, "  obj", "  timeWindows: [{unit: Day, count: 7.5}]\n  obj", 6, "whole number"),
        (ALPHA, "  obj", "  timeWindows: [{unit: Month, count: 1}]\n  obj", 6, "expected Day"),
        (SLOTH, "requests_total[{{.window}}]", "requests_total", 9, "its w"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_with_its_line(
    text: str, old: str, new: str, line: int | None, said: str
) -> None:
    """One thing at a time is wrong in a file that is right."""
    assert old in text

    with pytest.raises(ObjectiveError, match=re.escape(said)) as caught:
        parse(text.replace(old, new, 1), file="slo.yaml")

    assert line == caught.value.facts["line"]
    assert str(caught.value).startswith("slo.yaml" + (f":{line}: " if line else ""))


@pytest.mark.parametrize(
    "text", ["", "# nothing\n", "---\n---\n", "slos: []\n", "- a\n", "[" * 9999]
)
def test_a_file_without_objectives_is_an_error(text: str) -> None:
    """An empty file would watch nothing, and nobody would know."""
    with pytest.raises(ObjectiveError):
        parse(text, file="slo.yaml")


def test_a_file_that_is_endless_is_refused() -> None:
    """Before it is read: a YAML parser takes its time."""
    with pytest.raises(ObjectiveError, match="not a file of objectives"):
        parse("a: b\n" * 300_000, file="slo.yaml")


@given(st.text(max_size=200))
def test_whatever_a_file_holds_the_answer_is_an_error_of_ours(text: str) -> None:
    """Never a traceback."""
    with pytest.raises(ObjectiveError):
        parse(text, file="slo.yaml")


def test_an_objective_may_be_there_once_only(tmp_path: Path) -> None:
    """Over all files that are read together."""
    for name in ("one.yaml", "two.yaml"):
        (tmp_path / name).write_text(SLOTH)

    with pytest.raises(ObjectiveError, match="'availability' of 'court' is there twice"):
        read_files([tmp_path / "one.yaml", tmp_path / "two.yaml"])


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """Missing, or no text."""
    (tmp_path / "image.yaml").write_bytes(b"\xff\xfe\x00")

    for name in ("image.yaml", "missing.yaml"):
        with pytest.raises(ObjectiveError, match=f"{name}: cannot be read"):
            read_files([tmp_path / name])


def test_documents_of_all_formats_may_stand_in_one_file() -> None:
    """And a SLI is found by its reference, wherever it stands."""
    head, rest = V1.split("  indicator:\n")
    spec, tail = rest.split("  objectives:")
    referring = f"{head}  indicatorRef: looks\n  objectives:{tail}"
    sli = "apiVersion: openslo/v1\nkind: SLI\nmetadata: {name: looks}\n" + re.sub(
        "^    ", "", spec, flags=re.MULTILINE
    )
    service = "apiVersion: openslo/v1\nkind: Service\nmetadata: {name: court}\nspec: {}\n"

    found = parse("---\n".join((SLOTH, referring, service, ALPHA, sli)), file="slo.yaml")

    by_name = {each.name: each for each in found}
    assert set(by_name) == {"availability", "reachable", "requests-0"}
    assert by_name["reachable"].indicator == MonitorEvents("court.production/http")
    assert by_name["reachable"].period_days == 28
    assert by_name["reachable"].is_counted_here
    assert isinstance(by_name["requests-0"].indicator, RatioQuery)
    assert isinstance(by_name["availability"].indicator, EventQueries)
    assert by_name["availability"].target == 0.999


@pytest.mark.parametrize("said", ["off", '"off"', "false"])
def test_an_annotation_switches_an_alert_off(said: str) -> None:
    """Written as YAML 1.1 or as a text."""
    text = V1.replace("  name: reachable", f"  name: r\n  annotations: {{chittyops/page: {said}}}")

    alerting = parse(text, file="slo.yaml")[0].alerting

    assert not alerting.page.is_on
    assert alerting.ticket.is_on


def test_the_examples_of_the_documentation_are_right() -> None:
    """Each of them is read, and the first file's two are counted here."""
    blocks = re.findall(
        "```yaml\n(.*?)```", (ROOT / "docs/objectives.md").read_text(), flags=re.DOTALL
    )

    found = [each for block in blocks for each in parse(block, file="docs/objectives.md")]

    assert [each.is_counted_here for each in found] == [True, True, False]
    assert isinstance(found[1].indicator, MetricEvents)
    assert found[1].target_percent == 99.5
