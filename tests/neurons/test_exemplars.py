import copy
import pickle
import warnings

import pytest
import torch
import two_processes
from torch import nn

from interp_plugins.neurons import NeuronExemplars, conv_layers, neuron_exemplars, record_scores, top_count
from interp_plugins.testing import toy_classifier, toy_images

LAYERS = ("first", "second")


def answers(n=200, seed=0):
    """Scores of two layers with ties and a dead unit, and ids that are not in order."""
    generator = torch.Generator().manual_seed(seed)
    scores = {
        "first": torch.randn(n, 3, generator=generator),
        "second": torch.randint(0, 4, (n, 2), generator=generator).float(),
    }
    scores["second"][:, 1] = 0.5
    return scores, torch.randperm(n, generator=generator)


def gathered(scores, ids, k, parts):
    metric = NeuronExemplars(LAYERS, k)
    for part in parts:
        metric.update({layer: values[part] for layer, values in scores.items()}, ids[part])
    return metric


def bits(found):
    return {layer: (e.values.tolist(), e.ids.tolist(), e.images, e.dead.tolist()) for layer, e in found.items()}


def slowly(scores, ids, k):
    """Sorting everything, layer by layer, in Python."""
    found = {}
    for layer, values in scores.items():
        ordered = [sorted(zip((-column).tolist(), ids.tolist(), strict=True))[:k] for column in values.T]
        best = [[-value for value, _ in row] for row in ordered]
        dead = [len(set(column.tolist())) == 1 for column in values.T]
        found[layer] = (best, [[id for _, id in row] for row in ordered], len(ids), dead)
    return found


def test_by_hand_in_two_batches():
    metric = NeuronExemplars(["conv"], k=2)
    metric.update({"conv": torch.tensor([[0.2, 0.9], [0.6, 0.9]])}, torch.tensor([10, 11]))
    metric.update({"conv": torch.tensor([[0.4, 0.9]])}, torch.tensor([9]))
    found = metric.compute()["conv"]
    assert found.ids.tolist() == [[11, 9], [9, 10]]
    assert found.images == 3
    assert found.dead.tolist() == [False, True]


def test_one_unit_and_one_image_keep_their_axes():
    metric = NeuronExemplars(["fc"], k=1)
    metric.update({"fc": torch.tensor([[0.5]])}, torch.tensor([3]))
    found = metric.compute()["fc"]
    assert (found.ids.shape, found.dead.shape) == ((1, 1), (1,))


@pytest.mark.parametrize("k", [1, 7, 200])
def test_it_equals_sorting_everything_whatever_the_batches(k):
    scores, ids = answers()
    for parts in ([slice(None)], [slice(0, 1), slice(1, 150), slice(150, 200)], [slice(120, 200), slice(0, 120)]):
        assert bits(gathered(scores, ids, k, parts).compute()) == slowly(scores, ids, k)


def test_computing_in_between_disturbs_nothing():
    scores, ids = answers()
    metric = gathered(scores, ids, 5, [slice(0, 100)])
    metric.compute()
    metric.update({layer: values[100:] for layer, values in scores.items()}, ids[100:])
    assert bits(metric.compute()) == slowly(scores, ids, 5)


@pytest.mark.parametrize("again", [copy.deepcopy, lambda metric: pickle.loads(pickle.dumps(metric))])  # noqa: S301
def test_a_copy_goes_on_by_itself(again):
    scores, ids = answers()
    metric = gathered(scores, ids, 5, [slice(0, 100)])
    copied = again(metric)
    copied.update({layer: values[100:] for layer, values in scores.items()}, ids[100:])
    assert bits(copied.compute()) == slowly(scores, ids, 5)
    assert metric.compute()["first"].images == 100


def test_after_a_reset_nothing_is_left():
    scores, ids = answers()
    metric = gathered(scores, ids, 5, [slice(None)])
    metric.reset()
    metric.update({"first": torch.ones(5, 1), "second": torch.ones(5, 4)}, torch.arange(5))
    assert [len(found.ids) for found in metric.compute().values()] == [1, 4]
    assert metric.compute()["first"].images == 5


def test_an_empty_batch_changes_nothing():
    scores, ids = answers()
    found = gathered(scores, ids, 5, [slice(0, 0), slice(None), slice(0, 0)]).compute()
    assert bits(found) == slowly(scores, ids, 5)


@pytest.mark.parametrize("as_state", [True, False])
@pytest.mark.parametrize("cuts", [(0, 70), (70, 71), (3, 200)])
def test_merged_pieces_are_the_bits_of_one_pass(cuts, as_state):
    scores, ids = answers()
    first, second = cuts
    pieces = [gathered(scores, ids, 9, [part] if part.start < part.stop else []) for part in
              (slice(0, first), slice(first, second), slice(second, 200))]  # fmt: skip
    whole = NeuronExemplars(LAYERS, 9)
    for piece in pieces:
        whole.merge_state(piece.metric_state if as_state else piece)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torchmetrics does not count a merge as having seen something
        assert bits(whole.compute()) == slowly(scores, ids, 9)


def test_after_a_merge_it_goes_on():
    scores, ids = answers()
    metric = NeuronExemplars(LAYERS, 5)
    metric.merge_state(gathered(scores, ids, 5, [slice(0, 100)]))
    metric.update({layer: values[100:] for layer, values in scores.items()}, ids[100:])
    assert bits(metric.compute()) == slowly(scores, ids, 5)


