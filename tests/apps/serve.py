"""An app of the standard library alone, for tests: listens where it is told, behaves as told.

Environment: VERSION (the answer), BEHAVIOUR (die | mute | redirect | fail | late-death),
DELAY_S (before it listens).
"""

import http.server
import os
import pathlib
import signal
import socketserver
import sys
import threading
import time

BEHAVIOUR = os.environ.get("BEHAVIOUR", "")
VERSION = os.environ.get("VERSION", "none")


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        if self.path == "/slow":
            time.sleep(1.5)
        if self.path == "/sick" and pathlib.Path(os.environ["STATE_DIR"], "sick").exists():
            return self.answer(500, "sick")
        if BEHAVIOUR == "redirect":
            return self.answer(302, "elsewhere", Location="/login")
        if BEHAVIOUR == "fail":
            return self.answer(503, "the database is away")
        if self.path == "/env":
            return self.answer(200, "\n".join(f"{k}={v!r}" for k, v in sorted(os.environ.items())))
        if self.path == "/pid":
            return self.answer(200, str(os.getpid()))
        if self.path == "/host":
            return self.answer(200, self.headers["Host"])
        return self.answer(200, VERSION)

    def do_POST(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.answer(200, VERSION)

    def answer(self, status, text, **headers):
        body = text.encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, form, *values):
        pass

    def address_string(self):
        return "edge"


class Unix(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    request_queue_size = 512


class Tcp(socketserver.ThreadingMixIn, socketserver.TCPServer):
    daemon_threads = True
    request_queue_size = 512
    allow_reuse_address = True


def main():
    print(f"starting version {VERSION}", flush=True)
    time.sleep(float(os.environ.get("DELAY_S", "0")))
    if BEHAVIOUR == "die":
        sys.exit("there is no database; giving up")
    if BEHAVIOUR == "mute":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        threading.Event().wait()
    if "SOCKET" in os.environ:
        server = Unix(os.environ["SOCKET"], Handler)
    else:
        server = Tcp(("127.0.0.1", int(os.environ["PORT"])), Handler)
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
    if BEHAVIOUR == "late-death":
        threading.Timer(1.5, os._exit, [3]).start()
    server.serve_forever(poll_interval=0.05)


main()
