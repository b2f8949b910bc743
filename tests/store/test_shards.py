"""A shard's file and its line: the same bytes for the same content, and nothing else accepted when they are read."""

import io
import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import random_sets
import safetensors.torch
import torch

from interp_plugins.store import lines
from interp_plugins.store.drafts import changes, check, describe
from interp_plugins.store.shards import opened, write_tensors

MANIFEST = random_sets.manifest(ids=("Zürich/1.png", "b", "c", "d", "e"))
IDS, SHAPE = MANIFEST.data.ids[:2], MANIFEST.shape


def written(number: int = 0) -> bytes:
    file = io.BytesIO()
    write_tensors(file.write, random_sets.draft(MANIFEST, number))
    return file.getvalue()


def line() -> lines.Line:
    draft = random_sets.draft(MANIFEST, 0)
    return describe(0, draft, random_sets.judge()(draft.images, draft.targets), 408, "0" * 64)


def test_the_library_reads_what_was_written():
    draft, found = random_sets.draft(MANIFEST, 0), safetensors.torch.load(written())
    assert sorted(found) == ["images", "labels", "targets"]
    assert all(torch.equal(tensor, getattr(draft, name)) for name, tensor in found.items())


def test_the_same_draft_is_the_same_file():
    assert written() == written()


def test_the_bytes_of_a_file_are_those_of_the_format():
    # worked out by hand: a golden value, so that a shard of today is a shard of tomorrow
    tiny = random_sets.manifest(ids=("a",), t=1, k=1, shape=(1, 1, 3), per_shard=1)
    file = io.BytesIO()
    draft = replace(
        random_sets.draft(tiny, 0),
        targets=torch.tensor([[258]]),
        images=torch.tensor([[[[[7, 8, 9]]]]]).to(torch.uint8),
    )
    write_tensors(file.write, draft)
    header = (
        b'{"__metadata__":{"ids":"[\\"a\\"]"},'
        b'"labels":{"dtype":"I64","shape":[1],"data_offsets":[0,8]},'
        b'"targets":{"dtype":"I64","shape":[1,1],"data_offsets":[8,16]},'
        b'"images":{"dtype":"U8","shape":[1,1,1,1,3],"data_offsets":[16,19]}}'
    )
    header += b" " * (-len(header) % 8)
    length = bytes([len(header) % 256, len(header) // 256, 0, 0, 0, 0, 0, 0])
    assert file.getvalue() == length + header + bytes(8) + b"\x02\x01" + bytes(6) + b"\x07\x08\x09"


def test_a_draft_that_lies_otherwise_in_memory_is_the_same_file():
    draft, file = random_sets.draft(MANIFEST, 0), io.BytesIO()
    strided = draft.images.permute(0, 1, 3, 4, 2).contiguous().permute(0, 1, 4, 2, 3)
    write_tensors(file.write, replace(draft, images=strided, targets=draft.targets.int()))
    assert file.getvalue() == written()


def saved(path: Path, metadata: dict[str, str] | None = None, **changed: torch.Tensor | None) -> Path:
    """The file of shard 0 as the library writes it, with other tensors; None leaves one out."""
    draft = random_sets.draft(MANIFEST, 0)
    tensors = {"images": draft.images, "targets": draft.targets, "labels": draft.labels} | changed
    known = {"ids": json.dumps(IDS, ensure_ascii=False)} if metadata is None else metadata
    kept = {name: tensor for name, tensor in tensors.items() if tensor is not None}
    safetensors.torch.save_file(kept, path, metadata=known)
    return path


def test_a_file_with_the_expected_header_is_opened(tmp_path: Path):
    with opened(saved(tmp_path / "file"), IDS, 2, SHAPE) as file:
        assert torch.equal(file.get_slice("images")[1, 0:1], random_sets.draft(MANIFEST, 0).images[1, 0:1])


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"labels": None}, "expected the tensors .*, got .'images', 'targets'"),
        ({"extra": torch.zeros(1)}, "expected the tensors .*, got .'extra'"),
        ({"images": torch.zeros(2, 2, 3, 4, 4)}, r"expected images of \('U8'.*, got \('F32'"),
        ({"images": torch.zeros(2, 2, 3, 4, 5, dtype=torch.uint8)}, r"expected images of .*4, 4\]\), got .*4, 5\]"),
        ({"images": torch.zeros(3, 2, 3, 4, 4, dtype=torch.uint8)}, "expected images of"),
        ({"targets": torch.zeros(2, 2, dtype=torch.int32)}, "expected targets of .*'I64'.*, got .*'I32'"),
        ({"labels": torch.zeros(2, 1, dtype=torch.int64)}, "expected labels of"),
        ({"metadata": {}}, "expected the ids of the manifest, got others"),
        ({"metadata": {"ids": '["b","a"]'}}, "expected the ids of the manifest, got others"),
    ],
)
def test_a_header_with_another_content_is_refused(tmp_path: Path, changed: dict[str, torch.Tensor], said: str):
    path = saved(tmp_path / "file", **changed)
    with pytest.raises(ValueError, match=said), opened(path, IDS, 2, SHAPE):
        pass


