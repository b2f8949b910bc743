import shutil

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from interp_plugins.foundation.concepts import LabelledImages
from interp_plugins.sources import images as pictures
from interp_plugins.sources.labelled import open_labelled
from interp_plugins.sources.masks import PlainMasks, _centres

LABELS = "number,name\n1,cat\n2,dog\n"


def stripes(height=16, width=16, last=3):
    """Numbers 0 to last - 1 in bands from left to right."""
    return (np.arange(width) * last // width)[None].repeat(height, 0).astype(np.uint8)


@pytest.fixture
def folder(tmp_path):
    """Two grey masks, one of them in a folder below, and their images."""
    for name in ("images/x", "masks/x"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("a", "x/b"):
        Image.new("RGB", (16, 16), (10, 20, 30)).save(tmp_path / "images" / f"{name}.jpg")
        Image.fromarray(stripes()).save(tmp_path / "masks" / f"{name}.png")
    (tmp_path / "labels.csv").write_text(LABELS)
    return tmp_path


def store(folder, pixels, mode=None, name="masks/a.png"):
    mask = pixels if isinstance(pixels, Image.Image) else Image.fromarray(np.asarray(pixels))
    mask.convert(mode or mask.mode).save(folder / name)


def read(folder, **settings):
    """The first image's only layer, every second pixel of what is stored."""
    return PlainMasks(folder, size=16, **settings).labels(0).pixels[0].numpy()


def test_a_folder_of_masks_is_what_a_dissection_reads(folder):
    images = open_labelled(folder, size=16)
    assert isinstance(images, LabelledImages)
    assert isinstance(images, PlainMasks)
    assert images.ids == ("a.jpg", "x/b.jpg")
    assert images.mask_size == (8, 8)
    assert images.tensor([0, 1]).shape == (2, 3, 16, 16)
    assert [(c.number, c.name, c.category) for c in images.vocabulary.concepts] == [
        (1, "cat", "object"),
        (2, "dog", "object"),
    ]


def test_grey_is_the_number(folder):
    assert np.array_equal(read(folder), stripes()[::2, ::2])


def test_the_index_into_a_palette_is_the_number(folder):
    mask = Image.fromarray(stripes())
    mask.putpalette([0, 0, 0, 255, 0, 0, 9, 9, 9])
    store(folder, mask)
    assert np.array_equal(read(folder), stripes()[::2, ::2])


def test_red_and_green_are_the_number(folder):
    (folder / "labels.csv").write_text("number,name\n300,cat\n")
    store(folder, np.full((16, 16, 3), (300 % 256, 300 // 256, 0), np.uint8))
    assert (read(folder) == 300).all()


def test_sixteen_bits_of_grey_are_the_number(folder):
    (folder / "labels.csv").write_text("number,name\n300,cat\n")
    store(folder, np.full((16, 16), 300, np.uint16))
    assert (read(folder) == 300).all()


def test_black_and_white_are_none_and_one(folder):
    store(folder, Image.fromarray((stripes(last=2) * 255).astype(np.uint8)), "1")
    assert np.array_equal(read(folder), stripes(last=2)[::2, ::2])


def test_transparency_does_not_matter(folder):
    store(folder, stripes(), "LA")
    assert np.array_equal(read(folder), stripes()[::2, ::2])


def test_colours_are_what_the_table_says(folder):
    (folder / "labels.csv").write_text("number,name,color\n0,,#000000\n1,cat,#40C080\n2,dog,#0000ff\n")
    colours = np.array([[0, 0, 0], [0x40, 0xC0, 0x80], [0, 0, 0xFF]], np.uint8)
    store(folder, colours[stripes()])
    assert np.array_equal(read(folder), stripes()[::2, ::2])


def test_zero_is_a_concept_if_the_table_names_it(folder):
    (folder / "labels.csv").write_text("number,name\n0,sky\n1,cat\n2,dog\n")
    images = PlainMasks(folder, size=16)
    assert [(c.number, c.name) for c in images.vocabulary.concepts] == [(1, "sky"), (2, "cat"), (3, "dog")]
    assert np.array_equal(images.labels(0).pixels[0].numpy(), stripes()[::2, ::2] + 1)


def test_a_number_without_a_name_is_no_concept(folder):
    (folder / "labels.csv").write_text("number,name\n1,cat\n2,\n")
    assert np.array_equal(read(folder), np.where(stripes() == 1, 1, 0)[::2, ::2])


def test_categories_come_from_the_table(folder):
    (folder / "labels.csv").write_text("number,name,category\n2,fur,texture\n1,cat,\n")
    images = PlainMasks(folder, size=16)
    assert images.vocabulary.categories == ("texture", "object")
    assert images.vocabulary.category_of.tolist() == [-1, 1, 0]
    only = PlainMasks(folder, ["texture"], size=16)
    assert only.vocabulary.categories == ("texture",)
    assert only.labels(0).pixels.unique().tolist() == [0, 2]


def test_further_folders_are_further_layers(folder):
    (folder / "masks_part").mkdir()
    store(folder, stripes().T.copy(), name="masks_part/a.png")
    images = PlainMasks(folder, size=16)
    assert images.labels(0).pixels.shape == (2, 8, 8)
    assert images.labels(1).pixels.shape == (1, 8, 8)
    stacked = images.labels(0).pixels.numpy()
    below = np.where(stripes() != stripes().T, stripes().T, 0)[::2, ::2]
    assert np.array_equal(stacked, [stripes()[::2, ::2], below])


def test_a_limit_takes_the_first_images(folder):
    assert PlainMasks(folder, limit=1).ids == ("a.jpg",)


def test_images_are_cut_as_other_images_are(folder):
    rng = np.random.default_rng(0)
    photo = rng.integers(0, 256, (30, 47, 3), np.uint8)
    Image.fromarray(photo).save(folder / "images" / "a.png")
    (folder / "images" / "a.jpg").unlink()
    store(folder, stripes(30, 47))
    cut = torch.from_numpy(pictures.cut(photo, 20).transpose(2, 0, 1).copy())
    assert torch.equal(PlainMasks(folder, size=20).tensor([0])[0], cut)


@given(height=st.integers(3, 90), width=st.integers(3, 90), size=st.integers(2, 60))
def test_labels_lie_where_the_image_shows_what_they_name(height, width, size):
    """An image whose values are its own coordinates, cut as images are, tells where each label should be from."""
    rows, columns = _centres(height, width, size)
    half = (size + 1) // 2
    for length, places, scaled in zip(
        (height, width), (rows, columns), pictures.resized(height, width, size), strict=True
    ):
        centres = ((scaled - size) // 2 + (np.arange(half) + 0.5) * size / half) * length / scaled
        assert ((places >= 0) & (places < length)).all()
        assert (np.abs(places + 0.5 - centres) <= 0.5 + 1e-9).all()


def test_labels_of_an_image_that_is_not_resized_are_every_second_pixel():
    rows, columns = _centres(20, 12, 12)
    assert rows.tolist() == [4, 6, 8, 10, 12, 14]
    assert columns.tolist() == [0, 2, 4, 6, 8, 10]


def test_a_mask_and_the_same_picture_stay_together_when_cut(folder):
    """Half of a photograph is white, and labelled; after cutting the labels still lie on the white half."""
    mask = np.zeros((61, 143), np.uint8)
    mask[:, 70:] = 1
    Image.fromarray(np.repeat(mask[..., None] * 255, 3, -1)).save(folder / "images" / "a.png")
    (folder / "images" / "a.jpg").unlink()
    store(folder, mask)
    images = PlainMasks(folder, size=32)
    white = images.tensor([0])[0, 0].float().unfold(0, 2, 2).unfold(1, 2, 2).mean((2, 3))
    sure = (white < 64) | (white > 192)
    assert sure.float().mean() > 0.9
    assert torch.equal((white > 128)[sure], (images.labels(0).pixels[0] == 1)[sure])


# What is wrong with a folder


def test_no_images(folder):
    shutil.rmtree(folder / "images")
    with pytest.raises(FileNotFoundError, match=r"no images in .*images"):
        PlainMasks(folder)


def test_no_masks(folder):
    shutil.rmtree(folder / "masks")
    with pytest.raises(FileNotFoundError, match=r"no masks in .*masks"):
        PlainMasks(folder)


def test_an_image_without_a_mask(folder):
    (folder / "masks" / "x" / "b.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"no mask .*masks/x/b.png for the image .*images/x/b.jpg"):
        PlainMasks(folder)


def test_two_images_with_one_mask(folder):
    Image.new("RGB", (16, 16)).save(folder / "images" / "a.png")
    with pytest.raises(ValueError, match=r"one image for each mask, got images/a.jpg and images/a.png for a.png"):
        PlainMasks(folder)


def test_a_mask_of_another_size_than_its_image(folder):
    store(folder, stripes(15, 16))
    with pytest.raises(ValueError, match=r"the mask .*masks/a.png to be 16 x 16 \(height x width\), got 15 x 16"):
        PlainMasks(folder).labels(0)


def test_a_number_outside_the_labels(folder):
    store(folder, np.array([[7, 255]] * 16).repeat(8, 1).astype(np.uint8))
    with pytest.raises(ValueError, match=r"expected numbers of labels.csv in the mask .*masks/a.png, got 7, 255"):
        PlainMasks(folder).labels(0)


def test_a_number_outside_the_labels_is_found_between_the_labels_places(folder):
    mask = stripes()
    mask[1, 1] = 9
    store(folder, mask)
    with pytest.raises(ValueError, match="got 9"):
        PlainMasks(folder, size=16).labels(0)


def test_a_colour_outside_the_labels(folder):
    (folder / "labels.csv").write_text("number,name,color\n1,cat,#40c080\n")
    store(folder, np.full((16, 16, 3), (0x41, 0xC0, 0x80), np.uint8))
    with pytest.raises(ValueError, match=r"expected colours of labels.csv in the mask .*masks/a.png, got #41c080"):
        PlainMasks(folder).labels(0)


def test_colours_that_no_table_names(folder):
    store(folder, np.full((16, 16, 3), (64, 192, 128), np.uint8))
    with pytest.raises(ValueError, match="got a pixel with blue in it"):
        PlainMasks(folder).labels(0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("number\n1\n", "expected the columns number, name in .*labels.csv, missing name"),
        ("number,name\none,cat\n", "expected a number from 0 to 65535 in .*labels.csv, line 2, got 'one'"),
        ("number,name\n1,cat\n1,dog\n", "expected each number once in .*labels.csv, got 1 again in .*line 3"),
        ("number,name\n1,\n", "expected numbers with names in .*labels.csv, got none"),
        ("number,name,color\n1,cat,blue\n", "expected a color such as #4080c0 in .*labels.csv, line 2, got 'blue'"),
        ("number,name,color\n1,cat,#000000\n2,dog,#000000\n", "each color once in .*labels.csv, got #000000 again"),
        (
            "number,name,color\n1,cat,#000000\n2,dog,\n",
            "a color for each number of .* or for none, got none for 2",
        ),
        ("number,name\n65535,cat\n0,sky\n", "numbers up to 65534 in .*labels.csv where 0 is named, got 65535"),
        ("number,name,category\n1,cat,a/b\n", "expected categories of letters, .* got 'a/b'"),
    ],
)
def test_a_table_that_is_wrong(folder, text, message):
    (folder / "labels.csv").write_text(text)
    with pytest.raises(ValueError, match=message):
        PlainMasks(folder)


def test_categories_that_are_not_there(folder):
    with pytest.raises(ValueError, match=r"expected categories among object of .*, got part"):
        PlainMasks(folder, ["part"])
