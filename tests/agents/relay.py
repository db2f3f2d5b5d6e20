"""A relay on 127.0.0.1 that hands every byte on, and writes down each request that passes: how a test sees what an agent put on the wire.

    python relay.py TO [--record FILE] [--certificate FILE]      TO is http://127.0.0.1:PORT; says where it listens, and relays until it is ended

With a certificate it is a proxy that stands for every vendor: whatever host a client wants to be connected with, it speaks TLS as that host and hands what it
hears to TO. So an agent that is logged in, and knows where its vendor lives, is answered by the script and never leaves the machine.

Each request is a line of FILE: {"at": seconds, "host", "method", "path", "headers", "body"}, the body as JSON where it is some; `host` is the one that a client
wanted to be connected with, and `"method": "CONNECT"` that it wanted to. It changes nothing, and a side that closes closes the other.
"""

import argparse
import json
import select
import socket
import socketserver
import ssl
import threading
import time

LOCK = threading.Lock()
RECORD = None
TO = ("127.0.0.1", 0)
TLS = None


def write(found):
    with LOCK:
        if RECORD:
            RECORD.write(json.dumps(found, ensure_ascii=False) + "\n")
            RECORD.flush()


class Requests:
    """Finds the requests in the bytes of a connection."""

    def __init__(self, host):
        self.buffer, self.host = b"", host

    def feed(self, data):
        self.buffer += data
        while (found := self.next()) is not None:
            write(found)

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
        return {"at": round(time.time(), 3), "host": self.host, "method": method, "path": path, "headers": headers, "body": body}


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
        here, host, first = self.request, "", b""
        try:
            if TLS:
                here, host, first = self.connected()
            if here:
                with socket.create_connection(TO) as there:
                    self.relay(here, there, host, first)
        except OSError:
            pass

    def connected(self):
        """The other side behind its CONNECT, as whoever it wants to talk to; or, without one, what it said."""
        head = b""
        while b"\r\n\r\n" not in head:
            data = self.request.recv(65536)
            if not data:
                return None, "", b""
            head += data
        method, target, *_ = head.split(b"\r\n")[0].decode("latin-1").split(" ") + ["", ""]
        if method != "CONNECT":
            return self.request, target.removeprefix("http://").split("/")[0], head
        write({"at": round(time.time(), 3), "host": target, "method": "CONNECT", "path": "", "headers": {}, "body": None})
        self.request.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        return TLS.wrap_socket(self.request, server_side=True), target.removesuffix(":443"), b""

    def relay(self, here, there, host, first):
        requests = Requests(host)
        if first:
            requests.feed(first)
            there.sendall(first)
        while True:
            # What TLS has read ahead no longer shows at the socket.
            ahead = isinstance(here, ssl.SSLSocket) and here.pending()
            ready = [here] if ahead else select.select([here, there], [], [])[0]
            for one in ready:
                data = one.recv(65536)
                if not data:
                    return
                if one is here:
                    requests.feed(data)
                (there if one is here else here).sendall(data)


class Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 64


if __name__ == "__main__":
    words = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    words.add_argument("to")
    words.add_argument("--record", metavar="FILE")
    words.add_argument("--certificate", metavar="FILE", help="the chain and its key")
    given = words.parse_args()
    host, _, port = given.to.removeprefix("http://").partition(":")
    TO = (host, int(port))
    if given.record:
        RECORD = open(given.record, "a", encoding="utf-8")
    if given.certificate:
        TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        TLS.load_cert_chain(given.certificate)
        TLS.set_alpn_protocols(["http/1.1"])
    server = Server(("127.0.0.1", 0), Relay)
    print(f"listening on http://127.0.0.1:{server.server_address[1]}", flush=True)
    server.serve_forever()
