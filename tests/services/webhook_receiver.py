"""A receiver of webhooks that verifies them with the reference library of Standard Webhooks.

Arguments: the port, the secret, the file that one JSON object per request is appended to, and the mode: `answer`, or
`hang`, which receives requests and never answers them. With `CERTIFICATE` in the environment, it speaks TLS.
"""
import json
import os
import ssl
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from standardwebhooks.webhooks import Webhook

port, secret, file, mode = int(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4]
lock = threading.Lock()


class Receiver(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        headers = dict(self.headers.items())
        problem = None
        try:
            Webhook(secret).verify(body, headers)
        except Exception as error:
            problem = repr(error)
        line = json.dumps({"headers": headers, "path": self.path, "body": json.loads(body), "problem": problem})
        with lock, open(file, "a") as output:
            output.write(line + "\n")
        if mode == "hang":
            threading.Event().wait()
        self.send_response(204 if problem is None else 400)
        self.end_headers()

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("127.0.0.1", port), Receiver)
if "CERTIFICATE" in os.environ:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(os.environ["CERTIFICATE"])
    server.socket = context.wrap_socket(server.socket, server_side=True)
print("listening", flush=True)
server.serve_forever()
