"""What a stream of scores leaves behind in bounded memory: the k largest of each unit, and which samples gave them.

The order is total: the larger score first, and of equal scores the lower sample id. So the same samples leave the same
bits whatever the batches, their order, and the number of processes that shared them.

How it is quick: score and id are packed into one integer that sorts in that order. One comparison drops the scores
below the k-th largest so far; the few others gather behind the kept ones, and only when that room is full are the k
largest of each unit sought.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Int, Int32, Int64, Shaped
from torch import Tensor

ROWS = 64  # samples looked at together: few enough to stay in a processor's cache
EMPTY = torch.iinfo(torch.int64).min  # the key of a place where no score has come; below that of any score
LAST_ID = 2**32 - 1
SIGN = 2**31 - 1
DTYPES = (torch.float32, torch.bfloat16, torch.float16)


class TopK:
    """The k largest scores of each unit and the ids of their samples, exactly, from batches in any order.

    Every sample scores every unit, and comes once. Memory is 8 bytes for each unit and each of k + max(k / 2, 64)
    places, however many samples come.

    Args:
        k: How many are kept, at least 1.

    Attributes:
        count: How many samples have come.
        keys: (u, places), for each unit the keys that may yet count, in no order, `EMPTY` in places to spare.

    Example:
        >>> top = TopK(2)
        >>> top.update(torch.tensor([[0.5], [0.9], [0.5]]), torch.tensor([7, 3, 4]))
        >>> top.ids
        tensor([[3, 4]])
    """

    def __init__(self, k: int) -> None:
        if k < 1:
            raise ValueError(f"expected k of at least 1, got {k}")
        self.k, self.count = k, 0
        self._make_room(0, torch.device("cpu"))

    def update(self, scores: Float[Tensor, "n u"], ids: Int[Tensor, "n"]) -> None:
        """Take in a batch.

        Args:
            scores: Of float32, bfloat16 or float16; infinities are allowed, -0 is 0. The first batch decides how many
                units there are, and on which device the work is done.
            ids: Of the samples, from 0 to 2^32 - 1, on any device.

        Raises:
            TypeError: Scores of another dtype.
            ValueError: Another number of units than before, ids of another shape or out of range, or a NaN.
        """
        n, u = scores.shape
        if scores.dtype not in DTYPES:
            raise TypeError(f"expected scores of float32, bfloat16 or float16, got {scores.dtype}; use .float()")
        if ids.shape != (n,):
            raise ValueError(f"expected ids of shape ({n},), got {tuple(ids.shape)}")
        if n == 0:
            return
        low, high = (int(value) for value in torch.aminmax(ids))
        if low < 0 or high > LAST_ID:
            raise ValueError(f"expected ids from 0 to {LAST_ID}, got {low if low < 0 else high}")
        if not self.count:
            self._make_room(u, scores.device)
        if u != len(self.keys):
            raise ValueError(f"expected scores of {len(self.keys)} units as before, got {u}")
        scores, ids = scores.detach().float(), ids.to(scores.device, torch.int64)
        for some, their_ids in zip(scores.split(ROWS), ids.split(ROWS), strict=True):
            self._take(some, their_ids)
            self.count += len(some)

    def merge(self, other: "TopK") -> None:
        """Take in what another one has kept of other samples.

        Raises:
            ValueError: The other one has another k or another number of units.
        """
        if other.k != self.k:
            raise ValueError(f"expected k={self.k} as here, got k={other.k}")
        keys = largest([self.keys, other.keys], self.k)
        self.load_state_dict({**self.state_dict(), "keys": keys, "count": torch.tensor(self.count + other.count)})

    @property
    def values(self) -> Float32[Tensor, "u k"]:
        """The k largest scores of each unit, descending; -inf where fewer than k samples came."""
        return self._result()[0]

    @property
    def ids(self) -> Int64[Tensor, "u k"]:
        """The ids of their samples; -1 where fewer than k samples came.

        Raises:
            ValueError: A sample came twice.
        """
        found = self._result()[1]
        ordered = found.sort(1).values
        twice = ((ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0)).nonzero()
        if len(twice):
            unit, place = twice[0].tolist()
            raise ValueError(
                f"expected each sample once, got id {int(ordered[unit, place])} twice; ids must differ, and torch's "
                "DistributedSampler repeats samples to make its shares equal"
            )
        return found

    def state_dict(self) -> dict[str, Tensor]:
        """All there is to know, as tensors: `k`, `count`, and `keys` (u, k), descending."""
        return {"k": torch.tensor(self.k), "count": torch.tensor(self.count), "keys": largest([self.keys], self.k)}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Become what another one was; `keys` may be its `state_dict`'s or its attribute."""
        self.k, self.count = int(state["k"]), int(state["count"])
        self._make_room(len(state["keys"]), state["keys"].device)
        self.keys[:, : self.k] = largest([state["keys"]], self.k)
        self._used.fill_(min(self.count, self.k))
        if self.count >= self.k:
            self._raise_bar()

    def _result(self) -> tuple[Tensor, Tensor]:
        return _unpack(largest([self.keys], self.k))

    def _make_room(self, u: int, device: torch.device) -> None:
        self.keys = torch.full((u, self.k + max(self.k // 2, ROWS)), EMPTY, device=device)
        self._used = torch.zeros(u, dtype=torch.int64, device=device)  # places of each unit, from the first on
        self._bar: tuple[Tensor, Tensor] | None = None  # the k-th scores and their ids, when last sought

    def _take(self, scores: Tensor, ids: Tensor) -> None:
        n, u = scores.shape
        places = self.keys.shape[1]
        if self._bar is None and self.count + n <= places:
            _refuse_nan(scores.flatten(), lambda first: (first % u, ids[first // u]))
            self.keys[:, self.count : self.count + n] = _pack(scores, ids[:, None]).t()
            self._used += n
            return
        score, id = self._bar or self._raise_bar()
        # a score that ties with the k-th counts only if its id is lower, and mostly none of a batch is
        above = torch.nextafter(score, torch.full_like(score, torch.inf))
        bar = torch.where(id < ids.min(), above, score)
        below = torch.empty((u, n), dtype=torch.bool, device=scores.device)
        torch.lt(scores.t(), bar[:, None], out=below)  # a NaN is not below
        chosen = where_true(below.logical_not_().view(-1))
        unit, row = divided(chosen, n)
        values = scores.reshape(-1).index_select(0, row * u + unit)
        numbers = ids.index_select(0, row)
        _refuse_nan(values, lambda first: (unit[first], numbers[first]))
        came = torch.bincount(unit, minlength=u)
        if int((self._used + came).max()) > places:
            self._raise_bar()
        start = torch.arange(u, device=came.device) * places + self._used + came - came.cumsum(0)
        place = start.index_select(0, unit) + torch.arange(len(unit), device=unit.device)
        self.keys.view(-1).scatter_(0, place, _pack(values, numbers))
        self._used += came

    def _raise_bar(self) -> tuple[Tensor, Tensor]:
        """Keep the k largest of each unit and nothing else; their smallest is what the next must reach."""
        kept = k_largest(self.keys, self.k)
        self.keys[:, : self.k], self.keys[:, self.k :] = kept, EMPTY
        self._used.fill_(self.k)
        self._bar = _unpack(kept[:, 0])
        return self._bar


def largest(keys: Sequence[Int64[Tensor, "_ _"]], k: int) -> Int64[Tensor, "_ _"]:
    """The k largest keys of each unit, descending, from several collections of them; what has no units is left out.

    Raises:
        ValueError: The collections are of different numbers of units.
    """
    held = [some for some in keys if len(some)] or list(keys[:1])
    units = sorted({len(some) for some in held})
    if len(units) > 1:
        raise ValueError(f"expected the same units everywhere, got {' and '.join(map(str, units))} of them")
    return torch.cat(list(held), 1).topk(k, 1).values


def k_largest(keys: Shaped[Tensor, "u n"], k: int) -> Shaped[Tensor, "u k"]:
    """The k largest keys, or values, of each unit, the smallest of them first and the others in no order."""
    if keys.device.type == "cpu":  # in numpy it takes half the time
        return torch.from_numpy(np.partition(keys.numpy(), -k, 1)[:, -k:])
    return keys.topk(k, 1).values.flip(1)


def where_true(mask: Bool[Tensor, "*dims"]) -> Int64[Tensor, " m"]:
    """Where a mask, laid out in a line, is true; ascending."""
    if mask.device.type == "cpu":  # in numpy it takes a third of the time
        return torch.from_numpy(np.flatnonzero(mask.numpy()))
    return mask.flatten().nonzero().view(-1)


def where_larger(rows: Float32[Tensor, "n u"], bar: Float32[Tensor, " u"]) -> Int64[Tensor, " m"]:
    """Where rows, laid out in a line, are larger than the bar of their unit; ascending."""
    if rows.device.type == "cpu":  # in numpy it takes half the time
        return torch.from_numpy(np.flatnonzero(np.greater(rows.numpy(), bar.numpy())))
    return where_true(rows > bar)


def _refuse_nan(values: Tensor, place: Callable[[int], tuple[Tensor | int, Tensor | int]]) -> None:
    if len(values) and values.max().isnan():  # the largest of any with a NaN is a NaN
        unit, id = place(int(values.isnan().nonzero()[0]))
        raise ValueError(f"expected no NaN, got one in unit {int(unit)}, id {int(id)}")


def to_ordered(values: Float32[Tensor, "*dims"]) -> Int32[Tensor, "*dims"]:
    """Integers that stand in the order of the floats; equal for -0 and 0."""
    bits = (values + 0.0).view(torch.int32)  # the sum makes -0 a 0
    bits ^= (bits >> 31) & SIGN  # negative floats sort backwards by their bits
    return bits


def from_ordered(bits: Int32[Tensor, "*dims"]) -> Float32[Tensor, "*dims"]:
    """The floats that `to_ordered` made integers of."""
    return (bits ^ ((bits >> 31) & SIGN)).view(torch.float32)


def divided(numbers: Int64[Tensor, "*dims"], by: int) -> tuple[Int64[Tensor, "*dims"], Int64[Tensor, "*dims"]]:
    """Quotients and remainders of numbers from 0 to below 2^53."""
    quotients = (numbers.double() / by).long()  # exact, and quicker than a division of integers
    return quotients, numbers - quotients * by


def _pack(values: Tensor, ids: Tensor) -> Tensor:
    return (to_ordered(values).long() << 32) | (LAST_ID - ids)


def _unpack(keys: Tensor) -> tuple[Tensor, Tensor]:
    values = from_ordered((keys >> 32).int())
    ids, empty = LAST_ID - (keys & LAST_ID), keys == EMPTY
    return values.masked_fill(empty, -torch.inf), ids.masked_fill(empty, -1)
