import csv
import os
import shutil

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from interp_plugins.foundation.concepts import Concept, LabelledImages
from interp_plugins.sources import broden, decoding, scenes
from interp_plugins.sources.labelled import Broden, open_labelled
from interp_plugins.sources.tables import heard


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """Thirty-two scenes and the Broden directory that keeps all their concepts."""
    world = scenes.draw(32, size=32)
    return world, scenes.write_broden(world, tmp_path_factory.mktemp("drawn"), min_frequency=0, min_coverage=0)


CONCEPTS = (
    Concept(1, "red", "color"),
    Concept(2, "car", "object"),
    Concept(3, "tree", "object"),
    Concept(4, "wheel", "part"),
    Concept(5, "street", "scene"),
)


@pytest.fixture
def small(tmp_path):
    """Three images of 8 x 8: a red car with a wheel in a street, a tree, and a street alone."""
    blank = np.zeros((3, 2, 8, 8), np.int16)
    color, things, part, scene = blank.copy(), blank.copy(), blank.copy(), blank.copy()
    color[0, 0, :4] = 1
    things[0, 0, :4], things[1, 0, :, 4:] = 2, 3
    part[0, 0, 2:4], part[0, 1, 2:4, :4] = 4, 4
    scene[[0, 2]] = 5
    images = torch.arange(3, dtype=torch.uint8)[:, None, None, None].expand(3, 3, 8, 8) * 40
    masks = {"color": color, "object": things, "part": part, "scene": scene}
    folder = tmp_path / "small"
    return broden.write(folder, images, masks, CONCEPTS, ("a", "b", "c"), min_frequency=0, min_coverage=0)


def table(folder, name):
    with (folder / name).open(newline="") as file:
        return list(csv.DictReader(file))


def put(folder, name, rows):
    with (folder / name).open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def change(folder, name, line, /, **values):
    """Give one row of a table other values."""
    rows = table(folder, name)
    rows[line] |= {column: str(value) for column, value in values.items()}
    put(folder, name, rows)


