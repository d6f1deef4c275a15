"""The rules that we print are Sloth's own, but where an ADR says why not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from attrs import evolve

from chittyops_core.monitor.objective_files import parse, read_files
from chittyops_core.monitor.objectives import Alerting, AlertSwitch, Objective
from chittyops_core.monitor.prometheus_rules import rules, to_yaml

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("CHITTYOPS_TEST_DATA") or ROOT.parent / "shared/data") / "slo"


@pytest.fixture
def inputs() -> list[Path]:
    """Sloth's own input files, each beside the rules that Sloth made of it."""
    found = [path for path in sorted(DATA.glob("*.yml")) if "expected" not in path.name]
    if not found:
        pytest.skip("Sloth's files are not in $CHITTYOPS_TEST_DATA/slo (or ../shared/data/slo)")
    return found


BOTH_OFF = Alerting(page=AlertSwitch(is_on=False), ticket=AlertSwitch(is_on=False))

SLO = """\
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


def normal(content: dict[str, Any]) -> dict[str, dict[tuple[str, str], dict[str, Any]]]:
    """Return rules by group and by (name, severity), with what says nothing taken out.

    White space in expressions; the label `cmd`, which Sloth's examples were made with; and the
    version and mode of who made the file.
    """
    groups: dict[str, dict[tuple[str, str], dict[str, Any]]] = {}
    for group in content["groups"]:
        named = groups.setdefault(group["name"], {})
        for rule in group["rules"]:
            labels = {
                name: value
                for name, value in rule["labels"].items()
                if name not in ("cmd", "sloth_version", "sloth_mode")
            }
            key = (rule.get("record") or rule["alert"], labels.get("sloth_severity", ""))
            assert key not in named
            named[key] = {**rule, "expr": " ".join(rule["expr"].split()), "labels": labels}
    return groups


def expected_and_made(path: Path, *, averaged_period: bool) -> tuple[Any, Any]:
    expected = yaml.safe_load(path.with_name(f"{path.stem}.expected-rules.yml").read_text())
    objectives = read_files([path])
    if "openslo" in path.name:  # ADR 11: ours alert.
        objectives = [evolve(each, alerting=BOTH_OFF) for each in objectives]
    made = to_yaml(rules(objectives, averaged_period=averaged_period))
    return normal(expected), normal(yaml.safe_load(made))


def test_rules_are_sloths(inputs: list[Path]) -> None:
    """All of them, for all inputs, when the period is averaged as Sloth does."""
    for path in inputs:
        expected, made = expected_and_made(path, averaged_period=True)

        assert expected == made, path.name


def test_only_the_whole_period_is_another_rule(inputs: list[Path]) -> None:
    """By default it is counted (ADR 11)."""
    for path in inputs:
        expected, made = expected_and_made(path, averaged_period=False)

        differing = [
            name
            for group, named in expected.items()
            for name in named
            if named[name] != made[group][name]
        ]
        assert differing == [("slo:sli_error:ratio_rate30d", "")], path.name
        assert expected.keys() == made.keys()


def test_what_openslo_says_alerts() -> None:
    """No file is read in vain: page and ticket are on where nothing switches them off."""
    text = (ROOT / "docs/objectives.md").read_text().split("```yaml\n")[1].split("```")[0]

    made = normal(rules(parse(text, file="docs")))

    assert list(made["sloth-slo-alerts-court.production-reachable"]) == [
        ("ErrorBudgetBurn", "page")
    ]
    assert len(made["sloth-slo-alerts-court.production-checkout"]) == 2


def test_a_period_of_seven_days_has_rules_of_its_own() -> None:
    """Sloth's, from its `examples/windows/7d.yaml`."""
    one: Objective = evolve(parse(SLO, file="slo.yaml")[0], period_days=7)

    groups = rules([one])["groups"]

    assert groups[0]["rules"][-1]["record"] == "slo:sli_error:ratio_rate7d"
    assert "13.44 * " in groups[2]["rules"][0]["expr"]
    assert "3.5 * " in groups[2]["rules"][0]["expr"]


# --- the command line --------------------------------------------------------------------------


def run(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from chittyops_core.cli import main; main()", "slo", *words]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True)


def test_check_refuses_a_wrong_file_with_its_line(tmp_path: Path) -> None:
    """Exit 1, two lines on stderr, nothing on stdout."""
    (tmp_path / "slo.yaml").write_text(SLO.replace("objective:", "objectiv:"))

    done = run("check", "slo.yaml", cwd=tmp_path)

    assert done.returncode == 1
    assert done.stdout == ""
    assert "slo.yaml:5: slos[0].objectiv: unknown key; did you mean 'objective'?" in done.stderr


def test_check_says_in_plain_words_what_would_alert(tmp_path: Path) -> None:
    """With the share of events that have to fail for it."""
    (tmp_path / "slo.yaml").write_text(SLO)

    text = run("check", "slo.yaml", cwd=tmp_path).stdout
    told = json.loads(run("check", "slo.yaml", "--json", cwd=tmp_path).stdout)["objectives"]

    assert "99.9 % of the events are good over 30 days; 0.1 % may fail" in text
    assert "page when 2 % of the 30 days' budget burns in 1h (14.4x: 1.44 % of events fail)" in text
    assert told[0]["id"] == "court-availability"
    assert [each["factor"] for each in told[0]["alerts"]] == [14.4, 6, 3, 1]


def test_check_says_which_rule_can_never_fire(tmp_path: Path) -> None:
    """At 90 % a burn rate of 14.4 would be more than all events."""
    (tmp_path / "slo.yaml").write_text(SLO.replace("99.9", "90"))

    text = run("check", "slo.yaml", cwd=tmp_path).stdout

    assert "page never for 1h: 14.4x would be more events than there are" in text
    assert "page when 5 % of the 30 days' budget burns in 6h (6x: 60 % of events fail)" in text


def test_rules_prints_what_prometheus_reads(tmp_path: Path) -> None:
    """As YAML, and the same as JSON."""
    (tmp_path / "slo.yaml").write_text(SLO)

    as_yaml = run("rules", "slo.yaml", cwd=tmp_path)
    as_json = run("rules", "slo.yaml", "--json", cwd=tmp_path)

    assert as_yaml.stderr == ""
    assert yaml.safe_load(as_yaml.stdout) == json.loads(as_json.stdout)
    assert "expr: |\n" in as_yaml.stdout
