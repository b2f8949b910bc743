import os
import pickle
import struct

import numpy as np
import pytest
from PIL import Image

from interp_plugins.sources import cifar
from interp_plugins.sources.images import load


def short(text):
    """Python 2's str in protocol 2, in which CIFAR-10 was published."""
    return b"U" + bytes([len(text)]) + text


def published_batch(rows, labels):
    """A batch written opcode by opcode as Python 2 and the numpy of its time wrote it."""
    n = struct.pack("<H", len(rows))
    array = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
    dtype = b"cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    data = b"(K\x01M" + n + b"M\x00\x0c\x86" + dtype + b"\x89T" + struct.pack("<i", rows.size) + rows.tobytes() + b"tb"
    numbers = b"](" + b"".join(b"K" + bytes([label]) for label in labels) + b"e"
    entries = short(b"batch_label") + short(b"testing batch 1 of 1") + short(b"labels") + numbers
    return b"\x80\x02}(" + entries + short(b"data") + array + data + b"u."


@pytest.fixture
def batches(tmp_path):
    rows = np.random.default_rng(0).integers(0, 256, (6, 3072), dtype=np.uint8)
    for k, name in enumerate(["test_batch", *(f"data_batch_{k}" for k in range(1, 6))]):
        (tmp_path / name).write_bytes(published_batch(rows[k : k + 1], [k]))
    return tmp_path, rows


def test_a_published_batch_gives_its_images_labels_and_ids(batches):
    folder, rows = batches
    data = cifar.from_batches(folder, "test")
    assert np.array_equal(data.tensor([0]).numpy().reshape(1, 3072), rows[:1])
    assert (data.ids, data.labels.tolist(), data.classes[0]) == (("test/00000",), [0], "airplane")


def test_the_training_batches_follow_each_other(batches):
    data = cifar.from_batches(batches[0], "train")
    assert data.labels.tolist() == [1, 2, 3, 4, 5]
    assert data.ids[4] == "train/00004"


def test_a_folder_of_batches_loads_as_either_part(batches):
    assert load(batches[0]).ids == load(batches[0], split="test").ids == ("test/00000",)
    assert load(batches[0], split="train").labels.tolist() == [1, 2, 3, 4, 5]
    with pytest.raises(ValueError, match="expected split to be one of 'train', 'test', got 'half'"):
        load(batches[0], split="half")


def test_a_malicious_batch_is_refused_and_does_not_run(tmp_path):
    class Malice:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "was here"),)

    (tmp_path / "test_batch").write_bytes(pickle.dumps({0: Malice()}, protocol=2))
    with pytest.raises(ValueError, match=r"asks for \w+\.mkdir, which no CIFAR-10 batch does; nothing was run"):
        cifar.from_batches(tmp_path, "test")
    assert not (tmp_path / "was here").exists()


@pytest.mark.parametrize("name", ["numpy\nload", "numpy.core.multiarray\nfromfile", "builtins\neval"])
def test_no_other_name_is_admitted(tmp_path, name):
    (tmp_path / "test_batch").write_bytes(b"\x80\x02c" + name.encode() + b"\n.")
    with pytest.raises(ValueError, match="which no CIFAR-10 batch does"):
        cifar.from_batches(tmp_path, "test")


@pytest.mark.parametrize("content", [b"", b"noise", pickle.dumps({b"labels": []}), pickle.dumps([1])])
def test_a_file_that_is_no_batch_is_named(tmp_path, content):
    (tmp_path / "test_batch").write_bytes(content)
    with pytest.raises(ValueError, match=r"test_batch is no CIFAR-10 batch"):
        cifar.from_batches(tmp_path, "test")


def test_rows_of_another_length_are_refused(tmp_path):
    rows = np.zeros((1, 3072), np.uint8)
    (tmp_path / "test_batch").write_bytes(published_batch(rows, [1, 2]))
    with pytest.raises(ValueError, match="expected uint8 rows of 3072 bytes, one for each label"):
        cifar.from_batches(tmp_path, "test")


def test_a_missing_batch_says_what_to_unpack(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no batch .*test_batch; unpack cifar-10-python\.tar\.gz"):
        cifar.from_batches(tmp_path, "test")


@pytest.fixture
def tiles(tmp_path):
    """One tile of a thousand images, each of one grey: its number modulo 251."""
    greys = (np.arange(1000) % 251).astype(np.uint8).reshape(25, 40)
    Image.fromarray(greys.repeat(32, 0).repeat(32, 1)).save(tmp_path / "test_00.png")
    np.save(tmp_path / "labels.npy", np.concatenate([np.zeros(cifar.TRAINING, np.int64), np.arange(1000) % 10]))
    return tmp_path


def test_tiles_are_cut_row_by_row(tiles):
    data = cifar.from_tiles(tiles, "test")
    assert data.tensor([0, 41, 999]).float().mean((1, 2, 3)).tolist() == [0, 41, 999 % 251]
    assert data.labels[:12].tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1]


def test_tiles_become_an_npz_that_loads_as_the_same_images(tiles, tmp_path):
    data = cifar.from_tiles(tiles, "test")
    np.savez(tmp_path / "test.npz", images=data.tensor(range(20)), labels=data.labels[:20], classes=data.classes)
    again = load(tmp_path / "test.npz")
    assert again.ids == data.ids[:20]
    assert [again.sha256(i) for i in range(20)] == [data.sha256(i) for i in range(20)]


def test_a_tile_of_another_size_is_refused(tiles):
    Image.new("RGB", (32, 32)).save(tiles / "test_00.png")
    with pytest.raises(ValueError, match=r"test_00\.png to be 1280 x 800 pixels, got 32 x 32"):
        cifar.from_tiles(tiles, "test")


def test_missing_tiles_say_what_was_expected(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"expected train_00\.webp \(and on\) and labels\.npy"):
        cifar.from_tiles(tmp_path, "train")


def test_a_folder_of_batches_is_recognised_and_gives_the_test_images(batches):
    folder, rows = batches
    data = load(folder)
    assert (data.ids, data.classes[:2]) == (("test/00000",), ("airplane", "automobile"))
    assert np.array_equal(data.tensor([0]).numpy().reshape(1, 3072), rows[:1])


def test_a_folder_of_tiles_is_recognised_and_cut_to_the_size_that_is_asked_for(tiles):
    data = load(tiles, size=16)
    assert (len(data), data.ids[999]) == (1000, "test/00999")
    assert data.tensor([41]).unique().tolist() == [41]
    assert data.tensor([41]).shape == (1, 3, 16, 16)


def test_a_table_of_labels_comes_before_tiles(tiles):
    Image.new("RGB", (6, 6)).save(tiles / "mine.png")
    (tiles / "labels.csv").write_text("file,class_index\nmine.png,3\n")
    assert load(tiles).ids == ("mine.png",)


@pytest.mark.real
def test_the_real_tiles_hold_a_cat_first(data_folder):
    data = cifar.from_tiles(data_folder / "cifar10", "test")
    assert len(data) == 1000
    assert data.classes[int(data.labels[0])] == "cat"
