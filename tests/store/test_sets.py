"""A set is written shard by shard, cut short anywhere, gone on with, and never believed when it is read."""

import errno
import io
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import random_sets
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from interp_plugins.store import disk
from interp_plugins.store.sets import AdversarialSet


@pytest.fixture
def made(tmp_path: Path) -> AdversarialSet:
    """Three finished shards, the last one shorter."""
    return random_sets.finished(tmp_path)


def test_a_shard_reads_back_as_it_was_written(made: AdversarialSet):
    draft, shard = random_sets.draft(made.manifest, 1), made.read(1)
    for name in ("images", "targets", "labels", "fooled_before", "steps"):
        assert torch.equal(getattr(shard, name), getattr(draft, name)), name
    assert torch.equal(shard.gradient_norms.float(), draft.gradient_norms)
    assert (shard.number, shard.ids) == (1, draft.ids)


def test_the_judgement_is_of_what_the_disk_gives_back(tmp_path: Path):
    made = AdversarialSet.create(tmp_path / "set", random_sets.manifest())
    draft, seen = random_sets.draft(made.manifest, 0), []

    def judge(images: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        assert images.data_ptr() != draft.images.data_ptr()
        seen.append(images.clone())
        return random_sets.judge()(images, targets)

    line = made.write(0, draft, judge)
    assert torch.equal(seen[0], draft.images)
    assert torch.equal(made.read(0).fooled, random_sets.judge()(draft.images, draft.targets))
    assert line == made.line(0)


def test_a_disk_that_gives_back_something_else_is_found_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    made = AdversarialSet.create(tmp_path / "set", random_sets.manifest())
    honest = disk.sha256_of

    def lying(path: Path) -> str:
        path.write_bytes(path.read_bytes()[:-1] + b"?")
        return honest(path)

    monkeypatch.setattr(disk, "sha256_of", lying)
    with pytest.raises(OSError, match="reads otherwise than it was written"):
        random_sets.write(made, [0])
    assert random_sets.content(made) == {}


@pytest.mark.parametrize("answer", [torch.zeros(2, 2, dtype=torch.bool), torch.zeros(2, 2, 3)])
def test_a_judgement_of_another_shape_or_type_is_refused(tmp_path: Path, answer: torch.Tensor):
    made = AdversarialSet.create(tmp_path / "set", random_sets.manifest())
    with pytest.raises(ValueError, match=r"a judgement of torch.bool \(2, 2, 3\), got"):
        made.write(0, random_sets.draft(made.manifest, 0), lambda images, targets: answer)
    assert random_sets.content(made) == {}


def test_a_shard_can_be_looked_at_without_being_read(made: AdversarialSet):
    found = made.mapped(1)
    assert torch.equal(found["images"][1, 0], made.read(1).images[1, 0])


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="the system does not tell what memory is in use")
def test_a_mapped_shard_takes_no_memory_before_it_is_looked_at(tmp_path: Path):
    def pages() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1])

    made = random_sets.finished(tmp_path, n=1, t=4, k=1, shape=(3, 1000, 1000))
    before = pages()
    images = made.mapped(0)["images"]
    taken = (pages() - before) * os.sysconf("SC_PAGE_SIZE")
    assert taken < images.nbytes / 4


# What is absent, what is broken


def test_a_set_without_shards_misses_all(tmp_path: Path):
    made = AdversarialSet.create(tmp_path / "set", random_sets.manifest())
    assert (made.finished(), made.missing(), made.faults()) == ([], [0, 1, 2], [])


def test_a_file_without_a_line_is_no_shard(made: AdversarialSet):
    (made.folder / "shards" / "00001.json").unlink()
    assert (made.finished(), made.missing(), made.faults()) == ([0, 2], [1], [])
    with pytest.raises(FileNotFoundError, match=r"00001\.json: not finished"):
        made.read(1)


def test_only_the_numbers_asked_for_are_looked_at(made: AdversarialSet):
    for file in (made.folder / "shards").iterdir():
        file.unlink()
    assert made.missing(range(0, 3, 2)) == [0, 2]


def alter(path: Path, place: int) -> None:
    text = bytearray(path.read_bytes())
    text[place] ^= 1
    path.write_bytes(text)


def forge(path: Path, **changes: object) -> None:
    """Change fields of a line and seal it again."""
    fields = json.loads(path.read_bytes())
    del fields["line_sha256"]
    path.write_bytes(random_sets.forged_line(fields | changes))


