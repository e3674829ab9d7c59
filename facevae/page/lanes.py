"""Lanes: single threads that the page's work queues for.

A network's thread holds on to memory, and several side by side only slow each other: one thread
draws what follows a finger, one does what may take a second, one answers programs. The later ones
give way to the first wherever the system can be told.
"""

from __future__ import annotations

import asyncio
import functools
import os
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from fastapi import HTTPException

Answer = TypeVar("Answer")
ODD = "This is nothing that the page would ask for: reload it and try again."
UNFIT = (ArithmeticError, AttributeError, LookupError, OSError, RuntimeError, TypeError, ValueError)


class Lane:
    """One thread; what is asked of it is done one by one, first come, first served."""

    def __init__(self, niceness: int = 0) -> None:
        self.worker = ThreadPoolExecutor(1, initializer=self._begin, initargs=(niceness,))
        self.thread: int | None = None

    def _begin(self, niceness: int) -> None:
        self.thread = threading.get_ident()
        if sys.platform == "linux":  # elsewhere niceness is the whole process's
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), niceness)

    def do(self, function: Callable[..., Answer], *given: object) -> Answer:
        """A function's answer, waited for; the lane's own thread need not wait for itself."""
        if threading.get_ident() == self.thread:
            return function(*given)
        return self.worker.submit(function, *given).result()

    def of(self, function: Callable) -> Callable:
        """The same function, done here, for Gradio's events."""

        @functools.wraps(function)
        def done(*given: object) -> object:
            return self.do(function, *given)

        return done

    async def soon(self, function: Callable[..., Answer], *given: object) -> Answer:
        """For live controls: no thread waits, and what was no wish is answered in a sentence."""
        with understood():
            return await asyncio.wrap_future(self.worker.submit(function, *given))

    def served(self, function: Callable[[Any], object]) -> Callable:
        """A live control's function of one wish."""

        async def answer(wish: object) -> object:
            return await self.soon(function, wish)

        answer.__name__ = function.__name__
        return answer


@contextmanager
def understood() -> Iterator[None]:
    """Answers what a wish that the page never sends leads to; the log says where, not of whom."""
    try:
        yield
    except UNFIT as error:
        note(error)
        raise HTTPException(422, ODD) from None


def note(error: BaseException) -> None:
    """One line in the log, without the words of the error: they may name a photo."""
    at = traceback.extract_tb(error.__traceback__)[-1]
    place = f"{os.path.basename(at.filename)}, line {at.lineno}"
    print(f"app.py: a request came to nothing: {type(error).__name__} in {place}", file=sys.stderr)


def share_cores() -> None:
    """Half of the cores for a network: two lanes may be at work at once."""
    torch.set_num_threads(max(1, torch.get_num_threads() // 2))
