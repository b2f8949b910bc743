"""How long does `interp-plugins --help` take, measured against `import typer`, which it cannot do without?

CPU time (user and system) of whole processes, as the operating system counts it, in rounds that alternate between the
commands; the ratio of each round, and of these the median, so that a busy machine disturbs both sides alike. Aim: 3.

    python benchmarks/startup.py [ROUNDS]
"""

import resource
import subprocess
import sys
from statistics import median

ROUNDS = 15
YARDSTICK = ["-c", "import typer"]
COMMANDS = {
    "--help": ["-m", "interp_plugins", "--help"],
    "--version": ["-m", "interp_plugins", "--version"],
    "plugins": ["-m", "interp_plugins", "plugins"],
}


def cpu_seconds(words: list[str]) -> float:
    """CPU seconds of one fresh interpreter that is given these words."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *words], check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (after.ru_utime - before.ru_utime) + (after.ru_stime - before.ru_stime)


def ratios(rounds: int) -> dict[str, list[float]]:
    """Each command's CPU time divided by the yardstick's in each round; the first one warms up and is left out."""
    measured: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(rounds + 1):
        yardstick = cpu_seconds(YARDSTICK)
        for name, words in COMMANDS.items():
            measured[name].append(cpu_seconds(words) / yardstick)
    return {name: values[1:] for name, values in measured.items()}


def main(words: list[str]) -> None:
    """Print one line for each command: the median of the ratios, and the smallest and largest."""
    rounds = int(words[0]) if words else ROUNDS
    print(f"CPU time divided by that of `python -c 'import typer'`, {rounds} rounds: median (smallest to largest)")
    for name, values in ratios(rounds).items():
        print(f"interp-plugins {name:<10} {median(values):.2f} ({min(values):.2f} to {max(values):.2f})")


if __name__ == "__main__":
    main(sys.argv[1:])
