"""A relay on 127.0.0.1 that hands every byte on, and writes down each request that passes: how a test sees what an agent put on the wire.

    python relay.py TO [--record FILE]      TO is http://127.0.0.1:PORT; says where it listens, and relays until it is ended

Each request is a line of FILE: {"at": seconds, "method", "path", "headers", "body"}, the body as JSON where it is some. It changes nothing, and a side that
closes closes the other.
"""

import argparse
import json
import select
import socket
import socketserver
import threading
import time

LOCK = threading.Lock()
RECORD = None
TO = ("127.0.0.1", 0)


class Requests:
    """Finds the requests in the bytes of a connection."""

    def __init__(self):
        self.buffer = b""

    def feed(self, data):
        self.buffer += data
        while (found := self.next()) is not None:
            with LOCK:
                if RECORD:
                    RECORD.write(json.dumps(found, ensure_ascii=False) + "\n")
                    RECORD.flush()

    def next(self):
        """The first whole request of the buffer, taken out of it."""
        head, mark, rest = self.buffer.partition(b"\r\n\r\n")
        if not mark:
            return None
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}
        small = {name.lower(): value for name, value in headers.items()}
        if "chunked" in small.get("transfer-encoding", "").lower():
            unchunked = dechunk(rest)
            if unchunked is None:
                return None
            body, self.buffer = unchunked
        else:
            length = int(small.get("content-length") or 0)
            if len(rest) < length:
                return None
            body, self.buffer = rest[:length], rest[length:]
        method, path, *_ = first.split(" ") + ["", ""]
        try:
            body = json.loads(body) if body else None
        except ValueError:
            body = body.decode("utf-8", "replace")
        return {"at": round(time.time(), 3), "method": method, "path": path, "headers": headers, "body": body}


def dechunk(data):
    """The body of chunks and what follows it; None while some are missing."""
    body = b""
    while True:
        size, mark, data = data.partition(b"\r\n")
        if not mark:
            return None
        length = int(size.split(b";")[0], 16)
        if len(data) < length + 2:
            return None
        if length == 0:
            return body, data[2:]
        body, data = body + data[:length], data[length + 2 :]


class Relay(socketserver.BaseRequestHandler):
    def handle(self):
        try:
            there = socket.create_connection(TO)
        except OSError:
            return
        here, requests = self.request, Requests()
        try:
            while True:
                ready, _, _ = select.select([here, there], [], [])
                for one in ready:
                    data = one.recv(65536)
                    if not data:
                        return
                    if one is here:
                        requests.feed(data)
                    (there if one is here else here).sendall(data)
        except OSError:
            return
        finally:
            there.close()


class Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 64


if __name__ == "__main__":
    words = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    words.add_argument("to")
    words.add_argument("--record", metavar="FILE")
    given = words.parse_args()
    host, _, port = given.to.removeprefix("http://").partition(":")
    TO = (host, int(port))
    if given.record:
        RECORD = open(given.record, "a", encoding="utf-8")
    server = Server(("127.0.0.1", 0), Relay)
    print(f"listening on http://127.0.0.1:{server.server_address[1]}", flush=True)
    server.serve_forever()
