"""One process per model: fresh memory, killable, and its crash is a row instead of our end.

A nursery process loads torch once and forks a worker for each model, which takes milliseconds instead of the
seconds that loading takes. The nursery runs no tensor operation, so there are no threads to lose in the fork.
Parent and workers speak over local sockets that only this user can open, with a key made for this run.
"""

from __future__ import annotations

import logging
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Client, Connection, Listener
from pathlib import Path
from threading import Lock
from typing import Any

from paretovit.errors import Unmeasurable, UserError
from paretovit.spec import ModelSpec

_START_S = 120.0  # loading torch on a cold and slow disk


@dataclass(frozen=True)
class Visit:
    """Samples of one visit, and the share of its time in which others kept the machine busy."""

    samples: tuple[float, ...]
    busy: float


class Nursery:
    """Forks workers. A context manager: leaving it ends all of them."""

    def __init__(self) -> None:
        self._dir = tempfile.TemporaryDirectory(prefix="paretovit-")
        self._key = secrets.token_bytes(32)
        self._turn = Lock()  # several threads may ask how their workers ended
        self.measuring_s = 0.0  # seconds that all workers spent in warm-up and in what they measure
        self._listener = Listener(str(Path(self._dir.name, "socket")), "AF_UNIX", backlog=64, authkey=self._key)
        environment = {
            **os.environ,
            "PARETOVIT_NURSERY_KEY": self._key.hex(),
            "KINETO_LOG_LEVEL": "99",
            "TORCH_CPP_LOG_LEVEL": "ERROR",
        }
        self._process = subprocess.Popen(
            [sys.executable, "-c", "from paretovit.cost.worker import nursery; nursery()", str(self._listener.address)],
            env=environment,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            self._pipe = self._accept()
        except BaseException:
            self.__exit__()
            raise

    def _accept(self) -> Connection:
        # Listener has no time-out of its own; its socket does
        self._listener._listener._socket.settimeout(0.5)  # type: ignore[attr-defined]
        end = time.monotonic() + _START_S
        while time.monotonic() < end:
            try:
                return self._listener.accept()
            except TimeoutError:
                if self._process.poll() is not None:
                    raise RuntimeError("the process that starts workers ended; its message is above") from None
        raise RuntimeError(f"a worker process did not start within {_START_S:.0f} s")

    def folder(self) -> Path:
        """A new folder for what the processes of one model leave for each other; it ends with the nursery."""
        return Path(tempfile.mkdtemp(dir=self._dir.name))

    def worker(self, spec: ModelSpec, setting: Any, folder: Path | None = None) -> Worker:
        """A fresh process for one model under one setting; the model is not built before it is first asked for.

        `folder` is where the processes of this model keep files for each other.
        """
        self._pipe.send(("fork", None))
        pid = self._pipe.recv()
        pipe = self._accept()
        pipe.send((spec, setting, folder or self.folder()))
        return Worker(self, pid, pipe)

    def status(self, pid: int) -> int | None:
        """How a worker ended, as `os.waitstatus_to_exitcode` says it; None while it runs."""
        with self._turn:
            self._pipe.send(("status", pid))
            return self._pipe.recv()

    def __enter__(self) -> Nursery:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)  # the nursery and every worker: one process group
        self._process.wait()
        self._listener.close()
        self._dir.cleanup()


class Worker:
    """The parent's end of a worker process."""

    def __init__(self, nursery: Nursery, pid: int, pipe: Connection) -> None:
        self._nursery, self.pid, self._pipe = nursery, pid, pipe
        self._gone = ""  # why there is no process any more

    def settle(
        self, indicator: str, before: dict[str, Any] | None = None, *, timeout_s: float
    ) -> tuple[dict[str, Any], float]:
        """Prepares the indicator, as an earlier process found `before`: what it found, and how busy others were."""
        return self._ask(("settle", indicator, before), timeout_s)

    def lay_out(self, batch_size: int, *, training: bool, timeout_s: float) -> None:
        """Exports or compiles for batches of that size, so that later processes of this model find it done."""
        self._ask(("lay out", batch_size, training), timeout_s)

    def visit(self, indicator: str, *, timeout_s: float) -> Visit:
        """One visit's samples."""
        return self._ask(("visit", indicator, None), timeout_s)

    def _ask(self, request: tuple[str, Any, Any], timeout_s: float) -> Any:
        """Raises `Unmeasurable` for what the model or the machine cannot do, a hang and a crash among it."""
        if self._gone:
            raise Unmeasurable(self._gone)
        try:
            self._pipe.send(request)
            if not self._pipe.poll(timeout_s):
                self.close()
                self._gone = f"no answer within {timeout_s:.0f} s, so the process was ended; --timeout allows more"
                raise Unmeasurable(self._gone)
            kind, content, measuring_s = self._pipe.recv()
        except (EOFError, ConnectionError) as error:
            self._gone = self._death()
            raise Unmeasurable(self._gone) from error
        self._nursery.measuring_s += measuring_s
        if kind == "unmeasurable":
            raise Unmeasurable(content)
        return content

    def _death(self) -> str:
        for _ in range(50):
            status = self._nursery.status(self.pid)
            if status is not None:
                break
            time.sleep(0.02)
        if status is None:
            return "its process closed the line"
        if status == -signal.SIGKILL:
            return "its process was killed (signal 9): most likely the machine ran out of memory"
        if status < 0:
            return f"its process was killed by {signal.Signals(-status).name}"
        return f"its process ended with exit code {status}"

    def close(self) -> None:
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)  # first: another thread may wait for what it says
        self._pipe.close()


