"""A hub on the loopback interface that misbehaves: slow, endless, in circles, with wrong sizes, names and digests.

It serves a golden model as the real hub does, its large file by way of a redirect to a storage on another port. A `Behaviour` is
asked first, and answers in its own way. Whatever it does, the token stays with the hub, and files stay in the cache.
"""

from __future__ import annotations

import hashlib
import http.server
import json
import random
import socket
import threading
import time
import zlib
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from bench import GOLDEN, MIB, Desk, Ended, Problem
from hostile_case import Case, fails, succeeds
from mutate import mutate

COMMIT = "a" * 40
TOKEN = "hf_tokenThatMustNotLeak"
MODEL = {path.name: path.read_bytes() for path in (GOLDEN / "width32").iterdir() if not path.name.startswith("golden")}
WEIGHTS, CONFIG, VOCABULARY = "model.safetensors", "config.json", "tokenizer.json"
RUN = ["extract", "-q", "-m", "owner/name", "-i", "texts.txt", "-o", "out"]
# The limits are a silence of 10 s, three times, and a trickle of 30 s; a pause that is asked for may be 60 s.
PATIENT = 240.0


@dataclass
class Asked:
    """A request, taken apart: the list of files, or one of them."""

    handler: Handler
    is_storage: bool
    listing: bool
    file: str
    head: bool

    def answers(self, status: int, body: bytes = b"", **headers: str | None) -> bool:
        """An answer with a length, unless the headers say otherwise; None leaves one out."""
        whole = {"Content-Length": str(len(body))} | {name.replace("_", "-"): value for name, value in headers.items()}
        self.handler.send_response(status)
        for name, value in whole.items():
            if value is not None:
                self.handler.send_header(name, value)
        self.handler.end_headers()
        if not self.head:
            self.handler.wfile.write(body)
        return True

    def answers_honestly(self, **headers: str | None) -> bool:
        if self.listing:
            return self.answers(200, listing(), **headers)
        if self.file not in MODEL:
            return self.answers(404, X_Error_Code="EntryNotFound")
        content = MODEL[self.file]
        promise: dict[str, str | None] = {"ETag": f'"{etag(self.file)}"', "X-Repo-Commit": COMMIT}
        if self.file == WEIGHTS and not self.is_storage:
            away = f"http://127.0.0.1:{self.handler.server.hub.storage_port}{self.handler.path}"
            linked = {"X-Linked-Etag": f'"{etag(self.file)}"', "X-Linked-Size": str(len(content)), "Location": away}
            return self.answers(302, **(promise | linked | headers))
        return self.answers(200, content, **(promise | headers))

    def writes(self, *pieces: bytes, pause: float = 0) -> None:
        """Bytes as they are, below HTTP."""
        for piece in pieces:
            self.handler.wfile.write(piece)
            self.handler.wfile.flush()
            time.sleep(pause)

    def closes(self) -> bool:
        self.handler.close_connection = True
        return True


Behaviour = Callable[[Asked], bool]


def etag(file: str) -> str:
    content = MODEL[file]
    if file == WEIGHTS:
        return hashlib.sha256(content).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def listing(files: list[str] | None = None, commit: object = COMMIT) -> bytes:
    siblings = [{"rfilename": name} for name in files or MODEL]
    return json.dumps({"id": "owner/name", "sha": commit, "siblings": siblings}).encode()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def log_message(self, *_: object) -> None:
        pass

    def handle_one_request(self) -> None:
        try:
            super().handle_one_request()
        except OSError:
            self.close_connection = True  # The client has gone.

    def do_HEAD(self) -> None:
        self.answer(True)

    def do_GET(self) -> None:
        self.answer(False)

    def answer(self, head: bool) -> None:
        hub = self.server.hub
        is_storage = self.server.server_port == hub.storage_port
        if TOKEN in str(self.headers) and (is_storage or not self.headers["Host"].startswith("127.0.0.1:")):
            hub.leaks.append(f"{self.command} {self.path} of {self.headers['Host']}")
        path = self.path.split("?")[0]
        file = path.split("/resolve/")[-1].split("/", 1)[-1]
        asked = Asked(self, is_storage, path.startswith("/api/"), file, head)
        if not hub.behaviour(asked):
            asked.answers_honestly()


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    hub: Hub

    def handle_error(self, *_: object) -> None:
        pass  # What a client does that has given up.


