"""What decides a set is in its manifest, checked when it is read, and compared when a run goes on."""

import json
from fractions import Fraction
from pathlib import Path

import pytest
import random_sets
from hypothesis import given
from hypothesis import strategies as st

from interp_plugins.store.manifest import Layout, Manifest, Member, canonical, images_per_shard


def test_a_manifest_is_read_as_it_was_written(tmp_path: Path):
    written = random_sets.manifest(
        ids=("Zürich/1.png", "a b.png", "日本.jpg"), settings={"epsilon": 8 / 255, "w": None}
    )
    (tmp_path / "manifest.json").write_text(written.to_json(), encoding="utf-8")
    assert Manifest.read(tmp_path / "manifest.json") == written


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_setting_survives_the_file_to_the_last_bit(setting: float):
    written = random_sets.manifest(settings={"step_size": setting})
    assert Manifest.model_validate_json(written.to_json(), strict=True).settings == {"step_size": setting}


def broken(**changes: object) -> str:
    return json.dumps(json.loads(random_sets.manifest().to_json()) | changes)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "EOF"),
        (broken()[:-9], "EOF"),
        ("[]", "object"),
        (broken(schema_version=2), "schema_version"),
        (broken(kind="results"), "kind"),
        (broken(folder="/etc"), "folder"),
        (broken(seed="7"), "seed"),
        (broken(targets=0), "targets"),
        (broken(shape=[3, 4]), "shape"),
        (broken(images_per_shard=0), "images_per_shard"),
        (broken(members=[]), "members"),
        (broken(digest="abc"), "digest"),
    ],
)
def test_a_file_that_is_no_manifest_is_named_with_its_fault(tmp_path: Path, text: str, said: str):
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(ValueError, match=rf"(?s)manifest of an adversarial set.*manifest\.json.*{said}"):
        Manifest.read(tmp_path / "manifest.json")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"numbers": (0, 1)}, "label and a sha256 for each of 5 images, got 2 labels and 5 sha256s"),
        ({"ids": ("a", "a", "b", "c", "d")}, "ids that differ"),
        ({"ids": ("\udc80", "a", "b", "c", "d")}, "ids that are Unicode text, got .*rename that file"),
        ({"numbers": (0, 1, 2, 3, -1)}, "greater than or equal to 0"),
        ({"sha256s": ("A" * 64,) * 5}, "pattern"),
    ],
)
def test_images_that_are_not_told_fully_are_refused(changes: dict[str, object], said: str):
    data = random_sets.manifest().data.model_dump() | changes
    with pytest.raises(ValueError, match=said):
        random_sets.manifest(data=data)


def test_a_setting_that_json_cannot_hold_is_refused():
    with pytest.raises(ValueError, match="finite number"):
        random_sets.manifest(settings={"step_size": float("inf")})


@given(st.integers(1, 40), st.integers(1, 40))
def test_every_image_is_in_one_shard(n: int, per_shard: int):
    made = random_sets.manifest(n=n, per_shard=per_shard)
    assert [image for number in range(made.shards) for image in made.span(number)] == list(range(n))


def test_a_shard_beyond_the_last_is_refused():
    with pytest.raises(ValueError, match="a shard from 0 to 2, got 3"):
        random_sets.manifest().span(3)


@given(st.integers(1, 600_000), st.integers(1, 20), st.sampled_from([1, 2, 4, 8, 64, 256]))
def test_shards_hold_whole_tiles_and_about_a_thousand_records(n: int, t: int, tile: int):
    images = images_per_shard(n, t, tile)
    assert Fraction(images * t, tile).denominator == 1
    smallest = next(unit for unit in range(1, tile + 1) if unit * t % tile == 0)
    assert images * t <= 1000 or images == smallest
    assert n // images >= 16 or images == smallest


SAME = [
    {},
    {"versions": {"python": "3.14"}},
    {"digest": "0" * 64},
    {"members": tuple(Member(name="x", spec="y", sha256=random_sets.sha256(f"net{i}")) for i in range(3))},
]


@pytest.mark.parametrize("fields", SAME, ids=lambda fields: ", ".join(fields) or "nothing")
def test_what_does_not_decide_the_result_is_no_difference(fields: dict[str, object]):
    assert random_sets.manifest().differences(random_sets.manifest(**fields)) == []


