"""Which runs an experiment has: the paper's comparison (`ladder`) and the studies beyond it.

All studies answer the validation split (or, to see what was memorised, the train split), so that the
test split stays for the boards. Unless its text says otherwise every system of a study takes equally
many updates: what differs between its rows is what it varies, not how long they were trained.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from math import ceil
from pathlib import Path
from random import Random

from capo_bench.corpus.load import load
from capo_bench.corpus.model import Corpus, Item
from capo_bench.corpus.synthetic.material import shuffled
from capo_bench.corpus.synthetic.world import WORLDS, World, synthesize
from capo_bench.errors import CapoBenchError
from capo_bench.experiments.runs import Options, Preset, Run, is_file, task_for
from capo_bench.prompts.prompter import Setting

PROMPTED: tuple[Setting, ...] = ("zero-shot", "icl", "profile", "persona")

ABLATIONS: Mapping[str, tuple[str | None, Options]] = {
    "capo-no-sft": (None, {}),
    "capo-softmax": ("sft", {"loss": "softmax"}),
    "capo-beta-0.5": ("sft", {"beta": 0.5}),
    "capo-same-label": ("sft", {"rejected": "same-label"}),
    "capo-other-label": ("sft", {"rejected": "other-label"}),
    "capo-sampled-negative": ("sft", {"rejected_per_target": 1}),
    "capo-no-anchor": ("sft", {"anchor": 0}),
}
"""What CAPO starts from and what differs from the preset's `capo`."""

EQUAL_COMPUTE = "sft-equal-compute"
SAMPLED = "do_sample=true,temperature=0.7"
"""What `gen_kwargs` say beside the preset's where a checkpoint answers by sampling."""


def sampled(system: str) -> str:
    """What a trained system is called where it answers by sampling."""
    return f"{system}-sampled"


_TRAINED: Mapping[str, str] = {
    "sft": "SFT",
    "capo": "CAPO",
    EQUAL_COMPUTE: "SFT, compute of CAPO",
    "capo-no-sft": "CAPO without SFT",
    "capo-softmax": "CAPO, softmax loss",
    "capo-beta-0.5": "CAPO, beta 0.5",
    "capo-same-label": "CAPO, same label rejected",
    "capo-other-label": "CAPO, other labels rejected",
    "capo-sampled-negative": "CAPO, one rejected sampled",
    "capo-no-anchor": "CAPO without anchor",
}

SYSTEMS: Mapping[str, str] = {
    "zero-shot": "Zero-shot",
    "icl": "In-context examples",
    "profile": "Profile",
    "persona": "Persona",
    **_TRAINED,
    **{sampled(system): f"{name}, sampled" for system, name in _TRAINED.items()},
}
"""How tables call the systems of an experiment."""


def ladder(
    corpus: str,
    preset: Preset,
    *,
    ablations: bool = True,
    items: int | None = None,
    world: str | None = None,
) -> tuple[Run, ...]:
    """The paper's runs, then CAPO's ablations, each after the one that it starts from.

    A corpus is prompted in the settings that it has tasks for; a file of one's own not as the
    persons that its annotators are. What is trained answers greedily and, as a system of its own,
    sampled: greedy decoding repeats favourite wordings, by which people tell it from a person.

    Beside CAPO, SFT goes on from the same checkpoint for as long as CAPO takes, and at CAPO's rate:
    what it gains is what more training gains, whatever the objective. At the rate that SFT starts
    with a trained checkpoint gets worse.

    Args:
        corpus: What is asked, by name or file.
        preset: How large the runs are.
        ablations: Whether CAPO's ablations are among them.
        items: On how many training items; all where nothing is said.
        world: The file that is trained on, where it is not the corpus (see `grown`).
    """
    train = {**preset.train, **({"train_items": items} if items else {})}
    sft, capo = {**train, **preset.sft}, {**train, **preset.capo}
    longer = {**train, **_going_on(preset)}
    settings = [one for one in PROMPTED if preset.prompted and task_for(corpus, one)]
    if is_file(corpus) and settings:
        settings.remove("persona")
    found = [Run(setting, "prompted", setting) for setting in settings]
    for seed in preset.seeds:
        found += _and_sampled(
            preset,
            Run("sft", "sft", "tag", seed, None, {**sft, "seed": seed}),
            Run("capo", "capo", "tag", seed, "sft", {**capo, "seed": seed}),
            Run(EQUAL_COMPUTE, "sft", "tag", seed, "sft", {**longer, "seed": seed}),
        )
    for system, (start, changed) in ABLATIONS.items() if ablations else ():
        options = {**capo, **changed, "seed": preset.seeds[0]}
        found += _and_sampled(preset, Run(system, "capo", "tag", preset.seeds[0], start, options))
    if world is None:
        return tuple(found)
    return tuple(
        replace(run, corpus=world, metadata={"corpus": corpus}) if run.train else run
        for run in found
    )


