#!/usr/bin/env python3
"""Shows backups and a restore: a real etcd of three members, a real S3 server, the job, and a disaster."""

import shlex
import shutil
import subprocess
import sys
import time

from lab import S3, Etcd, Lab

COLOUR = sys.stdout.isatty()
JOB = [
    "etcd-backup",
    *("run", "--kubeadm-config", "k8s/config.yaml"),
    *("--cacert", "etcd/etcd/ca.crt"),
    *("--cert", "etcd/apiserver-etcd-client.crt", "--key", "etcd/apiserver-etcd-client.key"),
    *("--config-dir", "config/etcd-backup", "--rclone-config", "config/rclone/rclone.conf"),
]
STORE = ["--config-dir", "config/etcd-backup", "--rclone-config", "config/rclone/rclone.conf"]
LIST = ["rclone", "--config", "config/rclone/rclone.conf", "lsl", "s3:backups"]


def main():
    start = time.monotonic()
    with Lab() as lab:
        etcd = a_cluster(lab)
        a_bucket(lab)
        source = the_job(lab)
        a_member_dies(lab, etcd, source)
        the_backups_are_proved(lab)
        everything_is_lost(lab, etcd)
        heading(f"Done in {time.monotonic() - start:.0f} s")
        say("Two backups of an etcd with TLS, each proved before it was stored and confirmed at the S3 server after;")
        say("the second one with a member missing. Then the whole cluster was lost, and restored from the bucket.")
        say("Everything that was started here is stopped and removed.")
        say("Next: README.md has the settings, the exit codes, and what to do when something breaks.")


def a_cluster(lab):
    heading("A cluster: three etcd members, with the certificates where kubeadm keeps them")
    etcd = Etcd(lab, 3)
    endpoints = "".join(f"    - {url}\n" for url in etcd.endpoints)
    lab.write(
        "k8s/config.yaml",
        "apiVersion: kubeadm.k8s.io/v1beta3\nkind: ClusterConfiguration\nkubernetesVersion: v1.29.3\n"
        f"etcd:\n  external:\n    endpoints:\n{endpoints}",
    )
    keys = [
        (f"/registry/{kind}/{namespace}/{kind}-{i}".encode(), f'{{"kind":"{kind}","i":{i}}}'.encode() * 20)
        for kind in ("pods", "secrets", "configmaps", "deployments")
        for namespace in ("kube-system", "shop", "monitoring")
        for i in range(30)
    ]
    etcd.put([keys[i : i + 100] for i in range(0, len(keys), 100)])
    say(f"{len(keys)} keys, such as {keys[0][0].decode()}")
    show(lab, ["cat", "k8s/config.yaml"])
    return etcd


def a_bucket(lab):
    heading("A remote for backups: SeaweedFS, an S3 server, with an empty bucket")
    S3(lab, "backups")
    lab.folder("backup")
    for key, value in {"target": "s3:backups/demo", "retention": "10d", "backup-prefix": "demo-"}.items():
        lab.write(f"config/etcd-backup/{key}", value)
    show(lab, ["grep", "-r", ".", "config/etcd-backup"])


def the_job(lab):
    """Returns the member that the backup came from."""
    heading("The job, as the CronJob runs it")
    report = show(lab, JOB)
    heading("What is in the bucket")
    show(lab, LIST)
    return next(line.split()[1] for line in report if line.startswith("member "))


def a_member_dies(lab, etcd, source):
    heading("The member that gave the backup dies, and the job runs again")
    lab.end(etcd.members[etcd.endpoints.index(source)])
    say(f"killed: {source}")
    show(lab, JOB)
    show(lab, LIST)


def the_backups_are_proved(lab):
    heading("What is stored, and is it good?")
    show(lab, ["etcd-backup", "list", *STORE])
    show(lab, ["etcd-backup", "verify", "--all", *STORE])


def everything_is_lost(lab, etcd):
    heading("The disaster: every member is killed, and every data directory deleted")
    before = etcd.everything(etcd.members.index(next(member for member in etcd.members if member.poll() is None)))
    for i, member in enumerate(etcd.members):
        member.kill()
        member.wait()
        shutil.rmtree(etcd.data_dir(i))
    show(lab, ["find", "members"])
    heading("The way back: the plan that etcd-backup prints for this cluster")
    plan = ["etcd-backup", "restore", "latest", "--plan", "--kubeadm-config", "k8s/config.yaml", *STORE]
    plan = show(lab, plan, lambda line: line.startswith(("##", "# R", "# I", "# N", "# E", "etcd-backup")))
    heading("The plan's restores; the members share this machine, so each has a directory instead of /var/lib/etcd")
    for i, line in enumerate(line for line in plan if line.startswith("etcd-backup restore")):
        restore = shlex.split(line.replace("/var/lib/etcd", f"members/m{i}"))
        show(lab, restore, lambda line: i == 0 or line.startswith(("restored", "member")))
    etcd.start()
    heading("The cluster is back")
    after = [etcd.everything(i) for i in range(len(etcd.ports))]
    if any(kvs != before for kvs in after):
        sys.exit("the restored keys differ from the lost ones")
    say(f"{len(before)} keys on each of {len(after)} members: values, revisions and versions as before the disaster")


def heading(text):
    print(f"\n\033[1m{text}\033[0m" if COLOUR else f"\n## {text}", flush=True)


def say(text):
    print(f"   {text}", flush=True)


def typed(argv):
    """The command as one would type it, broken into lines before flags."""
    lines, line = [], argv[0]
    for word in map(shlex.quote, argv[1:]):
        if word.startswith("--") and len(line) > 70:
            lines.append(line)
            line = "   "
        line += f" {word}"
    return " \\\n     ".join([*lines, line])


def show(lab, argv, worth_it=lambda line: True):
    """Runs a command in the lab, prints it and those of its lines that are `worth_it`, and returns all lines."""
    say(f"$ {typed(argv)}")
    process = subprocess.Popen(
        argv,
        cwd=lab.root,
        env=lab.environment(WORK_DIR=str(lab.root / "backup")),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    lines = []
    try:
        for line in process.stdout:
            lines.append(line.rstrip())
            if worth_it(lines[-1]):
                say(f"  {lines[-1]}")
    except BaseException:
        # An interrupted demo leaves no command running. One that has closed its output may still be ending by itself.
        process.terminate()
        raise
    if process.wait():
        sys.exit(f"exit {process.returncode}; the demo should not end here")
    return lines


if __name__ == "__main__":
    main()
