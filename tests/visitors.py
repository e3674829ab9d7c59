"""Fifty visitors at once for five minutes: `taskset -c 0,1 python tests/visitors.py` (no test).

Each visitor opens the page, brings photos of its own (one of the portraits, or a face of nobody,
under a tint that no other has), moves sliders, now and then asks an endpoint, now and then sends
something bad. Answers are checked against what the studio gives here, so that another's face, or
an earlier one's, would be noticed. Server and visitors share the cores they are started on; the
visitors are one process, and take about a tenth of one core.

Between two steps a visitor thinks for 1 to 2 s: a slider that is dragged has one request under way
and skips what comes meanwhile, looking at the result takes longer than moving. Of the steps most
are of Edit, some of the pad and the map; the Age tab's own slider asks the server nothing, so
that only a rare correction of the age is a step there, and it is counted apart: it draws fifteen
pictures. A new photo comes every 30 to 60 s. Three visitors more are slow: one uploads a byte at a
time, one reads its answers a byte at a time, one opens streams and never reads them.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import os
import random
import socket
import subprocess
import sys
import tempfile
import time
import traceback
import urllib.request
from collections import Counter, defaultdict
from pathlib import Path

import httpx
import numpy as np
import torch
from PIL import Image, ImageOps

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import app  # noqa: E402
import facevae  # noqa: E402
from facevae.page import age, desk, explore  # noqa: E402
from tests import bad_requests  # noqa: E402
from tests.page_client import API, PageClient, Refused, layout_of, levels  # noqa: E402

THINKS = (1.0, 2.0)  # seconds between two steps
COMING = 40.0  # seconds, over which they open the page
NEW_PHOTO = (30.0, 60.0)  # seconds between two photos
STEPS = {"edit": 12, "pad": 6, "map": 6, "ages": 0.3, "endpoint": 0.3, "bad": 1}  # how often each
NEEDS = {"edit": "edited", "pad": "first", "ages": "aged", "endpoint": "edited"}
PLACES = ("edited", "first", "edited", "aged")  # of photos, one after the other
LIVE = ("edit", "pad", "map")  # the sliders, whose steps must be answered within LIMIT
LIMIT = 0.5  # seconds, for 95 % of them
FLAT = 1.1  # memory at the end against that after two thirds of the time: by then each visitor
# has a face in each place, 2 to 3 MB apiece, and new ones take the place of older ones
FEW = 10  # second photos, shared by some; the first is a visitor's own
SMILES = (-1.0, 0.5, 1.0)
FAR = 6  # levels on average: neighbours in tint are further apart, two codings of one JPEG less


def own_photo(place: int) -> Image.Image:
    """A portrait or a face of nobody, some mirrored, in a tint of the place's own."""
    if place % 2:
        photo = Image.open([*desk.PORTRAITS.values()][place // 2 % 2]).convert("RGB")
    else:
        drawn = STUDIO.sample(1, seed=place, temperature=0.6)[0].resize((360, 360))
        photo = ImageOps.expand(drawn, 80, (120, 110, 100))
    photo = ImageOps.mirror(photo) if place // 4 % 2 else photo
    scale = 1 - 0.5 * np.random.default_rng(place).random(3)  # of red, green and blue
    return Image.fromarray((np.asarray(photo) * scale).astype(np.uint8))


class Photo:
    """What a visitor uploads, and the right answers."""

    def __init__(self, photo: Image.Image) -> None:
        buffer = io.BytesIO()
        photo.save(buffer, "PNG")
        self.file = buffer.getvalue()
        face = DESK.read(photo)
        self.years, self.gender = round(face.years), face.gender
        self.crop = small(face.crop_at(desk.SIDE))
        wanted = [{"Smiling": strength} for strength in SMILES]
        self.smiles = [small(STUDIO.edit(face, wish, size=desk.SIDE)) for wish in wanted]
        self.aged = small(STUDIO.age(face, 70, size=desk.SIDE))


def small(picture: Image.Image | str) -> np.ndarray:
    """What two pictures are compared by: (20, 20, 3) levels."""
    grid = levels(picture)
    side = len(grid) // 20 * 20
    return grid[:side, :side].reshape(20, side // 20, 20, side // 20, 3).mean((1, 3))


class Tally:
    """Seconds by kind of question, and what was wrong."""

    def __init__(self) -> None:
        self.took, self.wrong, self.refused = defaultdict(list), [], Counter()

    def check(self, kind: str, right: bool, what: str) -> None:
        if not right:
            self.wrong.append((kind, what))


class Visitor:
    def __init__(self, http, layout, place: int, photos: list[Photo], tally: Tally) -> None:
        self.page = PageClient(http, layout)
        self.place, self.photos, self.tally = place, photos, tally
        self.dice = random.Random(place)
        self.brought = 0  # photos
        self.own = {}  # by place of the page, the photo whose face is there

    async def stay(self, comes: float, ends: float) -> None:
        await asyncio.sleep(comes)
        beat = asyncio.create_task(self.page.stay())
        await self.timed("page", self.page.open())
        changes = 0.0
        while time.monotonic() < ends:
            if time.monotonic() >= changes:
                await self.timed("photo", self.bring())
                changes = time.monotonic() + self.dice.uniform(*NEW_PHOTO)
            can = {k: often for k, often in STEPS.items() if NEEDS.get(k, "") in ("", *self.own)}
            [kind] = self.dice.choices([*can], [*can.values()])
            await self.timed(kind, getattr(self, kind)())
            await asyncio.sleep(self.dice.uniform(*THINKS))
        beat.cancel()

    async def timed(self, kind: str, step) -> None:
        start = time.monotonic()
        try:
            await step
            self.tally.took[kind].append(time.monotonic() - start)
        except Exception:
            self.tally.wrong.append((kind, f"{self.place}: {traceback.format_exc(limit=-2)}"))

    def close(self, kind: str, picture: object, right: np.ndarray) -> None:
        apart = np.abs(small(picture) - right).mean()
        self.tally.check(kind, apart < FAR, f"visitor {self.place} is {apart:.0f} levels off")

    async def bring(self) -> None:
        """A new photo into one of the tabs, in turn, where an older one may be."""
        area = PLACES[self.brought % len(PLACES)]
        photo = self.photos[self.brought % len(self.photos)]
        self.brought += 1
        shown, _ = await self.page.add(area, photo.file)
        self.own[area] = photo
        self.close("photo", shown[1].partition('src="')[2].partition('"')[0], photo.crop)
        if area == "aged":
            await self.timed("ages", self.ages())

    async def edit(self) -> None:
        turn = self.dice.randrange(len(SMILES))
        wish = {"wanted": {"Smiling": SMILES[turn]}, "locked": [], "detail": 1}
        told = await self.page.live("face-editor", "redraw", wish)
        self.close("edit", told["picture"], self.own["edited"].smiles[turn])

    async def pad(self) -> None:
        """In the corner of the own face."""
        told = await self.page.live("morph-pad", "blend", {"weights": [1, 0, 0, 0], "detail": 1})
        self.close("pad", told["picture"], self.own["first"].crop)

    async def map(self) -> None:
        turn = self.dice.randrange(len(SPOTS))
        told = await self.page.live("face-explorer", "face", SPOTS[turn][0])
        self.close("map", told, SPOTS[turn][1])

    async def ages(self) -> None:
        own = self.own["aged"]
        wish = {"own": own.years, "gender": own.gender, "detail": 1}
        told = await self.page.live("face-ages", "strip", wish)
        self.close("ages", told["frames"][age.ages(STUDIO).index(70)], own.aged)

    async def endpoint(self) -> None:
        own = self.own["edited"]
        picture = await self.page.call("age", await self.page.send(own.file), 70, 1, False)
        self.close("endpoint", picture, own.aged)

    async def bad(self) -> None:
        name = self.dice.choice([*bad_requests.CASES])
        told = await bad_requests.CASES[name](self.page)
        self.tally.refused[name] += 1
        self.tally.check("bad", bad_requests.clear(told), f"{name}: {told}")


async def byte_by_byte(http: httpx.AsyncClient) -> None:
    """An upload that takes forever."""

    async def body():
        yield b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\n'
        while True:
            yield b"x"
            await asyncio.sleep(0.2)

    kind = {"Content-Type": "multipart/form-data; boundary=x"}
    while True:
        await slowly(http.post(f"/{API}/upload", content=body(), headers=kind, timeout=None))


async def slowly(asked) -> None:
    try:
        await asked
    except (httpx.HTTPError, Refused, OSError):  # the server may have had enough of it
        await asyncio.sleep(1)


async def reads_slowly(port: int, session: str) -> None:
    """Asks for the page again and again, through a window of a few bytes, and reads none of it."""
    route = "/" if session == "" else f"/{API}/heartbeat/{session}"
    while True:
        held = []
        for _ in range(5):
            sock = socket.socket()
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
            sock.setblocking(False)
            await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
            sock.send(f"GET {route} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            held.append(sock)
        await asyncio.sleep(20)
        for sock in held:
            sock.close()


def resident(pid: int) -> float:
    """MB that a process holds in memory."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


def serve(log, port: int, folder: str) -> subprocess.Popen:
    command = [sys.executable, str(ROOT / "app.py"), "--port", str(port)]
    env = {k: v for k, v in os.environ.items() if k != "OMP_NUM_THREADS"} | {"TMPDIR": folder}
    server = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=env)
    for _ in range(900):
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}", timeout=5).read()
            return server
        except OSError:
            time.sleep(0.1)
    raise SystemExit("the app never came up")


def busy(pid: int | str = "self") -> tuple[float, float]:
    """Seconds of the cores that a process has had, and seconds that its threads waited for one."""
    tasks = [task / "schedstat" for task in Path(f"/proc/{pid}/task").iterdir()]
    times = [[int(part) for part in task.read_text().split()[:2]] for task in tasks]
    return sum(own for own, _ in times) / 1e9, sum(waited for _, waited in times) / 1e9


async def crowd(asked, photos: list[list[Photo]], pid: int) -> tuple[Tally, list[float]]:
    tally, memory = Tally(), []
    begins, before = time.monotonic(), (busy(pid), busy())
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=200)
    url = f"http://127.0.0.1:{asked.port}"
    async with httpx.AsyncClient(base_url=url, limits=limits, timeout=60) as http:
        layout = await layout_of(http)
        slow = [byte_by_byte(http), reads_slowly(asked.port, ""), reads_slowly(asked.port, "slow")]
        slow = [asyncio.create_task(one) for one in slow]
        ends = time.monotonic() + asked.seconds
        visitors = [Visitor(http, layout, i, own, tally) for i, own in enumerate(photos)]
        stays = asyncio.gather(
            *(visitor.stay(i / len(visitors) * COMING, ends) for i, visitor in enumerate(visitors))
        )
        while not stays.done():
            memory.append(resident(pid))
            await asyncio.wait([stays], timeout=asked.seconds / 10)
        await stays
        for one in slow:
            one.cancel()
        await asyncio.gather(*slow, return_exceptions=True)
    for name, own, was in zip(("app", "visitors"), (busy(pid), busy()), before, strict=True):
        had, waited = (now - then for now, then in zip(own, was, strict=True))
        print(f"the {name} had {had:.0f} s of a core and waited {waited:.0f} s for one")
    print(f"in {time.monotonic() - begins:.0f} s")
    return tally, [*memory, resident(pid)]


def report(tally: Tally, memory: list[float]) -> bool:
    """Prints the table; whether all is well."""
    wrong = Counter(kind for kind, _ in tally.wrong)
    print("| kind | answers | wrong | p50 ms | p95 ms | most ms |\n|---|---|---|---|---|---|")
    tally.took["all live steps"] = [took for kind in LIVE for took in tally.took[kind]]
    for kind in sorted({*tally.took, *wrong}):
        took = tally.took[kind]
        cuts = 1000 * np.quantile(took or [np.nan], [0.5, 0.95, 1])
        row = f"{cuts[0]:.0f} | {cuts[1]:.0f} | {cuts[2]:.0f} |"
        print(f"| {kind} | {len(took)} | {wrong[kind]} | {row}")
    print("memory, MB, each tenth of the time:", " ".join(f"{held:.0f}" for held in memory))
    print("bad requests:", sum(tally.refused.values()), "of", len(tally.refused), "kinds")
    for kind, what in tally.wrong[:8]:
        print(f"WRONG {kind}: {what}")
    flat = memory[-1] < FLAT * memory[2 * len(memory) // 3]
    late = np.quantile(tally.took["all live steps"], 0.95)
    return not tally.wrong and flat and late < LIMIT


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--visitors", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--port", type=int, default=7877)
    asked = parser.parse_args()
    print(f"{len(os.sched_getaffinity(0))} cores, load {os.getloadavg()[0]:.1f}")
    own = [Photo(own_photo(i)) for i in range(asked.visitors + FEW)]
    photos = [[own[i], own[asked.visitors + i % FEW]] for i in range(asked.visitors)]
    with tempfile.TemporaryDirectory() as name, open(Path(name, "log"), "w+") as log:
        server = serve(log, asked.port, name)
        try:
            tally, memory = asyncio.run(crowd(asked, photos, server.pid))
        finally:
            server.terminate()
            server.wait(20)
        log.seek(0)
        told = [line for line in log if "photo.png" in line or "Traceback" in line]
    well = report(tally, memory) and not told
    print(f"{len(told)} lines of the log with tracebacks or photos' names", *told[:5])
    return not well


if __name__ == "__main__":
    torch.set_num_threads(1)
    STUDIO = facevae.Studio.load()
    DESK = desk.Desk(STUDIO, app.MAX_SIDE)
    corners = [(-0.8, -0.8), (-0.8, 0.8), (0.8, -0.8), (0.8, 0.8)]
    seen = explore.Explorer(DESK)
    SPOTS = [{"x": x, "y": y, "latents": None} for x, y in corners]
    SPOTS = [(spot, small(seen.picture(spot))) for spot in SPOTS]
    sys.exit(main())
