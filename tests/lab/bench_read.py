#!/usr/bin/env python3
"""Compares what reads the store with rclone: `verify` with `rclone cat | sha256sum`, `list` with `rclone lsjson`."""

import argparse
import datetime
import json
import shlex
import statistics

from bench import batches, VALUE, watched
from lab import RELEASE, S3, Etcd, Lab, tool

PREFIX = "bench-"
OBJECTS = 10_000


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mib", type=int, default=1024, help="size of the database (default: %(default)s)")
    parser.add_argument("--pairs", type=int, default=5, help="how often each is measured (default: %(default)s)")
    asked = parser.parse_args()
    with Lab() as lab:
        S3(lab, "backups")
        etcd = Etcd(lab, 1, f"--quota-backend-bytes={asked.mib << 21}", "--snapshot-count=500")
        keys = (asked.mib << 20) // VALUE
        print(f"filling etcd with {keys} keys of {VALUE >> 10} KiB, and storing it twice", flush=True)
        etcd.put(batches(keys))
        for target in ("s3:backups/bench", str(lab.folder("target"))):
            compare(lab, target, store(lab, etcd, target), asked.pairs)
        list_many(lab, asked.pairs)


def store(lab, etcd, target):
    tls = [f"--cacert={etcd.ca}", f"--cert={etcd.cert}", f"--key={etcd.key}"]
    argv = [RELEASE / "etcd-backup", "run", "--output=json", f"--endpoints={etcd.endpoints[0]}", *tls]
    _, _, stdout = watched(lab, [*argv, *place(lab, target), f"--work-dir={lab.folder('work')}"])
    return json.loads(stdout)["name"]


def place(lab, target):
    return [f"--target={target}", f"--backup-prefix={PREFIX}", f"--rclone-config={lab.root / 'config/rclone/rclone.conf'}"]


def compare(lab, target, name, pairs):
    """The first of each warms the caches and does not count."""
    config = lab.root / "config/rclone/rclone.conf"
    cat = f"{tool('rclone')} --config {config} cat {shlex.quote(target + '/' + name)} | sha256sum"
    verify = [RELEASE / "etcd-backup", "verify", name, "--output=json", *place(lab, target)]
    theirs, ours, peaks, size = [], [], [], 0
    for number in range(pairs + 1):
        for argv in (["sh", "-c", cat], verify) if number % 2 else (verify, ["sh", "-c", cat]):
            seconds, peak, stdout = watched(lab, argv)
            if argv is verify:
                ours.append(seconds)
                peaks.append(peak)
                size = json.loads(stdout)["backups"][0]["bytes"]
            else:
                theirs.append(seconds)
    ours, theirs = ours[1:], theirs[1:]
    ratio = statistics.median(mine / other for mine, other in zip(ours, theirs))
    print(f"\nverify of {size / (1 << 30):.2f} GiB at {target}")
    print(f"rclone cat | sha256sum  {statistics.median(theirs):.2f} s")
    print(f"etcd-backup verify      {statistics.median(ours):.2f} s, ratio {ratio:.2f}")
    print(f"peak memory             {max(peaks) / (1 << 20):.1f} MiB ours, rclone not counted", flush=True)


def list_many(lab, pairs):
    """rclone's own listing has times, which S3 keeps where it keeps the metadata: both ask for each object."""
    folder, start = lab.folder("many"), datetime.datetime(2020, 1, 1)
    for i in range(OBJECTS):
        name = (start + datetime.timedelta(minutes=i)).strftime("%Y%m%d%H%M")
        (folder / f"{PREFIX}{name}.etcdb").write_text("x")
    rclone = [tool("rclone"), "--config", lab.root / "config/rclone/rclone.conf"]
    noted = [f"--metadata-set={pair}" for pair in ("sha256=00", "revision=1", "keys=1", "etcd-version=3.5.1")]
    watched(lab, [*rclone, "copy", "--transfers=16", "--metadata", *noted, folder, "s3:backups/many"])
    listing = [RELEASE / "etcd-backup", "list", *place(lab, "s3:backups/many")]
    kinds = {
        "rclone lsjson": [*rclone, "lsjson", "--files-only", "s3:backups/many"],
        "etcd-backup list": listing,
        "etcd-backup list --quick": [*listing, "--quick"],
    }
    seconds = {kind: [] for kind in kinds}
    for _ in range(pairs):
        for kind, argv in kinds.items():
            # Into a file: nobody empties the pipe of what is watched.
            command = f"{shlex.join(map(str, argv))} > {lab.root / 'listed'}"
            seconds[kind].append(watched(lab, ["sh", "-c", command])[0])
    theirs, *ours = seconds
    print(f"\nlisting {OBJECTS} objects at s3:backups/many\n{theirs:25} {statistics.median(seconds[theirs]):.2f} s")
    for kind in ours:
        ratio = statistics.median(mine / other for mine, other in zip(seconds[kind], seconds[theirs]))
        print(f"{kind:25} {statistics.median(seconds[kind]):.2f} s, ratio {ratio:.2f}")


if __name__ == "__main__":
    main()
