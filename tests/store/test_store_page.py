"""The page of the format names every field there is, and its account of the digest is right."""

import hashlib
import json
from pathlib import Path

import pytest
import random_sets

from interp_plugins.store.lines import Line
from interp_plugins.store.manifest import Data, Layout, Manifest, Member

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "store.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("model", [Manifest, Member, Data, Layout, Line], ids=lambda model: model.__name__)
def test_the_page_names_every_field(model: type[Line]):
    assert [name for name in model.model_fields if f"`{name}`" not in PAGE] == []


def written(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def test_a_line_is_sealed_as_the_page_says(tmp_path: Path):
    made = random_sets.finished(tmp_path)
    text = (made.folder / "shards" / "00000.json").read_bytes()
    assert text.count(b"\n") == 1
    assert json.loads(text)["line_sha256"] == hashlib.sha256(b"{" + text.partition(b",")[2]).hexdigest()


def test_the_digest_is_what_the_page_says(tmp_path: Path):
    made = random_sets.finished(tmp_path, ids=("c", "ä", "b", "a/1", "a"))
    known = json.loads(made.manifest.to_json())
    data, records = known["data"], {}
    for number in range(made.manifest.shards):
        line = json.loads((made.folder / "shards" / f"{number:05d}.json").read_bytes())
        pixels = (made.folder / "shards" / line["file"]).read_bytes()[-96 * len(line["ids"]) :]
        for i, name in enumerate(line["ids"]):
            fields = {"id": name, "targets": line["targets"][i]}
            flags = {"before": line["fooled_before"][i], "fooled": line["fooled"][i]}
            record = written(fields | flags) + b"\n" + pixels[96 * i : 96 * (i + 1)]
            records[name] = hashlib.sha256(record).hexdigest()
            assert records[name] == line["records"][i]
    settings = {
        **{name: known[name] for name in ("method", "settings", "seed", "shape")},
        "members": [member["sha256"] for member in known["members"]],
        "images": sorted(map(list, zip(data["ids"], data["sha256s"], data["numbers"], strict=True))),
        **{name: known["layout"][name] for name in ("tile", "precision")},
    }
    pieces = [written(settings), *(written([name, records[name]]) for name in sorted(records))]
    assert made.digest() == hashlib.sha256(b"\n".join(pieces)).hexdigest()
