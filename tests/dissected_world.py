"""A dissection by hand: one layer of six units on three blocks of images, clean and attacked.

unit   clean              attacked
0      dog                dog
1      dog                cat
2      red                nothing it detects
3      nothing detected   red
4      nothing detected   nothing detected
5      saturated at 6     saturated at 6
"""

import torch

from interp_plugins.dissection.dissection import Alignment, Dissected, NetworkDissection
from interp_plugins.dissection.drop import drop_of
from interp_plugins.dissection.labels import best_labels, chance_of
from interp_plugins.dissection.thresholds import Thresholds
from interp_plugins.report.study import Study
from tests.counted_overlaps import VOCABULARY, counted

DOG, CAT, RED, STREET = 3, 4, 1, 5
CLEAN = {0: (DOG, 50), 1: (DOG, 30), 2: (RED, 20), 3: (RED, 2), 4: (STREET, 1)}
ATTACKED = {0: (DOG, 40), 1: (CAT, 30), 2: (RED, 2), 3: (RED, 20), 4: (STREET, 1)}
ATTACK = "FGSM with the predicted label, epsilon 8/255"


def overlap(lit):
    """Each unit lights so many of 100 labelled pixels of one concept an image, and as many pixels in all."""
    intersection = torch.zeros(3, 6, 6, dtype=torch.int64)
    for unit, (concept, pixels) in lit.items():
        intersection[:, unit, concept] = pixels + torch.arange(3) * (pixels > 2)
    labelled = torch.tensor([[0, 100, 0, 100, 100, 100]]).expand(3, -1)
    return counted(intersection, labelled, intersection.sum(2)[..., None].expand(-1, -1, 3))


def aligned(lit, permutations=2):
    values = torch.tensor([1.0, 1, 1, 1, 1, 6], dtype=torch.float64)
    thresholds = Thresholds(values, torch.tensor([2.0, 2, 2, 2, 2, 6]), 300)
    found = overlap(lit)
    chance = [best_labels(overlap({0: (DOG, 20 * number)}), thresholds.silent) for number in range(permutations)]
    labels = best_labels(found, thresholds.silent)
    return Alignment(thresholds, found, labels, chance_of(chance) if chance else None)


def dissected(clean=CLEAN, attacked=ATTACKED, draws=40, permutations=2):
    before, after = aligned(clean, permutations), aligned(attacked, permutations)
    drop = drop_of(before.overlap, after.overlap, before.labels, after.labels, draws=draws) if draws else None
    return Dissected(before, after, drop)


def study(attack=ATTACK, layer="conv", **settings):
    found = dissected(**settings)
    layers = {layer: found if attack else Dissected(found.clean)}
    return Study(layers, NetworkDissection(), VOCABULARY, 300, attack)
