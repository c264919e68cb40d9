"""Small corpora by hand."""

from capo_bench.corpus.model import Annotator, Corpus, Item, LabelSpace, Response, TaskSpec

TASK = TaskSpec(
    name="toy",
    instruction="Which?",
    fields={"text": "Text"},
    labels=LabelSpace("multilabel", ("yes", "no")),
    group_by=("text",),
)


def corpus(cells: dict[str, dict[str, list[tuple[str, str]]]], **splits: str) -> Corpus:
    """Items by id, each with (label, explanation) pairs by annotator; all in train by default."""
    annotators = sorted({annotator for item in cells.values() for annotator in item})
    return Corpus(
        name="toy",
        task=TASK,
        annotators=tuple(Annotator(annotator) for annotator in annotators),
        items=tuple(
            Item(
                id=identifier,
                text={"text": f"The text of {identifier}."},
                cells={
                    annotator: tuple(Response(label, words) for label, words in pairs)
                    for annotator, pairs in answers.items()
                },
                split=splits.get(identifier, "train"),
            )
            for identifier, answers in cells.items()
        ),
    )


def crossed(items: int, annotators: int) -> Corpus:
    """Every annotator answers every item, in words of their own."""
    return corpus(
        {
            f"i{i}": {
                f"A{a}": [("yes" if (i + a) % 2 else "no", f"because {'very ' * a}{i * 7 + a}")]
                for a in range(annotators)
            }
            for i in range(items)
        }
    )
