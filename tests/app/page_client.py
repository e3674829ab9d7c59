"""A visitor of the page without a browser: what its scripts send, sent over plain HTTP.

Live elements post to /component_server and get their answer at once; a program's call goes through
/queue/join, and its answer comes on the stream of /queue/data.
"""

import asyncio
import json
import secrets
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx

API = "gradio_api"


class Refused(Exception):
    """The server's answer is an error: its HTTP status, and what it says."""

    def __init__(self, status: int, said: str) -> None:
        super().__init__(f"{status}: {said[:200]}")
        self.status, self.said = status, said
        self.clear = status < 500 and 0 < len(said) < 500 and "Traceback" not in said


class PageClient:
    """One visitor, with a session of its own."""

    def __init__(self, url: str) -> None:
        self.http = httpx.Client(base_url=url, timeout=60)
        self.session = secrets.token_hex(6)
        config = self.http.get("/config").json()
        templates = {c["id"]: str(c["props"].get("html_template")) for c in config["components"]}
        self.live = {
            text.strip().strip("<").split(">")[0]: number
            for number, text in templates.items()
            if "<section" in text
        }
        named = [d for d in config["dependencies"] if d["api_visibility"] == "public"]
        self.named = {event["api_name"]: event["id"] for event in named}

    def post(self, route: str, **how: Any) -> httpx.Response:
        answer = self.http.post(f"/{API}/{route}", **how)
        if answer.status_code >= 400:
            raise Refused(answer.status_code, answer.text)
        return answer

    def ask(self, tag: str, function: str, request: object) -> Any:
        """What a live element's function answers; Refused where it is an error."""
        body = {"data": request, "component_id": self.live[tag], "fn_name": function}
        answer = self.post("component_server/", json=body | {"session_hash": self.session}).json()
        if isinstance(answer, dict) and answer.get("error"):
            raise Refused(200, answer["error"])
        return answer

    def call(self, name: str, *args: object) -> list:
        """What an endpoint answers."""
        body = {"data": [*args], "fn_index": self.named[name], "session_hash": self.session}
        self.post("queue/join", json=body)
        with self.http.stream("GET", f"/{API}/queue/data", params=body) as stream:
            for line in stream.iter_lines():
                message = json.loads(line[6:]) if line.startswith("data: ") else {}
                if message.get("msg") == "process_completed":
                    if not message["success"]:
                        raise Refused(200, str(message["output"].get("error")))
                    return message["output"]["data"]
        raise Refused(500, "the stream ended without an answer")


def awaited(coroutine: Coroutine) -> Any:
    """A coroutine's result; in a thread of its own, since Playwright's loop runs in this one."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, coroutine).result()
