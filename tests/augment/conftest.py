"""The shipped lexicon, and a teacher on the loopback address."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from tests.augment.made import Fake

from tuneloop.augment.lexicon import Lexicon, shipped


@pytest.fixture(scope="session")
def lexicon() -> Lexicon:
    """The tables that come with tuneloop."""
    return shipped()


@pytest.fixture
def teacher() -> Iterator[Fake]:
    """A server on the loopback address that answers as the test says."""
    fake = Fake()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            fake.asked.append(body | {"headers": dict(self.headers), "path": self.path})
            status, reply, headers = fake.answer(body, len(fake.asked))
            data = (reply if isinstance(reply, str) else json.dumps(reply)).encode()
            self.send_response(status)
            for name, value in {"Content-Length": str(len(data)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *arguments: Any) -> None:
            """Silence."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        fake.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
        yield fake
        server.shutdown()
        thread.join()
