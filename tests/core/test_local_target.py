"""The local target keeps the contract of all targets."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from attrs import evolve

from chittyops_core import App, Service
from chittyops_core.deploy.source import read_source
from chittyops_core.deploy.targets.base import BuildInput
from chittyops_core.deploy.targets.local import Layout, LocalTarget
from chittyops_core.errors import SecretError
from chittyops_core.host.fetch import fetch
from chittyops_core.model.manifest import Builder
from chittyops_core.model.release import EdgePolicy, Lifecycle, Release, ReleaseConfig, Variable
from chittyops_core.testing.contracts import MakeRelease, TargetContract
from conftest import HostUnderTest, write_app

pytestmark = pytest.mark.host


def no_secrets(name: str, fingerprint: str | None) -> str:
    raise SecretError(f"there is no secret {name}")


def no_users(service: Service, candidates: Iterable[int]) -> int:
    raise AssertionError("none of these releases wants a user of its own")


class TestLocalTarget(TargetContract):
    """Real Caddy, real Supervisor, real processes."""

    @pytest.fixture
    def target(self, host: HostUnderTest, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalTarget]:
        monkeypatch.setenv("CHITTYOPS_HTTP_PORT", str(host.http))
        monkeypatch.setenv("CHITTYOPS_HTTPS_PORT", str(host.https))
        yield LocalTarget(Layout.create(host.home), no_secrets, lambda text: None, no_users)

    @pytest.fixture
    def make_release(self, tmp_path: Path) -> MakeRelease:
        app = App.load(
            write_app(tmp_path / "hello", command=f"{sys.executable} serve.py # $SOCKET")
        )
        source = read_source(app.folder)

        def make(text: str) -> tuple[Release, BuildInput]:
            config = ReleaseConfig(
                app.manifest.process, {"VERSION": Variable(text)}, app.manifest.health,
                Lifecycle(), app.manifest.hooks, EdgePolicy(),
            )  # fmt: skip
            release = Release(Service("hello"), source.digest, config)
            return release, BuildInput(source, Builder.NONE, None)

        return make

    def test_the_policy_of_a_new_release_reaches_the_edge(
        self, target: LocalTarget, make_release: MakeRelease
    ) -> None:
        """Headers set where the app has none; the app's own win."""
        release, source = make_release("one")
        edge = EdgePolicy(headers={"X-Frame-Options": "DENY", "Server": "not this"})
        strict = evolve(release, config=evolve(release.config, edge=edge))
        target.build(strict, source)
        target.stage(strict.service, strict.id)
        target.serve(strict.service, strict.id)

        answer = fetch(target.address(strict.service))

        assert answer.header("X-Frame-Options") == "DENY"
        assert answer.header("Server") != "not this"