def link_out(path: Path) -> None:
    """Move a file out of the set and leave a link to it."""
    outside = path.parents[2] / "outside"
    path.rename(outside)
    path.symlink_to(outside)


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


FILE, LINE = "00001.safetensors", "00001.json"
BREAKS = {
    "the file is gone": (FILE, Path.unlink, "its line is there and the file is gone", True),
    "the file is cut": (FILE, lambda path: os.truncate(path, 300), r"expected \d+ bytes, got 300", True),
    "the file is empty": (FILE, lambda path: os.truncate(path, 0), "bytes, got 0", True),
    "the file is longer": (FILE, lambda path: path.write_bytes(path.read_bytes() + b"x"), "expected", True),
    "a pixel is altered": (FILE, lambda path: alter(path, -1), r"not those that were written \(sha256\)", False),
    "the header is altered": (FILE, lambda path: alter(path, 3), r"not those that were written \(sha256\)", False),
    "the file is a link": (FILE, link_out, "a link to elsewhere", True),
    "the file is a pipe": (FILE, pipe, "got something else", True),
    "the file is a folder": (FILE, lambda path: (path.unlink(), path.mkdir()), "got something else", True),
    "the line is cut": (LINE, lambda path: os.truncate(path, 100), "not as it was written", True),
    "the line is empty": (LINE, lambda path: os.truncate(path, 0), "not as it was written", True),
    "the line is altered": (LINE, lambda path: alter(path, 500), "not as it was written", True),
    "the line is no text": (LINE, lambda path: path.write_bytes(b"\xff\x00" * 99), "not as it was written", True),
    "the line is a link": (LINE, link_out, "a link to elsewhere", True),
    "the line is a pipe": (LINE, pipe, "got something else", True),
    "the line names a path outside": (
        LINE,
        lambda path: forge(path, file="../../outside"),
        r"to name the file 00001\.safetensors, got '\.\./\.\./outside'",
        True,
    ),
    "the line names an absolute path": (LINE, lambda path: forge(path, file="/etc/passwd"), "got '/etc/passwd'", True),
    "the line names another shard": (
        LINE,
        lambda path: forge(path, file="00000.safetensors"),
        "to name the file",
        True,
    ),
    "the line has another number": (LINE, lambda path: forge(path, number=0), "the number and the ids", True),
    "the line has other ids": (LINE, lambda path: forge(path, ids=["a", "b"]), "the number and the ids", True),
    "the line is another shard's": (
        LINE,
        lambda path: shutil.copy(path.with_name("00000.json"), path),
        "to name the file",
        True,
    ),
    "a flag is flipped": (
        LINE,
        lambda path: forge(path, fooled=[["000", "111"], ["010", "101"]]),
        r"a record is not the one its line says \(sha256\)",
        False,
    ),
    "the targets are others": (LINE, lambda path: forge(path, targets=[[1, 2], [3, 4]]), "its targets are not", False),
}


@pytest.mark.parametrize(("name", "spoil", "said", "shallow"), BREAKS.values(), ids=BREAKS)
def test_a_broken_shard_is_named_with_its_fault(made: AdversarialSet, name: str, spoil, said: str, shallow: bool):
    spoil(made.folder / "shards" / name)
    with pytest.raises(ValueError, match=rf"shard 00001\.\w+: .*{said}"):
        made.read(1)
    (fault,) = made.faults()
    assert fault.startswith("shard 00001.")
    assert made.missing() == [1] * shallow  # what can be seen without reading the file
    assert made.missing(deep=True) == [1]


@pytest.mark.parametrize(("name", "spoil", "said", "shallow"), BREAKS.values(), ids=BREAKS)
def test_a_broken_shard_is_made_again_to_the_byte(
    made: AdversarialSet, tmp_path: Path, name: str, spoil, said: str, shallow: bool
):
    whole, digest = random_sets.content(made), made.digest()
    spoil(path := made.folder / "shards" / name)
    if path.is_dir():
        path.rmdir()  # a folder in the way is for its owner to remove
    random_sets.write(made, made.missing(deep=True))
    assert random_sets.content(made) == whole
    assert made.seal() == digest


def resealed(made: AdversarialSet, write) -> None:
    """Another file for shard 1, with a line that fits its size and sha256."""
    path = made.folder / "shards" / FILE
    write(path)
    forge(path.with_name(LINE), bytes=path.stat().st_size, sha256=disk.sha256_of(path))