def test_one_call_finds_what_the_metric_finds_batch_by_batch():
    model, (images, _) = toy_classifier(), toy_images(20)
    layers, ids = conv_layers(model), torch.arange(100, 120)
    found = neuron_exemplars(model, "auto", zip(images.split(7), ids.split(7), strict=True), k=3)
    expected = slowly(record_scores(model.to(memory_format=torch.channels_last), layers, images), ids, 3)
    assert bits(found) == expected


def test_a_model_that_draws_lots_is_refused():
    class Chance(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)

        def forward(self, images):
            return self.conv(nn.functional.dropout(images))

    with pytest.raises(ValueError, match="two answers from layer 'conv'; switch off its dropout"):
        neuron_exemplars(Chance(), "auto", [(toy_images()[0], torch.arange(3))], k=1)


@pytest.mark.parametrize(("n", "share", "k"), [(50_000, 0.01, 500), (700, 0.01, 7), (30, 0.01, 1), (10, 0.3, 3)])
def test_the_share_is_rounded_down_and_at_least_one(n, share, k):
    assert top_count(n, share) == k


def test_what_does_not_fit_is_refused_in_a_sentence():
    scores, ids = answers(10)
    metric = gathered(scores, ids, 11, [slice(None)])
    with pytest.raises(ValueError, match="expected at least k=11 images, got 10; choose k with top_count"):
        metric.compute()
    with pytest.raises(ValueError, match="expected scores of layer 'second', got those of first"):
        metric.update({"first": scores["first"]}, ids)
    with pytest.raises(ValueError, match="expected 3 units of layer 'first' as before, got 2"):
        metric.update({**scores, "first": scores["second"]}, ids)
    with pytest.raises(ValueError, match="expected the names of different layers, got "):
        NeuronExemplars(["a", "a"], 1)
    with pytest.raises(ValueError, match=r"expected n of at least 1 and a share in \(0, 1\], got n=5 and 0"):
        top_count(5, 0)


def test_a_nan_is_refused_by_layer_unit_and_image():
    scores, ids = answers(10)
    scores["second"][4, 1] = torch.nan
    with pytest.raises(ValueError, match=f"expected no NaN, got one in layer 'second', unit 1, image {int(ids[4])}$"):
        gathered(scores, ids, 1, [slice(None)])


def test_an_image_that_came_twice_is_refused():
    scores, ids = answers(10)
    with pytest.raises(ValueError, match="expected each sample once, got id"):
        gathered(scores, ids, 2, [slice(None), slice(None)]).compute()


SHARES = [(range(37), range(37, 200)), (range(200), range(0)), (range(0), range(3, 200))]  # of each process


def _one_of_two(rank):
    scores, ids = answers()
    found = []
    for shares in SHARES:
        share = shares[rank]
        parts = [slice(start, min(start + 16, share.stop)) for start in share[::16]]
        metric = gathered(scores, ids, 9, parts)
        found.append(bits(metric.compute()))
        metric._computed = None  # a second sync must not count anything twice
        found.append(bits(metric.compute()))
    return found


@pytest.mark.slow
def test_two_processes_with_unequal_shares_or_none_give_the_bits_of_one(tmp_path):
    scores, ids = answers()
    seen = [sorted([*first, *second]) for first, second in SHARES for _ in range(2)]
    expected = [slowly({layer: values[rows] for layer, values in scores.items()}, ids[rows], 9) for rows in seen]
    assert two_processes.run(_one_of_two, tmp_path) == [expected, expected]


@pytest.mark.real
def test_all_convolutions_of_a_trained_network_agree_with_sorting_their_maps(data_folder):
    from interp_plugins.sources import images, models

    model = models.load(f"{data_folder / 'nets.py'}:cifar_resnet20").module
    data = images.load(data_folder / "cifar10")
    chosen = torch.arange(200)
    pictures = data.tensor(range(200)).float() / 255
    layers = conv_layers(model)
    batches = ((pictures[part], part) for part in chosen.split(64))
    found = neuron_exemplars(model, layers, batches, k=top_count(200, 0.05))
    assert len(layers) == 19
    for layer in layers:
        kept = []
        handle = model.get_submodule(layer).register_forward_hook(lambda m, i, output, kept=kept: kept.append(output))
        with torch.no_grad():
            model(pictures)
        handle.remove()
        maxima = torch.stack([image.flatten(1).max(1).values for image in kept[0]])
        best = maxima.sort(0, descending=True).values[:10].T
        torch.testing.assert_close(found[layer].values, best, rtol=1e-4, atol=1e-4)
        own = maxima.T.gather(1, found[layer].ids)
        torch.testing.assert_close(found[layer].values, own, rtol=1e-4, atol=1e-4)
        clear = (best[:, :-1] - best[:, 1:]).amin(1) > 1e-3  # where rounding cannot change the order
        order = maxima.T.sort(dim=1, descending=True, stable=True).indices[:, :9]
        assert torch.equal(found[layer].ids[clear, :9], order[clear])
        assert not found[layer].dead.any() or (maxima.amax(0) == maxima.amin(0))[found[layer].dead].all()
