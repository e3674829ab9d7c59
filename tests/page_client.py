"""A visitor of the page without a browser: what its scripts send, sent over plain HTTP.

As Gradio's own client does: events of the page go through /queue/join and their answers come on
the stream of /queue/data; live controls post to /component_server and get their answer at once.
"""

from __future__ import annotations

import asyncio
import base64
import io
import json
import secrets

import httpx
import numpy as np
from PIL import Image

API = "gradio_api"
AREAS = ("first", "second", "third", "fourth", "edited", "aged")  # the order of the photo inputs


class Refused(Exception):
    """The server's answer is an error: its HTTP status, and what it says."""

    def __init__(self, status: int, said: str) -> None:
        super().__init__(f"{status}: {said[:200]}")
        self.status, self.said = status, said


class Layout:
    """Numbers that Gradio gave to the page's components and events, from its /config."""

    def __init__(self, config: dict) -> None:
        self.events = {event["id"]: event for event in config["dependencies"]}
        self.components = {part["id"]: part for part in config["components"]}
        pages = [(own, part["props"].get("html_template")) for own, part in self.components.items()]
        self.live = {html.strip("<>").split(">")[0]: own for own, html in pages if html}
        asks = [event for event in config["dependencies"] if event["backend_fn"]]
        self.opening = [e["id"] for e in asks if any(on == "load" for _, on in e["targets"])]
        uploads = [e["id"] for e in asks if any(on == "upload" for _, on in e["targets"])]
        self.uploads = dict(zip(AREAS, uploads, strict=True))
        self.named = {e["api_name"]: e["id"] for e in asks if e["api_visibility"] == "public"}

    def followers(self, event: int) -> list[int]:
        """The events that the page asks for after one, in order."""
        after = [own for own, e in self.events.items() if e["trigger_after"] == event]
        return [own for own in after if self.events[own]["backend_fn"]]

    def inputs(self, event: int) -> list:
        """An event's inputs as the page sends them untouched: the server knows its states."""
        parts = [self.components[own] for own in self.events[event]["inputs"]]
        return [None if p["type"] == "state" else p["props"].get("value") for p in parts]


class PageClient:
    """One visitor, with a session of its own."""

    def __init__(self, http: httpx.AsyncClient, layout: Layout) -> None:
        self.http, self.layout = http, layout
        self.session = secrets.token_hex(6)

    async def post(self, route: str, **how) -> httpx.Response:
        answer = await self.http.post(f"/{API}/{route}", **how)
        if answer.status_code >= 400:
            raise Refused(answer.status_code, answer.text)
        return answer

    async def live(self, tag: str, function: str, wish: object) -> object:
        """What a live control's function answers."""
        asked = {"data": wish, "component_id": self.layout.live[tag], "fn_name": function}
        answer = await self.post("component_server/", json=asked | {"session_hash": self.session})
        return answer.json()

    async def events(self, wanted: dict[int, list]) -> dict[int, list]:
        """Events with their data, all asked at once; what each gives back."""
        asked = {}
        for event, data in wanted.items():
            body = {"data": data, "fn_index": event, "session_hash": self.session}
            answer = await self.post("queue/join", json=body)
            asked[answer.json()["event_id"]] = event
        done, where = {}, f"/{API}/queue/data"
        params = {"session_hash": self.session}
        async with self.http.stream("GET", where, params=params, timeout=120) as stream:
            async for line in stream.aiter_lines():
                told = json.loads(line[6:]) if line.startswith("data: ") else {}
                if told.get("msg") == "process_completed":
                    done[asked[told["event_id"]]] = self._data(told)
                if len(done) == len(asked):
                    break
        return done

    @staticmethod
    def _data(told: dict) -> list:
        if not told["success"]:
            raise Refused(200, str(told["output"].get("error")))
        return told["output"]["data"]

    async def event(self, event: int, data: list) -> list:
        return (await self.events({event: data}))[event]

    async def send(self, photo: bytes, name: str = "photo.png") -> dict:
        """Uploads a file; how the page then speaks of it."""
        answer = await self.post("upload", files={"files": (name, photo, "image/png")})
        [path] = answer.json()
        return {"path": path, "orig_name": name, "meta": {"_type": "gradio.FileData"}}

    async def add(self, area: str, photo: bytes) -> tuple[list, dict[int, list]]:
        """Puts a photo into a face's place: what the event and those after it give back."""
        event = self.layout.uploads[area]
        shown = await self.event(event, [await self.send(photo), None])
        after = {}
        for follower in self.layout.followers(event):
            after[follower] = await self.event(follower, self.layout.inputs(follower))
        return shown, after

    async def call(self, name: str, *given: object) -> Image.Image:
        """An endpoint's picture."""
        answer = await self.event(self.layout.named[name], [*given])
        file = await self.http.get(f"/{API}/file={answer[0]['path']}")
        if file.status_code != 200:
            raise Refused(file.status_code, file.text)
        return Image.open(io.BytesIO(file.content))

    async def open(self) -> None:
        """Loads the page as a browser does."""
        (await self.http.get("/")).raise_for_status()
        await self.events({own: self.layout.inputs(own) for own in self.layout.opening})

    async def stay(self) -> None:
        """Keeps the session's heartbeat, as an open page does, until cancelled."""
        where = f"/{API}/heartbeat/{self.session}"
        async with self.http.stream("GET", where, timeout=None) as stream:
            async for _ in stream.aiter_bytes():
                await asyncio.sleep(0)


async def layout_of(http: httpx.AsyncClient) -> Layout:
    return Layout((await http.get("/config")).json())


def levels(picture: Image.Image | str) -> np.ndarray:
    """A picture or a data URI, (H, W, 3), float32 levels 0 … 255."""
    if isinstance(picture, str):
        picture = Image.open(io.BytesIO(base64.b64decode(picture.partition("base64,")[2])))
    return np.asarray(picture.convert("RGB"), np.float32)