def test_the_folder_of_the_images_is_no_difference():
    here = random_sets.manifest()
    there = random_sets.manifest(data=here.data.model_copy(update={"spec": "/mnt/photos", "labels": "other.csv"}))
    assert here.differences(there) == []


LAYOUT = random_sets.manifest().layout
DATA = random_sets.manifest().data


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"method": "PGD"}, ["method: EnsembleOptimization in the set, PGD asked for"]),
        ({"seed": 3}, ["seed: 0 in the set, 3 asked for"]),
        ({"t": 4}, ["targets of an image: 2 in the set, 4 asked for"]),
        ({"shape": (3, 8, 8)}, ["shape: (3, 4, 4) in the set, (3, 8, 8) asked for"]),
        ({"per_shard": 5}, ["images of a shard: 2 in the set, 5 asked for"]),
        ({"k": 1}, ["members: 3 in the set, 1 asked for"]),
        (
            {"settings": {"steps": 10, "step_size": 5 / 255, "targets": "least-likely:2", "balance": True}},
            [
                "steps: 20 in the set, 10 asked for",
                "refine: 0 in the set, not asked for",
                "balance: not in the set, True asked for",
            ],
        ),
        ({"n": 6}, ["images: 5 in the set, 6 asked for"]),
        (
            {"ids": ("photos/0.jpg", "b", "c", "d", "e")},
            ["images: the first other one is 'photos/1.jpg' in the set, 'b' asked for"],
        ),
        (
            {"data": DATA.model_copy(update={"sha256s": ("0" * 64, *DATA.sha256s[1:])})},
            ["images: 1 of 5 have other bytes ('photos/0.jpg')"],
        ),
        (
            {"data": DATA.model_copy(update={"numbers": (6, 6, 6, 6, 6)})},
            ["images: 5 of 5 have other labels ('photos/0.jpg', 'photos/1.jpg', 'photos/2.jpg', ...)"],
        ),
        ({"data": DATA.model_copy(update={"size": 32})}, ["size: none in the set, 32 asked for"]),
        ({"layout": LAYOUT.model_copy(update={"tile": 16})}, ["tile: 8 in the set, 16 asked for"]),
        ({"layout": LAYOUT.model_copy(update={"precision": "bf16"})}, ["precision: fp32 in the set, bf16 asked for"]),
        ({"layout": LAYOUT.model_copy(update={"device": "cuda"})}, ["device: cpu in the set, cuda asked for"]),
        ({"layout": LAYOUT.model_copy(update={"threads": 2})}, ["threads: 1 in the set, 2 asked for"]),
        ({"layout": LAYOUT.model_copy(update={"processor": "x"})}, ["processor: any in the set, x asked for"]),
        ({"layout": LAYOUT.model_copy(update={"torch": "2.15"})}, ["torch: 2.11 in the set, 2.15 asked for"]),
    ],
)
def test_whatever_decides_the_result_is_told_as_a_difference(fields: dict[str, object], said: list[str]):
    assert random_sets.manifest().differences(random_sets.manifest(**fields)) == said


def test_a_member_with_other_weights_is_named():
    others = tuple(Member(name=f"net{i}", spec="", sha256=random_sets.sha256(f"net{i % 2}")) for i in range(3))
    (said,) = random_sets.manifest().differences(random_sets.manifest(members=others))
    assert said.startswith("member 3: weights ")


def test_every_part_of_the_layout_is_compared():
    other = Layout(tile=1, precision="bf16", device="cuda", threads=2, processor="other", torch="2.15")
    said = random_sets.manifest().differences(random_sets.manifest(layout=other))
    assert [line.partition(":")[0] for line in said] == list(Layout.model_fields)


def test_the_order_of_the_images_is_not_in_what_the_digest_covers():
    ids = ("b", "a", "c")
    forwards, backwards = random_sets.manifest(ids=ids), random_sets.manifest(ids=ids[::-1])
    backwards = backwards.model_copy(
        update={"data": backwards.data.model_copy(update={"numbers": forwards.data.numbers[::-1]})}
    )
    assert canonical(forwards.result_settings()) == canonical(backwards.result_settings())
