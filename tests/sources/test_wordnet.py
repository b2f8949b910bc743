"""WordNet: the packaged part against the real one, and nltk's reader on a copy of four nouns."""

import gzip
import json
import random
import re
import runpy
import sys
import threading
import zipfile
from pathlib import Path

import pytest
import torch

from interp_plugins.errors import HostMissing
from interp_plugins.foundation.taxonomy import similarity
from interp_plugins.sources import wordnet

TABBY, PERSIAN, WOLFHOUND, DOG, ENTITY = "n02123045", "n02123394", "n02090721", "n02084071", "n00001740"
NOUNS = {  # wnid: (word, its pointers)
    ENTITY: ("entity", []),
    "n00015388": ("animal", [("@", ENTITY)]),
    DOG: ("dog", [("@", "n00015388")]),
    "n02085000": ("Lassie", [("@i", DOG)]),
}
EMPTY = [
    "index.sense",
    "cntlist.rev",
    *(f"{kind}.{pos}" for kind in ("index", "data") for pos in ("adj", "adv", "verb")),
]
EMPTY += [f"{pos}.exc" for pos in ("adj", "adv", "noun", "verb")]


def write_corpus(folder: Path, nouns: dict = NOUNS) -> Path:
    """A WordNet of a few nouns in the format of its database files, each at its own place."""
    corpus = folder / "corpora" / "wordnet"
    corpus.mkdir(parents=True)
    for name in EMPTY:
        (corpus / name).write_text("")
    (corpus / "lexnames").write_text("".join(f"{number:02}\tname{number}\t1\n" for number in range(4)))
    data = bytearray()
    for wnid, (word, pointers) in nouns.items():
        data += b" " * (int(wnid[1:]) - len(data))
        links = "".join(f" {sign} {above[1:]} n 0000" for sign, above in pointers)
        data += f"{wnid[1:]} 03 n 01 {word} 0 {len(pointers):03}{links} | no gloss  \n".encode()
    (corpus / "data.noun").write_bytes(data)
    index = [f"{word.lower()} n 1 1 @ 1 0 {wnid[1:]}  \n" for wnid, (word, _) in nouns.items()]
    (corpus / "index.noun").write_text("".join(sorted(index)))
    return folder


@pytest.fixture
def nltk_data(tmp_path: Path) -> Path:
    """A folder as nltk has it, with a WordNet of four nouns."""
    pytest.importorskip("nltk")
    return write_corpus(tmp_path / "nltk_data")


@pytest.fixture(scope="module")
def imagenet() -> torch.Tensor:
    """Shortest distances between ImageNet's classes."""
    return wordnet.packaged().distances(wordnet.wnids("imagenet-1k"))


def test_the_papers_example_in_the_packaged_wordnet():
    ids = [TABBY, PERSIAN, WOLFHOUND]
    assert wordnet.packaged().distances(ids)[1].tolist() == [2, 0, 7]


def test_the_papers_example_in_imagenets_minimal_tree():
    ids = wordnet.wnids("imagenet-1k")
    tabby, persian, wolfhound = (ids.index(id) for id in (TABBY, PERSIAN, WOLFHOUND))
    found = wordnet.packaged().distances(ids, "minimal tree")
    assert (found[persian, tabby], found[persian, wolfhound]) == (2, 10)


@pytest.mark.parametrize(("label_set", "classes"), [("imagenet-1k", 1000), ("cifar-10", 10), ("scenes", 16)])
def test_every_class_of_a_label_set_has_a_wnid_of_its_own_in_the_packaged_wordnet(label_set: str, classes: int):
    ids = wordnet.wnids(label_set)
    assert len(set(ids)) == classes
    assert set(ids) <= set(wordnet.packaged().ids)


def test_class_indices_are_those_of_imagenet_cifar_and_the_drawn_world():
    imagenet = wordnet.wnids("imagenet-1k")
    assert {0: imagenet[0], 281: imagenet[281], 283: imagenet[283], 999: imagenet[999]} == {
        0: "n01440764",  # tench
        281: TABBY,
        283: PERSIAN,
        999: "n15075141",  # toilet tissue
    }
    assert wordnet.wnids("cifar-10")[5] == DOG
    assert wordnet.wnids("scenes")[0] == "n02691156"  # airplane


