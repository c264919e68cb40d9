"""The report: what it says, that nothing from outside becomes markup, and that it works."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from markdown_it import MarkdownIt

from capo_bench.corpus.load import load
from capo_bench.corpus.model import Annotator, Corpus, Item, Response
from capo_bench.corpus.readers import jsonl
from capo_bench.corpus.tasks import NLI
from capo_bench.metrics import consistency
from capo_bench.metrics.cells import Prediction, join
from capo_bench.prompts.responses import render_target
from capo_bench.render.html import escape_markdown, script_json
from capo_bench.render.map import Point, draw_map, overlap, spread
from capo_bench.report.build import Report, build
from capo_bench.report.page import caught_or_missed, html, markdown
from capo_bench.scoring.controls import control_predictions
from capo_bench.scoring.predictions import write_predictions
from capo_bench.scoring.scorer import NOBODY, Scorer
from capo_bench.stats.resampling import Estimate

ATTACK = "</script><script>alert(1)</script>"
BOB = f"Bob|`{ATTACK}"
NOUNS = "baker ferry tailor nurse duke monk fool carter miller piper".split()
ENDS = "by noon|at dusk|in haste|with care|for once|after all|before lunch|on foot".split("|")
TEST_ITEMS = 5


def hand_corpus() -> Corpus:
    """Two annotators of plainly different habits, one of them with a hostile name."""
    items = []
    for index in range(24):
        noun, other, end = NOUNS[index % 10], NOUNS[(index + 3) % 10], ENDS[index % 8]
        items.append(
            Item(
                id=f"i{index}",
                text={
                    "context": f"The {noun} met the {other} {end}.",
                    "statement": f"The {other} was seen number {index}. {ATTACK}",
                },
                cells={
                    "Ann": (Response("neutral", f"perhaps the {noun} may have left, who knows"),),
                    BOB: (Response("entailment", f'It SAYS "{other}"; thus: true!'),),
                },
                split="test" if index < TEST_ITEMS else "train",
            )
        )
    return Corpus("hand", NLI, (Annotator("Ann"), Annotator(BOB)), tuple(items))


def answers(corpus: Corpus) -> list[Prediction]:
    """Bob's own; of Ann: her own, her words with a wrong label, Bob's answer, and no answer."""
    own = {
        (item.id, a): render_target([item.cells[a][0].label], item.cells[a][0].explanation)
        for item in corpus.split("test")
        for a in corpus.annotator_ids
    }
    own["i1", "Ann"] = own["i1", "Ann"].replace("neutral", "contradiction")
    own["i2", "Ann"] = own["i2", BOB]
    own["i3", "Ann"] = f"I refuse. {ATTACK}"
    return [Prediction(item, annotator, text) for (item, annotator), text in own.items()]


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return hand_corpus()


@pytest.fixture(scope="module")
def scorer(corpus: Corpus) -> Scorer:
    return Scorer(corpus, "test", "minilm")


@pytest.fixture(scope="module")
def report(corpus: Corpus, scorer: Scorer) -> Report:
    with pytest.MonkeyPatch.context() as patch:
        # Four items are enough to show the table of habits.
        patch.setattr(consistency, "MIN_RESPONSES", 2)
        return build(scorer, answers(corpus), f"run {ATTACK}")


class Page(HTMLParser):
    """Tags, text by enclosing element id, scripts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.attributes: list[tuple[str, str, str]] = []
        self.scripts: list[str] = []
        self.rows: dict[str, list[list[str]]] = {}
        self.text = ""
        self._inside: str | None = None
        self._table: str | None = None
        self.feed(text)
        self.rows = {
            name: [[cell.strip() for cell in row] for row in rows]
            for name, rows in self.rows.items()
        }

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        self._inside = tag if tag in {"script", "style"} else None
        if tag == "script":
            self.scripts.append("")
        if tag == "table":
            self._table = dict(attrs)["id"]
            self.rows[self._table or ""] = []
        if self._table and tag == "tr":
            self.rows[self._table].append([])
        if self._table and tag in {"td", "th"}:
            self.rows[self._table][-1].append("")

    def handle_endtag(self, tag: str) -> None:
        self._inside = None
        if tag == "table":
            self._table = None

    def handle_data(self, data: str) -> None:
        if self._inside == "script":
            self.scripts[-1] += data
        elif self._inside is None:
            self.text += data
            if self._table and self.rows[self._table] and self.rows[self._table][-1]:
                self.rows[self._table][-1][-1] += data


@pytest.fixture(scope="module")
def page(report: Report) -> Page:
    return Page(html(report))


