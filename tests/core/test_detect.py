"""What a folder says about itself where its manifest is silent."""

from __future__ import annotations

from pathlib import Path

import pytest

from chittyops_core import App
from chittyops_core.deploy.source import read_source
from chittyops_core.errors import ManifestError

FLASK = "from flask import Flask\nserver = Flask(__name__)\n"
FASTAPI = "import fastapi\napi = fastapi.FastAPI()\n"


def load(folder: Path, **files: str) -> App:
    for name, text in files.items():
        path = folder / name.replace("__", "/").replace("_DOT_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return App.load(folder)


@pytest.mark.parametrize(
    ("files", "command", "builder"),
    [
        ({"Procfile": "web: gunicorn a:b"}, "gunicorn a:b --bind unix:$SOCKET", "none"),
        ({"Procfile": "web: gunicorn a:b -b unix:$SOCKET"}, "gunicorn a:b -b unix:$SOCKET", "none"),
        ({"Procfile": "web: gunicorn a:b --bind=:80"}, "gunicorn a:b --bind=:80", "none"),
        ({"Procfile": "web: uvicorn a:b --port ${PORT}"}, "uvicorn a:b --port ${PORT}", "none"),
        ({"Procfile": "web: datasette x.db"}, "datasette x.db --uds $SOCKET", "none"),
        ({"Procfile": "# note\n\nweb: ./serve $SOCKET\n"}, "./serve $SOCKET", "none"),
        (
            {"app_DOT_py": FLASK, "requirements_DOT_txt": "flask\ngunicorn\n"},
            "gunicorn app:server --bind unix:$SOCKET", "requirements",
        ),
        (
            {"main_DOT_py": FASTAPI, "requirements_DOT_txt": "fastapi\nuvicorn[standard]\n"},
            "uvicorn main:api --uds $SOCKET", "requirements",
        ),
        (
            {"app_DOT_py": FLASK,
             "pyproject_DOT_toml": '[project]\nname="x"\ndependencies=["flask", "gunicorn>=2"]'},
            "gunicorn app:server --bind unix:$SOCKET", "pyproject",
        ),
        (
            {"Procfile": "web: x $SOCKET", "uv_DOT_lock": "", "requirements_DOT_txt": ""},
            "x $SOCKET", "uv.lock",
        ),
        (
            {"Procfile": "web: x $SOCKET", "pyproject_DOT_toml": "[tool.ruff]",
             "requirements_DOT_txt": ""},
            "x $SOCKET", "requirements",
        ),
    ],
)  # fmt: skip
def test_a_folder_tells_how_it_is_built_and_started(
    tmp_path: Path, files: dict[str, str], command: str, builder: str
) -> None:
    """And each guess names what it was read from."""
    (tmp_path / "my-app").mkdir()

    app = load(tmp_path / "my-app", **files)

    assert app.manifest.process["web"].command == command
    assert app.manifest.build.builder.value == builder
    assert {guess.key for guess in app.guesses} >= {"app.name", "build.builder"}
    assert all(guess.reason for guess in app.guesses)


def test_a_release_line_and_workers_are_read_from_a_procfile(tmp_path: Path) -> None:
    """`release` is the release command, other names are processes."""
    app = load(tmp_path, Procfile="web: x $SOCKET\nrelease: ./migrate\nmail_worker: ./mail\n")

    assert app.manifest.deploy.release == "./migrate"
    assert list(app.manifest.process) == ["web", "mail-worker"]


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({}, "nothing says how to start this app"),
        ({"Procfile": "web gunicorn"}, "Procfile:1: expected `name: command`"),
        ({"Procfile": "web: x $SOCKET\nWhat Ever: y"}, "cannot name the process"),
        ({"app_DOT_py": FLASK, "requirements_DOT_txt": "flask"}, "gunicorn, which serves it"),
        ({"app_DOT_py": "def broken(:"}, "app.py:1"),
        ({"Dockerfile": "FROM scratch"}, "the local target builds no images"),
        ({"pyproject_DOT_toml": "x = ["}, "pyproject.toml"),
        ({"chittyops_DOT_toml": "[health]\npath = '/'\ntimeuot = '3s'"}, "did you mean 'timeout'"),
    ],
)
def test_what_is_missing_or_wrong_is_said(tmp_path: Path, files: dict[str, str], said: str) -> None:
    """With a line to write."""
    with pytest.raises(ManifestError) as caught:
        load(tmp_path, **files)

    assert said in caught.value.message
    assert caught.value.remedy


def test_a_folder_that_is_not_there_is_said(tmp_path: Path) -> None:
    """Neither is a file a folder."""
    with pytest.raises(ManifestError, match="there is no such folder"):
        App.load(tmp_path / "nowhere")


def test_a_clients_file_is_laid_over(tmp_path: Path) -> None:
    """`clients/NAME.toml`, with the manifest's keys; a broken one is named."""
    load(tmp_path, Procfile="web: x $SOCKET", clients__acme_DOT_toml="[env]\nA = 'acme'")

    assert App.load(tmp_path, client="acme").manifest.env["A"].value == "acme"
    assert "A" not in App.load(tmp_path, client="birch").manifest.env
    (tmp_path / "clients/acme.toml").write_text("[env\n")
    with pytest.raises(ManifestError, match=r"clients/acme\.toml"):
        App.load(tmp_path, client="acme")


def test_configuration_and_secrets_are_no_part_of_the_source(tmp_path: Path) -> None:
    """.env, the manifest, other clients' settings, caches and version control stay out."""
    load(tmp_path, Procfile="web: x $SOCKET", app_DOT_py="")
    before = read_source(tmp_path)
    for name in (".env", "chittyops.toml", "clients/acme.toml", ".git/config", ".venv/x", "a.pyc"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x = 1")

    after = read_source(tmp_path)

    assert (before.files, after.digest) == (2, before.digest)
