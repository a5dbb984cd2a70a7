"""Several processes that answer on one socket, and the one that keeps them."""

from __future__ import annotations

import asyncio
import gc
import logging
import multiprocessing
import os
import signal
import socket
import time
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from typing import Any

import uvicorn

__all__ = ["serve_together"]

#: Connections that wait to be accepted.
_BACKLOG = 2048
#: A process that ended sooner gets no successor at once.
_SHORT_SECONDS = 1.0

_log = logging.getLogger("adsurvey")


def serve_together(config: uvicorn.Config, listener: socket.socket, n_workers: int) -> None:
    """Answer until SIGTERM or SIGINT; what is in hand then is finished.

    The processes are forked, so that they share what was made before; this one must have no
    other threads. One that dies is replaced. If this one is killed, the others see it, finish
    what they have in hand and end.

    Parameters
    ----------
    config : uvicorn.Config
        Of an application without a lifespan: each process would go through it.
    listener : socket
        Bound.
    """
    config.load()  # what is wrong with a certificate shows here, once
    config.backlog = 1  # connections that asyncio accepts at once: the other processes want some
    gc.collect()
    gc.freeze()  # or each process would copy what they share, in order to look for garbage
    context = multiprocessing.get_context("fork")
    # Ends with this process: the others close what they inherit of `held`. The sentinel of
    # `multiprocessing` would not do, because every process inherits those of the ones before it.
    keeper, held = os.pipe()
    workers: list[BaseProcess] = []
    is_stopping = False

    def stop(*_: Any) -> None:
        nonlocal is_stopping
        is_stopping = True
        listener.close()  # no line is taken any more that nobody would answer
        for worker in workers:
            worker.terminate()

    def start() -> BaseProcess:
        worker = context.Process(target=_work, args=(config, listener, keeper, held), daemon=True)
        worker.start()
        return worker

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    workers += [start() for _ in range(n_workers)]
    begun = time.monotonic()
    while not is_stopping:
        ended = wait([worker.sentinel for worker in workers])
        for place, worker in enumerate(workers):
            if worker.sentinel in ended and not is_stopping:
                worker.join()
                _log.error("a receiving process ended (%s): another begins", worker.exitcode)
                time.sleep(max(0.0, begun + _SHORT_SECONDS - time.monotonic()))
                begun = time.monotonic()
                workers[place] = start()
    stop()  # also the one that was started while the signal came
    for worker in workers:
        worker.join()
    os.close(keeper)
    os.close(held)


def _work(config: uvicorn.Config, listener: socket.socket, keeper: int, held: int) -> None:
    """One of the processes."""
    os.close(held)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    _Worker(config, keeper).run(sockets=[listener])


class _Worker(uvicorn.Server):
    """A server that ends with the process that keeps it: then a pipe can be read to its end."""

    def __init__(self, config: uvicorn.Config, keeper: int) -> None:
        super().__init__(config)
        self._keeper = keeper

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        for each in sockets or ():
            each.listen(_BACKLOG)
        asyncio.get_running_loop().add_reader(self._keeper, self._end)

    def _end(self) -> None:
        asyncio.get_running_loop().remove_reader(self._keeper)
        self.should_exit = True
