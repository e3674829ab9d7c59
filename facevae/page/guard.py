"""What stands before Gradio: limits of a request, and an answer where Gradio would have none."""

from __future__ import annotations

import asyncio
from typing import Any

import gradio as gr
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from facevae.page.lanes import ODD, note

API = "/gradio_api/"
MOST_UPLOAD, MOST_ELSE = 21_000_000, 1_000_000  # bytes of a request's body
PHOTOS = (API + "upload", API + "mcp")  # an agent's photo is inside its question
PATIENCE = 30  # seconds for the next part of a body
UNUSED = tuple(
    API + name
    for name in (
        "process_recording",
        "vibe",
        "undo-vibe",
        "deep_link",
        "proxy=",
        "stream/",
        "runs",
        "run-history",
        "custom_component",
        "file=http",
        "reset",
    )
)  # fmt: skip  of Gradio's routes: they run programs, write files or fetch from elsewhere


class Blocks(gr.Blocks):
    """Gradio's, but a call with too few arguments is told so, and not shown in the log."""

    def validate_inputs(self, block_fn: Any, inputs: list) -> None:
        try:
            super().validate_inputs(block_fn, inputs)
        except ValueError:
            wanted = f"{len(block_fn.inputs)} arguments are needed, not {len(inputs)}"
            raise gr.Error(wanted, print_exception=False) from None


class Refusal(Exception):
    """An HTTP status and a sentence."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.answer = JSONResponse({"detail": sentence}, status)


def most_bytes(path: str) -> int:
    return MOST_UPLOAD if path.startswith(PHOTOS) else MOST_ELSE


def checked(scope: Scope) -> None:
    if scope["path"].startswith(UNUSED):
        raise Refusal(404, "The page does not use this part of Gradio.")
    length = dict(scope["headers"]).get(b"content-length", b"0")
    limited(int(length) if length.isdigit() else 0, scope["path"])


def limited(held: int, path: str) -> None:
    most = most_bytes(path)
    if held > most:
        raise Refusal(413, f"This is too large: send less than {most // 1_000_000} MB.")


class Guard:
    """An ASGI middleware."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        held, ended, started = 0, False, False

        async def receive_some() -> Message:
            nonlocal held, ended
            if ended:  # then only the end of the connection is waited for
                return await receive()
            try:
                message = await asyncio.wait_for(receive(), PATIENCE)
            except TimeoutError:
                raise Refusal(408, f"Nothing came for {PATIENCE} s: send it again.") from None
            held += len(message.get("body", b""))
            ended = not message.get("more_body", False)
            limited(held, scope["path"])
            return message

        async def send_some(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            checked(scope)
            await self.app(scope, receive_some, send_some)
        except ClientDisconnect:
            return
        except Exception as error:
            if not (started or isinstance(error, Refusal) or scope["method"] == "POST"):
                raise
            if not isinstance(error, Refusal):
                note(error)
            if started:  # a stream that broke off ends
                await send({"type": "http.response.body", "body": b"", "more_body": False})
                return
            refusal = error if isinstance(error, Refusal) else Refusal(400, ODD)
            await refusal.answer(scope, receive, send)
