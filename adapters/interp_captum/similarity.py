"""CS_1 and CS_2 as an evaluator in Captum's manner: do a unit's attacked top images show what its real ones show?

No mathematics is done here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from torch import Tensor, nn

from interp_captum.alike import Alike, similarity_of
from interp_captum.arguments import given
from interp_captum.inputs import attacked as read_attacked
from interp_captum.inputs import labelled
from interp_captum.layers import Layer, is_one, names_of
from interp_captum.results import Result
from interp_captum.top_images import Pass, TopImages
from interp_plugins.foundation import check
from interp_plugins.neurons.activations import Reduction
from interp_plugins.neurons.histograms import counted, histogram, select
from interp_plugins.neurons.similarity import class_similarity, split_half_ceiling


@dataclass(frozen=True, eq=False)
class ClassSimilarityResult(Result):
    """What is known of each of the u units of a layer, float64 (u,) unless said; nan where undefined."""

    row: ClassVar[str] = "unit"

    layer: str  # its dotted name
    cs1: Tensor  # real top images against attacked ones, by what these contain
    cs2: Tensor  # ... by what they are to be, or are, taken for
    ceiling: Tensor  # two halves of the real images against each other
    cs1_fooled: Tensor  # as cs1, of the attacked images that fooled the model
    cs2_fooled: Tensor  # as cs2, of these
    images: Tensor  # real top images counted, int64 (u,)
    images_adv: Tensor  # attacked top images counted
    images_fooled: Tensor  # those of them that fooled the model


class ClassSimilarity:
    """Compares the classes of each unit's real top images with those of its attacked ones.

    Args:
        model: The network: [0, 1] images in, logits out; given back as found.
        layer: A layer, as a module of the model or by its dotted name, or a list of them.
        k: Top real images a unit; the papers' 1 % is `interp_plugins.neurons.top_count(n)`.
        attacked_k: Top attacked images a unit. Default: k
        by: What CS_2 counts an attacked image as: its "target", or the "prediction" of the model. Fooled is an image
            that is taken for its target or, by prediction, for anything but what it contains.
        similarity: For the weighted cosine: a matrix (c, c), or the wnid of each class, or "imagenet-1k", "cifar-10" or
            "scenes". None for the plain one. Default: None
        sigma: In edges, where `similarity` is no matrix. Default: 2
        reduction: What stands for a channel's map: "max" or "mean".
        splits: Random halves of the real images that the ceiling is the mean of.
        seed: Same seed, same halves.

    Raises:
        ValueError: For a module that is not in the model, an unknown wnid, or a setting that is none.
    """

    def __init__(
        self,
        model: nn.Module,
        layer: Layer | Sequence[Layer],
        *,
        k: int,
        attacked_k: int | None = None,
        by: Literal["target", "prediction"] = "target",
        similarity: Alike | None = None,
        sigma: float | None = None,
        reduction: Reduction = "max",
        splits: int = 10,
        seed: int = 0,
    ) -> None:
        check.one_of("by", by, ("target", "prediction"))
        check.positive(splits=splits)
        self.model, self.k, self.by, self.reduction = model, k, by, reduction
        self.attacked_k = k if attacked_k is None else attacked_k
        self.splits, self.seed = splits, seed
        self._one, self.layers = is_one(layer), names_of(model, layer)
        self.similarity = None if similarity is None else similarity_of(similarity, sigma)

    def evaluate(
        self,
        inputs: Any,
        attacked: Any,
        additional_forward_args: Any = None,
        internal_batch_size: int | None = None,
        show_progress: bool = False,
    ) -> ClassSimilarityResult | list[ClassSimilarityResult]:
        """The cosines over all images, each of which comes once.

        Args:
            inputs: Real images with their labels: a DataLoader, or anything that yields tuples (images, labels), or one
                such tuple. Images (n, c, h, w) are float in [0, 1] or uint8; labels are classes (n,).
            attacked: Attacked images in the same form: (images, labels, targets), labelled by what they contain. By
                prediction the targets may be left out. Or the records of an adversarial set.
            additional_forward_args: What the model takes besides images, the same for all of them. Default: None
            internal_batch_size: Images per call of the network, a power of two; None for the core's choice.
                Default: None
            show_progress: Whether to show a bar, one step a batch. Default: False

        Returns:
            A result, its tensors on the CPU, or a list of them where a list of layers was given.

        Raises:
            LayerNotReached: For a layer that did not run.
            TypeError: For batches without labels.
            ValueError: For fewer than k images, images out of range, attacked images without targets, labels beyond the
                model's classes, a NaN, or a model that answers one image in two ways.
        """
        title = "ClassSimilarity" if show_progress else None
        look = Pass(self.model, self.layers, self.reduction, internal_batch_size, title)
        with given(self.model, additional_forward_args):
            real = look(inputs, labelled, self.k)
            moved = look(attacked, read_attacked, self.attacked_k)
        if len(real.outputs) != 1:
            raise ValueError(
                f"expected a model that puts out (n, classes), got (n, {', '.join(map(str, real.outputs))})"
            )
        aims = moved.says if self.by == "prediction" else moved.targets
        if aims is None:
            raise ValueError("expected attacked batches (images, labels, targets), got no targets; give them, or take "
                             "by='prediction'")  # fmt: skip
        results = [self._measured(layer, real, moved, aims) for layer in self.layers]
        return results[0] if self._one else results

    def _measured(self, layer: str, real: TopImages, moved: TopImages, aims: Tensor) -> ClassSimilarityResult:
        fooled = moved.says == aims if self.by == "target" else moved.says != moved.labels
        top, other = real.exemplars[layer], moved.exemplars[layer]
        ids, ids_adv = select(top.ids, dead=top.dead), select(other.ids, dead=other.dead)
        ids_fooled = select(ids_adv, images=fooled)
        (classes,) = real.outputs
        p = histogram(ids, real.labels, classes)

        def cs(attacked_ids: Tensor, labels: Tensor) -> Tensor:
            return class_similarity(p, histogram(attacked_ids, labels, classes), self.similarity)

        return ClassSimilarityResult(
            layer=layer,
            cs1=cs(ids_adv, moved.labels),
            cs2=cs(ids_adv, aims),
            ceiling=split_half_ceiling(ids, real.labels, classes, self.similarity, splits=self.splits, seed=self.seed),
            cs1_fooled=cs(ids_fooled, moved.labels),
            cs2_fooled=cs(ids_fooled, aims),
            images=counted(ids),
            images_adv=counted(ids_adv),
            images_fooled=counted(ids_fooled),
        )
