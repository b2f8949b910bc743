"""Every measure of a network's units, layer by layer, from what two passes over images found (`passes`).

    LC, consis_adv    each unit's histograms of the classes that real and attacked images contain (`consistency`)
    CS_1, CS_2        how alike those are, and those of the targets (`similarity`)
    r_1, r_2          distances (`distance`)

Dong et al., arXiv:1708.05493 and arXiv:1901.09035.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float, Float64, Int
from torch import Tensor, nn

from interp_plugins.foundation import check
from interp_plugins.foundation.measuring import conv_layers, for_measuring, last_map
from interp_plugins.neurons.activations import Reduction
from interp_plugins.neurons.consistency import Consistency, consistency
from interp_plugins.neurons.distance import Ratios
from interp_plugins.neurons.exemplars import Exemplars, top_count
from interp_plugins.neurons.histograms import histogram, select
from interp_plugins.neurons.passes import AttackedPass, RealPass, Sight, last_layers
from interp_plugins.neurons.similarity import class_similarity, split_half_ceiling


@dataclass(frozen=True)
class Records:
    """What is known of the attacked images."""

    labels: Int[Tensor, " m"]  # what each contains
    targets: Int[Tensor, " m"]  # what each is to be taken for
    says: Int[Tensor, " m"]  # what the network takes it for
    sources: Int[Tensor, " m"]  # which picture it was made from

    @property
    def fooled(self) -> Bool[Tensor, " m"]:
        """Which are taken for their target."""
        return self.says == self.targets


@dataclass(frozen=True)
class LayerSurvey:
    """What is known of each of the u units of a layer, float64, nan where undefined.

    What concerns attacked images is None where none were looked at.
    """

    real: Exemplars
    lc: Consistency
    ceiling: Float64[Tensor, " u"]  # CS of two halves of the real images
    attacked: Exemplars | None = None
    lc_adv: Consistency | None = None  # by what attacked images contain; pairs of one picture left out
    cs1: Float64[Tensor, " u"] | None = None
    cs2: Float64[Tensor, " u"] | None = None
    cs1_fooled: Float64[Tensor, " u"] | None = None  # of those taken for their target only
    cs2_fooled: Float64[Tensor, " u"] | None = None


def survey(
    real: Exemplars,
    labels: Int[Tensor, " n"],
    similarity: Float[Tensor, "c c"],
    attacked: Exemplars | None = None,
    records: Records | None = None,
    *,
    weighted: bool = False,
) -> LayerSurvey:
    """All measures of one layer from its units' top images.

    Args:
        real: Top real images.
        labels: What each real image shows.
        similarity: a_ij of the classes.
        attacked: Top attacked images.
        records: What is known of those.
        weighted: Whether CS weighs classes by their similarity.
    """
    fooled = None if records is None else records.fooled
    tops = [(labels, real.ids)]
    if attacked is not None and records is not None:
        tops += [(records.labels, attacked.ids), (records.targets, attacked.ids)]
    (labels, *of_attacked), similarity = _only_shown(tops, similarity)
    classes, weight = len(similarity), similarity if weighted else None
    lc = consistency(real.ids, labels, similarity, dead=real.dead)
    ids = select(real.ids, dead=real.dead)
    ceiling = split_half_ceiling(ids, labels, classes, weight)
    if attacked is None or records is None:
        return LayerSurvey(real, lc, ceiling)
    p = histogram(ids, labels, classes)
    found = {}
    for name, some in (("", None), ("_fooled", fooled)):
        top = select(attacked.ids, images=some, dead=attacked.dead)
        for cs, classes_of in zip(("cs1", "cs2"), of_attacked, strict=True):
            found[cs + name] = class_similarity(p, histogram(top, classes_of, classes), weight)
    lc_adv = consistency(attacked.ids, of_attacked[0], similarity, sources=records.sources, dead=attacked.dead)
    return LayerSurvey(real, lc, ceiling, attacked, lc_adv, **found)


def _only_shown(
    tops: Sequence[tuple[Int[Tensor, " _"], Int[Tensor, "_ _"]]], similarity: Float[Tensor, "c c"]
) -> tuple[list[Int[Tensor, " _"]], Float[Tensor, "s s"]]:
    """Labels and similarity of the s classes that some top image has, numbered anew; the others would add zeros.

    Args:
        tops: Labels of all images, and top images by which the classes are chosen. What is not among these gets any.
        similarity: a_ij of all classes.
    """
    shown = torch.zeros(len(similarity), dtype=torch.bool, device=similarity.device)
    for labels, ids in tops:
        shown[check.labels(labels, len(labels), len(shown))[ids].to(shown.device)] = True
    numbers = (shown.cumsum(0) - 1).clamp_min(0)
    return [numbers.to(labels.device)[labels] for labels, _ in tops], similarity[shown][:, shown]


@dataclass(frozen=True)
class Survey:
    """What both passes found."""

    layers: dict[str, LayerSurvey]
    labels: Int[Tensor, " n"]  # of the real images
    says: Int[Tensor, " n"]  # what the network takes those for
    records: Records | None = None
    ratios: Ratios | None = None  # r_1 and r_2 of each attacked image


def survey_of(
    model: nn.Module,
    images: Float[Tensor, "n c h w"],
    labels: Int[Tensor, " n"],
    similarity: Float[Tensor, "k k"],
    attacked: Float[Tensor, "m t c h w"] | None = None,
    targets: Int[Tensor, "m t"] | None = None,
    *,
    layers: Sequence[str] | Literal["auto"] = "auto",
    share: float = 0.01,
    reduction: Reduction = "max",
    tile: int | None = None,
) -> Survey:
    """Both passes over images that are all at hand.

    Args:
        model: The network, from images to logits; given back as found.
        images: Real ones, in [0, 1].
        labels: What they show.
        similarity: a_ij of the classes, in the order of the logits.
        attacked: What was made of the first m images, t of each, in [0, 1].
        targets: The classes these are to be taken for.
        layers: Whose units; "auto" is every convolution. The last maps come behind them if they are none of them.
        share: Which share of all images are a unit's top images.
        reduction: "max" or "mean" over a map.
        tile: Rows a network call, a power of two; None is 8 on a CPU and 64 on a GPU.
    """
    phi = last_map(model, images[:1])
    names = last_layers(conv_layers(model) if isinstance(layers, str) else layers, phi)
    sight = Sight(network=for_measuring(model, images[:1]), layers=names, representation=phi, reduction=reduction,
                  tile=tile)  # fmt: skip
    seen = sight.look(images[:1]).whole
    assert seen is not None  # it was asked for
    first = RealPass(sight, top_count(len(images), share), len(similarity), seen[0].numel())
    first.update(images, labels, torch.arange(len(images)))
    real, says = first.metrics["exemplars"].compute(), first.metrics["answers"].compute()
    top: dict[str, Exemplars] = {}
    records = ratios = None
    if attacked is not None and targets is not None:
        m, t = targets.shape
        k = top_count(m * t, share)
        second = AttackedPass(sight, k, first.metrics["centres"].compute(), held_out=False)
        second.update(images[:m], labels[:m], attacked, targets, torch.arange(m * t).view(m, t))
        second.update(images[m:], labels[m:])
        top, ratios = second.metrics["exemplars"].compute(), second.metrics["ratios"].compute()
        every = (labels[:m].repeat_interleave(t), targets.flatten(), second.metrics["answers"].compute())
        records = Records(*every, sources=torch.arange(m).repeat_interleave(t))
    found = {name: survey(real[name], labels, similarity, top.get(name), records) for name in names}
    return Survey(found, labels, says, records, ratios)
