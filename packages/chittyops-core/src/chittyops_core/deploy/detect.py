"""What a folder says about itself where its manifest is silent.

Every guess names what it was read from, so that a person can agree or say otherwise before
anything is done.
"""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

from attrs import evolve, frozen

from chittyops_core.errors import ManifestError
from chittyops_core.model.manifest import Builder, Manifest, Process
from chittyops_core.model.names import MAX_NAME

__all__ = ["Guess", "complete"]


@frozen
class Guess:
    """One thing that the manifest does not say.

    Attributes:
        key: The manifest key that would say it.
        value: What it is taken to be.
        reason: What it was read from.
    """

    key: str
    value: str
    reason: str


def complete(folder: Path, manifest: Manifest) -> tuple[Manifest, tuple[Guess, ...]]:
    """Fill what *manifest* leaves open from what lies in *folder*.

    Raises:
        ManifestError: There is nothing to tell how the app is started.
    """
    guesses: list[Guess] = []
    if not manifest.app.name:
        name = _name_from(folder)
        guesses.append(Guess("app.name", name, "the folder's name"))
        manifest = evolve(manifest, app=evolve(manifest.app, name=name))
    if manifest.build.builder is Builder.AUTO:
        builder, reason = _builder_of(folder)
        guesses.append(Guess("build.builder", builder.value, reason))
        manifest = evolve(manifest, build=evolve(manifest.build, builder=builder))
    if not manifest.process:
        manifest, found = _processes_of(folder, manifest)
        guesses += found
    return manifest, tuple(guesses)


def _name_from(folder: Path) -> str:
    name = re.sub(r"[^a-z0-9]+", "-", folder.name.lower())[: MAX_NAME["app"]].strip("-")
    if not name:
        raise ManifestError(
            f"the folder's name {folder.name!r} cannot name an app",
            remedy='Write a chittyops.toml with [app] and name = "my-app".',
        )
    return name


def _builder_of(folder: Path) -> tuple[Builder, str]:
    if (folder / "uv.lock").is_file():
        return Builder.UV_LOCK, "uv.lock"
    if _project_of(folder):
        return Builder.PYPROJECT, "pyproject.toml"
    if (folder / "requirements.txt").is_file():
        return Builder.REQUIREMENTS, "requirements.txt"
    if (folder / "Dockerfile").is_file():
        raise ManifestError(
            f"{folder}: there is a Dockerfile, but the local target builds no images, and "
            "the folder has neither uv.lock, pyproject.toml nor requirements.txt",
            remedy='Add a requirements.txt, or say `builder = "none"` in [build].',
        )
    return Builder.NONE, "neither uv.lock, pyproject.toml nor requirements.txt"


