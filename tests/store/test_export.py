"""Every form holds every record with its flags, and nothing is written outside the folder."""

import csv
import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
import stored_world
import torch
from PIL import Image

from interp_plugins.errors import HostMissing
from interp_plugins.sources import images
from interp_plugins.store import export
from interp_plugins.store.sets import AdversarialSet


@pytest.fixture
def there(tmp_path: Path) -> stored_world.World:
    return stored_world.world(tmp_path)


@pytest.fixture
def made(there: stored_world.World) -> AdversarialSet:
    return stored_world.write(there, attacked=False)


def renamed(made: AdversarialSet, ids: tuple[str, ...], classes: tuple[str, ...] | None) -> AdversarialSet:
    """The set with other names in its manifest; its shards no longer fit, which naming files does not look at."""
    data = made.manifest.data.model_copy(update={"ids": ids, "classes": classes, "numbers": (0,) * len(ids)})
    made.manifest = made.manifest.model_copy(update={"data": data})
    return made


def test_pngs_hold_the_stored_pixels_under_class_id_and_target(made, tmp_path):
    export.export_png(made, tmp_path / "out")
    shard = made.read(0)
    file = tmp_path / "out" / "bee" / "photos" / f"00001_{int(shard.targets[1, 0])}.png"
    assert np.array_equal(np.asarray(Image.open(file)).transpose(2, 0, 1), shard.images[1, 0].numpy())


def test_a_table_tells_every_flag_of_every_record(made, tmp_path):
    export.export_png(made, tmp_path / "out")
    with (tmp_path / "out" / "labels.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    shard = made.read(0)
    assert len(rows) == 14
    assert rows[3]["id"] == "photos/00001"
    assert [int(rows[3][f"fooled_{k}_{name}"]) for k, name in enumerate(("first", "second"))] == shard.fooled[
        1, 1
    ].int().tolist()
    assert [
        int(rows[3][f"fooled_before_rounding_{k}_{name}"]) for k, name in enumerate(("first", "second"))
    ] == shard.fooled_before[1, 1].int().tolist()


def test_an_exported_folder_loads_as_labelled_images(there, made, tmp_path):
    export.export_png(made, tmp_path / "out")
    loaded = images.load(tmp_path / "out")
    assert torch.equal(loaded.tensor(range(14)), torch.cat([made.read(k).images.flatten(0, 1) for k in range(3)]))
    assert loaded.labels.tolist() == there.clean.labels.repeat_interleave(2).tolist()


def test_a_folder_that_holds_something_is_left_alone(made, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    with pytest.raises(ValueError, match=r"expected a new or empty folder, got .*out, which holds something"):
        export.export_png(made, tmp_path / "out")
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["mine.txt"]


@pytest.mark.parametrize("name", ["../up", "a/../../up", "/etc/up", "a//b", "a/./b", "a\\b", "C:up", "a\n", "..", ""])
def test_an_id_that_could_lead_outside_is_refused_before_anything_is_written(made, tmp_path, name):
    with pytest.raises(ValueError, match=r"expected ids that are plain relative paths, got .*; nothing was written"):
        export.export_png(renamed(made, (name,), ("ant",)), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_ids_own_class_folder_is_not_repeated(made):
    names = export._file_names(renamed(made, ("ant/1.jpg", "bee/1.jpg"), ("ant", "bee")))
    assert names({"id": "ant/1.jpg", "target": 3}) == "ant/1.jpg_3.png"
    assert names({"id": "bee/1.jpg", "target": 3}) == "ant/bee/1.jpg_3.png"


@pytest.mark.parametrize("classes", [None, ("crane", "crane"), ("a/b", "c"), ("..", "c")])
def test_classes_without_usable_names_become_numbers(made, classes):
    names = export._file_names(renamed(made, ("1", "2"), classes))
    assert names({"id": "2", "target": 1}) == "0000/2_1.png"


def test_ids_that_would_share_a_file_are_refused(made):
    with pytest.raises(ValueError, match="expected ids that name different files"):
        export._file_names(renamed(made, ("ant/1", "1"), ("ant",)))


@pytest.mark.parametrize("form", list(export.EXPORTS))
def test_an_unfinished_set_is_not_exported(there, tmp_path, form):
    pytest.importorskip({"png": "PIL", "webdataset": "webdataset", "parquet": "pyarrow"}[form])
    unfinished = stored_world.write(there, without=(1,), attacked=False)
    with pytest.raises(ValueError, match="1 of its 3 shards are missing"):
        export.EXPORTS[form](unfinished, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_damaged_shard_stops_the_export_without_a_table(there, made, tmp_path):
    file = there.set / "shards" / "00002.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(ValueError, match=r"00002\.safetensors"):
        export.export_png(made, tmp_path / "out")
    assert not (tmp_path / "out" / "labels.csv").exists()


@pytest.mark.parametrize(("form", "library"), [("webdataset", "webdataset"), ("parquet", "pyarrow")])
def test_a_missing_library_is_named_with_what_to_type(made, tmp_path, monkeypatch, form, library):
    monkeypatch.setitem(__import__("sys").modules, library, None)
    with pytest.raises(HostMissing, match=f"{library} is needed for this form: pip install {library}"):
        export.EXPORTS[form](made, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_tars_hold_png_class_and_facts(made, tmp_path):
    pytest.importorskip("webdataset")
    export.export_webdataset(made, tmp_path / "out")
    with tarfile.open(tmp_path / "out" / "00001.tar") as tar:
        names = tar.getnames()
        facts = json.load(tar.extractfile("00001_000003.json"))
        pixels = np.asarray(Image.open(io.BytesIO(tar.extractfile("00001_000003.png").read())))
    assert names[:3] == ["00001_000000.cls", "00001_000000.json", "00001_000000.png"]
    assert (facts["id"], facts["target_number"]) == ("photos/00004", 1)
    assert np.array_equal(pixels.transpose(2, 0, 1), made.read(1).images[1, 1].numpy())


def test_parquet_holds_png_and_facts(made, tmp_path):
    pytest.importorskip("pyarrow")
    import pyarrow.parquet

    export.export_parquet(made, tmp_path / "out")
    row = pyarrow.parquet.read_table(tmp_path / "out" / "00001.parquet").to_pylist()[3]
    assert (row["id"], row["target_number"]) == ("photos/00004", 1)
    pixels = np.asarray(Image.open(io.BytesIO(row["image"])))
    assert np.array_equal(pixels.transpose(2, 0, 1), made.read(1).images[1, 1].numpy())