def test_verdicts_of_single_responses(report: Report) -> None:
    verdicts = report.verdicts
    # Cells are sorted by item and annotator: Ann, Bob, Ann, Bob, ...
    # Ann's third is in Bob's words, and her fourth a refusal.
    assert verdicts.label_agrees.tolist() == [
        True,
        True,
        False,
        True,
        False,
        True,
        False,
        *3 * [True],
    ]
    assert verdicts.attributed_to.tolist() == [0, 1, 0, 1, 1, 1, NOBODY, 1, 0, 1]
    assert verdicts.rouge_l[:2].tolist() == [1, 1]
    assert verdicts.rouge_l[6] == 0
    assert np.allclose(verdicts.probabilities.sum(axis=1), 1)


def test_verdicts_add_up_to_the_metrics(report: Report, scorer: Scorer, corpus: Corpus) -> None:
    copying = control_predictions(corpus)["random-train"]
    cells = join(corpus, "test", copying)
    for scores, verdicts, targets in (
        (report.scores, report.verdicts, report.cells.annotator),
        (scorer.score(copying), scorer.verdicts(cells), cells.annotator),
    ):
        rates = {
            "label_accuracy": verdicts.label_agrees,
            "attribution_at_1": verdicts.attributed_to == targets,
            "item_relevance": verdicts.relevant,
            "rouge_l": verdicts.rouge_l,
        }
        for name, values in rates.items():
            assert np.mean(values) == pytest.approx(scores.estimates[name].value)
    assert scorer.verdicts(cells).copied.all()  # word for word from training


def test_confusion_matrix_counts_nobody(page: Page) -> None:
    assert page.rows["confusion"] == [
        ["target", "Ann", BOB, "nobody"],
        ["Ann", "3", "1", "1"],
        [BOB, "0", "5", "0"],
    ]


def test_metrics_stand_between_floor_and_ceiling(report: Report, page: Page) -> None:
    rows = {row[0]: row for row in page.rows["metrics"]}
    # 7 of 10 labels agree; the humans' all do, and so do those of whoever repeats their own.
    assert rows["label_accuracy"][1] == "↑"
    assert rows["label_accuracy"][2].startswith("0.700")
    assert rows["label_accuracy"][3] == "1.000wrong-item"
    assert rows["label_accuracy"][4].startswith("1.000")
    guards = {row[0]: row for row in page.rows["guards"]}
    assert guards["invalid_rate"][1].startswith("0.100")
    assert guards["invalid_rate"][2] == "1.000empty"
    for metric in report.metrics:
        assert metric.name in rows | guards


def test_controls_answer_the_items_that_the_run_answers(corpus: Corpus, scorer: Scorer) -> None:
    some = [p for p in answers(corpus) if p.item in {"i0", "i1"}]
    report = build(scorer, some, "two items")
    assert {row.scores.n_responses for row in report.controls} == {4}
    assert report.human is not None
    assert report.human.scores.estimates["label_accuracy"].value == 1


def test_finding(report: Report) -> None:
    best = report.controls[1].name
    leading, other = (Estimate(value, 0.1, value - 0.2, value + 0.2) for value in (0.5, 0.1))

    def with_leads(floor: Estimate, ceiling: Estimate) -> Report:
        leads = {best: floor, "human": ceiling}
        rows = []
        for row in report.references:
            rate = {"faithful_rate": leading if row.name == best else other}
            scores = replace(row.scores, estimates={**row.scores.estimates, **rate})
            rows.append(replace(row, scores=scores, lead=leads.get(row.name, row.lead)))
        ours = {**report.scores.estimates, "faithful_rate": other}
        scores = replace(report.scores, estimates=ours)
        return replace(report, scores=scores, references=tuple(rows))

    above, same, below = (Estimate(v, 0.1, v - 0.2, v + 0.2) for v in (0.3, -0.1, -0.4))
    assert with_leads(above, same).finding.level == "faithful"
    assert with_leads(above, below).finding.level == "partly"
    assert with_leads(same, below).finding.level == "unproven"
    assert with_leads(below, below).finding.level == "unfaithful"
    assert (
        "0.300 (0.100 to 0.500) above the best control" in with_leads(above, below).finding.reason
    )
    assert (
        "0.400 (0.200 to 0.600) below the annotators' own"
        in with_leads(above, below).finding.reason
    )
    assert "0.100 (−0.100 to 0.300) below" in with_leads(same, below).finding.reason


