"""Tests that any target and any lite must pass; a new one inherits them.

class TestMyTarget(TargetContract):
    @pytest.fixture
    def target(self): ...
    @pytest.fixture
    def make_release(self): ...

class TestMyLite(LiteContract):
    lite = MyOpsLite
    ...
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import ClassVar

import pytest
from attrs import evolve

from chittyops_core._kit.retry import wait_until
from chittyops_core.deploy.plan import Plan
from chittyops_core.deploy.targets.base import BuildInput, Target
from chittyops_core.errors import NotFoundError, RefusedError
from chittyops_core.host.fetch import fetch
from chittyops_core.lite import OpsLite
from chittyops_core.model.health import Verdict
from chittyops_core.model.release import Release

__all__ = ["LiteContract", "MakeRelease", "TargetContract"]

MakeRelease = Callable[[str], tuple[Release, BuildInput]]
"""Takes the text that the release shall answer to GET /, returns it with what to build it from."""

NONE: frozenset[str] = frozenset()


class TargetContract:
    """What a target must keep. Needs fixtures `target` and `make_release` (a MakeRelease)."""

    @pytest.fixture
    def one(self, target: Target, make_release: MakeRelease) -> Release:
        """A release that is built, staged and healthy."""
        release, source = make_release("one")
        target.build(release, source)
        _bring_up(target, release)
        return release

    def test_nothing_is_observed_before_anything_was_done(
        self, target: Target, make_release: MakeRelease
    ) -> None:
        """An unknown service neither serves nor runs nor is present."""
        release, _ = make_release("one")

        observed = target.observe(release.service)

        assert (observed.serving, observed.running, observed.present) == (None, NONE, NONE)

    def test_building_twice_is_building_once(
        self, target: Target, make_release: MakeRelease
    ) -> None:
        """The second time it is there already."""
        release, source = make_release("one")
        target.build(release, source)
        target.build(release, source)

        assert target.observe(release.service).present == {release.id}
        assert target.release(release.service, release.id) == release

    def test_an_unknown_release_is_not_found(
        self, target: Target, make_release: MakeRelease
    ) -> None:
        """By its id, with the error that callers expect."""
        release, _ = make_release("one")

        with pytest.raises(NotFoundError):
            target.release(release.service, "0123456789abcdef")

    def test_a_staged_release_runs_without_serving(self, target: Target, one: Release) -> None:
        """And staging it again changes nothing."""
        before = [i.pid for i in target.probe(one.service, one.id).instances]

        target.stage(one.service, one.id)

        assert [i.pid for i in target.probe(one.service, one.id).instances] == before
        observed = target.observe(one.service)
        assert (observed.serving, observed.running) == (None, frozenset({one.id}))

    def test_serve_is_what_makes_it_answer(self, target: Target, one: Release) -> None:
        """Serving twice is serving once."""
        target.serve(one.service, one.id)
        target.serve(one.service, one.id)

        assert target.observe(one.service).serving == one.id
        assert fetch(target.address(one.service)).body == b"one"

    def test_two_releases_run_side_by_side(
        self, target: Target, one: Release, make_release: MakeRelease
    ) -> None:
        """The staged one answers at its own address, the serving one at the usual one."""
        two, source = make_release("two")
        target.serve(one.service, one.id)
        target.build(two, source)
        _bring_up(target, two)

        assert fetch(target.address(one.service)).body == b"one"
        assert fetch(target.address(one.service, staged=True)).body == b"two"

        target.serve(two.service, two.id)
        assert fetch(target.address(one.service)).body == b"two"

    def test_what_serves_cannot_be_retired(self, target: Target, one: Release) -> None:
        """Retire refuses, and it goes on serving."""
        target.serve(one.service, one.id)

        with pytest.raises(RefusedError):
            target.retire(one.service, one.id, grace_s=0)

        assert fetch(target.address(one.service)).body == b"one"

    def test_retiring_twice_is_retiring_once(self, target: Target, one: Release) -> None:
        """Nothing runs afterwards, the release stays present and can be staged again."""
        target.retire(one.service, one.id, grace_s=1)
        target.retire(one.service, one.id, grace_s=1)

        observed = target.observe(one.service)
        assert (observed.running, observed.present) == (NONE, frozenset({one.id}))
        assert target.probe(one.service, one.id).verdict is Verdict.GONE
        _bring_up(target, one)

    def test_prune_deletes_only_what_may_go(
        self, target: Target, one: Release, make_release: MakeRelease
    ) -> None:
        """Neither what serves, nor what runs, nor what is to be kept."""
        target.serve(one.service, one.id)
        others = [make_release(str(n)) for n in range(2)]
        for release, source in others:
            target.build(release, source)

        deleted = target.prune(one.service, frozenset({others[0][0].id}))

        assert deleted == {others[1][0].id}
        assert target.observe(one.service).present == {one.id, others[0][0].id}

    def test_a_command_runs_in_the_release(self, target: Target, one: Release) -> None:
        """With its environment; status and output come back."""
        done = target.run(one.service, one.id, "echo $CHITTYOPS_RELEASE; exit 3", timeout_s=10)

        assert (done.status, done.tail) == (3, (one.id,))

    def test_a_command_that_hangs_is_ended(self, target: Target, one: Release) -> None:
        """After the time that it was given, and not with status 0."""
        done = target.run(one.service, one.id, "sleep 60", timeout_s=0.2)

        assert done.status != 0

    def test_removing_twice_is_removing_once(self, target: Target, one: Release) -> None:
        """Nothing serves, runs or is present afterwards."""
        target.serve(one.service, one.id)
        target.remove(one.service)
        target.remove(one.service)

        observed = target.observe(one.service)
        assert (observed.serving, observed.running, observed.present) == (None, NONE, NONE)


def _bring_up(target: Target, release: Release) -> None:
    target.stage(release.service, release.id)
    wait_until(
        lambda: target.probe(release.service, release.id).verdict is Verdict.HEALTHY,
        timeout_s=20,
    )
    assert target.probe(release.service, release.id).verdict is Verdict.HEALTHY


class LiteContract:
    """What a lite must keep. Needs the class attribute `lite` and a fixture `plan`."""

    lite: ClassVar[type[OpsLite]]

    def test_it_says_what_it_is(self) -> None:
        """A kind, and no abstract hook left."""
        assert self.lite.kind
        assert not inspect.isabstract(self.lite)

    def test_it_overrides_hooks_only(self) -> None:
        """The final methods hold the order and the guarantees; none is replaced."""
        final = {
            name for name, value in vars(OpsLite).items() if getattr(value, "__final__", False)
        }

        assert final
        assert not final & set(vars(self.lite))

    def test_every_public_verb_that_deploys_is_gated(self) -> None:
        """A verb of its own is an alias of `deploy`: it names no step of the host's."""
        for name, verb in inspect.getmembers(self.lite, inspect.isfunction):
            if name.startswith("deploy_"):
                assert "self.deploy(" in inspect.getsource(verb)
                assert ".serve(" not in inspect.getsource(verb)

    def test_configuring_is_pure_and_settles(self, operator: OpsLite, plan: Plan) -> None:
        """Twice gives what once gives, and the plan that went in is untouched."""
        before = evolve(plan)

        once = operator._configure(plan)

        assert operator._configure(once) == once
        assert plan == before
        assert once.service == plan.service
