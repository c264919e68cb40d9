"""Stages: commands that leave something behind, run one after the other, none of them twice."""

from __future__ import annotations

import ctypes
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NotRequired

from pydantic import TypeAdapter
from rich.console import Console
from typing_extensions import TypedDict

from capo_bench.errors import CapoBenchError
from capo_bench.files import read_json, validated, write_text

RECORD = "stages.json"
"""In the folder of each run: by kind of stage the command, how long it took, if it has finished."""


class _Ran(TypedDict):
    command: list[str]
    seconds: float
    finished: NotRequired[bool]  # older records are of finished stages alone
    started: NotRequired[list[list[str]]]  # older records do not say from what


_record: TypeAdapter[dict[str, _Ran]] = TypeAdapter(dict[str, _Ran])


def execute(command: Sequence[str]) -> int:
    """Runs a command as a process that writes to this one's terminal; its exit status.

    On Linux it ends when this process does, however that ends; elsewhere, when it is interrupted.
    """
    # Nothing runs between fork and exec but two calls of the system.
    return subprocess.run(command, check=False, preexec_fn=_ending_with(os.getpid())).returncode


def _ending_with(parent: int) -> Callable[[], None] | None:
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None).prctl

    def ask() -> None:
        pr_set_pdeathsig = 1  # linux/prctl.h
        prctl(pr_set_pdeathsig, signal.SIGTERM)
        if os.getppid() != parent:  # it was gone before it was asked
            os._exit(1)

    return ask


@dataclass(frozen=True)
class Stage:
    """One process.

    Attributes:
        folder: Where its results and their record lie; stages of one run share it.
        kind: What it does, such as `train`; no two stages of a folder do the same.
        alike: Stages of which this says the same take about as long.
        command: What is run.
        makes: Pattern, below the folder, of what is there once it has run.
        going_on: Added to the command, so that it goes on where a killed one stopped.
        start: The stage that makes the checkpoint which it goes on from or asks, if one does. Its
            result stands only as long as that is made as it was.
    """

    folder: Path
    kind: str
    alike: str
    command: tuple[str, ...]
    makes: str
    going_on: tuple[str, ...] = ()
    start: Stage | None = None

    @property
    def name(self) -> str:
        """As it is called on the terminal."""
        return f"{self.kind} {self.folder.name}"

    def done(self) -> bool:
        """Whether its result stands.

        Raises:
            CapoBenchError: If another command made it, or what it starts from.
        """
        known = self._finished()
        if known is None or not self._stands():
            return False
        if not self._is_of(known):
            raise CapoBenchError(
                f"{self.kind} ran with other settings than these, or from a checkpoint that did; "
                "choose another --output, or delete the folder",
                file=self.folder / RECORD,
            )
        return True

    def seconds(self) -> float | None:
        """How long it took, interrupted attempts included, if it has run."""
        found = self._finished()
        return None if found is None else found["seconds"]

    def run(self, run: Callable[[Sequence[str]], int] = execute) -> None:
        """Runs the command and records it.

        Raises:
            CapoBenchError: If it fails or leaves nothing.
        """
        start, before = time.monotonic(), self._known().get(self.kind)
        earlier = 0.0
        if before and self._is_of(before) and not self._finished():
            earlier = before["seconds"]
        finished = False
        try:
            status = run((*self.command, *self.going_on))
            if status:
                raise CapoBenchError(
                    f"{self.name} stopped with status {status}; its command was "
                    f"{shlex.join(self.command)}; the same call goes on from here"
                )
            if not self._stands():
                raise CapoBenchError(f"{self.name} left no result; see above why")
            finished = True
        finally:  # an interrupted attempt took its time, too
            self._note(earlier + time.monotonic() - start, finished)

    def _note(self, seconds: float, finished: bool) -> None:
        ran: _Ran = {
            "command": list(self.command),
            "seconds": round(seconds, 1),
            "finished": finished,
            "started": self._started(),
        }
        known = {**self._known(), self.kind: ran}
        write_text(self.folder / RECORD, json.dumps(known, indent=1) + "\n")

    def _stands(self) -> bool:
        return next(self.folder.glob(self.makes), None) is not None

    def _finished(self) -> _Ran | None:
        known = self._known().get(self.kind)
        return known if known and known.get("finished", True) else None

    def _is_of(self, ran: _Ran) -> bool:
        started = self._started()
        return ran["command"] == list(self.command) and ran.get("started", started) == started

    def _started(self) -> list[list[str]]:
        """The commands that made what it starts from, the last first."""
        return [] if self.start is None else [list(self.start.command), *self.start._started()]

    def _known(self) -> dict[str, _Ran]:
        file = self.folder / RECORD
        if not file.exists():
            return {}
        return validated(_record, read_json(file), "delete its folder", file=file)


def run_all(
    stages: Sequence[Stage], run: Callable[[Sequence[str]], int] = execute
) -> Iterator[tuple[Stage, float | None]]:
    """Runs what does not stand yet, in order.

    Yields:
        Each stage before it runs, and the seconds that all that is left is expected to take, by the
        mean of the stages that are alike and have run; `None` where there is no such stage.

    Raises:
        CapoBenchError: If a process fails, or a result stands that another command made.
    """
    done = [stage.done() for stage in stages]
    while not all(done):
        at = done.index(False)
        yield stages[at], _left(stages, done)
        stages[at].run(run)
        done[at] = True


def run_shown(stages: Sequence[Stage], console: Console) -> None:
    """Runs what does not stand yet; before each stage a line says which it is and what is left."""
    for stage, seconds in run_all(stages):
        place = stages.index(stage) + 1
        left = f", about {seconds / 60:.0f} min left" if seconds is not None else ""
        console.rule(f"{place} of {len(stages)}: {stage.name}{left}")


def _left(stages: Sequence[Stage], done: Sequence[bool]) -> float | None:
    """Seconds that the stages that have not run are expected to take."""
    taken = [(stage.alike, stage.seconds()) for stage in stages]
    total = 0.0
    for stage, stands in zip(stages, done, strict=True):
        if stands:
            continue
        alike = [seconds for what, seconds in taken if what == stage.alike and seconds is not None]
        if not alike:
            return None
        total += sum(alike) / len(alike)
    return total
