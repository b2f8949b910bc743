"""Before the last phase: what all processes have kept becomes thresholds, cells and top images."""

import torch
from jaxtyping import Int64
from torch import Tensor

from interp_plugins.cli.dissect.counting import Fine
from interp_plugins.cli.dissect.inputs import Inputs
from interp_plugins.cli.dissect.looking import Looking, Tops
from interp_plugins.dissection.cells import Cells
from interp_plugins.dissection.passes import Key
from interp_plugins.dissection.thresholds import Thresholds
from interp_plugins.store.dissections import DissectionFolder


def gather(loaded: Inputs, folder: DissectionFolder) -> None:
    """Merge, and write what the last phase needs."""
    first, thresholds = _thresholds(loaded, folder)
    tops = folder.computed(first, Tops(loaded).metrics)
    for (kind, layer), known in thresholds.items():
        tensors = {
            "value": known.value,
            "highest": known.highest,
            "positions": torch.tensor(known.positions),
            "tops": tops[f"{kind}/tops"][layer].ids,
        }
        if first == "look":
            cells = _cells(loaded, folder, (kind, layer), known)
            tensors |= {"keys": cells.keys, "corners": cells.corners}
        folder.write_between(name((kind, layer), loaded), tensors)


def name(key: Key, loaded: Inputs) -> str:
    """What a file of a kind of images and a layer is called."""
    return f"{key[0]} {loaded.sight.layers.index(key[1])}"


def thresholds(loaded: Inputs, folder: DissectionFolder) -> dict[Key, Thresholds]:
    """The thresholds that `gather` wrote."""
    found = {}
    for key in loaded.keys:
        held = folder.between(name(key, loaded))
        found[key] = Thresholds(held["value"], held["highest"], int(held["positions"]))
    return found


def tops(loaded: Inputs, folder: DissectionFolder) -> dict[Key, Int64[Tensor, "u k"]]:
    """The top images of each unit that `gather` wrote, the strongest first."""
    return {key: folder.between(name(key, loaded))["tops"] for key in loaded.keys}


def cells(loaded: Inputs, folder: DissectionFolder) -> dict[Key, Cells]:
    """The cells that `gather` wrote."""
    found = {}
    for key in loaded.keys:
        held = folder.between(name(key, loaded))
        units, *shape = loaded.shapes[key[1]]
        found[key] = Cells(held["keys"], held["corners"], units, (shape[0], shape[1]))
    return found


def _thresholds(loaded: Inputs, folder: DissectionFolder) -> tuple[str, dict[Key, Thresholds]]:
    """The first phase, and the thresholds that count."""
    first = next(iter(loaded.manifest.shards))
    if first == "look":
        metrics = {f"{kind}/thresholds/{layer}": each for kind, gathered in Looking(loaded).gathered.items()
                   for layer, each in gathered.thresholds.items()}  # fmt: skip
        found = folder.computed("look", metrics)
    else:
        found = folder.computed("fine", Fine(loaded, folder).metrics)
    known = {(kind, layer): found[f"{kind}/thresholds/{layer}"] for kind, layer in loaded.keys}
    return first, loaded.method.thresholds(known)


def _cells(loaded: Inputs, folder: DissectionFolder, key: Key, known: Thresholds) -> Cells:
    """Those above the thresholds, in the order of the images; file after file, as each holds more than is needed."""
    kind, layer = key
    units, height, width = loaded.shapes[layer]
    parts = [
        Cells(held["keys"], held["corners"], units, (height, width)).above(known.value)
        for held in folder.parts("look", f"{kind}/cells/{layer}")
    ]
    keys, corners = torch.cat([part.keys for part in parts]), torch.cat([part.corners for part in parts])
    order = keys.argsort()
    return Cells(keys[order], corners[order], units, (height, width))
