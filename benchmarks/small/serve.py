"""An app of the standard library alone, small enough for two hundred of them on one host."""

import os
import socketserver

ANSWER = os.environ["VERSION"].encode()


class Handler(socketserver.StreamRequestHandler):
    def handle(self):
        while self.rfile.readline():  # A request without a body: its line, its headers.
            while self.rfile.readline().strip():
                pass
            head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(ANSWER)}\r\n\r\n"
            self.wfile.write(head.encode() + ANSWER)


class Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True
    request_queue_size = 128


Server(os.environ["SOCKET"], Handler).serve_forever()
