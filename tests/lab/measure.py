"""Runs one command and tells what it cost: seconds, CPU, memory, disk."""

import contextlib
import os
import pathlib
import subprocess
import sys
import threading
import time

TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")
# As long as this lies between two looks at the processes. A look takes about one millisecond.
PAUSE = 0.025


def measured(lab, argv, folder=None, **environment):
    """`rss` is the process's own peak, `rss all` that of all processes together, both in bytes; `cpu` counts its children,
    `own cpu` does not; `written` is what all of them gave to disks; `disk` is the most that stood in `folder`; `rclone` has what rclone was
    started for."""
    with open(lab.root / "stdout", "w+b") as out, open(lab.root / "stderr", "w+b") as err:
        started = time.monotonic()
        process = subprocess.Popen(
            list(map(str, argv)), env=lab.environment(**environment), cwd=lab.root, stdin=subprocess.DEVNULL, stdout=out, stderr=err
        )
        lab.children.append(process)
        watch = Watch(process.pid, started, folder)
        # Its figures include all children that were waited for.
        _, status, used = os.wait4(process.pid, 0)
        seconds = time.monotonic() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        lab.children.remove(process)
        watch.end()
        out.seek(0), err.seek(0)
        stdout, stderr = (file.read().decode(errors="replace") for file in (out, err))
    if process.returncode:
        sys.exit(f"{' '.join(map(str, argv))}\nexit {process.returncode}\n{stderr}{stdout}")
    return {
        "seconds": seconds,
        "cpu": used.ru_utime + used.ru_stime,
        "own cpu": watch.own_cpu,
        "rss": watch.rss,
        "rss all": max([watch.rss, *(look["rss all"] for look in watch.looks)]),
        "disk": max((look["disk"] for look in watch.looks), default=0),
        "rclone": list(watch.rclones.values()),
        # The kernel counts in blocks of 512 bytes, whatever the disk's are.
        "written": used.ru_oublock * 512,
        "stdout": stdout,
        "stderr": stderr,
        "looks": watch.looks,
    }


class Watch:
    """Looks at a process and all below it from a thread until the process has ended."""

    def __init__(self, pid, started, folder):
        self.pid, self.started, self.folder = pid, started, folder
        self.rss, self.own_cpu, self.looks = 0, 0.0, []
        # By process id.
        self.rclones = {}
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self._watch, daemon=True)
        self.thread.start()

    def end(self):
        self.ended.set()
        self.thread.join()

    def _watch(self):
        while True:
            self._look()
            if self.ended.wait(PAUSE):
                return

    def _look(self):
        stats = family(self.pid)
        if self.pid not in stats:
            return
        self.rss = max(self.rss, high_water(self.pid))
        self.own_cpu = stats[self.pid]["own"]
        for pid in stats.keys() - self.rclones.keys():
            with contextlib.suppress(OSError):
                argv = pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
                if argv[0].endswith(b"rclone"):
                    self.rclones[pid] = argv[1].decode()
        self.looks.append({
            "at": time.monotonic() - self.started,
            # What ended children used is in the figures of the process that waited for them.
            "cpu": sum(stat["own"] for stat in stats.values()) + stats[self.pid]["waited"],
            "rss": stats[self.pid]["rss"],
            "rss all": sum(stat["rss"] for stat in stats.values()),
            "disk": size_of(self.folder),
            "rclone": list(self.rclones.values()),
        })


def family(pid):
    """The process and those below it, whose ids are larger: a child is younger than its parent."""
    found = {}
    for child in sorted(int(name) for name in os.listdir("/proc") if name.isdigit() and int(name) >= pid):
        with contextlib.suppress(OSError):
            # The name stands in brackets and may contain anything.
            stat = pathlib.Path(f"/proc/{child}/stat").read_text().rpartition(") ")[2].split()
            if (child == pid or int(stat[1]) in found) and stat[0] != "Z":
                own, waited = (sum(map(int, stat[at : at + 2])) / TICKS for at in (11, 13))
                found[child] = {"own": own, "waited": waited, "rss": int(stat[21]) * PAGE}
    return found


def cpu_of(pids):
    return sum(stat["own"] for pid in pids for stat in [family(pid).get(pid)] if stat)


def high_water(pid):
    with contextlib.suppress(OSError):
        for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) << 10
    return 0


def size_of(folder):
    """The bytes that the files in a folder take of the disk, whatever their length says."""
    total = 0
    for path, _, names in os.walk(folder) if folder else ():
        for name in names:
            with contextlib.suppress(OSError):
                total += os.stat(os.path.join(path, name)).st_blocks * 512
    return total


def split(run, stages):
    """The cost of stages that follow each other, by their seconds. Of stages that overlap nothing else is known."""
    if sum(stages.values()) > run["seconds"] * 1.03:
        return {name: {"seconds": seconds} for name, seconds in stages.items()}
    parts, begin = {}, 0.0
    for name, seconds in stages.items():
        within = [look for look in run["looks"] if begin <= look["at"] <= begin + seconds + PAUSE]
        first, last = (within[0], within[-1]) if within else ({"cpu": 0, "rclone": []},) * 2
        peaks = {key: max((look[key] for look in within), default=0) for key in ("rss", "rss all", "disk")}
        started = last["rclone"][len(first["rclone"]) :]
        parts[name] = {"seconds": seconds, "cpu": last["cpu"] - first["cpu"], **peaks, "rclone": started}
        begin += seconds
    return parts
