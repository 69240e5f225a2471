"""``ganzoo watch``: the report of a run as a page that follows its training.

The browser asks whether the page has changed, and the page is made from the files of the run folder when they have. So
it follows a run of another process, costs nothing while nobody looks, and goes on when the training is killed and
resumed. Python's own server is enough: it has two kinds of answers, and only this machine to answer.
"""

from __future__ import annotations

import hashlib
import re
import sys
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from ganzoo.cli.terminal import say
from ganzoo.errors import GanzooError
from ganzoo.registry.loading import Zoo
from ganzoo.runs.folder import RunFolder, is_locked
from ganzoo_reports.run_pages import SCRIPTS, facts
from ganzoo_reports.templates import media_type, page

SHARE = 0.008
"""The largest share of a core that making the page may take while the training runs, and again that curves may take."""
WATCHED = ("run.json", "events.jsonl", "scores.jsonl", "samples")
THIS_MACHINE = re.compile(r"(localhost|127\.0\.0\.1|\[::1\])(:\d+)?")
"""What the browser may have asked for, at any port, since it may be a forwarded one. Under any other name, a site that
leads its own name to this machine would read the page (DNS rebinding)."""
SAMPLES = re.compile(r"/samples/(\d+(\.\w+))\?\d+")
LAST_SECONDS = 3.0
"""How long the last page can still be asked for once the training that started it has ended."""


class RunPage:
    """The page of a run, or one that waits for it.

    Args:
        path: The run folder, which need not exist yet, or a folder of runs, of which it is the newest.
        zoo: Everything that is registered.
    """

    def __init__(self, path: Path, zoo: Zoo) -> None:
        self.run = RunFolder(path, {})
        self._latest = b"", ""
        self._zoo = zoo
        self._one_at_a_time = threading.Lock()
        self._seen: Any = None  # of the files, when the page was made
        self._curves: dict[str, tuple[Any, Any]] = {}  # arguments and outcome by function
        self.due = self._curves_due = self._on_curves = 0.0

    def latest(self) -> tuple[bytes, str]:
        """The page and its version, made again if its files have changed and the share of a core allows it."""
        with self._one_at_a_time:
            now, seen = time.monotonic(), self._state()
            if seen != self._seen and now >= self.due:
                began, self._seen, self._on_curves = time.thread_time(), seen, 0.0
                content = self._made().encode()
                self._latest = content, hashlib.sha256(content).hexdigest()
                self.due = now + (time.thread_time() - began - self._on_curves) / SHARE
                self._curves_due = max(self._curves_due, now + self._on_curves / SHARE)
            return self._latest

    def _state(self) -> Any:  # changes whenever the page must
        if not (self.run.path / "run.json").exists():
            runs = self.run.path.glob("*/run.json")
            self.run.path = max(runs, key=_changed, default=self.run.path / "run.json").parent
        return is_locked(self.run.path), *(_changed(self.run.path / name) for name in WATCHED)

    def _made(self) -> str:
        try:
            self.run.info = RunFolder.open(self.run.path).info
            return page("report.html", ("watch.js", *SCRIPTS), facts(self.run, self._zoo, live=True, drawn=self._drawn))
        except (GanzooError, OSError) as error:
            begun = (self.run.path / "run.json").exists()
            return page(
                "waiting.html", ("watch.js",), {"live": True, "run": self.run.path, "begun": begun, "why": error}
            )

    def _drawn(self, draw: Callable[..., Any], *given: Any) -> Any:
        """What a function returns; while the training runs, what it returned before until its next call is due."""
        before, drawn = self._curves.get(draw.__name__, (None, None))
        waits = self.run.info["status"] == "running" and time.monotonic() < self._curves_due
        if before is None or (before != given and not waits):
            began = time.thread_time()
            drawn = draw(*given)
            self._on_curves += time.thread_time() - began
            self._curves[draw.__name__] = given, drawn
        return drawn


def _changed(path: Path) -> tuple[int, int]:
    status = path.stat() if path.exists() else None
    return (status.st_mtime_ns, status.st_size) if status else (0, 0)


class _Server(ThreadingHTTPServer):
    def __init__(self, port: int, shown: RunPage) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.shown = shown

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exc_info()[1], ConnectionError):  # of a tab that was closed
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_GET(self) -> None:
        shown = self.server.shown
        samples = SAMPLES.fullmatch(self.path)
        if not THIS_MACHINE.fullmatch(self.headers.get("Host", "")):
            self.send_error(403, "Open this page as localhost")
        elif self.path == "/":
            content, version = shown.latest()
            self._send(content, {"ETag": f'"{version}"', "Cache-Control": "no-cache"}, "text/html")
        elif (
            samples
            and (kind := "image/png" if samples[2] == ".png" else media_type(samples[2]))
            and (file := shown.run.path.resolve() / "samples" / samples[1]).is_file()
            and file.resolve() == file  # a stranger's link may lead to the reader's own files
        ):
            self._send(file.read_bytes(), {"Cache-Control": "max-age=86400"}, kind)
        else:
            self.send_error(404)

    def _send(self, content: bytes, headers: dict[str, str], kind: str) -> None:
        known = headers.get("ETag", "") == self.headers.get("If-None-Match")
        self.send_response(304 if known else 200)
        length = {} if known else {"Content-Length": str(len(content)), "Content-Type": kind}
        # No other site may put a picture into its own page.
        for name, value in {**headers, **length, "Cross-Origin-Resource-Policy": "same-origin"}.items():
            self.send_header(name, value)
        self.end_headers()
        if not known:
            self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        """Requests are not printed."""


def serve(path: Path, port: int, zoo: Zoo, *, until_eof: bool = False) -> None:
    """Serve the page of a run, until Ctrl-C or, with ``until_eof``, until standard input ends.

    Args:
        path: As for ``RunPage``.
        port: 0 chooses a free one.
        zoo: Everything that is registered.
        until_eof: Serve as long as the process at the other end of standard input lives, and a moment longer.

    Raises:
        GanzooError: The port cannot be used.
    """
    shown = RunPage(path, zoo)
    shown.latest()
    try:
        server = _Server(port, shown)
    except OSError as error:
        raise GanzooError(f"Port {port} cannot be used ({error.strerror}).", "Give another --port, or none.") from error
    place = f"127.0.0.1:{server.server_port}"
    say(
        f"Watching {shown.run.path}: http://{place}\n"
        f"From another machine: `ssh -N -L {server.server_port}:{place} HOST`, then open it there.",
        err=True,
    )

    def end() -> None:
        sys.stdin.read()
        shown.due = 0.0  # the last page is made at once
        shown.latest()
        time.sleep(LAST_SECONDS)
        server.shutdown()

    if until_eof:
        threading.Thread(target=end, daemon=True).start()
    with server:
        server.serve_forever()
