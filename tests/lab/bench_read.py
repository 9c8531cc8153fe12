#!/usr/bin/env python3
"""Compares what reads a backup with other tools: `verify` with `rclone cat | sha256sum`, `inspect` with `etcdutl` and `sha256sum`."""

import argparse
import json
import shlex
import shutil
import statistics
import sys

from bench import cluster
from lab import RELEASE, S3, Lab, tool
from measure import measured

OURS = RELEASE / "etcd-backup"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mib", type=int, default=512, help="size of the database (default: %(default)s)")
    parser.add_argument("--pairs", type=int, default=5, help="how often each is measured (default: %(default)s)")
    asked = parser.parse_args()
    with Lab() as lab:
        s3 = S3(lab, "backups")
        print(f"filling etcd with {asked.mib} MiB, and storing it twice", flush=True)
        etcd, _ = cluster(lab, asked.mib)
        for place in ("s3:backups/bench", str(lab.folder("target"))):
            compare(f"verify at {place}", asked.pairs, *verifying(lab, etcd, s3, place))
        compare("inspect", asked.pairs, *inspecting(lab))


def verifying(lab, etcd, s3, place):
    store = [f"--target={place}", "--backup-prefix=bench-", f"--rclone-config={s3.config}", "--output=json"]
    tls = [f"--cacert={etcd.ca}", f"--cert={etcd.cert}", f"--key={etcd.key}", f"--work-dir={lab.folder('work')}"]
    run = measured(lab, [OURS, "run", f"--endpoints={etcd.endpoints[0]}", *tls, *store])
    name = json.loads(run["stdout"])["name"]
    cat = f"{tool('rclone')} --config {s3.config} cat {shlex.quote(f'{place}/{name}')} | sha256sum"
    return lambda: measured(lab, ["sh", "-c", cat]), lambda: measured(lab, [OURS, "verify", name, *store])


def inspecting(lab):
    """The snapshot that the members were started with."""
    file = lab.root / "ready.etcdb"

    def theirs():
        status = measured(lab, [tool("etcdutl"), "snapshot", "status", "--write-out=json", file])
        digest = measured(lab, [shutil.which("sha256sum"), file])
        seconds = status["seconds"] + digest["seconds"]
        return {**status, "seconds": seconds, "cpu": status["cpu"] + digest["cpu"], "hash": json.loads(status["stdout"])["hash"]}

    def ours():
        run = measured(lab, [OURS, "inspect", "--output=json", file])
        return {**run, "hash": json.loads(run["stdout"])["hash"]}

    return theirs, ours


def compare(what, pairs, theirs, ours):
    """The first of each warms the caches and does not count."""
    runs = []
    for number in range(pairs + 1):
        pair = [run() for run in ((theirs, ours) if number % 2 else (ours, theirs))]
        runs.append(pair if number % 2 else pair[::-1])
    if any(other.get("hash") != mine.get("hash") for other, mine in runs):
        sys.exit(f"{what}: the two hashes differ")
    print(f"\n{what}")
    for name, at in (("theirs", 0), ("ours", 1)):
        seconds, cpu, rss = (statistics.median(pair[at][key] for pair in runs[1:]) for key in ("seconds", "cpu", "rss"))
        print(f"{name:8} {seconds:.2f} s, CPU {cpu:.2f} s, {rss / (1 << 20):.1f} MiB without children")
    ratios = sorted(mine["seconds"] / other["seconds"] for other, mine in runs[1:])
    print(f"ratio    {statistics.median(ratios):.2f} x ({ratios[0]:.2f} to {ratios[-1]:.2f})", flush=True)


if __name__ == "__main__":
    main()
