"""Every writer of this package, killed with signal 9 at each change that it makes to files.

Run from the root of the repository, all or those named:

    OMP_NUM_THREADS=1 python -m tests.benchmarks.kills [boards study report ...]

For each writer: the kills, and how many left the old files, the new ones, or complete files of which
some were in their places; any other state, or another outcome of the next run, stops the program.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any

import lm_eval
import yaml
from lm_eval.loggers import EvaluationTracker
from lm_eval.tasks import TaskManager
from matplotlib.figure import Figure

from capo_bench.analysis import stability
from capo_bench.caches import kept, kept_folder
from capo_bench.cli.app import app
from capo_bench.corpus.load import load
from capo_bench.errors import exit_status
from capo_bench.experiments import stages
from capo_bench.experiments import study as study_folder
from capo_bench.harness.paths import tasks_path
from capo_bench.leaderboard import board, contrasts
from capo_bench.leaderboard import verify as verification
from capo_bench.regression import compare as comparing
from capo_bench.regression.baseline import Baseline, BaselineRun, write_baseline
from capo_bench.report import build as report_build
from capo_bench.scoring import cache
from capo_bench.scoring import controls as control_rows
from capo_bench.scoring import per_response as responses
from capo_bench.scoring.options import Options
from capo_bench.scoring.predictions import write_predictions
from capo_bench.train.command import run as train
from tests.kills import Read, Write, campaign
from tests.leaderboard.boards import few_controls, mixed, small, submit
from tests.train import tiny

Scenario = tuple[Write, Write, Read]
"""What makes the old files, what writes the new ones, and what of a file counts."""


SCORED = ("--corpus", "mini-nli", "--bertscore", "minilm")


def called(*arguments: object, status: int = 0) -> None:
    """Runs a command of the command line, in silence unless it fails."""
    said = StringIO()
    with redirect_stdout(StringIO()), redirect_stderr(said):
        try:
            found = exit_status(lambda: app(list(map(str, arguments)), prog_name="capo-bench"))
        except SystemExit as end:
            found = int(end.code or 0)
    if found != status:
        raise AssertionError(f"{arguments}: exit status {found}: {said.getvalue()}")


def once(module: Any, name: str, key: Callable[..., object]) -> None:
    """Has a function that changes no file run once for each key: its children know the result."""
    function, known = getattr(module, name), {}

    def remembering(*arguments: Any, **named: Any) -> Any:
        found = key(*arguments)
        if found not in known:
            known[found] = function(*arguments, **named)
        return known[found]

    setattr(module, name, remembering)


def draw_once() -> None:
    """Has figures drawn once, and then written."""
    draw, known = Figure.savefig, {}

    def savefig(figure: Figure, file: Path, **how: Any) -> None:
        key = file.name, *(axes.get_title() + axes.get_xlabel() for axes in figure.axes)
        if key not in known:
            drawn = BytesIO()
            draw(figure, drawn, **how)
            known[key] = drawn.getvalue()
        file.write_bytes(known[key])

    Figure.savefig = savefig


def predictions(file: Path, seed: int) -> Path:
    """Answers of humans, some of them another one's."""
    write_predictions(file, load("mini-nli"), mixed(0.8, "other-annotator", seed))
    return file


def boards(elsewhere: Path) -> Scenario:
    """Tables, contrasts, maps and the page, before and after a submission."""
    once(board, "build", lambda folder, *_: (folder, len(list(folder.glob("submissions/*")))))
    once(contrasts, "contrasts", lambda one: (one.folder, len(one.systems)))

    def old(root: Path) -> None:
        folder = small(root)
        with (folder / "board.yaml").open("a") as file:
            file.write("contrasts: [[good, half]]\n")
        called("leaderboard", "build", root)
        submit(folder, "late", mixed(0.5, "other-annotator", 9))

    return old, lambda root: called("leaderboard", "build", root), bytes


