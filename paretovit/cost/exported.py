"""What every runtime that runs a file shares: the traced model, its errors, its session."""

from __future__ import annotations

import errno
import logging
import os
import re
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from paretovit.cost.runtimes import Session
from paretovit.errors import Unmeasurable


class FileSession(Session):
    """`call` runs the batch and returns the logits when they are there."""

    def __init__(self, call: Callable[[], Any], no_peak: str) -> None:
        self._call, self._no_peak = call, no_peak

    def __call__(self) -> Any:
        return self._call()

    def synchronize(self) -> None:
        """A call returns when it is done."""

    def peak_bytes(self) -> int:
        raise Unmeasurable(self._no_peak)


def traced(model: nn.Module, batch: Tensor) -> ExportedProgram:
    """The model's operators for batches of exactly that shape, as `torch.export` sees them.

    Raises `Unmeasurable` where what is done depends on the values in the batch.
    """
    with torch.no_grad(), converting("torch.export"):
        return torch.export.export(model, (batch,))


@contextmanager
def converting(what: str) -> Iterator[None]:
    """A converter at work: what it has to say is not for our user, unless it fails.

    Then `Unmeasurable` names the operator, if the error does.
    """
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), _standard_streams_hidden():
            warnings.simplefilter("ignore")
            yield
    except (KeyboardInterrupt, MemoryError, Unmeasurable):
        raise
    except Exception as error:
        if (refused := _disk_error(error)) is not None:
            raise refused from error
        raise Unmeasurable(f"{what} cannot take this model: {_cause(error)}") from error
    finally:
        logging.disable(level)


_OPERATOR = re.compile(r"\b((?:aten|prims|torchvision)(?:::|\.)\w+(?:\.\w+)?)")


_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES}


def _chain(error: BaseException) -> list[BaseException]:
    """The error, what it came from, and so on to the innermost."""
    chain = [error]
    while (inner := chain[-1].__cause__ or chain[-1].__context__) is not None and inner not in chain:
        chain.append(inner)
    return chain


def _disk_error(error: BaseException) -> OSError | None:
    """That the disk is full or refuses says nothing of the model."""
    return next((link for link in _chain(error) if isinstance(link, OSError) and link.errno in _DISK), None)


def _cause(error: BaseException) -> str:
    """The line that names an operator, from the innermost error out; else the innermost error's first line."""
    said = [
        [line.strip(" -") for line in str(link).split("\n") if line.strip(" -")] for link in reversed(_chain(error))
    ]
    named = [line for lines in said for line in lines if _OPERATOR.search(line)]
    plain = [line for lines in said for line in lines[:1]]
    return (named or plain or [type(error).__name__])[0][:300]


@contextmanager
def _standard_streams_hidden() -> Iterator[None]:
    """Converters print from C++ too, so the file descriptors themselves are turned away and back."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(ValueError, OSError):
            stream.flush()
    kept = [os.dup(number) for number in (1, 2)]
    hidden = os.open(os.devnull, os.O_WRONLY)
    try:
        for number in (1, 2):
            os.dup2(hidden, number)
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            with suppress(ValueError, OSError):
                stream.flush()
        for number, saved in zip((1, 2), kept, strict=True):
            os.dup2(saved, number)
            os.close(saved)
        os.close(hidden)
