"""Does ours find what NetDissect-Lite finds? Unit by unit, with every difference explained.

NetDissect-Lite is held against its own algorithm restated, which has to count the same pixels. Then its habits are
left out one after the other, until what is left differs from ours in nothing but the last bits of the network.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks import lite, lite_restated
from benchmarks.lite_restated import Counts, Floats
from benchmarks.replay import LAYER, Remembered, Replay
from interp_plugins.dissection.dissection import Dissected, NetworkDissection
from interp_plugins.sources.labelled import Broden
from interp_plugins.sources.models import Preprocessed

TOLERANCE = 1e-4  # of IoU: what the last bits of a network may move


@dataclass(frozen=True)
class Side:
    """What one of the two found."""

    thresholds: Floats  # (u,)
    counts: Counts

    def iou(self, category_of: NDArray[np.int64]) -> Floats:
        """(u, c), 0 for numbers that mean nothing."""
        counts = self.counts
        union = counts.active_by_category[:, category_of.clip(0)] + counts.labelled - counts.both
        return np.where(category_of < 0, 0, counts.both / np.maximum(union, 1))


def table(theirs: lite.Dissected, ours: dict[str, Dissected], data: Broden) -> str:
    """Markdown: how many units differ, and by how much, with each of its habits left out.

    Args:
        theirs: NetDissect-Lite's, of the data set.
        ours: Of the same network on the same images, with its quantile and its union.
        data: The data set.
    """
    category_of = data.vocabulary.category_of.numpy()
    own, same = side(*ours.values()), side(_replayed(theirs, data))
    lines = ["|  | units | thresholds differ by | units beyond 0.0001 of IoU | by at most | other label |"]
    lines.append("|---|---|---|---|---|---|")
    for name, other in _ladder(theirs, data):
        lines.append(_line(f"ours / {name}", own, other, category_of))
    lines.append(_line("ours on the same maps / the last row's", same, other, category_of))
    return "\n".join(lines) + "\n"


def pixels(theirs: lite.Dissected, data: Broden) -> str:
    """In words: whether the restated algorithm counts what NetDissect-Lite counts."""
    (_, other), *_ = _ladder(theirs, data)
    readings = lite_restated.readings(theirs.maps.astype(np.float64))
    nearest = np.abs(readings - theirs.thresholds) / np.abs(theirs.thresholds)
    counts = other.counts
    pairs = (counts.both, theirs.both), (counts.labelled, theirs.labelled), (counts.active, theirs.active)
    wrong = sum(int((a != b).sum()) for a, b in (*pairs, (counts.active_by_category, theirs.active_by_category)))
    return (
        f"Restated, NetDissect-Lite's algorithm gives other numbers than itself in {wrong} of its tables' places, and "
        f"thresholds that differ by {nearest.min(0).max():.1e} at most."
    )


def side(found: Dissected) -> Side:
    """Ours, of a `Dissected`."""
    overlap = found.clean.overlap
    counts = (overlap.intersection, overlap.labelled, overlap.lit, overlap.active)
    return Side(found.clean.thresholds.value.numpy(), Counts(*(each.double().numpy() for each in counts)))


def _ladder(theirs: lite.Dissected, data: Broden) -> Iterator[tuple[str, Side]]:
    """NetDissect-Lite as it is, and with one habit less each time."""
    maps = theirs.maps.astype(np.float64)
    labels = [data.labels(number) for number in range(len(data))]
    marked = [(each.pixels.numpy(), each.whole) for each in labels]
    given = marked, data.vocabulary.category_of.numpy(), data.mask_size
    read = lite_restated.thresholds(maps)
    for name, levels, stale in (
        ("NetDissect-Lite", theirs.thresholds, True),
        ("with thresholds read as NumPy reads", read, True),
        ("and images without masks counted as themselves", read, False),
    ):
        yield name, Side(levels, lite_restated.count(maps, levels, *given, stale=stale))


def _line(name: str, ours: Side, theirs: Side, category_of: NDArray[np.int64]) -> str:
    apart = np.abs(ours.iou(category_of) - theirs.iou(category_of)).max(1)
    levels = np.abs(ours.thresholds - theirs.thresholds) / np.abs(theirs.thresholds)
    labels = ours.iou(category_of).argmax(1) != theirs.iou(category_of).argmax(1)
    return (
        f"| {name} | {len(apart)} | {levels.max():.1e} | {(apart > TOLERANCE).sum()} | {apart.max():.1e} "
        f"| {labels.sum()} |"
    )


def _replayed(theirs: lite.Dissected, data: Broden) -> Dissected:
    """Ours on the maps that NetDissect-Lite saw."""
    model = Preprocessed(Replay(torch.from_numpy(theirs.maps), channels_last=True), lite.MEAN, lite.STD).eval()
    method = NetworkDissection(quantile="netdissect", union="lite", permutations=0, draws=0)
    return method(model, [f"net.{LAYER}"], Remembered(data))[f"net.{LAYER}"]
