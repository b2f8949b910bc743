"""`attack show` draws one record, and helps with ids that are not there."""

import io

import numpy as np
import pytest
import stored_world
from PIL import Image

from interp_plugins.cli import main
from interp_plugins.cli.attack import show


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> stored_world.World:
    there = stored_world.world(tmp_path_factory.mktemp("there"))
    stored_world.write(there)
    return there


def test_a_record_becomes_a_picture_in_the_file_that_is_named(there, tmp_path, capsys):
    file = tmp_path / "seen.png"
    assert main(["attack", "show", str(there.set), "photos/00002", "--target", "1", "--out", str(file)]) == 0
    assert capsys.readouterr().out.startswith("photos/00002 (cat), aimed at ")
    with Image.open(file) as picture:
        assert picture.format == "PNG"
        assert picture.width == 1440


def test_without_a_name_the_picture_is_called_after_the_record(there, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["attack", "show", str(there.set), "photos/00002"]) == 0
    assert (tmp_path / "photos_00002_0.png").is_file()


def test_what_the_networks_say_is_theirs(there):
    pixels = there.clean.tensor([3])
    found = show._verdicts(
        stored_world.AdversarialSet.open(there.set).manifest, ["first", "second"], there.modules(), pixels, 3, 0
    )
    logits = [net(pixels.float() / 255)[0].softmax(0).detach() for net in there.modules()]
    names = there.clean.classes
    assert [verdict.says for verdict in found] == [names[int(p.argmax())] for p in logits]
    assert [verdict.confidence for verdict in found] == pytest.approx([float(p.max()) for p in logits])


def test_the_pictures_show_the_stored_and_the_clean_pixels(there, tmp_path, monkeypatch):
    seen = {}
    from interp_plugins.report import example

    def draw(shown: example.Example) -> bytes:
        seen["shown"] = shown
        file = io.BytesIO()
        Image.new("RGB", (1, 1)).save(file, format="PNG")
        return file.getvalue()

    monkeypatch.setattr(example, "draw", draw)
    words = [str(there.set), "photos/00004", "--out", str(tmp_path / "a.png"), "--model", there.heldout]
    assert main(["attack", "show", *words]) == 0
    shard = stored_world.AdversarialSet.open(there.set).read(1)
    assert np.array_equal(seen["shown"].image, there.clean.tensor([4])[0].numpy())
    assert np.array_equal(seen["shown"].adversarial, shard.images[1, 0].numpy())
    assert [verdict.who for verdict in seen["shown"].after] == ["first", "second", "third, not attacked"]


def test_an_unknown_id_is_answered_with_the_nearest(there, capsys):
    assert main(["attack", "show", str(there.set), "photo/0002"]) == 2
    assert "no image 'photo/0002' in the set of 7; did you mean 'photos/00002'?" in capsys.readouterr().err


def test_a_target_that_is_not_there_is_refused(there, capsys):
    assert main(["attack", "show", str(there.set), "photos/00002", "--target", "2"]) == 2
    assert "expected --target from 0 to 1, got 2" in capsys.readouterr().err
