"""Give a finished set away in other forms: folders of PNGs, webdataset's tar files, parquet.

Every form holds the same pixels, losslessly, with the same labels, targets and flags. A folder is written once: it has
to be new or empty. Ids and class names become file names only if they are plain names that stay inside the folder.
"""

import csv
import importlib
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path, PurePosixPath
from types import ModuleType
from typing import Any, NamedTuple

from PIL import Image
from torch import Tensor

from interp_plugins.errors import HostMissing
from interp_plugins.store.sets import AdversarialSet
from interp_plugins.store.shards import Shard

Watch = Callable[[int], None]


class Exported(NamedTuple):
    """One record on its way out."""

    facts: dict[str, Any]  # a row of labels.csv: where it comes from, its classes, its flags
    png: bytes


def export_png(adversarial: AdversarialSet, out: Path, watch: Watch = lambda done: None) -> None:
    """Write `CLASS/ID_TARGET.png` and, last, labels.csv with all flags; `sources.images.load` reads the folder.

    CLASS is the true class's name, or its number where names are missing, alike or no file names. An id's own folders
    stay, but for a first one that is named as the class.

    Args:
        adversarial: A finished set.
        out: A new or empty folder.
        watch: Called with the number of records after each shard.

    Raises:
        ValueError: The set is not finished or damaged, `out` is not empty, or an id would leave it.
    """
    names = _file_names(adversarial)
    _begin(adversarial, out)
    unfinished = out / "labels.csv.partial"
    with unfinished.open("x", newline="", encoding="utf-8") as stream:
        writer = None
        for records in _shards(adversarial):
            for record in records:
                row = {"file": names(record.facts), **record.facts}
                (out / row["file"]).parent.mkdir(parents=True, exist_ok=True)
                with (out / row["file"]).open("xb") as picture:
                    picture.write(record.png)
                if writer is None:
                    writer = csv.DictWriter(stream, list(row), lineterminator="\n")
                    writer.writeheader()
                writer.writerow(row)
            watch(len(records))
    unfinished.rename(out / "labels.csv")


def export_webdataset(adversarial: AdversarialSet, out: Path, watch: Watch = lambda done: None) -> None:
    """Write a tar for each shard, `00000.tar` and on, with a .png, a .cls (the true class) and a .json a record.

    Arguments and errors as for `export_png`.

    Raises:
        HostMissing: webdataset is not installed.
    """
    webdataset = _library("webdataset")
    _begin(adversarial, out)
    for number, records in enumerate(_shards(adversarial)):
        with webdataset.TarWriter(str(out / f"{number:05d}.tar")) as tar:
            for place, record in enumerate(records):
                key = f"{number:05d}_{place:06d}"  # an id may hold dots, which end a key
                tar.write({"__key__": key, "png": record.png, "cls": record.facts["class_index"], "json": record.facts})
        watch(len(records))


def export_parquet(adversarial: AdversarialSet, out: Path, watch: Watch = lambda done: None) -> None:
    """Write a table for each shard, `00000.parquet` and on: the columns of labels.csv and `image`, a PNG's bytes.

    Arguments and errors as for `export_png`.

    Raises:
        HostMissing: pyarrow is not installed.
    """
    arrow, parquet = _library("pyarrow"), _library("pyarrow.parquet")
    _begin(adversarial, out)
    for number, records in enumerate(_shards(adversarial)):
        rows = [{"image": record.png, **record.facts} for record in records]
        parquet.write_table(arrow.Table.from_pylist(rows), out / f"{number:05d}.parquet")
        watch(len(records))


EXPORTS = {"png": export_png, "webdataset": export_webdataset, "parquet": export_parquet}


def _library(name: str) -> ModuleType:
    package = name.partition(".")[0]
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise HostMissing(f"{package} is needed for this form: pip install {package}") from error


def _begin(adversarial: AdversarialSet, out: Path) -> None:
    if missing := adversarial.missing():
        raise ValueError(
            f"expected a finished set at {adversarial.folder}, {len(missing)} of its {adversarial.manifest.shards} "
            "shards are missing; run the same command again with --resume"
        )
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"expected a new or empty folder, got {out}, which holds something; nothing was written")
    out.mkdir(parents=True, exist_ok=True)


def _shards(adversarial: AdversarialSet) -> Iterator[list[Exported]]:
    """The records of each shard, which is checked as it is read."""
    for number in range(adversarial.manifest.shards):
        shard = adversarial.read(number)
        yield [
            Exported(_facts(adversarial, shard, i, j), _png(shard.images[i, j]))
            for i in range(len(shard.ids))
            for j in range(shard.targets.shape[1])
        ]


def _facts(adversarial: AdversarialSet, shard: Shard, i: int, j: int) -> dict[str, Any]:
    facts = {
        "id": shard.ids[i],
        "target_number": j,
        "class_index": int(shard.labels[i]),
        "target": int(shard.targets[i, j]),
        "fooled_all": int(shard.fooled[i, j].all()),
    }
    for k, member in enumerate(adversarial.manifest.members):
        facts[f"fooled_{k}_{member.name}"] = int(shard.fooled[i, j, k])
        facts[f"fooled_before_rounding_{k}_{member.name}"] = int(shard.fooled_before[i, j, k])
    step, rmse, linf = shard.steps[i, j], shard.rmse[i, j], shard.linf[i, j]
    return facts | {"step": int(step), "rmse": round(float(rmse), 6), "linf": int(linf)}


def _png(image: Tensor) -> bytes:
    file = BytesIO()
    pixels = image.permute(1, 2, 0).squeeze(2) if image.shape[0] == 1 else image.permute(1, 2, 0)
    Image.fromarray(pixels.contiguous().numpy()).save(file, format="PNG", compress_level=1)
    return file.getvalue()


def _file_names(adversarial: AdversarialSet) -> Callable[[dict[str, Any]], str]:
    """What names a record's file, once it is sure that all names differ and stay inside the folder."""
    data = adversarial.manifest.data
    folders = _class_folders(data.classes, max(data.numbers) + 1)
    stems: dict[str, str] = {}
    for name, number in zip(data.ids, data.numbers, strict=True):
        parts = _safe(name)
        folder = folders[number]
        stems[name] = "/".join((folder, *(parts[1:] if len(parts) > 1 and parts[0] == folder else parts)))
    if len(set(stems.values())) < len(stems):
        raise ValueError("expected ids that name different files in their classes' folders, got two alike")
    return lambda facts: f"{stems[facts['id']]}_{facts['target']}.png"


def _class_folders(classes: tuple[str, ...] | None, least: int) -> list[str]:
    names = list(classes or ())
    if len(names) < least or len(set(names)) < len(names) or not all(_plain(name) for name in names):
        return [f"{number:04d}" for number in range(max(least, len(names)))]
    return names


def _safe(name: str) -> tuple[str, ...]:
    """The parts of an id that may become a path.

    Raises:
        ValueError: It could lead out of the folder, or be read as another path elsewhere.
    """
    parts = tuple(name.split("/"))
    if not all(_plain(part) for part in parts):
        raise ValueError(f"expected ids that are plain relative paths, got {name!r}; nothing was written")
    return parts


def _plain(part: str) -> bool:
    return (
        part.strip(". ") != ""
        and PurePosixPath(part).name == part
        and part.isprintable()
        and not set(part) & set('\\:*?"<>|')
    )