def put_mask(path, numbers):
    numbers = np.asarray(numbers)
    Image.fromarray(np.stack([numbers % 256, numbers // 256, 0 * numbers], -1).astype(np.uint8)).save(path)


def test_what_was_drawn_is_read_back(drawn):
    world, folder = drawn
    images = open_labelled(folder)
    numbers = {(c.category, images.vocabulary.name(c.number)): c.number for c in images.vocabulary.concepts}
    new = np.zeros(len(world.concepts) + 1, np.int32)
    for concept in world.concepts:
        new[concept.number] = numbers.get((concept.category, concept.name), 0)
    for i in range(len(images)):
        labels = images.labels(i)
        layers = [mask[i, :, ::2, ::2] for category, mask in world.masks.items() if category != "scene"]
        expected = new[np.concatenate(layers)]
        assert np.array_equal(labels.pixels.numpy(), expected[expected.any((1, 2))])
        assert labels.whole == (new[world.masks["scene"][i, 0, 0, 0]],)
    assert torch.equal(images.tensor(range(len(images))), world.images)


def test_a_broden_directory_is_what_a_dissection_reads(drawn):
    images = Broden(drawn[1])
    assert isinstance(images, LabelledImages)
    assert images.vocabulary.categories == ("color", "object", "part", "scene", "texture")
    assert images.ids[7] == "scenes/0/7.png"
    assert images.mask_size == (16, 16)
    assert images.labels(0).pixels.dtype == torch.int32


def test_a_number_counts_once_at_each_place(small):
    layers = Broden(small, ["part"]).labels(0).pixels
    assert (layers > 0).sum() == 4
    assert not (layers[0] * layers[1]).any()


def test_what_holds_for_the_whole_image_is_in_no_pixel(small):
    street = table(small, "label.csv")[4]["number"]
    change(small, "index.csv", 2, object="c_object.png")
    put_mask(small / "images" / "c_object.png", np.full((4, 4), int(street)))
    labels = Broden(small).labels(2)
    assert labels.whole == (int(street),)
    assert not labels.pixels.any()


def test_whole_images_make_no_maps(small):
    images = Broden(small)
    assert images.labels(2).pixels.shape == (0, 4, 4)
    assert images.labels(2).whole == (5,)


def test_images_without_the_chosen_categories_are_skipped_and_counted(small):
    images = Broden(small, ["color", "part"])
    assert images.ids == ("a.png",)
    assert images.skipped == 2


def test_concepts_of_other_categories_are_none(small):
    images = Broden(small, ["object"])
    assert [concept.name for concept in images.vocabulary.concepts] == ["car", "tree"]
    put_mask(small / "images" / "a_object.png", np.array([[1, 2], [4, 0]]).repeat(2, 0).repeat(2, 1))
    assert images.labels(0).pixels.unique().tolist() == [0, 2]


def test_categories_stay_in_the_order_of_their_table(small):
    assert Broden(small, ["part", "color"]).vocabulary.categories == ("color", "part")


@pytest.mark.parametrize(("shares", "category"), [((0.4, 0.2), "object"), ((0.2, 0.4), "part"), ((0.3, 0.3), "part")])
def test_a_concept_of_two_categories_belongs_where_it_covers_most_and_of_equals_to_the_later(small, shares, category):
    change(small, "c_object.csv", 0, coverage=shares[0])
    put(small, "c_part.csv", [*table(small, "c_part.csv"), {**table(small, "c_object.csv")[0], "coverage": shares[1]}])
    vocabulary = Broden(small).vocabulary
    assert next(concept for concept in vocabulary.concepts if concept.name == "car").category == category
    assert vocabulary.categories[vocabulary.category_of[2]] == category


def test_a_mask_that_a_palette_made_small_has_the_same_numbers(small):
    before = Broden(small).labels(1).pixels
    path = small / "images" / "b_object.png"
    with Image.open(path) as mask:
        few = mask.quantize(4)
    few.save(path)
    assert few.mode == "P"
    assert torch.equal(Broden(small).labels(1).pixels, before)


def test_square_images_come_in_the_size_that_is_asked_for(small):
    images = Broden(small, size=12)
    assert images.tensor([0, 1]).shape == (2, 3, 12, 12)
    assert images.labels(0).pixels.shape[1:] == (4, 4)


def test_a_limit_takes_the_first_labelled_images(small):
    assert Broden(small, ["object", "scene"], limit=2).ids == ("a.png", "b.png")
    assert Broden(small, ["scene"], limit=2).ids == ("a.png", "c.png")


def test_labels_are_kept_for_a_second_reading(small):
    images = Broden(small)
    first = images.labels(1).pixels
    shutil.rmtree(small / "images")
    assert torch.equal(images.labels(1).pixels, first)


def test_no_more_labels_are_kept_than_there_is_room_for(small):
    images = Broden(small, ["object"], keep=4 * 4 * 2)  # one mask of uint16
    images.labels(0), images.labels(1)
    shutil.rmtree(small / "images")
    images.labels(0)
    with pytest.raises(FileNotFoundError, match="no mask"):
        images.labels(1)


def test_kept_labels_are_not_changed_by_who_reads_them(small):
    images = Broden(small)
    images.labels(1).pixels.fill_(9)
    assert images.labels(1).pixels.unique().tolist() == [0, 3]


@pytest.mark.parametrize("workers", [0, 2])
def test_what_is_decoded_ahead_is_what_is_decoded_now(drawn, workers):
    images, ahead = Broden(drawn[1]), Broden(drawn[1])
    batches = [(3, 4, 5), (0,), (31, 2)]
    for numbers, batch in zip(batches, ahead.ahead(batches, workers), strict=True):
        assert batch.numbers == numbers
        assert torch.equal(batch.images, images.tensor(numbers))
        for number in numbers:
            assert torch.equal(batch.labels[number].pixels, images.labels(number).pixels)
            assert batch.labels[number].whole == images.labels(number).whole


def test_a_fault_in_another_process_is_the_same_sentence(small):
    (small / "images" / "b.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"^no image .*b\.png$"):
        list(Broden(small).ahead([(0,), (1,)], workers=2))


def test_digests_tell_images_and_labels_apart(small):
    images = Broden(small)
    before = images.sha256(1), images.labels_sha256(1)
    put_mask(small / "images" / "b_object.png", np.full((4, 4), 2))
    assert images.sha256(1) == before[0]
    assert images.labels_sha256(1) != before[1]
    assert images.labels_sha256(2) != images.labels_sha256(1)


def test_whole_image_labels_are_part_of_the_digest(small):
    before = Broden(small).labels_sha256(2)
    change(small, "index.csv", 2, scene="5;1")
    assert Broden(small).labels_sha256(2) != before


@pytest.mark.real
def test_a_directory_of_photographs_is_read(data_folder):
    images = open_labelled(data_folder / "segmentation" / "broden_micro_224")
    assert (len(images), images.vocabulary.size, images.mask_size) == (300, 53, (112, 112))
    assert images.vocabulary.categories == ("color", "object", "part", "texture")
    striped = images.labels(299)
    assert images.vocabulary.category_of[striped.whole[0]] == 3
    assert images.labels(0).pixels.shape == (2, 112, 112)


@pytest.mark.real
def test_areas_of_photographs_are_those_their_tables_say(data_folder):
    folder = data_folder / "segmentation" / "broden_micro_224"
    images = open_labelled(folder, ["object"])
    area = sum(torch.bincount(images.labels(i).pixels.flatten(), minlength=53) for i in range(len(images)))
    for row in table(folder, "c_object.csv"):
        assert float(area[int(row["number"])]) / 112**2 == pytest.approx(float(row["coverage"]), abs=1e-5)


# What is wrong with a directory


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no folder .*nowhere"):
        open_labelled(tmp_path / "nowhere")


def test_a_folder_of_something_else(tmp_path):
    with pytest.raises(ValueError, match=r"expected the index.csv of a Broden directory, or images/, masks/ and label"):
        open_labelled(tmp_path)


@pytest.mark.parametrize("name", ["category.csv", "label.csv", "c_part.csv"])
def test_a_table_that_is_missing(small, name):
    (small / name).unlink()
    with pytest.raises(FileNotFoundError, match=f"no table .*{name}"):
        open_labelled(small)


@pytest.mark.parametrize(("name", "column"), [("index.csv", "sw"), ("label.csv", "name"), ("c_part.csv", "coverage")])
def test_a_column_that_is_missing(small, name, column):
    put(small, name, [{key: value for key, value in row.items() if key != column} for row in table(small, name)])
    with pytest.raises(ValueError, match=f"expected the columns .* in .*{name}, missing {column}"):
        open_labelled(small)


def test_a_category_without_a_column(small):
    rows = [{key: value for key, value in row.items() if key != "part"} for row in table(small, "index.csv")]
    put(small, "index.csv", rows)
    with pytest.raises(ValueError, match="missing part"):
        open_labelled(small)


def test_a_row_with_too_few_values(small):
    with (small / "index.csv").open("a") as file:
        file.write("d.png,train\n")
    with pytest.raises(ValueError, match=r"expected 10 values in .*index.csv, line 5, got another number"):
        open_labelled(small)


def test_a_table_that_is_no_text(small):
    (small / "label.csv").write_bytes(b"number,name\n\xff\xfe,\x00\n")
    with pytest.raises(ValueError, match=r"cannot read the table .*label.csv"):
        open_labelled(small)


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "", "70000", "x"])
def test_a_number_that_is_none(small, text):
    change(small, "label.csv", 1, number=text)
    with pytest.raises(ValueError, match=f"expected a number from 1 to 65535 in .*label.csv, line 3, got '{text}'"):
        open_labelled(small)


def test_a_number_that_is_listed_twice(small):
    change(small, "label.csv", 1, number=1)
    with pytest.raises(ValueError, match=r"expected each number once in .*label.csv, got 1 again in .*line 3"):
        open_labelled(small)


def test_a_category_with_a_number_outside_the_labels(small):
    change(small, "c_part.csv", 0, number=77)
    with pytest.raises(ValueError, match=r"expected numbers of label.csv in .*c_part.csv, line 2, got 77"):
        open_labelled(small)


def test_a_coverage_that_is_no_number(small):
    change(small, "c_part.csv", 0, coverage="much")
    with pytest.raises(ValueError, match=r"expected a coverage in .*c_part.csv, line 2, got 'much'"):
        open_labelled(small)


def test_a_whole_image_label_outside_the_labels(small):
    change(small, "index.csv", 2, scene="5;99")
    with pytest.raises(ValueError, match=r"expected numbers of label.csv in .*index.csv, line 4, got 99"):
        open_labelled(small)


def test_a_mask_with_a_number_outside_the_labels(small):
    put_mask(small / "images" / "b_object.png", np.arange(16).reshape(4, 4) * 100)
    with pytest.raises(ValueError, match=r"expected numbers of label.csv in the mask .*b_object.png, got 100, 200, 3"):
        open_labelled(small).labels(1)


def test_a_coloured_mask(small):
    Image.new("RGB", (4, 4), (1, 0, 200)).save(small / "images" / "b_object.png")
    with pytest.raises(ValueError, match=r"red \+ 256 \* green in the mask .*b_object.png, got a pixel with blue"):
        open_labelled(small).labels(1)


def test_a_mask_of_another_size_than_the_index_says(small):
    put_mask(small / "images" / "b_object.png", np.zeros((5, 4)))
    with pytest.raises(ValueError, match=r"the mask .*b_object.png to be 4 x 4 \(height x width\), got 5 x 4"):
        open_labelled(small).labels(1)


def test_an_image_of_another_size_than_the_index_says(small):
    Image.new("RGB", (8, 9)).save(small / "images" / "b.png")
    with pytest.raises(ValueError, match=r"the image .*b.png to be 8 x 8 \(height x width\), got 9 x 8"):
        open_labelled(small).tensor([0, 1])


@pytest.mark.parametrize(("file", "what"), [("b.png", "image"), ("b_object.png", "mask")])
def test_a_file_that_is_missing(small, file, what):
    (small / "images" / file).unlink()
    images = open_labelled(small)
    with pytest.raises(FileNotFoundError, match=f"no {what} .*{file}"):
        images.labels(1) if what == "mask" else images.tensor([1])


@pytest.mark.parametrize("broken", [b"", b"text", None])
def test_a_file_that_cannot_be_decoded(small, broken):
    path = small / "images" / "b_object.png"
    path.write_bytes(path.read_bytes()[:45] if broken is None else broken)
    with pytest.raises(ValueError, match=r"cannot read the mask .*b_object.png .*; repair it"):
        open_labelled(small).labels(1)


@given(st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), max_size=4), st.integers(0, 10**6))
def test_a_mask_with_any_broken_bytes_is_read_or_refused_by_name(bytes_of_a_mask, changes, length):
    path, sound = bytes_of_a_mask
    broken = bytearray(sound)
    for place, value in changes:
        broken[place % len(sound)] = value
    path.write_bytes(broken[: length % (2 * len(sound))])
    refused = []
    with heard(refused.append):
        assert decoding.red_green(path, (16, 16)).shape == (16, 16)
    assert all(str(path) in str(fault) for fault in refused)


