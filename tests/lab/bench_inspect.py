#!/usr/bin/env python3
"""Compares `etcd-backup inspect` of one snapshot with `etcdutl snapshot status` plus `sha256sum`: seconds and memory."""

import argparse
import json
import statistics

import bench
from bench import watched
from lab import RELEASE, Etcd, Lab, tool


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mib", type=int, default=1024, help="size of the values (default: %(default)s)")
    parser.add_argument("--value", type=int, default=4096, help="bytes of a value (default: %(default)s)")
    parser.add_argument("--updates", type=int, default=0, help="percent of the keys written twice (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="how often each is measured (default: %(default)s)")
    asked = parser.parse_args()
    with Lab() as lab:
        file = snapshot(lab, asked)
        print(f"{'':8} {'etcdutl':>10} {'sha256sum':>10} {'ours':>10}", flush=True)
        # The first round warms the caches and does not count.
        rounds = [measure(lab, file, number) for number in range(asked.rounds + 1)][1:]
        conclude(rounds, file)


def snapshot(lab, asked):
    etcd = Etcd(lab, 1, f"--quota-backend-bytes={asked.mib << 22}", "--snapshot-count=500")
    keys = (asked.mib << 20) * 100 // (100 + asked.updates) // asked.value
    print(f"filling etcd with {keys} keys of {asked.value} bytes, {asked.updates} % of them twice", flush=True)
    bench.VALUE, bench.BATCH = asked.value, min(bench.BATCH, max(1, (1 << 20) // asked.value))
    etcd.put(bench.batches(keys))
    etcd.put(bench.batches(keys * asked.updates // 100))
    file = lab.folder("out") / "snapshot.db"
    tls = [f"--cacert={etcd.ca}", f"--cert={etcd.cert}", f"--key={etcd.key}"]
    watched(lab, [tool("etcdctl"), f"--endpoints={etcd.endpoints[0]}", *tls, "snapshot", "save", file])
    return file


def measure(lab, file, number):
    status, status_peak, theirs = watched(lab, [tool("etcdutl"), "snapshot", "status", "--write-out=json", file])
    digest, _, _ = watched(lab, ["sha256sum", file])
    seconds, peak, ours = watched(lab, [RELEASE / "etcd-backup", "inspect", "--output=json", file])
    assert json.loads(ours)["hash"] == json.loads(theirs)["hash"]
    print(f"{f'round {number}' if number else 'warm-up':8} {status:>8.2f} s {digest:>8.2f} s {seconds:>8.2f} s", flush=True)
    return {"status": status, "digest": digest, "ours": seconds, "peak": peak, "status peak": status_peak}


def conclude(rounds, file):
    middle = {name: statistics.median(one[name] for one in rounds) for name in rounds[0]}
    ratio = statistics.median(one["ours"] / (one["status"] + one["digest"]) for one in rounds)
    peak = {name: max(one[name] for one in rounds) / (1 << 20) for name in ("peak", "status peak")}
    print(f"{'median':8} {middle['status']:>8.2f} s {middle['digest']:>8.2f} s {middle['ours']:>8.2f} s")
    print(f"\nsnapshot        {file.stat().st_size / (1 << 30):.2f} GiB")
    print(f"ratio           {ratio:.2f} of etcdutl snapshot status and sha256sum together; at most 1.5 is wanted")
    print(f"peak memory     {peak['peak']:.1f} MiB ours, at most 64 is wanted; {peak['status peak']:.1f} MiB etcdutl")


if __name__ == "__main__":
    main()
