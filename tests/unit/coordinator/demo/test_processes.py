import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from circinus.errors import Transient
from circinus_coordinator.demo.processes import Children, free_ports

PARENT = """
import sys, time
from pathlib import Path
from circinus_coordinator.demo.processes import Children
children = Children(Path(sys.argv[1]))
child = children.start("sleeper", [sys.executable, "-c", "import time; time.sleep(60)"])
print(child.process.pid, flush=True)
time.sleep(60)
"""


def gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def wait_until_gone(pid: int) -> bool:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        if gone(pid):
            return True
    return False


def test_stop_ends_grandchildren_that_outlive_their_parent(tmp_path: Path) -> None:
    children = Children(tmp_path)
    script = (
        "import subprocess, sys; "
        "p = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']); "
        "print(p.pid, flush=True)"
    )
    child = children.start("leader", [sys.executable, "-c", script])
    child.process.wait(10)
    grandchild = int(child.log.read_text())
    assert not gone(grandchild)
    children.stop()
    assert wait_until_gone(grandchild)


@pytest.mark.skipif(sys.platform != "linux", reason="needs prctl")
def test_children_end_with_a_killed_parent(tmp_path: Path) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    parent.send_signal(signal.SIGKILL)
    parent.wait(10)
    parent.stdout.close()
    assert wait_until_gone(child)


def test_a_child_that_ended_is_reported_with_what_it_wrote(tmp_path: Path) -> None:
    children = Children(tmp_path)
    child = children.start("broken", [sys.executable, "-c", "raise SystemExit('no such luck')"])
    child.process.wait(10)
    with pytest.raises(Transient, match="no such luck"):
        children.check()


def test_ports_are_free_and_different() -> None:
    ports = free_ports(5)
    assert len(set(ports)) == 5
    for port in ports:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", port))


def test_a_preferred_port_is_given_unless_it_is_taken() -> None:
    (port,) = free_ports(1)
    assert free_ports(1, [port]) == [port]
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        taken.listen()
        assert free_ports(1, [port]) != [port]


def test_output_goes_to_a_log_of_the_childs_name(tmp_path: Path) -> None:
    children = Children(tmp_path)
    child = children.start("talker", [sys.executable, "-c", "print('hello', flush=True)"])
    child.process.wait(10)
    assert (tmp_path / "talker.log").read_text() == "hello\n"
    assert os.getpgid(os.getpid()) != child.process.pid
    children.stop()