@pytest.fixture(scope="module")
def bytes_of_a_mask(tmp_path_factory):
    path = tmp_path_factory.mktemp("broken") / "mask.png"
    put_mask(path, np.arange(256).reshape(16, 16))
    return path, path.read_bytes()


@pytest.mark.parametrize("column", ["image", "object"])
@pytest.mark.parametrize("file", ["../../etc/x.png", "/etc/x.png", "C:\\x.png", "..\\x.png", "a/../../x.png"])
def test_an_index_that_points_outside_the_folder(small, column, file):
    change(small, "index.csv", 1, **{column: file})
    with pytest.raises(ValueError, match=r"expected files inside .*images in .*index.csv, line 3, got '"):
        open_labelled(small)


def test_a_row_without_an_image(small):
    change(small, "index.csv", 1, image="")
    with pytest.raises(ValueError, match=r"expected files inside .*images in .*index.csv, line 3, got ''"):
        open_labelled(small)


def test_a_link_that_leads_outside_the_folder(small, tmp_path):
    outside = tmp_path / "secret.png"
    (small / "images" / "b_object.png").rename(outside)
    os.symlink(outside, small / "images" / "b_object.png")
    with pytest.raises(ValueError, match=r"expected a file inside .*images, got 'b_object.png', which a link leads to"):
        open_labelled(small).labels(1)