def test_an_unknown_label_set_is_refused(unchecked: None):
    with pytest.raises(ValueError, match="expected a label set of 'imagenet-1k', 'cifar-10' or 'scenes', got 'cifar'"):
        wordnet.wnids("cifar")


def test_the_packaged_wordnet_has_entity_for_its_root_and_nothing_but_ways_to_it():
    taxonomy = wordnet.packaged()
    classes = {wnid for name in ("imagenet-1k", "cifar-10", "scenes") for wnid in wordnet.wnids(name)}
    assert {id for id in taxonomy.ids if not taxonomy.parents(id)} == {ENTITY}
    assert set().union(*(taxonomy.ancestors(wnid) for wnid in classes)) == set(taxonomy.ids)


def test_wordnets_licence_lies_beside_its_data():
    licence = Path(wordnet.__file__).parent / "data" / "WORDNET_LICENSE.txt"
    assert "WordNet 3.0 Copyright 2006 by Princeton University" in licence.read_text(encoding="utf-8")


@pytest.mark.parametrize("broken", [b"", b"no gzip", gzip.compress(b"n00001740\t\t\n", mtime=0)])
def test_a_packaged_file_that_was_changed_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: bytes):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "wordnet.txt.gz").write_bytes(broken)
    monkeypatch.setattr(wordnet, "files", lambda package: tmp_path)
    with pytest.raises(ValueError, match=r"expected the WordNet that was shipped in .*; reinstall this package"):
        wordnet._packaged.__wrapped__()


@pytest.mark.parametrize(("metric", "limit"), [("shortest", 1.8), ("minimal tree", 2.2)])
def test_the_similarity_of_imagenets_classes_is_positive_definite_up_to_the_documented_sigma(metric: str, limit: float):
    distances = wordnet.packaged().distances(wordnet.wnids("imagenet-1k"), metric)
    assert torch.linalg.eigvalsh(similarity(distances, limit)).min() > 0
    assert torch.linalg.eigvalsh(similarity(distances, limit + 0.1)).min() < 0


def test_the_shortest_way_between_imagenets_classes_breaks_the_triangle_inequality(imagenet: torch.Tensor):
    ids = wordnet.wnids("imagenet-1k")
    cabbage, rapeseed, fig = (ids.index(id) for id in ("n07714571", "n11879895", "n07753113"))
    assert imagenet[cabbage, rapeseed] == 18
    assert (imagenet[cabbage, fig], imagenet[fig, rapeseed]) == (6, 5)


def test_a_few_nouns_are_read_with_all_their_ancestors(nltk_data: Path):
    taxonomy = wordnet.read([DOG], nltk_data)
    assert taxonomy.ancestors(DOG) == {DOG: 0, "n00015388": 1, ENTITY: 2}
    assert len(taxonomy.ids) == 3


def test_what_something_is_an_instance_of_is_its_parent(nltk_data: Path):
    assert wordnet.read(["n02085000"], nltk_data).parents("n02085000") == (DOG,)