def _going_on(preset: Preset) -> Options:
    """SFT's options where it goes on for CAPO's compute: CAPO's length times its cost, its rate."""
    lengths = {
        name: max(1, round(preset.capo_cost * float(value)))
        for name, value in preset.capo.items()
        if name in ("max_steps", "num_train_epochs")
    }
    rate = {name: value for name, value in preset.capo.items() if name == "learning_rate"}
    own = {name: value for name, value in preset.sft.items() if name != "warmup_steps"}
    return {**own, **lengths, **rate}


@dataclass(frozen=True)
class Size:
    """How large the studies are.

    Attributes:
        history: Numbers of training items, for the learning curve.
        items: Items that are evaluated, the first ones of the split.
        sft: Options of fine-tuning beside the ladder preset's.
        capo: Options of CAPO beside the ladder preset's.
        annotators: Numbers of annotators of the synthetic crowds.
        crowd_items: Items of each crowd.
        crowd_capo: Options of CAPO on a crowd beside those, for an item of a crowd costs several
            times as much.
        distinctness: Dials of the control's worlds, beside the given one.
        dose: Numbers of training items, each trained as long as the ladder's preset says.
        updates: Of SFT on a dose, at least, which is gone through as often as that takes.
        world: Items that controls and crowds are trained on where the corpus is a world that grows;
            those that it has, if not said.
    """

    history: tuple[int, ...]
    items: int
    sft: Options
    capo: Options
    annotators: tuple[int, ...]
    crowd_items: int
    crowd_capo: Options = field(default_factory=dict)
    distinctness: tuple[float, ...] = (0.0,)
    dose: tuple[int, ...] = (30, 100, 300, 1000, 3000)
    updates: int = 0
    world: int | None = None


_ONE_CORE = Size(
    history=(30, 100, 300),
    items=50,
    sft={"max_steps": 40, "eval_strategy": "no"},
    capo={"max_steps": 30},
    annotators=(4, 50),
    crowd_items=250,
    crowd_capo={"max_steps": 15},
    distinctness=(),
    dose=(30, 100, 384, 960),
)

SIZES: Mapping[str, Size] = {
    "smoke": Size((4, 8), 4, {"max_steps": 2}, {"max_steps": 1}, (4, 6), 40, dose=(4, 8)),
    "cpu": _ONE_CORE,
    "cpu-bf16": _ONE_CORE,
    "scratch": replace(
        _ONE_CORE,
        items=72,
        sft={},
        capo={},
        annotators=(2, 4, 16, 50),
        crowd_items=600,
        crowd_capo={},
        distinctness=(0.0, 0.5),
        dose=(100, 400, 1600, 3200),
        updates=1600,
        world=2400,
    ),
    "gpu": Size(
        history=(10, 30, 100, 300),
        items=100,
        sft={"max_steps": 225},
        capo={"max_steps": 75},
        annotators=(4, 16, 50, 200),
        crowd_items=500,
        distinctness=(0.0, 0.25, 0.5, 0.75),
    ),
}
"""By the ladder preset that it goes with."""

RESPONSES_AN_ITEM = 8  # of a crowd's items, on average
FEW, MANY = 15, 30  # training responses: a crowd's annotators with at most, and with at least


@dataclass(frozen=True)
class Row:
    """One row of a study's table.

    Attributes:
        name: As the table shows it.
        run: Whose responses it scores.
        corpus: What they answer: a corpus's name, or a file in the study's folder.
        annotators: Targets that are scored; all where empty.
        curve: Line of the figure that it belongs to.
        x: Its place along the figure.
    """

    name: str
    run: Run
    corpus: str
    annotators: tuple[str, ...] = ()
    curve: str = ""
    x: float | None = None

    @property
    def split(self) -> str:
        """The split that they answer."""
        return str(self.run.metadata["split"])


