"""Network dissection as an evaluator in Captum's manner: which concept does each unit point at, also under attack?

No mathematics is done here.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from torch import Tensor, nn
from tqdm.auto import tqdm

from interp_captum.arguments import given
from interp_captum.layers import Layer, is_one, names_of
from interp_captum.masks import Concepts, LoadedMasks, Watched
from interp_captum.pointing import NetworkDissectionResult, result_of
from interp_plugins.dissection import dissection as core
from interp_plugins.dissection.overlap import Union
from interp_plugins.dissection.thresholds import Rule
from interp_plugins.foundation.concepts import LabelledImages

Attack = Callable[[Tensor], Tensor]


class NetworkDissection:
    """Names the concept that each unit of one or several layers points at, on images with masks.

    Args:
        model: The network: [0, 1] images in; given back as found.
        layer: A layer that puts out maps, as a module of the model or by its dotted name, or a list of them.
        share: Of all places of a unit, the share that is to lie above its threshold.
        quantile: "exact", or "netdissect": what the authors' code reads off.
        union: How the pixels a unit lights count: in images that have labels of the concept's category ("category"),
            where such a label lies under a lit pixel ("lite"), or all of them ("plain").
        detector: The IoU above which a unit is a detector.
        permutations: How often labels are exchanged between images to see what chance gives.
        draws: Of the bootstrap that tells whether a drop is real; 0 for none.
        threshold: Of attacked images: "recompute" it, or keep that of the "clean" ones.
        seed: Of permutations and draws.

    Raises:
        ValueError: For a module that is not in the model, or a wrong setting.

    Example:
        >>> import torch
        >>> net = nn.Sequential(nn.Conv2d(1, 1, 1), nn.Flatten())
        >>> _ = net.load_state_dict({"0.weight": torch.ones(1, 1, 1, 1), "0.bias": torch.zeros(1)})
        >>> images = torch.zeros(4, 1, 8, 8)
        >>> images[:, :, 2:4, 2:4] = 0.9
        >>> dissection = NetworkDissection(net, net[0], share=4 / 64)
        >>> found = dissection.evaluate((images, (images[:, 0] > 0).int()), concepts={1: "square"})
        >>> found.clean.label, found.clean.detectors
        (('square',), {'object': 1, 'all': 1})
    """

    def __init__(
        self,
        model: nn.Module,
        layer: Layer | Sequence[Layer],
        *,
        share: float = core.NetworkDissection.share,
        quantile: Rule = core.NetworkDissection.quantile,
        union: Union = core.NetworkDissection.union,
        detector: float = core.NetworkDissection.detector,
        permutations: int = core.NetworkDissection.permutations,
        draws: int = core.NetworkDissection.draws,
        threshold: core.Policy = core.NetworkDissection.threshold,
        seed: int = core.NetworkDissection.seed,
    ) -> None:
        self.model = model
        self._one, self.layers = is_one(layer), names_of(model, layer)
        self.settings = core.NetworkDissection(
            share=share,
            quantile=quantile,
            union=union,
            detector=detector,
            permutations=permutations,
            draws=draws,
            threshold=threshold,
            seed=seed,
        )

    def evaluate(
        self,
        inputs: Any,
        attack: Attack | None = None,
        additional_forward_args: Any = None,
        internal_batch_size: int | None = None,
        show_progress: bool = False,
        *,
        concepts: Concepts | None = None,
    ) -> NetworkDissectionResult | list[NetworkDissectionResult]:
        """What all units point at; every image runs through the network once, and once more attacked.

        Args:
            inputs: Images with masks: a DataLoader, a Dataset, or anything that yields tuples (images, masks) and can
                be gone through twice, or one such tuple. Images (n, c, h, w) are float in [0, 1] or uint8; masks
                (n, h', w') or (n, layers, h', w') have the numbers of concepts, 0 for nothing, and may be smaller.
                Or what `interp_plugins.sources.labelled.open_labelled` opens: a Broden directory, or folders of images
                and masks.
            attack: Makes attacked images of images, both (n, c, h, w); a perturbation of `captum.robust` that needs no
                target is one. None for clean images alone. Default: None
            additional_forward_args: What the model takes besides images, the same for all of them. Default: None
            internal_batch_size: Images per call of the network, a power of two; None for the core's choice.
                Default: None
            show_progress: Whether to show bars, one for the images and one for their labels. Default: False
            concepts: What the masks' numbers mean: for each from 1 a name, or a name and a category; "object" where
                there is none. Not for images that bring their concepts. Default: None

        Returns:
            A result, or a list of them where a list of layers was given.

        Raises:
            LayerNotReached: For a layer that did not run.
            TypeError: For batches of another form, and masks of other than whole numbers.
            ValueError: For masks of several sizes or with numbers that are no concepts, images out of range, too few
                places, a NaN, or an attack that gives something else than images.
        """
        own = isinstance(inputs, LabelledImages)
        if own and concepts is not None:
            raise ValueError("expected concepts beside images and masks alone; these images bring theirs")
        images: LabelledImages = inputs if own else LoadedMasks(inputs, concepts)
        look = replace(self.settings, tile=internal_batch_size)
        moved = None if attack is None else partial(_attacked, attack)
        title, labels = "NetworkDissection", len(images) * (1 + look.permutations)
        with (
            given(self.model, additional_forward_args),
            tqdm(desc=f"{title}, images", total=len(images), disable=not show_progress) as seen,
            tqdm(desc=f"{title}, labels", total=labels, disable=not show_progress) as counted,
        ):
            watched = Watched(images, lambda count: seen.update(count - seen.n), counted.update)
            found = look(self.model, self.layers, watched, moved)
        results = [result_of(layer, found[layer], images.vocabulary) for layer in self.layers]
        return results[0] if self._one else results


def _attacked(attack: Attack, images: Tensor, numbers: Tensor) -> Tensor:
    """What the attack makes of the images."""
    moved = attack(images)
    if not isinstance(moved, Tensor) or moved.shape != images.shape:
        got = tuple(moved.shape) if isinstance(moved, Tensor) else type(moved).__name__
        raise ValueError(f"expected an attack that gives images of shape {tuple(images.shape)}, got {got}")
    return moved