def _project_of(folder: Path) -> dict[str, object]:
    try:
        project = tomllib.loads((folder / "pyproject.toml").read_text()).get("project", {})
    except FileNotFoundError:
        return {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ManifestError(
            f"{folder / 'pyproject.toml'}: {error}", remedy="Correct the TOML."
        ) from error
    return project if isinstance(project, dict) else {}


def _processes_of(folder: Path, manifest: Manifest) -> tuple[Manifest, list[Guess]]:
    procfile = folder / "Procfile"
    if procfile.is_file():
        return _from_procfile(procfile, manifest)
    command, reason = _web_command_of(folder)
    guess = Guess("process.web.command", command, reason)
    return evolve(manifest, process={"web": Process(command)}), [guess]


# --- Procfile (devcenter.heroku.com/articles/procfile: `name: command`, `release` is special) --


def _from_procfile(path: Path, manifest: Manifest) -> tuple[Manifest, list[Guess]]:
    processes: dict[str, Process] = {}
    guesses: list[Guess] = []
    for number, line in enumerate(path.read_text().splitlines(), start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        name, colon, command = (part.strip() for part in line.partition(":"))
        if not colon or not command:
            raise ManifestError(
                f"{path.name}:{number}: expected `name: command`, got {line.strip()!r}",
                remedy="For example `web: gunicorn app:app --bind unix:$SOCKET`.",
                file=path.name,
                line=number,
            )
        if name == "release":
            manifest = evolve(manifest, deploy=evolve(manifest.deploy, release=command))
            guesses.append(Guess("deploy.release", command, "Procfile"))
            continue
        listening, why = _listen_on_socket(command) if name == "web" else (command, "")
        name = name.lower().replace("_", "-")
        try:
            processes = dict(
                evolve(manifest, process={**processes, name: Process(listening)}).process
            )
        except ValueError as error:
            raise ManifestError(
                f"{path.name}:{number}: {error}", remedy="Rename the process.", line=number
            ) from error
        guesses.append(Guess(f"process.{name}.command", listening, f"Procfile{why}"))
    return evolve(manifest, process=processes), guesses


_BIND_FLAG = {
    "gunicorn": (("-b", "--bind"), "--bind unix:$SOCKET"),
    "uvicorn": (("--uds", "--port", "--fd", "--host"), "--uds $SOCKET"),
    "hypercorn": (("-b", "--bind"), "--bind unix:$SOCKET"),
    "datasette": (("--uds", "-p", "--port"), "--uds $SOCKET"),
    "waitress-serve": (("--listen", "--unix-socket", "--port"), "--unix-socket $SOCKET"),
}


def _listen_on_socket(command: str) -> tuple[str, str]:
    """Return *command*, made to listen on $SOCKET where a known server is told nothing."""
    words = command.split()
    flags, addition = _BIND_FLAG.get(words[0] if words else "", ((), ""))
    is_told = "$SOCKET" in command or "$PORT" in command or "${" in command
    is_told = is_told or any(word.split("=")[0] in flags for word in words)
    if is_told or not addition:
        return command, ""
    return f"{command} {addition}", f", with `{addition}` so that the edge finds it"


# --- the app object in the code ----------------------------------------------------------------

_FRAMEWORKS = {
    "Flask": "gunicorn",
    "FastAPI": "uvicorn",
    "Starlette": "uvicorn",
    "Quart": "uvicorn",
    "Litestar": "uvicorn",
}


def _web_command_of(folder: Path) -> tuple[str, str]:
    servers = _servers_of(folder)
    for name in ("app.py", "main.py", "wsgi.py", "asgi.py", "application.py"):
        path = folder / name
        if not path.is_file():
            continue
        for variable, framework in _app_objects(path):
            server = _FRAMEWORKS[framework]
            _require_server(servers, server, framework, name)
            command = f"{server} {path.stem}:{variable} {_BIND_FLAG[server][1]}"
            return command, f"{name} makes a {framework} app and {server} is required"
    raise ManifestError(
        f"{folder}: nothing says how to start this app",
        remedy=(
            "Write a Procfile with one line, for example "
            "`web: gunicorn app:app --bind unix:$SOCKET`, "
            "or a chittyops.toml (`chittyops new KIND DIR` makes a whole example)."
        ),
    )


def _app_objects(path: Path) -> list[tuple[str, str]]:
    try:
        tree = ast.parse(path.read_bytes(), filename=str(path))
    except SyntaxError as error:
        raise ManifestError(
            f"{path.name}:{error.lineno}: {error.msg}", remedy="Correct the Python code."
        ) from error
    found = []
    for node in tree.body:
        if not isinstance(node, ast.Assign) or not isinstance(node.value, ast.Call):
            continue
        called = node.value.func
        name = called.id if isinstance(called, ast.Name) else getattr(called, "attr", "")
        target = node.targets[0]
        if name in _FRAMEWORKS and isinstance(target, ast.Name):
            found.append((target.id, name))
    return found


def _servers_of(folder: Path) -> set[str]:
    texts = [str(_project_of(folder).get("dependencies", ""))]
    for name in ("requirements.txt", "uv.lock"):
        path = folder / name
        if path.is_file():
            texts.append(path.read_text(errors="replace"))
    text = " ".join(texts)
    return {server for server in _BIND_FLAG if re.search(rf"\b{server}\b", text)}


def _require_server(servers: set[str], server: str, framework: str, name: str) -> None:
    if server not in servers:
        raise ManifestError(
            f"{name} makes a {framework} app, but {server}, which serves it, is not required",
            remedy=f"Add {server} to the app's requirements.",
        )
