#!/usr/bin/env python3
"""Compares the whole job with the commands of a shell pipeline, on a real etcd of three members and a real S3 server."""

import argparse
import datetime
import json
import os
import shutil
import statistics
import subprocess
import sys

import growth
import machine
from lab import RELEASE, ROOT, S3, Etcd, Lab, tool
from measure import cpu_of, measured, split
from objects import fill

# Flags of ours, and the limit of the link in rclone's words, behind which the pipeline is measured then, too.
MODES = {
    "staged": ([], None),
    "none": (["--staging", "none"], None),
    "zstd": (["--compression", "zstd"], "20M"),
    "staged-link": ([], "20M"),
}
STAGES = ["survey", "snapshot", "store", "prune"]
# At most so many times what the pipeline takes is wanted.
WANTED = {"staged": {"seconds": 0.75, "cpu": 0.8}, "none": {"seconds": 0.6, "cpu": 0.8}, "zstd": {"seconds": 0.35}}
# What this machine can do at best: the snapshot to nowhere, and rclone with these flags.
CEILINGS = ["stream", "upload"]
BEST = ["--s3-disable-checksum", "--s3-chunk-size", "16M"]
COLUMNS = ["seconds", "cpu", "rss", "rss all", "disk", "written", "rclone", "servers"]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mib", default="64,512", help="sizes of the database (default: %(default)s)")
    parser.add_argument("--pairs", type=int, default=5, help="how often each is measured after a warm-up (default: %(default)s)")
    parser.add_argument("--modes", default="staged,none,zstd", help=f"of {', '.join(MODES)} (default: %(default)s)")
    parser.add_argument("--parts", default="job,growth", help="the job, or what grows with the number of backups, or both")
    parser.add_argument("--json", default=ROOT / "target/bench.json", help="where the figures go (default: %(default)s)")
    asked = parser.parse_args()
    figures = {"machine": machine.figures(), "argv": sys.argv[1:], "began": now().isoformat(), "job": [], "growth": None}
    for line in machine.lines(figures["machine"]):
        print(line, flush=True)
    modes = list(known(asked.modes.split(",")))
    for mib in map(int, asked.mib.split(",") if "job" in asked.parts else ()):
        figures["job"] += the_job(mib, asked.pairs, modes)
        write(figures, asked.json)
    if "growth" in asked.parts:
        figures["growth"] = growth.measure()
    write(figures, asked.json)
    print(f"\n{asked.json}")


def write(figures, path):
    with open(path, "w") as file:
        json.dump(figures, file, indent=1)


def known(modes):
    """Those of the modes that the binary has."""
    done = subprocess.run([RELEASE / "etcd-backup", "run", "--help"], capture_output=True, text=True, check=True)
    for mode in modes:
        flags, _ = MODES.get(mode) or sys.exit(f"no mode is called {mode}; there are {', '.join(MODES)}")
        if all(flag in done.stdout for flag in flags[:1]):
            yield mode
        else:
            print(f"left out: {mode}; the binary does not know {flags[0]}", flush=True)


def the_job(mib, pairs, modes):
    with Lab() as lab:
        # Nothing is deleted at the server while it is measured; beside that, the members and a few files take room.
        wanted = (mib << 20) * ((pairs + 1) * (len(modes) + 2) + 8)
        if shutil.disk_usage(lab.root).free < wanted:
            sys.exit(f"{lab.root} wants {wanted >> 30} GiB of free disk for this: choose less, or another place by TMPDIR")
        print(f"\nfilling etcd with {mib} MiB", flush=True)
        etcd, about = cluster(lab, mib)
        print(f"the snapshot has {about['bytes'] >> 20} MiB; {about['zstd'] or 'zstd is missing'} x smaller by zstd -3", flush=True)
        done = []
        for limit in sorted({MODES[mode][1] for mode in modes}, key=str, reverse=True):
            there = [mode for mode in modes if MODES[mode][1] == limit]
            done.append({"mib": mib, "link": limit, **about, **Contest(lab, etcd, limit, there).run(pairs)})
        return done


