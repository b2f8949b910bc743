"""The evaluator of CS takes what a Captum user has, and gives what the core gives."""

import pytest
import torch
from evaluated import ALIKE, ATTACKED, IMAGES, LABELS, MOVED, REAL, SOURCES, TARGETS
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from toys import CLASSES, Net

from interp_captum.similarity import ClassSimilarity, ClassSimilarityResult
from interp_plugins.neurons import neuron_exemplars
from interp_plugins.neurons.histograms import histogram, select
from interp_plugins.neurons.similarity import class_similarity, split_half_ceiling

SAYS = Net(0)(MOVED).argmax(1)


def evaluated(attacked=ATTACKED, **settings) -> ClassSimilarityResult:
    return ClassSimilarity(Net(0), "second", k=8, attacked_k=12, **settings).evaluate(REAL, attacked)


def cosine(labels, fooled=None, weight=None):
    """As the core has it, from the top images of the convolution."""
    real, moved = (
        neuron_exemplars(Net(0), ["second"], [(images, torch.arange(40))], k)["second"].ids
        for images, k in ((IMAGES, 8), (MOVED, 12))
    )
    p, q = histogram(real, LABELS, CLASSES), histogram(select(moved, images=fooled), labels, CLASSES)
    return class_similarity(p, q, weight)


def same(found, expected):
    torch.testing.assert_close(found, expected, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("weight", [None, ALIKE.double()], ids=["plain", "weighted"])
def test_by_target_all_four_are_the_cores(weight):
    found = evaluated(similarity=weight)
    same(found.cs1, cosine(LABELS[SOURCES], weight=weight))
    same(found.cs2, cosine(TARGETS, weight=weight))
    same(found.cs1_fooled, cosine(LABELS[SOURCES], SAYS == TARGETS, weight))
    same(found.cs2_fooled, cosine(TARGETS, SAYS == TARGETS, weight))


def test_by_prediction_what_is_not_taken_for_its_own_class_is_fooled():
    found = evaluated(ATTACKED[:2], by="prediction")
    same(found.cs2, cosine(SAYS))
    same(found.cs2_fooled, cosine(SAYS, LABELS[SOURCES] != SAYS))


def test_the_ceiling_is_the_cores_with_its_splits_and_seed():
    ids = neuron_exemplars(Net(0), ["second"], [(IMAGES, torch.arange(40))], 8)["second"].ids
    same(evaluated(splits=3, seed=5).ceiling, split_half_ceiling(ids, LABELS, CLASSES, splits=3, seed=5))


def test_images_are_counted():
    found = evaluated()
    assert torch.equal(found.images, torch.full((16,), 8))
    assert torch.equal(found.images_adv, torch.full((16,), 12))
    assert (SAYS == TARGETS).any()
    assert (found.images_fooled < 12).all()
    assert found.images_fooled.any()


def test_dataloaders_and_a_list_of_layers_give_what_tuples_and_one_layer_give():
    loaders = [DataLoader(TensorDataset(*data), batch_size=7) for data in (REAL, ATTACKED)]
    _, found = ClassSimilarity(Net(0), ["first", "second"], k=8, attacked_k=12).evaluate(*loaders)
    same(found.cs1, evaluated().cs1)
    same(found.cs2_fooled, evaluated().cs2_fooled)


def test_the_data_frame_has_a_row_for_each_unit():
    pytest.importorskip("pandas")
    assert evaluated().to_dataframe().shape == (16, 10)


def test_by_target_targets_are_asked_for():
    with pytest.raises(ValueError, match="got no targets; give them, or take by='prediction'"):
        evaluated(ATTACKED[:2])


def test_targets_in_some_batches_only_are_refused():
    with pytest.raises(ValueError, match="expected targets in all batches or in none, got them in 1 of 2"):
        evaluated([ATTACKED, ATTACKED[:2]])


def test_a_model_without_classes_is_refused(unchecked):
    net = nn.Sequential(nn.Conv2d(3, 4, 1))
    with pytest.raises(ValueError, match=r"expected a model that puts out \(n, classes\), got \(n, 4, 8, 8\)"):
        ClassSimilarity(net, net[0], k=3).evaluate(REAL, ATTACKED)


def test_an_unknown_reading_of_cs_2_is_refused():
    with pytest.raises(ValueError, match="expected by to be one of 'target', 'prediction', got 'label'"):
        ClassSimilarity(Net(0), "second", k=3, by="label")
