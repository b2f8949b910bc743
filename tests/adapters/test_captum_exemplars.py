"""The evaluator of exemplars takes what a Captum user has, and gives what the core gives."""

import sys

import pytest
import torch
from captum.attr import LayerActivation
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from toys import Net, modes

from interp_captum.exemplars import NeuronExemplars
from interp_plugins.errors import LayerNotReached
from interp_plugins.neurons import neuron_exemplars

IMAGES = torch.rand(20, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def test_the_ids_are_those_of_the_largest_of_captums_own_activations():
    net = Net(0)
    maps = LayerActivation(net, net.second).attribute(IMAGES)
    found = NeuronExemplars(net, net.second, k=3).evaluate(IMAGES)
    assert torch.equal(found.ids, maps.amax((2, 3)).T.topk(3).indices)
    assert torch.allclose(found.values, maps.amax((2, 3)).T.topk(3).values, rtol=1e-5)


def test_values_and_ids_are_the_cores_to_the_bit():
    expected = neuron_exemplars(Net(0), ["first"], [(IMAGES, torch.arange(20))], 4, reduction="mean")["first"]
    found = NeuronExemplars(Net(0), "first", k=4, reduction="mean").evaluate(IMAGES)
    assert torch.equal(found.ids, expected.ids)
    assert torch.equal(found.values, expected.values)
    assert torch.equal(found.dead, expected.dead)
    assert (found.layer, found.images) == ("first", 20)


def test_several_layers_by_module_and_by_name_give_a_list_in_their_order():
    net = Net(0)
    first, second = NeuronExemplars(net, ["second", net.first], k=2).evaluate(IMAGES)
    assert (first.layer, second.layer) == ("second", "first")
    assert (first.ids.shape, second.ids.shape) == ((16, 2), (8, 2))


@pytest.mark.parametrize("size", [5, 7, 20])
def test_a_dataloader_of_images_and_labels_gives_what_one_tensor_gives(size):
    evaluator = NeuronExemplars(Net(0), "second", k=3)
    loader = DataLoader(TensorDataset(IMAGES, torch.zeros(20)), batch_size=size)
    whole, parts = evaluator.evaluate(IMAGES), evaluator.evaluate(loader)
    assert torch.equal(whole.ids, parts.ids)
    assert torch.equal(whole.values, parts.values)


def test_the_internal_batch_size_changes_no_id():
    evaluator = NeuronExemplars(Net(0), "second", k=3)
    assert torch.equal(evaluator.evaluate(IMAGES, internal_batch_size=2).ids, evaluator.evaluate(IMAGES).ids)


def test_progress_is_shown_when_asked_for(capsys: pytest.CaptureFixture[str]):
    evaluator = NeuronExemplars(Net(0), "second", k=3)
    evaluator.evaluate(IMAGES)
    assert capsys.readouterr().err == ""
    evaluator.evaluate(IMAGES, show_progress=True)
    assert "NeuronExemplars" in capsys.readouterr().err


def test_the_model_comes_back_as_it_was_found():
    net = Net(0).train()
    before = modes(net)
    NeuronExemplars(net, net.second, k=3).evaluate(IMAGES)
    assert modes(net) == before
    assert all(not module._forward_hooks for module in net.modules())


def test_a_result_becomes_plain_numbers():
    found = NeuronExemplars(Net(0), "first", k=2).evaluate(IMAGES)
    said = found.to_dict()
    assert list(said) == ["layer", "values", "ids", "images", "dead"]
    assert (said["images"], said["ids"]) == (20, found.ids.tolist())


def test_a_result_becomes_a_data_frame_with_a_row_for_each_unit_and_rank():
    pytest.importorskip("pandas")
    found = NeuronExemplars(Net(0), "first", k=2).evaluate(IMAGES)
    row = found.to_dataframe().query("unit == 3 and rank == 1").iloc[0]
    assert (row["layer"], row["id"]) == ("first", found.ids[3, 1].item())
    assert row["value"] == found.values[3, 1].item()


def test_without_pandas_a_data_frame_is_refused_with_the_way_out(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    found = NeuronExemplars(Net(0), "first", k=2).evaluate(IMAGES)
    with pytest.raises(ImportError, match="pandas is needed for a data frame: pip install pandas"):
        found.to_dataframe()


def test_a_module_of_another_model_is_refused():
    with pytest.raises(ValueError, match="expected a layer that is part of the model, got a Conv2d that is not"):
        NeuronExemplars(Net(0), Net(1).first, k=1)


def test_a_layer_that_does_not_run_is_named():
    net = Net(0)
    net.spare = nn.Linear(2, 2)
    with pytest.raises(LayerNotReached, match="spare"):
        NeuronExemplars(net, net.spare, k=1).evaluate(IMAGES)
