"""Results as Markdown tables, and the tables of docs/results kept as their files have them.

    python -m benchmarks.tables docs/results/*.md

A page marks where a table goes: what stands between `<!-- table: a.json -->` and `<!-- end -->` is written anew from
the file beside the page; several files make one table with a column each.
"""

import csv
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from interp_plugins.report.results import Results, Row

ALL, RIGHT = "all images", "right when clean"
SIZES = ("rmse", "linf", "step kept")
WORDS = ("median", "90th percentile", "largest")
SHOWN = 20  # misses that are listed; more are counted
KINDS = "table|missed|survey|detection|dissection|cost|remedies"
PLACE = re.compile(rf"(<!-- ({KINDS}): ([^>]+?) -->\n).*?(<!-- end -->)", re.DOTALL)
SURVEYED = {
    "accuracy, real images": "accuracy/real images",
    "attacked images that say the target": "attacked images/says the target",
    "consis (LC)": "lc/all layers",
    "consis_adv": "consis_adv/all layers",
    "LC, corrected": "lc corrected/all layers",
    "consis_adv, corrected": "consis_adv corrected/all layers",
    "pictures behind a unit's attacked images": "pictures/all layers",
    "CS1": "cs1/all layers",
    "CS2": "cs2/all layers",
    "ceiling of both": "ceiling/all layers",
    "CS1, those that say the target": "cs1_fooled/all layers",
    "CS2, those that say the target": "cs2_fooled/all layers",
    "r1": "r1/all",
    "r2": "r2/all",
    "r1, those that say the target": "r1/says the target",
    "r2, those that say the target": "r2/says the target",
}


def cell(row: Row) -> str:
    """A rate as per cent with its counts and its interval."""
    if row.value is None or row.low is None or row.high is None:
        return "none counted"
    return f"{100 * row.value:.2f} % ({row.numerator}/{row.denominator}), {100 * row.low:.1f} to {100 * row.high:.1f}"


def one(results: Results) -> str:
    """Three tables of one run: rates over both populations, the networks, and the sizes of what the attack did.

    A set that was measured again has no gradients to show.
    """
    networks = [row for row in results.rows if row.name.startswith("accuracy/")]
    norms = {row.name.partition("/")[2]: f"{row.value:.3g}" for row in results.rows if row.name.startswith("gradient")}
    names = [row.name.partition("/")[2] for row in networks]
    sizes = [[_number(results.row(f"{size}/{word}")) for word in WORDS] for size in SIZES]
    return "\n".join(
        [
            _table(
                ["", "all images", "images all members had right"],
                [
                    [_words(name), cell(results.row(f"{name}/{ALL}")), cell(results.row(f"{name}/{RIGHT}"))]
                    for name in _rates(results)
                ],
            ),
            _table(
                ["network", "accuracy on the clean images", *["mean gradient norm"] * bool(norms)],
                [
                    [name, cell(row), *[norms.get(name, "held out")] * bool(norms)]
                    for name, row in zip(names, networks, strict=True)
                ],
            ),
            _table(["", *WORDS], [[size, *values] for size, values in zip(SIZES, sizes, strict=True)]),
        ]
    )


def side_by_side(runs: Mapping[str, Results]) -> str:
    """One table of several runs with the same networks, over all images, a column a run."""
    first, *_ = runs.values()
    numbers = [
        row.name for row in first.rows if row.name.startswith("gradient norm/") or row.name.endswith(f"/{WORDS[0]}")
    ]
    lines = [[_words(name), *(cell(run.row(f"{name}/{ALL}")) for run in runs.values())] for name in _rates(first)]
    lines += [[_words(name), *(_number(run.row(name)) for run in runs.values())] for name in numbers]
    return _table(["", *runs], lines)


def missed(file: Path) -> str:
    """The attacks that missed a member, by the image's id; of many, only how many."""
    with file.open(newline="", encoding="utf-8") as stream:
        found = list(csv.DictReader(stream))
    if not found:
        return "No (image, target, member) was missed.\n"
    if len(found) > SHOWN:
        return f"{len(found)} (image, target, member) were missed; `{file.name}` lists them.\n"
    return _table(["missed image", "target", "member", "it says"], [list(row.values()) for row in found])


def surveys(runs: Sequence[Results]) -> str:
    """What the units of several networks mean, a column a network; consis and CS are means over all layers' units."""
    counts = [
        [
            "real and attacked images",
            *(f"{_count(run, 'real images')} and {_count(run, 'attacked images')}" for run in runs),
        ],
        ["top images of a unit", *(f"{_count(run, 'k')} and {_count(run, 'k attacked')}" for run in runs)],
        ["layer of r1 and r2", *(f"`{run.settings['representation']}`" for run in runs)],
    ]
    lines = [[words, *(_measured(run.row(name)) for run in runs)] for words, name in SURVEYED.items()]
    return _table(["", *(str(run.settings["model"]) for run in runs)], counts + lines)


def detections(runs: Sequence[Results]) -> str:
    """How well two scores tell attacked images, a column for each network and set."""
    columns = [
        (run, str(name))
        for run in runs
        for name in run.settings["sets"]  # type: ignore[union-attr]  # it is a list
    ]
    numbers = dict.fromkeys((row.name.split("/")[0], row.name.split("/")[2]) for row in runs[0].rows)
    lines = [
        [f"{score}: {what}", *(_measured(run.row(f"{score}/{name}/{what}")) for run, name in columns)]
        for score, what in numbers
    ]
    return _table(["", *(f"{run.settings['model']}, set `{name}`" for run, name in columns)], lines)


