"""The numbers of `benchmarks.remedies`, gathered from each command's results.json into one."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from interp_plugins.report.results import Input, Results, Row

MEASURES = (  # what a line is called, the command's folder, and the row in its file
    ("clean", "judge", "{network}/clean/top-1"),
    ("FGSM", "judge", "{network}/fgsm:{epsilon}/top-1"),
    ("PGD-20", "judge", "{network}/pgd:{epsilon}:20/top-1"),
    ("AutoAttack", "autoattack", "{network}/autoattack:{epsilon}/top-1"),
    ("images of the set that say the target", "neurons", "attacked images/says the target"),
    ("LC", "neurons", "lc/all layers"),
    ("LC_adv", "neurons", "consis_adv/all layers"),
    ("LC, corrected", "neurons", "lc corrected/all layers"),
    ("LC_adv, corrected", "neurons", "consis_adv corrected/all layers"),
    ("LC, last convolution", "neurons", "lc/layer3.conv2"),
    ("LC_adv, last convolution", "neurons", "consis_adv/layer3.conv2"),
    ("LC, last convolution, corrected", "neurons", "lc corrected/layer3.conv2"),
    ("LC_adv, last convolution, corrected", "neurons", "consis_adv corrected/layer3.conv2"),
    ("pictures behind a unit's attacked images", "neurons", "pictures/all layers"),
    ("CS1", "neurons", "cs1/all layers"),
    ("CS2", "neurons", "cs2/all layers"),
    ("ceiling of both", "neurons", "ceiling/all layers"),
    ("CS1, last convolution", "neurons", "cs1/layer3.conv2"),
    ("CS2, last convolution", "neurons", "cs2/layer3.conv2"),
    ("r1", "neurons", "r1/all"),
    ("r2", "neurons", "r2/all"),
    ("detectors, clean", "dissect", "ratio/layer3/clean/all"),
    ("detectors, attacked", "dissect", "ratio/layer3/attacked/all"),
    ("95 % of chance, clean", "dissect", "chance/layer3/clean/all"),
    ("different labels, clean", "dissect", "unique/layer3/clean"),
    ("different labels, attacked", "dissect", "unique/layer3/attacked"),
    ("95 % of chance, different labels, clean", "dissect", "chance unique/layer3/clean"),
)


def gathered(out: Path, objectives: Sequence[str], plan: Mapping[str, Any]) -> Results:
    """Gather what is finished in a folder of `benchmarks.remedies`.

    Args:
        out: The folder.
        objectives: Names of the columns.
        plan: The settings, with `seeds` and `epsilon`. Paths among them stay out of the result.

    Returns:
        A row `OBJECTIVE/MEASURE` for everything that at least one seed has: the mean over seeds with the smallest and
        the largest. Rates of equally many images count all seeds' together. The row of a single network stays as it
        is, with the interval that its command gave it.
    """
    names = {f"{objective}_{seed}": objective for objective in objectives for seed in range(plan["seeds"])}
    read = {
        (step, name): Results.read(file)
        for step in dict.fromkeys(step for _, step, _ in MEASURES)
        for name in names
        if (file := out / step / name / "results.json").is_file()
    }
    rows: list[Row] = []
    for words, step, row in MEASURES:
        for objective in objectives:
            runs = [
                results.row(row.format(network=name, epsilon=plan["epsilon"]))
                for (of, name), results in read.items()
                if of == step and names[name] == objective
            ]
            if runs:
                rows.append(pooled(f"{objective}/{words}", runs))
    weights = {
        name: next(each.sha256 for each in results.inputs if each.name.startswith("weights of"))
        for (step, name), results in read.items()
        if step == "judge"
    }
    return Results.model_validate(
        {
            "command": ("benchmarks.remedies",),
            "settings": {name: value for name, value in plan.items() if name not in ("data", "segmentation", "beside")}
            | {"objectives": [*objectives], "sets fool, too": [_network(each) for each in plan["beside"]]},
            "versions": {name: found for results in read.values() for name, found in results.versions.items()},
            "seed": 0,
            "inputs": tuple(Input(name=f"weights of {name}", sha256=digest) for name, digest in weights.items()),
            "rows": tuple(rows),
        }
    )


def pooled(name: str, runs: Sequence[Row]) -> Row:
    """The mean of one measure over networks, of those that have it, with its smallest and largest value."""
    defined = [row for row in runs if row.value is not None]
    values = [row.value for row in defined if row.value is not None]
    if len(values) < 2:
        return (defined or runs)[0].model_copy(update={"name": name})
    counts: dict[str, int] = {}
    if None not in (sizes := {row.denominator for row in defined}) and len(sizes) == 1:
        counts = {part: sum(getattr(row, part) for row in defined) for part in ("numerator", "denominator")}
    value = counts["numerator"] / counts["denominator"] if counts else mean(values)
    method = f"mean of {len(values)} networks, smallest to largest; each: {defined[0].method}"
    low, high = min(value, *values), max(value, *values)
    return Row(name=name, value=value, low=low, high=high, method=method, **counts)


def _network(spec: str) -> str:
    return spec.rpartition("/")[2]