@dataclass(frozen=True)
class Design:
    """A study.

    Attributes:
        title: What it asks.
        about: What differs between its rows.
        rows: Its rows, in the order of the table.
        x: What the figure's horizontal axis is; empty where it has none.
        before: Runs that are not in the table, but which others start from.
        corpora: By file name, synthetic corpora that belong into the study's folder.
        private: By file name, corpora made of others' data, which stay beside the checkpoints.
    """

    title: str
    about: str
    rows: tuple[Row, ...]
    x: str = ""
    before: tuple[Run, ...] = ()
    corpora: Mapping[str, Corpus] = field(default_factory=dict)
    private: Mapping[str, Corpus] = field(default_factory=dict)

    @property
    def runs(self) -> tuple[Run, ...]:
        """Every run once, each after the one that it starts from."""
        every = (*self.before, *(row.run for row in self.rows))
        return tuple({run.name: run for run in every}.values())


def history(corpus: str, preset: Preset, size: Size, folder: Path, output: Path) -> Design:
    """Learning curves over the number of items that each annotator has answered."""
    untrained = _asked(Run("history-0", "prompted", "zero-shot"), size)
    name = Path(corpus).name
    rows = [Row("Zero-shot, untrained", untrained, name)]
    for items in size.history:
        sft, capo = _pair(f"history-{items}", "tag", preset, size, {"train_items": items})
        rows.append(Row(f"SFT, {items} items", sft, name, curve="SFT", x=items))
        rows.append(Row(f"CAPO, {items} items", capo, name, curve="CAPO", x=items))
    length = "number of updates" if "max_steps" in size.sft else "number of epochs"
    return Design(
        "How much history does it take?",
        f"The same {length} on responses to fewer or more training items; fewer are among more.",
        tuple(rows),
        "training items",
        corpora=_own(corpus),
    )


def overfitting(corpus: str, preset: Preset, size: Size, folder: Path, output: Path) -> Design:
    """The ladder's first seed, asked for items that it was trained on and for items that are new."""
    trained = _of_first_seed(corpus, preset, "sft", "capo")
    rows = []
    for run in trained:
        for split in ("train", "validation"):
            name = f"overfitting-{run.system}-{split}"
            again = replace(run, system=name, start=run.system, train={})
            asked = _asked(again, size, split)
            rows.append(Row(f"{run.system.upper()}, {split} items", asked, Path(corpus).name))
    return Design(
        "Learned or memorised?",
        "The ladder's SFT and CAPO checkpoints, seed 0, on training items and on new ones.",
        tuple(rows),
        before=trained,
        corpora=_own(corpus),
    )


def held_out(corpus: str, preset: Preset, size: Size, folder: Path, output: Path) -> Design:
    """An annotator whose responses train nothing, met only through a profile of them."""
    whole = load(corpus)
    held = whole.annotator_ids[-1]
    seen = whole.annotator_ids[:-1]
    rest = without(whole, held)
    file = f"{rest.name}.jsonl"
    sft, capo = _pair("held-out", "profile", preset, size, {}, corpus=str(output / file))
    untrained = Run("held-out-untrained", "prompted", "profile")
    place = Path(corpus).name
    rows = []
    for name, run in (("Untrained", untrained), ("SFT", sft), ("CAPO", capo)):
        asked = _asked(run, size, corpus=corpus)
        rows.append(Row(f"{name}, annotator {held} (held out)", asked, place, annotators=(held,)))
        others = f"{name}, annotators {', '.join(seen)}"
        rows.append(Row(others, asked, place, annotators=seen))
    return Design(
        "Does it carry over to an annotator that training never met?",
        f"Trained with profile prompts on annotators {', '.join(seen)}; annotator {held} is in no "
        "training response, not even a rejected one, and is known by profile alone.",
        tuple(rows),
        corpora=_own(corpus),
        private={file: rest},
    )


