"""An adversarial set: a folder with a manifest and its shards, written one by one and finished in any order.

    SET/manifest.json               what the set is made from; with the digest once it is complete
    SET/shards/00000.safetensors    images, targets and labels of the first images
    SET/shards/00000.json           its line: sizes, sha256s, flags; the shard counts from when this is there
    SET/locks/                      who is working on it

A shard goes to a temporary file, reaches the disk, is read back from there and judged by what was read; then it takes
its name, and its line is written last. Whatever interrupts that leaves the other shards alone and this one absent. Who
makes a shard, when, and after how many interruptions leaves no trace in it.

Nothing read is believed: a line carries its own sha256; a file has to have the size, the sha256, the names, dtypes,
shapes, ids and labels that are expected; only plain files under their expected names are opened.
"""

import errno
import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import torch
from torch import Tensor

from interp_plugins.foundation.files import keep_names, write_new, write_whole
from interp_plugins.store import disk, drafts, lines
from interp_plugins.store.disk import explained
from interp_plugins.store.drafts import ShardDraft
from interp_plugins.store.lines import Line
from interp_plugins.store.manifest import Manifest, canonical
from interp_plugins.store.shards import Shard, opened, write_tensors

Judge = Callable[[Tensor, Tensor], Tensor]


class AdversarialSet:
    """A set on disk; made by `create` and found again by `open`."""

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self.folder, self.manifest = folder, manifest

    @classmethod
    def create(cls, folder: Path, manifest: Manifest) -> "AdversarialSet":
        """Begin a set in a folder that holds none; the folder is made if need be.

        Raises:
            ValueError: There is a set already; of two that begin at once one is told so.
            OSError: The folder cannot be written.
        """
        found = cls(folder, manifest)
        with explained(folder, found._kept):
            found._shards.mkdir(parents=True, exist_ok=True)
            try:
                write_new(found._manifest, manifest.to_json())
            except FileExistsError:
                raise ValueError(
                    f"{folder} holds a set already; add --resume to go on with it, or name another folder"
                ) from None
        return found

    @classmethod
    def open(cls, folder: Path) -> "AdversarialSet":
        """Find a set, finished or not.

        Raises:
            FileNotFoundError: There is none.
            ValueError: Its manifest cannot be read, or parts of it lie elsewhere by way of links.
        """
        found = cls.__new__(cls)
        found.folder = folder
        try:
            disk.require_plain(found._manifest)
        except FileNotFoundError:
            raise FileNotFoundError(f"no adversarial set at {folder}: it has no manifest.json") from None
        except ValueError as error:
            raise ValueError(f"{found._manifest}: {error}") from error
        if found._shards.is_symlink():
            raise ValueError(f"expected the shards of {folder} to lie in it, got a link to elsewhere")
        found.manifest = Manifest.read(found._manifest)
        return found

    @property
    def _manifest(self) -> Path:
        return self.folder / "manifest.json"

    @property
    def _shards(self) -> Path:
        return self.folder / "shards"

    def finished(self, deep: bool = False) -> list[int]:
        """The complete shards: those with a valid line and a file of the size it says.

        Args:
            deep: Read every file and check all that is known of it.
        """
        absent = set(self.missing(deep=deep))
        return [number for number in range(self.manifest.shards) if number not in absent]

    def missing(self, numbers: Iterable[int] | None = None, deep: bool = False) -> list[int]:
        """The shards, of all or of `numbers`, that are not complete; `deep` as for `finished`."""
        return [number for number, _ in self._incomplete(numbers, deep)]

    def faults(self, numbers: Iterable[int] | None = None) -> list[str]:
        """What is wrong with shards that were finished once, a sentence for each; every file is read."""
        return [fault for _, fault in self._incomplete(numbers, deep=True) if fault is not None]

    def _incomplete(self, numbers: Iterable[int] | None, deep: bool) -> Iterator[tuple[int, str | None]]:
        """Shards that are broken, and why, or absent."""
        for number in range(self.manifest.shards) if numbers is None else numbers:
            try:
                if deep:
                    self.read(number)
                else:
                    self._sized(number)
            except FileNotFoundError:
                yield number, None
            except ValueError as error:
                yield number, str(error)

    def line(self, number: int) -> Line:
        """What is known of a shard.

        Raises:
            FileNotFoundError: The shard is not finished.
            ValueError: The line was altered, or is another shard's; the message names its file.
        """
        span, path = self.manifest.span(number), self._shards / lines.line_name(number)
        try:
            disk.require_plain(path)
            line = lines.from_bytes(path.read_bytes())
            expected = (len(span), self.manifest.targets, len(self.manifest.members))
            if line.file != lines.file_name(number):
                raise ValueError(f"expected it to name the file {lines.file_name(number)}, got {line.file!r}")
            if line.number != number or line.ids != self._ids(number):
                raise ValueError("expected the number and the ids of the manifest, got others")
            if line.shape != expected:
                raise ValueError(f"expected (images, targets, members) {expected}, got {line.shape}")
        except FileNotFoundError:
            raise FileNotFoundError(f"shard {path.name}: not finished") from None
        except ValueError as error:
            raise ValueError(f"shard {path.name}: {error}") from error
        return line

    def read(self, number: int, deep: bool = True) -> Shard:
        """Read a shard and check it.

        Args:
            number: Which one.
            deep: Check the sha256 of the file and of each record, too.

        Raises:
            FileNotFoundError: The shard is not finished.
            ValueError: It is not what its line and the manifest say; the message names the file.
        """
        line = self._sized(number)
        path = self._shards / line.file
        if deep and disk.sha256_of(path) != line.sha256:
            raise ValueError(f"shard {path.name}: its bytes are not those that were written (sha256)")
        tensors = {name: tensor.clone() for name, tensor in self._tensors(path, number).items()}
        before, fooled = lines.flags(line.fooled_before), lines.flags(line.fooled)
        shard = Shard(
            number=number,
            ids=line.ids,
            **tensors,
            fooled_before=before,
            fooled=fooled,
            steps=torch.tensor(line.steps),
            rmse=torch.tensor(line.rmse, dtype=torch.float64),
            linf=torch.tensor(line.linf),
            gradient_norms=torch.tensor(line.gradient_norms, dtype=torch.float64),
        )
        if shard.targets.tolist() != [list(row) for row in line.targets]:
            raise ValueError(f"shard {path.name}: its targets are not those of its line")
        if deep and lines.record_digests(line.ids, shard.targets, shard.images, before, fooled) != line.records:
            raise ValueError(f"shard {path.name}: a record is not the one its line says (sha256)")
        return shard

    def mapped(self, number: int) -> dict[str, Tensor]:
        """A shard's "images", "targets" and "labels", mapped from its file: only what is looked at is read.

        Raises:
            FileNotFoundError: The shard is not finished.
            ValueError: Its header is not as expected; the message names the file. Bytes are not checked.
        """
        return self._tensors(self._shards / self._sized(number).file, number)

    def write(self, number: int, draft: ShardDraft, judge: Judge) -> Line:
        """Write a shard, whole or not at all; an earlier one of this number goes.

        Args:
            number: Which one.
            draft: Its content.
            judge: Told the images (n, t, c, h, w) uint8 as read back from the disk and the targets (n, t), says which
                members are fooled: bool (n, t, k).

        Raises:
            ValueError: The draft is not the manifest's shard.
            OSError: The disk is full, failing, or may not be written; what was finished is kept.
        """
        drafts.check(draft, self.manifest, number)
        path, line_path = self._shards / lines.file_name(number), self._shards / lines.line_name(number)
        temporary = path.with_name(f".{path.name}.part")
        with explained(self.folder, self._kept, draft.images.nbytes):
            self._shards.mkdir(exist_ok=True)
            line_path.unlink(missing_ok=True)
            try:
                with disk.create(temporary) as file:
                    sha256 = write_tensors(file.write, draft)
                    file.flush()
                    os.fsync(file.fileno())
                if disk.sha256_of(temporary) != sha256:
                    raise OSError(errno.EIO, f"{path} reads otherwise than it was written; look after the disk")
                fooled = self._judged(temporary, number, judge)
                line = drafts.describe(number, draft, fooled, temporary.stat().st_size, sha256)
                os.replace(temporary, path)
                keep_names(self._shards)
            finally:
                temporary.unlink(missing_ok=True)
            write_whole(line_path, lines.to_bytes(line))
        return line

    def digest(self) -> str:
        """The sha256 of all that decides the set and of all its records, in the order of their ids.

        Raises:
            ValueError: Shards are missing.
        """
        absent: list[str] = []
        records: list[tuple[str, str]] = []
        for number in range(self.manifest.shards):
            try:
                line = self._sized(number)
            except (FileNotFoundError, ValueError):
                absent.append(lines.file_name(number))
            else:
                records.extend(zip(line.ids, line.records, strict=True))
        if absent:
            raise ValueError(
                f"expected all {self.manifest.shards} shards of {self.folder}, {len(absent)} are missing "
                f"({', '.join(absent[:3])}{', ...' * (len(absent) > 3)}); run the same command with --resume"
            )
        digest = hashlib.sha256(canonical(self.manifest.result_settings()))
        for name, record in sorted(records):
            digest.update(b"\n" + canonical([name, record]))
        return digest.hexdigest()

    def seal(self) -> str:
        """Write the digest of the finished set into its manifest and clear what interrupted runs left; return it.

        Raises:
            ValueError: Shards are missing, or the set was sealed before with other content.
        """
        digest = self.digest()
        if self.manifest.digest not in (None, digest):
            raise ValueError(
                f"{self.folder} was finished before as {str(self.manifest.digest)[:12]} and is {digest[:12]} now; its "
                "shards or its manifest were altered: make the set again in another folder"
            )
        with explained(self.folder, self._kept):
            if self.manifest.digest is None:
                self.manifest = self.manifest.model_copy(update={"digest": digest})
                write_whole(self._manifest, self.manifest.to_json())
            for left in self._shards.glob(".*"):
                left.unlink(missing_ok=True)
        return digest

    def _ids(self, number: int) -> tuple[str, ...]:
        span = self.manifest.span(number)
        return self.manifest.data.ids[span.start : span.stop]

    def _sized(self, number: int) -> Line:
        """The line of a shard whose file has the size it says."""
        line = self.line(number)
        try:
            size = disk.require_plain(self._shards / line.file)
        except FileNotFoundError:
            raise ValueError(f"shard {line.file}: its line is there and the file is gone") from None
        except ValueError as error:
            raise ValueError(f"shard {line.file}: {error}") from error
        if size != line.bytes:
            raise ValueError(f"shard {line.file}: expected {line.bytes} bytes, got {size}")
        return line

    def _tensors(self, path: Path, number: int) -> dict[str, Tensor]:
        """The tensors of a file, mapped into memory."""
        manifest, span = self.manifest, self.manifest.span(number)
        try:
            with opened(path, self._ids(number), manifest.targets, manifest.shape) as file:
                tensors: dict[str, Tensor] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            if tensors["labels"].tolist() != list(manifest.data.numbers[span.start : span.stop]):
                raise ValueError("its labels are not those of the manifest")
        except ValueError as error:
            raise ValueError(f"shard {lines.file_name(number)}: {error}") from error
        return tensors

    def _judged(self, path: Path, number: int, judge: Judge) -> Tensor:
        tensors = self._tensors(path, number)
        fooled = judge(tensors["images"], tensors["targets"])
        shape = (*tensors["targets"].shape, len(self.manifest.members))
        if fooled.dtype != torch.bool or tuple(fooled.shape) != shape:
            raise ValueError(f"expected a judgement of {torch.bool} {shape}, got {fooled.dtype} {tuple(fooled.shape)}")
        return fooled.cpu()

    def _kept(self) -> tuple[int, int]:
        return len(self.finished()), self.manifest.shards
