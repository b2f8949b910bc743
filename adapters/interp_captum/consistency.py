"""LC, consis and consis_adv as an evaluator in Captum's manner: does a unit stand for one thing?

No mathematics is done here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn

from interp_captum.alike import Alike, similarity_of
from interp_captum.arguments import given
from interp_captum.inputs import attacked as read_attacked
from interp_captum.inputs import labelled
from interp_captum.layers import Layer, is_one, names_of
from interp_captum.results import Result
from interp_captum.top_images import Pass, TopImages
from interp_plugins.neurons import consistency as core
from interp_plugins.neurons.activations import Reduction
from interp_plugins.neurons.histograms import histogram, select


@dataclass(frozen=True, eq=False)
class NeuronConsistencyResult(Result):
    """What is known of each of the u units of a layer; nan where undefined, None where nothing attacked was given."""

    row: ClassVar[str] = "unit"

    layer: str  # its dotted name
    lc: Tensor  # as printed in the papers, float64 (u,)
    lc_debiased: Tensor  # without pairs of an image with itself
    images: Tensor  # real top images counted, int64 (u,); 0 for a unit that scores all images alike
    histograms: Tensor  # share of them that shows each class, float64 (u, c)
    consis_adv: Tensor | None  # LC of the attacked top images, by what they contain
    consis_adv_debiased: Tensor | None  # without pairs of images of one picture
    images_adv: Tensor | None  # attacked top images counted
    sources_adv: Tensor | None  # different pictures among them


class NeuronConsistency:
    """Measures how specific and how consistent each unit of one or several layers is.

    Args:
        model: The network: [0, 1] images in, logits out; given back as found.
        layer: A layer, as a module of the model or by its dotted name, or a list of them.
        similarity: How alike classes are: a matrix (c, c), or the wnid of each class, or "imagenet-1k", "cifar-10" or
            "scenes". `torch.eye(c)` for classes that have nothing in common.
        sigma: In edges, where `similarity` is no matrix. Default: 2
        k: Top real images a unit; the papers' 1 % is `interp_plugins.neurons.top_count(n)`.
        attacked_k: Top attacked images a unit. Default: k
        reduction: What stands for a channel's map: "max" or "mean".

    Raises:
        ValueError: For a module that is not in the model, an unknown wnid, or sigma beside a matrix.

    Example:
        >>> import torch
        >>> net = nn.Sequential(nn.Conv2d(1, 1, 1), nn.Flatten())
        >>> _ = net.load_state_dict({"0.weight": torch.ones(1, 1, 1, 1), "0.bias": torch.zeros(1)})
        >>> images, labels = torch.tensor([0.1, 0.9, 0.8, 0.2]).view(4, 1, 1, 1), torch.tensor([0, 0, 1, 1])
        >>> found = NeuronConsistency(net, net[0], similarity=torch.eye(2), k=2).evaluate((images, labels))
        >>> found.lc, found.histograms
        (tensor([0.5000], dtype=torch.float64), tensor([[0.5000, 0.5000]], dtype=torch.float64))
    """

    def __init__(
        self,
        model: nn.Module,
        layer: Layer | Sequence[Layer],
        *,
        similarity: Alike,
        sigma: float | None = None,
        k: int,
        attacked_k: int | None = None,
        reduction: Reduction = "max",
    ) -> None:
        self.model, self.k, self.reduction = model, k, reduction
        self.attacked_k = k if attacked_k is None else attacked_k
        self._one, self.layers = is_one(layer), names_of(model, layer)
        self.similarity = similarity_of(similarity, sigma)

    def evaluate(
        self,
        inputs: Any,
        attacked: Any = None,
        additional_forward_args: Any = None,
        internal_batch_size: int | None = None,
        show_progress: bool = False,
    ) -> NeuronConsistencyResult | list[NeuronConsistencyResult]:
        """The measures over all images, each of which comes once.

        Args:
            inputs: Real images with their labels: a DataLoader, or anything that yields tuples (images, labels), or one
                such tuple. Images (n, c, h, w) are float in [0, 1] or uint8; labels are classes (n,), or concepts, any
                number an image, bool (n, m).
            attacked: Attacked images in the same form, with the labels of what they contain; further tensors, if any,
                are targets, not used, and the number of the picture each was made from. Or the records of an
                adversarial set. Default: None
            additional_forward_args: What the model takes besides images, the same for all of them. Default: None
            internal_batch_size: Images per call of the network, a power of two; None for the core's choice.
                Default: None
            show_progress: Whether to show a bar, one step a batch. Default: False

        Returns:
            A result, its tensors on the CPU, or a list of them where a list of layers was given.

        Raises:
            LayerNotReached: For a layer that did not run.
            TypeError: For batches without labels.
            ValueError: For fewer than k images, images out of range, labels beyond the similarity's, a NaN, or a model
                that answers one image in two ways.
        """
        title = "NeuronConsistency" if show_progress else None
        look = Pass(self.model, self.layers, self.reduction, internal_batch_size, title)
        with given(self.model, additional_forward_args):
            real = look(inputs, labelled, self.k)
            moved = None if attacked is None else look(attacked, read_attacked, self.attacked_k)
        results = [self._measured(layer, real, moved) for layer in self.layers]
        return results[0] if self._one else results

    def _measured(self, layer: str, real: TopImages, moved: TopImages | None) -> NeuronConsistencyResult:
        top = real.exemplars[layer]
        lc = core.consistency(top.ids, real.labels, self.similarity, dead=top.dead)
        adv = None
        if moved is not None:
            ids, dead = moved.exemplars[layer].ids, moved.exemplars[layer].dead
            adv = core.consistency(ids, moved.labels, self.similarity, sources=moved.sources, dead=dead)
        return NeuronConsistencyResult(
            layer=layer,
            lc=lc.raw,
            lc_debiased=lc.debiased,
            images=lc.images,
            histograms=histogram(select(top.ids, dead=top.dead), real.labels, len(self.similarity)),
            consis_adv=adv.raw if adv else None,
            consis_adv_debiased=adv.debiased if adv else None,
            images_adv=adv.images if adv else None,
            sources_adv=adv.sources if adv else None,
        )
