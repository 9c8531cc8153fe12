"""Names the machine and the programs that a figure belongs to."""

import os
import pathlib
import re
import subprocess

from lab import ROOT, tool


def figures():
    cpu = re.search(r"model name\s*: (.*)", pathlib.Path("/proc/cpuinfo").read_text())
    memory = re.search(r"MemTotal:\s*(\d+)", pathlib.Path("/proc/meminfo").read_text())
    return {
        "cpu": cpu[1] if cpu else os.uname().machine,
        "cores": len(os.sched_getaffinity(0)),
        "memory": int(memory[1]) << 10,
        "kernel": os.uname().release,
        "load": os.getloadavg()[0],
        "commit": said(["git", "-C", str(ROOT), "describe", "--always", "--dirty"], r"(\S+)"),
        "etcd": said([tool("etcd"), "--version"], r"etcd Version: (\S+)"),
        "rclone": said([tool("rclone"), "version"], r"rclone v(\S+)"),
        "SeaweedFS": said([tool("weed"), "version"], r"version \S+ (\S+)"),
    }


def said(argv, pattern):
    try:
        done = subprocess.run(argv, capture_output=True, text=True)
    except OSError:
        return None
    found = re.search(pattern, done.stdout)
    return found[1] if found else None


def lines(known):
    yield (
        f"{known['cpu']}, {known['cores']} cores, {known['memory'] / (1 << 30):.1f} GiB, Linux {known['kernel']}; "
        f"etcd {known['etcd']}, rclone {known['rclone']}, SeaweedFS {known['SeaweedFS']}; commit {known['commit']}"
    )
    if known["load"] > 0.5:
        yield f"the machine is not quiet: its load is {known['load']:.1f}, so the figures are worth little"
