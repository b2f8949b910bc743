"""Was this image attacked? Two scores, both from clean images alone; the higher, the more suspicious.

    conflict(x) = 1 - mean over the m units i with most influence on c of   p_i^T A e_c / sqrt(p_i^T A p_i)
    distance(x) = |phi(x) - mu_c| / mean over real x' of class c of |phi(x') - mu_c|

c is the class that the network says, p_i the class histogram of a unit's top images, A the similarity of classes, e_c
one at c and zero elsewhere; phi is the flattened output of the layer, mu_c its mean over real images of class c.

conflict: the units that carry the decision stand for something else than what was decided (one minus the A-weighted
cosine of what a unit stands for with the class). distance: the image lies far from the class it is taken for.

Dong et al. (arXiv:1708.05493) say that contradicting units give an adversarial image away, and print no rule. Both
scores and the threshold are ours:

- The threshold is the r-th smallest of n clean scores, r = ceil((n + 1)(1 - false_alarms)): a further clean image like
  them exceeds it with a probability of at most `false_alarms`.
- In a centre's own class each clean image is left out of the centre, else it would lie near it by taking part in it.
- A unit whose images mean nothing (nan) is left out. A score that nothing defines is nan and raises no alarm.

Who knows the detector can attack it too: a low score proves nothing.
"""

from collections.abc import Iterable
from dataclasses import dataclass, fields
from math import ceil
from typing import Literal

import torch
from jaxtyping import Bool, Float, Float64, Int
from torch import Tensor, nn

from interp_plugins.foundation import check
from interp_plugins.foundation.borrow import borrow
from interp_plugins.foundation.record import record
from interp_plugins.foundation.tiles import fill, spans, tile_size
from interp_plugins.neurons.centres import Centres, ClassCentres, flat
from interp_plugins.neurons.consistency import check_similarity
from interp_plugins.neurons.influence import NeuronInfluence

