"""What a visitor who means harm, or is slow, gets from the app: a sentence, and nobody else's."""

import asyncio
import io
import socket
import time
from pathlib import Path

import httpx
import pytest
from PIL import Image

import app
from facevae.ui import limits, session
from facevae.ui.worker import MALFORMED
from tests.app.page_client import API, PageClient, Refused, awaited, data_uri, marked

HOPPER, COLLINS = session.PORTRAITS.values()
MB = 1_000_000


@pytest.fixture(scope="module")
def url(urls):
    return urls("plain")


@pytest.fixture
def client(url):
    return PageClient(url)


def faceless() -> bytes:
    buffer = io.BytesIO()
    Image.linear_gradient("L").resize((200, 150)).save(buffer, "PNG")
    return buffer.getvalue()


EDIT = {"face": "Grace Hopper", "strengths": {}, "locked": [], "detail": 1, "method": "mean"}
AGED = {"face": "Grace Hopper", "own": 30, "detail": 1, "method": "vector"}
FILM = AGED | {"kind": "GIF", "seconds": 1, "height": 160, "job": "1"}
PAIR = {"faces": ["Grace Hopper", "Eileen Collins"]}
ASKED = {  # tag and function → requests that are no photo, out of bounds, half of one, foreign …
    "face-editor add": [
        {"photo": data_uri(faceless())}, {"photo": data_uri(b"\x89PNG\r\n\x1a\n no")},
        {"photo": ""}, {"photo": "base64,%%%"}, {"origin": {"portrait": "../../etc/passwd"}},
        {"origin": {"draw": 10**40}}, {"origin": {"spot": {"index": 10**9}}},
    ],
    "face-editor redraw": [
        EDIT | {"strengths": {"Smilling": 1}}, EDIT | {"strengths": {"Smiling": "much"}},
        EDIT | {"strengths": {"Smiling": 50}}, EDIT | {"strengths": 5}, EDIT | {"detail": None},
        EDIT | {"method": "magic"}, EDIT | {"face": "guessed"}, {"face": "Grace Hopper"}, None,
    ],
    "face-editor keep": [EDIT],
    "face-editor average": [{"name": "Height"}],
    "face-ages strip": [AGED | {"own": "old"}, AGED | {"own": None}],
    "face-ages keep": [AGED],
    "face-ages save": [FILM | {"kind": "../../EXE"}, FILM | {"seconds": 10**9}],
    "face-morph blend": [PAIR | {"weights": [0, 0], "detail": 1}, PAIR | {"weights": [1] * 9}],
    "face-morph strip": [{"faces": ["Grace Hopper"] * 9, "path": "linear"}, PAIR | {"path": "/"}],
    "face-explorer face": [
        {"seed": 1, "index": 10**9}, {"x": 0, "y": 0, "latents": [10**6, 5]},
        {"seed": 1, "moved": {"-5": 1}}, {"seed": 10**40},
    ],
    "vae-machine decode": [{"beta": "1/../../etc", "z": [0] * 10}, {"beta": 1, "z": [0] * 999}],
    "vae-machine look": [{"beta": 1, "factors": {"height": 1}}],
}  # fmt: skip


@pytest.mark.parametrize("asked", ASKED)
def test_what_the_page_would_not_ask_is_answered_by_a_sentence(client, capfd, asked):
    for request in ASKED[asked]:
        with pytest.raises(Refused) as caught:
            client.ask(*asked.split(), request)
        assert caught.value.clear, caught.value.said
    log = "".join(capfd.readouterr())
    assert "Traceback" not in log and "photo" not in log


def test_so_are_foreign_requests_to_gradio(client, capfd):
    def foreign(route="component_server/", **body):
        return lambda: client.post(route, json={"session_hash": client.session} | body)

    kind = {"Content-Type": "application/json"}
    cases = [
        foreign("queue/join", data=5, fn_index=1),
        foreign("queue/join", data=[], fn_index=9999),
        lambda: client.post("queue/join", json={"data": [], "fn_index": 1}),
        foreign(data=1, component_id=10**6, fn_name="redraw"),
        foreign(data=1, component_id="x", fn_name="redraw"),
        foreign(data=1, component_id=client.live["face-editor"], fn_name="postprocess"),
        lambda: client.post("component_server/", content=b"{", headers=kind),
        lambda: client.post("component_server/", content=b"[" * 100_000, headers=kind),
        lambda: client.post("upload", content=b"hello"),
        lambda: client.call("age", marked("x")),
        lambda: client.call("age", None, "old", 1, False),
        lambda: client.call("edit", None, "strong", 1, False),
    ]
    for case in cases:
        with pytest.raises(Refused) as caught:
            case()
        assert caught.value.clear, caught.value.said
    assert "Traceback" not in "".join(capfd.readouterr())


def test_a_photo_of_this_computer_is_no_upload(client, tmp_path, uploads, capfd):
    """As a path of the server, a way round it, or an address that it would fetch from."""
    own = tmp_path / "private.jpg"
    own.write_bytes(COLLINS.read_bytes())
    for path in (str(own), f"{uploads}/../{own}", str(COLLINS), "http://127.0.0.1:9/a.jpg"):
        for photo in (marked(path), {"path": path}, path):
            with pytest.raises(Refused, match="must be uploaded"):
                client.call("age", photo, 70, 1, False)
    log = "".join(capfd.readouterr())
    assert "private" not in log and "Traceback" not in log