def study(elsewhere: Path) -> Scenario:
    """Table and figure of a study, before and after its title was changed."""
    once(study_folder, "score", lambda folder, spec, *_: (folder, spec.title))
    draw_once()

    def old(root: Path) -> None:
        row = {"name": "one", "corpus": "mini-nli", "split": "test", "curve": "c", "x": 1.0}
        predictions(root / "predictions" / "p.jsonl", 1)
        spec = {
            "title": "old", "about": "a", "model": "m", "hardware": "h", "bertscore": "minilm",
            "x": "items", "rows": [{**row, "predictions": "p.jsonl"}],
        }  # fmt: skip
        (root / "study.yaml").write_text(yaml.safe_dump(spec))
        called("study", "build", root)
        (root / "study.yaml").write_text(yaml.safe_dump({**spec, "title": "new"}))

    return old, lambda root: called("study", "build", root), bytes


def two(write: Callable[[Path, int], None], read: Read = bytes) -> Scenario:
    """A writer that writes the one thing or the other."""
    return lambda root: write(root, 1), lambda root: write(root, 2), read


def report(elsewhere: Path) -> Scenario:
    """A report of one run in the place of another's."""
    once(report_build, "build", lambda scorer, predictions, name, *_: name)
    files = {n: predictions(elsewhere / f"{n}.jsonl", n) for n in (1, 2)}
    return two(lambda root, n: called("report", files[n], *SCORED, "--force", "--output", root))


def figures(elsewhere: Path) -> Scenario:
    """Figures and JSON of an analysis, of one split and of another."""
    once(stability, "analyse", lambda corpus, split: split)
    draw_once()
    split = {1: "test", 2: "validation"}
    return two(
        lambda root, n: called(
            "analyse", "mini-nli", "--split", split[n], "--force", "--output", root
        )
    )


def controls(elsewhere: Path) -> Scenario:
    """Files of some control rows, of one seed and of another."""
    control_rows.control_predictions = few_controls
    once(control_rows, "control_predictions", lambda corpus, split, seed: seed)
    return two(
        lambda root, n: called("controls", *SCORED, "--force", "--seed", n, "--output", root)
    )


def scores(elsewhere: Path) -> Scenario:
    """What the metrics say of each response."""
    once(cache, "score_repeats", lambda scorer, runs: str(runs))
    once(responses, "per_response", lambda scorer, run: str(run))
    files = {n: predictions(elsewhere / f"{n}.jsonl", n) for n in (1, 2)}

    def write(root: Path, n: int) -> None:
        out = ("--responses", root / "r.jsonl", "--force", *SCORED)
        called("score", files[n], *out)

    return two(write, lambda content: content.replace(b"1.jsonl", b"").replace(b"2.jsonl", b""))


def compared(elsewhere: Path) -> Scenario:
    """The result of a comparison."""
    once(comparing, "compare", lambda base, candidate, *_: str(candidate.runs))
    files = {n: predictions(elsewhere / f"{n}.jsonl", n) for n in (1, 2, 3)}

    def write(root: Path, n: int) -> None:
        out = ("--force", "--output", root / "r.json", "--format", "json", *SCORED)
        called("compare", files[3], files[n], *out, "--max-drop", "label_accuracy=1", status=3)

    return two(write)


def baseline(elsewhere: Path) -> Scenario:
    """The baseline of a gate."""
    lines = load("mini-nli").fingerprint

    def write(root: Path, n: int) -> None:
        runs = [BaselineRun(seed=0, responses={"i": {"A": f"said {n}"}})]
        made = {"task": "t", "fingerprint": lines, "max_drops": {}, "runs": runs}
        write_baseline(root / "b.json", Baseline.model_construct(**made))

    return two(write)


def synthesized(elsewhere: Path) -> Scenario:
    """A synthetic corpus over another."""
    return two(
        lambda root, n: called("data", "synthesize", root / "c.jsonl", "--seed", n, "--force")
    )


def converted(elsewhere: Path) -> Scenario:
    """A corpus in our format over another."""
    names = {1: "mini-nli", 2: "mini-paraphrase"}
    return two(lambda root, n: called("data", "convert", names[n], root / "c.jsonl", "--force"))


