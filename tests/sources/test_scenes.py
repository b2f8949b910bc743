import hashlib

import numpy as np
import pytest
import torch

from interp_plugins.sources import scenes
from interp_plugins.sources.world import CONCEPTS, NUMBER


@pytest.fixture(scope="module")
def world():
    return scenes.draw(96)


@pytest.fixture(scope="module")
def crowd():
    return scenes.draw(320, size=48, seed=3)


def names(world, category, i):
    """What is in image i, of one category."""
    return {CONCEPTS[number - 1].name for number in np.unique(world.masks[category][i]) if number}


def test_an_image_is_the_same_however_many_are_drawn(world):
    few = scenes.draw(5)
    assert torch.equal(few.images, world.images[:5])
    assert all(np.array_equal(few.masks[category], world.masks[category][:5]) for category in few.masks)
    assert torch.equal(few.labels, world.labels[:5])


def test_an_image_is_the_same_wherever_the_drawing_starts(world):
    later = scenes.draw(3, start=70)
    assert torch.equal(later.images, world.images[70:73])
    assert later.ids == world.ids[70:73]


def test_an_image_is_the_same_whatever_is_drawn_at_the_same_time(world, monkeypatch):
    monkeypatch.setattr(scenes, "TOGETHER", 3)
    assert torch.equal(scenes.draw(96).images, world.images)


def test_another_seed_is_another_world(world):
    assert not torch.equal(scenes.draw(5, seed=1).images, world.images[:5])


def test_drawing_leaves_the_callers_random_numbers_alone():
    states = torch.random.get_rng_state(), np.random.get_state()[1]
    scenes.draw(1, size=16)
    assert torch.equal(torch.random.get_rng_state(), states[0])
    assert np.array_equal(np.random.get_state()[1], states[1])


def test_images_are_bytes_and_floats_are_between_0_and_1(world):
    assert world.images.shape == (96, 3, 64, 64)
    assert world.images.dtype == torch.uint8
    assert 0 <= world.floats().min() <= world.floats().max() <= 1
    assert torch.equal((world.floats() * 255).round().byte(), world.images)


def test_sixteen_images_in_a_row_hold_each_class_once(world):
    for block in world.labels.view(6, 16):
        assert sorted(block.tolist()) == list(range(16))


def test_the_order_of_the_classes_changes_from_block_to_block(world):
    assert not torch.equal(world.labels[:16], world.labels[16:32])


def test_there_are_at_least_twelve_classes_each_with_a_wnid_of_its_own(world):
    assert len(world.classes) == len(set(world.wnids)) >= 12
    assert all(len(wnid) == 9 and wnid[0] == "n" and wnid[1:].isdigit() for wnid in world.wnids)


@pytest.mark.real
def test_every_wnid_is_a_synset_of_its_classs_name(world, data_folder):
    words = dict(line.split("\t") for line in (data_folder / "wordnet" / "words.txt").read_text().splitlines())
    wrong = [name for name, wnid in zip(world.classes, world.wnids, strict=True) if name not in words[wnid].split(", ")]
    assert wrong == []


@pytest.mark.real
def test_every_class_is_linked_to_the_top_of_wordnet(world, data_folder):
    links = (line.split() for line in (data_folder / "wordnet" / "is_a.txt").read_text().splitlines())
    parents = {child: parent for parent, child in links}
    for node in world.wnids:
        while node in parents:
            node = parents[node]
        assert node == "n00001740"


def test_ids_name_the_seed_and_the_index():
    assert scenes.draw(2, size=16, seed=7, start=9).ids == ("scenes/7/9", "scenes/7/10")


def test_each_number_means_one_concept_of_one_category(world):
    assert [concept.number for concept in world.concepts] == list(range(1, len(world.concepts) + 1))
    for category, mask in world.masks.items():
        used = np.unique(mask[mask > 0])
        assert {world.concepts[number - 1].category for number in used} == {category}


def test_every_image_shows_its_class_as_an_object(world):
    for i, label in enumerate(world.labels.tolist()):
        assert world.classes[label] in names(world, "object", i)


def test_every_concept_occurs_somewhere(crowd):
    seen = {number for mask in crowd.masks.values() for number in np.unique(mask).tolist()}
    assert [concept for concept in CONCEPTS if concept.number not in seen] == []


