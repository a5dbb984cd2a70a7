"""Who works on the blocks of a raster: this process, others on this machine, or a cluster.

All give the result of every block once, in any order, and hold only a few blocks in flight, so
that memory does not grow with the raster.
"""

from __future__ import annotations

import itertools
import logging
import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from imagery.errors import WorkerError

__all__ = ["cores", "on_cluster", "on_processes"]

#: Work on one block: a shared job and the number of the block to its result.
Work = Callable[[Any, int], Any]

# Blocks in flight for each worker: the next is at hand when one is done.
_AHEAD = 2
_CONNECT_SECONDS = 10.0
_HINT = "finished windows are kept: start it again and it goes on after them"

_job: Any = None


def cores() -> int:
    """Processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def on_processes(
    work: Work, job: Any, numbers: Sequence[int], *, workers: int
) -> Iterator[tuple[int, Any]]:
    """Results of `work(job, number)` by processes of this machine.

    With one worker the work is done here.

    Raises
    ------
    WorkerError
        A worker process was killed, for example because the memory was full.
    """
    if workers < 2 or len(numbers) < 2:
        for number in numbers:
            yield number, work(job, number)
        return
    # Spawned: a fork would share GDAL's and LightGBM's threads in an unknown state.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(
        min(workers, len(numbers)), context, initializer=_begin, initargs=(job,)
    )
    flight: dict[Future[Any], int] = {}
    todo = iter(numbers)
    try:
        while True:
            for number in itertools.islice(todo, _AHEAD * workers - len(flight)):
                flight[pool.submit(_do, work, number)] = number
            if not flight:
                return
            for future in wait(flight, return_when=FIRST_COMPLETED).done:
                yield flight.pop(future), future.result()
    except BrokenProcessPool as error:
        raise WorkerError(
            "a worker process ended before its block was done; the system may have run out of "
            f"memory: close other programs or use fewer workers; {_HINT}"
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _begin(job: Any) -> None:
    global _job  # one job for the life of the process
    _job = job
    # A killed parent must not leave its workers behind.
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: Any) -> None:
    parent.join()
    os._exit(1)


def _do(work: Work, number: int) -> Any:
    return work(_job, number)


def on_cluster(
    work: Work, job: Any, numbers: Sequence[int], *, scheduler: str
) -> Iterator[tuple[int, Any]]:
    """Results of `work(job, number)` by the workers of a dask.distributed scheduler.

    The workers must see the scenes under the same paths and have the same version installed.

    Parameters
    ----------
    scheduler : str
        Address such as ``tcp://10.0.0.5:8786``.

    Raises
    ------
    WorkerError
        The scheduler cannot be reached, has no workers or was lost, or workers died on a block.
    """
    try:
        from distributed import Client, as_completed
        from distributed.client import FutureCancelledError
        from distributed.scheduler import KilledWorker
    except ImportError as error:
        raise WorkerError(
            "--scheduler needs dask.distributed: pip install 'ad-survey[cluster]'"
        ) from error
    try:
        client = Client(scheduler, timeout=_CONNECT_SECONDS, set_as_default=False)
    except (OSError, ValueError) as error:
        raise WorkerError(
            f"no dask scheduler answers at {scheduler}; start one (dask scheduler) and workers "
            "(dask worker ADDRESS --nthreads 1), or leave --scheduler out"
        ) from error
    lost = WorkerError(f"the dask scheduler at {scheduler} was lost; {_HINT}")
    # Its traceback of a lost connection would bury the message that says what to do.
    log = logging.getLogger("distributed.client")
    level = log.level
    log.setLevel(logging.CRITICAL)
    try:
        n_workers = len(client.scheduler_info(n_workers=-1)["workers"])
        if not n_workers:
            raise WorkerError(
                f"the dask scheduler at {scheduler} has no workers; start some "
                f"(dask worker {scheduler} --nthreads 1)"
            )
        shared = client.scatter(job, broadcast=True)
        todo = iter(numbers)
        done = as_completed(loop=client.loop)
        flight: dict[Any, int] = {}

        def send() -> None:
            number = next(todo, None)
            if number is not None:
                future = client.submit(work, shared, number, pure=False)
                flight[future.key] = number
                done.add(future)

        for _ in range(_AHEAD * n_workers):
            send()
        for future in done:
            result = future.result(timeout=_CONNECT_SECONDS)
            send()
            yield flight.pop(future.key), result
    except KilledWorker as error:
        raise WorkerError(
            f"dask workers died on the same block again and again ({error}); they may have too "
            f"little memory; {_HINT}"
        ) from error
    except (FutureCancelledError, OSError, TimeoutError) as error:
        raise lost from error
    finally:
        client.close(timeout=1)
        log.setLevel(level)
