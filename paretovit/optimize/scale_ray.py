"""Trainings of a search on the machines of a Ray cluster, one core or one GPU each; extra `ray`.

All machines must see the folder that the search was begun in, and `--out` and the data by the same paths, for a
training keeps where it is in a folder of its own, as those of other processes do. A training is not begun anew where
its machine is gone: the same command goes on with what it kept.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from paretovit.errors import UserError
from paretovit.optimize.scale_cost import GO_ON

LOCAL = "local"  # as an address: a cluster of this machine alone, for as long as the search takes
_REACHED_S = 10
_PATIENCE_S = 60  # for trainings that were told to keep where they are


class RayWorkers:
    """Calls of functions on a cluster. Raises `UserError` without the library, and where no cluster answers."""

    def __init__(self, address: str, *, gpu: bool) -> None:
        try:
            import ray
        except ModuleNotFoundError:
            raise UserError("a cluster needs the library ray; type: pip install 'paretovit[ray]'") from None
        self._ray = ray
        where = {"address": "local", "include_dashboard": False} if address == LOCAL else {"address": address}
        try:
            _reach(address)  # Ray itself tries for ten minutes
            ray.init(**where, log_to_driver=False, logging_level="error", configure_logging=False)
        except (OSError, ValueError, RuntimeError) as error:
            raise UserError(f"no Ray cluster answers at {address} ({_line(error)}); {GO_ON}") from error
        self._remote = ray.remote(num_cpus=1, num_gpus=int(gpu), max_retries=0)(_there)
        self._asked: list[Any] = []

    def submit(self, call: Callable[..., Any], *given: Any) -> Future[Any]:
        """What the call returns or raises, or `UserError` if nobody is left to do so."""
        asked = self._remote.remote(os.getcwd(), call, *given)
        self._asked.append(asked)
        come: Future[Any] = Future()

        def take(done: Future[Any]) -> None:
            error = done.exception()
            if error is None:
                come.set_result(done.result())
            else:
                come.set_exception(self._told(error))

        asked.future().add_done_callback(take)
        return come

    def _told(self, error: BaseException) -> BaseException:
        """An error as it was raised on the cluster; what Ray itself has to say, in a line."""
        cause = getattr(error, "cause", None)
        if isinstance(error, self._ray.exceptions.RayTaskError) and isinstance(cause, Exception):
            return cause
        if isinstance(error, self._ray.exceptions.TaskCancelledError):
            return KeyboardInterrupt()
        return UserError(f"a training on the cluster was lost ({_line(error)}); {GO_ON}")

    def end(self) -> None:
        """Trainings that run keep where they are; those that wait are not begun. The cluster is left."""
        for asked in self._asked:
            self._ray.cancel(asked)
        if self._asked:
            self._ray.wait(self._asked, num_returns=len(self._asked), timeout=_PATIENCE_S)
        self._ray.shutdown()


def _reach(address: str) -> None:
    """Raises `OSError` where no one listens at HOST:PORT; other addresses are Ray's to find."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if port.isdigit():
        socket.create_connection((host, int(port)), timeout=_REACHED_S).close()


def _line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _there(folder: str, call: Callable[..., Any], *given: Any) -> Any:
    """The call as if it were made where the search was begun."""
    try:
        os.chdir(folder)
    except OSError as error:
        raise UserError(
            f"the cluster's machine {os.uname().nodename} does not see {folder}; begin where all of them share files"
        ) from error
    return call(*given)
