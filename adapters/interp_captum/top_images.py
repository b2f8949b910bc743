"""One pass over a data set: the top images of each unit, what all images show, and what the model says of them."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from interp_captum.inputs import Batch, batches_of
from interp_plugins.foundation.measuring import for_measuring
from interp_plugins.foundation.prepare import device_of
from interp_plugins.neurons.activations import Reduction, observe
from interp_plugins.neurons.exemplars import Exemplars, NeuronExemplars, refuse_chance

Read = Callable[[Iterable[Any], torch.device], Iterator[Batch]]
CPU = torch.device("cpu")


@dataclass(frozen=True)
class TopImages:
    """What one pass over n images found, on the CPU; images are numbered in the order in which they came."""

    exemplars: dict[str, Exemplars]  # of each layer
    labels: Tensor  # what each image shows
    targets: Tensor | None  # the class each is to be taken for
    sources: Tensor | None  # the picture each was made from
    says: Tensor  # which of the model's outputs is largest, int64 (n,)
    outputs: tuple[int, ...]  # their shape for one image: (classes,) of a classifier


@dataclass(frozen=True)
class Pass:
    """Goes over a data set and finds the top images of each unit of some layers."""

    model: nn.Module  # given back as found
    layers: tuple[str, ...]
    reduction: Reduction  # "max" or "mean" over a map
    tile: int | None  # rows a network call, a power of two; None for the core's choice
    title: str | None  # of the bar that shows progress; None for no bar

    def __call__(self, inputs: Any, read: Read, k: int) -> TopImages:
        """The k top images of each unit.

        Args:
            inputs: What the user gave, each image once.
            read: Makes batches of it.
            k: Images a unit.

        Raises:
            LayerNotReached: A layer did not run.
            TypeError: Batches have another form.
            ValueError: There are fewer than k images, a score is NaN, the model answers one image in two ways, or
                batches differ in what is known of their images.
        """
        network: nn.Module | None = None
        metric = NeuronExemplars(self.layers, k)
        seen: list[Batch] = []
        says: list[Tensor] = []
        bar = tqdm(batches_of(inputs), desc=self.title, disable=self.title is None)
        for batch in read(bar, device_of([self.model], CPU)):
            first = network is None
            network = for_measuring(self.model, batch.images) if network is None else network
            found = observe(network, self.layers, batch.images, self.reduction, self.tile)
            if first:
                again = observe(network, self.layers, batch.images[:1], self.reduction, self.tile)
                refuse_chance(found.scores, again.scores)
            start = int(metric.count)
            metric.update(found.scores, torch.arange(start, start + len(batch.images), device=batch.images.device))
            outputs = tuple(found.logits.shape[1:])
            says.append(found.logits.flatten(1).argmax(1).cpu())
            seen.append(replace(batch, images=batch.images[:0]))
        if not seen:
            raise ValueError("expected at least one batch of images, got none")
        exemplars = metric.compute()
        return TopImages(
            {layer: _on_cpu(each) for layer, each in exemplars.items()},
            labels=torch.cat([batch.labels for batch in seen]),
            targets=_joined([batch.targets for batch in seen], "targets"),
            sources=_joined([batch.sources for batch in seen], "numbers of pictures"),
            says=torch.cat(says),
            outputs=outputs,
        )


def _on_cpu(found: Exemplars) -> Exemplars:
    return Exemplars(found.layer, found.values.cpu(), found.ids.cpu(), found.images, found.dead.cpu())


def _joined(parts: Sequence[Tensor | None], name: str) -> Tensor | None:
    given = [part for part in parts if part is not None]
    if given and len(given) < len(parts):
        raise ValueError(f"expected {name} in all batches or in none, got them in {len(given)} of {len(parts)}")
    return torch.cat(given) if given else None