def imported(elsewhere: Path) -> Scenario:
    """A table made a corpus, over another."""
    for n in (1, 2):
        rows = [f"t{i},{a},{'xy'[(i + n) % 2]},because {i} {a}" for i in range(20) for a in "AB"]
        text = "\n".join(["text,annotator,label,explanation", *rows])
        (elsewhere / f"{n}.csv").write_text(text)

    def write(root: Path, n: int) -> None:
        called("data", "import", elsewhere / f"{n}.csv", root / "c.jsonl", "--force", "--name", "c")

    return two(write)


def sheets(elsewhere: Path) -> Scenario:
    """Sheets for raters and their key, of one seed and of another."""
    file = predictions(elsewhere / "p.jsonl", 1)

    def write(root: Path, n: int) -> None:
        called(
            "validate-humans",
            "export",
            file,
            "--output",
            root,
            "--rows",
            20,
            "--seed",
            n,
            "--force",
            "--corpus",
            "mini-nli",
        )

    return two(write)


def _results(elsewhere: Path) -> list[str]:
    """A run of lm-eval, and what else its submission needs."""
    tracker = EvaluationTracker(output_path=str(elsewhere))
    manager = TaskManager(include_path=str(tasks_path()), include_defaults=False)
    task = "capo_mini_nli_tag"
    found = lm_eval.simple_evaluate(
        model="dummy", tasks=[task], task_manager=manager, evaluation_tracker=tracker
    )
    samples = found.pop("samples")
    tracker.save_results_aggregated(results=found, samples=samples)
    tracker.save_results_samples(task, samples[task])
    said = {
        "system": "s", "model": "m", "method": "prompted", "training_data": "none", "board": "b",
        "test_items_seen": "false", "uses_test_explanations": "false", "hardware": "h",
        "submitted_by": "t", "licence": "CC0-1.0",
    }  # fmt: skip
    given = [part for key, value in said.items() for part in ("--set", f"{key}={value}")]
    return [str(elsewhere), *given]


def submission(elsewhere: Path) -> Scenario:
    """A submission made of lm-eval's output; once it is there, it is not made again."""
    results = _results(elsewhere)

    def write(root: Path) -> None:
        if not (root / "s").exists():
            called("submit", *results, "--output", root / "s")

    return lambda root: None, write, bytes


def resubmission(elsewhere: Path) -> Scenario:
    """A submission in the place of another, of which a file is over."""
    results = _results(elsewhere)

    def write(root: Path, n: int) -> None:
        more = ("--set", f"notes={n}", "--force")
        called("submit", *results, "--output", root / "s", *more)

    def old(root: Path) -> None:
        write(root, 1)
        (root / "s" / "left.txt").write_text("over")

    return old, lambda root: write(root, 2), bytes


def new_board(elsewhere: Path) -> Scenario:
    """The folder of a new board."""

    def write(root: Path) -> None:
        if not (root / "b" / "board.yaml").exists():
            called("leaderboard", "init", root / "b", "--corpus", "mini-nli", "--title", "t")

    return lambda root: None, write, bytes


def exported(elsewhere: Path) -> Scenario:
    """Records of Every Eval Ever of two submissions."""
    once(verification, "verify", lambda folder, *_: folder)
    folder = small(elsewhere)
    (folder / "submissions" / "good" / "card.yaml").touch()
    names = {1: "good", 2: "half"}
    time.time = lambda: 0.0  # it stands in the record

    def write(root: Path, n: int) -> None:
        where = folder / "submissions" / names[n]
        called(
            "leaderboard",
            "export",
            "every-eval-ever",
            where,
            "--output",
            root / "r.json",
            "--force",
        )

    return two(write)


def stage(elsewhere: Path) -> Scenario:
    """The record of the stages of a ladder."""

    def write(root: Path, n: int) -> None:
        one = stages.Stage(root, f"kind {n}", "a", ("true",), "*")
        time.monotonic = lambda: 0.0  # what it took stands in the record
        (root / "made").touch()
        one.run(lambda command: 0)

    return two(write)


def kept_scores(elsewhere: Path) -> Scenario:
    """The cache of scores."""
    scorer = Options("mini-nli", bertscore="minilm").scorer()
    runs = [mixed(0.8, "other-annotator", 1)]

    def write(root: Path) -> None:
        os.environ["XDG_CACHE_HOME"] = str(root)
        first, again = cache.measured(scorer, runs), cache.measured(scorer, runs)
        assert first[0].scores == again[0].scores
        name = cache.key(scorer, runs)
        assert kept(cache._file(name), name) is not None

    return lambda root: None, write, bytes


