"""Attacks on the agent: by an app over its socket, by a release's files, by a visitor of the page,
by whoever kills it, by a full disk. Each test is named after its attack."""

from __future__ import annotations

import json
import os
import random
import socket
import sqlite3
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psutil
import pytest
from attrs import evolve

from chittyops_core._kit.retry import wait_until
from chittyops_core._kit.unix_http import UnixHTTPConnection
from chittyops_core.deploy.targets.local import Layout
from chittyops_core.errors import ManifestError, ObjectiveError
from chittyops_core.host.app_link import AppLink
from chittyops_core.host.promises import MAX_PROMISES, read_promises
from chittyops_core.host.reach import out_of_reach, require_reach
from chittyops_core.model.manifest import Health, Hooks, MonitorSection
from chittyops_core.model.monitoring import Monitor
from chittyops_core.model.release import EdgePolicy, Lifecycle, ReleaseConfig
from chittyops_core.model.service import Service
from chittyops_core.monitor.app_metrics import AppMetrics
from chittyops_core.monitor.buffer import BufferedStore
from chittyops_core.monitor.objective_files import parse
from chittyops_core.monitor.watch import Watch
from conftest import FakeClock, HostUnderTest, make_host, write_app

HELLO = Service("hello")
KILLS = 200 if os.environ.get("CHITTYOPS_CHAOS") == "full" else 20

SLO = """version: prometheus/v1
service: hello
slos:
"""
ONE_SLO = """- name: {name}
  objective: 99
  sli: {{plugin: {{id: x}}}}
"""


# --- manifests: what a service that is kept apart may have watched --------------------------------


def kept_apart(**section: Any) -> ReleaseConfig:
    monitor = MonitorSection(**{"target": "/", **section})
    return ReleaseConfig(
        {}, {}, Health(), Lifecycle(), Hooks(), EdgePolicy(), own_user=True, monitors={"x": monitor}
    )


ESCALATIONS: list[dict[str, Any]] = [
    {"probe": "command", "target": "id"},
    {"probe": "python", "target": "os:getuid"},
    {"probe": "sql", "target": "sqlite:/home/journal.db"},
    {"probe": "sql", "target": "postgresql:///postgres"},
    {"probe": "disk", "target": "/root"},
    {"probe": "process", "target": "/root/pid"},
    {"probe": "process", "target": "pid:1"},
    {"probe": "of-somebody-else"},
    {"target": "unix:/run/supervisor.sock:/RPC2"},
    {"target": "UNIX:/run/supervisor.sock:/RPC2"},
    {"target": "/", "options": {"connect": "unix:/run/edge.sock"}},
    {"target": "https://example.org/", "options": {"ca_file": "/etc/shadow"}},
    {"probe": "tcp", "target": "unix:/run/docker.sock"},
    {"probe": "tls", "target": "unix:/run/docker.sock", "options": {"host": "x"}},
    {"probe": "tls", "target": "example.org", "options": {"crl_file": "/etc/shadow"}},
]


@pytest.mark.parametrize("section", ESCALATIONS, ids=str)
def test_probe_as_root_attack(section: dict[str, Any]) -> None:
    """The agent is root where a client is not: its manifest may not look with the agent's rights."""
    config = kept_apart(**section)

    assert list(out_of_reach(config)) == ["x"]
    with pytest.raises(ManifestError, match=r"\[monitor\.x\]"):
        require_reach(config)
    require_reach(evolve(config, own_user=False))


@pytest.mark.parametrize(
    "section",
    [
        {"target": "/checkout"},
        {"target": "https://example.org/", "options": {"headers": {"A": "b"}, "method": "HEAD"}},
        {"probe": "tcp", "target": "db.example.org:5432"},
        {"probe": "tls", "target": "example.org"},
        {"probe": "dns", "target": "example.org", "options": {"server": "9.9.9.9"}},
        {"probe": "heartbeat", "target": "backup", "options": {"period": "1d"}},
    ],
    ids=str,
)
def test_what_looks_over_the_network_is_allowed(section: dict[str, Any]) -> None:
    require_reach(kept_apart(**section))


# --- releases: files of objectives --------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        'version: "\\UFFFFFFFF"', 'version: !!int ""', "version: !!bool foo",
        "version: !!timestamp foo", "version: !!binary é", "&a\nversion: *a", "[" * 50_000,
        "? [a]\n: b", "version: " + "9" * 100_000, "a\0b",
    ],
)  # fmt: skip
def test_hostile_yaml_attack(text: str) -> None:
    """PyYAML raises half a dozen kinds of errors; any but ours would have ended the agent's look."""
    with pytest.raises(ObjectiveError):
        parse(text, file="slo.yaml")


def test_objectives_out_of_the_artifact_attack(tmp_path: Path) -> None:
    """A link to a pipe would hold the agent up for ever, one to /dev/zero would eat the memory."""
    app, outside = tmp_path / "app", tmp_path / "state"
    (app / "slo").mkdir(parents=True)
    outside.mkdir()
    os.mkfifo(outside / "pipe")
    os.mkfifo(app / "slo/pipe.yaml")
    for name, target in (("a", outside / "pipe"), ("b", "/dev/zero"), ("c", "c.yaml"), ("d", "no")):
        (app / f"slo/{name}.yaml").symlink_to(target)
    (app / "slo/folder.yaml").mkdir()
    (app / "slo/huge.yaml").write_text("x: 1\n" * 100_000)

    assert read_promises(HELLO, app) == []

    (app / "elsewhere.yaml").write_text(GOOD_SLO)
    (app / "slo/z.yaml").symlink_to("../elsewhere.yaml")
    assert [p.objective.name for p in read_promises(HELLO, app)] == ["web"]


def test_objectives_folder_that_leads_elsewhere_attack(tmp_path: Path) -> None:
    (tmp_path / "app").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "other/a.yaml").write_text(GOOD_SLO)
    (tmp_path / "app/slo").symlink_to("../other")

    assert read_promises(HELLO, tmp_path / "app") == []


GOOD_SLO = """apiVersion: openslo/v1
kind: SLO
metadata: {name: web}
spec:
  service: hello
  budgetingMethod: Occurrences
  timeWindow: [{duration: 30d, isRolling: true}]
  objectives: [{target: 0.99}]
  indicator:
    metadata: {name: web}
    spec:
      ratioMetric:
        counter: true
        good: {metricSource: {type: chittyops, spec: {metric: good_total}}}
        total: {metricSource: {type: chittyops, spec: {metric: all_total}}}
"""


def test_thousands_of_objectives_attack(tmp_path: Path) -> None:
    """Each is judged in the thread that holds all alerts."""
    (tmp_path / "slo").mkdir()
    for number in range(15):
        documents = [
            GOOD_SLO.replace("{name: web}", f"{{name: w{number}-{each}}}") for each in range(20)
        ]
        (tmp_path / f"slo/{number:03}.yaml").write_text("---\n".join(documents))

    assert 0 < len(read_promises(HELLO, tmp_path)) <= MAX_PROMISES


def test_one_objective_in_two_files_attack(tmp_path: Path) -> None:
    """Two that share an alert would raise and end it in turns."""
    (tmp_path / "slo").mkdir()
    for name in ("a", "b"):
        (tmp_path / f"slo/{name}.yaml").write_text(GOOD_SLO)

    assert len(read_promises(HELLO, tmp_path)) == 1