def test_a_forged_file_with_a_fitting_line_is_still_checked(made: AdversarialSet):
    resealed(made, lambda path: path.write_bytes((2**40).to_bytes(8, "little") + bytes(100)))
    with pytest.raises(ValueError, match=r"shard 00001\.safetensors: it is no whole safetensors file"):
        made.mapped(1)


def test_a_forged_file_of_another_shard_is_still_checked(made: AdversarialSet):
    resealed(made, lambda path: shutil.copy(path.with_name("00000.safetensors"), path))
    with pytest.raises(ValueError, match=r"shard 00001\.safetensors: expected the ids of the manifest, got others"):
        made.mapped(1)


def test_forged_labels_are_still_checked(made: AdversarialSet):
    header = 8 + int.from_bytes((made.folder / "shards" / FILE).read_bytes()[:8], "little")
    resealed(made, lambda path: alter(path, header))
    with pytest.raises(ValueError, match=r"shard 00001\.safetensors: its labels are not those of the manifest"):
        made.mapped(1)


def test_shards_beyond_the_last_are_no_part_of_the_set(made: AdversarialSet):
    digest = made.digest()
    shutil.copy(made.folder / "shards" / LINE, made.folder / "shards" / "00007.json")
    assert (made.missing(), made.faults(), made.digest()) == ([], [], digest)


def test_times_of_files_decide_nothing(made: AdversarialSet):
    for year, file in enumerate((made.folder / "shards").iterdir()):
        os.utime(file, (4e9 - 3e7 * year, 4e9 - 3e7 * year))
    assert (made.missing(deep=True), made.faults()) == ([], [])


# Finding and beginning sets


def test_a_folder_without_a_set_is_told(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match=r"no adversarial set at .*: it has no manifest\.json"):
        AdversarialSet.open(tmp_path)


def test_a_manifest_that_is_a_link_is_refused(made: AdversarialSet, tmp_path: Path):
    (made.folder / "manifest.json").rename(tmp_path / "manifest.json")
    (made.folder / "manifest.json").symlink_to(tmp_path / "manifest.json")
    with pytest.raises(ValueError, match="a link to elsewhere"):
        AdversarialSet.open(made.folder)


def test_shards_that_lie_behind_a_link_are_refused(made: AdversarialSet, tmp_path: Path):
    (made.folder / "shards").rename(tmp_path / "shards")
    (made.folder / "shards").symlink_to(tmp_path / "shards")
    with pytest.raises(ValueError, match=r"shards of .* to lie in it, got a link to elsewhere"):
        AdversarialSet.open(made.folder)
    with pytest.raises(ValueError, match="a link to elsewhere"):
        made.read(0)


def test_a_set_is_not_begun_twice(made: AdversarialSet):
    with pytest.raises(ValueError, match="holds a set already; add --resume to go on with it, or name another folder"):
        AdversarialSet.create(made.folder, random_sets.manifest(seed=1))
    assert AdversarialSet.open(made.folder).manifest.seed == 0


def test_a_set_can_be_begun_where_others_left_files(tmp_path: Path):
    (tmp_path / "set" / "locks").mkdir(parents=True)
    (tmp_path / "set" / "notes.txt").write_text("mine")
    AdversarialSet.create(tmp_path / "set", random_sets.manifest())
    assert (tmp_path / "set" / "notes.txt").read_text() == "mine"


def test_a_set_whose_folder_of_shards_is_gone_can_be_gone_on_with(made: AdversarialSet):
    whole = random_sets.content(made)
    shutil.rmtree(made.folder / "shards")
    assert made.missing() == [0, 1, 2]
    assert random_sets.content(random_sets.write(AdversarialSet.open(made.folder))) == whole


def test_the_end_of_an_interrupted_shard_is_swept_away(made: AdversarialSet):
    (made.folder / "shards" / ".00001.safetensors.part").write_bytes(b"half")
    (made.folder / "shards" / ".00001.json.x7").write_bytes(b"half")
    made.seal()
    assert [file.name for file in (made.folder / "shards").glob(".*")] == []


# The digest


def test_the_digest_is_written_into_the_manifest(made: AdversarialSet):
    before = made.manifest
    digest = made.seal()
    assert AdversarialSet.open(made.folder).manifest == before.model_copy(update={"digest": digest})
    assert made.seal() == digest


def test_a_set_that_is_not_complete_has_no_digest(made: AdversarialSet):
    for number in (0, 2):
        (made.folder / "shards" / f"0000{number}.json").unlink()
    with pytest.raises(
        ValueError, match=r"all 3 shards of .*, 2 are missing \(00000.safetensors, 00002.safetensors\).*--resume"
    ):
        made.seal()


