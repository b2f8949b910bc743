"""Commands of `interp-plugins` as processes of their own, several at a time, over as many sittings as it takes.

What is finished is skipped, and what was begun is called again with the same words: with `--resume` it goes on.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console

from interp_plugins.cli.launching import termination_interrupts

COMMAND = (sys.executable, "-m", "interp_plugins")


@dataclass(frozen=True)
class Job:
    """One command: the folder that it fills, its words, the file by which it is finished, and what it needs first."""

    out: Path
    words: tuple[str, ...]
    done: str = "results.json"
    needs: tuple["Job", ...] = ()

    @property
    def finished(self) -> bool:
        """Whether there is nothing left to do."""
        return (self.out / self.done).is_file()

    @property
    def note(self) -> Path:
        """The file beside the folder that holds the words."""
        return self.out.with_name(f"{self.out.name}.words.json")

    def __str__(self) -> str:
        return f"{self.out.parent.name} {self.out.name}"


def begun_otherwise(job: Job) -> bool:
    """Whether its folder was begun with other words."""
    return job.note.is_file() and json.loads(job.note.read_text(encoding="utf-8")) != list(job.words)


@dataclass
class Worker:
    """Runs jobs in processes with one thread each, and ends them when it is ended itself."""

    console: Console
    running: set["subprocess.Popen[bytes]"] = field(default_factory=set)

    def run_all(self, jobs: Sequence[Job], workers: int) -> list[str]:
        """Run so many at a time, in this order, and return what went wrong.

        Args:
            jobs: What others need stands before them.
            workers: At least 1.

        Raises:
            KeyboardInterrupt: Ctrl-C or SIGTERM; the processes were told to end.
        """
        with ThreadPoolExecutor(workers) as pool, termination_interrupts():
            futures: dict[Job, Future[None]] = {}
            try:
                for job in jobs:  # a thread that waits, waits for an earlier job, so that some thread always works
                    futures[job] = pool.submit(self.run, job, [futures[need] for need in job.needs if need in futures])
                return [str(problem) for future in futures.values() if (problem := future.exception())]
            except KeyboardInterrupt:
                pool.shutdown(wait=False, cancel_futures=True)
                for process in tuple(self.running):
                    process.terminate()
                raise

    def run(self, job: Job, before: Sequence[Future[None]] = ()) -> None:
        """Run one job after those that it needs.

        Raises:
            RuntimeError: It failed, or what it needs is not there; the message says where to look.
        """
        for other in before:
            with suppress(RuntimeError):  # run_all tells of it
                other.result()
        if missing := [str(need) for need in job.needs if not need.finished]:
            raise RuntimeError(f"{job}: needs {', '.join(missing)} first")
        if job.finished:
            return
        job.out.parent.mkdir(parents=True, exist_ok=True)
        job.note.write_text(json.dumps(job.words) + "\n", encoding="utf-8")
        log, began = job.out.with_name(f"{job.out.name}.log"), time.monotonic()
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        with (
            log.open("ab") as stream,
            subprocess.Popen([*COMMAND, *job.words], stdout=stream, stderr=stream, env=environment) as process,
        ):
            self.running.add(process)
            code = process.wait()
            self.running.discard(process)
        if code or not job.finished:
            raise RuntimeError(f"{job}: ended with code {code}; see {log}")
        self.console.print(f"{job}: {time.monotonic() - began:.0f} s")
