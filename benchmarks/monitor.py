"""What it costs to watch 100 HTTPS targets every 10 s, beside blackbox_exporter and Prometheus.

    python benchmarks/monitor.py [--targets 100] [--seconds 120] [--json FILE]

Both look at the same nginx (a new TLS connection each time), store what they see and evaluate a
rule for each target, at the same time on the same machine. CPU is user and system time of all
processes of each over the same span; RSS is at its end.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID
from machine import free_port, wait_for_port

INTERVAL_S = 10
WARM_UP_S = 15
CPU_GOAL, RSS_GOAL = 0.8, 0.6


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--targets", type=int, default=100)
    arguments.add_argument("--seconds", type=int, default=120)
    arguments.add_argument("--json", type=Path, help="also write the figures there")
    arguments.add_argument("--watch", nargs=3, help=argparse.SUPPRESS)
    chosen = arguments.parse_args()
    if chosen.watch:
        watch(*chosen.watch)
        return
    for program in ("nginx", "prometheus", "prometheus-blackbox-exporter"):
        if found(program) is None:
            sys.exit(f"{program} is not installed: apt-get install nginx-light prometheus "
                     "prometheus-blackbox-exporter")  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="chm-", dir="/tmp") as folder:
        figures = measure(Path(folder), chosen.targets, chosen.seconds)
    show(figures, chosen.targets)
    if chosen.json:
        chosen.json.write_text(json.dumps(figures, indent=1))


def measure(folder: Path, targets: int, seconds: int) -> dict[str, dict[str, float]]:
    with ExitStack() as stack:
        certificate(folder)
        ports = stack.enter_context(nginx(folder, targets))
        ours = stack.enter_context(agent(folder, ports))
        theirs = stack.enter_context(prometheus(folder, ports))
        time.sleep(WARM_UP_S)
        groups = {"ours": ours, "theirs": theirs}
        before = {name: cpu_s(pids) for name, pids in groups.items()}
        time.sleep(seconds)
        looks = seconds / INTERVAL_S * targets
        return {
            name: {
                "cpu_ms_per_look": (cpu_s(pids) - before[name]) / looks * 1000,
                "rss_mib": sum(psutil.Process(pid).memory_info().rss for pid in pids) / 2**20,
            }
            for name, pids in groups.items()
        } | {"seen": seen(folder, ports)}


def cpu_s(pids: list[int]) -> float:
    times = [psutil.Process(pid).cpu_times() for pid in pids]
    return sum(t.user + t.system + t.children_user + t.children_system for t in times)


def seen(folder: Path, ports: list[int]) -> dict[str, float]:
    """Return how many looks each has stored as good, so that nobody wins by not looking."""
    from chittyops_core.monitor.store import Store

    store = Store(folder / "ours" / "monitor.sqlite")
    now = time.time()
    total = sum(store.counts(f"t{port}", now - 3600, now).good for port in ports)
    store.close()
    return {"ours_good": total}


# --- ours --------------------------------------------------------------------------------------


@contextmanager
def agent(folder: Path, ports: list[int]) -> Iterator[list[int]]:
    (folder / "ours").mkdir()
    (folder / "ports.json").write_text(json.dumps(ports))
    words = [str(folder / "ours" / "monitor.sqlite"), str(folder / "ports.json"),
             str(folder / "cert.pem")]  # fmt: skip
    process = subprocess.Popen([sys.executable, __file__, "--watch", *words])
    try:
        yield [process.pid]
    finally:
        process.terminate()
        process.wait()


def watch(store: str, ports: str, ca_file: str) -> None:
    """Be the part of the agent that watches, until SIGTERM."""
    import signal

    from chittyops_core._kit.clock import SystemClock
    from chittyops_core.model.monitoring import Monitor
    from chittyops_core.monitor.buffer import BufferedStore
    from chittyops_core.monitor.watch import Watch

    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    watching = Watch(BufferedStore(Path(store)), SystemClock(), lambda: None)
    watching.set_monitors(
        [
            Monitor(
                f"t{port}", "http", f"https://localhost:{port}/", interval_s=INTERVAL_S,
                conditions=("status < 300", "cert_expires_in > 1d"),
                options={"ca_file": ca_file, "connect": f"127.0.0.1:{port}"},
            )
            for port in json.loads(Path(ports).read_text())
        ]
    )  # fmt: skip
    watching.run(stop)


# --- theirs ------------------------------------------------------------------------------------


@contextmanager
def prometheus(folder: Path, ports: list[int]) -> Iterator[list[int]]:
    blackbox_port, port = free_port(), free_port()
    (folder / "blackbox.yml").write_text(
        "modules:\n  https:\n    prober: http\n    timeout: 9s\n    http:\n"
        f"      tls_config: {{ca_file: {folder}/cert.pem}}\n"
    )
    (folder / "rules.yml").write_text(
        "groups:\n- name: down\n  rules:\n  - {alert: Down, expr: probe_success == 0, for: 30s}\n"
    )
    targets = ", ".join(f"'https://localhost:{each}/'" for each in ports)
    (folder / "prometheus.yml").write_text(
        f"global: {{scrape_interval: {INTERVAL_S}s, evaluation_interval: {INTERVAL_S}s}}\n"
        f"rule_files: [{folder}/rules.yml]\n"
        "scrape_configs:\n- job_name: looks\n  metrics_path: /probe\n"
        f"  params: {{module: [https]}}\n  static_configs: [{{targets: [{targets}]}}]\n"
        "  relabel_configs:\n"
        "  - {source_labels: [__address__], target_label: __param_target}\n"
        "  - {source_labels: [__param_target], target_label: instance}\n"
        f"  - {{target_label: __address__, replacement: '127.0.0.1:{blackbox_port}'}}\n"
    )
    commands = (
        ([found("prometheus-blackbox-exporter"), f"--config.file={folder}/blackbox.yml",
          f"--web.listen-address=127.0.0.1:{blackbox_port}"], blackbox_port),
        ([found("prometheus"), f"--config.file={folder}/prometheus.yml",
          f"--storage.tsdb.path={folder}/tsdb", f"--web.listen-address=127.0.0.1:{port}"], port),
    )  # fmt: skip
    with ExitStack() as stack:
        pids = []
        for command, listens in commands:
            process = stack.enter_context(running(command))
            wait_for_port(listens, process)
            pids.append(process.pid)
        yield pids


# --- what both look at -------------------------------------------------------------------------


@contextmanager
def nginx(folder: Path, targets: int) -> Iterator[list[int]]:
    ports = [free_port() for _ in range(targets)]
    servers = "".join(
        f"server {{ listen 127.0.0.1:{port} ssl; return 200 'ok'; }}\n" for port in ports
    )
    (folder / "nginx.conf").write_text(
        f"daemon off;\n{'user root;' if os.geteuid() == 0 else ''}\npid {folder}/nginx.pid;\n"
        "worker_processes 1;\nevents { worker_connections 1024; }\nhttp {\naccess_log off;\n"
        f"ssl_certificate {folder}/cert.pem; ssl_certificate_key {folder}/key.pem;\n"
        f"ssl_session_cache off; ssl_session_tickets off;\n{servers}}}\n"
    )
    command = [found("nginx"), "-e", "stderr", "-p", str(folder), "-c", f"{folder}/nginx.conf"]
    with running(command) as process:
        wait_for_port(ports[-1], process)
        yield ports


def certificate(folder: Path) -> None:
    key = rsa.generate_private_key(65537, 2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=60))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )


@contextmanager
def running(command: list[str | None]) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        [str(word) for word in command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


def found(program: str) -> str | None:
    return shutil.which(program, path=os.pathsep.join([os.environ["PATH"], "/usr/sbin"]))


def show(figures: dict[str, dict[str, float]], targets: int) -> None:
    ours, theirs = figures["ours"], figures["theirs"]
    print(f"{targets} HTTPS targets every {INTERVAL_S} s, load average {os.getloadavg()[0]:.1f}; "
          f"{figures['seen']['ours_good']:.0f} good looks stored by ours")  # fmt: skip
    for name, unit, goal in (("cpu_ms_per_look", "CPU ms a look", CPU_GOAL),
                             ("rss_mib", "RSS MiB", RSS_GOAL)):  # fmt: skip
        ratio = ours[name] / theirs[name]
        verdict = "met" if ratio <= goal else "missed"
        print(f"{unit:16} ours {ours[name]:7.2f}   blackbox_exporter + Prometheus "
              f"{theirs[name]:7.2f}   {ratio:.2f}x  <= {goal}x {verdict}")  # fmt: skip


if __name__ == "__main__":
    main()