def cluster(lab, mib):
    """One member is filled, and three start with its snapshot: a third of the work, and all three have the same pages."""
    seed = Etcd(lab, 1, f"--quota-backend-bytes={mib << 22}", "--snapshot-count=500", folder="seed")
    fill(seed, mib)
    file = lab.root / "ready.etcdb"
    measured(lab, save(seed, file), ETCDCTL_API="3")
    lab.end(seed.members[0])
    shutil.rmtree(lab.root / "seed")
    zstd = shutil.which("zstd")
    packed = subprocess.run(f"{zstd} -3 -c {file} | wc -c", shell=True, capture_output=True, text=True) if zstd else None
    size = file.stat().st_size
    about = {"bytes": size, "zstd": round(size / int(packed.stdout), 2) if packed else None}
    return Etcd(lab, 3, f"--quota-backend-bytes={mib << 22}", snapshot=file), about


def save(etcd, file):
    tls = [f"--cacert={etcd.ca}", f"--cert={etcd.cert}", f"--key={etcd.key}"]
    return [tool("etcdctl"), f"--endpoints={etcd.endpoints[0]}", *tls, "snapshot", "save", file]


class Contest:
    """The pipeline against modes of ours, in rounds whose order changes. Each has a directory of its own in one bucket."""

    def __init__(self, lab, etcd, limit, modes):
        self.lab, self.etcd, self.modes = lab, etcd, modes
        self.limit = [f"--bwlimit={limit}"] if limit else []
        self.link = limit
        # The machine's ceilings say nothing of a slow link.
        self.names = ["shell", *modes, *([] if limit else CEILINGS)]
        self.s3 = S3(lab, "backups")
        self.olds = 0

    def run(self, pairs):
        print(f"\n{'link of ' + self.link + 'iB/s' if self.link else 'no limit of the link'}: {', '.join(self.names)}", flush=True)
        rounds = []
        for number in range(pairs + 1):
            # Forwards and backwards, and each one is the first now and then.
            turn = number // 2 % len(self.names)
            names = (self.names[turn:] + self.names[:turn])[:: -1 if number % 2 else 1]
            rounds.append({name: self.one(name, number) for name in names})
            shown = "  ".join(f"{name} {rounds[-1][name]['seconds']:.2f} s" for name in self.names)
            print(f"{f'round {number}' if number else 'warm-up':8} {shown}", flush=True)
        self.lab.end(self.s3.server)
        shutil.rmtree(self.s3.data)
        against = {name: ratios(name, rounds[1:]) for name in self.names[1:]}
        for line in table(self.names, rounds[1:], against):
            print(line, flush=True)
        return {"rounds": rounds[1:], "ratios": against}

    def one(self, name, number):
        """One run of one of them, from the same state: nothing waits to be written, and one old backup is to be deleted."""
        work = self.lab.folder("work")
        # Without a good backup before it, the first one would delete nothing.
        if number > 0 and name not in CEILINGS:
            self.put_old(name)
        os.sync()
        servers = [child.pid for child in self.lab.children]
        before = cpu_of(servers)
        how = {"shell": self.shell, "stream": self.stream, "upload": self.upload}.get(name)
        run = how(work) if how else self.ours(name, work, removed=min(number, 1))
        run["servers"] = cpu_of(servers) - before
        shutil.rmtree(work)
        return {key: value for key, value in run.items() if key not in ("stdout", "stderr", "looks")}

    def shell(self, work):
        target = "s3:backups/shell"
        file = work / f"bench-{now():%Y%m%d%H%M%S}.db"
        flags = ["--config", self.s3.config, *self.limit]
        stages = {
            "save": save(self.etcd, file),
            "status": [tool("etcdutl"), "snapshot", "status", file],
            "copy": ["rclone", "copy", *flags, work, target],
            "delete": ["rclone", "delete", *flags, "--min-age", "10d", target],
        }
        parts = {stage: measured(self.lab, argv, work, ETCDCTL_API="3") for stage, argv in stages.items()}
        total = {key: sum(part[key] for part in parts.values()) for key in ("seconds", "cpu", "own cpu", "written")}
        peaks = {key: max(part[key] for part in parts.values()) for key in ("rss", "rss all", "disk")}
        started = [word for part in parts.values() for word in part["rclone"]]
        kept = lambda part: {key: part[key] for key in COLUMNS if key in part}
        return {**total, **peaks, "rclone": started, "stages": {stage: kept(part) for stage, part in parts.items()}}

    def ours(self, mode, work, removed):
        flags, _ = MODES[mode]
        flags = flags + ([f"--rclone-flags={' '.join(self.limit)}"] if self.limit else [])
        argv = [
            *(RELEASE / "etcd-backup", "run", *flags, "--output=json", "--log-level=warn"),
            *(f"--endpoints={','.join(self.etcd.endpoints)}", f"--cacert={self.etcd.ca}"),
            *(f"--cert={self.etcd.cert}", f"--key={self.etcd.key}", f"--rclone-config={self.s3.config}"),
            *(f"--target=s3:backups/{mode}", "--backup-prefix=bench-", f"--work-dir={work}"),
            *("--retention=10d", "--keep-last=1"),
        ]
        run = measured(self.lab, argv, work)
        report = json.loads(run["stdout"])
        if report["outcome"] != "ok" or len(report["removed"]) != removed:
            sys.exit(f"this run is no example: {run['stdout']}")
        stages = {stage: report["seconds"][stage] for stage in STAGES if report["seconds"].get(stage) is not None}
        return {**run, "stages": split(run, stages)}

    def stream(self, work):
        """curl asks for the snapshot as etcdctl does, and writes it to nowhere."""
        request = self.lab.root / "request"
        request.write_bytes(bytes(5))
        argv = [
            *("curl", "--silent", "--show-error", "--fail", "--http2", "--data-binary", f"@{request}", "--output", "/dev/null"),
            *("--header", "content-type: application/grpc", "--header", "te: trailers"),
            *("--cacert", self.etcd.ca, "--cert", self.etcd.cert, "--key", self.etcd.key),
            f"{self.etcd.endpoints[0]}/etcdserverpb.Maintenance/Snapshot",
        ]
        return measured(self.lab, [*argv, "--write-out", "%{size_download}"], work)

    def upload(self, work):
        target = f"s3:backups/upload/bench-{now():%Y%m%d%H%M%S}.etcdb"
        argv = ["rclone", "copyto", "--config", self.s3.config, *BEST, self.lab.root / "ready.etcdb", target]
        return measured(self.lab, argv, work)

    def put_old(self, name):
        """A small backup from long ago."""
        self.olds += 1
        old = self.lab.write("old", "x")
        taken = datetime.datetime(2020, 1, 1) + datetime.timedelta(minutes=self.olds)
        os.utime(old, (taken.timestamp(), taken.timestamp()))
        target = f"s3:backups/{name}/bench-{taken:%Y%m%d%H%M}.etcdb"
        measured(self.lab, ["rclone", "copyto", "--config", self.s3.config, old, target])

