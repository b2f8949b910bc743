"""Maps with everything that can go wrong in them, and their thresholds the slow way."""

from fractions import Fraction

import numpy as np
import torch

N, UNITS, H, W = 200, 6, 5, 4
POSITIONS = N * H * W
RULES = ("exact", "netdissect")
SHARES = [(range(37), range(37, N)), (range(N), range(0))]  # of the images, for each of two processes


def layer(n=N, seed=0):
    """Maps with ties, minus zeros, a dead unit (3) and one stuck at 6 (4)."""
    maps = torch.randn(n, UNITS, H, W, generator=torch.Generator().manual_seed(seed))
    maps[:, 1] = maps[:, 1].relu()
    maps[:, 2] = (maps[:, 2] * 2).round() / 2
    maps[:, 3], maps[:, 4] = 0, (maps[:, 4] + 8).clamp_max(6)
    maps[:, 5] = -(maps[:, 5] < 2).float() * 0  # -0 and 0
    return maps.to(memory_format=torch.channels_last)


def streamed(maps, parts, metric):
    for part in parts:
        metric.update(maps[part], torch.arange(len(maps))[part])
    return metric


def share_of(rank, shares):
    """The batches of a process."""
    share = shares[rank]
    return [slice(start, min(start + 16, share.stop)) for start in share[::16]]


def slowly(maps, share, rule):
    """By sorting everything in float64, and by numpy."""
    columns = maps.permute(0, 2, 3, 1).flatten(0, 2).double().numpy()
    if rule == "netdissect":
        return np.quantile(columns, 994 / 999, axis=0)
    return np.sort(columns, axis=0)[::-1][int(Fraction(str(share)) * len(columns))]


def bits(thresholds):
    return (thresholds.value.view(torch.int64).tolist(), thresholds.highest.view(torch.int32).tolist())
