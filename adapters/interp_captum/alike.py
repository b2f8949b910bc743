"""How alike classes are: a matrix, or what it can be made of from WordNet."""

from collections.abc import Sequence
from typing import Literal

from torch import Tensor

from interp_plugins.foundation import taxonomy
from interp_plugins.sources import wordnet

Alike = Tensor | Sequence[str] | Literal["imagenet-1k", "cifar-10", "scenes"]


def similarity_of(similarity: Alike, sigma: float | None) -> Tensor:
    """The similarity a_ij of classes, float64 (c, c).

    Args:
        similarity: The matrix itself; or the wnid of each class, in the order of the class indices; or the name of a
            label set whose wnids come with this package.
        sigma: In edges, for what is not the matrix itself; None for 2.

    Raises:
        ValueError: sigma came with a matrix, or a wnid or a label set is unknown.
    """
    if isinstance(similarity, Tensor):
        if sigma is not None:
            raise ValueError(f"expected sigma beside wnids alone, got sigma={sigma} beside a matrix")
        return similarity.detach().cpu().double()
    ids = wordnet.wnids(similarity) if isinstance(similarity, str) else tuple(similarity)  # type: ignore[arg-type]
    packaged = wordnet.packaged()
    tree = packaged if set(ids) <= set(packaged.ids) else wordnet.read(ids)
    return taxonomy.similarity(tree.distances(ids), 2.0 if sigma is None else sigma)