def test_nothing_from_outside_becomes_markup(report: Report, page: Page) -> None:
    assert page.tags["script"] == 2
    assert "alert(1)" not in page.scripts[1]
    assert f"run {ATTACK}" in page.text
    data = json.loads(page.scripts[0])
    assert data["annotators"] == ["Ann", BOB]
    assert data["items"][0]["text"]["statement"].endswith(ATTACK)
    (invalid,) = (row for row in data["responses"] if row["error"])
    assert invalid["raw"] == f"I refuse. {ATTACK}"
    assert not [name for _, name, _ in page.attributes if name.startswith("on")]
    links = [value for tag, name, value in page.attributes if (tag, name) == ("a", "href")]
    assert links
    assert all(re.fullmatch(r"#[\w=&%.~|-]+", link) for link in links)


def test_the_page_asks_for_nothing_elsewhere(report: Report, page: Page) -> None:
    assert not {"img", "iframe", "object", "embed"} & set(page.tags)
    assert [v for _, name, v in page.attributes if name == "src"] == []
    assert {v for tag, name, v in page.attributes if (tag, name) == ("link", "href")} == {"data:,"}
    assert "url(" not in html(report)
    (policy,) = (v for _, _, v in page.attributes if v.startswith("default-src"))
    assert policy.startswith("default-src 'none';")


def test_script_json_is_json_that_cannot_end_the_script() -> None:
    value = {"<!--": [f"{ATTACK}&amp;", None, 0.5]}
    text = script_json(value)
    assert not set("<>&") & set(text)
    assert json.loads(text) == value


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("a|b", r"a\|b"),
        ("`x`", r"\`x\`"),
        ("<b>&", "&lt;b&gt;&amp;"),
        ("two\nlines", "two lines"),
        ("label_kappa", "label_kappa"),
        ("_x_ *y*", r"\_x\_ \*y\*"),
        ("[a](b)", r"\[a\](b)"),
        ("#1 costs $2 or $3", "&#35;1 costs &#36;2 or &#36;3"),
        ("https://a.b www.c.d e@f", "https&#58;//a.b www&#46;c.d e&#64;f"),
    ],
)
def test_escape_markdown(text: str, escaped: str) -> None:
    assert escape_markdown(text) == escaped


def test_markdown_shows_the_same_tables_and_no_html(report: Report) -> None:
    text = markdown(report)
    assert "<" not in text
    shown = Page(
        re.sub("<table>", '<table id="t">', MarkdownIt("commonmark").enable("table").render(text))
    )
    assert not set(shown.tags) - set("h1 h2 p strong table thead tbody tr th td ul li hr".split())
    assert shown.tags["table"] == 4
    assert f"run {ATTACK}" in shown.text
    assert "label_accuracy" in shown.text
    rows = [[cell.strip() for cell in line.split(" | ")] for line in text.splitlines()]
    assert ["| Ann", "3", "1", "1 |"] in rows
    assert text.endswith("\n")


def test_synthetic_corpora_are_labelled(report: Report) -> None:
    def labelled(synthetic: bool) -> tuple[bool, bool]:
        signature = report.scores.signature | {"synthetic": synthetic}
        one = replace(report, scores=replace(report.scores, signature=signature))
        return 'id="synthetic"' in html(one), "(synthetic corpus)" in markdown(one)

    assert labelled(True) == (True, True)
    assert labelled(False) == (False, False)


def test_undefined_is_said_with_its_reason(corpus: Corpus) -> None:
    few = replace(
        corpus,
        annotators=corpus.annotators[:1],
        items=tuple(
            replace(item, cells={"Ann": item.cells["Ann"]})
            for item in corpus.items[: TEST_ITEMS + 2]
        ),
    )
    alone = [p for p in answers(corpus) if p.annotator == "Ann"]
    report = build(Scorer(few, "test", "minilm"), alone, "alone")
    assert report.finding.level == "undefined"
    for text in (Page(html(report)).text, markdown(report)):
        plain = " ".join(text.split())
        assert "attribution_at_1 is not defined, because fewer than two annotators have 15" in plain
        assert "Floor and ceiling are not defined, because there are no control rows" in plain
        assert "They are not defined, because" in plain
        assert "nan" not in plain.split()


