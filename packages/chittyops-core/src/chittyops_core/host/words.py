"""What people are told, in words that say which app and what it means to whoever uses it."""

from __future__ import annotations

from attrs import evolve

from chittyops_core.host.watched import HOST_DISK, HOST_EDGE, HOST_HISTORY, PROCESSES, WEB
from chittyops_core.model.monitoring import AlertState, Message
from chittyops_core.model.names import DEFAULT_ENVIRONMENT

__all__ = ["in_words", "shown_name"]

_HAPPENS = {
    WEB: ("is not available", "is available again"),
    PROCESSES: ("has fewer processes than it should", "has all its processes again"),
}
_OF_HOST = {
    HOST_EDGE: ("The edge does not answer: nothing can be reached", "The edge answers again"),
    HOST_HISTORY: (
        "The history of this host's monitors has nearly no room left",
        "The history of this host's monitors has room again",
    ),
    HOST_DISK: ("The disk of the host is nearly full", "The disk of the host has room again"),
}


def shown_name(slug: str) -> str:
    """Return a service's slug as people say it: `portal (acme)`, without what is usual."""
    app, environment, *client = slug.split(".")
    more = [*([environment] if environment != DEFAULT_ENVIRONMENT else []), *client]
    return f"{app} ({', '.join(more)})" if more else app


def in_words(message: Message) -> Message:
    """Return *message* with a title for people; its text names the monitor, for operators."""
    title = _title(message)
    return evolve(message, title=title, body=f"{message.body}\n\nMonitor: {message.alert}")


def _title(message: Message) -> str:
    owner, _, what = message.alert.partition("/")
    if message.alert in _OF_HOST:
        ill, well = _OF_HOST[message.alert]
        subject = "The host"
    else:
        subject = shown_name(owner)
        if what.startswith("slo/"):
            name = what.split("/")[1]
            ill = f"{subject} uses up its error budget for {name} too fast"
            well = f"{subject} uses its error budget for {name} slowly enough again"
        else:
            happens = _HAPPENS.get(what, (f"fails its check {what}", f"passes its check {what}"))
            ill, well = (f"{subject} {each}" for each in happens)
    if message.state is AlertState.NO_DATA:
        return f"{subject}: {what} is not watched any more"
    return ill if message.state is AlertState.FIRING else well
