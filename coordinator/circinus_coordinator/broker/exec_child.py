"""Start a program that dies with its parent: ``exec_child.py PARENT USER PROGRAM ARGUMENT...``.

Runs as a script of its own, before the program takes its place: code between fork and exec in a
process with threads may deadlock, a fresh interpreter may not. It imports nothing of the project
and starts with ``-I -S`` in about 20 ms.
"""

from __future__ import annotations

import ctypes
import os
import pwd
import signal
import sys

# linux/prctl.h
PR_SET_PDEATHSIG = 1


def main() -> None:
    """Drop privileges, ask to die with the parent, become the program."""
    parent, user, program, *arguments = sys.argv[1:]
    if user and os.geteuid() == 0:
        # The kernel forgets the request below when a process changes its user, so a program that
        # drops its privileges itself, as Mosquitto does, would survive its parent.
        entry = pwd.getpwnam(user)
        os.setgroups([])
        os.setgid(entry.pw_gid)
        os.setuid(entry.pw_uid)
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != int(parent):
        # It died before the request was made.
        sys.exit(1)
    os.execv(program, [program, *arguments])  # noqa: S606  no shell is wanted


if __name__ == "__main__":
    main()
