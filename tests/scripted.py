"""How a scripted upstream writes to the wire: whole answers, streams of events, and answers that are cut. What is answered is for `sdks/upstream` and `agents/upstream` to say.

Both stand one folder below their own and put this one's folder on their path.
"""

import http.server
import json


class Wire(http.server.BaseHTTPRequestHandler):
    """A connection to whoever asks."""

    protocol_version = "HTTP/1.1"
    # Pieces go as they are written, not when the last one was acknowledged.
    disable_nagle_algorithm = True

    def answer(self, status, value, headers=None):
        """A whole answer of JSON."""
        data = json.dumps(value).encode()
        self.send_response(status)
        for name, text in {"content-type": "application/json", "content-length": str(len(data)), **(headers or {})}.items():
            self.send_header(name, text)
        self.end_headers()
        self.wfile.write(data)

    def begin_stream(self):
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()

    def event(self, name, data):
        """One event of a stream that has begun; the data are text, or become JSON."""
        text = f"event: {name}\n" if name else ""
        text += f"data: {data if isinstance(data, str) else json.dumps(data)}\n\n"
        self.wfile.write(f"{len(text.encode()):x}\r\n{text}\r\n".encode())

    def end_stream(self):
        self.wfile.write(b"0\r\n\r\n")

    def cut(self):
        """A whole answer of which only the beginning comes."""
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", "1000")
        self.end_headers()
        self.wfile.write(b'{"id":"half a')
        self.close_connection = True

    def log_message(self, *_):
        pass
