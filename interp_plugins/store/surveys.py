"""What was measured of a network's neurons, on disk: `survey.json`, what is finished of the work, and the result."""

from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from torch import Tensor

from interp_plugins.neurons.exemplars import Exemplars
from interp_plugins.store.manifest import Positive
from interp_plugins.store.work import Used, WorkFolder, WorkManifest

FIELDS = ("values", "ids", "dead")
Phase = Literal["real", "attacked"]


class SurveyManifest(WorkManifest):
    """The content of survey.json: all that decides the result; the last of its layers is the representation."""

    schema_version: Literal[1] = 1
    kind: Literal["neuron survey"] = "neuron survey"
    real: Used
    attacked: Used | None  # an adversarial set, by its digest
    classes: tuple[str, ...]  # their names
    shards: dict[Phase, Positive]  # type: ignore[assignment]  # narrower: of these phases


class SurveyFolder(WorkFolder[SurveyManifest]):
    """A survey in its folder."""

    noun, command = "survey", "neurons run"
    manifest_name, result_name = "survey.json", "neurons.safetensors"
    manifest_type = SurveyManifest
    titles: ClassVar[Mapping[str, str]] = {"real": "real images", "attacked": "attacked images"}

    def write(self, exemplars: Mapping[str, Mapping[str, Exemplars]], measures: Mapping[str, Tensor]) -> None:
        """Write the result.

        Args:
            exemplars: For "real" and "attacked" those of each layer.
            measures: More tensors by name.
        """
        tensors, images = dict(measures), {}
        for which, layers in exemplars.items():
            for layer, found in layers.items():
                images[which] = str(found.images)
                tensors |= {f"{which}/{layer}/{field}": getattr(found, field) for field in FIELDS}
        self.write_result(tensors, images)

    def exemplars(self, which: Phase, layer: str) -> Exemplars:
        """The top images of a layer's units.

        Raises:
            ValueError: The survey is not finished, the layer is not in it, or the file is damaged.
        """
        found = self.tensors(f"{which}/{layer}/{field}" for field in FIELDS)
        values, ids, dead = found.values()
        if ids.shape != values.shape or dead.shape != values.shape[:1] or dead.dtype != torch.bool:
            path = self.folder / self.result_name
            raise ValueError(f"expected the top images of {layer!r} in {path}, got something else")
        return Exemplars(layer, values, ids, int(self.metadata()[which]), dead)