@dataclass
class Hub:
    behaviour: Behaviour
    leaks: list[str] = field(default_factory=list)
    storage_port: int = 0


def served(behaviour: Behaviour) -> Callable[[Desk], object]:
    @contextmanager
    def meanwhile(desk: Desk):
        hub = Hub(behaviour)
        servers = [Server(("127.0.0.1", 0), Handler) for _ in range(2)]
        hub.storage_port = servers[1].server_port
        for server in servers:
            server.hub = hub
            threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield {"HF_ENDPOINT": f"http://127.0.0.1:{servers[0].server_port}", "HF_TOKEN": TOKEN, "HF_HUB_OFFLINE": "0"}
        for server in servers:
            server.shutdown()
            server.server_close()
        if hub.leaks:
            raise Problem(f"the token went to {hub.leaks}")

    return meanwhile


def stays_in_the_cache(further: Callable[[Desk, list[Ended]], None]) -> Callable[[Desk, list[Ended]], None]:
    def right(desk: Desk, ended: list[Ended]) -> None:
        if any(TOKEN in run.stderr or TOKEN in run.stdout.decode(errors="replace") for run in ended):
            raise Problem("the token was printed")
        # A mirror's etag may be any plain name; that is then the name of a blob and of its lock.
        own = [desk / "cache/hub/models--owner--name/blobs", desk / "cache/hub/.locks/models--owner--name"]
        if found := [str(path) for path in desk.root.rglob("*") if "pwned" in path.name and path.parent not in own]:
            raise Problem(f"a name from outside became a file: {found}")
        # A list that was changed on its way may lack a file that a model can do without; nothing tells it from a true one.
        needed = [MODEL[file] for file in (WEIGHTS, CONFIG, VOCABULARY)]
        if ended[-1].code == 0 and any(hashlib.sha256(file).digest() not in digests(desk / "cache") for file in needed):
            raise Problem("it succeeded, and the cache does not hold what the hub has")
        further(desk, ended)

    return right


def digests(folder: Path) -> set[bytes]:
    return {hashlib.sha256(path.read_bytes()).digest() for path in folder.rglob("*") if path.is_file()}


def case(name: str, behaviour: Behaviour, right: Callable = lambda *_: None, slow: bool = False) -> Case:
    return Case(
        name,
        lambda desk: None,
        [RUN],
        right=stays_in_the_cache(right),
        meanwhile=served(behaviour),
        seconds=PATIENT if slow else 60,
        slow=slow,
    )


# --- what is asked, and how it is answered ---------------------------------------------------------------------------


def of_listing(answer: Behaviour) -> Behaviour:
    return lambda asked: asked.listing and answer(asked)


def of_file(file: str, answer: Behaviour, head: bool | None = None) -> Behaviour:
    return lambda asked: not asked.listing and asked.file == file and head in (None, asked.head) and answer(asked)


def redirect(to: str) -> Behaviour:
    """To a place in which {hub} and {storage} stand for the ports, and {path} for the path that was asked for."""

    def answer(asked: Asked) -> bool:
        if asked.is_storage or "sent-on" in asked.handler.path:
            return False
        ports = {"hub": asked.handler.server.server_port, "storage": asked.handler.server.hub.storage_port}
        return asked.answers(302, Location=to.format(path=asked.handler.path, **ports))

    return answer


def around(asked: Asked) -> bool:
    return asked.answers(302, Location=asked.handler.path)


def ever_on(asked: Asked) -> bool:
    return asked.answers(302, Location=asked.handler.path.split("?")[0] + f"?n={time.monotonic_ns()}")