def ratios(name, rounds):
    """What one took in comparison with the pipeline's run of the same round."""
    found = {}
    for column in ("seconds", "cpu"):
        each = sorted(run[name][column] / run["shell"][column] for run in rounds)
        found[column] = {"median": statistics.median(each), "min": each[0], "max": each[-1]}
    return found


def table(names, rounds, against):
    yield f"\n{f'median of {len(rounds)}':22}" + "".join(f"{column:>12}" for column in COLUMNS)
    for name in names:
        stages = rounds[0][name].get("stages", {})
        for stage in stages:
            yield f"{name:12}{stage:10}" + cells([run[name]["stages"].get(stage, {}) for run in rounds])
        yield f"{name:12}{'in all' if stages else '':10}" + cells([run[name] for run in rounds])
    yield ""
    for name, columns in against.items():
        for column, ratio in columns.items():
            wanted = WANTED.get(name, {}).get(column)
            goal = f"; at most {wanted} is wanted" if wanted else ""
            yield f"{name} / shell, {column:8} {ratio['median']:.2f} x ({ratio['min']:.2f} to {ratio['max']:.2f}){goal}"
    if "stream" in names:
        yield "stream: curl asks a member for the snapshot and writes it to /dev/null"
        yield f"upload: rclone copyto {' '.join(BEST)} of a file that is there"
    for name in names:
        yield f"{name} starts rclone for: {', '.join(rounds[-1][name]['rclone']) or 'nothing'}"


def cells(runs):
    return "".join(cell(column, [run.get(column) for run in runs]) for column in COLUMNS)


def cell(column, values):
    if None in values:
        return f"{'-':>12}"
    if column == "rclone":
        return f"{statistics.median(map(len, values)):>12.0f}"
    middle = statistics.median(values)
    return f"{middle:>10.2f} s" if column in ("seconds", "cpu", "servers") else f"{middle / (1 << 20):>8.1f} MiB"


def now():
    return datetime.datetime.now(datetime.timezone.utc)


if __name__ == "__main__":
    main()
