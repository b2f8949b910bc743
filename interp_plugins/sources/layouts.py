"""Where labelled images lie: in files, in arrays; and how their labels are found: by folder, by table, by array."""

import csv
import re
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Files:
    """Images in files of a folder, named by relative POSIX paths."""

    folder: Path
    files: tuple[str, ...]

    def content(self, index: int) -> bytes:
        """The file's bytes."""
        try:
            return (self.folder / self.files[index]).read_bytes()
        except OSError as error:
            raise ValueError(f"cannot read the image {self.folder / self.files[index]}: {error.strerror}") from error

    def pixels(self, index: int) -> Pixels:
        """The decoded image, (h, w, 3)."""
        try:
            with Image.open(BytesIO(self.content(index))) as image:
                return np.array(image.convert("RGB"))
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise ValueError(
                f"cannot read the image {self.folder / self.files[index]} ({error}); "
                "repair or remove it, or leave such images out (--skip-bad, or skip_bad=True)"
            ) from error


@dataclass(frozen=True)
class Array:
    """Images in an array, uint8 (n, h, w, 3)."""

    images: Pixels

    def content(self, index: int) -> bytes:
        """The pixels' bytes, rows of RGB."""
        return self.pixels(index).tobytes()

    def pixels(self, index: int) -> Pixels:
        """The image, (h, w, 3)."""
        pixels: Pixels = self.images[index]
        return pixels


def readable(store: Files, index: int) -> bool:
    """Whether an image can be decoded."""
    try:
        store.pixels(index)
    except ValueError:
        return False
    return True


def walk(folder: Path) -> tuple[tuple[str, ...], list[int], list[str]]:
    """Files, labels and class names of a folder of class folders."""
    found = {
        each.name: sorted(
            file.relative_to(folder).as_posix() for file in each.rglob("*") if file.suffix.lower() in SUFFIXES
        )
        for each in sorted(folder.iterdir())
        if each.is_dir()
    }
    classes = [name for name, files in found.items() if files]
    if not classes:
        raise ValueError(f"expected class folders with images, or a labels.csv, in {folder}, got neither")
    files = tuple(file for name in classes for file in found[name])
    return files, [k for k, name in enumerate(classes) for _ in found[name]], classes


def read_table(table: Path, folder: Path) -> tuple[tuple[str, ...], list[int], dict[int, str]]:
    """Files, labels and wnids of a labels csv."""
    if not table.is_file():
        raise FileNotFoundError(f"no labels file {table}")
    files, labels, wnids = [], [], {}
    with table.open(newline="", encoding="utf-8") as stream:
        rows = csv.DictReader(stream)
        if missing := {"file", "class_index"} - set(rows.fieldnames or ()):
            raise ValueError(
                f"expected the columns file and class_index in {table}, missing {', '.join(sorted(missing))}"
            )
        for row in rows:
            where = f"{table}, line {rows.line_num}"
            file = Path(row["file"] or "")
            if not row["file"] or file.is_absolute() or ".." in file.parts:
                raise ValueError(f"expected a file inside {folder} in {where}, got {row['file']!r}")
            if not re.fullmatch(r"\d+", row["class_index"] or ""):
                raise ValueError(f"expected a class_index of 0 or above in {where}, got {row['class_index']!r}")
            files.append(file.as_posix())
            labels.append(int(row["class_index"]))
            if row.get("wnid"):
                wnids[labels[-1]] = row["wnid"]
    return tuple(files), labels, wnids


def read_npz(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays of an .npz with at least images and labels."""
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (OSError, ValueError) as error:
        raise ValueError(f"cannot read {path} as an .npz of plain arrays ({error})") from error
    if missing := {"images", "labels"} - set(arrays):
        raise ValueError(f"expected the arrays images and labels in {path}, missing {', '.join(sorted(missing))}")
    return arrays
