"""The evaluator of network dissection takes images with masks as Captum's users have them, and gives the core's."""

import json
from dataclasses import fields, is_dataclass

import pytest
import torch
from evaluated import IMAGES
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, Sampler, TensorDataset
from toys import Net, modes

from interp_captum import NetworkDissection, PredictedLabelFGSM
from interp_plugins import attacks
from interp_plugins.dissection import dissection as core
from interp_plugins.errors import LayerNotReached
from interp_plugins.foundation.concepts import Concept, Labels, Vocabulary
from interp_plugins.sources.labelled import open_labelled
from interp_plugins.sources.models import load

_chance = torch.Generator().manual_seed(3)

CONCEPTS = {1: "sky", 2: ("grass", "texture"), 300: "dog", 4: ("lawn", "texture")}
MASKS = torch.tensor([0, 1, 2, 300])[torch.randint(4, (40, 2, 6, 6), generator=_chance)]
MASKS[:, 1].masked_fill_(MASKS[:, 1] == MASKS[:, 0], 4)
FEW = {"share": 0.05, "permutations": 3, "draws": 20}


class World:
    """The same images with their concepts, as the core reads them."""

    vocabulary = Vocabulary(
        (Concept(1, "sky", "object"), Concept(2, "grass", "texture"), Concept(4, "lawn", "texture"),
         Concept(300, "dog", "object")),
        ("object", "texture"),
    )  # fmt: skip
    ids, mask_size = tuple(map(str, range(40))), (6, 6)

    def __len__(self) -> int:
        return 40

    def tensor(self, numbers):
        return IMAGES[list(numbers)]

    def labels(self, number):
        return Labels(MASKS[number].int())