def test_every_pixel_has_a_colour_and_an_object(world):
    assert (world.masks["color"] > 0).all()
    assert (world.masks["object"] > 0).all()


def test_a_scene_holds_for_the_whole_image(world):
    scene = world.masks["scene"]
    assert (scene == scene[:, :, :1, :1]).all()


def test_parts_lie_on_the_main_thing(world):
    things = [NUMBER["object", name] for name in world.classes]
    parts = (world.masks["part"] > 0).any(1)
    assert np.isin(world.masks["object"][:, 0][parts], things).all()


def test_a_part_of_a_part_lies_on_a_part(world):
    part, detail = world.masks["part"][:, 0], world.masks["part"][:, 1]
    assert (part[detail > 0] > 0).mean() > 0.99


def test_cars_have_wheels_and_wheels_have_hubs(crowd):
    cars = [i for i, label in enumerate(crowd.labels.tolist()) if crowd.classes[label] == "car"]
    assert all("wheel" in names(crowd, "part", i) for i in cars)
    part, detail = crowd.masks["part"][cars].transpose(1, 0, 2, 3)
    assert (part[detail == NUMBER["part", "hub"]] == NUMBER["part", "wheel"]).all()


@pytest.mark.parametrize(("colour", "channel"), [("red", 0), ("green", 1), ("blue", 2)])
def test_pixels_called_red_green_or_blue_look_it(world, colour, channel):
    images, masks = world.images.numpy().transpose(0, 2, 3, 1).astype(int), world.masks["color"][:, 0]
    pixels = images[masks == NUMBER["color", colour]]
    others = np.delete(pixels, channel, axis=1).max(1)
    assert (pixels[:, channel] > others).mean() > 0.9


def test_a_textured_surface_shows_two_colours(world):
    texture, color = world.masks["texture"][:, 0], world.masks["color"][:, 0]
    for i in range(96):
        for number in np.unique(texture[i][texture[i] > 0]):
            if (texture[i] == number).sum() > 150:
                assert len(np.unique(color[i][texture[i] == number])) >= 2


def test_the_same_world_can_be_drawn_larger():
    small, large = scenes.draw(16, size=32), scenes.draw(16, size=128)
    shrunk = torch.nn.functional.avg_pool2d(large.floats(), 4)
    assert (shrunk - small.floats()).abs().mean() < 0.06
    agreement = small.masks["object"][:, 0] == large.masks["object"][:, 0, 2::4, 2::4]
    assert agreement.mean() > 0.95


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"n": 0}, "expected n of at least 1, got 0"),
        ({"n": 1, "size": 8}, "expected size of at least 16, got 8"),
        ({"n": 1, "start": -1}, "expected start of at least 0, got -1"),
    ],
)
def test_too_few_too_small_or_before_the_first_is_refused(arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        scenes.draw(**arguments)


@pytest.mark.slow
def test_a_small_network_learns_most_of_it_but_not_all():
    training, held_out = scenes.draw(2000, size=32), scenes.draw(512, size=32, seed=1)
    torch.manual_seed(0)
    layers = []
    for i, o in ((3, 16), (16, 32), (32, 64), (64, 128)):
        layers += [torch.nn.Conv2d(i, o, 3, padding=1), torch.nn.BatchNorm2d(o), torch.nn.ReLU(), torch.nn.MaxPool2d(2)]
    net = torch.nn.Sequential(*layers, torch.nn.Flatten(), torch.nn.Linear(512, 16))
    optimizer, images = torch.optim.AdamW(net.parameters(), weight_decay=0.01), training.floats() - 0.5
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 6e-3, total_steps=12 * 62)
    for _ in range(12):
        for batch in torch.randperm(len(images))[: 62 * 32].view(-1, 32):
            loss = torch.nn.functional.cross_entropy(net(images[batch]), training.labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    net.eval()
    with torch.no_grad():
        right = (net(held_out.floats() - 0.5).argmax(1) == held_out.labels).float().mean()
    assert 0.85 <= right <= 0.99, float(right)


def test_the_pictures_are_those_of_every_other_machine():
    content = scenes.draw(16, size=32).images.numpy().tobytes()
    assert hashlib.sha256(content).hexdigest() == "da2fe1565876d9fb1f238c981760ba360ede67f84edc2ec34429dcddc62508eb"
