"""Fills an etcd as an API server does: objects of Kubernetes' sizes and words, updated, deleted and compacted."""

import base64
import itertools
import json
import random
import zlib

BATCH_OPS = 100
BATCH_BYTES = 400 << 10
# Of 100 writes, how many are of which kind, and how many objects of it stand at once per MiB of the database. A write is an
# update if so many stand already; of events, the oldest one goes then.
MIX = {
    "leases": (30, 2),
    "events": (27, 40),
    "pods": (19, 14),
    "replicasets": (6, 10),
    "endpointslices": (5, 4),
    "configmaps": (4, 6),
    "secrets": (6, 8),
    "widgets": (3, 4),
}
WORDS = [
    "app kubernetes io name instance component part-of managed-by version checksum config prometheus scrape port path",
    "container image registry internal example com team platform billing search gateway worker frontend backend cache",
    "liveness readiness probe timeout threshold period seconds requests limits cpu memory storage volume mount secret",
    "tolerations affinity topology spread constraints node role control plane master zone region hostname scheduler",
    "service account token projected annotations labels owner controller revision hash status phase running pending ready",
]
WORDS = " ".join(WORDS).split()
FIELDS = "metadata labels annotations ownerReferences spec containers env image ports resources status conditions".split()


class Objects:
    """The same objects in the same order for the same seed."""

    def __init__(self, seed=1):
        self.random = random.Random(seed)
        self.apps = [self._app(i) for i in range(240)]
        self.clock = 1_767_225_600

    def _app(self, i):
        words = lambda n: " ".join(self.random.choices(WORDS, k=n))
        env = "".join(f'\x12\x07{w.upper()}_{self.random.randrange(99)}\x1a\x10{words(3)}' for w in self.random.choices(WORDS, k=14))
        managed = "".join(f'"f:{f}":{{".":{{}},"f:{w}":{{}}}},' for f in FIELDS for w in self.random.choices(WORDS, k=5))
        labels = "".join(f"Z\x1c\n\x0eapp.io/{w}\x12\x0a{words(1)}" for w in self.random.choices(WORDS, k=5))
        name = f"{self.random.choice(WORDS)}-{self.random.choice(WORDS)}-{i}"
        return {"name": name, "namespace": f"team-{i % 40}", "env": env, "managed": managed, "labels": labels,
                "image": f"registry.example.com/{words(1)}/{name}@sha256:{self.hex(32)}"}

    def hex(self, count):
        return self.random.randbytes(count).hex()

    def uid(self):
        h = self.hex(16)
        return f"{h[:8]}-{h[8:12]}-{h[12:16]}-{h[16:20]}-{h[20:]}"

    def time(self):
        self.clock += self.random.random() * 3
        return "2026-01-%02dT%02d:%02d:%02d.%06dZ" % (
            *(self.clock // n % m + o for n, m, o in ((86400, 28, 1), (3600, 24, 0), (60, 60, 0), (1, 60, 0))),
            self.random.randrange(1_000_000),
        )

    def meta(self, name, app):
        """ObjectMeta in the order of its protobuf fields, with the lengths left wrong: nobody decodes it here."""
        return (
            f"\n\x2f{name}\x12\x00\x1a\x0d{app['namespace']}\"\x00*${self.uid()}2\x00:\x008\x00B\x08{self.time()}"
            f"{app['labels']}b\x2fpod-template-hash\x12\x0a{self.hex(5)}j\x4a\n\x0aReplicaSet\x1a${self.uid()}\"\x07apps/v1"
            f"\x8a\x01\n\x17kube-controller-manager\x12\x06Update\x1a\x02v1\"{self.time()}2\x08FieldsV1:\xfa{{{app['managed']}}}"
        )

    def pods(self, name, app):
        conditions = "".join(f"\x12{c}\x12\x04True\x1a\x00\"{self.time()}*\x00" for c in ("Initialized", "Ready", "ContainersReady", "PodScheduled"))
        address = ".".join(str(self.random.randrange(256)) for _ in range(3))
        return (
            f"{self.meta(name, app)}\x12\x97\n\x31kube-api-access-{self.hex(3)}\x12\x2e{app['image']}{app['env']}"
            f"\x1a\x06Always \x1e2\x0cClusterFirstR\x0anode-{self.random.randrange(300)}{conditions}"
            f"2\x0a10.{address}{self.time()}containerd://{self.hex(32)}{app['image']}{self.time()}"
        )

    def replicasets(self, name, app):
        return f"{self.meta(name, app)}\x12\x85\x08\x02\x12\x35{app['image']}{app['env']}\x1a\x0c\x08\x02\x10\x02\x18{self.random.randrange(99)}"

    def leases(self, name, app):
        return f"\n\x2f{name}\x12\x00\x1a\x0fkube-node-lease*${self.uid()}{self.time()}\x12\x2d{name}\x10\x28\"{self.time()}"

    def events(self, name, app):
        return (
            f"\n\x3a{name}.{self.hex(8)}\x1a\x0d{app['namespace']}*${self.uid()}{self.time()}\x12Pod\x12{app['namespace']}\x1a{name}"
            f"\"${self.uid()}*\x02v12\x09{self.random.randrange(10**8)}:\x07spec.containers{{{app['name']}}}\x1a\x09Unhealthy\"\x3e"
            f"Readiness probe failed: Get \"http://10.{self.random.randrange(256)}.{self.random.randrange(256)}.1:8080/ready\": context deadline exceeded"
            f"*\x07kubelet\x12node-{self.random.randrange(300)}{self.time()}{self.time()}\x08\x07Warning{app['managed'][:260]}"
        )

    def endpointslices(self, name, app):
        ends = (f"10.{self.random.randrange(256)}.{self.random.randrange(256)}.{n}\x12{self.uid()}node-{self.random.randrange(300)}" for n in range(12))
        return f"{self.meta(name, app)}\x12\x04IPv4{'endpoint'.join(ends)}"

    def configmaps(self, name, app):
        text = " ".join(self.random.choices(WORDS, k=self.random.choice((60, 200, 900))))
        bundle = base64.encodebytes(self.random.randbytes(1100)).decode() if self.random.random() < 0.3 else ""
        return f"{self.meta(name, app)}\x12\x0aconfig.yaml\x12{text}\x12\x06ca.crt-----BEGIN CERTIFICATE-----\n{bundle}"

    def secrets(self, name, app):
        """Keys and certificates, and now and then the release of a chart, which is a text that was packed before."""
        if self.random.random() < 0.3:
            text = " ".join(self.random.choices(WORDS, k=12_000)).encode()
            packed = base64.b64encode(zlib.compress(text, 1))
            return f"{self.meta(name, app)}\x12\x07release{packed.decode()}\x1a\x14helm.sh/release.v1"
        return f"{self.meta(name, app)}\x12\x07tls.crt{base64.encodebytes(self.random.randbytes(1700)).decode()}\x1a\x11kubernetes.io/tls"

    def widgets(self, name, app):
        """A custom resource, which the API server stores as JSON."""
        body = {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": name, "uid": self.uid(),
                "namespace": app["namespace"], "managedFields": [{"time": self.time(), "fieldsV1": app["managed"]}]},
                "status": {"observedGeneration": self.random.randrange(999), "hash": self.hex(20), "at": self.time()}}
        return json.dumps(body, separators=(",", ":"))

    def writes(self, mib):
        """Endless (key, value), and (key, None) for what is deleted."""
        kinds, weights = list(MIX), [weight for weight, _ in MIX.values()]
        standing = {kind: [] for kind in kinds}
        yield b"/registry/namespaces/kube-system", json.dumps(
            {"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": "kube-system", "uid": self.uid()}}).encode()
        while True:
            for kind in self.random.choices(kinds, weights, k=1000):
                objects = standing[kind]
                if len(objects) < MIX[kind][1] * mib:
                    app = self.random.choice(self.apps)
                    objects.append((f"{app['name']}-{self.hex(3)}", app))
                    name, app = objects[-1]
                elif kind == "events":
                    name, app = objects.pop(0)
                    yield f"/registry/{kind}/{app['namespace']}/{name}".encode(), None
                    continue
                else:
                    name, app = self.random.choice(objects)
                head = "" if kind == "widgets" else f"k8s\x00\n\x0c\n\x02v1\x12\x06{kind}\x12\xf0"
                value = head + getattr(self, kind)(name, app)
                yield f"/registry/{kind}/{app['namespace']}/{name}".encode(), value.encode("latin-1", "replace")


def batches(writes):
    """Transactions of (key, value), none of which has a key twice."""
    batch, size = {}, 0
    for key, value in writes:
        if key in batch or len(batch) == BATCH_OPS or size > BATCH_BYTES:
            yield list(batch.items())
            batch, size = {}, 0
        batch[key] = value
        size += len(value or b"")


def fill(etcd, mib):
    """Writes until the database has this size. What was overwritten and deleted is compacted twice on the way, so that pages
    are free, and hold what once was there."""
    wanted, size, revision = mib << 20, 0, 1
    transactions = batches(Objects().writes(mib))
    for share in (0.6, 1):
        while size < wanted * share:
            etcd.put(itertools.islice(transactions, 16))
            status = etcd.ask("maintenance/status")
            size, revision = int(status["dbSize"]), int(status["header"]["revision"])
        etcd.ask("kv/compaction", revision=int(revision * 0.8), physical=True)
