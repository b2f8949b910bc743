"""What a finished survey was made from, found again: the network, the real images, what each unit stands for."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from jaxtyping import Float, Float64
from torch import Tensor, nn

from interp_plugins.cli.attack import stored
from interp_plugins.neurons.exemplars import Exemplars
from interp_plugins.neurons.histograms import histogram, select
from interp_plugins.sources import images, models, weights
from interp_plugins.sources.images import ImageSet
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
        member = found.manifest.model
        module = models.load(member.spec, device).module
        if (digest := weights.digest(module)) != member.sha256:
            raise ValueError(
                f"expected the weights {member.sha256[:12]} of {member.name} that {folder} was made with, got "
                f"{digest[:12]}; bring them back, or make another survey"
            )
        return cls(found, module, device)

    @cached_property
    def real(self) -> ImageSet:
        """The real images.

        Raises:
            FileNotFoundError: They are there no longer.
        """
        used = self.folder.manifest.real
        return images.load(used.spec, used.size, used.labels, split=used.split)

    @cached_property
    def set(self) -> AdversarialSet:
        """The adversarial set.

        Raises:
            ValueError: The survey was made without one, or the set is another now.
        """
        used = self.folder.manifest.attacked
        if used is None:
            raise ValueError(f"{self.folder.folder} was made of real images alone; name a set with --adversarial")
        found = stored.finished(Path(used.spec))
        if found.manifest.digest != used.sha256:
            raise ValueError(f"expected the set that the survey was made with at {used.spec}, got another")
        return found

    @property
    def similarity(self) -> Float64[Tensor, "c c"]:
        """a_ij of the classes."""
        return self.folder.tensors(["similarity"])["similarity"]

    def layer(self, asked: str | None) -> str:
        """The layer that was asked for, or the last maps."""
        return self.folder.manifest.layers[-1] if asked is None else asked

    def exemplars(self, layer: str) -> Exemplars:
        """The top real images of a layer's units.

        Raises:
            ValueError: The layer was not measured; those that were are named.
        """
        return self.folder.exemplars("real", layer)

    def histograms(self, layer: str) -> Float64[Tensor, "u c"]:
        """What each unit of a layer stands for; nan for dead units."""
        found, labels = self.exemplars(layer), self.folder.tensors(["labels"])["labels"]
        return histogram(select(found.ids, dead=found.dead), labels, len(self.folder.manifest.classes))

    def put(self, pixels: Tensor) -> Float[Tensor, "n c h w"]:
        """Bytes as numbers in [0, 1], where the network is."""
        return pixels.to(self.device).float() / 255