OUTSIDE = (
    "/etc/passwd ../../../../../../etc/passwd %2e%2e/%2e%2e/%2e%2e/%2e%2e/%2e%2e/etc/passwd "
    "..%2f..%2f..%2f..%2f..%2fetc%2fpasswd %252fetc%252fpasswd file:///etc/passwd README.md "
    f"/proc/self/environ {app.__file__} {session.ASSETS / 'studio' / 'config.json'} "
    "http://127.0.0.1:9/ CACHE/../../../../../../etc/passwd CACHE CACHE/%00"
)
SECRETS = (b"root:", b"PATH=", b"image_shape", b"import gradio", b"sdk: gradio")


def opened(url: str, request: str, rest: str = "") -> socket.socket:
    """A connection on which a request has begun."""
    host, port = url.removeprefix("http://").strip("/").split(":")
    sock = socket.create_connection((host, int(port)), timeout=30)
    sock.sendall(f"{request} HTTP/1.1\r\nHost: x\r\n{rest}".encode())
    return sock


def raw(url: str, target: str) -> tuple[int, bytes]:
    """An answer's status and body to a path as it is written: clients would tidy it."""
    with opened(url, f"GET {target}", "Connection: close\r\n\r\n") as sock:
        answer = b"".join(iter(lambda: sock.recv(65536), b""))
    return int(answer.split()[1]), answer.partition(b"\r\n\r\n")[2]


@pytest.mark.parametrize("route", ["file=", "file/", "proxy=", "../static/", "../assets/", "../"])
def test_no_file_outside_the_cache_is_served(url, uploads, route):
    for path in OUTSIDE.replace("CACHE", str(uploads)).split():
        status, body = raw(url, f"/{API}/{route}{path}")
        assert 400 <= status < 500, path
        assert not [secret for secret in SECRETS if secret in body], path


def test_an_upload_is_served_to_who_knows_its_digest_for_a_minute(url, client):
    path = Path(client.upload(COLLINS.read_bytes()))
    assert raw(url, f"/{API}/file={path}") == (200, COLLINS.read_bytes())
    name = path.parent.name
    assert len(name) == 64 and int(name, 16)  # a digest of the photo: who knows it, has it
    for guess in (path.parents[1], path.parent, path.parents[1] / name[:-1]):
        assert raw(url, f"/{API}/file={guess}")[0] == 403
    assert app.SWEEP == (60, 60)


def test_runs_are_not_recorded_and_nothing_else_of_gradio_is_open(url):
    for unused in ("runs", "run-history/records", "process_recording", "vibe-code", "deep_link"):
        assert raw(url, f"/{API}/{unused}")[0] == 404, unused
    assert {raw(url, path)[0] for path in ("/monitoring", "/monitoring/summary")} == {403}
    info = raw(url, f"/{API}/info")[1]
    assert b"/edit" in info and str(Path(app.__file__).parent).encode() not in info


@pytest.mark.parametrize(("route", "size"), [("upload", 30), ("component_server/", 30),
                                             ("queue/join", 2)])  # fmt: skip
def test_what_is_over_the_limit_is_refused_however_it_is_sent(url, client, uploads, route, size):
    def unannounced():
        yield b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\n'
        for _ in range(size):
            yield bytes(MB)

    kind = "multipart/form-data; boundary=x" if route == "upload" else "application/json"
    with pytest.raises(Refused, match="too large|exceeded") as caught:
        client.post(route, content=unannounced(), headers={"Content-Type": kind})
    assert caught.value.status == 413
    with opened(url, f"POST /{API}/{route}", f"Content-Length: {size * MB}\r\n\r\n") as sock:
        assert b" 413 " in sock.recv(100).splitlines()[0]
    assert [*uploads.rglob("a.png")] == []


@pytest.mark.slow
def test_visitors_who_stall_hold_nobody(url, client):
    """Many of them: who never end what they send, and who never read what they asked for."""
    begun = "Content-Type: multipart/form-data; boundary=x\r\nContent-Length: 9999\r\n\r\n--x"
    slow = [
        opened(url, *half)
        for place in range(15)
        for half in ((f"POST /{API}/upload", begun), (f"POST /{API}/upload",),
                     (f"GET /{API}/heartbeat/x{place}", "\r\n"))
    ]  # fmt: skip
    took = []
    for place in range(9):
        start = time.monotonic()
        client.ask("face-explorer", "face", {"x": place / 9, "y": 0, "latents": None})
        took.append(time.monotonic() - start)
    for sock in slow:
        sock.close()
    assert sorted(took)[4] < 2  # seconds; 15 ms on a quiet machine


def test_who_stops_sending_is_let_go():
    async def never():
        await asyncio.sleep(60)

    async def reads(scope, receive, send):
        await receive()

    sent = []

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/gradio_api/upload", "headers": []}
    awaited(limits.Limits(reads, receive_seconds=0.05)(scope, never, send))
    assert sent[0]["status"] == 408 and b"send it again" in sent[1]["body"]


def test_an_error_of_a_request_is_a_sentence_and_one_line_in_the_log(capfd):
    async def fails(scope, receive, send):
        raise RuntimeError("/home/jane/passport.png")

    async def ask():
        transport = httpx.ASGITransport(app=limits.Limits(fails))
        async with httpx.AsyncClient(transport=transport, base_url="http://x") as http:
            return await http.post("/gradio_api/x")

    answer = awaited(ask())
    assert answer.status_code == 400 and answer.json()["detail"] == MALFORMED
    log = capfd.readouterr().err
    assert "RuntimeError in test_limits.py" in log and "jane" not in log