def crowd(corpus: str, preset: Preset, size: Size, folder: Path, output: Path) -> Design:
    """Few annotators and many, who have answered unequally often, on synthetic items."""
    given = load(corpus)
    world = given.name if given.name in WORLDS else f"mini-{given.task.name}"
    corpora: dict[str, Corpus] = {}
    private: dict[str, Corpus] = {}
    rows = []
    for count in size.annotators:
        coverage = unequal_shares(count) if count > RESPONSES_AN_ITEM else (1.0,) * count
        makes = partial(synthesize, world, annotators=count, coverage=coverage)
        made = makes(items=size.crowd_items).corpus
        file = f"crowd-{count}.jsonl"
        corpora[file] = replace(made, name=f"crowd-{count}")
        place = source = str(folder / file)
        if size.world and grows(made):
            private[file] = replace(grown(made, size.world, makes), name=f"crowd-{count}")
            source = str(output / file)
        slower = replace(size, capo={**size.capo, **size.crowd_capo})
        pair = _pair(f"crowd-{count}", "tag", preset, slower, {}, corpus=source)
        sft, capo = (_sampled_from(run, preset, size, corpus=place) for run in pair)
        if preset.prompted:
            base = Run(f"crowd-{count}", "prompted", "zero-shot", corpus=place)
            rows.append(Row(f"Zero-shot, {count} annotators", _asked(base, size), file))
        rows.append(Row(f"SFT, {count} annotators", sft, file, curve="SFT", x=count))
        rows.append(Row(f"CAPO, {count} annotators", capo, file, curve="CAPO", x=count))
        few, many = _by_history(private.get(file, made))
        for what, annotators in ((f"at most {FEW}", few), (f"at least {MANY}", many)):
            if annotators and len(annotators) < count:
                name = f"CAPO, {count} annotators: those with {what} training responses"
                rows.append(Row(name, capo, file, annotators=annotators))
    return Design(
        "Do cost and quality scale with the crowd?",
        "Synthetic crowds on the same items, all of four annotators answering every item, of a "
        f"larger crowd some {RESPONSES_AN_ITEM} an item, unequally often.",
        tuple(rows),
        "annotators",
        corpora=corpora,
        private=private,
    )


def control(corpus: str, preset: Preset, size: Size, folder: Path, output: Path) -> Design:
    """The ladder's SFT, seed 0, beside the same training where there is less to learn, or nothing."""
    given = load(corpus)
    name = Path(corpus).name
    own = _own(corpus)
    grow = size.world if grows(given) else None
    larger = grown(given, grow) if grow else given
    private = {
        "annotators-shuffled.jsonl": annotators_shuffled(larger),
        "labels-shuffled.jsonl": labels_shuffled(larger),
    }
    spoilt = {Path(file).stem.replace("-", " "): file for file in private}
    (first,) = _of_first_seed(corpus, preset, "sft")
    if grow:
        private["world.jsonl"] = larger
        before: tuple[Run, ...] = ()
        true = replace(first, system="control-world", corpus=str(output / "world.jsonl"))
    else:
        before = (first,)
        true = replace(first, system="control-sft", start="sft", train={})

    def asked(run: Run, corpus: str) -> Run:
        return _sampled_from(run, preset, size, corpus=corpus)

    dials = size.distinctness if given.synthetic else ()
    rows = [Row("SFT", asked(true, corpus), name, curve="SFT", x=1.0 if dials else None)]
    for what, file in spoilt.items():
        run = replace(first, system=f"control-{Path(file).stem}", corpus=str(output / file))
        rows.append(Row(f"SFT, {what}", asked(run, corpus), name))
    for dial in dials:
        makes = partial(synthesize, "places", dial)
        file = f"distinctness-{dial:g}.jsonl"
        own[file] = makes(items=len(given.items)).corpus
        source = folder / file
        if grow:
            private[file] = grown(own[file], grow, makes)
            source = output / file
        run = replace(first, system=f"control-{Path(file).stem}", corpus=str(source))
        title = f"SFT, distinctness {dial:g}"
        rows.append(Row(title, asked(run, str(folder / file)), file, curve="SFT", x=dial))
    return Design(
        "Is a faithful model told from one that cannot be?",
        "Shuffled: in training, who gave which of an item's answers, or which of an annotator's "
        "labels goes with which item. All are sampled from."
        + (" At distinctness 0 the annotators of the world are alike." if dials else ""),
        tuple(rows),
        "distinctness" if dials else "",
        before=before,
        corpora=own,
        private=private,
    )