def test_a_folder_that_is_a_link_to_outside(small, tmp_path):
    (tmp_path / "out").mkdir()
    shutil.copy(small / "images" / "b.png", tmp_path / "out" / "b.png")
    os.symlink(tmp_path / "out", small / "images" / "more")
    change(small, "index.csv", 1, image="more/b.png")
    with pytest.raises(ValueError, match=r"got 'more/b.png', which a link leads to"):
        open_labelled(small).tensor([1])


def test_all_images_may_lie_on_another_disk(small, tmp_path):
    (small / "images").rename(tmp_path / "elsewhere")
    os.symlink(tmp_path / "elsewhere", small / "images")
    assert open_labelled(small).labels(1).pixels.any()


def test_images_of_several_sizes(small):
    change(small, "index.csv", 1, ih=9)
    with pytest.raises(ValueError, match=r"images of one size, 8 x 8 .* as the first, in .*line 3, got 9 x 8"):
        open_labelled(small)


def test_masks_of_several_sizes(small):
    change(small, "index.csv", 2, sw=9)
    with pytest.raises(ValueError, match=r"masks of one size, 4 x 4 .* as the first, in .*line 4, got 4 x 9"):
        open_labelled(small)


def test_an_image_that_is_there_twice(small):
    change(small, "index.csv", 1, image="a.png")
    with pytest.raises(ValueError, match=r"expected each image once in .*index.csv, got a.png in .*line 3"):
        open_labelled(small)


