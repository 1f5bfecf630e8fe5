"""Masked weights without their zeros, and back: of every group what is kept, and where it was as a stream of bits.

For every group of M the stream has N places of log2(M) bits each, ascending, the first in the lowest bits; groups
follow one another without a gap, and zeros fill the last byte.

Eight weights have a mask of one byte, so tables of 256 lines say all there is to know of them. A weight of 2:4 in 16
bits, the one that GPUs execute, needs no look-ups of single numbers: a group is one word of 64 bits, and a product with
a sum of powers of two puts what is kept of it side by side. All goes block by block, so that it stays in a cache.
"""

from __future__ import annotations

import math
import sys
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from paretovit.errors import UserError
from paretovit.zoo.patterns import TWO_OF_FOUR, Pattern

Bytes = NDArray[np.uint8]
Ints = NDArray[Any]  # of as many bits as a weight has

_INTEGERS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
_NO_CODE = 2**32 - 1
_BLOCK = 8192  # bytes of masks, of eight weights each
_LANE = 16  # bits of a weight that the products are for


def pack(weight_OI: Tensor, mask_OI: Tensor, pattern: Pattern) -> tuple[Tensor, Bytes]:
    """The kept weights (O, I N / M) and the bits of their places. `mask_OI` keeps exactly N in every group.

    Raises `UserError` for another mask.
    """
    weight = weight_OI.detach().cpu().contiguous()
    numbers, mask = _integers(weight), mask_OI.cpu().contiguous().numpy().reshape(-1)
    groups = mask.size // pattern.group
    if missing := -mask.size % 8:  # groups that fill the last byte, and are cut off again
        filling = np.tile(np.arange(pattern.group) < pattern.kept, missing // pattern.group)
        mask, numbers = np.append(mask, filling), np.append(numbers, np.zeros(missing, numbers.dtype))
    masks: Bytes = np.packbits(mask, bitorder="little")
    codes = np.take(_codes(pattern), masks)
    if (codes == _NO_CODE).any():
        raise UserError(f"a mask keeps other than {pattern.kept} of some {pattern.group} weights; make it anew")
    stream = _to_bytes(codes, _bits_of_byte(pattern))[: math.ceil(groups * _bits_of_group(pattern) / 8)]
    if used := groups * _bits_of_group(pattern) % 8:
        stream[-1] &= (1 << used) - 1

    each = _kept_of_byte(pattern)
    kept: Ints = np.empty(masks.size * each, numbers.dtype)
    take = _take_2_of_4 if _has_products(pattern, numbers) else _take
    for at in range(0, masks.size, _BLOCK):
        end = min(at + _BLOCK, masks.size)
        take(pattern, numbers[8 * at : 8 * end], mask[8 * at : 8 * end], masks[at:end], kept[each * at : each * end])
    values = torch.from_numpy(kept[: groups * pattern.kept]).view(weight.dtype)
    return values.view(len(weight), weight.shape[1] // pattern.group * pattern.kept), stream


def unpack(values: Tensor, places: Bytes, pattern: Pattern) -> tuple[Tensor, Tensor]:
    """The weight (O, I) with zeros, and its mask. Raises `UserError` for places that no `pack` writes."""
    rows, width = values.shape[0], values.shape[1] // pattern.kept * pattern.group
    groups, bits = rows * width // pattern.group, _bits_of_group(pattern)
    if width * pattern.kept != values.shape[1] * pattern.group or len(places) != math.ceil(groups * bits / 8):
        raise UserError("indices and values are not of one weight")
    count, each = math.ceil(groups * pattern.group / 8), _kept_of_byte(pattern)
    masks = np.take(_masks(pattern), _from_bytes(_filled(places, groups, pattern), _bits_of_byte(pattern), count))
    if not masks.all():
        raise UserError("indices name a place twice")

    kept = _integers(values.contiguous())
    if missing := count * each - kept.size:
        kept = np.append(kept, np.zeros(missing, kept.dtype))
    numbers: Ints = np.empty(8 * count, kept.dtype)
    put = _put_2_of_4 if _has_products(pattern, numbers) else _put
    for at in range(0, count, _BLOCK):
        end = min(at + _BLOCK, count)
        put(pattern, kept[each * at : each * end], masks[at:end], numbers[8 * at : 8 * end])
    mask = np.unpackbits(masks, count=rows * width, bitorder="little").view(np.bool_)
    weight = torch.from_numpy(numbers[: rows * width]).view(values.dtype)
    return weight.view(rows, width), torch.from_numpy(mask).view(rows, width)


def _take(pattern: Pattern, numbers: Ints, mask: NDArray[np.bool_], masks: Bytes, out: Ints) -> None:
    """What the masks keep, by its index."""
    index = _index(pattern, masks)
    np.take(numbers, index, out=out.reshape(index.shape), mode="clip")


def _put(pattern: Pattern, kept: Ints, masks: Bytes, out: Ints) -> None:
    index = _index(pattern, masks)
    out[:] = 0
    out[index] = kept.reshape(index.shape)


def _index(pattern: Pattern, masks: Bytes) -> NDArray[np.intp]:
    """(bytes, kept of a byte): which of the weights stay."""
    index: NDArray[np.intp] = np.take(_places(pattern), masks, axis=0)
    index += 8 * np.arange(len(masks))[:, None]
    return index


def _has_products(pattern: Pattern, numbers: Ints) -> bool:
    return pattern == TWO_OF_FOUR and 8 * numbers.itemsize == _LANE and sys.byteorder == "little"


def _take_2_of_4(pattern: Pattern, numbers: Ints, mask: NDArray[np.bool_], masks: Bytes, out: Ints) -> None:
    """`_take` by one product for each group: what is kept comes to stand in the upper half of the word.

    With p < q the places of a group's two weights a and b, and zeros elsewhere, that is a sum of two shifts, by 2 - p
    and 3 - q lanes: a comes to lane 2 and b to lane 3. The first shift takes b to q + 2 - p, which is out of the word,
    or for neighbours lane 3, and then both are the same shift, which is in the sum once; the second takes a to
    p + 3 - q, which for others than neighbours is below lane 2. No two numbers meet in a lane, so nothing is carried.
    """
    kept = mask.astype(np.int16)
    kept *= numbers
    words = _words(_together(), masks)
    words *= kept.view(np.uint64)
    out.view(np.uint32)[:] = words.view(np.uint32)[1::2]


def _put_2_of_4(pattern: Pattern, kept: Ints, masks: Bytes, out: Ints) -> None:
    """`_put` by two products for each group, of each of its weights with the power of two that takes it to its lane."""
    second = kept.view(np.uint32).astype(np.uint64)
    first = second & np.uint64(2**_LANE - 1)
    second -= first
    first *= _words(_apart(0), masks)
    second *= _words(_apart(1), masks)
    np.add(first, second, out=out.view(np.uint64))


def _words(table: NDArray[np.complex128], masks: Bytes) -> NDArray[np.uint64]:
    """The two words that a table has for each byte of masks, one for each group of four."""
    return np.take(table, masks, mode="clip").view(np.uint64)


@cache
def _together() -> NDArray[np.complex128]:
    return _table(lambda p, q: {2 - p, 3 - q})


@cache
def _apart(which: int) -> NDArray[np.complex128]:
    return _table(lambda p, q: {(p, q - 1)[which]})  # the second is in lane 1 already


def _table(shifts: Any) -> NDArray[np.complex128]:
    """For each byte of two 2:4 masks two factors, which shift by some lanes. A complex number is as long as two words,
    and so is found by one look-up."""
    factors = np.zeros((256, 2), np.uint64)
    for byte, places in enumerate(_places(TWO_OF_FOUR).reshape(256, 2, 2)):
        if _codes(TWO_OF_FOUR)[byte] != _NO_CODE:
            for group, (p, q) in enumerate(places % 4):
                factors[byte, group] = sum(1 << _LANE * int(lanes) for lanes in shifts(p, q))
    return factors.view(np.complex128).reshape(256)


def _integers(tensor: Tensor) -> Ints:
    """The tensor's bits, as integers, in one row."""
    return tensor.view(_INTEGERS[tensor.itemsize]).numpy().reshape(-1)


def _bits_of_group(pattern: Pattern) -> int:
    return pattern.kept * (pattern.group.bit_length() - 1)


def _bits_of_byte(pattern: Pattern) -> int:
    """Of the places of eight weights."""
    return 8 // pattern.group * _bits_of_group(pattern)


def _kept_of_byte(pattern: Pattern) -> int:
    return 8 // pattern.group * pattern.kept


def _kept_bits(byte: int, pattern: Pattern) -> list[int] | None:
    """The bits of a byte of masks that are set; None where a group keeps more or fewer than N."""
    places = [place for place in range(8) if byte >> place & 1]
    counts = [sum(place // pattern.group == group for place in places) for group in range(8 // pattern.group)]
    return places if all(count == pattern.kept for count in counts) else None


@cache
def _places(pattern: Pattern) -> NDArray[np.intp]:
    """(256, kept of a byte): for each byte of masks the weights that stay; zeros for one that is none."""
    return np.array([_kept_bits(byte, pattern) or [0] * _kept_of_byte(pattern) for byte in range(256)], dtype=np.intp)


@cache
def _codes(pattern: Pattern) -> NDArray[np.uint32]:
    """For each byte of masks the places of its bits, one behind the other."""
    size = pattern.group.bit_length() - 1
    codes = np.full(256, _NO_CODE, dtype=np.uint32)
    for byte in range(256):
        if (places := _kept_bits(byte, pattern)) is not None:
            codes[byte] = sum(place % pattern.group << (size * at) for at, place in enumerate(places))
    return codes


@cache
def _masks(pattern: Pattern) -> Bytes:
    """For each code the byte of masks that it came from; 0 for what is no code."""
    masks = np.zeros(2 ** _bits_of_byte(pattern), dtype=np.uint8)
    codes = _codes(pattern)
    (known,) = np.nonzero(codes != _NO_CODE)
    masks[codes[known]] = known
    return masks


def _filled(places: Bytes, groups: int, pattern: Pattern) -> Bytes:
    """The stream with as many groups more as fill the last byte of masks, each with its first weights kept."""
    size, begin = pattern.group.bit_length() - 1, groups * _bits_of_group(pattern)
    if begin % 8 and places[-1] >> begin % 8:
        raise UserError("indices go on behind the last group")
    more = -groups % (8 // pattern.group)
    if not more:
        return places
    code = sum(place << (size * place) for place in range(pattern.kept))
    tail = sum(code << (_bits_of_group(pattern) * at) for at in range(more)) << begin % 8
    length = math.ceil((begin + more * _bits_of_group(pattern)) / 8)
    stream = np.zeros(length, dtype=np.uint8)
    stream[: len(places)] = places
    stream[begin // 8 :] |= np.frombuffer(tail.to_bytes(length - begin // 8, "little"), dtype=np.uint8)
    return stream


def _to_bytes(codes: NDArray[np.uint32], size: int) -> Bytes:
    """Numbers of `size` bits each, one behind the other, the last byte filled up with zeros."""
    if 8 % size == 0:
        together = 8 // size
        padded = np.zeros((math.ceil(len(codes) / together), together), dtype=np.uint8)
        padded.reshape(-1)[: len(codes)] = codes
        stream = padded[:, 0].copy()
        for at in range(1, together):
            stream |= padded[:, at] << np.uint8(size * at)
        return stream
    bits = codes[:, None] >> np.arange(size, dtype=np.uint32) & np.uint32(1)
    return np.packbits(bits.astype(np.uint8).reshape(-1), bitorder="little")


def _from_bytes(stream: Bytes, size: int, count: int) -> NDArray[Any]:
    if size == 8:
        return stream
    if 8 % size == 0:
        codes = np.empty((len(stream), 8 // size), dtype=np.uint8)
        for at in range(8 // size):
            codes[:, at] = stream >> np.uint8(size * at) & np.uint8(2**size - 1)
        return codes.reshape(-1)[:count]
    bits = np.unpackbits(stream, count=count * size, bitorder="little").reshape(count, size)
    return (bits.astype(np.int32) << np.arange(size, dtype=np.int32)).sum(axis=1, dtype=np.int32)
