"""Install one wheel alone into an empty environment, and use it as its users would.

    python tests/smoke.py chittyops_lite_cook_county dist/

Not a pytest test: what it tests is the wheel, in an environment that holds nothing else.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

CLIENT = {"chittyops_lite_digital_dossier": ["--client", "acme"]}


def main() -> None:
    name, dist = sys.argv[1], Path(sys.argv[2]).resolve()
    with tempfile.TemporaryDirectory(prefix="cs-", dir="/tmp") as folder:
        root = Path(folder)
        root.chmod(0o711)  # A service with an OS user of its own has to pass through.
        run(["uv", "venv", "-q", "--python", sys.executable, str(root / "env")], root)
        wheel = next(dist.glob(f"{name}-*.whl"))
        # Not the core that uv remembers of an earlier build: it has the same name and version.
        run(
            ["uv", "pip", "install", "-q", "--python", str(root / "env"), "--find-links", str(dist),
             "--refresh-package", "chittyops-core", str(wheel)],
            root,
        )  # fmt: skip
        command = str(root / "env/bin/chittyops")
        print(run([command, "--version"], root).strip())
        run([str(root / "env/bin/python"), "-I", "-c", f"import {name}; {name}.__name__"], root)
        if "lite" in name:
            deploy_starter(name, command, root)
        else:
            serve_parent(f"{wheel}[parent]", command, dist, root)


def serve_parent(wheel: str, command: str, dist: Path, root: Path) -> None:
    """Add the extra, make a parent, and ask it whether it can work."""
    install = ["uv", "pip", "install", "-q", "--python", str(root / "env"), wheel]
    run([*install, "--find-links", str(dist)], root)
    init = [command, "parent", "init", "--data", "parent", "--admin", "admin", "--yes"]
    run(init, root, given="correct horse battery")
    serve = [command, "parent", "serve", "--data", "parent", "--bind", f"127.0.0.1:{PORTS[0]}"]
    serving = subprocess.Popen(serve, cwd=root, stderr=subprocess.DEVNULL)
    try:
        url = f"http://127.0.0.1:{PORTS[0]}/readyz"
        ask = ["curl", "-s", "--retry", "40", "--retry-connrefused", "--retry-delay", "1", url]
        print(f"{url} answered {run(ask, root).strip()}")
    finally:
        serving.terminate()
        serving.wait(timeout=30)


def deploy_starter(name: str, command: str, root: Path) -> None:
    """Make the starter app, deploy it, ask it, and take everything down."""
    kind = name.removeprefix("chittyops_lite_").replace("_", "-")
    run([command, "new", kind, "starter"], root)
    if name in CLIENT and os.geteuid() == 0:
        # This interpreter may lie in a home directory, where no client's user can run it.
        with (root / "starter/clients/acme.toml").open("a") as file:
            file.write('\n[build]\npython = "/usr/bin/python3"\n')
    deploy = [command, "deploy", "starter", "--yes", "--json", *CLIENT.get(name, [])]
    report = json.loads(run(deploy, root))
    try:
        ca = ["--cacert", report["connect"]["ca_file"]] if report["connect"]["tls"] else []
        host, port = report["connect"]["host"], report["connect"]["address"].rpartition(":")[2]
        resolve = ["--resolve", f"{host}:{port}:127.0.0.1"]
        status = run(
            ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", *ca, *resolve, report["url"]],
            root,
        )
        assert status == "200", status
        print(f"{report['url']} answered {status}")
    finally:
        run([command, "remove", "--all", "--yes"], root)


def run(words: list[str], root: Path, given: str = "") -> str:
    environment = {
        **os.environ,
        "CHITTYOPS_HOME": str(root / "home"),
        "CHITTYOPS_HTTP_PORT": str(PORTS[0]),
        "CHITTYOPS_HTTPS_PORT": str(PORTS[1]),
    }
    done = subprocess.run(
        words, cwd=root, env=environment, capture_output=True, text=True, input=given
    )
    if done.returncode != 0:
        sys.exit(f"{words} failed with {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done.stdout


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


PORTS = (free_port(), free_port())

if __name__ == "__main__":
    main()
