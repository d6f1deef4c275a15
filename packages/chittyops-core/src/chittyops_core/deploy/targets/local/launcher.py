"""Become one process of a release: read a launch file, take on its limits and environment, exec.

Run as `python -I -S launcher.py FILE`. Only the standard library, and little of it: this runs
at every start of every process. The launch file is 0600 and holds secrets, which is why they are
neither in the process manager's configuration nor on a command line. It is written by this very
interpreter, by `marshal`: to import `json` takes as long as to start. As JSON it would be

    {"argv": [...], "cwd": "...", "env": {...}, "socket": path|null, "memory": bytes|null,
     "once": bool, "after": {"pid": int, "started": ticks}|null, "keep": bool,
     "user": id|null, "offer": path|null}

`after` is a process that does this work already: it outlived the process manager that started it.
This one takes over when that one ends. With `keep` it stays and starts the program again as soon
as it ends, where the process manager would take a second or two. `user` is whom to become, group
and all. `offer` is where the edge finds `socket`, which such a user makes where the edge, being
root, must not look; see `users`.
"""

import marshal
import os
import sys


def main() -> None:
    with open(sys.argv[1], "rb") as file:
        launch = marshal.load(file)  # noqa: S302 - only the host itself can write there
    if launch["after"]:
        outlast(launch["after"]["pid"], launch["after"]["started"])
    if "SUPERVISOR_ENABLED" in os.environ and os.getppid() == 1:
        # supervisord was killed right after it started this: whoever starts the next one looks
        # for what is left by the environment that the program would only now get.
        sys.exit("chittyops: supervisord is gone")
    if launch["once"]:
        os.unlink(sys.argv[1])
    for path in filter(None, (launch["socket"], launch["offer"])):
        # A server that was killed leaves its socket's name behind, and not all clear it away.
        try:
            os.unlink(path)
        except FileNotFoundError:
            pass
    if launch["offer"]:
        offer_later(launch["socket"], launch["offer"], launch["user"])
    if launch["memory"]:
        import resource

        # RLIMIT_DATA counts private writable memory (Linux >= 4.7); RLIMIT_AS would also count
        # what runtimes reserve and never touch.
        limit = launch["memory"]
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    os.umask(0o077)
    if launch["user"] is not None:
        # What comes to be imported: later this interpreter's own files may be out of reach.
        import ctypes  # noqa: F401
        import warnings  # noqa: F401

        os.setgroups([])
        os.setgid(launch["user"])
        os.setuid(launch["user"])
        gain_nothing()
    try:
        os.chdir(launch["cwd"])
        if launch["keep"]:
            if "CHITTYOPS_INSTANCE" not in os.environ:
                # Once more, with the environment that tells what this process is.
                os.execve(sys.executable, sys.orig_argv, launch["env"])
            keep(launch["argv"], launch["env"])
        os.execvpe(launch["argv"][0], launch["argv"], launch["env"])
    except OSError as error:
        sys.exit(f"chittyops: cannot start {launch['argv'][0]!r}: {error.strerror}")


def gain_nothing():
    """Let no set-user-ID program give this process or its children more than it has."""
    import ctypes

    # PR_SET_NO_NEW_PRIVS, prctl(2); such users exist on Linux only.
    if ctypes.CDLL(None, use_errno=True).prctl(38, 1, 0, 0, 0) != 0:
        sys.exit(f"chittyops: no_new_privs: {os.strerror(ctypes.get_errno())}")


def offer_later(socket, offer, user):
    """Link *socket* to *offer* as soon as the program, which this process becomes, has made it."""
    handle = os.pidfd_open(os.getpid())
    child = os.fork()
    if child:
        os.close(handle)
        os.waitpid(child, 0)
        return
    # Twice, so that the program gets no child that it knows nothing of.
    if os.fork() == 0:
        import select

        poll = select.poll()
        poll.register(handle, select.POLLIN)
        while not offer_now(socket, offer, user) and not poll.poll(5):
            pass
    os._exit(0)


def offer_now(socket, offer, user):
    """Link *socket* to *offer* if it is a socket of *user*'s, and nothing else in its place."""
    import stat

    try:
        found = os.open(socket, os.O_PATH | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        info = os.fstat(found)
        if not stat.S_ISSOCK(info.st_mode) or info.st_uid != user:
            return False
        # What was looked at, whatever has its name by now. The folder's only effect is that
        # Python takes linkat(2), which follows the link from /proc to it.
        os.link(f"/proc/self/fd/{found}", offer, src_dir_fd=found, follow_symlinks=True)
    except FileExistsError:
        os.unlink(offer)  # Of the process before, which ended at this very moment.
        return False
    except OSError:
        return False
    finally:
        os.close(found)
    return True


def outlast(pid, started):
    """Return when process *pid* has ended, at once if its number is another's by now."""
    import select

    try:
        handle = os.pidfd_open(pid)
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            # proc_pid_stat(5): field 22, counted behind the name, which may hold anything.
            now = int(file.read().rpartition(")")[2].split()[19])
    except OSError:
        return
    if now == started:
        poll = select.poll()
        poll.register(handle, select.POLLIN)
        poll.poll()
    os.close(handle)


def keep(argv, env):
    """Run *argv* again and again, until told to end or until it does not stay up."""
    import ctypes
    import signal
    import subprocess
    import time

    told = []
    # The process manager tells the whole group, so the program knows too.
    signal.signal(signal.SIGTERM, lambda *_: told.append(True))
    prctl = getattr(ctypes.CDLL(None), "prctl", None)

    def die_with_parent():
        if prctl:
            prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG

    quick_ends = 0
    while quick_ends < 4:
        start = time.monotonic()
        status = subprocess.Popen(argv, env=env, preexec_fn=die_with_parent).wait()
        if told:
            break
        quick_ends = quick_ends + 1 if time.monotonic() - start < 1 else 0
    sys.exit(abs(status))


main()