def dose(corpus: str, preset: Preset, size: Size, folder: Path, output: Path) -> Design:
    """SFT, CAPO and SFT of equal compute as the ladder trains them, on more and more items."""
    given = load(corpus)
    name, file = Path(corpus).name, "dose.jsonl"
    rows = []
    for items in size.dose:
        for trained in _of_first_seed(corpus, preset, "sft", "capo", EQUAL_COMPUTE, items=items):
            options = {**trained.train}
            if trained.system == "sft" and size.updates:
                epochs = size.updates * int(options["per_device_train_batch_size"]) / items
                options["num_train_epochs"] = max(options["num_train_epochs"], ceil(epochs))
            run = replace(
                trained,
                system=f"dose-{items}-{trained.system}",
                start=trained.start and f"dose-{items}-{trained.start}",
                train=options,
                corpus=str(output / file),
            )
            curve = SYSTEMS[trained.system]
            asked = _sampled_from(run, preset, size, corpus=corpus)
            rows.append(Row(f"{curve}, {items} items", asked, name, curve=curve, x=items))
    return Design(
        "How much training does a faithful model take?",
        "The ladder's SFT, and CAPO from there beside SFT that goes on for as long, on fewer or "
        "more training items; fewer are among more, and all are sampled from.",
        tuple(rows),
        "training items",
        corpora=_own(corpus),
        private={file: grown(given, max(size.dose))},
    )


DESIGNS: Mapping[str, Callable[[str, Preset, Size, Path, Path], Design]] = {
    "history": history,
    "overfitting": overfitting,
    "held-out": held_out,
    "crowd": crowd,
    "control": control,
    "dose": dose,
}
"""By name; each takes the corpus, the sizes of runs and study, its folder and the checkpoints'."""


def _own(corpus: str) -> dict[str, Corpus]:
    """A corpus file, which goes into the study's folder; what has a name of ours is found by it."""
    return {Path(corpus).name: load(corpus)} if is_file(corpus) else {}


def without(corpus: Corpus, annotator: str) -> Corpus:
    """The corpus as if one annotator had never been asked."""
    items = []
    for item in corpus.items:
        cells = {
            one: tuple(
                replace(
                    response,
                    judgments=tuple(j for j in response.judgments if j.annotator != annotator),
                )
                for response in responses
            )
            for one, responses in item.cells.items()
            if one != annotator
        }
        idk = tuple(one for one in item.idk if one != annotator)
        items.append(replace(item, cells=cells, idk=idk))
    return replace(
        corpus,
        name=f"{corpus.name}-without-{annotator}",
        annotators=tuple(one for one in corpus.annotators if one.id != annotator),
        items=tuple(items),
    )


def grows(corpus: Corpus) -> bool:
    """Whether it is called as the world that has more items of the same kind."""
    return corpus.synthetic and corpus.name == "places"


