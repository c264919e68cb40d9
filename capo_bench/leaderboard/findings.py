"""What verification finds, and how a terminal, a program and GitHub are told.

Submissions are untrusted, and so are the names and ids in messages: whatever a terminal or GitHub
would act on is shown escaped.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from rich.text import Text

from capo_bench.display import visible

Severity = Literal["error", "warning", "note"]

_GITHUB: dict[Severity, str] = {"error": "error", "warning": "warning", "note": "notice"}
_STYLE: dict[Severity, str] = {"error": "bold red", "warning": "yellow", "note": "cyan"}


@dataclass(frozen=True)
class Finding:
    """One thing that verification found.

    Attributes:
        severity: Whether it keeps the submission off the board (`error`), stands beside its row
            (`warning`) or is for the reader (`note`).
        rule: As in `capo_bench.leaderboard.verify`.
        file: The file or folder.
        line: The line from 1, if it is known.
        message: What is wrong and what to do about it.
    """

    severity: Severity
    rule: str
    file: Path
    line: int | None
    message: str


@dataclass(frozen=True)
class Verified:
    """A submission's folder and what was found in it.

    Attributes:
        folder: The folder.
        findings: In the order of the rules; empty if there is nothing to say.
    """

    folder: Path
    findings: tuple[Finding, ...]

    @property
    def errors(self) -> tuple[Finding, ...]:
        """What keeps it off the board."""
        return tuple(found for found in self.findings if found.severity == "error")


def as_json(verified: Sequence[Verified]) -> dict[str, Any]:
    """Plain data."""
    return {
        "accepted": not any(one.errors for one in verified),
        "submissions": [
            {
                "folder": str(one.folder),
                "accepted": not one.errors,
                "findings": [
                    {**asdict(finding), "file": str(finding.file)} for finding in one.findings
                ],
            }
            for one in verified
        ],
    }


def as_text(one: Verified) -> Text:
    """Lines for a terminal: the folder, and its findings below."""
    verdict, style = ("refused", "bold red") if one.errors else ("accepted", "bold green")
    text = Text.assemble(visible(str(one.folder)), ": ", (verdict, style))
    for finding in one.findings:
        line = f", line {finding.line}" if finding.line else ""
        inside = finding.file.is_relative_to(one.folder) and finding.file != one.folder
        name = str(finding.file.relative_to(one.folder) if inside else finding.file.name)
        text.append("\n  ")
        text.append(finding.severity, _STYLE[finding.severity])
        text.append(f" {finding.rule}: {visible(name + line)}: {visible(finding.message)}")
    return text


def as_github(finding: Finding, root: Path) -> str:
    """A workflow command that annotates the file.

    Args:
        finding: The finding.
        root: The repository; the file is named relative to it.
    """
    file = Path(os.path.abspath(finding.file))  # without the `..` that may lead out of it
    name = file.relative_to(root) if file.is_relative_to(root) else file
    where = f"file={_property(name.as_posix())}" + (f",line={finding.line}" if finding.line else "")
    title = f"title={_property(f'capo-bench verify: {finding.rule}')}"
    return f"::{_GITHUB[finding.severity]} {where},{title}::{_data(finding.message)}"


def _data(text: str) -> str:
    return visible(text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A"))


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
