"""The roofline of the machine at hand, measured: how fast it multiplies matrices and copies memory.

The rows belong to no model, so they have a store of their own. A rate is of one shape (`rows` x `inner` times `inner`
x `columns`) or of a copy of so many bytes, which reads and writes them; small copies stay within the caches. A busy
machine only ever looks slower, so a rate is that of the fastest of its repeats, which are all kept.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F

from paretovit.devices import Busy, Device, check_device, device_name, num_threads, origin
from paretovit.errors import UserError
from paretovit.measurement import Conditions, Measurement
from paretovit.store import Store

Shape = tuple[int, int, int]  # rows, inner, columns

GEMM, SPARSE_GEMM, COPY = "gemm_macs_per_s", "sparse_gemm_macs_per_s", "copy_bytes_per_s"
_SIDES = {"cpu": (256, 512, 1024, 2048), "cuda": (1024, 2048, 4096, 8192)}
_COPIES = {"cpu": range(15, 29), "cuda": range(20, 31)}  # powers of two of bytes
_LEAST_S, _REPEATS = 0.02, 5
_BUSY = 0.05


def roofs(
    store: Store,
    shapes: Iterable[Shape] = (),
    *,
    device: str = "cpu",
    dtype: str = "float32",
    threads: int | None = None,
    again: bool = False,
) -> list[Measurement]:
    """Rows of square products, of products of the `shapes`, and of copies; only what the store has not, is measured.

    Sparse products are measured where torch has them (a GPU with such units), and have no rows elsewhere. Raises
    `UserError` for a device that is not here and for a dtype that it cannot multiply.
    """
    check_device(device)
    kind = device.partition(":")[0]
    threads = threads or num_threads()
    torch.set_num_threads(threads)
    here = Conditions(device=device_name(device), runtime="torch_eager", threads=threads if kind == "cpu" else None)
    squares = [(side, side, side) for side in _SIDES[kind]]
    wanted: list[tuple[str, Conditions, Callable[[], tuple[Callable[[], object], float]]]] = []
    for shape in dict.fromkeys([*squares, *shapes]):
        at = replace(here, dtype=dtype, assumptions=_named(shape))
        wanted.append((GEMM, at, lambda shape=shape: _product(shape, device, dtype)))  # type: ignore[misc]
        if sparse_missing(shape, device, dtype) == "":
            wanted.append((SPARSE_GEMM, at, lambda shape=shape: _sparse_product(shape, device, dtype)))  # type: ignore[misc]
    for power in _COPIES[kind]:
        at = replace(here, assumptions=(("bytes", 2**power),))
        wanted.append((COPY, at, lambda power=power: _copy(2**power, device)))  # type: ignore[misc]

    rows = []
    for indicator, at, make in wanted:
        if again or not store.has(at, indicator):
            store.append([_measured(indicator, at, *make(), device=device)])
        rows += store.rows(indicator, **{name: getattr(at, name) for name in ("device", "dtype", "assumptions")})
    return [row for row in rows if row.conditions.threads == here.threads]


def device_of(rows: Sequence[Measurement]) -> Device:
    """What `roofs` measured as a device: its fastest products by dtype, and its largest copy, beyond the caches."""

    def peaks(indicator: str) -> dict[str, float]:
        found: dict[str, float] = {}
        for row in rows:
            if row.indicator == indicator and row.value is not None and row.conditions.dtype:
                found[row.conditions.dtype] = max(found.get(row.conditions.dtype, 0.0), row.value)
        return found

    copies = [(dict(row.conditions.assumptions)["bytes"], row.value or 0.0) for row in rows if row.indicator == COPY]
    if not copies or not peaks(GEMM):
        raise UserError("nothing was measured yet; run `paretovit roofline MODEL --device measured`")
    first = rows[0]
    threads = (
        f", {first.conditions.threads} thread{'s' if first.conditions.threads > 1 else ''}"
        if first.conditions.threads
        else ""
    )
    busy = " on a busy machine" if any(row.origin.timing.get("contended") for row in rows) else ""
    return Device(
        name=f"{first.conditions.device}{threads}",
        macs_per_s=peaks(GEMM),
        sparse_macs_per_s=peaks(SPARSE_GEMM),
        bytes_per_s=max(copies)[1],
        source=f"measured{busy} {first.origin.time[:10]}",
    )


def gemm_rates(rows: Sequence[Measurement], indicator: str, dtype: str) -> dict[Shape, float]:
    """The measured multiply-accumulates per second of every shape."""
    found: dict[Shape, float] = {}
    for row in rows:
        if row.indicator == indicator and row.conditions.dtype == dtype and row.value is not None:
            sizes = dict(row.conditions.assumptions)
            found[sizes["rows"], sizes["inner"], sizes["columns"]] = row.value
    return found


def sparse_missing(shape: Shape, device: str, dtype: str) -> str:
    """Why torch has no 2:4 sparse product of that shape here; empty if it has."""
    if not device.startswith("cuda"):
        return "2:4 sparse products need a GPU; on a CPU the zeros are multiplied like any other number"
    if torch.cuda.get_device_capability(device) < (8, 0):
        return f"{device_name(device)} has no units for 2:4 sparse products"
    if dtype not in ("float16", "bfloat16"):
        return f"torch has no 2:4 sparse products in {dtype}"
    _, inner, columns = shape
    if inner % 64 or columns % 32:
        return f"torch's 2:4 sparse weights are multiples of 32 x 64, this one is {columns} x {inner}"
    return ""


def _named(shape: Shape) -> tuple[tuple[str, int], ...]:
    return tuple(zip(("rows", "inner", "columns"), shape, strict=True))


def _product(shape: Shape, device: str, dtype: str) -> tuple[Callable[[], object], float]:
    """A call of the product, and its multiply-accumulates."""
    rows, inner, columns = shape
    kind = getattr(torch, dtype)
    x, weight = torch.randn(rows, inner, device=device).to(kind), torch.randn(columns, inner, device=device).to(kind)
    return lambda: F.linear(x, weight), float(rows * inner * columns)


def _sparse_product(shape: Shape, device: str, dtype: str) -> tuple[Callable[[], object], float]:
    """The product with two of every four weights zero; its multiply-accumulates with those of zeros among them."""
    rows, inner, columns = shape
    kind = getattr(torch, dtype)
    x = torch.randn(rows, inner, device=device).to(kind)
    pattern = torch.tensor([1, 0, 0, 1], device=device).repeat(columns, inner // 4)
    weight = torch.sparse.to_sparse_semi_structured((torch.randn(columns, inner, device=device) * pattern).to(kind))
    return lambda: F.linear(x, weight), float(rows * inner * columns)


def _copy(nbytes: int, device: str) -> tuple[Callable[[], object], float]:
    source = torch.ones(nbytes // 4, device=device)
    target = torch.empty_like(source)
    return lambda: target.copy_(source), 2.0 * nbytes


def _measured(indicator: str, at: Conditions, call: Callable[[], object], work: float, *, device: str) -> Measurement:
    busy = Busy()
    with torch.inference_mode():
        try:
            seconds = list(_repeats(call, device))
        except RuntimeError as error:
            raise UserError(f"cannot multiply {at.dtype} on {device}: {str(error).splitlines()[0]}") from error
    share = busy.share(sum(seconds))
    return Measurement(
        model="roof",
        indicator=indicator,
        unit="B/s" if indicator == COPY else "1/s",
        value=work / min(seconds),
        samples=tuple(work / s for s in seconds),
        conditions=at,
        origin=origin("measured", busy=share, contended=share > _BUSY),
    )


def _repeats(call: Callable[[], object], device: str) -> Iterator[float]:
    """Seconds of one call, as the mean over a stretch of `_LEAST_S`, several times after one that is not counted."""

    def stretch(calls: int) -> float:
        start = time.perf_counter()
        for _ in range(calls):
            call()
        if device.startswith("cuda"):
            torch.cuda.synchronize(device)
        return time.perf_counter() - start

    stretch(1)
    calls = max(1, round(_LEAST_S / max(stretch(1), 1e-7)))
    for _ in range(_REPEATS):
        yield stretch(calls) / calls
