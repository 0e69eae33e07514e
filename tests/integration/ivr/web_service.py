"""A tenant's web service that answers those alone whom it knows."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

USERNAME, PASSWORD, TOKEN = "pbx", "pass word: ü", "t0k3n.of-the_shop"
KNOWN = ("Basic cGJ4OnBhc3Mgd29yZDogw7w=", f"Bearer {TOKEN}")
"""RFC 7617 with UTF-8, RFC 6750."""
PORT = 8090


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        known = self.headers.get_all("Authorization", []) == [KNOWN["/token" in self.path]]
        self.send_response(200 if known else 401)
        self.end_headers()
        self.wfile.write(b'{"x": "1"}')

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
        pass


@contextmanager
def web_service(address: str) -> Iterator[None]:
    """``/token`` wants a token, any other path a username and password."""
    with ThreadingHTTPServer((address, PORT), _Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()
