"""The benchmarks' arithmetic, and that each runs, small. How fast anything is, no test asserts."""

from pathlib import Path

import numpy as np
import pytest
import torch

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True)
def benchmarks_are_found(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(ROOT)


def test_the_ratio_is_the_median_of_the_rounds_ratios_and_the_warm_up_does_not_count(monkeypatch: pytest.MonkeyPatch):
    from benchmarks import measure

    now = [0.0]
    monkeypatch.setattr(measure, "cpu_seconds", lambda: now[0])

    def job(name: str, *seconds: float):
        left = iter(seconds)

        def work() -> str:
            now[0] += next(left)
            return name

        return work

    timing = measure.interleave({"a": job("A", 99, 2, 6, 4), "b": job("B", 1, 1, 2, 1)}, 3)
    assert timing.seconds == {"a": [2, 6, 4], "b": [1, 2, 1]}
    assert timing.ratio("a", "b") == 3
    assert timing.spread("a", "b") == (2, 4)
    assert timing.results == {"a": "A", "b": "B"}


def test_the_rounds_alternate_between_the_variants():
    from benchmarks.measure import interleave

    seen: list[tuple[int, str]] = []
    interleave({"a": int, "b": int}, 2, watch=lambda number, name: seen.append((number, name)))
    assert seen == [(0, "a"), (0, "b"), (1, "a"), (1, "b"), (2, "a"), (2, "b")]


def test_a_peer_that_fails_is_a_row_that_says_why_and_the_others_run_on():
    from benchmarks.measure import interleave

    timing = interleave({"broken": lambda: 1 / 0, "whole": lambda: 1}, 2)
    assert timing.problems == {"broken": "ZeroDivisionError: division by zero"}
    assert list(timing.seconds) == ["whole"]


def test_the_warm_up_may_be_another_job():
    from benchmarks.measure import interleave

    ran: list[str] = []
    interleave({"a": lambda: ran.append("job")}, 2, warm={"a": lambda: ran.append("warm")})
    assert ran == ["warm", "job", "job"]


def test_the_difference_in_memory_is_in_per_cent_of_the_first():
    from benchmarks.attack_memory import difference

    assert difference(200, 210) == pytest.approx(5)
    assert difference(200, 150) == pytest.approx(-25)


def test_the_mean_loss_of_the_speed_benchmark_is_over_members_and_images():
    from torch import nn

    from benchmarks.attack import Work, reached

    class Says(nn.Module):
        def __init__(self, logits: list[float]) -> None:
            super().__init__()
            self.logits = torch.tensor(logits)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return self.logits.expand(len(images), -1)

    images, targets = torch.zeros(3, 3, 2, 2), torch.tensor([[0], [0], [1]])
    work = Work([Says([0.0, 0.0]), Says([np.log(3.0), 0.0])], {}, images, targets, 2)
    expected = (3 * np.log(2) + 2 * np.log(4 / 3) + np.log(4)) / 6
    assert reached(work, images) == pytest.approx(expected)


def test_pictures_fill_the_unit_range_and_only_the_seed_decides_them():
    from benchmarks.workload import pictures

    assert pictures(2, 16).aminmax() == (0, 1)
    assert torch.equal(pictures(2, 16, 5), pictures(2, 16, 5))
    assert not torch.equal(pictures(2, 16, 5), pictures(2, 16, 6))


def part(**changed: np.ndarray):
    """Two images, two targets, two members; the second image is misread by the second member when clean."""
    from benchmarks.ensembles import Part

    says = np.array([[[1, 1, 1], [2, 0, 0]], [[0, 0, 0], [2, 2, 1]]])
    targets = np.array([[1, 2], [0, 2]])
    whole = {
        "targets": targets,
        "fooled": says[:, :, :2] == targets[:, :, None],
        "clean": np.array([[0, 0, 0], [1, 2, 1]]),
        "says": says,
        "rounded": says * 0 + 1,
        "rmse": np.array([[1.0, 2.0], [3.0, 4.0]], np.float32),
        "linf": np.array([[5.0, 6.0], [7.0, 8.0]], np.float32),
        "steps": np.array([[3, 4], [5, 20]]),
        "norms": np.ones((2, 2, 2), np.float32),
    }
    return Part(**{**whole, **changed})


def test_rates_count_members_sets_and_transfer_over_both_populations():
    from benchmarks.ensembles import rows

    counted = {row.name: (row.numerator, row.denominator) for row in rows(["a", "b", "held"], np.array([0, 1]), part())}
    assert counted["success/a/all images"] == (4, 4)
    assert counted["success/b/all images"] == (3, 4)
    assert counted["success/each member/all images"] == (7, 8)
    assert counted["success/all members at once/all images"] == (3, 4)
    assert counted["success/all members at once/right when clean"] == (1, 2)
    assert counted["transfer/says the target/all images"] == (2, 4)
    assert counted["transfer/does not say the truth/all images"] == (2, 4)
    assert counted["rounded/each member/all images"] == (2, 8)
    assert counted["accuracy/b"] == (1, 2)


def test_every_miss_is_listed_by_the_images_id(tmp_path: Path):
    from benchmarks.ensembles import write_missed
    from benchmarks.tables import missed

    assert write_missed(tmp_path / "x.csv", ["a", "b", "held"], ["first", "second"], part()) == 1
    assert (tmp_path / "x.csv").read_text() == "id,target,member,says\nfirst,2,b,0\n"
    assert "| first | 2 | b | 0 |" in missed(tmp_path / "x.csv")


def test_no_miss_is_said_and_many_are_counted(tmp_path: Path):
    from benchmarks.ensembles import write_missed
    from benchmarks.tables import missed

    file = tmp_path / "x.csv"
    write_missed(file, ["a", "b"], ["0", "1"], part(fooled=np.ones((2, 2, 2), bool)))
    assert missed(file) == "No (image, target, member) was missed.\n"
    file.write_text("id,target,member,says\n" + "0,1,a,2\n" * 21)
    assert missed(file) == "21 (image, target, member) were missed; `x.csv` lists them.\n"


def test_a_table_shows_counts_and_interval():
    from benchmarks.tables import cell
    from interp_plugins.report.results import rate

    assert cell(rate("x", 5, 10)) == "50.00 % (5/10), 23.7 to 76.3"
    assert cell(rate("x", 0, 0)) == "none counted"


@pytest.mark.parametrize("page", sorted((ROOT / "docs" / "results").glob("*.md")), ids=lambda page: page.stem)
def test_the_tables_of_a_page_are_those_of_the_files_beside_it(page: Path):
    from benchmarks.tables import renew

    assert renew(page) == page.read_text(encoding="utf-8")


def test_a_table_that_was_changed_by_hand_is_found_out(tmp_path: Path):
    from benchmarks.tables import renew

    (tmp_path / "x.csv").write_text("id,target,member,says\n0,1,a,2\n")
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- missed: x.csv -->\n| 0 | 1 | a | 3 |\n<!-- end -->\nafter\n")
    assert "| 0 | 1 | a | 2 |\n<!-- end -->\nafter" in renew(page)


@pytest.mark.parametrize("name", ["startup", "attack", "memory", "taxonomy", "exemplars", "survey", "store"])
def test_the_one_command_knows_the_benchmark(name: str, capsys: pytest.CaptureFixture[str]):
    from benchmarks.__main__ import BENCHMARKS, main

    assert name in BENCHMARKS
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    assert name in capsys.readouterr().out


def test_the_one_command_refuses_what_it_does_not_know(capsys: pytest.CaptureFixture[str]):
    from benchmarks.__main__ import BENCHMARKS, main

    with pytest.raises(SystemExit, match="2"):
        main(["atack"])
    assert f"There are {', '.join(BENCHMARKS)}." in capsys.readouterr().out


def test_without_a_word_only_benchmarks_that_need_no_data_run(monkeypatch: pytest.MonkeyPatch):
    from benchmarks import __main__ as command

    ran: list[str] = []
    monkeypatch.setattr(
        command, "BENCHMARKS", {name: lambda _words, name=name: ran.append(name) for name in command.BENCHMARKS}
    )
    command.main([])
    assert "training" in ran
    assert "remedies" not in ran


@pytest.mark.filterwarnings("ignore")  # of the other libraries
def test_the_speed_benchmark_runs_small_and_has_a_row_for_each_variant_that_was_asked_for():
    pytest.importorskip("torchvision")
    from benchmarks.attack import main

    words = (
        "--images 1 --targets 1 --steps 1 --rounds 1 --rows 1 --size 64 --network squeezenet1_1 --only ENS --only loop"
    )
    shown = main(words.split())
    for name in ("interp-plugins fp32", "interp-plugins bf16", "floor", "TransferAttack ENS", "textbook Adam loop"):
        assert f"\n| {name}" in shown
    assert "ART" not in shown


def test_the_taxonomy_benchmark_runs_small_and_says_what_is_equal(monkeypatch: pytest.MonkeyPatch):
    from benchmarks import taxonomy

    monkeypatch.setattr(taxonomy, "synsets", lambda ids, folder: [Synset() for _ in ids])
    shown = taxonomy.main(["--classes", "3", "--rounds", "1"])
    assert shown.count("equal everywhere") == 1  # nltk with itself
    assert shown.count("3 pairs differ") == 3


class Synset:
    """Stands in for nltk's: whatever the two, they are 99 apart."""

    def shortest_path_distance(self, other: "Synset") -> int:
        return 99


def test_the_taxonomy_benchmark_without_wordnet_says_so(monkeypatch: pytest.MonkeyPatch):
    from benchmarks import taxonomy

    def nowhere(ids: tuple[str, ...], folder: Path | None) -> list[object]:
        raise FileNotFoundError("nltk finds no WordNet")

    monkeypatch.setattr(taxonomy, "synsets", nowhere)
    assert "| nltk | not run: FileNotFoundError: nltk finds no WordNet" in taxonomy.main(["--classes", "3"])


@pytest.mark.slow
def test_the_memory_benchmark_runs_small():
    pytest.importorskip("torchvision")
    from benchmarks.attack_memory import main

    words = "--rows 1 --size 64 --largest squeezenet1_1 --network squeezenet1_0 --network squeezenet1_1"
    assert main(words.split()).count(" % of ") == 2


@pytest.mark.real
@pytest.mark.slow
def test_the_study_of_an_ensemble_runs_small_and_its_number_of_processes_does_not_enter(
    data_folder: Path, tmp_path: Path
):
    from benchmarks.ensembles import main

    nets = data_folder / "nets.py"
    words = ["--member", f"{nets}:robust_cnn_adv", "--member", f"{nets}:robust_cnn_mix", "--images", "9"]
    words += ["--heldout", f"{nets}:robust_resnet2b", "--data", str(data_folder / "cifar10"), "--steps", "2"]
    found = [
        main([*words, "--targets", "least-likely:2", "--processes", str(n), "--out", str(tmp_path / f"{n}.json")])
        for n in (1, 2)
    ]
    assert found[0].rows == found[1].rows
    assert found[0].row("success/each member/all images").denominator == 9 * 2 * 2


def test_the_survey_benchmark_divides_the_passes_and_the_end_by_both_floors():
    from benchmarks import survey
    from benchmarks.measure import Timing

    seconds = {name: [2.0, 4.0] for name in survey.FLOORS.values()}
    seconds |= {survey.FIRST: [3.0, 4.0], survey.SECOND: [4.0, 8.0], survey.END: [1.0, 2.0]}
    expected = {survey.FIRST: [1.5, 1], survey.SECOND: [2, 2], "both passes": [1.75, 1.5],
                "both passes and the end": [2, 1.75]}  # fmt: skip
    assert survey.added(Timing(seconds)) == expected


def test_the_survey_benchmark_projects_what_a_forward_pass_took():
    from benchmarks import survey
    from benchmarks.measure import Timing

    timing = Timing({survey.FIRST: [2.0], survey.SECOND: [30.0]})  # 1 s and 3 s a forward pass
    work = survey.Work(images=2, each=4, size=32, rows=1)
    shown = survey.projection(timing, work, [3], real=3600, attacked=7200, cores=4)
    assert "| 3,600 | 1000.0 | 1.00 |" in shown
    assert "| 10,800 | 3000.0 | 9.00 |" in shown
    assert "10.0; on 4 cores 2.50" in shown


def test_the_survey_benchmark_looks_at_each_image_and_each_copy_once():
    pytest.importorskip("torchvision")
    from benchmarks import survey

    run = survey.prepared(survey.Work(images=3, each=2, size=64, rows=1, name="squeezenet1_1"))
    for job in survey.jobs(run).values():
        job()
    assert int(run.first.metrics["exemplars"].count) == 3
    assert int(run.second.metrics["exemplars"].count) == 6
    ratios = run.second.metrics["ratios"].compute()
    assert ratios.targets.tolist() == [1, 38, 1, 38, 2, 39]


@pytest.mark.slow
def test_the_survey_benchmark_runs_small():
    pytest.importorskip("torchvision")
    from benchmarks.survey import main

    words = "--images 2 --each 2 --size 64 --rows 1 --rounds 1 --network squeezenet1_1 --memory-images 8"
    shown = main([*words.split(), "--real", "200", "--attacked", "400"])
    for part in ("| both passes and the end |", "| 64 | 128 |", "| together |"):
        assert part in shown
