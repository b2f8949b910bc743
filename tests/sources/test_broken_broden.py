"""What is wrong with a Broden directory is said in one sentence, which names the file."""

import os
import shutil

import numpy as np
import pytest
from broden_world import change, put, put_mask, table, write
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from interp_plugins.sources import decoding
from interp_plugins.sources.labelled import open_labelled
from interp_plugins.sources.tables import heard


@pytest.fixture
def small(tmp_path):
    return write(tmp_path / "small")


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
