"""What evaluators take, and what they say of what they do not."""

import pytest
import torch
from evaluated import ALIKE, ATTACKED, IMAGES, LABELS, MOVED, REAL, SOURCES, TARGETS
from torch import nn
from torch.utils.data import DataLoader
from toys import Net

from interp_captum.consistency import NeuronConsistency
from interp_captum.exemplars import NeuronExemplars
from interp_captum.similarity import ClassSimilarity
from interp_plugins.store.dataset import Record

RECORDS = [
    Record((MOVED[row] * 255).byte(), torch.empty(0), int(LABELS[source]), int(TARGETS[row]), int(source))
    for row, source in enumerate(SOURCES)
]


class Shifted(nn.Module):
    """A net that is given what to add to its images."""

    def __init__(self) -> None:
        super().__init__()
        self.net = Net(0)

    def forward(self, images, shift):
        return self.net(images + shift)


def consistency(real, attacked=None, **settings):
    return NeuronConsistency(Net(0), "second", similarity=ALIKE, k=5).evaluate(real, attacked, **settings)


def test_records_of_a_set_are_attacked_images_with_targets_and_pictures():
    loader = DataLoader(RECORDS, batch_size=7)
    same = ((MOVED * 255).byte(), *ATTACKED[1:])
    found, expected = consistency(REAL, loader), consistency(REAL, same)
    assert torch.equal(found.consis_adv, expected.consis_adv)
    assert torch.equal(found.sources_adv, expected.sources_adv)
    cs = [ClassSimilarity(Net(0), "second", k=5).evaluate(REAL, attacked).cs2 for attacked in (loader, same)]
    assert torch.equal(*cs)


def test_grey_levels_are_read_as_images():
    grey = (IMAGES * 255).byte()
    assert torch.equal(consistency((grey, LABELS)).lc, consistency((grey / 255, LABELS)).lc)


def test_additional_arguments_reach_the_model_after_its_images():
    model, darker = Shifted().eval(), IMAGES / 2
    found = NeuronExemplars(model, model.net.second, k=3).evaluate(darker, additional_forward_args=0.25)
    expected = NeuronExemplars(Net(0), "second", k=3).evaluate(darker + 0.25)
    assert torch.equal(found.values, expected.values)
    lc = NeuronConsistency(model, model.net.second, similarity=ALIKE, k=5).evaluate((darker, LABELS), None, (0.25,)).lc
    assert torch.equal(lc, consistency((darker + 0.25, LABELS)).lc)
    assert not model._forward_pre_hooks


def test_additional_arguments_with_rows_are_refused_where_a_data_set_is_measured():
    with pytest.raises(ValueError, match=r"the same for all images, got a tensor of shape \(40,\), which has rows"):
        NeuronExemplars(Shifted(), "net.second", k=3).evaluate(IMAGES, additional_forward_args=torch.zeros(40))


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        (IMAGES, "expected images with their labels, got a tensor; give a DataLoader or another iterable of tuples"),
        ([IMAGES], r"expected batches \(images, labels\) of tensors, got \(Tensor\)"),
        ([(IMAGES, LABELS.tolist())], r"expected batches \(images, labels\) of tensors, got \(Tensor, list\)"),
        (DataLoader(RECORDS), "expected real images and their labels, got records of an adversarial set"),
    ],
)
def test_batches_of_another_form_are_refused(inputs, words):
    with pytest.raises(TypeError, match=words):
        consistency(inputs)


def test_an_empty_list_of_layers_is_refused():
    with pytest.raises(ValueError, match="expected at least one layer, got an empty list"):
        NeuronConsistency(Net(0), [], similarity=ALIKE, k=1)


def test_no_batches_are_refused():
    with pytest.raises(ValueError, match="expected at least one batch of images, got none"):
        consistency([])


def test_a_model_that_draws_lots_is_refused():
    class Chance(Net):
        def forward(self, images):
            return super().forward(nn.functional.dropout(images))

    with pytest.raises(ValueError, match="two answers from layer 'second'; switch off its dropout"):
        NeuronConsistency(Chance(0), "second", similarity=ALIKE, k=1).evaluate(REAL)