def dissections(runs: Sequence[Results]) -> str:
    """Which share of a layer's units detects a concept (Xie Table 2), and what chance gives, a line for each kind."""
    categories = [str(name) for name in runs[0].settings["categories"]]  # type: ignore[union-attr]  # it is a list
    lines = []
    for run in runs:
        for layer in run.settings["layers"]:  # type: ignore[union-attr]  # it is a list
            for kind in ("clean", "attacked"):
                place = f"{layer}/{kind}"
                if not any(row.name == f"unique/{place}" for row in run.rows):
                    continue
                for words, ratio, unique in ((kind, "ratio", "unique"), ("95 % of chance", "chance", "chance unique")):
                    shares = [run.row(f"{ratio}/{place}/{name}") for name in (*categories, "all")]
                    lines.append(
                        [_dissection(run), f"`{layer}`", words, *(_counted(row) for row in shares),
                         _number(run.row(f"{unique}/{place}"))]
                    )  # fmt: skip
    return _table(["network", "layer", "images", *categories, "all", "different labels"], lines)


def costs(runs: Sequence[Results]) -> str:
    """What each way to do one thing costs, beside the floor and ours; a line for each way of each run."""
    first = runs[0].settings
    ours = [str(name) for name in first["ours"]]  # type: ignore[union-attr]  # it is a list
    head = ["", str(first["cost"]), f"/ {first['floor']}", *(f"{name} / this" for name in ours)]
    lines = []
    for run in runs:
        ratios = {row.name: row for row in run.rows}
        ways = [row for row in run.rows if " / " not in row.name]
        for way in ways:
            others = [f"{way.name} / {first['floor']}", *(f"{name} / {way.name}" for name in ours)]
            lines.append([way.name, f"{way.value:.3g}", *(_spread(ratios.get(name)) for name in others)])
        lines += [
            [name, f"not run: {problem}", *[""] * (len(head) - 2)]
            for name, problem in run.settings["not run"].items()  # type: ignore[union-attr]  # it is a table
        ]
    return _table(head, lines)


def remedies(runs: Sequence[Results]) -> str:
    """What each objective makes of networks, a column each: means over seeds, with the smallest and the largest."""
    (run,) = runs
    objectives = [str(name) for name in run.settings["objectives"]]  # type: ignore[union-attr]  # it is a list
    rows = {row.name: row for row in run.rows}
    measures = dict.fromkeys(name.partition("/")[2] for name in rows)
    lines = [[words, *(_pooled(rows.get(f"{name}/{words}")) for name in objectives)] for words in measures]
    return _table(["", *objectives], lines)


def label(results: Results) -> str:
    """What a run is called in a table of several: its steps, and whether it was balanced."""
    return f"{results.settings['steps']} steps{', balanced' * bool(results.settings['balance'])}"


def renew(page: Path) -> str:
    """The text of a page with its tables as the files beside it have them."""

    def table(match: re.Match[str]) -> str:
        opening, kind, files, closing = match.groups()
        paths = [page.parent / name for name in files.split()]
        if kind == "missed":
            return f"{opening}{missed(paths[0])}{closing}"
        runs = [Results.read(path) for path in paths]
        if kind in MANY:
            return f"{opening}{MANY[kind](runs)}{closing}"
        shown = one(runs[0]) if len(runs) == 1 else side_by_side({label(run): run for run in runs})
        return f"{opening}{shown}{closing}"

    return PLACE.sub(table, page.read_text(encoding="utf-8"))


def _rates(results: Results) -> list[str]:
    return [row.name.removesuffix(f"/{ALL}") for row in results.rows if row.name.endswith(f"/{ALL}")]


def _words(name: str) -> str:
    return name.replace("/", ": ", 1)


def _measured(row: Row) -> str:
    if row.value is None:
        return "undefined"
    if row.numerator is not None:
        return f"{100 * row.value:.1f} %"
    interval = "" if row.low is None or row.high is None else f", {row.low:.2f} to {row.high:.2f}"
    return f"{row.value:.3f}{interval}"


def _spread(row: Row | None) -> str:
    """A ratio with the smallest and the largest of the rounds."""
    if row is None:
        return ""
    return f"{row.value:.3g}" if row.low == row.high else f"{row.value:.3g} ({row.low:.3g} to {row.high:.3g})"


def _pooled(row: Row | None) -> str:
    """A rate with its counts, or a number; both with what they lie between."""
    if row is None:
        return "not run"
    if row.value is None:
        return "undefined"
    if row.denominator is None:
        between = "" if row.low is None or row.high is None else f", {row.low:.3g} to {row.high:.3g}"
        return f"{row.value:.3g}{between}"
    between = "" if row.low is None or row.high is None else f", {100 * row.low:.1f} to {100 * row.high:.1f}"
    return f"{100 * row.value:.1f} % ({row.numerator:,}/{row.denominator:,}){between}"


def _count(run: Results, name: str) -> str:
    return f"{int(str(run.settings[name])):,}"


def _dissection(run: Results) -> str:
    """The network, and what is not by default."""
    union, threshold = str(run.settings["union"]), str(run.settings["threshold"])
    unusual = [f"union {union}"] * (union != "category") + [f"{threshold} thresholds"] * (threshold != "recompute")
    return ", ".join([str(run.settings["model"]), *unusual])


def _counted(row: Row) -> str:
    return f"{100 * (row.value or 0):.1f} % ({row.numerator})"


def _number(row: Row) -> str:
    return "none" if row.value is None else f"{row.value:.3g}"


def _table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    shown = [f"| {' | '.join(head)} |", "|---" * len(head) + "|", *(f"| {' | '.join(line)} |" for line in lines)]
    return "\n".join(shown) + "\n"


MANY = {"survey": surveys, "detection": detections, "dissection": dissections, "cost": costs, "remedies": remedies}

if __name__ == "__main__":
    for word in sys.argv[1:]:
        Path(word).write_text(renew(Path(word)), encoding="utf-8")
