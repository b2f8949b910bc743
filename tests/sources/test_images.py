import hashlib

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from interp_plugins.sources.images import from_arrays, load


def picture(shade, height=6, width=6):
    return np.full((height, width, 3), shade, np.uint8)


def save(file, shade=0, height=6, width=6):
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture(shade, height, width)).save(file)


@pytest.fixture
def folders(tmp_path):
    """Two class folders, one of them with an image in a folder of its own."""
    for name, shade in (("n02084071/1.png", 10), ("n02084071/more/2.png", 20), ("n01503061/1.png", 30)):
        save(tmp_path / name, shade)
    return tmp_path


@pytest.fixture
def flat(tmp_path):
    """A flat folder with labels.csv."""
    for name, shade in (("a.png", 1), ("b.png", 2)):
        save(tmp_path / name, shade)
    (tmp_path / "labels.csv").write_text("file,class_index,wnid\nb.png,7,n02084071\na.png,3,n01503061\n")
    return tmp_path


def test_class_folders_give_labels_in_the_order_of_their_names(folders):
    images = load(folders)
    assert images.classes == ("n01503061", "n02084071")
    assert images.ids == ("n01503061/1.png", "n02084071/1.png", "n02084071/more/2.png")
    assert images.labels.tolist() == [0, 1, 1]


def test_class_folders_named_by_wnids_give_wnids(folders):
    assert load(folders).wnids == {0: "n01503061", 1: "n02084071"}


def test_class_folders_with_plain_names_give_no_wnids(tmp_path):
    save(tmp_path / "dog" / "1.png")
    assert load(tmp_path).wnids == {}


def test_an_item_is_image_label_and_index(folders):
    image, label, index = load(folders)[2]
    assert image.shape == (3, 6, 6)
    assert image.dtype == torch.uint8
    assert (int(image[0, 0, 0]), label, index) == (20, 1, 2)


def test_an_index_past_the_end_ends_a_loop(folders):
    assert len(list(load(folders))) == 3


def test_images_are_decoded_in_the_workers_of_a_data_loader(folders):
    batches = list(DataLoader(load(folders), batch_size=2, num_workers=1))
    assert [index for _, _, indices in batches for index in indices.tolist()] == [0, 1, 2]
    assert [int(image[0, 0, 0]) for images, _, _ in batches for image in images] == [30, 10, 20]


def test_a_flat_folder_takes_the_order_labels_and_wnids_of_its_table(flat):
    images = load(flat)
    assert images.ids == ("b.png", "a.png")
    assert images.labels.tolist() == [7, 3]
    assert images.wnids == {7: "n02084071", 3: "n01503061"}


def test_a_table_elsewhere_can_be_named(flat):
    (flat / "few.csv").write_text("file,class_index\na.png,0\n")
    assert load(flat, labels=flat / "few.csv").ids == ("a.png",)


@pytest.mark.parametrize("layout", ["rows of pixels", "planes of channels"])
def test_an_npz_may_hold_either_layout(tmp_path, layout):
    images = np.arange(2 * 4 * 5 * 3, dtype=np.uint8).reshape(2, 4, 5, 3)
    stored = images if layout == "rows of pixels" else images.transpose(0, 3, 1, 2)
    np.savez(tmp_path / "few.npz", images=stored, labels=[1, 0], classes=["cat", "dog"])
    loaded = load(tmp_path / "few.npz")
    assert loaded.ids == ("few/00000", "few/00001")
    assert loaded.classes == ("cat", "dog")
    assert np.array_equal(loaded.tensor([0, 1]).numpy().transpose(0, 2, 3, 1), images)


def test_only_cifar_has_splits(folders, tmp_path):
    np.savez(tmp_path / "few.npz", images=np.zeros((1, 4, 4, 3), np.uint8), labels=[0])
    with pytest.raises(ValueError, match=r"expected a split of CIFAR-10 alone, got 'train' of .*; name that part's"):
        load(folders, split="train")
    with pytest.raises(ValueError, match=r"expected a split of CIFAR-10 alone, got 'train' of .*few\.npz"):
        load(tmp_path / "few.npz", split="train")


def test_the_hash_of_a_file_is_that_of_its_bytes(folders):
    content = (folders / "n02084071" / "1.png").read_bytes()
    assert load(folders).sha256(1) == hashlib.sha256(content).hexdigest()


def test_the_hash_of_an_array_is_that_of_its_rows_of_rgb_in_either_layout():
    images = np.arange(60, dtype=np.uint8).reshape(1, 5, 4, 3)
    layouts = images, np.ascontiguousarray(images.transpose(0, 3, 1, 2))
    assert {from_arrays(a, [0], "x").sha256(0) for a in layouts} == {hashlib.sha256(images.tobytes()).hexdigest()}


def test_size_cuts_a_centred_square(tmp_path):
    wide = picture(0, 4, 8)
    wide[:, 2:6] = 255
    (tmp_path / "x").mkdir()
    Image.fromarray(wide).save(tmp_path / "x" / "wide.png")
    assert (load(tmp_path, size=4)[0][0] == 255).all()


def test_size_makes_small_images_larger(tmp_path):
    save(tmp_path / "x" / "1.png", 9, 5, 7)
    assert load(tmp_path, size=20)[0][0].shape == (3, 20, 20)


def test_images_of_several_sizes_need_a_size(tmp_path):
    save(tmp_path / "x" / "1.png", 0, 4, 4)
    save(tmp_path / "x" / "2.png", 0, 4, 8)
    with pytest.raises(ValueError, match=r"expected images of one size, got \[\(4, 4\), \(4, 8\)\] .*give size="):
        load(tmp_path).tensor([0, 1])