class Pairs(Dataset):
    """Images and masks one by one, which counts how often each is asked for."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def __len__(self) -> int:
        return 40

    def __getitem__(self, number):
        self.asked.append(number)
        return IMAGES[number], MASKS[number]


class Stream(IterableDataset):
    def __iter__(self):
        return iter(Pairs()[number] for number in range(40))


class Lying(Sampler):
    def __len__(self) -> int:
        return 41

    def __iter__(self):
        return iter(range(40))


def fgsm(net, epsilon=16 / 255):
    method = attacks.PredictedLabelFGSM(epsilon=epsilon)
    return lambda images, numbers: method(net, images)


def evaluated(inputs=(IMAGES, MASKS), layer="second", attack=None, concepts=CONCEPTS, net=None, **settings):
    dissection = NetworkDissection(Net(0) if net is None else net, layer, **{**FEW, **settings})
    return dissection.evaluate(inputs, attack, concepts=concepts)


def tensors(value) -> list[Tensor]:
    """All tensors in a result of the core, in one order."""
    if isinstance(value, Tensor):
        return [value]
    if is_dataclass(value):
        return [each for field in fields(value) for each in tensors(getattr(value, field.name))]
    slots = getattr(value, "__slots__", ())
    named = {name: getattr(value, name) for name in slots} or getattr(value, "__dict__", {})
    return [each for name in sorted(named) for each in tensors(named[name])]


def assert_same(found: core.Dissected, expected: core.Dissected) -> None:
    pairs = list(zip(tensors(found), tensors(expected), strict=True))
    assert len(pairs) > 15
    for one, other in pairs:
        torch.testing.assert_close(one, other, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize(
    "inputs",
    [
        DataLoader(TensorDataset(IMAGES, MASKS), batch_size=7),
        DataLoader(Pairs(), batch_sampler=[list(range(30)), list(range(30, 40))]),
        DataLoader(Stream(), batch_size=16),
        [(IMAGES[:25], MASKS[:25].int()), (IMAGES[25:], MASKS[25:].to(torch.uint16))],
        (IMAGES, MASKS),
        Pairs(),
        World(),
    ],
    ids=["loader", "batch sampler", "stream", "list", "tuple", "dataset", "labelled images"],
)
def test_every_form_of_images_and_masks_gives_what_the_core_gives_to_the_bit(inputs):
    net = Net(0)
    concepts = None if isinstance(inputs, World) else CONCEPTS
    found = evaluated(inputs, net.second, PredictedLabelFGSM(net, epsilon=16 / 255), concepts, net)
    expected = core.NetworkDissection(**FEW)(net, ["second"], World(), fgsm(net))["second"]
    assert_same(found.found, expected)


def test_units_get_the_names_of_the_cores_concepts_and_their_categories():
    found = evaluated()
    numbers = found.found.clean.labels.concept.tolist()
    assert found.clean.label == tuple({0: None, 1: "sky", 2: "grass", 4: "lawn", 300: "dog"}[n] for n in numbers)
    kinds = {None: None, "sky": "object", "dog": "object", "grass": "texture", "lawn": "texture"}
    assert found.clean.category == tuple(kinds[label] for label in found.clean.label)
    assert torch.equal(found.clean.iou, found.found.clean.labels.iou)
    assert torch.equal(found.clean.threshold, found.found.clean.thresholds.value)


def test_settings_are_the_cores():
    settings = {"share": 0.1, "quantile": "netdissect", "union": "lite", "detector": 0.2, "threshold": "clean"}
    found = evaluated(attack=PredictedLabelFGSM(Net(0)), permutations=0, draws=0, seed=5, **settings)
    method = core.NetworkDissection(permutations=0, draws=0, seed=5, **settings)
    expected = method(Net(0), ["second"], World(), fgsm(Net(0), attacks.PredictedLabelFGSM.epsilon))["second"]
    assert_same(found.found, expected)
    assert found.union == "lite"
    assert torch.equal(found.clean.detector, found.clean.iou > 0.2)


def test_detectors_and_their_labels_are_counted_beside_what_chance_gives():
    found = evaluated(detector=0.019)
    clean = found.clean
    labels = [name for name, yes in zip(clean.label, clean.detector, strict=True) if yes]
    kinds = [kind for kind, yes in zip(clean.category, clean.detector, strict=True) if yes]
    assert 2 < len(labels) < 16
    assert clean.detectors == {**{kind: kinds.count(kind) for kind in ("object", "texture")}, "all": len(kinds)}
    assert clean.unique["all"] == clean.unique["object"] + clean.unique["texture"] == len(set(labels))
    chance = found.found.clean.chance
    assert found.clean.chance_detectors["all"] == chance.detectors.max()
    assert found.clean.chance_unique["texture"] == chance.unique_by_category[:, 1].max()


def test_without_permutations_nothing_is_said_of_chance():
    clean = evaluated(permutations=0).clean
    assert (clean.chance_detectors, clean.chance_unique) == (None, None)


def test_without_an_attack_there_is_nothing_attacked():
    found = evaluated()
    assert (found.attacked, found.changed, found.found.drop) == (None, None, None)


def test_units_that_point_elsewhere_under_attack_are_marked():
    found = evaluated(attack=lambda images: 1 - images)
    changed = [one != other for one, other in zip(found.clean.label, found.attacked.label, strict=True)]
    assert found.changed.tolist() == changed
    assert any(changed)


def test_a_list_of_layers_gives_a_list_from_one_reading_of_the_images():
    pairs, net = Pairs(), Net(0)
    second, first = evaluated(pairs, [net.second, "first"], net=net)
    assert pairs.asked == list(range(40))
    assert_same(second.found, evaluated().found)
    assert (first.layer, len(first.clean.label)) == ("first", 8)


def test_a_dead_unit_is_silent_and_points_at_nothing():
    net = Net(0)
    net.second.weight.data[3], net.second.bias.data[3] = 0, 0
    clean = evaluated(net=net).clean
    assert clean.silent.nonzero().tolist() == [[3]]
    assert (clean.label[3], clean.category[3], clean.iou[3]) == (None, None, 0)


def test_grey_levels_are_read_as_images():
    grey = (IMAGES * 255).byte()
    assert_same(evaluated((grey, MASKS)).found, evaluated((grey / 255, MASKS)).found)


def test_a_number_that_stands_in_two_layers_at_one_place_counts_once():
    thrice = torch.stack([MASKS[:, 0], MASKS[:, 1], MASKS[:, 0]], 1)
    kept = thrice.clone()
    assert_same(evaluated((IMAGES, thrice)).found, evaluated().found)
    assert torch.equal(thrice, kept)  # the user's own


def test_a_loader_that_drops_its_last_batch_is_counted_without_it():
    loader = DataLoader(TensorDataset(IMAGES, MASKS), batch_size=16, drop_last=True)
    assert_same(evaluated(loader).found, evaluated((IMAGES[:32], MASKS[:32])).found)


def test_masks_of_one_kind_of_thing_may_be_bool():
    found = evaluated((IMAGES, MASKS[:, 0] == 1), concepts={1: "sky"})
    assert set(found.clean.label) == {"sky"}


def test_additional_arguments_reach_the_model_after_its_images_also_under_attack():
    class Shifted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = Net(0)

        def forward(self, images, shift):
            return self.net(images + shift)

    model, darker = Shifted().eval(), IMAGES / 2
    dissection = NetworkDissection(model, "net.second", **FEW)
    found = dissection.evaluate((darker, MASKS), PredictedLabelFGSM(model), 0.25, concepts=CONCEPTS)
    expected = evaluated((darker + 0.25, MASKS))
    assert torch.equal(found.clean.iou, expected.clean.iou)
    assert found.attacked is not None
    assert not model._forward_pre_hooks


def test_the_internal_batch_size_is_the_cores_tile():
    found = NetworkDissection(Net(0), "second", **FEW).evaluate(World(), internal_batch_size=2)
    assert_same(found.found, core.NetworkDissection(**FEW, tile=2)(Net(0), ["second"], World())["second"])
    with pytest.raises(ValueError, match="tile"):
        NetworkDissection(Net(0), "second").evaluate(World(), internal_batch_size=3)


def test_the_model_comes_back_as_it_was_found():
    net = Net(0).train()
    before = modes(net)
    evaluated(net=net, attack=PredictedLabelFGSM(net))
    assert modes(net) == before
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in net.modules())
    assert all(parameter.requires_grad and parameter.grad is None for parameter in net.parameters())


def test_the_random_state_comes_back_as_it_was_found():
    before = torch.get_rng_state()
    evaluated(Pairs(), attack=PredictedLabelFGSM(Net(0)))
    assert torch.equal(torch.get_rng_state(), before)


def test_progress_is_shown_when_asked_for(capsys: pytest.CaptureFixture[str]):
    dissection = NetworkDissection(Net(0), "second", **FEW)
    dissection.evaluate(World())
    assert capsys.readouterr().err == ""
    dissection.evaluate(World(), show_progress=True)
    shown = capsys.readouterr().err
    assert "NetworkDissection, images: 100%" in shown
    assert "NetworkDissection, labels: 100%" in shown
    assert "160/160" in shown  # the labels of 40 images, and of 3 permutations of them


def test_a_result_becomes_plain_numbers():
    found = evaluated(attack=lambda images: 1 - images)
    plain = json.loads(json.dumps(found.to_dict()))
    assert list(plain) == ["layer", "union", "clean", "attacked", "changed"]
    assert plain["attacked"]["iou"] == found.attacked.iou.tolist()
    assert plain["clean"]["label"] == list(found.clean.label)
    assert plain["clean"]["unique"] == found.clean.unique


def test_a_data_frame_has_a_row_for_each_unit_clean_and_attacked():
    pytest.importorskip("pandas")
    names = ["label", "category", "iou", "detector", "silent", "threshold"]
    assert list(evaluated().to_dataframe().columns) == ["layer", "unit", *names]
    found = evaluated(attack=lambda images: 1 - images)
    frame = found.to_dataframe()
    assert list(frame.columns) == ["layer", "unit", *names, *(f"{name}_adv" for name in names), "changed"]
    row = frame.query("unit == 3").iloc[0]
    assert (row["label"], row["iou_adv"]) == (found.clean.label[3], found.attacked.iou[3].item())


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        (IMAGES, "expected images with their labels, got a tensor"),
        ([IMAGES], r"expected batches \(images, masks\) of tensors, got \(Tensor\)"),
        ([{"image": IMAGES}], r"expected batches \(images, masks\) of tensors, got \(dict\)"),
        (iter([(IMAGES, MASKS)]), "expected inputs that can be gone through twice, got a list_iterator"),
        ((IMAGES, MASKS / 255), "expected masks of whole numbers, got torch.float32; read them with PILToTensor"),
    ],
)
def test_batches_of_another_form_are_refused(inputs, words):
    with pytest.raises(TypeError, match=words):
        evaluated(inputs)


def half(masks: Tensor) -> Tensor:
    return masks[..., ::2, ::2]


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        (
            [(IMAGES[:30], MASKS[:30]), (IMAGES[30:], half(MASKS[30:]))],
            "expected masks of 6 x 6 as before, got 3 x 3 for image 30; resize them to nearest",
        ),
        (
            [(IMAGES[:30], MASKS[:30]), (IMAGES[30:, :, ::2, ::2], MASKS[30:])],
            r"expected images of shape \(3, 8, 8\) as before, got \(3, 4, 4\)",
        ),
        (
            (IMAGES, MASKS.clone().index_put((torch.tensor(7), torch.tensor(1)), torch.tensor(255))),
            "expected numbers of concepts in the mask of image 7, got 255; name it in concepts, or set it to 0",
        ),
        ((IMAGES, MASKS - 1), "expected numbers of concepts in the mask of image 0, got -1"),
        ((IMAGES, MASKS + 1000), "expected numbers of concepts in the mask of image 0, got 1"),
        ((IMAGES, MASKS[:3]), r"expected masks \(n, height, width\) .* for 40 images, got \(3, 2, 6, 6\)"),
        ((IMAGES, MASKS[:, 0, 0]), r"expected masks .* for 40 images, got \(40, 6\)"),
        ((IMAGES, 0 * MASKS), "expected numbers of concepts in the masks, got 0 everywhere"),
        ([], "expected at least one batch of images and masks, got none"),
        (
            DataLoader(TensorDataset(IMAGES, MASKS), batch_size=8, sampler=Lying()),
            "expected 41 images, as there were said to be, got 40",
        ),
        ((IMAGES + 1, MASKS), r"expected images in \[0, 1\]"),
    ],
)
def test_images_and_masks_that_do_not_fit_are_refused(inputs, words):
    with pytest.raises(ValueError, match=words):
        evaluated(inputs)


def test_the_meaning_of_numbers_has_to_be_given_with_masks_and_only_then():
    with pytest.raises(ValueError, match=r"expected concepts, .* such as \{1: 'sky', .*, got none"):
        evaluated(concepts=None)
    with pytest.raises(ValueError, match="expected concepts beside images and masks alone; these images bring theirs"):
        evaluated(World())
    with pytest.raises(ValueError, match=r"expected concepts with ascending numbers from 1, got \[0, 1\]"):
        evaluated(concepts={0: "none", 1: "sky"})


@pytest.mark.parametrize(
    ("attack", "got"), [(lambda images: images[:3], r"\(3, 3, 8, 8\)"), (lambda images: (images,), "tuple")]
)
def test_an_attack_that_gives_other_than_images_is_refused(attack, got):
    with pytest.raises(ValueError, match=rf"expected an attack that gives images of shape \(40, 3, 8, 8\), got {got}"):
        evaluated(attack=attack)


def test_a_layer_that_does_not_run_is_named():
    net = Net(0)
    net.idle = nn.Conv2d(3, 2, 1)
    with pytest.raises(LayerNotReached, match="idle"):
        evaluated(layer="idle", net=net)


def test_a_layer_without_maps_is_refused():
    with pytest.raises(ValueError, match=r"expected maps \(1, units, height, width\) from layer 'head'"):
        evaluated(layer="head")


@pytest.mark.real
def test_squeezenet_on_broden_is_the_cores_dissection(data_folder):
    images = open_labelled(data_folder / "segmentation" / "broden_micro_224", limit=16)
    model = load(f"{data_folder / 'nets.py'}:imagenet_squeezenet1_0").module
    layer = model.net.features[12]
    found = NetworkDissection(model, layer, permutations=2).evaluate(images)
    expected = core.NetworkDissection(permutations=2)(model, ["net.features.12"], images)["net.features.12"]
    assert_same(found.found, expected)
    pairs = [(images.tensor([n]), images.labels(n).pixels[None]) for n in range(16)]
    concepts = {each.number: (each.name, each.category) for each in images.vocabulary.concepts}
    again = NetworkDissection(model, layer, permutations=2).evaluate(pairs, concepts=concepts)
    assert again.clean.label == found.clean.label
    assert torch.equal(again.clean.iou, found.clean.iou)
    assert found.clean.detectors["all"] > 0
