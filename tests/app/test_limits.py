"""What a visitor who means harm, or is slow, gets from the app: a sentence, and nobody else's."""

import asyncio
from http.client import HTTPConnection
from pathlib import Path

import pytest

import app
from facevae.ui import server, session
from tests.app import moves as m
from tests.app.page_client import API, PageClient, Refused, awaited
from tests.helpers import encoded

COLLINS = session.PORTRAITS["Eileen Collins"].read_bytes()
MB = 1_000_000


@pytest.fixture(scope="module")
def url(urls):
    return urls("plain")


@pytest.fixture
def client(url):
    return PageClient(url)


def refused(ask, *given, match=".") -> Refused:
    """What is answered to a request that must be refused: a sentence."""
    with pytest.raises(Refused, match=match) as caught:
        ask(*given)
    assert caught.value.clear, caught.value.said
    return caught.value


EDIT = {"face": "Grace Hopper", "strengths": {}, "locked": [], "detail": 1, "method": "mean"}
AGED = {"face": "Grace Hopper", "own": 30, "detail": 1, "method": "vector"}
FILM = AGED | {"kind": "GIF", "seconds": 1, "height": 160, "job": "1"}
PAIR = {"faces": ["Grace Hopper", "Eileen Collins"]}
ASKED = {  # tag and function → requests that are no photo, out of bounds, half of one, foreign …
    "face-editor add": [
        {"photo": session.data_uri(encoded(m.WHITE, "PNG"))}, {"photo": ""},
        {"photo": session.data_uri(b"\x89PNG\r\n\x1a\n no")}, {"photo": "base64,%%%"},
        {"origin": {"portrait": "../../etc/passwd"}}, {"origin": {"draw": 10**40}},
        {"origin": {"spot": {"index": 10**9}}},
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
        refused(client.ask, *asked.split(), request)
    log = "".join(capfd.readouterr())
    assert "Traceback" not in log and "photo" not in log


def test_so_are_foreign_requests_to_gradio(client, capfd):
    editor, own = client.live["face-editor"], {"session_hash": client.session}
    server, join = "component_server/", "queue/join"
    for route, how in (
        (join, {"json": own | {"data": 5, "fn_index": 1}}),
        (join, {"json": own | {"data": [], "fn_index": 9999}}),
        (join, {"json": {"data": [], "fn_index": 1}}), ("upload", {"content": b"hello"}),
        (server, {"json": own | {"data": 1, "component_id": 10**6, "fn_name": "redraw"}}),
        (server, {"json": own | {"data": 1, "component_id": "x", "fn_name": "redraw"}}),
        (server, {"json": own | {"data": 1, "component_id": editor, "fn_name": "postprocess"}}),
        (server, {"content": b"{"}), (server, {"content": b"[" * 100_000}),
    ):  # fmt: skip
        refused(lambda route=route, how=how: client.post(route, **how))
    refused(client.call, "age", {"path": "x"})
    refused(client.call, "edit", None, "strong", 1, False)
    assert "Traceback" not in "".join(capfd.readouterr())


def test_a_photo_of_this_computer_is_no_upload(client, tmp_path, uploads, capfd):
    """As a path of the server, a way round it, or an address that it would fetch from."""
    own = tmp_path / "private.jpg"
    own.write_bytes(COLLINS)
    for path in (str(own), f"{uploads}/../{own}", "http://127.0.0.1:9/a.jpg"):
        for photo in ({"path": path, "meta": {"_type": "gradio.FileData"}}, {"path": path}, path):
            refused(client.call, "age", photo, 70, 1, False, match="must be uploaded")
    log = "".join(capfd.readouterr())
    assert "private" not in log and "Traceback" not in log


OUTSIDE = (
    "/etc/passwd ../../../../../../etc/passwd %2e%2e/%2e%2e/%2e%2e/%2e%2e/%2e%2e/etc/passwd "
    "..%2f..%2f..%2f..%2f..%2fetc%2fpasswd %252fetc%252fpasswd file:///etc/passwd README.md "
    f"/proc/self/environ {app.__file__} {session.ASSETS / 'studio' / 'config.json'} "
    "http://127.0.0.1:9/ CACHE/../../../../../../etc/passwd CACHE CACHE/%00"
)
SECRETS = (b"root:", b"PATH=", b"image_shape", b"import gradio", b"sdk: gradio")


def raw(url: str, target: str, method: str = "GET", **headers: str) -> tuple[int, bytes]:
    """An answer's status and body to a path as it is written: other clients would tidy it."""
    connection = HTTPConnection(url.removeprefix("http://").strip("/"), timeout=30)
    connection.request(method, target, headers=headers)
    answer = connection.getresponse()
    return answer.status, answer.read()


@pytest.mark.parametrize("route", ["file=", "file/", "proxy=", "../static/", "../assets/", "../"])
def test_no_file_outside_the_cache_is_served(url, uploads, route):
    for path in OUTSIDE.replace("CACHE", str(uploads)).split():
        status, body = raw(url, f"/{API}/{route}{path}")
        assert 400 <= status < 500, path
        assert not [secret for secret in SECRETS if secret in body], path


def test_an_upload_is_served_to_who_knows_its_digest_for_a_minute(url, client):
    files = {"files": ("photo.png", COLLINS, "image/png")}
    path = Path(client.post("upload", files=files).json()[0])
    assert raw(url, f"/{API}/file={path}") == (200, COLLINS)
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
    with pytest.raises(Refused, match="too large") as caught:
        client.post(route, content=unannounced(), headers={"Content-Type": kind})
    assert caught.value.status == 413
    announced = {"Content-Length": str(size * MB)}  # and nothing of it sent
    assert raw(url, f"/{API}/{route}", "POST", **announced)[0] == 413
    assert [*uploads.rglob("a.png")] == []


@pytest.mark.parametrize(("seconds", "status", "words"), [(0, 400, server.WRONG),
                                                          (60, 408, "send it again")])  # fmt: skip
def test_who_stops_sending_is_let_go_and_a_bug_is_a_line_of_the_log(seconds, status, words, capfd):
    sent = []

    async def receive():
        await asyncio.sleep(seconds)
        return {"type": "http.request"}

    async def send(message):
        sent.append(message)

    async def fails(scope, receive, send):
        raise RuntimeError("/home/jane/passport.png")

    scope = {"type": "http", "method": "POST", "path": "/gradio_api/upload", "headers": []}
    awaited(server.Limits(fails, receive_seconds=0.05)(scope, receive, send))
    assert sent[0]["status"] == status and words in sent[1]["body"].decode()
    log = capfd.readouterr().err
    assert ("RuntimeError in test_limits.py" in log) == (not seconds) and "jane" not in log
