"""What a visitor who means harm, or is slow, gets from the app: a sentence, and nobody else's."""

import asyncio
import socket
import time
from pathlib import Path

import httpx
import numpy as np
import pytest
import torch
from fastapi import HTTPException
from gradio.utils import get_upload_folder

import app
import facevae
from facevae.page import desk, guard, lanes
from tests.bad_requests import CASES, clear
from tests.page_client import API, PageClient, Refused, layout_of, levels

HOPPER, COLLINS = desk.PORTRAITS.values()


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", str(tmp_path_factory.mktemp("gradio")))
        page = app.build(facevae.Studio.load(desk.ASSETS / "studio"))
        _, url, _ = app.launch(page, prevent_thread_lock=True, quiet=True)
        yield url
        page.close(verbose=False)
    torch.set_num_threads(threads)


def visit(url: str, act, opened: bool = True):
    """What a coroutine of a new visitor gives back."""

    async def stay():
        async with httpx.AsyncClient(base_url=url, timeout=30) as http:
            page = PageClient(http, await layout_of(http))
            if opened:
                await page.open()
            return await act(page)

    return asyncio.run(stay())


def test_whatever_is_sent_is_answered_by_a_sentence_and_leaves_no_traceback(url, capfd):
    async def all_of_them(page):
        return {name: await case(page) for name, case in CASES.items()}

    said = visit(url, all_of_them)
    assert len(said) > 40
    assert {name: told for name, told in said.items() if not clear(told)} == {}
    log = "".join(capfd.readouterr())
    assert "Traceback" not in log and "photo.png" not in log


OUTSIDE = [
    "/etc/passwd",
    "../../../../../../etc/passwd",
    "%2e%2e/%2e%2e/%2e%2e/%2e%2e/%2e%2e/etc/passwd",
    "..%2f..%2f..%2f..%2f..%2fetc%2fpasswd",
    "%2fetc%2fpasswd",
    "%252fetc%252fpasswd",
    "//etc/passwd",
    "file:///etc/passwd",
    "/proc/self/environ",
    f"{app.__file__}",
    f"{desk.ASSETS / 'studio' / 'config.json'}",
    f"{desk.ASSETS / 'app' / '..' / 'studio' / 'config.json'}",
    f"{desk.ASSETS}/app/%2e%2e/studio/config.json",
    f"{desk.ASSETS / 'app'}",
    "README.md",
    "http://127.0.0.1:9/",
    "CACHE/../../../../../../etc/passwd",
    "CACHE",
    "CACHE/%00",
]


SECRETS = (b"root:", b"PATH=", b"image_shape", b"import gradio", b"sdk: gradio")


