"""What the page and its endpoints must refuse in a sentence, for test_app_guard.py and visitors.py.

Each case is a coroutine of a `PageClient` that gives back what the server said: its HTTP status and
words.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from functools import partial

from PIL import Image

from tests.page_client import API, PageClient, Refused

Said = tuple[int, str]
WISH = {"wanted": {}, "locked": [], "detail": 1}
AGES = {"own": 30, "gender": 1, "detail": 1}
FILM = {"seconds": 2, "side": 320}
MB = 1_000_000


def clear(told: Said) -> bool:
    """Whether a refusal is one: no server error, no traceback, some words."""
    status, words = told
    return status < 500 and 0 < len(words) < 500 and "Traceback" not in words


async def caught(asked: Awaitable, sentence: Callable[[object], str]) -> Said:
    """What a refusal said; `sentence` finds the words in an answer that has them inside."""
    try:
        return 200, sentence(await asked)
    except Refused as refused:
        return refused.status, refused.said


async def upload(content: bytes, page: PageClient) -> Said:
    return await caught(page.add("edited", content), lambda added: added[0][2])


async def live(tag: str, function: str, wish: object, page: PageClient) -> Said:
    def sentence(told: object) -> str:
        return told.get("error", "") if isinstance(told, dict) else ""

    return await caught(page.live(tag, function, wish), sentence)


async def event(data: object, page: PageClient, name: str = "age", **other: object) -> Said:
    """Of a named endpoint, with whatever data."""
    return await caught(page.event(page.layout.named[name], data), lambda told: "")


async def posted(route: str, page: PageClient, **how: object) -> Said:
    return await caught(page.post(route, **how), lambda answer: "")


async def foreign(body: dict, page: PageClient, route: str = "component_server/") -> Said:
    return await posted(route, page, json={"session_hash": page.session} | body)


async def fetched(path: str, page: PageClient) -> Said:
    answer = await page.http.get(f"/{API}/{path}", follow_redirects=False)
    refused = answer.status_code >= 400 or '"session_not_found":true' in answer.text
    return answer.status_code, answer.text if refused else ""


async def huge(page: PageClient, route: str = "upload", size: int = 30 * MB) -> Said:
    """A body over the limit, announced and begun: whoever reads the rest of it is at fault."""

    async def body():
        for _ in range(size // MB):
            yield bytes(MB)

    kind = "multipart/form-data; boundary=x" if route == "upload" else "application/json"
    headers = {"Content-Length": str(size), "Content-Type": kind}
    answer = await page.http.post(f"/{API}/{route}", content=body(), headers=headers)
    return answer.status_code, answer.text


def of_json(text: str) -> dict:
    return {"content": text.encode(), "headers": {"Content-Type": "application/json"}}


def faceless() -> bytes:
    import io

    buffer = io.BytesIO()
    Image.linear_gradient("L").resize((200, 150)).save(buffer, "PNG")
    return buffer.getvalue()


editor = partial(partial, live, "face-editor")
CASES: dict[str, Callable[[PageClient], Awaitable[Said]]] = {
    "no face": partial(upload, faceless()),
    "a broken photo": partial(upload, b"\x89PNG\r\n\x1a\n no"),
    "an empty photo": partial(upload, b""),
    "an unknown attribute": editor("redraw", WISH | {"wanted": {"Smilling": 1}}),
    "strengths in words": editor("redraw", WISH | {"wanted": {"Smiling": "much"}}),
    "no strengths": editor("redraw", WISH | {"wanted": 5}),
    "no wish": editor("redraw", None),
    "half a wish": editor("redraw", {"wanted": {}}),
    "a nested strength": editor("redraw", WISH | {"wanted": {"Smiling": {"a": [1]}}}),
    "no detail": editor("redraw", WISH | {"detail": None}),
    "nothing to keep": editor("keep", WISH),
    "no age": partial(live, "face-ages", "strip", AGES | {"own": "old"}),
    "an age of nothing": partial(live, "face-ages", "keep", AGES),
    "a foreign format": partial(live, "face-ages", "animate", AGES | {"kind": "../../EXE"} | FILM),
    "a foreign length": partial(
        live, "face-ages", "animate", AGES | FILM | {"kind": "GIF", "seconds": 10**9}
    ),
    "weights of nothing": partial(live, "morph-pad", "blend", {"weights": [0, 0], "detail": 1}),
    "too many weights": partial(live, "morph-pad", "blend", {"weights": [1] * 9, "detail": 1}),
    "weights in words": partial(live, "morph-pad", "blend", {"weights": "all", "detail": 1}),
    "no spot": partial(live, "face-explorer", "face", {}),
    "a far spot": partial(live, "face-explorer", "face", {"other": 10**9}),
    "a foreign latent": partial(
        live, "face-explorer", "face", {"x": 0, "y": 0, "latents": [10**6, -5]}
    ),
    "a large seed": partial(
        live, "face-explorer", "gallery", {"seed": 10**40, "temperature": 1}
    ),
    "a foreign model": partial(
        live, "vae-machine", "decode", {"beta": "1/../../../../../etc", "z": [0] * 10}
    ),
    "too many latents": partial(live, "vae-machine", "decode", {"beta": 1, "z": [0] * 999}),
    "foreign factors": partial(live, "vae-machine", "look", {"beta": 1, "factors": {"age": []}}),
    "an age that is no number": partial(event, [None, float("1e9"), 1, False]),
    "no photo": partial(event, [None, 70, 1, False]),
    "a photo of the server": partial(event, [{"path": "/etc/passwd"}, 70, 1, False]),
    "missing arguments": partial(event, []),
    "too many arguments": partial(event, [None] * 30),
    "no list": lambda page: foreign({"data": 5, "fn_index": 1}, page, "queue/join"),
    "a foreign event": lambda page: foreign({"data": [], "fn_index": 9999}, page, "queue/join"),
    "a negative event": lambda page: foreign({"data": [], "fn_index": -1}, page, "queue/join"),
    "no session": lambda page: posted("queue/join", page, json={"data": [], "fn_index": 1}),
    "a foreign component": lambda page: foreign(
        {"data": 1, "component_id": 10**6, "fn_name": "redraw"}, page
    ),
    "a component in words": lambda page: foreign(
        {"data": 1, "component_id": [1], "fn_name": "redraw"}, page
    ),
    "a private function": lambda page: foreign(
        {"data": 1, "component_id": page.layout.live["face-editor"], "fn_name": "__init__"}, page
    ),
    "a function in words": lambda page: foreign(
        {"data": 1, "component_id": page.layout.live["face-editor"], "fn_name": [1]}, page
    ),
    "no JSON": lambda page: posted("component_server/", page, **of_json("{")),
    "no JSON object": lambda page: posted("component_server/", page, **of_json("[1]")),
    "deep JSON": lambda page: posted("component_server/", page, **of_json("[" * 20000)),
    "NaN": lambda page: posted(
        "component_server/",
        page,
        **of_json(json.dumps({
            "data": AGES | {"at": float("nan")}, "session_hash": page.session,
            "component_id": page.layout.live["face-ages"], "fn_name": "keep",
        })),
    ),  # fmt: skip
    "past the queue": lambda page: foreign({"data": [None, 70, 1, False]}, page, "run/age"),
    "past the queue, unnamed": lambda page: foreign(
        {"data": [None, None], "fn_index": page.layout.uploads["edited"]}, page, "run/predict"
    ),
    "no form": lambda page: posted("upload", page, content=b"hello"),
    "a broken form": lambda page: posted(
        "upload", page, content=b"--x\r\nnone", headers={"Content-Type": "multipart/form-data"}
    ),
    "a foreign stream": partial(fetched, "queue/data?session_hash=nobody"),
    "a file of the server": partial(fetched, "file=/etc/passwd"),
    "a file beside the cache": partial(fetched, "file=../../../../etc/passwd"),
    "the source": partial(fetched, "file=app.py"),
    "a page elsewhere": partial(fetched, "file=http://127.0.0.1:9/"),
    "a huge upload": huge,
    "a huge wish": partial(huge, route="component_server/", size=5 * MB),
}  # fmt: skip
