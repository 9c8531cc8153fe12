"""An etcd cluster and an S3 server on loopback, for the demo and the benchmarks: real programs, removed at the end."""

import base64
import contextlib
import http.client
import json
import os
import pathlib
import secrets
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
TOOLS = ROOT / "target/tools/bin"
RELEASE = ROOT / "target/release"
PATH = os.pathsep.join([str(RELEASE), str(TOOLS), os.environ["PATH"]])


def tool(name):
    return os.environ.get(name.upper()) or shutil.which(name, path=PATH) or sys.exit(f"{name} is missing: make tools")


class Lab:
    """A directory and the processes that work in it; leaving the `with` block removes both."""

    def __enter__(self):
        self.root = pathlib.Path(tempfile.mkdtemp(prefix="etcd-backup-lab-"))
        self.children = []
        self.litter = []
        # An interrupted run cleans up as well.
        for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda number, _: sys.exit(128 + number))
        return self

    def __exit__(self, *_):
        for child in self.children:
            child.kill()
        for child in self.children:
            child.wait()
        for path in self.litter:
            path.unlink(missing_ok=True)
        shutil.rmtree(self.root, ignore_errors=True)

    def folder(self, name):
        path = self.root / name
        path.mkdir(parents=True, exist_ok=True)
        return path

    def write(self, name, text, mode=0o644):
        path = self.folder(str(pathlib.Path(name).parent)) / pathlib.Path(name).name
        path.write_text(text)
        path.chmod(mode)
        return path

    def environment(self, **more):
        """An environment with nothing of this machine but a PATH."""
        return {"PATH": PATH, "HOME": str(self.root), "TMPDIR": str(self.folder("tmp")), **more}

    def start(self, name, argv, **environment):
        """Starts a server in the background, its log in the lab. It ends with this process, even if that is killed."""
        bound = [shutil.which("setpriv"), "--pdeathsig", "KILL", "--"] if shutil.which("setpriv") else []
        with open(self.root / f"{name}.log", "ab") as log:
            child = subprocess.Popen(
                [*bound, *map(str, argv)],
                env=self.environment(**environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.root,
            )
        child.name = name
        self.children.append(child)
        return child

    def until(self, child, ready):
        limit = time.monotonic() + 60
        while not ready():
            if child.poll() is not None or time.monotonic() > limit:
                log = (self.root / f"{child.name}.log").read_text(errors="replace")
                sys.exit(f"{child.name} did not start:\n" + "\n".join(log.splitlines()[-20:]))
            time.sleep(0.02)

    def end(self, child):
        child.kill()
        child.wait()
        self.children.remove(child)


_ports = iter(range(23000 + os.getpid() % 80 * 100, 32000))


def free_port():
    """Below the range that the kernel hands out by itself, so that it stays free until it is used."""
    for port in _ports:
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            return port
    sys.exit("no free port")


def listens(port):
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


class Etcd:
    """A cluster with TLS. Its certificates are below `etcd/`, in the places that kubeadm uses below /etc/etcd/pki."""

    def __init__(self, lab, members, *flags, snapshot=None, folder="members"):
        """With `snapshot`, its members start with what is in that file."""
        self.lab = lab
        self.flags = flags
        self.folder = folder
        self.ports = [(free_port(), free_port()) for _ in range(members)]
        self.ca, self.cert, self.key = self._certificates()
        if snapshot:
            for i in range(members):
                self._restore(i, snapshot)
        self.start()

    def start(self):
        """All members at once, with whatever data they have."""
        self.members = [self._start(i) for i in range(len(self.ports))]
        for member, (client, _) in zip(self.members, self.ports):
            self.lab.until(member, lambda: self._answers(client))

    def data_dir(self, i):
        return self.lab.folder(f"{self.folder}/m{i}")

    def _restore(self, i, snapshot):
        data_dir = self.data_dir(i)
        data_dir.rmdir()
        done = subprocess.run(
            [
                *(tool("etcdutl"), "snapshot", "restore", snapshot, f"--name=m{i}", f"--data-dir={data_dir}"),
                *(f"--initial-cluster={self._roster()}", f"--initial-advertise-peer-urls=https://127.0.0.1:{self.ports[i][1]}"),
            ],
            capture_output=True,
            text=True,
        )
        if done.returncode:
            sys.exit(f"etcdutl snapshot restore: {done.stderr}")

    def _roster(self):
        return ",".join(f"m{n}=https://127.0.0.1:{port}" for n, (_, port) in enumerate(self.ports))

    @property
    def endpoints(self):
        return [f"https://127.0.0.1:{client}" for client, _ in self.ports]

    def _certificates(self):
        pki = self.lab.folder("etcd/etcd").parent
        ca = pki / "etcd/ca"
        _openssl("-subj", "/CN=etcd-ca", "-keyout", f"{ca}.key", "-out", f"{ca}.crt")
        for name, usage in [("etcd/server", "serverAuth,clientAuth"), ("apiserver-etcd-client", "clientAuth")]:
            _openssl(
                *("-CA", f"{ca}.crt", "-CAkey", f"{ca}.key", "-subj", f"/CN={pathlib.Path(name).name}"),
                *("-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost"),
                *("-addext", "basicConstraints=critical,CA:FALSE"),
                *("-addext", f"extendedKeyUsage={usage}"),
                *("-keyout", pki / f"{name}.key", "-out", pki / f"{name}.crt"),
            )
        return pki / "etcd/ca.crt", pki / "apiserver-etcd-client.crt", pki / "apiserver-etcd-client.key"

    def _start(self, i):
        client, peer = (f"https://127.0.0.1:{port}" for port in self.ports[i])
        pki = self.ca.parent
        tls = [
            f"--{side}{flag}={value}"
            for side in ("", "peer-")
            for flag, value in [
                ("client-cert-auth", "true"),
                ("trusted-ca-file", self.ca),
                ("cert-file", pki / "server.crt"),
                ("key-file", pki / "server.key"),
            ]
        ]
        return self.lab.start(
            f"m{i}",
            [
                *(tool("etcd"), f"--name=m{i}", f"--data-dir={self.data_dir(i)}"),
                *(f"--listen-client-urls={client}", f"--advertise-client-urls={client}"),
                *(f"--listen-peer-urls={peer}", f"--initial-advertise-peer-urls={peer}"),
                *(f"--initial-cluster={self._roster()}", "--unsafe-no-fsync", "--log-level=warn"),
                *(tls + list(self.flags)),
            ],
        )

    def _connect(self, port, timeout):
        context = ssl.create_default_context(cafile=self.ca)
        context.load_cert_chain(self.cert, self.key)
        return http.client.HTTPSConnection("127.0.0.1", port, timeout=timeout, context=context)

    def _answers(self, port):
        with contextlib.suppress(OSError, http.client.HTTPException):
            connection = self._connect(port, 2)
            connection.request("GET", "/health")
            return b'"true"' in connection.getresponse().read()
        return False

    def everything(self, i):
        """Every key with its value, revisions and version, as this member has it."""
        connection = self._connect(self.ports[i][0], 60)
        first, last = (base64.b64encode(b"\0").decode() for _ in range(2))
        connection.request("POST", "/v3/kv/range", json.dumps({"key": first, "range_end": last}))
        return json.loads(connection.getresponse().read())["kvs"]

    def put(self, batches):
        """Writes batches of (key, value), each as one transaction; a value of None deletes the key."""
        connection = self._connect(self.ports[0][0], 60)
        text = lambda data: base64.b64encode(data).decode()
        for batch in batches:
            writes = [
                {"requestPut": {"key": text(key), "value": text(value)}}
                if value is not None
                else {"requestDeleteRange": {"key": text(key)}}
                for key, value in batch
            ]
            self._post(connection, "kv/txn", {"success": writes})

    def ask(self, path, **message):
        """One call through etcd's own gateway."""
        return json.loads(self._post(self._connect(self.ports[0][0], 60), path, message))

    def _post(self, connection, path, message):
        connection.request("POST", f"/v3/{path}", json.dumps(message))
        answer = connection.getresponse()
        body = answer.read()
        if answer.status != 200:
            sys.exit(f"etcd refused {path}: {body.decode()}")
        return body


def _openssl(*args):
    new = ["-newkey", "rsa:2048", "-nodes", "-days", "30"]
    argv = ["openssl", "req", "-x509", *new, *map(str, args)]
    done = subprocess.run(argv, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"openssl: {done.stderr}")


class S3:
    """SeaweedFS with one bucket, and an rclone.conf in which it is called `s3`."""

    def __init__(self, lab, bucket):
        self.data = data = lab.folder("s3")
        access, secret = "demo", secrets.token_hex(20)
        parts = ["s3", "master", "volume", "filer", "admin"]
        ports = {flag: free_port() for part in parts for flag in (f"{part}.port", f"{part}.port.grpc")}
        # It keeps sockets in /tmp, and leaves them there when it is killed.
        lab.litter += [pathlib.Path(f"/tmp/seaweedfs-{part}-grpc-{ports[part + '.port.grpc']}.sock") for part in parts]
        self.server = lab.start(
            "s3",
            [
                *(tool("weed"), f"-logdir={data}", "mini", f"-dir={data}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"),
                *(f"-{flag}={port}" for flag, port in ports.items()),
                *(f"-filer.localSocket={data}/filer.sock", f"-s3.localSocket={data}/s3.sock"),
                # By default it sends telemetry, and creates any bucket that is written to.
                *("-master.telemetry=false", "-s3.autoCreateBucket=false", f"-bucket={bucket}"),
                *("-webdav=false", "-admin.ui=false", "-s3.port.iceberg=0", "-s3.port.lance=0"),
            ],
            AWS_ACCESS_KEY_ID=access,
            AWS_SECRET_ACCESS_KEY=secret,
        )
        self.config = lab.write(
            "config/rclone/rclone.conf",
            "[s3]\ntype = s3\nprovider = SeaweedFS\nregion = us-east-1\n"
            f"endpoint = http://127.0.0.1:{ports['s3.port']}\n"
            f"access_key_id = {access}\nsecret_access_key = {secret}\n",
            mode=0o600,
        )
        rclone = [tool("rclone"), "--config", self.config, "--retries=1", "--low-level-retries=1", "lsf", f"s3:{bucket}"]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "env": lab.environment()}
        port = ports["s3.port"]
        lab.until(self.server, lambda: listens(port) and subprocess.run(rclone, **quiet).returncode == 0)