def offsets(start: int, end: int) -> bytes:
    """The file with images that claim to lie elsewhere in it."""
    header = {"images": {"dtype": "U8", "shape": [end - start], "data_offsets": [start, end]}}
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + b"x" * 8


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"1234567",
        written()[:-1],
        written()[:100],
        written() + b"x",
        (2**63).to_bytes(8, "little") + written()[8:],
        (10**9).to_bytes(8, "little") + written()[8:],
        (5).to_bytes(8, "little") + b"{{{{{",
        (2).to_bytes(8, "little") + b"[]",
        offsets(0, 2**50),
        offsets(2**62, 2**62 + 8),
    ],
    ids=["nothing", "no header", "a byte less", "half", "a byte more", *"abcdef"],
)
def test_a_file_that_is_not_whole_is_refused(tmp_path: Path, text: bytes):
    (tmp_path / "file").write_bytes(text)
    with pytest.raises(ValueError, match="no whole safetensors file"), opened(tmp_path / "file", IDS, 2, SHAPE):
        pass


def test_a_line_is_read_as_it_was_written():
    assert lines.from_bytes(lines.to_bytes(line())) == line()


def test_a_line_is_json():
    assert json.loads(lines.to_bytes(line()))["ids"] == ["Zürich/1.png", "b"]


def test_a_line_with_any_byte_altered_is_refused():
    text = lines.to_bytes(line())
    for place in range(len(text)):
        altered = text[:place] + bytes([text[place] ^ 1]) + text[place + 1 :]
        with pytest.raises(ValueError, match="not as it was written"):
            lines.from_bytes(altered)


@pytest.mark.parametrize("length", [0, 1, 40, 90, -1])
def test_a_line_that_was_cut_is_refused(length: int):
    with pytest.raises(ValueError, match="not as it was written"):
        lines.from_bytes(lines.to_bytes(line())[:length])


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"bytes": 0}, "bytes"),
        ({"sha256": "x"}, "sha256"),
        ({"fooled": (("102", "000"), ("000", "000"))}, "fooled"),
        ({"fooled": (("10", "000"), ("000", "000"))}, "tables of 2 images, 2 targets and 2 members"),
        ({"steps": ((1, 2),)}, "tables of 2 images"),
        ({"targets": ((1,), (2,))}, "tables of 2 images"),
        ({"targets": ((1, -1), (2, 3))}, "targets"),
        ({"linf": ((256, 0), (0, 0))}, "linf"),
        ({"rmse": ((-1.0, 0.0), (0.0, 0.0))}, "rmse"),
        ({"records": ("0" * 64,)}, "tables of 2 images"),
        ({"folder": ".."}, "folder"),
    ],
)
def test_a_line_of_somebody_who_knows_the_format_is_checked_all_the_same(changed: dict[str, object], said: str):
    forged = random_sets.forged_line(line().model_dump() | changed)
    with pytest.raises(ValueError, match=rf"(?s)something else than expected.*{said}"):
        lines.from_bytes(forged)


