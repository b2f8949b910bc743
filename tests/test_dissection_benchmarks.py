"""The benchmarks of dissections run small, and their data set is what they say."""

import multiprocessing
import time
from pathlib import Path

import numpy as np
import pytest
import torch

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True)
def benchmarks_are_found(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(ROOT)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT)
        from benchmarks.drawn_broden import draw

        return draw(tmp_path_factory.mktemp("drawn") / "broden", 12, 64)


def test_the_drawn_data_set_is_read_as_broden_and_has_as_many_labels_of_each_category(drawn: Path):
    from benchmarks.drawn_broden import LABELS
    from interp_plugins.sources.labelled import Broden

    data = Broden(drawn)
    assert (len(data), data.mask_size, data.vocabulary.categories) == (12, (32, 32), tuple(LABELS))
    found = [concept.category for concept in data.vocabulary.concepts]
    assert {category: found.count(category) for category in LABELS} == LABELS


def test_its_two_readers_see_the_same(drawn: Path):
    from benchmarks.plain_broden import Broden as Plain
    from interp_plugins.sources.labelled import Broden

    data, plain = Broden(drawn), Plain(drawn)
    for number in range(len(data)):
        labels, layers = data.labels(number), plain.labels(number, 32)
        whole = [torch.full((32, 32), concept) for concept in labels.whole]
        assert torch.equal(torch.cat([labels.pixels.long(), *(each[None] for each in whole)]), layers)
        assert torch.equal(plain.image(number), data.tensor([number])[0] / 255)


def test_a_data_set_that_is_there_is_kept_and_one_of_another_size_is_refused(drawn: Path):
    from benchmarks.drawn_broden import draw

    before = (drawn / "index.csv").stat().st_mtime_ns
    assert draw(drawn, 12, 64) == drawn
    assert (drawn / "index.csv").stat().st_mtime_ns == before
    with pytest.raises(ValueError, match=r"expected 13 images in .*, found 12; name another folder"):
        draw(drawn, 13, 64)


def test_a_network_that_knows_its_maps_gives_those_of_the_image_it_is_shown(drawn: Path):
    from benchmarks import lite
    from benchmarks.replay import Remembered, RememberedFiles, Replay
    from interp_plugins.sources.labelled import Broden
    from interp_plugins.sources.models import Preprocessed

    maps, images = torch.rand(12, 5, 3, 3), Remembered(Broden(drawn))
    for channels_last in (False, True):
        model = Preprocessed(Replay(maps, channels_last=channels_last), lite.MEAN, lite.STD)
        assert torch.allclose(model(images.tensor([7, 3]) / 255), maps[[7, 3]].mean((2, 3)))
    stored = RememberedFiles(drawn)(str(drawn / "images" / "000007.jpg"))
    assert np.array_equal(stored.transpose(2, 0, 1), images.tensor([7])[0].numpy())


def test_the_rank_of_an_exact_threshold_is_right_and_that_of_another_is_not():
    from benchmarks.dissection_thresholds import OURS, jobs, rank_error, stream

    maps = stream(64, 3)
    exact = jobs(maps)[OURS]()
    assert rank_error(maps, exact) == 0
    assert rank_error(maps, exact * 0.9) > 0.1


def spend(seconds: float) -> None:
    start = time.process_time()
    while time.process_time() - start < seconds:
        pass


def test_the_time_of_a_process_that_was_waited_for_counts():
    from benchmarks.measure import cpu_seconds

    before = cpu_seconds()
    process = multiprocessing.get_context("spawn").Process(target=spend, args=(0.3,))
    process.start()
    process.join()
    assert cpu_seconds() - before > 0.3


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of the other libraries
def test_each_table_is_measured_small_and_says_which_libraries_are_not_there(monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("torchvision")
    from benchmarks.dissection import main

    monkeypatch.delenv("INTERP_PEERS", raising=False)
    words = "--images 24 --size 64 --network squeezenet1_1 --layer features --rounds 1 --values 64 --skip layer3"
    shown = main([*words.split(), "--only", "whole", "--only", "beside", "--only", "thresholds"])
    assert shown.count("not run: FileNotFoundError: no checkout of NetDissect-Lite") == 3
    assert shown.count("not run: FileNotFoundError: no checkout of dissect") == 2
    assert shown.count("\n| interp-plugins | ") == 3