def test_oblong_images_keep_their_shape(small):
    put(small, "index.csv", [row | {"ih": "16"} for row in table(small, "index.csv")])
    with pytest.raises(ValueError, match=r"expected square images to bring to 12 x 12, got 16 x 8 .*leave the size"):
        open_labelled(small, size=12)


@pytest.mark.parametrize(("categories", "got"), [([], "none"), (["object", "material"], "material")])
def test_categories_that_are_not_there(small, categories, got):
    with pytest.raises(ValueError, match=f"expected categories among color, object, part, scene of .*, got {got}"):
        open_labelled(small, categories)


def test_a_category_that_is_no_name_of_a_file(small):
    change(small, "category.csv", 1, name="../object")
    with pytest.raises(ValueError, match=r"expected categories of letters, .* got '../object'"):
        open_labelled(small)


def test_a_category_without_concepts(small):
    (small / "c_part.csv").write_text("number,coverage\n")
    with pytest.raises(ValueError, match=r"expected concepts of part in .*c_part.csv, got none"):
        open_labelled(small, ["part"])


def test_nothing_is_labelled(small):
    put(small, "index.csv", [row | {"part": ""} for row in table(small, "index.csv")])
    with pytest.raises(ValueError, match=r"expected images with labels of part in .*index.csv, got none among 3"):
        open_labelled(small, ["part"])


@pytest.mark.parametrize("wrong", [{"size": 0}, {"limit": 0}])
def test_sizes_and_limits_below_one(small, wrong):
    with pytest.raises(ValueError, match=r"expected (size|limit) above 0, got 0"):
        open_labelled(small, **wrong)
