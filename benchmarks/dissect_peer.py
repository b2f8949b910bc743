"""dissect (the package netdissect) by its own recipe: three passes over the images, maps enlarged at once."""

import contextlib
import io
import os
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.plain_broden import Batches, Broden

SKETCH, TOP = 8192, 100  # its resolution of a quantile, and top images


def module(name: str) -> Any:
    """One of its modules, from the checkout dissect in the folder that $INTERP_PEERS names.

    Raises:
        FileNotFoundError: There is none.
    """
    folder = Path(os.environ.get("INTERP_PEERS", "")) / "dissect"
    if not folder.is_dir():
        raise FileNotFoundError("no checkout of dissect; name the folder that holds it with --peers")
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    return import_module(f"netdissect.{name}")


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Without its words, and what it moves to a graphics card without asking stays where it is."""
    before: Callable[..., Tensor] = Tensor.cuda
    if not torch.cuda.is_available():
        Tensor.cuda = lambda self, *_, **__: self  # type: ignore[method-assign]
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        Tensor.cuda = before  # type: ignore[method-assign]


def dissect(model: nn.Module, layer: str, broden: Broden, size: int, side: int) -> Tensor:
    """Quantiles, top images, and the table of IoU (u, c) at masks of some side."""
    tally, some = module("tally"), {"batch_size": 10}
    with quietly(), torch.no_grad():
        watched = module("nethook").InstrumentedModel(model)
        watched.retain_layer(layer)

        def maps(images: Tensor) -> Tensor:
            watched(images)
            found: Tensor = watched.retained_layer(layer)
            return found

        try:
            shape = maps(broden.image(0)[None]).shape[2:]
            enlarged = module("upsample").upsampler((side, side), data_shape=shape, image_size=(size, size))

            def places(images: Tensor, *_: Tensor) -> Tensor:
                large = enlarged(maps(images))
                rows: Tensor = large.permute(0, 2, 3, 1).reshape(-1, large.shape[1])
                return rows

            def above(images: Tensor, labels: Tensor) -> Any:
                lit = (enlarged(maps(images)) > levels[None, :, None, None]).float()
                return tally.conditional_samples(lit, labels)

            levels = tally.tally_quantile(places, Batches(broden), r=SKETCH, **some).quantiles(0.995)
            tally.tally_topk(lambda images, *_: maps(images).amax((2, 3)), Batches(broden), k=min(TOP, len(broden)),
                             **some)  # fmt: skip
            means = tally.tally_conditional_mean(above, Batches(broden, side), batch_size=1)
            iou: Tensor = tally.iou_from_conditional_indicator_mean(means).T
        finally:
            watched.close()
    return iou
