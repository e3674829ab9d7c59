"""Worker threads: one for live controls, one for slow work, one for programs.

A network's thread keeps memory, and several threads side by side only slow each other. So each kind
of work has one thread, and the slower kinds give way to live controls where the system allows it.
"""

from __future__ import annotations

import asyncio
import functools
import os
import sys
import threading
import traceback
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar, get_type_hints

from fastapi import HTTPException
from pydantic import TypeAdapter, ValidationError

Answer = TypeVar("Answer")
MALFORMED = "The page never sends such a request: reload it and try again."
UNEXPECTED = (ArithmeticError, AttributeError, LookupError, OSError, RuntimeError, TypeError)


class Worker:
    """One thread; its tasks are done one by one, in the order in which they come."""

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

        The request is checked against the function's own annotation. What the studio refuses is
        answered by {"error": sentence}; what the page never sends, by status 422 and a sentence.
        """
        hints = get_type_hints(function, include_extras=True)
        requests: TypeAdapter = TypeAdapter(hints[next(iter(hints))])

        async def answer(data: object) -> object:
            try:
                request = requests.validate_python(data)
                return await asyncio.wrap_future(self.submit(function, request))
            except ValidationError:
                raise HTTPException(422, MALFORMED) from None
            except ValueError as error:
                return {"error": str(error)}
            except UNEXPECTED as error:
                note(error)
                raise HTTPException(422, MALFORMED) from None

        answer.__name__ = function.__name__
        return answer


def note(error: BaseException) -> None:
    """Log one line, without the words of the error: they may name a photo."""
    at = traceback.extract_tb(error.__traceback__)[-1]
    place = f"{os.path.basename(at.filename)}, line {at.lineno}"
    print(f"app.py: a request failed: {type(error).__name__} in {place}", file=sys.stderr)
