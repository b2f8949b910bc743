"""What a finished survey was made from, found again: the network, the real images, what each unit stands for."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from jaxtyping import Float, Float64
from torch import Tensor, nn

from interp_plugins.cli import networks
from interp_plugins.cli.attack import stored
from interp_plugins.neurons.exemplars import Exemplars
from interp_plugins.neurons.histograms import histogram, select
from interp_plugins.sources import images
from interp_plugins.sources.images import ImageSet
from interp_plugins.store.images import places
from interp_plugins.store.sets import AdversarialSet
from interp_plugins.store.surveys import SurveyFolder


@dataclass(frozen=True)
class Surveyed:
    """A finished survey with its network at hand."""

    folder: SurveyFolder
    network: nn.Module
    device: torch.device

    @classmethod
    def open(cls, folder: Path) -> "Surveyed":
        """Open a survey and load its network.

        Raises:
            FileNotFoundError: There is no survey, or the network's file is not there.
            ValueError: The survey is not finished, or the network is another now.
        """
        torch.set_num_threads(1)
        found = SurveyFolder.open(folder)
        found.tensors(())
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        module = networks.again(found.manifest.model, device, folder, found.noun).module
        return cls(found, module, device)

    @cached_property
    def real(self) -> ImageSet:
        """The real images; that they are the same is told by their labels, as reading all of them takes long.

        Raises:
            FileNotFoundError: They are there no longer.
            ValueError: Others are there.
        """
        used = self.folder.manifest.real
        if not Path(used.spec).exists():
            raise FileNotFoundError(
                f"no images at {used.spec}, where they lay when {self.folder.folder} was made; bring them back, or "
                "make another survey"
            )
        found = images.load(used.spec, used.size, used.labels, split=used.split)
        if not torch.equal(found.labels[: used.count], self.folder.tensors(["labels"])["labels"]):
            raise ValueError(
                f"expected the {used.count} images that {self.folder.folder} was made with at {used.spec}, got others; "
                "bring them back, or make another survey"
            )
        return found

    @cached_property
    def shape(self) -> tuple[int, ...]:
        """Of the images, (channels, height, width)."""
        return tuple(self.real.tensor([0]).shape[1:])

    @cached_property
    def adversarial(self) -> AdversarialSet:
        """The adversarial set.

        Raises:
            FileNotFoundError: It is there no longer.
            ValueError: The survey was made without one, or the set is another now.
        """
        used = self.folder.manifest.attacked
        if used is None:
            raise ValueError(
                f"expected a set, {self.folder.folder} was made of real images alone; name one with --adversarial"
            )
        try:
            found = stored.finished(Path(used.spec))
        except FileNotFoundError as error:
            raise FileNotFoundError(f"{error}; bring it back, or make another survey") from error
        if (digest := str(found.manifest.digest)) != used.sha256:
            raise ValueError(
                f"expected the set {used.sha256[:12]} that {self.folder.folder} was made with at {used.spec}, got "
                f"{digest[:12]}; bring it back, or make another survey"
            )
        return found

    @property
    def similarity(self) -> Float64[Tensor, "c c"]:
        """a_ij of the classes."""
        return self.folder.tensors(["similarity"])["similarity"]

    def layer(self, asked: str | None, units: int) -> str:
        """The layer that was asked for, or the last maps.

        Args:
            asked: Its name.
            units: How many of its units were asked for.

        Raises:
            ValueError: The layer was not measured, or has fewer units.
        """
        measured = self.folder.manifest.layers
        name = measured[-1] if asked is None else asked
        if name not in measured:
            raise ValueError(f"expected a layer that was measured, {', '.join(measured)}, got {name!r}")
        if units > (most := len(self.exemplars(name).ids)):
            raise ValueError(f"expected --units from 1 to {most}, those of layer {name!r}, got {units}")
        return name

    def exemplars(self, layer: str) -> Exemplars:
        """The top real images of a layer's units."""
        return self.folder.exemplars("real", layer)

    def histograms(self, layer: str) -> Float64[Tensor, "u c"]:
        """What each unit of a layer stands for; nan for dead units."""
        found, labels = self.exemplars(layer), self.folder.tensors(["labels"])["labels"]
        return histogram(select(found.ids, dead=found.dead), labels, len(self.folder.manifest.classes))

    def put(self, pixels: Tensor) -> Float[Tensor, "n c h w"]:
        """Bytes as numbers in [0, 1], where the network is."""
        return pixels.to(self.device).float() / 255


def originals(attacked: AdversarialSet, numbers: Sequence[int]) -> tuple[ImageSet, list[int]]:
    """The clean images of a set, and where those lie of which the numbers in the set are given.

    Raises:
        FileNotFoundError: They are there no longer.
        ValueError: There is something else.
    """
    data = attacked.manifest.data
    if not Path(data.spec).exists():
        raise FileNotFoundError(
            f"no images at {data.spec}, where they lay when {attacked.folder} was made; bring them back, or type this "
            "where the set was made"
        )
    clean = stored.clean_images(attacked.manifest, None, None)
    where = places(data, clean)
    for number in numbers:
        if clean.sha256(where[number]) != data.sha256s[number]:
            raise ValueError(
                f"expected the images that {attacked.folder} was made from, got another {data.ids[number]!r}; bring it "
                "back"
            )
    return clean, [where[number] for number in numbers]
