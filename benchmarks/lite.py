"""NetDissect-Lite, run as its own main.py runs it, on today's Python.

It needs names that Python, NumPy and SciPy have removed since 2019; what is given back here changes none of its
arithmetic. Its checkout is only imported. Masks are decoded by its own worker processes, which are ended and waited
for, so that their time counts.
"""

import contextlib
import io
import os
import sys
import types
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from benchmarks import plain_broden

MEAN, STD = (124.6901 / 255, 118.6897 / 255, 109.5388 / 255), (0.224, 0.224, 0.224)  # its own normalisation
GONE = ("scipy.ndimage.interpolation", "scipy.ndimage.filters")
ITS_OWN = ("feature_operation", "loader", "util", "visualize")

Reader = Callable[[str], NDArray[Any]]


@dataclass(frozen=True)
class Dissected:
    """What it found, by unit u, label number c, category k in the order of category.csv."""

    maps: NDArray[np.float32]  # (n, u, h, w)
    thresholds: NDArray[np.float64]  # (u,)
    both: NDArray[np.float64]  # (u, c)
    labelled: NDArray[np.float64]  # (c,)
    active: NDArray[np.float64]  # (u,)
    active_by_category: NDArray[np.float64]  # (u, k)
    category_of: NDArray[np.float64]  # (c, k), one-hot

    @property
    def iou(self) -> NDArray[np.float64]:
        """Its table (u, c)."""
        union = self.active_by_category @ self.category_of.T + self.labelled - self.both
        iou: NDArray[np.float64] = self.both / (union + 1e-10)
        return iou


def read(path: str) -> NDArray[Any]:
    """A file's pixels, masks with 16 bits, because it multiplies them by 256."""
    pixels = plain_broden.read(path)
    return pixels.astype(np.uint16) if path.endswith("png") else pixels


def dissect(model: nn.Module, layer: str, folder: Path, size: int = 224, reader: Reader = read) -> Dissected:
    """Dissect one layer of a network that takes images in its normalisation.

    Args:
        model: Without normalisation.
        layer: As in `named_modules()`.
        folder: In Broden's layout.
        size: Of the images.
        reader: How files become pixels.
    """
    with TemporaryDirectory() as out, _able(layer, folder, Path(out) / "result", size, reader) as (operation, pools):
        hook = dict(model.named_modules())[layer].register_forward_hook(operation.hook_feature)
        tables: list[Any] = []
        try:
            operator = operation.FeatureOperator()
            features, _ = operator.feature_extraction(model=model)
            _end(pools)
            thresholds = operator.quantile_threshold(features[0])
            job = operation.FeatureOperator.tally_job

            def watched(given: tuple[Any, ...]) -> None:
                tables.extend(given)  # they are local to tally(), and filled by its job
                job(given)

            operation.FeatureOperator.tally_job = staticmethod(watched)
            operator.tally(features[0], thresholds)
            _end(pools)
        finally:
            hook.remove()
        maps = np.asarray(features[0], np.float32)
    _, data, _, labelled, active, active_by_category, both, *_ = tables
    return Dissected(maps, thresholds, both, labelled, active, active_by_category, data.labelcat)


@contextlib.contextmanager
def module(name: str, borrowed: Mapping[str, types.ModuleType] | None = None) -> Iterator[Any]:
    """One of its modules, which forgets everything afterwards; meanwhile it prints nothing.

    Args:
        name: The module's.
        borrowed: Modules that it imports and that are not there.

    Raises:
        FileNotFoundError: There is no checkout of it.
    """
    checkout = Path(os.environ.get("INTERP_PEERS", "")) / "NetDissect-Lite"
    if not checkout.is_dir():
        raise FileNotFoundError("no checkout of NetDissect-Lite; name the folder that holds it with --peers")
    before = {name: sys.modules.get(name) for name in borrowed or {}}
    sys.modules.update(borrowed or {})
    sys.path.insert(0, str(checkout))
    np.NaN = np.nan  # type: ignore[attr-defined]
    silence = contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO())
    try:
        with warnings.catch_warnings(), silence[0], silence[1], torch.no_grad():
            warnings.simplefilter("ignore")
            yield import_module(name)
    finally:
        sys.path.remove(str(checkout))
        del np.NaN  # type: ignore[attr-defined]
        for own in [own for own in sys.modules if own.split(".")[0] in ITS_OWN]:
            del sys.modules[own]
        for own, found in before.items():
            sys.modules.pop(own) if found is None else sys.modules.update({own: found})


@contextlib.contextmanager
def _able(layer: str, folder: Path, out: Path, size: int, reader: Reader) -> Iterator[tuple[Any, list[Any]]]:
    """Its module feature_operation, able to run, and a list to which it adds the pools it opens."""
    pools: list[Any] = []

    def pool(*given: Any, **named: Any) -> Any:
        pools.append(get_context("fork").Pool(*given, **named))  # its workers read `settings`, which is no file
        return pools[-1]

    with module("feature_operation", _modules(layer, folder, out, size, reader)) as operation:
        loading: Any = import_module("loader.data_loader")
        prefetcher = loading.SegmentationPrefetcher
        loading.Pool, loading.SegmentationData.onehot = pool, _one_hot
        prefetcher.batches = _until_none(prefetcher.fetch_batch)
        prefetcher.tensor_batches = _until_none(prefetcher.fetch_tensor_batch)
        operation.V = lambda tensor, volatile: tensor
        try:
            yield operation, pools
        finally:
            _end(pools)


def _one_hot(_self: object, numbers: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.eye(int(numbers.max()) + 1)[numbers]


def _until_none(fetch: Callable[..., Any]) -> Callable[..., Iterator[Any]]:
    def batches(*given: Any, **named: Any) -> Iterator[Any]:
        while (batch := fetch(*given, **named)) is not None:
            yield batch

    return batches


def _modules(layer: str, folder: Path, out: Path, size: int, reader: Reader) -> dict[str, types.ModuleType]:
    """Its settings, which are a module, and SciPy's that are gone."""
    settings, misc = types.ModuleType("settings"), types.ModuleType("scipy.misc")
    vars(settings).update(
        GPU=False, TEST_MODE=False, CLEAN=True, QUANTILE=0.005, SEG_THRESHOLD=0.04, SCORE_THRESHOLD=0.04, TOPN=10,
        PARALLEL=1, CATAGORIES=list(plain_broden.CATEGORIES), OUTPUT_FOLDER=str(out), DATA_DIRECTORY=str(folder),
        IMG_SIZE=size, FEATURE_NAMES=[layer], BATCH_SIZE=16, TALLY_BATCH_SIZE=16, TALLY_AHEAD=4, INDEX_FILE="index.csv",
    )  # fmt: skip
    vars(misc).update(imread=reader, imresize=_resize)
    arrays = import_module("scipy.ndimage")
    gone = {name: types.ModuleType(name) for name in GONE}
    for module in gone.values():
        vars(module).update(zoom=arrays.zoom, gaussian_filter=arrays.gaussian_filter)
    return {"settings": settings, "scipy.misc": misc, **gone}


def _resize(values: NDArray[Any], size: tuple[int, int], mode: str) -> NDArray[np.float32]:
    image = Image.fromarray(np.asarray(values, np.float32))
    return np.asarray(image.resize((size[1], size[0]), Image.Resampling.BILINEAR))


def _end(pools: list[Any]) -> None:
    while pools:
        pool = pools.pop()
        pool.terminate()
        pool.join()
