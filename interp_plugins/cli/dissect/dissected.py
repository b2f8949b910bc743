"""What a finished dissection was made from, found again: the network, the labelled images, the attack."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from interp_plugins.cli import networks
from interp_plugins.cli.attack import stored
from interp_plugins.cli.dissect.attacks import Spec
from interp_plugins.cli.dissect.inputs import Subject, subject
from interp_plugins.sources.labelled import open_labelled
from interp_plugins.store.dissections import DissectionFolder


@dataclass(frozen=True)
class Finished:
    """A finished dissection with its network and images at hand."""

    folder: DissectionFolder
    subject: Subject

    @classmethod
    def open(cls, folder: Path) -> "Finished":
        """Open a dissection, and load its network.

        Raises:
            FileNotFoundError: There is no dissection, or the network's file, the images or the set are not there.
            ValueError: The dissection is not finished, or the network or the set is another now.
        """
        torch.set_num_threads(1)
        found = DissectionFolder.open(folder)
        found.tensors(())
        manifest, device = found.manifest, torch.device("cuda" if torch.cuda.is_available() else "cpu")
        settings, data = manifest.settings, manifest.data
        if not Path(data.spec).exists():
            raise FileNotFoundError(
                f"no images at {data.spec}, where they lay when {folder} was made; bring them back, or make another "
                "dissection"
            )
        categories = settings["categories"]
        assert isinstance(categories, list)  # as it was written
        images = open_labelled(data.spec, [str(name) for name in categories], size=data.size, limit=data.count)
        attack = None
        if manifest.attack is not None:
            attack = Spec.read(manifest.attack)
            if manifest.attacked is not None:
                attack = attack._replace(folder=_same_set(folder, manifest.attacked.spec, manifest.attacked.sha256))
        model = networks.again(manifest.model, device, folder, found.noun)
        tile = int(str(settings["tile"]))
        return cls(found, subject(model, images, ",".join(manifest.layers), attack, tile, device))

    def layer(self, asked: str | None) -> str:
        """The layer that was asked for, or the last one.

        Raises:
            ValueError: The layer was not dissected.
        """
        dissected = self.folder.manifest.layers
        name = dissected[-1] if asked is None else asked
        if name not in dissected:
            raise ValueError(f"expected a layer that was dissected, {', '.join(dissected)}, got {name!r}")
        return name

    def thresholds(self, layer: str) -> dict[str, Float64[Tensor, " u"]]:
        """The thresholds of a layer's units, for each kind of images."""
        return {kind: self._tensor(kind, layer, "threshold") for kind in self.subject.kinds}

    def tops(self, layer: str) -> dict[str, Int64[Tensor, "u k"]]:
        """The top images of a layer's units, for each kind of images."""
        return {kind: self._tensor(kind, layer, "tops") for kind in self.subject.kinds}

    def check_same(self, numbers: Iterable[int]) -> None:
        """Check that images and labels are those that were dissected; to read all of them would take long.

        Raises:
            ValueError: One is another.
        """
        known, images = self.folder.tensors(["images"])["images"], self.subject.images
        for number in sorted(set(numbers)):
            if number >= len(images) or not torch.equal(self.subject.sha256(number), known[number]):
                raise ValueError(
                    f"expected the {len(known)} images that {self.folder.folder} was made with at {images.folder}, got "
                    f"others, the first at place {number}; bring them back, or make another dissection"
                )

    def _tensor(self, kind: str, layer: str, name: str) -> Tensor:
        return self.folder.tensors([f"{kind}/{layer}/{name}"])[f"{kind}/{layer}/{name}"]


def _same_set(folder: Path, spec: str, sha256: str) -> Path:
    digest = str(stored.finished(Path(spec)).manifest.digest)
    if digest != sha256:
        raise ValueError(
            f"expected the set {sha256[:12]} that {folder} was made with at {spec}, got {digest[:12]}; bring it back, "
            "or make another dissection"
        )
    return Path(spec)