def endless(chunked: bool) -> Behaviour:
    def answer(asked: Asked) -> bool:
        asked.handler.send_response(200)
        for header, value in ({"Transfer-Encoding": "chunked"} if chunked else {"Connection": "close"}).items():
            asked.handler.send_header(header, value)
        if not asked.listing:
            asked.handler.send_header("ETag", f'"{etag(asked.file)}"')
            asked.handler.send_header("X-Repo-Commit", COMMIT)
        asked.handler.end_headers()
        if asked.head:
            return asked.closes()
        piece = b'{"a": "' + b"x" * MIB + b'"}'
        while True:
            asked.writes(b"%x\r\n" % len(piece) + piece + b"\r\n" if chunked else piece)

    return answer


def trickle(pause: float) -> Behaviour:
    """A body a byte at a time."""

    def answer(asked: Asked) -> bool:
        if asked.head:
            return False
        body = listing() if asked.listing else MODEL[asked.file]
        asked.handler.send_response(200)
        asked.handler.send_header("Content-Length", str(len(body)))
        asked.handler.end_headers()
        asked.writes(*(bytes([byte]) for byte in body), pause=pause)
        return True

    return answer


def trickle_of_headers(asked: Asked) -> bool:
    asked.writes(*(bytes([byte]) for byte in b"HTTP/1.1 200 OK\r\nX-A: " + b"a" * 10_000), pause=0.3)
    return asked.closes()


def silent(asked: Asked) -> bool:
    time.sleep(PATIENT)
    return asked.closes()