def test_a_sealed_set_with_other_content_is_refused(made: AdversarialSet):
    made.seal()
    draft = random_sets.draft(made.manifest, 1, seed=5)
    made.write(1, draft, random_sets.judge())
    with pytest.raises(ValueError, match=r"was finished before as .* and is .* now; its shards or its manifest were"):
        made.seal()


def test_the_digest_does_not_depend_on_how_images_are_put_into_shards(tmp_path: Path):
    one = AdversarialSet.create(tmp_path / "one", random_sets.manifest(per_shard=5))
    whole = random_sets.draft(one.manifest, 0)
    one.write(0, whole, random_sets.judge())
    many = AdversarialSet.create(tmp_path / "many", random_sets.manifest(per_shard=2))
    for number in range(3):
        part = slice(many.manifest.span(number).start, many.manifest.span(number).stop)
        fields = {name: getattr(whole, name)[part] for name in whole.__dataclass_fields__}
        many.write(number, type(whole)(**fields), random_sets.judge())
    assert one.digest() == many.digest()


@pytest.mark.parametrize(
    "fields",
    [
        {"seed": 1},
        {"settings": {"steps": 21}},
        {"method": "PGD"},
        {"layout": random_sets.manifest().layout.model_copy(update={"tile": 16})},
        {"layout": random_sets.manifest().layout.model_copy(update={"precision": "bf16"})},
        {"members": random_sets.manifest(k=4).members[1:]},
        {"data": random_sets.manifest().data.model_copy(update={"sha256s": ("0" * 64,) * 5})},
    ],
)
def test_the_digest_covers_what_the_set_was_made_from(made: AdversarialSet, tmp_path: Path, fields: dict[str, object]):
    (tmp_path / "other").mkdir()
    assert random_sets.finished(tmp_path / "other", **fields).digest() != made.digest()


@pytest.mark.parametrize(
    "fields",
    [
        {"versions": {"python": "3.99"}},
        {"layout": random_sets.manifest().layout.model_copy(update={"processor": "another", "torch": "9"})},
    ],
)
def test_the_digest_does_not_cover_where_the_set_was_made(
    made: AdversarialSet, tmp_path: Path, fields: dict[str, object]
):
    (tmp_path / "other").mkdir()
    assert random_sets.finished(tmp_path / "other", **fields).digest() == made.digest()


# Law: whatever is cut out of a set is found missing, and made again it is the same set