def test_a_zipped_wordnet_is_read(nltk_data: Path, tmp_path: Path):
    (tmp_path / "zipped" / "corpora").mkdir(parents=True)
    with zipfile.ZipFile(tmp_path / "zipped" / "corpora" / "wordnet.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for file in (nltk_data / "corpora" / "wordnet").iterdir():
            archive.write(file, f"wordnet/{file.name}")
    assert wordnet.read([DOG], tmp_path / "zipped").parents(DOG) == ("n00015388",)


def test_nltks_own_folders_are_searched_when_none_is_named(nltk_data: Path, monkeypatch: pytest.MonkeyPatch):
    import nltk

    monkeypatch.setattr(nltk.data, "path", [str(nltk_data)])
    assert wordnet.read([DOG]).depth(DOG) == 2


def test_nltks_list_of_folders_is_given_back_as_found(nltk_data: Path, tmp_path: Path):
    import nltk

    before = list(nltk.data.path)
    wordnet.read([DOG], nltk_data)
    with pytest.raises(FileNotFoundError):
        wordnet.read([DOG], tmp_path)
    assert nltk.data.path == before


def test_threads_may_read_at_the_same_time(nltk_data: Path):
    found: list[tuple[str, ...]] = []

    def work() -> None:
        for _ in range(5):
            found.append(wordnet.read(["n02085000", DOG], nltk_data).ids)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [tuple(NOUNS)] * 40


def test_a_folder_without_wordnet_is_told_with_what_to_do(tmp_path: Path):
    pytest.importorskip("nltk")
    with pytest.raises(FileNotFoundError, match=f"expected WordNet 3.0 in {tmp_path}, got none; type `python -m nltk"):
        wordnet.read([DOG], tmp_path)


def test_another_version_of_wordnet_is_refused(tmp_path: Path):
    pytest.importorskip("nltk")
    other = {**NOUNS, DOG: ("cat", [("@", "n00015388")])}
    with pytest.raises(ValueError, match=r"expected WordNet 3\.0 in .*, got another version; type"):
        wordnet.read([ENTITY], write_corpus(tmp_path, other))


@pytest.mark.parametrize("wnid", ["n00001741", "n00000000", "n99999999"])
def test_a_place_where_no_noun_begins_is_refused(nltk_data: Path, wnid: str):
    with pytest.raises(ValueError, match=f"expected nouns of WordNet 3.0, got '{wnid}', which is none"):
        wordnet.read([wnid], nltk_data)


@pytest.mark.parametrize("wnid", ["dog", "dog.n.01", "n2084071", "v00001740"])
def test_what_is_no_wnid_is_refused(wnid: str):
    with pytest.raises(ValueError, match=f"expected wnids like 'n02084071', .* got '{wnid}'"):
        wordnet.read([wnid])


def test_no_wnids_are_refused():
    with pytest.raises(ValueError, match="expected at least one wnid, got none"):
        wordnet.read([])


def test_without_nltk_the_extra_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "nltk", None)
    monkeypatch.setitem(sys.modules, "nltk.data", None)
    with pytest.raises(HostMissing, match=r"pip install 'interp-plugins\[wordnet\]'"):
        wordnet.read([DOG])


def test_the_python_of_the_page_on_wordnet_runs_and_prints_what_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    pytest.importorskip("nltk")
    page = Path(__file__).parents[2] / "docs" / "sources_wordnet.md"
    blocks = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    monkeypatch.chdir(tmp_path)
    write_corpus(tmp_path / "nltk_data", {**NOUNS, "n02958343": ("car", [("@", ENTITY)])})
    (tmp_path / "page.py").write_text("".join(blocks))
    runpy.run_path("page.py")
    said = re.findall(r"^print.*  # (.*)$", "".join(blocks), re.MULTILINE)
    shown = capsys.readouterr().out.splitlines()
    assert len(said) == 3
    assert [shown[0], shown[1], shown[3]] == said


@pytest.mark.real
def test_the_packaged_wordnet_has_every_link_of_the_real_one_above_its_classes(data_folder: Path):
    links = [line.split() for line in (data_folder / "wordnet" / "is_a.txt").read_text().splitlines()]
    parents = {id: wordnet.packaged().parents(id) for id in wordnet.packaged().ids}
    packaged = {(parent, child) for child, above in parents.items() for parent in above}
    assert packaged == {(parent, child) for parent, child in links if child in parents}


@pytest.mark.real
def test_the_packaged_class_indices_are_those_of_imagenets_index_file(data_folder: Path):
    index = json.loads((data_folder / "wordnet" / "imagenet_class_index.json").read_text())
    assert wordnet.wnids("imagenet-1k") == tuple(index[str(number)][0] for number in range(1000))


@pytest.mark.real
def test_the_script_makes_the_packaged_file(data_folder: Path, monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("nltk")
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "scripts")
    import wordnet_slice

    folder = data_folder / "wordnet"
    words = ["--index", str(folder / "imagenet_class_index.json"), "--nltk-data", str(folder / "nltk_data")]
    assert wordnet_slice.main(words) == 0


@pytest.mark.real
def test_distances_are_those_of_nltk(data_folder: Path, imagenet: torch.Tensor, monkeypatch: pytest.MonkeyPatch):
    nltk = pytest.importorskip("nltk")
    from nltk.corpus import wordnet as theirs

    monkeypatch.setattr(nltk.data, "path", [str(data_folder / "wordnet" / "nltk_data")])
    rows = random.Random(0).sample(range(1000), 60)
    synsets = [theirs.synset_from_pos_and_offset("n", int(wordnet.wnids("imagenet-1k")[row][1:])) for row in rows]
    expected = [[one.shortest_path_distance(other) for other in synsets] for one in synsets]
    assert imagenet[rows][:, rows].tolist() == expected
