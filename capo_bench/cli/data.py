"""`capo-bench data`: what a corpus is, conversion to the project's own format, and its checks."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from capo_bench.cli.options import Asked, Force, Json, Named, asking, may_write
from capo_bench.display import json_text, say
from capo_bench.errors import CapoBenchError, listed

if TYPE_CHECKING:
    from capo_bench.corpus.describe import Description
    from capo_bench.corpus.model import Corpus

app = typer.Typer(
    help="Describe, convert and check corpora of label-explanation pairs.", no_args_is_help=True
)

_asking = asking("data", "splits", "valid_only", "min_responses", "min_annotators")


@app.command("describe")
@_asking
def describe_command(corpus: Named, asked: Asked, as_json: Json = False) -> None:
    """Print what a corpus is: counts, labels, missing cells, agreement."""
    from capo_bench.corpus.describe import describe, tables
    from capo_bench.display import console
    from capo_bench.metrics.lexicon import language_remarks

    loaded = asked.load(corpus)
    description = describe(loaded)
    if as_json:
        print(json_text(asdict(description)))
        return
    terminal = console()
    for table in tables(description):
        terminal.print(table)
    for remark in language_remarks(loaded):
        say(f"  note: {remark}")


@app.command()
@_asking
def convert(
    corpus: Named,
    out: Annotated[Path, typer.Argument(help="The .jsonl file to write.")],
    asked: Asked,
    force: Force = False,
) -> None:
    """Write a corpus as a file in the project's own format."""
    from capo_bench.corpus.describe import describe
    from capo_bench.corpus.readers import jsonl

    _check_name(out, force)
    loaded = asked.load(corpus)
    jsonl.write(loaded, out)
    say(f"{out}: wrote {_summary(describe(loaded))}")


@app.command("import")
def import_command(
    table: Annotated[
        str,
        typer.Argument(
            help="A .csv, .tsv, .json, .jsonl or .parquet, a folder of datasets, or OWNER/NAME of "
            "the hub."
        ),
    ],
    out: Annotated[Path, typer.Argument(help="The .jsonl file to write.")],
    annotator: Annotated[str, typer.Option(help="Column of who answered.")] = "",
    label: Annotated[
        str,
        typer.Option(
            help="Column of the label; with a star, the columns of a wide table: 'label_*'."
        ),
    ] = "",
    explanation: Annotated[
        str, typer.Option(help="Column of the explanation, or columns: 'reason_*'.")
    ] = "",
    item: Annotated[str, typer.Option(help="Column that tells items apart.")] = "",
    text: Annotated[
        list[str] | None, typer.Option(help="Column of a text that was labelled; several times.")
    ] = None,
    split: Annotated[str, typer.Option(help="Column of the split.")] = "",
    group_by: Annotated[
        list[str] | None, typer.Option(help="Text whose items stay in one split; several times.")
    ] = None,
    kind: Annotated[
        Literal["nominal", "multilabel", "ordinal", "interval"] | None,
        typer.Option(help="Kind of the labels."),
    ] = None,
    labels: Annotated[
        str, typer.Option(help="All labels, divided by commas, a scale's in its order.")
    ] = "",
    name: Annotated[str, typer.Option(help="Of the corpus; by default the table's.")] = "",
    instruction: Annotated[str, typer.Option(help="What the annotators were asked.")] = "",
    license: Annotated[str, typer.Option(help="Under which the data may be used.")] = "",
    language: Annotated[str, typer.Option(help="Of the texts, such as en.")] = "",
    force: Force = False,
) -> None:
    """Make a corpus of any table; columns that are not named are found by names and contents."""
    from capo_bench.corpus.describe import describe
    from capo_bench.corpus.importing import Role, Wanted, import_table
    from capo_bench.corpus.load import in_splits
    from capo_bench.corpus.readers import jsonl
    from capo_bench.corpus.readers.tables import read_table
    from capo_bench.files import naming
    from capo_bench.metrics.lexicon import language_remarks

    _check_name(out, force)
    columns: dict[Role, str] = {
        "annotator": annotator,
        "label": label,
        "explanation": explanation,
        "item": item,
        "split": split,
    }
    wanted = Wanted(
        columns={role: column for role, column in columns.items() if column},
        texts=tuple(text or ()),
        group_by=tuple(group_by or ()),
        kind=kind,
        labels=tuple(one.strip() for one in labels.split(",")) if labels else (),
        name=name or Path(table.partition(":")[0]).stem,
        instruction=instruction,
        license=license,
        language=language,
    )
    with naming(table):
        corpus, notes = import_table(read_table(table), wanted)
        used = in_splits(corpus)
        _check_answers(used)
    jsonl.write(corpus, out)
    description = describe(used)
    for note in notes:
        say(f"  {note}")
    say(f"{out}: wrote {_summary(description)}")
    for remark in [*_remarks(description), *language_remarks(used)]:
        say(f"  note: {remark}")


