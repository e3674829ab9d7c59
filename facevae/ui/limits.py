"""Limits of a request, set before Gradio works on it, and answers where Gradio has none."""

from __future__ import annotations

import asyncio
import os
import tempfile
from pathlib import Path
from typing import Any

import gradio as gr
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from facevae.ui.worker import MALFORMED, note

API = "/gradio_api/"
MAX_PHOTO_BYTES = 20_000_000  # of a photo's file
MAX_UPLOAD_BYTES = 28_000_000  # of a request that may hold a photo, as base64
MAX_OTHER_BYTES = 1_000_000  # of any other request
WITH_PHOTO = (API + "upload", API + "mcp", API + "component_server")
RECEIVE_SECONDS = 30  # for the next part of a body
UNUSED = tuple(  # of Gradio 6.31's routes: they run programs, write files or fetch from elsewhere
    f"{API}{route}"
    for route in ("process_recording", "vibe", "undo-vibe", "deep_link", "proxy=", "stream/",
                  "runs", "run-history", "custom_component", "file=http", "reset")
)  # fmt: skip
NOT_UPLOADED = "a photo must be uploaded: gradio_client's handle_file does it with a file"


def refusal(reason: str) -> gr.Error:
    """A sentence for the caller alone: a log would keep the name of the photo that it may tell."""
    return gr.Error(reason, print_exception=False)


class Blocks(gr.Blocks):
    """gr.Blocks that refuses malformed calls in a sentence, before it opens or fetches a file.

    `validate_inputs` is public, not documented, and seen in Gradio 6.31.
    """

    def validate_inputs(self, block_fn: Any, inputs: list) -> None:
        if len(inputs) < len(block_fn.inputs):
            raise refusal(f"{len(block_fn.inputs)} arguments are needed, not {len(inputs)}")
        for component, value in zip(block_fn.inputs, inputs, strict=False):
            if isinstance(component, gr.Image) and value is not None:
                check_upload(value)
            elif isinstance(component, gr.JSON) and not isinstance(value, dict | list):
                raise refusal(f"{component.label} must be a dictionary, not {value!r}")


def check_upload(value: object) -> None:
    """Refuse what is no uploaded file: Gradio would open any of the server's, and fetch others."""
    path = value.get("path") if isinstance(value, dict) else None
    marked = isinstance(value, dict) and value.get("meta") == {"_type": "gradio.FileData"}
    usual = Path(tempfile.gettempdir(), "gradio")
    folder = Path(os.environ.get("GRADIO_TEMP_DIR") or usual).resolve()
    if not (marked and isinstance(path, str) and Path(path).resolve().is_relative_to(folder)):
        raise refusal(NOT_UPLOADED)


class Refusal(Exception):
    """An HTTP status and a sentence."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.answer = JSONResponse({"detail": sentence}, status)


def check_request(scope: Scope) -> None:
    """Refuse routes that the page does not use, and bodies that say they are too large."""
    if scope["path"].startswith(UNUSED):
        raise Refusal(404, "The page does not use this part of Gradio.")
    length = dict(scope["headers"]).get(b"content-length", b"0")
    check_size(int(length) if length.isdigit() else 0, scope["path"])


def check_size(received: int, path: str) -> None:
    most = MAX_UPLOAD_BYTES if path.startswith(WITH_PHOTO) else MAX_OTHER_BYTES
    if received > most:
        raise Refusal(413, f"This is too large: send less than {most // 1_000_000} MB.")


class Limits:
    """An ASGI middleware."""

    def __init__(self, app: ASGIApp, receive_seconds: float = RECEIVE_SECONDS) -> None:
        self.app, self.receive_seconds = app, receive_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        received, ended, started = 0, False, False
        refused: Refusal | None = None

        async def receive_some() -> Message:
            nonlocal received, ended, refused
            if ended:  # then only the end of the connection is waited for
                return await receive()
            try:
                message = await asyncio.wait_for(receive(), self.receive_seconds)
                received += len(message.get("body", b""))
                ended = not message.get("more_body", False)
                check_size(received, scope["path"])
            except TimeoutError:
                sentence = f"Nothing came for {self.receive_seconds:g} s: send it again."
                refused = Refusal(408, sentence)
            except Refusal as error:
                refused = error
            if refused:
                raise refused
            return message

        async def send_some(message: Message) -> None:
            nonlocal started
            if not refused:  # else Gradio answers that it could not read the rest
                started = True
                await send(message)

        try:
            check_request(scope)
            await self.app(scope, receive_some, send_some)
        except ClientDisconnect:
            return
        except Exception as error:
            if isinstance(error, Refusal):
                refused = error
            elif not (started or scope["method"] == "POST"):
                raise
            else:
                note(error)
                refused = Refusal(400, MALFORMED)
        if started and refused:  # a stream that broke off ends
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        elif refused:
            await refused.answer(scope, receive, send)
