"""A dissection on disk: `dissection.json`, what is finished of the work, and the result.

Before the last phase stand files of its own, one for each layer of each kind of images: the thresholds, and the cells
that can matter, merged from all processes and in the order of the images. Each process maps from them what it needs.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Literal

import safetensors.torch
from safetensors import safe_open
from torch import Tensor

from interp_plugins.dissection.labels import UnitLabels
from interp_plugins.foundation.files import write_whole
from interp_plugins.store import disk
from interp_plugins.store.manifest import Positive
from interp_plugins.store.work import STATE, Used, WorkFolder, WorkManifest

LABELS = ("concept", "category", "iou", "per_category_concept", "per_category_iou", "silent")
Phase = Literal["look", "coarse", "fine", "tally"]


class DissectionManifest(WorkManifest):
    """The content of dissection.json: all that decides the result."""

    schema_version: Literal[1] = 1
    kind: Literal["network dissection"] = "network dissection"
    data: Used
    attack: str | None  # as it was typed
    attacked: Used | None  # an adversarial set, by its digest
    shards: dict[Phase, Positive]  # type: ignore[assignment]  # narrower: of these phases


class DissectionFolder(WorkFolder[DissectionManifest]):
    """A dissection in its folder."""

    noun, command = "dissection", "dissect run"
    manifest_name, result_name = "dissection.json", "dissection.safetensors"
    manifest_type = DissectionManifest
    titles: ClassVar[Mapping[str, str]] = {
        "look": "looking at images",
        "coarse": "thresholds, roughly",
        "fine": "thresholds, exactly",
        "tally": "counting labels",
    }

    def write(self, tensors: Mapping[str, Tensor]) -> None:
        """Write the result, with names KIND/LAYER/NAME, and the digests of the images."""
        self.write_result(tensors, {})

    def labels(self, kind: str, layer: str) -> UnitLabels:
        """The labels of a layer's units.

        Raises:
            ValueError: The dissection is not finished, the layer is not in it, or the file is damaged.
        """
        found = self.tensors(f"{kind}/{layer}/{name}" for name in LABELS)
        named = {name.rpartition("/")[2]: tensor for name, tensor in found.items()}
        return UnitLabels(**named, detector=float(str(self.manifest.settings["detector"])))

    def write_between(self, which: str, tensors: Mapping[str, Tensor]) -> None:
        """Write what the last phase needs of those before.

        Args:
            which: Of which images and layer.
            tensors: By name.

        Raises:
            OSError: The folder cannot be written.
        """
        whole = {name: value.contiguous() for name, value in tensors.items()}
        with disk.explained(self.folder):
            write_whole(self._between(which), safetensors.torch.save(whole))

    def between(self, which: str) -> dict[str, Tensor]:
        """What `write_between` wrote, mapped from the file: only what is looked at is read."""
        path = self._between(which)
        disk.require_plain(path)
        with safe_open(path, "pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118

    def _between(self, which: str) -> Path:
        return self.folder / STATE / f"between {which}.safetensors"
