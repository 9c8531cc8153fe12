"""What grows with the number of backups, and what every start costs."""

import collections
import datetime
import hashlib
import json
import os
import shutil
import statistics
import sys
import time

from lab import RELEASE, S3, Lab
from measure import measured

OURS = str(RELEASE / "etcd-backup")
LISTED = 10_000
PLANNED = [1_000, 10_000, 100_000]
STARTS = 21
FIRST = datetime.datetime(2021, 1, 1)


def measure():
    with Lab() as lab:
        return {"start": start_up(lab), "planning": planning(lab), "list": listing(lab)}


def start_up(lab):
    """In milliseconds. What any program takes to start is in all of them."""
    kinds = {
        "true": (["/bin/true"], 0),
        "etcd-backup --version": ([OURS, "--version"], 0),
        "a refused setting": ([OURS, "run", "--target=/backups", "--retention=10", "--config-dir=/nonexistent"], 2),
    }
    print("\nstart-up, median of", STARTS)
    middle = {kind: statistics.median(start(lab, *how) for _ in range(STARTS)) for kind, how in kinds.items()}
    for kind, milliseconds in middle.items():
        print(f"{kind:24} {milliseconds:.2f} ms", flush=True)
    return middle


def start(lab, argv, wanted):
    quiet = [(os.POSIX_SPAWN_OPEN, number, "/dev/null", os.O_WRONLY, 0) for number in (1, 2)]
    began = time.perf_counter()
    pid = os.posix_spawn(argv[0], argv, lab.environment(), file_actions=quiet)
    _, status = os.waitpid(pid, 0)
    ended = time.perf_counter()
    if os.waitstatus_to_exitcode(status) != wanted:
        sys.exit(f"{' '.join(argv)}: exit {os.waitstatus_to_exitcode(status)}, and {wanted} was expected")
    return (ended - began) * 1000


def names(count):
    for i in range(count):
        yield f"bench-{FIRST + datetime.timedelta(minutes=i):%Y%m%d%H%M}.etcdb"


def planning(lab):
    """What the program says that the names, the classes and the plan took: all from rclone's answer, parsed as JSON, to the
    decision about each backup; its own CPU in all, which also reads that answer and prints the plan; and the whole command with
    rclone, whose listing is most of it."""
    print("\nprune --dry-run in a directory; at most 100 ms are wanted to read, sort, class and decide about 100000 names")
    found = {}
    for count in PLANNED:
        folder = lab.folder("planned")
        for name in names(count):
            (folder / name).touch()
        argv = [OURS, "prune", "--dry-run", "--output=json", f"--target={folder}", "--backup-prefix=bench-"]
        argv += ["--retention=10d", f"--retention-count={count // 2}", "--log-level=debug", "--log-format=json"]
        runs = [measured(lab, argv) for _ in range(3)]
        report = json.loads(runs[-1]["stdout"])
        if len(report["planned"]) + len(report["kept"]) != count:
            sys.exit(f"the plan is about other backups than the {count} that are there")
        plan = min(map(planned, runs))
        own, seconds = (statistics.median(run[key] for run in runs) for key in ("own cpu", "seconds"))
        found[count] = {"plan": plan, "own cpu": own, "seconds": seconds, "rss": max(run["rss"] for run in runs)}
        print(f"{count:>7} backups: planned in {plan * 1000:.1f} ms, our CPU {own:.2f} s, in all {seconds:.2f} s", flush=True)
        shutil.rmtree(folder)
    return found


def planned(run):
    """Seconds, by three lines of the debug log."""
    lines = [json.loads(line) for line in run["stderr"].splitlines() if line.startswith("{")]
    return sum(line.get("seconds", 0) for line in lines)


def listing(lab):
    """Backups of a few bytes with their records, and rclone's own listing of them, which also asks for each one's time."""
    s3 = S3(lab, "backups")
    folder = lab.folder("many")
    beside = lab.folder("many/.etcd-backup")
    for i, name in enumerate(names(LISTED)):
        (folder / name).write_text("x")
        (beside / f"{name}.json").write_text(json.dumps(record(i, name)) + "\n")
    print(f"\nlisting {LISTED} backups with their records at an S3 server", flush=True)
    measured(lab, ["rclone", "copy", "--config", s3.config, "--transfers=32", "--no-traverse", folder, "s3:backups/many"])
    target = ["--target=s3:backups/many", "--backup-prefix=bench-", f"--rclone-config={s3.config}", "--output=json"]
    kinds = {
        "rclone lsjson": ["rclone", "lsjson", "--config", s3.config, "--files-only", "s3:backups/many"],
        "etcd-backup list": [OURS, "list", *target],
        "etcd-backup list --quick": [OURS, "list", "--quick", *target],
    }
    found = {}
    for kind, argv in kinds.items():
        runs = [measured(lab, argv) for _ in range(1 if kind == "etcd-backup list" else 3)]
        if kind == "etcd-backup list":
            listed = [backup["class"] for backup in json.loads(runs[-1]["stdout"])["backups"]]
            if listed != ["good"] * LISTED:
                sys.exit(f"of {len(listed)} listed backups, {listed.count('good')} are good")
        middle = {key: statistics.median(run[key] for run in runs) for key in ("seconds", "cpu", "rss", "rss all")}
        found[kind] = {**middle, "rclone": runs[-1]["rclone"]}
        started = collections.Counter(runs[-1]["rclone"])
        print(
            f"{kind:25} {middle['seconds']:.2f} s, CPU {middle['cpu']:.2f} s, {middle['rss'] / (1 << 20):.1f} MiB, "
            f"with children {middle['rss all'] / (1 << 20):.1f} MiB; {started.total()} of rclone: "
            + ", ".join(f"{word} {count}" for word, count in started.items()),
            flush=True,
        )
    return found


def record(i, name):
    """As rclone/README.md describes it."""
    digest = hashlib.sha256(name.encode()).hexdigest()
    return {
        "schema": 1, "of": "backup", "name": name, "prefix": "bench-", "bytes": 1, "sha256": digest,
        "taken_at": (FIRST + datetime.timedelta(minutes=i)).isoformat() + "Z", "revision": 1000 + i, "keys": 1200,
        "hash": "67ddb7f1", "storage_version": "3.5", "kube_system": {"uid": "5f1c0000-0000-4000-8000-000000000000"},
        "member": "https://10.0.0.1:2379", "member_id": digest[:16], "cluster_id": "eead000000000000", "etcd_version": "3.5.16",
        "degraded": None, "verdict": {"is": "good"}, "confirmed": "read-back", "tool": "0.1.0",
    }  # fmt: skip