@app.command()
def synthesize(
    output: Annotated[Path, typer.Argument(help="The .jsonl file to write.")],
    items: Annotated[int, typer.Option(help="Items, in splits of 64, 12 and 24 per cent.")] = 500,
    annotators: Annotated[
        int, typer.Option(max=10_000, help="Annotators; the first four never change.")
    ] = 4,
    distinctness: Annotated[
        float, typer.Option(help="0 (annotators alike) to 1 (each has habits of their own).")
    ] = 1.0,
    seed: Annotated[int, typer.Option(help="Another one gives other items and responses.")] = 0,
    force: Force = False,
) -> None:
    """Write a synthetic NLI corpus whose test split holds out combinations."""
    from capo_bench.corpus.describe import describe
    from capo_bench.corpus.readers import jsonl
    from capo_bench.corpus.synthetic import world

    _check_name(output, force)
    made = world.synthesize("places", distinctness, seed, items, annotators=annotators)
    jsonl.write(made.corpus, output)
    say(f"{output}: wrote {_summary(describe(made.corpus))}")


@app.command()
def validate(
    file: Annotated[Path, typer.Argument(help="A .jsonl file in the project's own format.")],
    as_json: Json = False,
) -> None:
    """Check a file in the project's own format; stop at its first error, naming the line."""
    from capo_bench.corpus.describe import describe
    from capo_bench.corpus.load import in_splits
    from capo_bench.corpus.readers import jsonl
    from capo_bench.files import naming
    from capo_bench.metrics.lexicon import language_remarks

    corpus = jsonl.read(file)
    used = in_splits(corpus)
    with naming(file):
        _check_answers(used)
    description = describe(used)
    remarks = [*_remarks(description), *language_remarks(corpus)]
    if corpus.items[0].split is None:
        remarks.insert(0, "the items have no split; they are split 60/20/20 % when they are loaded")
    if as_json:
        print(json_text({"valid": True, "remarks": remarks, **asdict(description)}))
        return
    say(f"{file}: valid, {_summary(description)}")
    for remark in remarks:
        say(f"  note: {remark}")


@app.command()
def schema() -> None:
    """Print the JSON Schemas of the project's own format: the header line and the item lines."""
    from capo_bench.corpus.readers import jsonl

    print(json_text(jsonl.json_schema()))


def _check_name(file: Path, force: bool) -> None:
    if file.suffix != ".jsonl":
        raise CapoBenchError(f"{file} does not end in .jsonl, by which a corpus file is known")
    may_write(file, force)


def _check_answers(corpus: Corpus) -> None:
    """Refuses a corpus if what its annotators answered would not be read as it is."""
    from capo_bench.scoring.predictions import human_predictions

    for split in {item.split for item in corpus.items} - {"train", None}:
        human_predictions(corpus, str(split))


def _summary(d: Description) -> str:
    kind = "synthetic corpus" if d.synthetic else "corpus"
    splits = ", ".join(f"{s.items} {name}" for name, s in d.splits.items() if name != "none")
    return (
        f"{kind} {d.name} ({d.task}, {d.label_kind} labels): {d.items} items"
        f"{f' ({splits})' if splits else ''}, {len(d.annotators)} annotators, "
        f"{d.responses} responses; fingerprint {d.fingerprint}"
    )


def _remarks(d: Description) -> list[str]:
    """What a valid file may have unawares."""
    remarks = []
    if d.crossing_groups:
        remarks.append(f"{d.crossing_groups} groups of items with a shared context cross splits")
    silent = [a.id for a in d.annotators if not a.responses]
    if silent:
        remarks.append(f"{len(silent)} annotators without a response: {listed(silent)}")
    wordless = [a.id for a in d.annotators if a.responses and a.mean_words is None]
    if wordless and len(wordless) < len(d.annotators) - len(silent):
        remarks.append(f"{len(wordless)} annotators without an explanation: {listed(wordless)}")
    if d.evaluable and not d.evaluable.annotators:
        remarks.append(
            "nobody who answered the test split has a training response to be known by, so that "
            "nothing can be scored; it takes annotators who answered several items"
        )
    elif d.evaluable and not d.evaluable.whole:
        remarks.append(f"the test split is evaluated {d.evaluable}: the others are not in train")
    return remarks
