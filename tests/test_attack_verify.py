"""`attack verify` and `attack export` on a small set, in this process."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import stored_world

from interp_plugins.cli import main
from interp_plugins.report.results import Results


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> stored_world.World:
    """A finished set that no test changes."""
    there = stored_world.world(tmp_path_factory.mktemp("there"))
    stored_world.write(there)
    return there


@pytest.fixture
def own(there: stored_world.World, tmp_path: Path) -> stored_world.World:
    """A copy to be spoiled."""
    return stored_world.copy(there, tmp_path)


def results(capsys: pytest.CaptureFixture[str], *words: str) -> Results:
    assert main(["attack", "verify", *words, "--json"]) == 0
    return Results.model_validate_json(capsys.readouterr().out)


def test_a_good_set_is_told_as_a_table_and_passes(there, capsys):
    assert main(["attack", "verify", str(there.set)]) == 0
    out = capsys.readouterr().out
    assert re.search(r"success/all members at once/all images +\d+\.\d\d % +\d+ of 14 +\[", out)
    assert re.search(r"All 14 images are what the set says of them\. Set digest [0-9a-f]{64}", out)


def test_json_holds_rows_inputs_and_settings(there, capsys):
    found = results(capsys, str(there.set), "--model", there.heldout)
    assert found.row("transfer/third/says the target/all images").denominator == 14
    assert found.row("success/all members at once/right when clean").denominator == 2 * round(
        len(there.clean) * _right_share(there)
    )
    assert found.row("differences").value == 0
    assert [entry.name for entry in found.inputs] == [
        "weights of first", "weights of second", "weights of third", "images", "set",
    ]  # fmt: skip


def _right_share(there: stored_world.World) -> float:
    pixels = there.clean.tensor(range(len(there.clean))).float() / 255
    right = [net(pixels).argmax(1) == there.clean.labels for net in there.modules()]
    return float((right[0] & right[1]).float().mean())


def test_the_same_set_gives_the_same_bytes_of_json(there, capsys):
    words = ["attack", "verify", str(there.set), "--json"]
    assert [main(words), main(words)] == [0, 0]
    first, second = capsys.readouterr().out.split("}\n{")
    assert first + "}\n" == "{" + second


def test_an_altered_byte_ends_with_code_1_and_is_named(own, capsys):
    file = own.set / "shards" / "00001.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    assert main(["attack", "verify", str(own.set)]) == 1
    err = capsys.readouterr().err
    assert "differs: shard 00001.safetensors: its bytes are not those that were written" in err
    assert "is not what it says of itself: " in err


def test_a_failed_check_still_prints_json(own, capsys):
    (own.set / "shards" / "00000.json").unlink()
    assert main(["attack", "verify", str(own.set), "--json"]) == 1
    assert Results.model_validate_json(capsys.readouterr().out).row("differences").value >= 1


def test_a_changed_network_is_named(own, capsys):
    text = (own.set / "manifest.json").read_text().replace(str(own.folder), "")
    there = re.search(r'"spec": ?"([^"]*)/nets\.py:first"', text)[1]
    (own.set / "manifest.json").write_text(text.replace(there, str(own.folder)))
    (own.folder / "nets.py").write_text(stored_world.NETS.replace("net(1)", "net(9)"))
    assert main(["attack", "verify", str(own.set)]) == 1
    assert "differs: the weights of first are others" in capsys.readouterr().err


def test_moved_images_are_asked_for_and_found_with_data(own, capsys):
    text = (own.set / "manifest.json").read_text()
    spec = json.loads(text)["data"]["spec"]
    (own.set / "manifest.json").write_text(text.replace(spec, "/gone/photos.npz"))
    assert main(["attack", "verify", str(own.set)]) == 2
    said = capsys.readouterr().err
    assert "no images at /gone/photos.npz, where they lay when the set was made; name them with --data" in said
    assert main(["attack", "verify", str(own.set), "--data", str(own.folder / "photos.npz")]) == 0


def test_other_images_are_told_from_the_sets(own, capsys):
    np.savez(own.folder / "other.npz", images=np.zeros((7, 3, 8, 8), np.uint8), labels=np.zeros(7, np.int64))
    assert main(["attack", "verify", str(own.set), "--data", str(own.folder / "other.npz")]) == 2
    assert "expected the 7 images of the set, 7 of them are not there" in capsys.readouterr().err


def test_networks_that_are_not_found_say_where_to_stand(own, capsys):
    text = (own.set / "manifest.json").read_text()
    spec = json.loads(text)["members"][0]["spec"]
    (own.set / "manifest.json").write_text(text.replace(spec, "nets.py:first"))
    assert main(["attack", "verify", str(own.set)]) == 2
    assert "so type this where the set was made" in capsys.readouterr().err


def test_an_unfinished_set_says_what_to_type(tmp_path, capsys):
    there = stored_world.world(tmp_path)
    stored_world.write(there, without=(1,), attacked=False)
    for command in (["verify"], ["export", "--out", str(tmp_path / "out")], ["show", "photos/00000"]):
        assert main(["attack", command[0], str(there.set), *command[1:]]) == 2
        said = capsys.readouterr().err
        assert "is not finished, 1 of 3 shards are missing; type interp-plugins attack run --model" in said
        assert f"--out {there.set}" in said
        assert "--targets least-likely:2 --steps 3 " in said
        assert said.rstrip().endswith("--resume")


def test_a_folder_that_is_no_set_is_said_to_be_none(tmp_path, capsys):
    assert main(["attack", "verify", str(tmp_path)]) == 2
    assert "no adversarial set at" in capsys.readouterr().err


def test_export_writes_pngs_and_says_where(there, tmp_path, capsys):
    assert main(["attack", "export", str(there.set), "--out", str(tmp_path / "out")]) == 0
    assert capsys.readouterr().out == f"14 images are in {tmp_path / 'out'}\n"
    assert len(list((tmp_path / "out").rglob("*.png"))) == 14


def test_an_unknown_form_is_refused_with_those_that_there_are(there, tmp_path, capsys):
    assert main(["attack", "export", str(there.set), "--out", str(tmp_path / "out"), "--format", "gif"]) == 2
    assert "parquet" in capsys.readouterr().err
