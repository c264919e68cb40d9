"""Small corpora in each publisher's format; every sentence was written for these tests."""

import json
from pathlib import Path
from typing import Any

from capo_bench.corpus.model import Annotator, Corpus, Item, LabelSpace, Response, TaskSpec

TASK = TaskSpec(
    name="mood",
    instruction="How does the letter sound?",
    fields={"letter": "Letter", "reply": "Reply"},
    labels=LabelSpace("multilabel", ("warm", "cool")),
    group_by=("letter",),
    explanations="optional",
)


def pair(
    annotator: int, reason: str, verdicts: dict[int, bool | None] | None = None
) -> dict[str, Any]:
    return {
        "annotator": annotator,
        "id": f"1-x-{annotator}",
        "judgments": [{"annotator": a, "makes_sense": ok} for a, ok in (verdicts or {}).items()],
        "label_correction": False,
        "reason": reason,
        "self_corrected": False,
    }


def varierr_row(identifier: str = "7a", **fields: Any) -> dict[str, Any]:
    return {
        "id": identifier,
        "context": "The ferry left before the fog came.",
        "statement": "The ferry left early.",
        "entailment": [],
        "neutral": [],
        "contradiction": [],
        "idk": [],
        **fields,
    }


def write_lines(path: Path, rows: list[Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def nli_record(
    annotators: str, annotations: Any, explanations: list[str], **text: str
) -> dict[str, Any]:
    return {
        "text": {
            "context": "The baker opened at five.",
            "statement": "The shop was open at six.",
            **text,
        },
        "annotators": annotators,
        "annotations": annotations,
        "other_info": {"explanations": explanations},
        "lang": "en",
    }


def par_record(annotators: str, annotations: Any, explanations: list[str]) -> dict[str, Any]:
    return {
        "text": {"Question1": "How do I prune a pear tree?", "Question2": "When are pears ripe?"},
        "annotators": annotators,
        "annotations": annotations,
        "other_info": {"explanations": explanations},
    }


def write_lewidi(folder: Path, prefix: str, **files: Any) -> Path:
    """Writes `{prefix}_{name}.json` for each keyword; metadata with LeWiDi's trailing commas."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{prefix}_annotators_meta.json").write_text(
        '{\n\t"Ann1":{\n\t\t"Age":"30",\n\t\t"Nationality":"here, there,",\n\t},\n'
        '\t"Ann2":{\n\t\t"Age":"40",\n\t},\n}\n',
        encoding="utf-8",
    )
    for name, records in {"train": {}, "dev": {}, **files}.items():
        text = records if isinstance(records, str) else json.dumps(records)
        (folder / f"{prefix}_{name}.json").write_text(text, encoding="utf-8")
    return folder


def corpus_of(letters: list[str], **fields: Any) -> Corpus:
    """One item for each letter, each with a reply of its own; answered by Ida alone."""
    items = tuple(
        Item(
            id=f"i{number}",
            text={"letter": letter, "reply": f"Reply number {number}."},
            cells={"Ida": (Response("warm", "It thanks her."),)},
        )
        for number, letter in enumerate(letters)
    )
    given = {"name": "letters", "task": TASK, "annotators": (Annotator("Ida"),), "items": items}
    return Corpus(**{**given, **fields})