@pytest.mark.parametrize(("width", "height"), [(760, 520), (350, 470)])
def test_labels_of_the_map_do_not_overlap(width: float, height: float) -> None:
    # As on real data: three columns of controls, most within a few hundredths of each other.
    spots = [(0.62, 0.09), (0.63, 0.08), (0.67, 0.08), (0.67, 0.24), (0.67, 0.3), (0.62, 0.52)]
    spots += [(0.62, 0.8), (0.67, 0.93), (0.67, 0.95), (0.67, 0.955), (0.67, 1), (0.56, 1), (0, 0)]
    points = [Point("this run", "run", *two(0.7, 0.3)), Point("human", "human", *two(1, 0.75))]
    points += [Point(f"control-row-{n}", "control", *two(x, y)) for n, (x, y) in enumerate(spots)]
    found = draw_map(points, width, height)
    assert [mark.name for mark in found.marks][-1] == "this run"
    boxes = {
        m.name: (m.label[0], m.label[1] - 9, m.label[0] + 6 * len(m.name), m.label[1] + 2)
        for m in found.marks
    }
    assert [pair for pair in combinations(boxes, 2) if overlap(*(boxes[n] for n in pair))] == []
    left, top, right, bottom = found.plot
    assert all(left <= box[0] and box[2] <= right for box in boxes.values())
    assert all(top <= box[1] and box[3] <= bottom for box in boxes.values())


def test_labels_of_a_crowded_map_stay_inside() -> None:
    spots = [(0.76 + n / 300, 0.9 + n / 100) for n in range(10)]
    wide = [Estimate(x, 0.05, x - 0.1, x + 0.1) for x, _ in spots]
    narrow = [Estimate(y, 0.01, y - 0.02, y + 0.02) for _, y in spots]
    both = enumerate(zip(wide, narrow, strict=True))
    points = [Point(f"system number {n}, sampled", "run", x, y) for n, (x, y) in both]
    found = draw_map(points, 760, 520)
    left, top, right, bottom = found.plot
    for mark in found.marks:
        assert mark.label is not None
        x, y = mark.label
        assert left <= x <= right - 6 * len(mark.name)
        assert top + 9 <= y <= bottom


def two(x: float, y: float) -> tuple[Estimate, Estimate]:
    return Estimate(x, 0.02, x - 0.04, x + 0.04), Estimate(y, 0.02, y - 0.04, y + 0.04)


def test_spread_keeps_order_distance_and_range() -> None:
    assert spread([10, 12, 50], 10, 0, 100) == [10, 20, 50]
    assert spread([95, 96, 97], 10, 0, 100) == [80, 90, 100]
    assert spread([3, 1], 5, 0, 100) == [6, 1]


def test_caught_or_missed() -> None:
    assert caught_or_missed(Estimate(0.9, 0.1, 0.6, 1.2)) == "caught"
    assert caught_or_missed(Estimate(0.1, 0.1, -0.2, 0.4)) == "missed"
    assert caught_or_missed(Estimate(0.6, 0.1, 0.4, 0.8)) == "unclear"


def test_command_writes_the_same_bytes_in_another_process(corpus: Corpus, tmp_path: Path) -> None:
    jsonl.write(corpus, tmp_path / "hand.jsonl")
    loaded = load(str(tmp_path / "hand.jsonl"))
    write_predictions(tmp_path / "run.jsonl", loaded, answers(loaded))
    here = build(Scorer(loaded, "test", "minilm"), answers(loaded), "run")
    command = [
        sys.executable,
        "-c",
        "from capo_bench.cli.app import main; main()",
        "report",
        "run.jsonl",
    ]
    done = subprocess.run(
        [*command, *"--output out --corpus hand.jsonl --bertscore minilm".split()],
        cwd=tmp_path,
        env=os.environ | {"PYTHONHASHSEED": "7"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [here.finding.title, "out/report.html", "out/report.md"]
    assert (tmp_path / "out/report.html").read_text(encoding="utf-8") == html(here)
    assert (tmp_path / "out/report.md").read_text(encoding="utf-8") == markdown(here)


CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium is installed")
@pytest.mark.parametrize(
    ("fragment", "cards"),
    [
        ("", 10),
        ("#annotator=Ann", 5),
        ("#annotator=Ann&outcome=nobody", 1),
        ("#outcome=wrong", 3),
        ("#find=duke", 4),
    ],
)
def test_browser_filters_responses_without_console_messages(
    report: Report, tmp_path: Path, fragment: str, cards: int
) -> None:
    path = tmp_path / "report.html"
    path.write_text(html(report), encoding="utf-8")
    done = subprocess.run(
        [
            str(CHROMIUM),
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--no-first-run",
            "--enable-logging=stderr",
            f"--user-data-dir={tmp_path / 'profile'}",
            "--dump-dom",
            f"{path.as_uri()}{fragment}",
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert "CONSOLE" not in done.stderr
    shown = Page(done.stdout)
    assert shown.tags["article"] == cards
    assert f"{cards} of 10 responses" in shown.text
    whose = {value for tag, name, value in shown.attributes if name == "data-annotator"}
    assert whose == ({"Ann"} if "annotator=Ann" in fragment else {"Ann", BOB}) or cards < 4
    assert shown.tags["script"] == 2
