#!/usr/bin/env python3
"""Compares `etcd-backup run` with `etcdctl snapshot save` on one database over TLS: seconds, memory, and size."""

import argparse
import contextlib
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time

from lab import RELEASE, Etcd, Lab, tool

VALUE = 8 << 10
BATCH = 120


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mib", type=int, default=1024, help="size of the database (default: %(default)s)")
    parser.add_argument("--pairs", type=int, default=5, help="how often each is measured (default: %(default)s)")
    asked = parser.parse_args()
    with Lab() as lab:
        etcd = Etcd(lab, 1, f"--quota-backend-bytes={asked.mib << 21}", "--snapshot-count=500")
        keys = (asked.mib << 20) // VALUE
        print(f"filling etcd with {keys} keys of {VALUE >> 10} KiB", flush=True)
        etcd.put(batches(keys))
        print(f"{'':8} {'etcdctl':>10} {'ours: snapshot, proof':>24} {'ours: whole run':>18}", flush=True)
        # The first of each warms the caches and does not count.
        pairs = [pair(lab, etcd, number) for number in range(asked.pairs + 1)][1:]
        conclude(pairs)


def batches(keys):
    for first in range(0, keys, BATCH):
        numbers = range(first, min(first + BATCH, keys))
        yield [(f"/registry/pods/bench/pod-{i:08}".encode(), os.urandom(VALUE)) for i in numbers]


def pair(lab, etcd, number):
    order = [etcdctl, ours] if number % 2 else [ours, etcdctl]
    measured = {}
    for measure in order:
        measured.update(measure(lab, etcd))
    seconds = f"{measured['etcdctl']:>8.2f} s {measured['snapshot']:>22.2f} s {measured['run']:>16.2f} s"
    print(f"{f'pair {number}' if number else 'warm-up':8} {seconds}", flush=True)
    return measured


def etcdctl(lab, etcd):
    file = lab.folder("out") / "snapshot.db"
    tls = [f"--cacert={etcd.ca}", f"--cert={etcd.cert}", f"--key={etcd.key}"]
    argv = [tool("etcdctl"), f"--endpoints={etcd.endpoints[0]}", *tls, "snapshot", "save", file]
    seconds, peak, _ = watched(lab, argv)
    size = file.stat().st_size
    file.unlink()
    return {"etcdctl": seconds, "etcdctl peak": peak, "bytes": size}


def ours(lab, etcd):
    target = lab.folder("target")
    argv = [RELEASE / "etcd-backup", "run", "--output=json", f"--endpoints={etcd.endpoints[0]}"]
    argv += [f"--cacert={etcd.ca}", f"--cert={etcd.cert}", f"--key={etcd.key}"]
    argv += [f"--target={target}", f"--work-dir={lab.folder('work')}"]
    seconds, peak, stdout = watched(lab, argv)
    report = json.loads(stdout)
    (target / report["name"]).unlink()
    return {"run": seconds, "snapshot": report["seconds"]["snapshot"], "peak": peak}


def watched(lab, argv):
    """Seconds, the process's own peak of resident bytes, and its stdout.

    wait4's figure would be the largest of the process and of those that it waited for, so rclone's:
    the kernel's high-water mark of the process itself is read while it runs.
    """
    start = time.monotonic()
    peak = 0
    process = subprocess.Popen(
        list(map(str, argv)),
        env=lab.environment(ETCDCTL_API="3"),
        cwd=lab.root,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    lab.children.append(process)
    while process.poll() is None:
        peak = max(peak, high_water(process.pid))
        time.sleep(0.005)
    seconds = time.monotonic() - start
    stdout, stderr = process.communicate()
    if process.returncode:
        sys.exit(f"{argv[0]}: exit {process.returncode}\n{stderr}")
    return seconds, peak, stdout


def high_water(pid):
    with contextlib.suppress(OSError):
        for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) << 10
    return 0


def conclude(pairs):
    middle = {name: statistics.median(pair[name] for pair in pairs) for name in pairs[0]}
    seconds = f"{middle['etcdctl']:>8.2f} s {middle['snapshot']:>22.2f} s {middle['run']:>16.2f} s"
    ratio = [statistics.median(pair[name] / pair["etcdctl"] for pair in pairs) for name in ("snapshot", "run")]
    peak = {name: max(pair[name] for pair in pairs) / (1 << 20) for name in ("peak", "etcdctl peak")}
    binary = (RELEASE / "etcd-backup").stat().st_size
    print(f"{'median':8} {seconds}")
    print(f"{'ratio':8} {1:>10.2f} {ratio[0]:>24.2f} {ratio[1]:>18.2f}")
    print(f"\ndatabase        {middle['bytes'] / (1 << 30):.2f} GiB over TLS")
    print(f"peak memory     {peak['peak']:.1f} MiB ours, rclone not counted; {peak['etcdctl peak']:.1f} MiB etcdctl")
    print(f"release binary  {binary / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