def grown(corpus: Corpus, items: int, makes: Callable[..., World] | None = None) -> Corpus:
    """The corpus with at least so many training items; what is evaluated stays.

    Args:
        corpus: The corpus.
        items: Training items.
        makes: What made it, given the number of `items`; `synthesize("places")` by default.

    Raises:
        CapoBenchError: If it has fewer and is not the beginning of a world that has more.
    """
    if len(corpus.split("train")) >= items:
        return corpus
    if grows(corpus):
        # 16 of 25 are for training.
        made = makes or partial(synthesize, "places")
        larger = made(items=25 * -(-items // 16)).corpus
        if larger.items[: len(corpus.items)] == corpus.items:
            evaluated = tuple(item for item in corpus.items if item.split != "train")
            return replace(corpus, items=(*larger.split("train"), *evaluated))
    raise CapoBenchError(
        f"corpus {corpus.name} has {len(corpus.split('train'))} training items, {items} are wanted; "
        "only places as `capo-bench data synthesize` makes it by default can grow"
    )


def annotators_shuffled(corpus: Corpus, seed: int = 0) -> Corpus:
    """The corpus with the answers to each training item dealt out to its annotators at random."""

    def dealt(item: Item) -> Item:
        if item.split != "train":
            return item
        answers = shuffled(Random(f"{seed}/{item.id}"), list(item.cells.values()))
        return replace(item, cells=dict(zip(item.cells, answers, strict=True)), idk=())

    return replace(corpus, items=tuple(map(dealt, corpus.items)))


def labels_shuffled(corpus: Corpus, seed: int = 0) -> Corpus:
    """The corpus with each annotator's training labels dealt out to their items at random.

    A cell keeps its first response.
    """
    cells = {item.id: {a: found[:1] for a, found in item.cells.items()} for item in corpus.items}
    for annotator in corpus.annotator_ids:
        own = [item.id for item in corpus.split("train") if item.cells.get(annotator)]
        labels = [cells[item][annotator][0].label for item in own]
        for item, label in zip(own, shuffled(Random(f"{seed}/{annotator}"), labels), strict=True):
            (response,) = cells[item][annotator]
            cells[item][annotator] = (replace(response, label=label, also=()),)
    items = (
        replace(item, cells=cells[item.id]) if item.split == "train" else item
        for item in corpus.items
    )
    return replace(corpus, items=tuple(items))


def asking_only(corpus: Corpus, split: str, annotators: tuple[str, ...]) -> Corpus:
    """The corpus with a split in which nobody but these annotators has answered; training stays."""
    if not annotators:
        return corpus
    items = tuple(
        item
        if item.split != split
        else replace(
            item, cells={one: found for one, found in item.cells.items() if one in annotators}
        )
        for item in corpus.items
    )
    return replace(corpus, items=items)


def unequal_shares(count: int) -> tuple[float, ...]:
    """Shares of the items that a crowd's annotators answer: the r-th most diligent about r ** -.7.

    Scaled to `RESPONSES_AN_ITEM` an item, none above 1.
    """
    raw = [(rank + 1) ** -0.7 for rank in range(count)]
    return tuple(min(1.0, RESPONSES_AN_ITEM * one / sum(raw)) for one in raw)


def _by_history(corpus: Corpus) -> tuple[tuple[str, ...], tuple[str, ...]]:
    counts = {one: len(corpus.responses("train", one)) for one in corpus.annotator_ids}
    few = tuple(one for one, count in counts.items() if count <= FEW)
    return few, tuple(one for one, count in counts.items() if count >= MANY)


def _of_first_seed(
    corpus: str, preset: Preset, *systems: str, items: int | None = None
) -> tuple[Run, ...]:
    """The ladder's runs of some systems, each after the one that it starts from."""
    runs = ladder(corpus, preset, ablations=False, items=items)
    return tuple(run for run in runs if run.system in systems and run.seed == preset.seeds[0])


def _and_sampled(preset: Preset, *trained: Run) -> list[Run]:
    """The runs, then their checkpoints once more, answering by sampling."""
    asked = _sampled(preset)
    again = [
        replace(run, system=sampled(run.system), start=run.system, train={}, evaluate=asked)
        for run in trained
    ]
    return [*trained, *again]


def _sampled(preset: Preset) -> Options:
    """Options of `capo-bench run` for answers by sampling."""
    return {"gen_kwargs": f"{preset.evaluate['gen_kwargs']},{SAMPLED}"}


def _asked(run: Run, size: Size, split: str = "validation", **metadata: str) -> Run:
    """The run, evaluated as studies do."""
    return replace(run, evaluate={"limit": size.items}, metadata={"split": split, **metadata})


def _sampled_from(run: Run, preset: Preset, size: Size, *, corpus: str) -> Run:
    """The run, evaluated as studies do, by sampling, on a corpus that need not be its training's."""
    asked = _asked(run, size, corpus=corpus)
    return replace(asked, evaluate={**_sampled(preset), **asked.evaluate})


def _pair(
    system: str,
    setting: Setting,
    preset: Preset,
    size: Size,
    train: Options,
    corpus: str | None = None,
) -> tuple[Run, Run]:
    """SFT, and CAPO from there."""
    sft = {**preset.train, **preset.sft, **size.sft, **train, "seed": 0}
    capo = {**preset.train, **preset.capo, **size.capo, **train, "seed": 0}
    first = Run(f"{system}-sft", "sft", setting, 0, None, sft, corpus)
    then = Run(f"{system}-capo", "capo", setting, 0, first.system, capo, corpus)
    return _asked(first, size), _asked(then, size)
