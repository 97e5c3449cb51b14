"""A hub on the loopback interface, and a server of names, for what has neither in its file system."""

import hashlib
import http.server
import json
import socket
import ssl
import struct
import subprocess
import sys
import threading
from contextlib import contextmanager

COMMIT = "a" * 40


@contextmanager
def serving(folder, tls=None):
    """Serves the files of a folder as the model owner/name. Gives the port; `tls` is a certificate and its key."""
    files = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_):
            pass

        def answer(self):
            path = self.path.split("?")[0]
            name = path.rsplit("/", 1)[-1]
            if path.startswith("/api/"):
                siblings = [{"rfilename": name} for name in files]
                self.send(200, json.dumps({"id": "owner/name", "sha": COMMIT, "siblings": siblings}).encode())
            elif name in files:
                etag = hashlib.sha1(b"blob %d\0" % len(files[name]) + files[name]).hexdigest()
                self.send(200, files[name], {"ETag": f'"{etag}"', "X-Repo-Commit": COMMIT})
            else:
                self.send(404, b"", {"X-Error-Code": "EntryNotFound"})

        do_GET = do_HEAD = answer

        def send(self, status, body, headers={}):
            self.send_response(status)
            for name, value in {"Content-Length": len(body), **headers}.items():
                self.send_header(name, str(value))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

    class Server(http.server.ThreadingHTTPServer):
        def handle_error(self, *_):
            pass  # A client that does not trust the certificate hangs up.

    server = Server(("127.0.0.1", 0), Handler)
    if tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*tls)
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()


def certificates(folder, name):
    """The certificate of an authority, and one for `name` with its key, signed by it; by the command openssl."""

    def openssl(*arguments):
        subprocess.run(["openssl", *map(str, arguments)], check=True, cwd=folder, capture_output=True)

    openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=an authority")
    openssl("req", "-newkey", "rsa:2048", "-nodes", "-keyout", "server.key", "-out", "server.csr", "-subj", f"/CN={name}")
    (folder / "server.ext").write_text(f"subjectAltName=DNS:{name}\nbasicConstraints=CA:FALSE\n")
    openssl("x509", "-req", "-in", "server.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-out", "server.pem",
            "-extfile", "server.ext", "-days", "2")  # fmt: skip
    return folder / "ca.pem", (folder / "server.pem", folder / "server.key")


def serve_names(address):
    """Answers every question of DNS on this address: all names are 127.0.0.1, and have no other kind of address."""
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind((address, 53))
    print("serving", flush=True)
    while True:
        question, client = server.recvfrom(4096)
        end = question.index(b"\0", 12) + 5
        kind = struct.unpack("!H", question[end - 4 : end - 2])[0]
        answers = [b"\xc0\x0c" + struct.pack("!HHIH", 1, 1, 60, 4) + socket.inet_aton("127.0.0.1")] if kind == 1 else []
        head = question[:2] + struct.pack("!HHHHH", 0x8180, 1, len(answers), 0, 0)
        server.sendto(head + question[12:end] + b"".join(answers), client)


if __name__ == "__main__":
    serve_names(sys.argv[1])
