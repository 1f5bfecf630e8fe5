"""What runtimes that run a file share: the traced model, as an ONNX file, too, its errors, its session."""

from __future__ import annotations

import errno
import logging
import os
import re
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from paretovit.cost.groups import Op
from paretovit.cost.runtimes import Session
from paretovit.errors import Unmeasurable


class FileSession(Session):
    """`call` runs a batch, as `given` makes it of a tensor, and returns the logits when they are there.

    no_peak   why it does not tell its memory
    observe   what each operator of one call on such a batch takes, where the runtime tells
    """

    def __init__(
        self,
        call: Callable[[Any], Any],
        batch: Tensor,
        *,
        given: Callable[[Tensor], Any] = Tensor.numpy,
        no_peak: str,
        observe: Callable[[Any], list[Op]] | None = None,
    ) -> None:
        self._call, self._given, self._no_peak, self._observe = call, given, no_peak, observe
        self._batch = given(batch)

    def __call__(self) -> Any:
        return self._call(self._batch)

    def feed(self, images: Tensor) -> None:
        self._batch = self._given(images)

    def synchronize(self) -> None:
        """A call returns when it is done."""

    def peak_bytes(self) -> int:
        raise Unmeasurable(self._no_peak)

    def profile(self) -> list[Op]:
        return super().profile() if self._observe is None else self._observe(self._batch)


def in_whole_batches(images: Tensor, size: int) -> Iterator[Tensor]:
    """Batches of exactly `size` images, as files of fixed shapes take them: the last is filled up from the first."""
    missing = -len(images) % size
    filler = images[torch.arange(missing) % len(images)]
    yield from torch.cat([images, filler]).split(size)


def traced(model: nn.Module, batch: Tensor) -> ExportedProgram:
    """The model's operators for batches of exactly that shape, as `torch.export` sees them.

    Raises `Unmeasurable` where what is done depends on the values in the batch.
    """
    with torch.no_grad(), converting("torch.export"):
        return torch.export.export(model, (batch,))


def write_onnx(model: nn.Module, batch: Tensor, path: Path) -> None:
    """The model as an ONNX file for batches of exactly that shape, named "image", with its output as "logits".

    Weights and operators have the data type of the module. Raises `Unmeasurable`, naming the operator, for a model that
    ONNX cannot say.
    """
    program = traced(model, batch)
    with converting("the ONNX exporter"):
        onnx = torch.onnx.export(
            program, (batch,), input_names=["image"], output_names=["logits"], dynamo=True, verbose=False
        )
        assert onnx is not None
        onnx.save(path)


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
        if (refused := _machine_error(error)) is not None:
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


def _machine_error(error: BaseException) -> OSError | torch.OutOfMemoryError | None:
    """That the disk is full or refuses, or that the device's memory ended, says nothing of the model."""
    for link in _chain(error):
        if isinstance(link, torch.OutOfMemoryError) or (isinstance(link, OSError) and link.errno in _DISK):
            return link
    return None


def _cause(error: BaseException) -> str:
    """The line that names an operator, from the innermost error out; else the innermost error's first line."""
    said = [
        [line.strip(" -") for line in str(link).split("\n") if line.strip(" -")] for link in reversed(_chain(error))
    ]
    named = [line for lines in said for line in lines if _OPERATOR.search(line)]
    plain = [line for lines in said for line in lines[:1]]
    return _placeless((named or plain or [type(error).__name__])[0])[:300]


def _placeless(text: str) -> str:
    """Files by their names below the folder that they were imported from: a row is read on other machines."""
    roots = [str(Path(__file__).parents[2]), *filter(os.path.isabs, sys.path)]
    for root in sorted(roots, key=len, reverse=True):
        text = text.replace(root.rstrip(os.sep) + os.sep, "")
    return text


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
