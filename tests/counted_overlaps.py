"""Overlaps by hand and by chance, and labels and detectors once more, slowly and in fractions."""

from fractions import Fraction

import torch

from interp_plugins.dissection.overlap import Blocks, Overlap
from interp_plugins.foundation.concepts import Concept, Vocabulary

# number 2 is not asked about, as of a vocabulary with a gap
VOCABULARY = Vocabulary(
    (
        Concept(1, "red-c", "color"),
        Concept(3, "dog", "object"),
        Concept(4, "cat", "object"),
        Concept(5, "street-s", "scene"),
    ),
    ("color", "object", "scene"),
)


def counted(intersection, labelled, lit, vocabulary=VOCABULARY):
    """The overlap of blocks: intersections (b, u, c), pixels of concepts (b, c), lit pixels by category (b, u, k)."""
    block, unit, concept = intersection.nonzero(as_tuple=True)
    pixels = intersection[block, unit, concept]
    return Overlap(
        intersection=intersection.sum(0), labelled=labelled.sum(0), active=lit.sum(0), lit=lit.amax(2).sum(0),
        union="category", category_of=vocabulary.category_of,
        blocks=Blocks(len(intersection), block, unit, concept, pixels, labelled, lit),
    )  # fmt: skip


def other(overlap, **changes):
    """The same with other parts."""
    return Overlap(**{**vars(overlap), **changes})


def random_overlap(seed, blocks=5, units=6, vocabulary=VOCABULARY, most=40):
    """Counts that could be: no intersection is larger than what it is of."""
    generator = torch.Generator().manual_seed(seed)

    def whole(high, *shape):
        return torch.randint(0, high + 1, shape, generator=generator)

    labelled = whole(most, blocks, vocabulary.size)
    lit = whole(most, blocks, units, len(vocabulary.categories))
    asked = (vocabulary.category_of >= 0) * 1
    bound = torch.minimum(labelled[:, None].expand(-1, units, -1), lit[:, :, vocabulary.category_of.clamp_min(0)])
    share = torch.rand(bound.shape, generator=generator)
    return counted((bound * share * asked).long() * (share > 0.4), labelled * asked, lit, vocabulary)


def drawn_again(overlap, times):
    """The overlap of a set in which each block is as often as `times` says."""
    blocks = overlap.blocks
    dense = torch.zeros(blocks.count, *overlap.intersection.shape, dtype=torch.int64)
    dense[blocks.block, blocks.unit, blocks.concept] = blocks.pixels
    rows = torch.arange(len(times)).repeat_interleave(torch.tensor(times))
    return counted(dense[rows], blocks.labelled[rows], blocks.lit[rows])


def told_slowly(overlap, vocabulary=VOCABULARY, detector=Fraction(1, 25)):
    """For each unit its label, category and IoU, best concepts by category, and what is counted of them."""
    found = []
    for unit in range(len(overlap.intersection)):
        values = {}
        for concept in vocabulary.concepts:
            category = vocabulary.categories.index(concept.category)
            both = int(overlap.intersection[unit, concept.number])
            union = int(overlap.active[unit, category]) + int(overlap.labelled[concept.number]) - both
            values[concept.number] = Fraction(both, union) if union else Fraction(0)
        found.append((_best(values), [_best(_of(values, vocabulary, name)) for name in vocabulary.categories]))
    passing = [number for (number, value), _ in found if value > detector]
    by_name = {concept.number: concept.category for concept in vocabulary.concepts}
    return {
        "labels": [number for (number, _), _ in found],
        "ious": [float(value) for (_, value), _ in found],
        "by category": [[number for number, _ in best] for _, best in found],
        "detectors": len(passing),
        "unique": len(set(passing)),
        "counts": [sum(by_name[number] == name for number in passing) for name in vocabulary.categories],
        "unique counts": [sum(by_name[number] == name for number in set(passing)) for name in vocabulary.categories],
    }


def _of(values, vocabulary, category):
    return {concept.number: values[concept.number] for concept in vocabulary.concepts if concept.category == category}


def _best(values):
    number = min(values, key=lambda each: (-values[each], each), default=0)
    return (number, values[number]) if values and values[number] else (0, Fraction(0))