def test_gradient_norms_that_are_not_finite_are_refused():
    draft = random_sets.draft(MANIFEST, 0)
    draft.gradient_norms[0, 0, 0] = math.inf
    with pytest.raises(ValueError, match="gradient_norms"):
        describe(0, draft, random_sets.judge()(draft.images, draft.targets), 408, "0" * 64)


def test_flags_survive_as_digits():
    flags = torch.rand(3, 2, 4) < 0.5
    assert torch.equal(lines.flags(lines.digits(flags)), flags)


@pytest.mark.parametrize("name", ["targets", "images", "fooled_before"])
def test_a_record_digest_covers(name: str):
    draft = random_sets.draft(MANIFEST, 0)
    fooled = random_sets.judge()(draft.images, draft.targets)
    before = describe(0, draft, fooled, 408, "0" * 64).records
    changed = getattr(draft, name).clone()
    changed[1].view(-1)[0] = int(changed[1].view(-1)[0] == 0)
    after = describe(0, replace(draft, **{name: changed}), fooled, 408, "0" * 64).records
    assert [a == b for a, b in zip(before, after, strict=True)] == [True, False]


def test_a_record_digest_covers_the_judgement_and_the_id():
    draft = random_sets.draft(MANIFEST, 0)
    fooled = random_sets.judge()(draft.images, draft.targets)
    others = fooled.clone()
    others[0, 0, 0] = ~fooled[0, 0, 0]
    plain = lines.record_digests(IDS, draft.targets, draft.images, draft.fooled_before, fooled)
    judged = lines.record_digests(IDS, draft.targets, draft.images, draft.fooled_before, others)
    named = lines.record_digests(("x", "b"), draft.targets, draft.images, draft.fooled_before, fooled)
    assert judged[0] != plain[0]
    assert named[0] != plain[0]
    assert plain[1] == judged[1] == named[1]


def test_changes_are_counted_in_grey_levels():
    images = torch.tensor([[[[[0, 255]]], [[[10, 10]]]]], dtype=torch.uint8)  # one image, two targets, two pixels
    rmse, linf = changes(images, torch.tensor([[[[10, 252]]]], dtype=torch.uint8))
    assert linf == [[10, 242]]
    assert rmse == [[math.sqrt((100 + 9) / 2), math.sqrt(242**2 / 2)]]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"ids": ("b", "a")}, "the 2 images of shard 0 from 'Zürich/1.png' on, got others"),
        ({"images": torch.zeros(2, 2, 3, 4, 5, dtype=torch.uint8)}, r"images of shape \(2, 2, 3, 4, 4\), got"),
        ({"images": torch.zeros(2, 2, 3, 4, 4)}, "images of torch.uint8, got torch.float32"),
        ({"origin": torch.zeros(2, 3, 4, 4)}, "origin of torch.uint8, got torch.float32"),
        ({"fooled_before": torch.zeros(2, 2, 3)}, "fooled_before of torch.bool, got torch.float32"),
        ({"fooled_before": torch.zeros(2, 2, 1, dtype=torch.bool)}, r"fooled_before of shape \(2, 2, 3\), got"),
        ({"labels": torch.tensor([0, 2])}, "the labels of the manifest for shard 0, got others"),
        ({"targets": torch.tensor([[0, 1], [2, -1]])}, "targets of at least 0, got -1"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_a_draft_of_another_shard_is_refused(changed: dict[str, object], said: str):
    with pytest.raises(ValueError, match=said):
        check(replace(random_sets.draft(MANIFEST, 0), **changed), MANIFEST, 0)
