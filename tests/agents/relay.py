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



class Requests:
    """Finds the requests in the bytes of a connection, and hands each to `note`."""

    def __init__(self, host, note):
        self.buffer, self.host, self.note = b"", host, note

    def feed(self, data):
        self.buffer += data
        while (found := self.next()) is not None:
            self.note(found)

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
        return request(self.host, method, path, headers, body)


def request(host, method, path, headers, body):
    """One line of the record."""
    try:
        body = json.loads(body) if body else None
    except ValueError:
        body = body.decode("utf-8", "replace")
    return {"at": round(time.time(), 3), "host": host, "method": method, "path": path, "headers": headers, "body": body}


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


class Connection(socketserver.BaseRequestHandler):
    def handle(self):
        here, host, first = self.request, "", b""
        try:
            if self.server.tls:
                here, host, first = self.connected()
            if here:
                with socket.create_connection(self.server.to) as there:
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
        host = target.removesuffix(":443")
        self.server.note(request(host, "CONNECT", "", {}, b""))
        self.request.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        return self.server.tls.wrap_socket(self.request, server_side=True), host, b""

    def relay(self, here, there, host, first):
        requests = Requests(host, self.server.note)
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


class Relay(socketserver.ThreadingTCPServer):
    """A relay to `to`, a URL; `note` is handed each request. It runs from `start` to `shutdown`."""

    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 64

    def __init__(self, to, note, certificate=None):
        super().__init__(("127.0.0.1", 0), Connection)
        host, _, port = to.removeprefix("http://").partition(":")
        self.to, self.note, self.tls = (host, int(port)), note, None
        if certificate:
            self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.tls.load_cert_chain(certificate)
            self.tls.set_alpn_protocols(["http/1.1"])
        self.url = f"http://127.0.0.1:{self.server_address[1]}"

    def start(self):
        threading.Thread(target=self.serve_forever, daemon=True).start()
        return self

    def handle_error(self, *_):
        """Whoever leaves in the middle is no news."""


def main():
    words = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    words.add_argument("to")
    words.add_argument("--record", metavar="FILE")
    words.add_argument("--certificate", metavar="FILE", help="the chain and its key")
    given = words.parse_args()
    lock = threading.Lock()

    def note(found):
        if given.record:
            with lock, open(given.record, "a", encoding="utf-8") as record:
                record.write(json.dumps(found, ensure_ascii=False) + "\n")

    relay = Relay(given.to, note, given.certificate)
    print(f"listening on {relay.url}", flush=True)
    relay.serve_forever()


if __name__ == "__main__":
    main()
