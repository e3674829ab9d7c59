"""Between Gradio's server and the tabs: limits of a request, worker threads, errors in words."""

from __future__ import annotations

import asyncio
import functools
import os
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

import gradio as gr
from pydantic import TypeAdapter, ValidationError
from starlette.responses import JSONResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from facevae import CannotDo

Answer = TypeVar("Answer")
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
MAX_WORDS = 300  # characters
WRONG = "Something went wrong here: reload the page and try again."


def sentence(error: Exception) -> str:
    """The message for a visitor. A bug's log names the place alone: its text may name a photo."""
    if isinstance(error, CannotDo):
        return str(error)
    if isinstance(error, ValidationError):  # a program's, or what the page never sends
        fault = error.errors()[0]
        name = ".".join(map(str, fault["loc"]))
        return f"{name}: {fault['msg'].removeprefix('Value error, ')}"[:MAX_WORDS]
    at = traceback.extract_tb(error.__traceback__)[-1]
    place = f"{os.path.basename(at.filename)}, line {at.lineno}"
    print(f"app.py: a request failed: {type(error).__name__} in {place}", file=sys.stderr)
    return WRONG


def refusal(reason: str) -> gr.Error:
    """A sentence for a program alone: a log would keep the name of the photo that it may tell."""
    return gr.Error(reason, print_exception=False)


class Worker:
    """One thread; its tasks are done one by one, in the order in which they come.

    A network's thread keeps memory, and several side by side only slow each other. So each kind of
    work has one thread, and the slower kinds give way to live controls where the system allows it.
    """

    def __init__(self, niceness: int = 0) -> None:
        self.pool = ThreadPoolExecutor(1, initializer=self._begin, initargs=(niceness,))

    def _begin(self, niceness: int) -> None:
        if sys.platform == "linux":  # elsewhere niceness belongs to the whole process
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), niceness)

    def submit(self, function: Callable[..., Answer], *args: object) -> Future[Answer]:
        return self.pool.submit(function, *args)

    def of(self, function: Callable) -> Callable:
        """The same function, done here, for Gradio's events."""

        @functools.wraps(function)
        def done(*args: object) -> object:
            return self.submit(function, *args).result()

        return done

    def serves(self, function: Callable[..., object]) -> Callable:
        """A function of one request as a server function of a live element.

        The request is checked against the function's annotation; a failure is {"error": sentence}.
        """
        requests: TypeAdapter = TypeAdapter(
            next(iter(get_type_hints(function, include_extras=True).values()))
        )

        async def answer(data: object) -> object:
            try:
                request = requests.validate_python(data)
                return await asyncio.wrap_future(self.submit(function, request))
            except Exception as error:
                return {"error": sentence(error)}

        answer.__name__ = function.__name__
        return answer


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


def check_upload(value: object) -> None:
    """Refuse what is no uploaded file: Gradio would open any of the server's, and fetch others."""
    path = value.get("path") if isinstance(value, dict) else None
    marked = isinstance(value, dict) and value.get("meta") == {"_type": "gradio.FileData"}
    usual = Path(tempfile.gettempdir(), "gradio")
    folder = Path(os.environ.get("GRADIO_TEMP_DIR") or usual).resolve()
    if not (marked and isinstance(path, str) and Path(path).resolve().is_relative_to(folder)):
        raise refusal("a photo must be uploaded: gradio_client's handle_file does it with a file")


class Export(StaticFiles):
    """The files of an exported page: a browser asks each time whether its own are the latest."""

    def file_response(self, *args: Any, **options: Any) -> Response:
        response = super().file_response(*args, **options)
        response.headers["Cache-Control"] = "no-cache"
        return response


class Limits:
    """An ASGI middleware: a body comes whole, in time and within its size, or not at all."""

    def __init__(self, app: ASGIApp, receive_seconds: float = RECEIVE_SECONDS) -> None:
        self.app, self.receive_seconds = app, receive_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        body = await self._body(scope, receive)
        if isinstance(body, JSONResponse):
            return await body(scope, receive, send)
        bodies, started = [body], False

        async def replayed() -> Message:
            if bodies:
                return {"type": "http.request", "body": bodies.pop(), "more_body": False}
            return await receive()  # the end of the connection

        async def watched(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self.app(scope, replayed, watched)
        except Exception as error:
            if started or scope["method"] != "POST":
                raise
            await JSONResponse({"detail": sentence(error)}, 400)(scope, receive, send)

    async def _body(self, scope: Scope, receive: Receive) -> bytes | JSONResponse:
        """The request's body, or why it is refused."""
        path, length = scope["path"], dict(scope["headers"]).get(b"content-length", b"0")
        if path.startswith(UNUSED):
            return JSONResponse({"detail": "The page does not use this part of Gradio."}, 404)
        most = MAX_UPLOAD_BYTES if path.startswith(WITH_PHOTO) else MAX_OTHER_BYTES
        announced, received = int(length) if length.isdigit() else 0, 0
        parts, more = [], True
        while more and max(announced, received) <= most:
            try:
                message = await asyncio.wait_for(receive(), self.receive_seconds)
            except TimeoutError:
                reason = f"Nothing came for {self.receive_seconds:g} s: send it again."
                return JSONResponse({"detail": reason}, 408)
            parts.append(message.get("body", b""))
            received += len(parts[-1])
            more = message.get("more_body", False)
        if max(announced, received) > most:
            reason = f"This is too large: send less than {most // 1_000_000} MB."
            return JSONResponse({"detail": reason}, 413)
        return b"".join(parts)
