#!/usr/bin/env -S uv run --script
# /// script
# requires-python = ">=3.11"
# dependencies = ["nox[uv]"]
# ///
"""The project's chores. `nox` runs what CI runs; `nox -l` lists all.

nox -s demo             three apps in service, redeployed under load, broken and rolled back
nox -s tests            all tests, on the interpreter that runs nox
nox -s tests -- -k plan a selection, as pytest takes it
"""

from __future__ import annotations

import sys
from pathlib import Path

import nox
from packaging.requirements import Requirement  # which nox itself needs

ROOT = Path(__file__).parent
PACKAGES = [
    ROOT / "packages" / name
    for name in (
        "chittyops-core",
        "chittyops-lite-cook-county",
        "chittyops-lite-digital-dossier",
        "chittyops-lite-chitty-apps",
    )
]
LOCK = "requirements/dev.txt"
BENCHMARKS = (
    "switch", "overhead", "restore", "monitor", "flapping", "metrics", "page", "ingest",
    "reconnect",
)  # fmt: skip
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"

nox.options.default_venv_backend = "uv"
nox.options.download_python = "never"
nox.options.error_on_missing_interpreters = False
nox.options.reuse_existing_virtualenvs = True
nox.options.sessions = ["lint", "types", "workflows", "tests", "dist", "smoke"]


def install(session: nox.Session, *groups: str, packages: bool = True) -> None:
    """Install development tools as locked, and the four packages from their folders."""
    session.install("--require-hashes", "--no-deps", "-r", LOCK)
    if packages:
        paths = [f"-e{path}" for path in PACKAGES]
        session.install("--no-deps", *paths)


@nox.session(python=PYTHON)
def tests(session: nox.Session) -> None:
    """Run all tests, against real Caddy, Supervisor, uv and browsers of HTTP."""
    install(session)
    # Most of a test's time is waiting for processes, so four share two cores well.
    session.run(
        "pytest", "--numprocesses=4", "--dist=worksteal", "-m", "not chaos", *session.posargs
    )


@nox.session(python=PYTHON)
def lowest(session: nox.Session) -> None:
    """Run the tests that need no index with the lowest versions that the packages allow."""
    install(session, packages=False)
    # Tools stay as locked; only what the packages themselves ask for goes down.
    session.install(
        "--resolution=lowest-direct",
        *(f"--upgrade-package={name}" for name in _direct_dependencies()),
        *(f"-e{path}" for path in PACKAGES),
    )
    session.run(
        "pytest", "--numprocesses=3", "--dist=worksteal", "-m", "not network and not chaos",
        # Its HTTP/3 client, a tool, asks for a newer cryptography than the packages do.
        "--ignore=tests/core/test_protocols.py",
        *session.posargs,
    )  # fmt: skip


def _direct_dependencies() -> list[str]:
    """Return the names that the packages ask for, optional ones too, each other's apart."""
    found = set()
    for path in PACKAGES:
        project = nox.project.load_toml(path / "pyproject.toml")["project"]
        extras = project.get("optional-dependencies", {}).values()
        for line in [*project["dependencies"], *(each for extra in extras for each in extra)]:
            found.add(Requirement(line).name)
    return sorted(found - {path.name for path in PACKAGES})


@nox.session(python=PYTHON)
def chaos(session: nox.Session) -> None:
    """Run the fault tests in full: kill points, the kill matrix, the agent under alerts.

    `-- --tenth` runs about a tenth of it, as CI does: each point and phase once, under one
    strategy or the other.
    """
    install(session)
    options = [each for each in session.posargs if each != "--tenth"]
    session.run(
        "pytest", "-rP", "--numprocesses=4", "--dist=worksteal", "-m", "chaos", *options,
        env={"CHITTYOPS_CHAOS": "" if "--tenth" in session.posargs else "full"},
    )  # fmt: skip


@nox.session(python=PYTHON)
def lint(session: nox.Session) -> None:
    """Check style, format and the direction of imports."""
    install(session)
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("lint-imports")


@nox.session(python=PYTHON)
def workflows(session: nox.Session) -> None:
    """Check the workflows: pinned actions, least permissions, nothing injected."""
    install(session, packages=False)
    session.run("zizmor", "--offline", "--no-progress", "--persona=pedantic", ".github/workflows")


@nox.session(python=PYTHON)
def types(session: nox.Session) -> None:
    """Check types, strictly."""
    install(session)
    session.run("mypy")


@nox.session(python=PYTHON)
def dist(session: nox.Session) -> None:
    """Build all four distributions twice, compare them byte by byte, and check them."""
    install(session, packages=False)
    session.run("python", "tools/build_dists.py", "dist", *(str(path) for path in PACKAGES))


@nox.session(python=PYTHON)
def release(session: nox.Session) -> None:
    """Do all that publishing one package does but the upload: `-- DIST [VERSION [--yes]]`."""
    install(session)
    session.run("python", "tools/release.py", *session.posargs)


@nox.session(python=PYTHON)
def smoke(session: nox.Session) -> None:
    """Install each wheel alone into an empty environment and use it as its users would."""
    session.install("uv")
    wheels = {path.name.split("-")[0]: path for path in sorted((ROOT / "dist").glob("*.whl"))}
    if len(wheels) != len(PACKAGES):
        session.error("build them first: nox -s dist")
    for name in wheels:
        session.log(f"--- {name}")
        session.run("python", "tests/smoke.py", name, str(ROOT / "dist"), env={"PYTHONPATH": ""})


@nox.session(python=PYTHON)
def lock(session: nox.Session) -> None:
    """Pin the development tools and every dependency, with hashes and without addresses."""
    session.install("uv")
    session.run(
        "uv", "pip", "compile", "--universal", "--python-version", "3.11", "--generate-hashes",
        "--no-emit-index-url", "--no-header", "--upgrade", "--extra", "local", "--extra", "parent",
        str(PACKAGES[0] / "pyproject.toml"), "requirements/dev.in", "-o", LOCK,
    )  # fmt: skip


@nox.session(python=PYTHON)
def demo(session: nox.Session) -> None:
    """Put three apps into service, redeploy, break, roll back, enrol. `-- --once` ends."""
    install(session)
    session.run("python", "tools/demo.py", *session.posargs)


@nox.session(python=PYTHON)
def bench(session: nox.Session) -> None:
    """Run the benchmarks, each beside its peer. `-- overhead --only help` runs one, as it takes."""
    install(session)
    if session.posargs:
        name, *options = session.posargs
        session.run("python", f"benchmarks/{name}.py", *options)
        return
    for name in BENCHMARKS:
        session.run("python", f"benchmarks/{name}.py")


if __name__ == "__main__":
    nox.main()
