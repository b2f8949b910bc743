"""ART's own checks hold for our attack, on every road through the adapter, for our detector and for our trainers.

ART's tests are not in its wheel. They are taken from its source distribution on the package registry, whose digest is
pinned here, and run in a process of their own: their package is called `tests`, as ours is, and importing ART writes
to the home folder. Offline, the tests skip and say so.
"""

import hashlib
import os
import subprocess
import sys
import tarfile
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from art_table import CASES, CHECKS, DETECTOR_CHECKS, DETECTORS, LABEL_FORMATS, TRAINER_CHECKS, TRAINERS

HERE = Path(__file__).parent
RELEASE = "adversarial-robustness-toolbox==1.20.1"
ARCHIVE = "adversarial_robustness_toolbox-1.20.1.tar.gz"
SHA256 = "5bfd751a1b1a1a2a669d961f7df0de7a9e3d95e5695e7a75ee6748cd5a339203"
SECONDS = 1200  # for the whole run, which takes half a minute of computing; whichever test comes first waits for it

pytestmark = pytest.mark.timeout(SECONDS)


@pytest.fixture(scope="session")
def source(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with ART's `tests` package, downloaded once and kept in pytest's cache."""
    pytest.importorskip("art", reason="needs ART: pip install 'interp-plugins[art]'")
    archive = request.config.cache.mkdir("art-source") / ARCHIVE
    if not archive.is_file():
        download(archive.parent)
    assert hashlib.sha256(archive.read_bytes()).hexdigest() == SHA256, f"{archive} is not the pinned {RELEASE}"
    folder = tmp_path_factory.mktemp("art-source")
    with tarfile.open(archive) as tar:
        tar.extractall(folder, (m for m in tar if m.name.partition("/")[2].startswith("tests")), filter="data")
    return folder / ARCHIVE.removesuffix(".tar.gz")


def download(folder: Path) -> None:
    """The pinned source distribution, by pip; without a way to the registry the caller's test skips."""
    requirement = folder / "requirement.txt"
    requirement.write_text(f"{RELEASE} --hash=sha256:{SHA256}\n")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:"]
    command += ["--no-build-isolation", "--retries", "1", "--timeout", "20", "-r", str(requirement), "-d", str(folder)]
    pip = subprocess.run(command, capture_output=True, text=True)
    if pip.returncode and "DO NOT MATCH THE HASHES" not in pip.stderr:
        said = (pip.stderr.strip().splitlines() or ["nothing"])[-1]
        pytest.skip(f"ART's tests need {RELEASE} from the package registry; pip said: {said}")
    assert pip.returncode == 0, pip.stderr


@pytest.fixture(scope="session")
def verdicts(source: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What became of each check: its name, and "" where it passed or the reason."""
    work = tmp_path_factory.mktemp("art-run")
    (work / "pytest.ini").write_text("[pytest]\n")
    paths = os.pathsep.join([str(source), str(HERE)])
    environment = os.environ | {"HOME": str(work), "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    runs = {}
    for part in ("art_checks", "art_detector_checks", "art_trainer_checks"):  # at the same time: most of it is training
        command = [sys.executable, "-m", "pytest", str(HERE / f"{part}.py"), f"--junitxml={work / part}.xml", "-q"]
        command += ["--tb=short", "--noconftest", "-c", str(work / "pytest.ini"), "--rootdir", str(work)]
        command += ["-p", "no:cacheprovider"]
        pipe = subprocess.PIPE
        runs[part] = subprocess.Popen(command, cwd=source, env=environment, stdout=pipe, stderr=pipe, text=True)
    found = {}
    for part, run in runs.items():
        printed, said = run.communicate(timeout=SECONDS)
        assert run.returncode in (0, 1), f"ART's checks did not run:\n{printed[-4000:]}\n{said[-4000:]}"
        found |= {
            case.attrib["name"]: reason(case) for case in ElementTree.parse(work / f"{part}.xml").iter("testcase")
        }
    return found


def reason(case: ElementTree.Element) -> str:
    """Why a test did not pass; empty where it did. A skip inside is a failure here: nothing may be left out unseen."""
    return "\n".join(f"{part.tag}: {part.attrib.get('message', '')}\n{part.text or ''}" for part in case)


@pytest.mark.parametrize(("check", "path"), CASES)
def test_the_hosts_check_holds_for_our_attack(verdicts: dict[str, str], check: str, path: str) -> None:
    assert verdicts[f"test_ours[{check}-{path}]"] == ""


@pytest.mark.parametrize(
    ("check", "path"), [pytest.param(*case, id=f"{'-'.join(case)}-{CHECKS[case[0]]}") for case in CASES]
)
def test_the_hosts_check_fails_for_an_attack_that_does_nothing(verdicts: dict[str, str], check: str, path: str) -> None:
    """Except where the table says "contract only": there it passes, and the label is confirmed."""
    assert verdicts[f"test_idle[{check}-{path}]"] == ""


@pytest.mark.parametrize("check", DETECTOR_CHECKS)
@pytest.mark.parametrize("score", DETECTORS)
def test_the_hosts_detector_test_holds_for_ours_and_fails_for_one_that_flags_nothing_or_everything(
    verdicts: dict[str, str], check: str, score: str
) -> None:
    assert verdicts[f"test_{check}[{score}]"] == ""


@pytest.mark.parametrize("label_format", LABEL_FORMATS)
@pytest.mark.parametrize("check", TRAINER_CHECKS)
@pytest.mark.parametrize("kind", TRAINERS)
def test_the_hosts_trainer_tests_hold_for_ours_and_fail_for_one_that_does_not_train(
    verdicts: dict[str, str], kind: str, check: str, label_format: str
) -> None:
    assert verdicts[f"test_trainer[{kind}-{check}-{label_format}]"] == ""
    assert verdicts[f"test_idle_trainer[{kind}-{check}-{label_format}]"] == ""


def test_every_check_ran(verdicts: dict[str, str]) -> None:
    trainer_checks = 2 * len(TRAINERS) * len(TRAINER_CHECKS) * len(LABEL_FORMATS)
    assert len(verdicts) == 2 * len(CASES) + len(DETECTORS) * len(DETECTOR_CHECKS) + trainer_checks
