"""A layer between features and classifier, for losses between clean and attacked images as two domains."""

import pytest
import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel
from trained_world import loader, network, optimiser, reports

from interp_plugins.testing import toy_images
from interp_plugins.training import Coral, MeanDifference, Term, Trainer, insert_adaptation


def test_the_network_is_the_same_function_as_before():
    model, (images, _) = network().double().eval(), toy_images(4)
    expected = model(images.double())
    assert insert_adaptation(model, "7") == "7.0"
    assert torch.equal(model(images.double()), expected)
    assert not model[7].training


def test_a_layer_within_a_part_of_the_network_is_found():
    model = nn.Sequential(nn.Flatten(), nn.Sequential(nn.Linear(192, 5), nn.Linear(5, 4)))
    assert insert_adaptation(model, "1.1") == "1.1.0"
    assert model[1][1][0].weight.shape == (5, 5)


def test_the_layer_is_trained_with_the_losses_between_domains():
    model = network()
    layer = insert_adaptation(model, "7")
    terms = (
        Term(name="coral", layer=layer, loss=Coral(), weight=1 / 3),
        Term(name="means", layer=layer, loss=MeanDifference(), weight=1 / 3),
    )
    first, *_, last = reports(model, Trainer(epochs=8, terms=terms), loader(64))
    assert not torch.equal(model[7][0].weight, torch.eye(32))
    assert last.losses["total"] < first.losses["total"]


def test_what_has_no_linear_classifier_there_is_refused():
    with pytest.raises(TypeError, match="expected '3' to be a Linear layer, got _Shortcut; name the classifier"):
        insert_adaptation(network(), "3")
    with pytest.raises(ValueError, match="expected a layer of the model, got 'fc'"):
        insert_adaptation(network(), "fc")
    with pytest.raises(ValueError, match="expected the name of a layer within the network, got ''"):
        insert_adaptation(nn.Linear(2, 2), "")


def test_it_is_put_in_before_the_network_is_wrapped():
    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    try:
        with pytest.raises(ValueError, match="not yet in DistributedDataParallel, got one that is; wrap it afterwards"):
            insert_adaptation(DistributedDataParallel(network()), "module.7")
        model = network()
        term = Term(name="means", layer=insert_adaptation(model, "7"), loss=MeanDifference(), weight=1.0)
        wrapped = DistributedDataParallel(model)
        (report,) = reports(wrapped, Trainer(epochs=1, terms=(term,)), optimizer=optimiser(wrapped))
        assert report.losses["means"] > 0
        assert not torch.equal(model[7][0].weight, torch.eye(32))
    finally:
        distributed.destroy_process_group()
