import pytest
import torch
import two_processes
from torch import nn
from torch.nn import functional as F

from interp_plugins.attacks import PredictedLabelFGSM
from interp_plugins.dissection.dissection import NetworkDissection
from interp_plugins.dissection.overlap import ConceptOverlap, blocks_for
from interp_plugins.dissection.passes import Gathering, Sight, count, shuffles
from interp_plugins.errors import LayerNotReached
from interp_plugins.foundation.concepts import Concept, Labels, Vocabulary
from interp_plugins.foundation.measuring import for_measuring
from interp_plugins.testing import toy_classifier

LAYERS = ("0", "3")
N, SIDE, MASK = 40, 12, 8


class Drawn:
    """Random pictures with a bright square; it is labelled, and so is the half of the picture it lies in."""

    vocabulary = Vocabulary(
        (Concept(1, "left", "part"), Concept(2, "right", "part"), Concept(3, "square", "object")), ("object", "part")
    )
    mask_size = (MASK, MASK)

    def __init__(self, n=N):
        random = torch.Generator().manual_seed(0)
        self.ids = tuple(f"{number}" for number in range(n))
        self.images = torch.randint(0, 128, (n, 3, SIDE, SIDE), generator=random, dtype=torch.uint8)
        self.masks = torch.zeros(n, 2, MASK, MASK, dtype=torch.int32)
        for number, (y, x) in enumerate(torch.randint(0, 8, (n, 2), generator=random).tolist()):
            self.images[number, :, y : y + 4, x : x + 4] = 255
            self.masks[number, 0, :, :4], self.masks[number, 0, :, 4:] = 1, 2
            self.masks[number, 1, y * 2 // 3 : (y + 4) * 2 // 3, x * 2 // 3 : (x + 4) * 2 // 3] = 3

    def __len__(self):
        return len(self.ids)

    def tensor(self, numbers):
        return self.images[list(numbers)]

    def labels(self, number):
        return Labels(self.masks[number] if number % 5 else self.masks[number, :1])


def attack(model):
    method = PredictedLabelFGSM(epsilon=16 / 255)
    return lambda images, numbers: method(model, images)


def maps_of(model, layer, images):
    """Every map of the layer at once; the network as it is measured with, in the same tiles."""
    sight = Sight(network=for_measuring(model, images[:1]), layers=(layer,))
    return torch.cat([maps[layer] for _, maps in sight.maps(images)])


def slow(maps, data, share, order=None, value=None):
    """Thresholds and IoU with all that is needed in memory, in float64."""
    n, units = maps.shape[:2]
    values = maps.double().permute(1, 0, 2, 3).reshape(units, -1)
    k = int(share * values.shape[1])
    value = values.sort(1, descending=True).values[:, k] if value is None else value
    lit = F.interpolate(maps.double(), size=(MASK, MASK), mode="bilinear", align_corners=False)
    lit = lit > value[None, :, None, None]
    iou = torch.zeros(units, data.vocabulary.size, dtype=torch.float64)
    labels = [data.labels(number) for number in (order or range(n))]
    of = data.vocabulary.category_of.tolist()
    for concept in range(1, data.vocabulary.size):
        where = torch.stack([(each.pixels == concept).any(0) for each in labels])
        kin = [number for number in range(1, data.vocabulary.size) if of[number] == of[concept]]
        has = torch.stack([torch.isin(each.pixels, torch.tensor(kin)).any() for each in labels])
        both = (lit & where[:, None]).sum((0, 2, 3))
        over = (lit & has[:, None, None, None]).sum((0, 2, 3)) + where.sum() - both
        iou[:, concept] = both.double() / over.clamp_min(1)
    return value, iou


@pytest.mark.parametrize("policy", ["recompute", "clean"])
def test_clean_and_attacked_are_what_the_definition_gives(policy):
    model, data = toy_classifier(), Drawn()
    dissect = NetworkDissection(share=0.02, permutations=2, draws=3, threshold=policy)
    found = dissect(model, LAYERS, data, attack(model))
    clean = data.images.float() / 255
    attacked = torch.cat([attack(model)(some, None) for some in clean.split(64)])
    for layer in LAYERS:
        value, iou = slow(maps_of(model, layer, clean), data, 0.02)
        assert torch.equal(found[layer].clean.thresholds.value, value)
        torch.testing.assert_close(found[layer].clean.overlap.iou, iou, rtol=0, atol=1e-15)
        value, iou = slow(maps_of(model, layer, attacked), data, 0.02, value=value if policy == "clean" else None)
        assert torch.equal(found[layer].attacked.thresholds.value, value)
        torch.testing.assert_close(found[layer].attacked.overlap.iou, iou, rtol=0, atol=1e-15)
        assert not torch.equal(found[layer].attacked.overlap.iou, found[layer].clean.overlap.iou)
        assert found[layer].drop.draws == 3


def test_chance_is_what_the_labels_of_other_images_give():
    model, data = toy_classifier(), Drawn()
    found = NetworkDissection(share=0.02, permutations=3, draws=0)(model, ("0",), data)["0"].clean
    maps = maps_of(model, "0", data.images.float() / 255)
    for place, order in enumerate(shuffles(N, 3, 0)):
        assert sorted(order) == list(range(N))
        _, iou = slow(maps, data, 0.02, order)
        assert int((iou.amax(1) > 0.04).sum()) == int(found.chance.detectors[place])


def test_nothing_more_is_done_than_is_asked_for():
    model, data = toy_classifier(), Drawn()
    found = NetworkDissection(share=0.02, permutations=0, draws=0)(model, ("0",), data)["0"]
    assert found.attacked is None
    assert found.drop is None
    assert found.clean.chance is None
    assert found.clean.overlap.blocks is None


def test_all_layers_take_one_forward_pass_an_image():
    model, data = toy_classifier(), Drawn()
    rows = []

    class Counted(nn.Module):
        def __init__(self):
            super().__init__()
            self.model = model

        def forward(self, images):
            rows.append(len(images))
            return self.model(images)

    NetworkDissection(share=0.02, permutations=1, draws=0)(Counted(), ("model.0", "model.3"), data)
    rows.remove(1)  # to see the shapes of the maps
    rows.remove(1)  # to see whether the network runs in the quick memory format
    assert sum(rows) == N


def test_the_model_is_given_back_as_found():
    model, data = toy_classifier().train(), Drawn()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    NetworkDissection(share=0.02, permutations=0, draws=0)(model, ("0",), data, attack(model))
    assert model.training
    assert not any(module._forward_hooks for module in model.modules())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_an_activation_in_place_behind_the_layer_changes_nothing():
    data, convolution = Drawn(), nn.Conv2d(3, 4, 3)
    tail = [nn.Flatten(), nn.Linear(4 * 100, 3)]
    found = [
        NetworkDissection(share=0.02, permutations=0, draws=0)(
            nn.Sequential(convolution, nn.ReLU(inplace=inplace), *tail), ("0",), data
        )["0"].clean
        for inplace in (True, False)
    ]
    assert torch.equal(found[0].thresholds.value, found[1].thresholds.value)
    assert torch.equal(found[0].overlap.intersection, found[1].overlap.intersection)


def test_a_unit_stuck_at_one_value_is_silent_and_has_no_label():
    data, model = Drawn(), nn.Sequential(nn.Conv2d(3, 3, 3), nn.ReLU6(), nn.Flatten(), nn.Linear(300, 2))
    with torch.no_grad():
        model[0].bias[:2] = torch.tensor([-99.0, 99.0])
    found = NetworkDissection(share=0.02, permutations=0, draws=0)(model, ("1",), data)["1"].clean
    assert found.labels.silent.tolist()[:2] == [True, True]
    assert found.thresholds.saturated.tolist()[:2] == [False, True]
    assert found.labels.concept.tolist()[:2] == [0, 0]
    assert found.overlap.iou[:2].sum() == 0


def test_an_activation_that_is_not_a_number_is_named():
    class Broken(nn.Module):
        def forward(self, images):
            return torch.where(images > 0.99, torch.nan, images)

    with pytest.raises(
        ValueError, match=r"layer '0': expected maps without NaN or infinity, got nan in unit 0, image 0"
    ):
        NetworkDissection(share=0.02)(nn.Sequential(Broken(), nn.Flatten()), ("0",), Drawn())


def test_layers_that_give_no_maps_are_named():
    class Idle(nn.Sequential):
        def forward(self, images):
            return self[1](self[0](images))

    model = Idle(nn.Conv2d(3, 2, 3), nn.Flatten(), nn.Linear(200, 2))
    with pytest.raises(ValueError, match=r"expected maps \(1, units, height, width\) from layer '1', got \(1, 200\)"):
        NetworkDissection(share=0.02)(model, ("1",), Drawn())
    with pytest.raises(LayerNotReached, match="layer '2' did not run; layers that did: 0"):
        NetworkDissection(share=0.02)(model, ("0", "2"), Drawn())
    with pytest.raises(TypeError, match="expected a tensor from layer '1', got tuple"):
        NetworkDissection(share=0.02)(nn.Sequential(nn.Flatten(2), nn.LSTM(144, 3)), ("1",), Drawn())


def test_settings_are_checked(unchecked):
    with pytest.raises(ValueError, match="expected threshold to be one of 'recompute', 'clean', got 'old'"):
        NetworkDissection(threshold="old")
    with pytest.raises(ValueError, match="expected permutations of at least 0, got -1"):
        NetworkDissection(permutations=-1)


SHARES = ((range(24), range(24, N)), (range(N), range(0)))


def _shared(model, data, mine):
    """Both halves of a dissection by a process that has some of the images, as `metric.compute` syncs them."""
    sight = Sight(network=for_measuring(model, data.tensor([0]).float() / 255), layers=LAYERS)
    gathered = Gathering(sight, sight.shapes(data.tensor([0]).float() / 255), N, 0.02, "exact")
    if mine:
        gathered.update(data.tensor(mine).float() / 255, torch.tensor(list(mine)))
    thresholds = {("clean", layer): gathered.thresholds[layer].compute() for layer in LAYERS}
    cells = {("clean", layer): gathered.cells[layer].compute() for layer in LAYERS}
    overlaps = {
        key: [ConceptOverlap(len(each.value), data.vocabulary, blocks=blocks_for(N), images=N),
              ConceptOverlap(len(each.value), data.vocabulary)]
        for key, each in thresholds.items()
    }  # fmt: skip
    count(data, mine, cells, thresholds, overlaps, shuffles(N, 1, 0))
    found = {}
    for key, each in overlaps.items():
        true, chance = (metric.compute() for metric in each)
        found[key[1]] = [thresholds[key].value, true.intersection, true.labelled, true.active, true.blocks.pixels,
                         true.blocks.unit, true.blocks.lit, chance.intersection]  # fmt: skip
    return found


def _one_of_two(rank):
    return [_shared(toy_classifier(), Drawn(), share[rank]) for share in SHARES]


@pytest.mark.slow
def test_two_processes_with_unequal_shares_or_none_give_the_bits_of_one(tmp_path):
    expected = _shared(toy_classifier(), Drawn(), range(N))
    for shares in two_processes.run(_one_of_two, tmp_path):
        for found in shares:
            for layer in LAYERS:
                for ours, alone in zip(found[layer], expected[layer], strict=True):
                    assert torch.equal(ours, alone)
