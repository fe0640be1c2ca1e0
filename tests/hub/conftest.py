"""A hub on the loopback address, and a card whose weights it holds."""

from __future__ import annotations

import hashlib
import threading
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from featflow.hub.transport import NoSuchFileError, RemoteFile, TransportError, fetch_file
from featflow.nodes._cards import Card, Source

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Hub:
    """What the server holds and how it misbehaves.

    Attributes:
        files: ``owner/name/file`` to content.
        cut: bytes after which a body ends too early; once each.
        seen: ``METHOD path range`` of every request.
        tokens: what each request says who asks.
        ranges: whether parts of files are served.
        hold: requests for bodies wait for this.
    """

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    cut: list[int] = field(default_factory=list)
    seen: list[tuple[str, str, str]] = field(default_factory=list)
    tokens: list[str] = field(default_factory=list)
    ranges: bool = True
    hold: threading.Event = field(default_factory=threading.Event)

    def bodies(self) -> list[str]:
        """Ranges of the requests for bodies, in order."""
        return [span for method, _, span in self.seen if method == "GET"]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self.answer(body=False)

    def do_GET(self):
        self.answer(body=True)

    def answer(self, body):
        span = self.headers.get("Range", "")
        self.hub.tokens.append(self.headers.get("Authorization", ""))
        self.hub.seen.append((self.command, self.path, span))
        owner, name, resolve, _, file = (self.path.lstrip("/").split("/") + [""] * 5)[:5]
        content = self.hub.files.get(f"{owner}/{name}/{file}")
        if resolve != "resolve" or content is None:
            self.send_response(404)
            self.send_header("X-Error-Code", "EntryNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        wanted = span if self.hub.ranges else ""
        start = int(wanted.removeprefix("bytes=").split("-")[0]) if wanted else 0
        part = content[start:]
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(part)))
        self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Accept-Ranges", "bytes")
        self.end_headers()
        if not body:
            return
        self.hub.hold.wait(20)
        if self.hub.cut:
            self.wfile.write(part[: self.hub.cut.pop(0)])
            self.close_connection = True
            return
        self.wfile.write(part)


@pytest.fixture
def hub(monkeypatch):
    """A running server; ``HF_ENDPOINT`` points to it."""
    state = Hub()
    state.hold.set()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"hub": state}))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    state.url = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setenv("HF_ENDPOINT", state.url)
    for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    yield state
    state.hold.set()
    server.shutdown()
    server.server_close()
    thread.join()


@dataclass
class UrlTransport:
    """Fetches as the hub's transport does, from an address that needs no look-up."""

    url: str

    def fetch(self, repository: str, revision: str, name: str, folder: Path) -> Path:
        address = f"{self.url}/{repository}/resolve/{revision}/{name}"
        request = urllib.request.Request(address, method="HEAD")
        try:
            with urllib.request.urlopen(request) as answer:
                size, etag = int(answer.headers["Content-Length"]), answer.headers["ETag"]
        except urllib.error.HTTPError as error:
            raise NoSuchFileError(f"{repository} has no file {name}") from error
        except OSError as error:
            raise TransportError(str(error)) from error
        fetch_file(RemoteFile(address, size, etag.strip('"'), {}), folder / name)
        return folder / name


@pytest.fixture
def transport(hub):
    return UrlTransport(hub.url)


@pytest.fixture
def card():
    source = Source("owner/net", ("net.pth.tar", "net.json"), "torch", fallback="older.pth.tar")
    return Card(
        id="toy/net",
        summary="s",
        licence="MIT",
        commercial_use=True,
        size_bytes=0,
        sha256="",
        requires=(),
        provides=(),
        data="d",
        method="m",
        limits=(),
        consent="c",
        metrics={},
        source=source,
    )


@pytest.fixture
def home(tmp_path, monkeypatch):
    """An empty cache, and no other place to look at."""
    folder = tmp_path / "home"
    monkeypatch.setenv("FEATFLOW_HOME", str(folder))
    for name in ("FEATFLOW_WEIGHTS", "FEATFLOW_OFFLINE", "HF_HUB_OFFLINE", "HF_HOME"):
        monkeypatch.delenv(name, raising=False)
    return folder