SPOILS = [
    Path.unlink,
    lambda path: os.truncate(path, path.stat().st_size // 2),
    lambda path: os.truncate(path, 0),
    lambda path: alter(path, path.stat().st_size // 3),
    lambda path: alter(path, -2),
]


@pytest.mark.slow
@settings(max_examples=30)  # each waits for the disk, some fifty times
@given(
    n=st.integers(1, 7),
    t=st.integers(1, 3),
    k=st.integers(1, 3),
    per_shard=st.integers(1, 4),
    ids=st.lists(st.text(min_size=1, max_size=9).filter(str.isprintable), min_size=7, max_size=7, unique=True),
    order=st.randoms(use_true_random=False),
    cuts=st.lists(st.tuples(st.integers(0, 6), st.booleans(), st.sampled_from(SPOILS)), max_size=6),
)
def test_what_was_cut_is_missing_and_made_again_the_set_is_the_same(n, t, k, per_shard, ids, order, cuts):
    with tempfile.TemporaryDirectory() as folder:
        known = random_sets.manifest(t=t, k=k, shape=(1, 2, 3), per_shard=per_shard, ids=tuple(ids[:n]))
        made = AdversarialSet.create(Path(folder) / "set", known)
        numbers = list(range(known.shards))
        order.shuffle(numbers)
        random_sets.write(made, numbers)
        whole, digest = random_sets.content(made), made.seal()
        hit = set()
        for number, is_line, spoil in cuts:
            path = made.folder / "shards" / f"{number:05d}.{'json' if is_line else 'safetensors'}"
            if number < known.shards and number not in hit:
                spoil(path)
                hit.add(number)
        assert made.missing(deep=True) == sorted(hit)
        found = AdversarialSet.open(made.folder)
        random_sets.write(found, found.missing(deep=True))
        assert random_sets.content(found) == whole
        assert (found.seal(), found.faults()) == (digest, [])


# Disks


def stopped(made: AdversarialSet, kept: dict[str, bytes]) -> None:
    """A full disk has to leave what was finished, and nothing else."""
    with pytest.raises(
        OSError,
        match=r"no space left in .*: 1 of 3 shards are finished and kept; free about \d+ MB and run .* --resume",
    ) as caught:
        random_sets.write(made, [1, 2])
    assert caught.value.errno == errno.ENOSPC
    assert random_sets.content(made) == kept
    assert (made.missing(), made.faults()) == ([1, 2], [])


class Quota(io.BufferedWriter):
    """A file on a disk with room for so many bytes."""

    room = 0

    def write(self, piece) -> int:
        if (left := self.room - memoryview(piece).nbytes) < 0:
            super().write(memoryview(piece).cast("B")[: self.room])
            raise OSError(errno.ENOSPC, "No space left on device")
        self.room = left
        return super().write(piece)


@pytest.mark.parametrize("room", [0, 8, 200, 500])
def test_a_quota_that_is_used_up_keeps_what_is_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: int):
    made = random_sets.write(AdversarialSet.create(tmp_path / "set", random_sets.manifest()), [0])
    kept = random_sets.content(made)

    def limited(path: Path) -> Quota:
        file = Quota(io.FileIO(path, "x"))
        file.room = room
        return file

    monkeypatch.setattr(disk, "create", limited)
    stopped(made, kept)
    monkeypatch.undo()
    assert random_sets.write(made, made.missing()).missing(deep=True) == []


def test_a_disk_that_is_full_when_the_line_is_due_leaves_no_shard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    made = random_sets.write(AdversarialSet.create(tmp_path / "set", random_sets.manifest()), [0])

    def full(path: Path, content: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("interp_plugins.store.sets.write_whole", full)
    with pytest.raises(OSError, match="1 of 3 shards are finished and kept"):
        random_sets.write(made, [1])
    assert (made.missing(), made.faults()) == ([1, 2], [])


@contextmanager
def mounted(folder: Path, options: str) -> Iterator[None]:
    """A disk in memory; a skip where the test may not mount one."""
    folder.mkdir()
    answer = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], capture_output=True, text=True
    )
    if answer.returncode:
        pytest.skip(f"may not mount a disk in memory here ({answer.stderr.strip()})")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.skipif(shutil.which("mount") is None, reason="there is no mount here")
def test_a_disk_that_is_really_full_keeps_what_is_finished(tmp_path: Path):
    with mounted(tmp_path / "disk", "size=2m"):
        known = random_sets.manifest(shape=(3, 250, 250))  # 0.75 MB a shard: the third does not fit
        made = AdversarialSet.create(tmp_path / "disk" / "set", known)
        random_sets.write(made, [0, 1])
        (tmp_path / "disk" / "ballast").write_bytes(bytes(300_000))
        with pytest.raises(OSError, match=r"no space left in .*: 2 of 3 shards are finished and kept; free about 1 MB"):
            random_sets.write(made, [2])
        assert (made.missing(deep=True), made.faults()) == ([2], [])
        assert list((made.folder / "shards").glob(".*")) == []
        (tmp_path / "disk" / "ballast").unlink()
        whole = random_sets.finished(tmp_path, shape=(3, 250, 250))
        assert random_sets.write(made, [2]).seal() == whole.seal()


@contextmanager
def reader(made: AdversarialSet) -> Iterator[Path]:
    """A copy of a set in a folder that this process may read and not write, also where the suite runs as root."""
    root = os.geteuid() == 0
    folder = Path(tempfile.mkdtemp(dir="/tmp" if root else None))  # the suite's own folder may be closed to others
    shutil.copytree(made.folder, folder / "set")
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    if root:
        os.seteuid(65534)
    try:
        yield folder
    finally:
        if root:
            os.seteuid(0)
        for path in (folder, folder / "set", folder / "set" / "shards"):
            path.chmod(0o755)
        shutil.rmtree(folder)


def test_a_folder_that_may_not_be_written_is_told(made: AdversarialSet):
    with (
        reader(made) as folder,
        pytest.raises(
            PermissionError, match=r"may not be written .*; name another folder with --out, or get the right"
        ),
    ):
        AdversarialSet.create(folder / "other", random_sets.manifest())


def test_a_set_that_may_not_be_written_is_kept_and_can_be_read(made: AdversarialSet):
    with reader(made) as folder:
        found = AdversarialSet.open(folder / "set")
        with pytest.raises(PermissionError, match="may not be written"):
            random_sets.write(found, [0])
        assert found.missing(deep=True) == []