def kept_model(elsewhere: Path) -> Scenario:
    """A cached folder, such as a converted model."""

    def fill(folder: Path) -> None:
        for name in ("config.json", "weights"):
            (folder / name).write_bytes(b"new" * 100)

    return lambda root: None, lambda root: kept_folder(root / "m", "key", fill), bytes


class _Model:
    """The folder, corpus and options of a training of some seconds."""

    def __init__(self, elsewhere: Path) -> None:
        self.model = tiny.folder(elsewhere / "tiny")

    def __call__(self, root: Path, *more: str) -> None:
        always = (
            "--model", str(self.model), "--corpus", "mini-nli", "--output", str(root), "--use_cpu",
            "true", "--disable_tqdm", "true", "--eval_strategy", "no", "--train_items", "4",
            "--per_device_train_batch_size", "2", "--learning_rate", "1e-3",
        )  # fmt: skip
        with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
            train(["sft", *always, *more])


def _without_times(content: bytes) -> bytes:
    # The times that it took, and whether it was resumed.
    content = re.sub(rb'"?(train_runtime|\w+_per_second|total_flos)"?: [\d.e+]+', b"", content)
    return re.sub(rb"--resume_from_checkpoint auto|\| resume_from_checkpoint \|.*", b"", content)


def trained(elsewhere: Path) -> Scenario:
    """The result of a training over that of another: weights, tokenizer, state, card."""
    once = _Model(elsewhere)

    def write(root: Path, n: int) -> None:
        once(root, "--max_steps", "1", "--save_strategy", "no", "--seed", str(n))

    return two(write, _without_times)


def checkpoints(elsewhere: Path) -> Scenario:
    """A training with checkpoints, resumed; old ones are removed. Only its result counts."""
    once = _Model(elsewhere)

    def write(root: Path) -> None:
        gone = root / ".gone"  # out of the way at once: half a folder is no checkpoint
        shutil.rmtree(gone, ignore_errors=True)
        resumed = ("--resume_from_checkpoint", "auto")
        steps = ("--save_strategy", "steps", "--save_steps", "1", "--save_total_limit", "1")
        once(root / ".run", *steps, "--max_steps", "3", *resumed)
        shutil.copy(root / ".run" / "model.safetensors", root / "weights.partial")
        (root / "weights.partial").replace(root / "weights")
        (root / ".run").rename(gone)
        shutil.rmtree(gone)

    return lambda root: None, write, bytes


WRITERS: dict[str, Callable[[Path], Scenario]] = {
    "boards": boards, "study": study, "report": report, "figures": figures, "submit": submission,
    "submit --force": resubmission,
    "controls": controls, "baseline": baseline, "compare": compared, "score": scores,
    "data synthesize": synthesized, "data convert": converted, "data import": imported,
    "validate-humans": sheets, "leaderboard init": new_board, "leaderboard export": exported,
    "stages": stage, "cache of scores": kept_scores, "cache of models": kept_model,
    "training, result": trained, "training, checkpoints": checkpoints,
}  # fmt: skip


def main() -> None:
    """Prints one row a writer."""
    board.control_predictions, board.representatives = few_controls, lambda _: {}
    chosen = sys.argv[1:] or list(WRITERS)
    print("| writer | kills | old | new | taking places |", "|---|--:|--:|--:|--:|", sep="\n")
    for name in chosen:
        with tempfile.TemporaryDirectory() as folder:
            base = Path(folder).resolve()
            os.environ["XDG_CACHE_HOME"] = str(base / "cache")
            root, elsewhere = base / "root", base / "elsewhere"
            root.mkdir()
            elsewhere.mkdir()
            old, write, read = WRITERS[name](elsewhere)
            old(root)
            every = 7 if name.endswith("checkpoints") else 1
            found = campaign(root, write, read, every)
        counts = [found[state] for state in ("old", "new", "taking places")]
        print(f"| {name} | {found.total()} | {' | '.join(map(str, counts))} |", flush=True)


if __name__ == "__main__":
    main()
