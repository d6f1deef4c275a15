"""What keeps one client's deployment apart from the next one's."""

from __future__ import annotations

import http.client
from pathlib import Path

from attrs import evolve

from chittyops_core import Finding, Plan, Severity, Staged
from chittyops_core.host.fetch import fetch
from chittyops_core.model.manifest import Process, Size
from chittyops_lite_digital_dossier.clients import known_clients
from chittyops_lite_digital_dossier.settings import ServicePlan

__all__ = [
    "answers_alone",
    "bound",
    "has_own_user",
    "is_known",
    "listens_privately",
    "runs_as_own_user",
    "separated",
    "within_plan",
]

SHARED_USER = (
    "all clients' processes run as one OS user, because this host does not run as root: each "
    "could read the others' files"
)


def bound(plan: Plan, terms: ServicePlan) -> Plan:
    """Return *plan* with a memory limit for each process. Pure."""

    def bounded(process: Process) -> Process:
        return process if process.memory else evolve(process, memory=Size(terms.memory))

    processes = {name: bounded(process) for name, process in plan.config.processes.items()}
    return evolve(plan, config=evolve(plan.config, processes=processes))


def separated(plan: Plan) -> Plan:
    """Return *plan* with an OS user for this client alone, or a note that there is none. Pure."""
    if plan.own_users or SHARED_USER in plan.notes:
        return evolve(plan, config=evolve(plan.config, own_user=plan.own_users))
    return evolve(plan, notes=(*plan.notes, SHARED_USER))


def is_known(plan: Plan, *, is_given: bool) -> Finding:
    """Say whether the client is one that somebody set up, not a slip of the keyboard."""
    client = plan.service.client
    known = known_clients(Path(plan.source.folder)) if plan.source else []
    if is_given or client in known:
        return Finding("client.known", Severity.INFO, f"{client} is a client of this app")
    return Finding(
        "client.known",
        Severity.BLOCKING,
        f"{client} is no client of this app; known: {', '.join(known) or 'none'}",
        f"Write clients/{client}.toml (it may be empty), or correct the name.",
    )


def listens_privately(plan: Plan) -> Finding:
    """Say whether the app listens where no other client's processes can reach it."""
    if "SOCKET" in plan.config.processes["web"].command:
        return Finding(
            "isolation.socket", Severity.INFO, "it listens on a unix socket in a 0700 directory"
        )
    return Finding(
        "isolation.socket",
        Severity.BLOCKING,
        "it listens on a TCP port, which every client's processes on this machine can reach",
        "Let the server listen on $SOCKET, for example `gunicorn app:app --bind unix:$SOCKET`.",
    )


def has_own_user(plan: Plan) -> Finding:
    """Say whether the client's processes will run as an OS user that no other client has."""
    if plan.config.own_user:
        summary = "it runs as an OS user of its own, who owns its state, secrets and sockets"
    else:
        summary = SHARED_USER
    return Finding("isolation.user", Severity.INFO, summary)


def runs_as_own_user(staged: Staged) -> Finding:
    """Look whether every staged process runs as the client's own user, and as nobody else."""
    if staged.user is None:
        return Finding("isolation.processes", Severity.INFO, SHARED_USER)
    import psutil  # Not for whoever only imports this package.

    strangers, count = [], 0
    for first in filter(None, (instance.pid for instance in staged.instances)):
        try:
            found = [psutil.Process(first), *psutil.Process(first).children(recursive=True)]
            for process in found:
                count += 1
                ids = {*process.uids(), *process.gids()}
                if ids != {staged.user}:
                    strangers.append(f"{process.pid} ({', '.join(map(str, sorted(ids)))})")
        except psutil.NoSuchProcess:
            continue  # It ended, which is no question of isolation.
    if strangers or not count:
        return Finding(
            "isolation.processes",
            Severity.BLOCKING,
            f"not all of its processes run as user {staged.user}: "
            f"{', '.join(strangers) or 'none was found to look at'}",
            "A command that changes its user (sudo, su, a setuid program) cannot run a client.",
        )
    return Finding(
        "isolation.processes",
        Severity.INFO,
        f"its {count} processes run as user and group {staged.user}, which are its own",
    )


def within_plan(plan: Plan, terms: ServicePlan) -> Finding:
    """Say whether the client asks for more than its plan allows."""
    processes = plan.config.processes
    instances = sum(process.instances for process in processes.values())
    greedy = [name for name, p in processes.items() if (p.memory or 0) > terms.max_memory]
    if instances <= terms.max_instances and not greedy:
        return Finding("client.plan", Severity.INFO, f"{instances} processes, within its plan")
    asked = f"{instances} processes" if instances > terms.max_instances else ""
    memory = f"more memory for {', '.join(greedy)}" if greedy else ""
    return Finding(
        "client.plan",
        Severity.BLOCKING,
        f"the client asks for {' and '.join(filter(None, (asked, memory)))} than its plan's "
        f"{terms.max_instances} processes of {terms.max_memory // 2**20} MB",
        "Lower `instances` or `memory`.",
    )


def answers_alone(staged: Staged) -> Finding:
    """Say whether the staged release answers under its own client's name."""
    try:
        answer = fetch(staged.address)
    except (OSError, http.client.HTTPException) as error:
        return Finding(
            "isolation.route",
            Severity.BLOCKING,
            f"{staged.address.host} does not answer: {error}",
            "`chittyops logs` shows what the app said.",
        )
    if answer.status >= 500:
        return Finding(
            "isolation.route",
            Severity.BLOCKING,
            f"{staged.address.host} answers {answer.status}",
            "`chittyops logs` shows what the app said.",
        )
    return Finding(
        "isolation.route", Severity.INFO, f"{staged.address.host} answers {answer.status}"
    )
