"""The evaluator of LC takes what a Captum user has, and gives what the core gives."""

import pytest
import torch
from evaluated import ALIKE, ATTACKED, IMAGES, LABELS, MOVED, REAL, SOURCES
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from toys import CLASSES, Net, modes

from interp_captum.consistency import NeuronConsistency, NeuronConsistencyResult
from interp_plugins.foundation import taxonomy
from interp_plugins.neurons import neuron_exemplars
from interp_plugins.neurons.consistency import consistency
from interp_plugins.neurons.histograms import histogram
from interp_plugins.sources import wordnet


def core_exemplars(images: torch.Tensor, k: int):
    return neuron_exemplars(Net(0), ["second"], [(images, torch.arange(len(images)))], k)["second"]


def evaluated(attacked=ATTACKED, **settings) -> NeuronConsistencyResult:
    net = Net(0)
    return NeuronConsistency(net, net.second, similarity=ALIKE, **{"k": 5, **settings}).evaluate(REAL, attacked)


def test_lc_is_the_cores():
    found, top = evaluated(None), core_exemplars(IMAGES, 5)
    expected = consistency(top.ids, LABELS, ALIKE, dead=top.dead)
    assert torch.equal(found.lc, expected.raw)
    assert torch.equal(found.lc_debiased, expected.debiased)
    assert torch.equal(found.images, expected.images)
    assert torch.equal(found.histograms, histogram(top.ids, LABELS, CLASSES))
    assert (found.consis_adv, found.consis_adv_debiased, found.images_adv, found.sources_adv) == (None,) * 4


def test_consis_adv_is_the_cores_with_copies_of_a_picture_left_out():
    found, top = evaluated(attacked_k=4), core_exemplars(MOVED, 4)
    expected = consistency(top.ids, LABELS[SOURCES], ALIKE, sources=SOURCES, dead=top.dead)
    torch.testing.assert_close(found.consis_adv, expected.raw, rtol=0, atol=0)
    torch.testing.assert_close(found.consis_adv_debiased, expected.debiased, rtol=0, atol=0, equal_nan=True)
    assert torch.equal(found.sources_adv, expected.sources)
    assert found.sources_adv.min() < 4
    assert torch.equal(found.images_adv, torch.full((16,), 4))


def test_without_numbers_of_pictures_each_attacked_image_is_its_own():
    assert torch.equal(evaluated(ATTACKED[:2]).sources_adv, torch.full((16,), 5))


@pytest.mark.parametrize("size", [7, 40])
def test_a_dataloader_gives_what_one_tuple_gives(size):
    loaders = [DataLoader(TensorDataset(*data), batch_size=size) for data in (REAL, ATTACKED)]
    found = NeuronConsistency(Net(0), "second", similarity=ALIKE, k=5).evaluate(*loaders)
    assert torch.equal(found.lc, evaluated().lc)
    assert torch.equal(found.consis_adv, evaluated().consis_adv)


def test_concepts_are_counted_as_the_core_counts_them():
    concepts = torch.rand(40, CLASSES, generator=torch.Generator().manual_seed(1)) < 0.3
    top = core_exemplars(IMAGES, 5)
    found = NeuronConsistency(Net(0), "second", similarity=ALIKE, k=5).evaluate((IMAGES, concepts))
    expected = consistency(top.ids, concepts, ALIKE, dead=top.dead)
    assert torch.equal(found.lc, expected.raw)
    assert torch.equal(found.lc_debiased, expected.debiased)


@pytest.mark.parametrize("named", ["cifar-10", wordnet.wnids("cifar-10")], ids=["label set", "wnids"])
def test_similarity_is_made_of_wnids(named):
    expected = taxonomy.similarity(wordnet.packaged().distances(wordnet.wnids("cifar-10")), 1.5)
    assert torch.equal(NeuronConsistency(Net(0), "second", similarity=named, sigma=1.5, k=1).similarity, expected)


def test_sigma_is_two_unless_said():
    first, second = (NeuronConsistency(Net(0), "first", similarity="scenes", sigma=sigma, k=1) for sigma in (None, 2.0))
    assert torch.equal(first.similarity, second.similarity)


def test_sigma_beside_a_matrix_is_refused():
    with pytest.raises(ValueError, match="expected sigma beside wnids alone, got sigma=2 beside a matrix"):
        NeuronConsistency(Net(0), "second", similarity=ALIKE, sigma=2, k=1)


def test_the_model_need_not_be_a_classifier():
    net, whole = Net(0), evaluated(None)
    found = NeuronConsistency(
        nn.Sequential(net.first, net.norm, nn.ReLU(), net.second, nn.Flatten()), "3", similarity=ALIKE, k=5
    )
    assert torch.equal(found.evaluate(REAL).histograms, whole.histograms)


def test_a_list_of_layers_gives_a_list_in_its_order():
    net = Net(0)
    second, first = NeuronConsistency(net, [net.second, "first"], similarity=ALIKE, k=5).evaluate(REAL)
    assert torch.equal(second.lc, evaluated(None).lc)
    assert (first.layer, first.lc.shape) == ("first", (8,))


def test_a_dead_unit_has_no_lc():
    net = Net(0)
    net.second.weight.data[3], net.second.bias.data[3] = 0, 0
    found = NeuronConsistency(net, "second", similarity=ALIKE, k=5).evaluate(REAL, ATTACKED)
    assert found.lc.isnan().nonzero().tolist() == [[3]]
    assert found.consis_adv.isnan()[3]
    assert (found.images[3], found.images_adv[3]) == (0, 0)


def test_the_internal_batch_size_changes_no_histogram():
    found = NeuronConsistency(Net(0), "second", similarity=ALIKE, k=5).evaluate(REAL, internal_batch_size=2)
    assert torch.equal(found.histograms, evaluated(None).histograms)


def test_the_model_comes_back_as_it_was_found():
    net = Net(0).train()
    before = modes(net)
    NeuronConsistency(net, net.second, similarity=ALIKE, k=3).evaluate(REAL, ATTACKED, additional_forward_args=())
    assert modes(net) == before
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in net.modules())


def test_progress_is_shown_when_asked_for(capsys: pytest.CaptureFixture[str]):
    evaluator = NeuronConsistency(Net(0), "second", similarity=ALIKE, k=3)
    evaluator.evaluate(REAL)
    assert capsys.readouterr().err == ""
    evaluator.evaluate(REAL, show_progress=True)
    assert "NeuronConsistency" in capsys.readouterr().err


def test_a_result_becomes_plain_numbers_and_a_data_frame_with_a_row_for_each_unit():
    pytest.importorskip("pandas")
    found = evaluated()
    assert found.to_dict()["histograms"] == found.histograms.tolist()
    frame = found.to_dataframe()
    assert list(frame.columns) == [
        *("layer", "unit", "lc", "lc_debiased", "images"),
        *("consis_adv", "consis_adv_debiased", "images_adv", "sources_adv"),
    ]
    row = frame.query("unit == 3").iloc[0]
    assert (row["layer"], row["lc"], row["images"]) == ("second", found.lc[3].item(), 5)


def test_fewer_images_than_k_are_refused():
    with pytest.raises(ValueError, match="expected at least k=41 images, got 40"):
        evaluated(None, k=41)


def test_labels_beyond_the_similarity_are_refused():
    with pytest.raises(ValueError, match="expected labels from 0 to 2"):
        NeuronConsistency(Net(0), "second", similarity=torch.eye(3), k=3).evaluate(REAL)