def raw(url: str, target: str) -> tuple[int, bytes]:
    """An answer's status and body to a path as it is written: clients would tidy it."""
    host, port = url.removeprefix("http://").strip("/").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as sock:
        sock.sendall(f"GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        answer = b"".join(iter(lambda: sock.recv(65536), b""))
    return int(answer.split()[1]), answer.partition(b"\r\n\r\n")[2]


@pytest.mark.parametrize("route", ["file=", "file/", "proxy=", "../static/", "../assets/", "../"])
def test_no_file_outside_the_cache_is_served(url, route):
    for path in OUTSIDE:
        status, body = raw(url, f"/{API}/{route}{path.replace('CACHE', get_upload_folder())}")
        assert 400 <= status < 500, path
        assert not [secret for secret in SECRETS if secret in body], path


def test_what_is_served_is_what_the_page_shows_and_what_one_has_uploaded(url):
    assert raw(url, f"/{API}/file={COLLINS}") == (200, COLLINS.read_bytes())

    async def upload(page):
        return (await page.send(COLLINS.read_bytes()))["path"]

    path = visit(url, upload, opened=False)
    assert raw(url, f"/{API}/file={path}") == (200, COLLINS.read_bytes())
    name = Path(path).parent.name
    assert len(name) == 64 and int(name, 16)  # a digest of the photo: who knows it, has it
    folder = Path(path).parents[1]
    for guess in (folder, folder / name, folder / name[:-1], folder / "*" / "photo.png"):
        assert raw(url, f"/{API}/file={guess}")[0] == 403


@pytest.mark.parametrize("marked", [{}, {"meta": {"_type": "gradio.FileData"}}])
def test_a_photo_of_this_computer_is_no_upload(url, marked, tmp_path):
    """As a path of the server, a way round it, or an address that it would fetch from."""
    own = tmp_path / "private.jpg"
    own.write_bytes(COLLINS.read_bytes())
    round_about = f"{get_upload_folder()}/../{own}"

    async def ask(page):
        said = []
        for path in (str(own), round_about, str(COLLINS), "http://127.0.0.1:9/a.jpg"):
            for event, rest in ((page.layout.uploads["edited"], [None]),
                                (page.layout.named["age"], [70, 1, False])):  # fmt: skip
                with pytest.raises(Refused) as caught:
                    await page.event(event, [{"path": path} | marked, *rest])
                said.append(caught.value.said)
        return said

    assert all("Traceback" not in said for said in visit(url, ask))


def test_a_session_gives_nothing_of_another(url):
    async def two(page):
        await page.add("edited", HOPPER.read_bytes())
        other = PageClient(page.http, page.layout)
        wish = {"wanted": {}, "locked": [], "detail": 1}
        mine = await page.live("face-editor", "redraw", wish)
        theirs = await other.live("face-editor", "redraw", wish)
        await other.open()
        opened = await other.live("face-editor", "redraw", wish)
        linked = await page.http.get(f"/{API}/deep_link", params={"session_hash": page.session})
        return mine, theirs, opened, linked

    mine, theirs, opened, linked = visit(url, two)
    assert theirs == {"error": desk.RESTED} and linked.status_code == 404
    assert apart(mine, HOPPER) < 3 < 20 < apart(opened, HOPPER)  # levels: JPEGs of one crop
    assert apart(opened, COLLINS) < 3  # whom the tab opens with


def apart(told: dict, photo: Path) -> float:
    """Mean difference in levels of a control's picture from the face of a photo."""
    face = facevae.Studio.load(desk.ASSETS / "studio").read(photo)
    return np.abs(levels(told["picture"]) - levels(face.crop_at(desk.SIDE))).mean()


def test_the_cache_keeps_an_upload_for_a_minute_and_runs_are_not_recorded(url):
    assert app.SWEEP == (60, 60)
    for unused in ("runs", "run-history/records", "process_recording", "vibe-code"):
        assert raw(url, f"/{API}/{unused}")[0] == 404, unused
    assert {raw(url, path)[0] for path in ("/monitoring", "/monitoring/summary")} == {403}
    told = raw(url, f"/{API}/info")[1]
    assert b"/edit" in told and str(Path(app.__file__).parent).encode() not in told


def test_a_photo_over_the_limit_is_refused_however_it_is_sent(url):
    start = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\n'

    async def unannounced():
        yield start
        for _ in range(25):
            yield bytes(1_000_000)

    async def send(page):
        return await page.http.post(
            f"/{API}/upload",
            content=unannounced(),
            headers={"Content-Type": "multipart/form-data; boundary=x"},
        )

    answer = visit(url, send, opened=False)
    assert answer.status_code == 413 and "too large" in answer.json()["detail"]
    assert [*Path(get_upload_folder()).rglob("a.png")] == []


BEGUN = b"Content-Type: multipart/form-data; boundary=x\r\nContent-Length: 9999\r\n\r\n--x"


def stalled(url: str, request: str) -> socket.socket:
    host, port = url.removeprefix("http://").strip("/").split(":")
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
    sock.connect((host, int(port)))
    sock.sendall(f"{request} HTTP/1.1\r\nHost: x\r\n".encode())
    return sock


def test_visitors_who_stall_hold_nobody(url):
    """Many of them: who never end what they send, and who never read what they asked for."""
    slow = []
    for place in range(15):
        slow += [stalled(url, f"POST /{API}/upload"), stalled(url, "GET /")]  # half a head
        slow += [
            stalled(url, f"POST /{API}/upload"),
            stalled(url, f"GET /{API}/heartbeat/x{place}"),
        ]
        slow[-3].sendall(b"\r\n")
        slow[-2].sendall(BEGUN)
        slow[-1].sendall(b"\r\n")

    async def steps(page):
        took = []
        for place in range(20):
            start = time.monotonic()
            spot = {"x": place / 20, "y": 0, "latents": None}
            await page.live("face-explorer", "face", spot)
            took.append(time.monotonic() - start)
        added, _ = await page.add("edited", HOPPER.read_bytes())
        return took, added

    took, added = visit(url, steps)
    for sock in slow:
        sock.close()
    assert sorted(took)[10] < 0.3  # seconds; 15 ms on a quiet machine
    assert "<figure>" in added[1]


def test_who_stops_sending_is_let_go(url, monkeypatch):
    monkeypatch.setattr(guard, "PATIENCE", 0.2)
    with stalled(url, f"POST /{API}/upload") as sock:
        sock.sendall(BEGUN)
        sock.settimeout(10)
        assert b" 408 " in sock.recv(100).splitlines()[0]


def test_a_lane_does_one_thing_at_a_time_in_turn_and_may_ask_itself():
    lane, under_way, order = lanes.Lane(), [], []

    def work(turn: int) -> int:
        under_way.append(turn)
        assert len(under_way) == 1
        time.sleep(0.01)
        order.append(under_way.pop())
        return lane.do(lambda: turn + 1)  # from within: nobody waits for himself

    async def all_of_them():
        return await asyncio.gather(*(lane.soon(work, turn) for turn in range(5)))

    assert asyncio.run(all_of_them()) == [1, 2, 3, 4, 5] and order == [0, 1, 2, 3, 4]
    assert lane.of(work)(7) == 8 and lane.do(work, 8) == 9


def test_what_is_odd_is_answered_and_noted_without_its_words(capfd):
    with pytest.raises(HTTPException) as caught, lanes.understood():
        raise ValueError("/home/jane/passport.png is no picture")
    assert caught.value.status_code == 422 and caught.value.detail == lanes.ODD
    log = capfd.readouterr().err
    assert "ValueError in test_app_guard.py" in log and "jane" not in log