def test_an_unreadable_image_is_named(folders):
    (folders / "n02084071" / "1.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"cannot read the image .*n02084071/1\.png .*--skip-bad"):
        load(folders)[1]


def test_a_truncated_image_is_named(folders):
    save(folders / "n02084071" / "1.png", 3, 64, 64)
    content = (folders / "n02084071" / "1.png").read_bytes()
    (folders / "n02084071" / "1.png").write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match=r"cannot read the image .*1\.png"):
        load(folders)[1]


def test_an_unreadable_image_is_left_out_and_counted_only_when_asked(folders):
    (folders / "n02084071" / "1.png").write_bytes(b"no image")
    images = load(folders, skip_bad=True)
    assert images.ids == ("n01503061/1.png", "n02084071/more/2.png")
    assert images.labels.tolist() == [0, 1]
    assert images.skipped == ("n02084071/1.png",)


def test_a_file_of_the_table_that_is_not_there_is_named(flat):
    (flat / "a.png").unlink()
    with pytest.raises(ValueError, match=r"cannot read the image .*a\.png"):
        load(flat)[1]


def test_when_every_image_is_bad_none_are_left(tmp_path):
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "1.png").write_bytes(b"")
    with pytest.raises(ValueError, match="expected images, got none that can be read of 1"):
        load(tmp_path, skip_bad=True)


def test_an_id_twice_is_an_error(flat):
    (flat / "labels.csv").write_text("file,class_index\na.png,0\na.png,1\n")
    with pytest.raises(ValueError, match=r"the id 'a\.png' stands for two images"):
        load(flat)


@pytest.mark.parametrize(
    ("table", "sentence"),
    [
        ("file,label\na.png,0\n", "missing class_index"),
        ("file,class_index\na.png,nan\n", r"expected a class_index of 0 or above in .*line 2, got 'nan'"),
        ("file,class_index\na.png,-1\n", r"expected a class_index of 0 or above in .*line 2, got '-1'"),
        ("file,class_index\n../a.png,0\n", r"expected a file inside .*line 2, got '\.\./a\.png'"),
        ("file,class_index\n", "expected images, got none"),
    ],
)
def test_a_table_that_cannot_be_used_says_where(flat, table, sentence):
    (flat / "labels.csv").write_text(table)
    with pytest.raises(ValueError, match=sentence):
        load(flat)


def test_a_missing_table_is_named(flat):
    with pytest.raises(FileNotFoundError, match=r"no labels file .*other\.csv"):
        load(flat, labels=flat / "other.csv")


def test_an_empty_folder_says_what_was_expected(tmp_path):
    with pytest.raises(ValueError, match=r"expected class folders with images, or a labels\.csv"):
        load(tmp_path)


def test_a_path_that_is_not_there_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no images at .*nowhere"):
        load(tmp_path / "nowhere")


def test_a_single_image_is_no_image_set(tmp_path):
    save(tmp_path / "one.png")
    with pytest.raises(ValueError, match=r"expected a folder or an \.npz"):
        load(tmp_path / "one.png")


def test_an_npz_without_labels_says_what_is_missing(tmp_path):
    np.savez(tmp_path / "few.npz", images=picture(0)[None])
    with pytest.raises(ValueError, match="missing labels"):
        load(tmp_path / "few.npz")


def test_an_npz_with_a_pickle_in_it_is_refused(tmp_path):
    np.savez(tmp_path / "odd.npz", images=picture(0)[None], labels=np.array([{}], dtype=object))
    with pytest.raises(ValueError, match=r"as an \.npz of plain arrays"):
        load(tmp_path / "odd.npz")


def test_float_images_are_refused_even_when_they_hold_nan():
    with pytest.raises(TypeError, match="expected images of uint8, 0 to 255, got float64"):
        from_arrays(np.full((1, 4, 4, 3), np.nan), [0], "x")


def test_images_of_another_layout_are_refused():
    with pytest.raises(
        ValueError, match=r"expected images of shape \(n, h, w, 3\) or \(n, 3, h, w\), got \(1, 4, 4, 1\)"
    ):
        from_arrays(np.zeros((1, 4, 4, 1), np.uint8), [0], "x")


def test_labels_that_are_not_integers_are_refused():
    with pytest.raises(TypeError, match="expected labels that are integers, got float64"):
        from_arrays(picture(0)[None], np.array([np.nan]), "x")


def test_a_label_past_the_last_class_is_refused():
    with pytest.raises(ValueError, match="expected labels from 0 to 1, got 2 for 'x/00000'"):
        from_arrays(picture(0)[None], [2], "x", classes=("cat", "dog"))


def test_a_negative_label_is_refused():
    with pytest.raises(ValueError, match="expected labels from 0 above, got -1 for 'x/00000'"):
        from_arrays(picture(0)[None], [-1], "x")


def test_labels_and_images_must_be_as_many():
    with pytest.raises(ValueError, match="expected a label for each of 1 images, got 2"):
        from_arrays(picture(0)[None], [0, 1], "x")


def test_no_images_at_all_is_an_error():
    with pytest.raises(ValueError, match="expected images, got none"):
        from_arrays(np.zeros((0, 4, 4, 3), np.uint8), [], "x")


def test_a_size_below_one_is_refused():
    with pytest.raises(ValueError, match="expected a size of at least 1 pixel, got 0"):
        from_arrays(picture(0)[None], [0], "x", size=0)


@pytest.mark.real
def test_the_nips_2017_images_load_with_their_table(data_folder):
    images = load(data_folder / "imagenet" / "nips17_299_jpeg", size=224)
    assert len(images) == 1000
    assert images.ids[0] == "0c7ac4a8c9dfa802.jpg"
    assert int(images.labels[0]) == 305
    assert images.wnids[305] == "n02172182"
    assert images.tensor(range(3)).shape == (3, 3, 224, 224)
