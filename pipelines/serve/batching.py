"""Requests that wait together are drawn together, in one thread, while the server goes on answering."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeAlias

from stylegan.drawing.requested import Request
from stylegan.wording import counted

Draw: TypeAlias = Callable[[Sequence[Request]], list[bytes]]
Place: TypeAlias = tuple[Request, "asyncio.Future[bytes]"]


class BusyError(RuntimeError):
    """Too many images are waiting; the message says so."""


class Batcher:
    """Images in the order in which they are asked for, up to batch_size at a time.

    Nobody waits for a batch to fill: what is asked for while a batch is drawn makes the next one.
    """

    def __init__(self, draw: Draw, *, batch_size: int, most_waiting: int) -> None:
        self._draw, self._batch_size, self._most_waiting = draw, batch_size, most_waiting
        self._waiting: list[Place] = []
        self._thread = ThreadPoolExecutor(1, "drawing")
        self._task: asyncio.Task[None] | None = None

    @property
    def num_waiting(self) -> int:
        """Images that somebody waits for and nobody has begun to draw"""
        return sum(not future.done() for _, future in self._waiting)

    async def images(self, requests: Sequence[Request]) -> list[bytes]:
        """A PNG for each. Raises BusyError at once if too many are waiting, and what drawing raises."""
        self._waiting = [place for place in self._waiting if not place[1].done()]  # others were abandoned
        if len(self._waiting) + len(requests) > self._most_waiting:
            raise BusyError(f"The queue is full ({counted(len(self._waiting), 'image')}). Try again in a moment.")
        loop = asyncio.get_running_loop()
        places: list[Place] = [(request, loop.create_future()) for request in requests]
        self._waiting += places
        if self._task is None:
            self._task = asyncio.create_task(self._draw_all())
        return list(await asyncio.gather(*(future for _, future in places)))

    async def _draw_all(self) -> None:
        """Until nothing waits"""
        try:
            while self._waiting:
                batch, self._waiting = self._waiting[: self._batch_size], self._waiting[self._batch_size :]
                # Whoever closed the connection has no use for the image.
                await self._answer([place for place in batch if not place[1].done()])
        finally:
            self._task = None

    async def _answer(self, batch: Sequence[Place]) -> None:
        if not batch:
            return
        loop = asyncio.get_running_loop()
        try:
            files = await loop.run_in_executor(self._thread, self._draw, [request for request, _ in batch])
        except Exception as error:
            for _, future in batch:
                if not future.done():
                    future.set_exception(error)
            return
        for (_, future), file in zip(batch, files, strict=True):
            if not future.done():
                future.set_result(file)