def nursery() -> None:
    """The nursery process: forks on request until the parent is gone."""
    address, key = sys.argv[1], bytes.fromhex(os.environ.pop("PARETOVIT_NURSERY_KEY"))
    # loaded here, once, for all workers: they find it in their memory
    import torch  # noqa: F401

    from paretovit.cost import subject  # noqa: F401

    pipe = Client(address, "AF_UNIX", authkey=key)
    ended: dict[int, int] = {}
    while True:
        try:
            request, argument = pipe.recv()
        except EOFError:
            os.killpg(0, signal.SIGKILL)
            raise
        if request == "fork":
            pid = os.fork()
            if pid == 0:
                pipe.close()
                _work(address, key)
                os._exit(0)
            pipe.send(pid)
        else:
            if argument not in ended:
                pid, status = os.waitpid(argument, os.WNOHANG)
                if pid:
                    ended[pid] = os.waitstatus_to_exitcode(status)
            pipe.send(ended.get(argument))


def _work(address: str, key: bytes) -> None:
    """One worker: answers until the parent closes the line."""
    from paretovit.cost.folders import INDICATORS
    from paretovit.cost.subject import Subject
    from paretovit.devices import Busy

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    _first_to_go()
    pipe = Client(address, "AF_UNIX", authkey=key)
    try:
        spec, setting, folder = pipe.recv()
        subject: Subject | None = None
        while True:
            request, what, how = pipe.recv()
            try:
                if subject is None:
                    _set_up(setting)
                    subject = Subject(spec, setting, folder=folder)
                if request == "lay out":
                    subject.lay_out(what, training=how)
                    pipe.send(("ok", None, 0.0))
                    continue
                indicator = INDICATORS[what]()
                if request == "visit":
                    indicator.wake(subject)
                # where compilers may work, and no visit is so short that looking for them would tell
                family = request == "settle" or indicator.kind == "once"
                busy, start = Busy(family=family), time.perf_counter()
                if request == "settle":
                    facts = indicator.settle(subject, how)
                    answer: Any = (facts, busy.share(time.perf_counter() - start))
                else:
                    samples = tuple(indicator(subject))
                    answer = Visit(samples, busy.share(time.perf_counter() - start))
                    if indicator.kind != "timed":
                        subject.called_s = time.perf_counter() - start  # all of it is what was to be measured
                pipe.send(("ok", answer, subject.called_s))
                subject.called_s = 0.0
            except (Unmeasurable, UserError) as error:
                pipe.send(("unmeasurable", str(error), 0.0))
            except Exception as error:  # whatever a model raises is why it has no cost
                pipe.send(("unmeasurable", _reason(error), 0.0))
    except (EOFError, ConnectionError):
        os._exit(0)


def _set_up(setting: Any) -> None:
    import torch

    torch.set_num_threads(setting.threads)
    torch.set_num_interop_threads(1)
    # a compiler of CUDA that is here without a GPU is nothing to tell of every model
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)


def _first_to_go() -> None:
    """Where memory ends, the kernel should end the worker and not the program that keeps the rows."""
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")


def _reason(error: Exception) -> str:
    text = str(error).strip().split("\n")[0][:300]
    if isinstance(error, MemoryError) or "out of memory" in text.lower() or "can't allocate memory" in text:
        return f"out of memory: {text}" if text else "out of memory"
    at = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {text} ({Path(at.filename).name}, line {at.lineno})"
