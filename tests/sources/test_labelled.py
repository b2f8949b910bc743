import csv

import numpy as np
import pytest
import torch
from PIL import Image

from interp_plugins.foundation.concepts import LabelledImages
from interp_plugins.sources import scenes
from interp_plugins.sources.labelled import Broden, open_labelled


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """Thirty-two scenes and the Broden directory that keeps all their concepts."""
    world = scenes.draw(32, size=32)
    return world, scenes.write_broden(world, tmp_path_factory.mktemp("drawn"), min_frequency=0, min_coverage=0)


def test_what_was_drawn_is_read_back(drawn):
    world, folder = drawn
    images = open_labelled(folder)
    names = {concept.number: (concept.name, concept.category) for concept in world.concepts}
    for i in range(len(images)):
        labels = images.labels(i)
        read = {images.vocabulary.name(n) for n in labels.pixels.unique().tolist() if n} | {
            images.vocabulary.name(n) for n in labels.whole
        }
        halves = [mask[i, ..., ::2, ::2] for mask in world.masks.values()]
        assert read == {names[n][0] for half in halves for n in np.unique(half).tolist() if n}
    assert torch.equal(images.tensor(range(len(images))), world.images)


def test_a_broden_directory_is_what_a_dissection_reads(drawn):
    images = Broden(drawn[1])
    assert isinstance(images, LabelledImages)
    assert images.vocabulary.categories == ("color", "object", "part", "scene", "texture")
    assert images.mask_size == (16, 16)
    assert images.labels(0).pixels.dtype == torch.int32