def cut_short(reset: bool) -> Behaviour:
    def answer(asked: Asked) -> bool:
        if asked.head or (asked.file == WEIGHTS and not asked.is_storage):
            return False
        body = MODEL[asked.file]
        asked.handler.send_response(200)
        asked.handler.send_header("Content-Length", str(len(body)))
        asked.handler.end_headers()
        asked.writes(body[: len(body) // 2])
        if reset:
            asked.handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        return asked.closes()

    return answer


def instead(body: bytes, status: int = 200, **headers: str | None) -> Behaviour:
    """Another body, with the promise of the right one unless that is changed too."""

    def answer(asked: Asked) -> bool:
        promise = {} if asked.listing else {"ETag": f'"{etag(asked.file)}"', "X_Repo_Commit": COMMIT}
        return asked.answers(status, body, **(promise | headers))

    return answer


def packed(body: bytes) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    return packer.compress(body) + packer.flush()


@cache
def bomb(size: int) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    return b"".join(packer.compress(b" " * MIB) for _ in range(size // MIB)) + packer.flush()


def once(answer: Behaviour) -> Behaviour:
    """The first time alone."""
    state = {"left": 1}

    def first(asked: Asked) -> bool:
        state["left"] -= 1
        return state["left"] >= 0 and answer(asked)

    return first


def redirects() -> list[Case]:
    to_storage = "http://127.0.0.1:{storage}{path}?sent-on"
    kinds = {
        "listing": of_listing,
        "config": lambda answer: of_file(CONFIG, answer),
        "weights": lambda answer: of_file(WEIGHTS, answer),
    }
    cases = []
    for what, of in kinds.items():
        cases += [
            case(f"redirect/{what}/circle", of(around), fails()),
            case(f"redirect/{what}/ever-on", of(ever_on), fails()),
            case(f"redirect/{what}/to-storage", of(redirect(to_storage))),
            case(f"redirect/{what}/without-scheme", of(redirect("//127.0.0.1:{storage}{path}"))),
            case(f"redirect/{what}/user-in-it", of(redirect("http://127.0.0.1:{hub}@127.0.0.1:{storage}{path}"))),
            case(f"redirect/{what}/other-name", of(redirect("http://localhost:{hub}{path}?sent-on"))),
            case(f"redirect/{what}/file-scheme", of(redirect("file:///etc/passwd")), fails()),
            case(f"redirect/{what}/nowhere", of(redirect("http://127.0.0.1:1/")), fails(), slow=True),
            case(f"redirect/{what}/nothing", of(instead(b"", 302)), fails()),
            case(f"redirect/{what}/no-address", of(redirect("http://[::::]/\\..")), fails()),
        ]
    return cases


def names() -> list[Case]:
    climbing = [
        "../../../../pwned",
        ".pwned",
        "1_Pooling/../../pwned",
        "..",
        "a\\..\\pwned",
        "/tmp/pwned",
        "modules.json/",
        "\0pwned",
        "C:pwned",
    ]
    tags = [
        '"../../../../pwned"',
        '".pwned"',
        '"..%2fpwned"',
        '"a/pwned"',
        '""',
        '".."',
        '"x' + "y" * 5000 + '"',
        'W/"..\\pwned"',
        '"CON"',
    ]
    tags += ['"pwned.incomplete.d"', f'"{"0" * 40}"', f'"{"0" * 64}"']
    commits = ["../../../pwned", "pwned", "a" * 39, "A" * 40, "", None, 5, [COMMIT]]
    cases = [case("names/climbing", of_listing(lambda asked: asked.answers(200, listing([*MODEL, *climbing]))), succeeds)]
    for number, tag in enumerate(tags):
        plain = tag in ('"CON"', '"pwned.incomplete.d"')
        answer = of_file(CONFIG, lambda asked, tag=tag: asked.answers_honestly(ETag=tag))
        cases.append(case(f"names/etag-{number}", answer, succeeds if plain else fails()))
    for number, commit in enumerate(commits):
        answer = of_listing(lambda asked, commit=commit: asked.answers(200, listing(commit=commit)))
        cases.append(case(f"names/commit-{number}", answer, fails()))
    for number, commit in enumerate(["../../../pwned", "b" * 40, None]):
        answer = of_file(CONFIG, lambda asked, commit=commit: asked.answers_honestly(**{"X-Repo-Commit": commit}))
        cases.append(case(f"names/commit-of-file-{number}", answer, fails()))
    return cases


def bodies() -> list[Case]:
    many = lambda count: listing([*MODEL, *(f"{number}_Pooling/config.json" for number in range(count))])
    cases = [
        case("body/endless-listing", of_listing(endless(True)), fails(), slow=True),
        case("body/endless-config", of_file(CONFIG, endless(True)), fails()),
        case("body/endless-weights", of_file(WEIGHTS, endless(False)), fails()),
        case("body/three-million-files", of_listing(lambda asked: asked.answers(200, many(3_000_000))), fails()),
        case("body/two-thousand-modules", of_listing(lambda asked: asked.answers(200, many(2_000)))),
        case("body/nested-listing", of_listing(lambda asked: instead(b"[" * 5_000_000)(asked)), fails()),
        case("body/login", instead(b"<html>Please log in</html>", Content_Type="text/html"), fails()),
        case(
            "body/login-for-files",
            lambda asked: not asked.listing and instead(b"<html>log in</html>", ETag=None, X_Repo_Commit=None)(asked),
            fails(),
        ),
        case("body/other-content", of_file(WEIGHTS, instead(b"x" * len(MODEL[WEIGHTS])), head=False), fails()),
        case("body/other-text", of_file(VOCABULARY, instead(b"x" * len(MODEL[VOCABULARY])), head=False), fails()),
        case("body/cut", of_file(VOCABULARY, cut_short(False)), fails()),
        case("body/cut-weights", of_file(WEIGHTS, cut_short(False)), fails()),
        case("body/cut-once", of_file(WEIGHTS, once(cut_short(True)), head=False)),
        case("body/reset", of_file(WEIGHTS, cut_short(True)), fails()),
        case(
            "body/part",
            of_file(VOCABULARY, instead(MODEL[VOCABULARY][:100], 206, Content_Range="bytes 0-99/231508"), head=False),
            fails(),
        ),
        case("body/packed", of_file(VOCABULARY, instead(packed(MODEL[VOCABULARY]), Content_Encoding="gzip"))),
        case("body/bomb", of_file(CONFIG, lambda asked: instead(bomb(1024 * MIB), Content_Encoding="gzip")(asked)), fails()),
        case("body/bomb-of-listing", of_listing(lambda asked: instead(bomb(1024 * MIB), Content_Encoding="gzip")(asked)), fails()),
    ]
    for number, length in enumerate(["0", "5", str(10**12), "-1", "many", str(2**64)]):
        answer = of_file(
            VOCABULARY,
            lambda asked, length=length: asked.answers_honestly(Content_Length=length, Connection="close") and asked.closes(),
        )
        cases.append(case(f"body/length-{number}", answer, fails(), slow=number in (2, 5)))
    return cases


def paces() -> list[Case]:
    return [
        case("pace/silent-listing", of_listing(silent), fails(), slow=True),
        case("pace/silent-config", of_file(CONFIG, silent), fails(), slow=True),
        case("pace/trickling-listing", of_listing(trickle(1)), fails(), slow=True),
        case("pace/trickling-config", of_file(CONFIG, trickle(1)), fails(), slow=True),
        case("pace/trickling-headers", of_file(CONFIG, trickle_of_headers), fails(), slow=True),
        case("pace/wait-a-second", of_listing(once(instead(b"", 429, Retry_After="1"))), succeeds),
        case("pace/wait-a-day", of_listing(instead(b"", 429, Retry_After="86400")), fails()),
        case("pace/wait-a-day-for-a-file", of_file(CONFIG, instead(b"", 429, Retry_After="86400")), fails()),
        case("pace/busy", of_listing(instead(b"", 503)), fails(), slow=True),
    ]


def words() -> list[Case]:
    escape = "\x1b[31mred \x1b]0;title\x07 \x9b2J".encode().decode("latin1")
    repeated = lambda asked: asked.answers(403, b"", **{"X-Error-Message": "no " + (asked.handler.headers["Authorization"] or "")})
    return [
        case("words/escape", of_listing(instead(b"", 403, **{"X-Error-Message": escape})), fails()),
        case("words/token", of_listing(repeated), fails()),
        case("words/long-header", of_file(CONFIG, instead(b"", X_A="a" * 1_000_000)), fails()),
        case("words/xet", lambda asked: not asked.listing and asked.answers_honestly(**{"X-Xet-Hash": "ab" * 32}), succeeds),
    ]


def cases() -> list[Case]:
    return [case("honest", lambda _: False, succeeds), *redirects(), *names(), *bodies(), *paces(), *words()]


def drawn(name: str, numbers: random.Random) -> Case:
    """One kind of request is answered with a random status, with headers or a body that were changed at random."""
    of = numbers.choice(
        [of_listing, *(lambda answer, file=file: of_file(file, answer, numbers.choice([None, True, False])) for file in MODEL)]
    )
    status = numbers.choice([200, 200, 200, 204, 206, 301, 304, 307, 400, 401, 403, 404, 410, 416, 418, 451])
    values = ["", "x", "-1", "0", str(2**64), "../../pwned", '"' + "f" * 64 + '"', "bytes 5-9/10", "gzip", "a" * 10_000, COMMIT]
    keys = [
        "ETag",
        "X-Repo-Commit",
        "X-Linked-Etag",
        "X-Linked-Size",
        "Location",
        "Content-Range",
        "Content-Encoding",
        "Content-Type",
    ]
    headers = {key: numbers.choice(values) for key in numbers.sample(keys, numbers.randint(0, 3))}
    seed = numbers.random()

    def answer(asked: Asked) -> bool:
        body = listing() if asked.listing else MODEL.get(asked.file, b"")
        body = mutate(body, random.Random(seed)) if seed < 0.7 else body
        promise = {} if asked.listing or asked.file not in MODEL else {"ETag": f'"{etag(asked.file)}"', "X-Repo-Commit": COMMIT}
        return asked.answers(status, body, **(promise | headers))

    return case(name, of(answer))