Batches = Iterable[tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Fitted:
    """What a detector knows of clean images. All fields are tensors: `Fitted(**state)` undoes `state_dict`."""

    threshold: Float64[Tensor, ""]  # a higher score raises the alarm
    clean: Float64[Tensor, " n"]  # scores of the clean images, nan where undefined
    agreement: Float64[Tensor, "u k"]  # of each unit with each class, for "conflict"; else empty
    centres: Float64[Tensor, "c d"]  # class means of the layer's output, for "distance"; else empty
    spreads: Float64[Tensor, " c"]  # mean distance of a class's images from their centre; nan for fewer than two

    def state_dict(self) -> dict[str, Tensor]:
        """The fields by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


@dataclass(frozen=True, kw_only=True)
class ConflictDetector:
    """Tells attacked images by what the network's units say of them; fitted on clean images.

    Example:
        >>> from interp_plugins.testing import Affine
        >>> model = nn.Sequential(nn.Identity(), Affine(torch.tensor([[2.0, 1.0, 0.0], [0.0, 1.0, 2.0]])))
        >>> images, labels = torch.eye(3)[[0, 2]].view(2, 3, 1, 1).repeat(10, 1, 1, 1), torch.tensor([0, 1] * 10)
        >>> meanings = torch.tensor([[1.0, 0.0], [0.5, 0.5], [1.0, 0.0]])  # the last unit speaks for the wrong class
        >>> detector = ConflictDetector(units=1, false_alarms=0.5)
        >>> fitted = detector.fit(model, "0", [(images, labels)], histograms=meanings)
        >>> detector.scores(model, "0", images[:2], fitted)
        tensor([0., 1.], dtype=torch.float64)
    """

    units: int = 10  # how many units with most influence are asked, for "conflict"
    score: Literal["conflict", "distance"] = "conflict"
    influence: NeuronInfluence | None = None  # None: of logits, exact for the 4 x units ranked first by the estimate
    false_alarms: float = 0.05  # share of clean images that may raise the alarm, in (0, 1)

    def __post_init__(self) -> None:
        check.one_of("score", self.score, ("conflict", "distance"))
        check.positive(units=self.units)
        if not 0 < self.false_alarms < 1:
            raise ValueError(f"expected false_alarms in (0, 1), got {self.false_alarms}")
        asked = self._asked
        if asked.ablation != "zero":
            raise ValueError(f"expected an influence with ablation 'zero', got {asked.ablation!r}, which needs images")
        if asked.preselect is not None and asked.preselect < self.units:
            raise ValueError(f"expected an influence that preselects at least {self.units} units, those that are "
                             f"asked, got {asked.preselect}")  # fmt: skip

    def fit(
        self,
        model: nn.Module,
        layer: str,
        batches: Batches,
        *,
        histograms: Float[Tensor, "u k"] | None = None,
        similarity: Float[Tensor, "k k"] | None = None,
    ) -> Fitted:
        """Learn the threshold, and for "distance" the centres, from clean images.

        Args:
            model: The network, from images to logits; given back as found.
            layer: Its dotted name, as in `named_modules()`; a late one, and an activation rather than a convolution.
            batches: Clean images in [0, 1] and their labels; for "distance" gone through twice. Best are images that
                neither the network was trained with nor the histograms were made from.
            histograms: For "conflict", what each unit of the layer stands for, from `histograms.histogram`.
            similarity: For "conflict", a_ij of the classes; None for the plain cosine.

        Raises:
            LayerNotReached: The layer did not run.
            ValueError: There are too few clean images for that few false alarms, or arguments do not fit.
        """
        if (histograms is None) != (self.score == "distance"):
            raise ValueError(f"expected histograms with score 'conflict' alone, got score {self.score!r}")
        if histograms is not None:
            if self.units > len(histograms):
                raise ValueError(f"expected at most {len(histograms)} units, those of the layer, got {self.units}")
            table = agreement(histograms, similarity)
            scores = [self._conflict(model, layer, images, table) for images, _ in batches]
            clean = torch.cat(scores) if scores else table.new_empty(0)
            none = clean.new_empty(0)
            return Fitted(self._threshold(clean), clean, table, none.view(0, 0), none)
        clean, centres, spreads = self._fit_distance(model, layer, batches)
        return Fitted(self._threshold(clean), clean, clean.new_empty(0, 0), centres, spreads)

    def scores(
        self, model: nn.Module, layer: str, images: Float[Tensor, "n c h w"], fitted: Fitted
    ) -> Float64[Tensor, " n"]:
        """How suspicious each image is; nan where no unit that is asked, or no clean image of the class, is known.

        Args:
            model: The network it was fitted with.
            layer: The layer it was fitted with.
            images: In [0, 1].
            fitted: What `fit` returned.
        """
        if not len(fitted.agreement if self.score == "conflict" else fitted.centres):
            raise ValueError(f"expected what a detector with score {self.score!r} was fitted to, got another score's")
        if self.score == "conflict":
            return self._conflict(model, layer, images, fitted.agreement)
        rows, logits = self._represented(model, layer, images, fitted.centres.shape[1])
        classes = logits.argmax(1)
        far: Tensor = (rows - fitted.centres[classes]).norm(dim=1)
        return far / fitted.spreads[classes]

    def __call__(
        self, model: nn.Module, layer: str, images: Float[Tensor, "n c h w"], fitted: Fitted
    ) -> Bool[Tensor, " n"]:
        """Which images raise the alarm; arguments as for `scores`."""
        return self.scores(model, layer, images, fitted) > fitted.threshold

    @property
    def _asked(self) -> NeuronInfluence:
        return self.influence or NeuronInfluence(score="logit", preselect=4 * self.units)

    def _conflict(self, model: nn.Module, layer: str, images: Tensor, table: Tensor) -> Tensor:
        found = self._asked(model, layer, images)
        if found.differences.shape[1] != len(table):
            raise ValueError(f"expected histograms of the {found.differences.shape[1]} units of layer {layer!r}, got "
                             f"{len(table)}")  # fmt: skip
        check.class_range(found.targets, table.shape[1], "predicted classes")
        return conflict(table, found.top(self.units), found.targets)

    def _fit_distance(self, model: nn.Module, layer: str, batches: Batches) -> tuple[Tensor, Tensor, Tensor]:
        """Scores of the clean images, centres and spreads."""
        if iter(batches) is batches:
            raise ValueError("expected batches that can be gone through twice, such as a list or a DataLoader, got an "
                             "iterator")  # fmt: skip
        metric: ClassCentres | None = None
        for images, labels in batches:
            rows, logits = self._represented(model, layer, images)
            if metric is None:
                metric = ClassCentres(logits.shape[1], rows.shape[1]).to(rows.device)
            metric.update(rows, labels)
        if metric is None:
            raise ValueError("expected clean images, got no batch")
        known: Centres = metric.compute()
        sums = torch.zeros_like(known.counts, dtype=torch.float64)
        far, said = [], []
        for images, labels in batches:
            rows, logits = self._represented(model, layer, images)
            classes, labels = logits.argmax(1), labels.to(rows.device)
            own = (rows - known.without(rows, labels)).norm(dim=1)
            sums.index_add_(0, labels, own)
            far.append(torch.where(classes == labels, own, (rows - known.means[classes]).norm(dim=1)))
            said.append(classes)
        spreads = sums / known.counts  # a class of one image has nan, as that image without itself has no centre
        return torch.cat(far) / spreads[torch.cat(said)], known.means, spreads

    def _represented(
        self, model: nn.Module, layer: str, images: Tensor, width: int | None = None
    ) -> tuple[Float64[Tensor, "n d"], Float[Tensor, "n k"]]:
        """What the layer puts out for each image, flattened, and the logits."""
        images = check.images(images)
        tile = tile_size(self._asked.tile, images.device)
        found, said = [], []
        with borrow(model), torch.no_grad():
            for span in spans(len(images), tile):
                with record(model, [layer]) as outputs:
                    logits = check.logits(model(fill(images[span], tile)), tile, "the model")
                found.append(outputs[layer][: span.stop - span.start].flatten(1))
                said.append(logits[: span.stop - span.start])
        return flat(torch.cat(found), width, "representations"), torch.cat(said)

    def _threshold(self, clean: Tensor) -> Tensor:
        known = clean[~clean.isnan()]
        rank = ceil((len(known) + 1) * (1 - self.false_alarms) - 1e-9)  # what binary fractions add is taken off
        if rank > len(known):
            least = ceil(1 / self.false_alarms - 1 - 1e-9)
            raise ValueError(
                f"expected at least {least} clean images with a score for false_alarms={self.false_alarms}, got "
                f"{len(known)}; give more of them, or allow more false alarms"
            )
        return known.sort().values[rank - 1]


def agreement(
    histograms: Float[Tensor, "u k"], similarity: Float[Tensor, "k k"] | None = None
) -> Float64[Tensor, "u k"]:
    """How well what each unit stands for agrees with each class: p^T A e_c / sqrt(p^T A p); nan for unknown units.

    Args:
        histograms: Class histogram of each unit's top images, nan in the row of a unit that means nothing.
        similarity: a_ij of the classes; None for the plain cosine.

    Example:
        >>> agreement(torch.tensor([[1.0, 0.0], [0.6, 0.8]]))
        tensor([[1.0000, 0.0000],
                [0.6000, 0.8000]], dtype=torch.float64)
    """
    p = histograms.double()
    alike = p if similarity is None else p @ check_similarity(similarity, p.shape[1])
    length = (alike * p).sum(1, keepdim=True).sqrt()
    return torch.where(length > 0, alike / length, torch.nan)


def conflict(
    agreement: Float[Tensor, "u k"], units: Int[Tensor, "n m"], classes: Int[Tensor, " n"]
) -> Float64[Tensor, " n"]:
    """One minus the mean agreement of each image's units with its class, over those that are known; nan for none.

    Args:
        agreement: Of each unit with each class.
        units: The units asked about each image, such as those with most influence.
        classes: The class of each image, such as the predicted one.
    """
    return 1 - agreement.double()[units, classes[:, None]].nanmean(1)
