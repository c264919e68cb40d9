"""The page: nothing from outside becomes markup, and sorting, filters and entries work."""

import json
import os
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from capo_bench.corpus.load import load
from capo_bench.leaderboard import page
from capo_bench.leaderboard.board import build
from capo_bench.metrics.registry import HEADLINE, metric_named
from tests.leaderboard.boards import HOSTILE, small
from tests.test_report import Page

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


@pytest.fixture(scope="module")
def board(tmp_path_factory, cache):
    return build(small(tmp_path_factory.mktemp("boards")))


@pytest.fixture(scope="module")
def text(board):
    return page.html([board], {})


def test_nothing_from_outside_becomes_markup(text):
    found = Page(text)
    assert found.tags["script"] == 2
    assert "alert(1)" not in found.scripts[1]
    assert HOSTILE in found.text
    data = json.loads(found.scripts[0])
    assert data[0]["entries"][1]["name"] == HOSTILE
    assert not [name for _, name, _ in found.attributes if name.startswith("on")]
    links = [value for tag, name, value in found.attributes if (tag, name) == ("a", "href")]
    assert all(re.fullmatch(r"#|#mini-nli/[\w~.-]+|mini-nli/table\.\w+", link) for link in links)


def test_the_page_asks_for_nothing_elsewhere(text):
    found = Page(text)
    assert not {"img", "iframe", "object", "embed"} & set(found.tags)
    assert [v for _, name, v in found.attributes if name == "src"] == []
    assert "url(" not in text
    (policy,) = (v for _, _, v in found.attributes if v.startswith("default-src"))
    assert policy.startswith("default-src 'none';")


def test_the_page_holds_no_text_of_the_corpus(text):
    corpus = load("mini-nli")
    for item in corpus.split("test"):
        assert not [part for part in item.text.values() if part in text]
        for responses in item.cells.values():
            assert not [r for r in responses if len(r.explanation) > 25 and r.explanation in text]


def test_reports_are_linked_where_there_are_any(board):
    links = {("mini-nli", "half"): [("seed 0", "mini-nli/reports/half/0/report.html")]}
    data = json.loads(Page(page.html([board], links)).scripts[0])
    assert data[0]["reports"] == {"half": [["seed 0", "mini-nli/reports/half/0/report.html"]]}


def test_of_systems_that_lie_together_the_map_names_the_best_alone(board):
    first, *others = board.systems
    twin = replace(first, id="twin", card=None)
    human, *controls = (e for e in board.entries if e.kind != "system")
    drawn = page.draw(replace(board, entries=(human, first, twin, *others, *controls)))
    names = re.findall(r"<text[^>]*>([^<]*)</text>", drawn)
    assert others[0].name in names
    assert "twin" not in names


@pytest.mark.parametrize(
    ("parameters", "shown"),
    [(None, ""), (135_000_000, "135M"), (1_700_000_000, "1.7B"), (7, "7"), (10**12, "1T")],
)
def test_size(parameters, shown):
    assert page.size(parameters) == shown


# What a visitor does, appended to the page as a script of its own (the policy is the page's, so that
# the test lifts it); the outcome is left in the title.
_ACTIONS = {
    "as built": "choose('others', '')",
    "by name": "press('name')",
    "by name, again": "press('name'); press('name')",
    "by label": "press('label_accuracy')",
    "by a guard": "press('irrelevance_excess')",
    "sft only": "choose('method', 'sft')",
    "small only": "choose('size', '1e9')",
    "unknown size": "choose('size', 'unknown')",
    "no controls": "choose('others', 'none')",
}
_HELP = """
const rows = () => [...document.querySelectorAll('tr[data-id]')].filter((row) => !row.hidden);
const press = (key) => document.querySelector(`[data-key=${key}]`).click();
const choose = (name, value) => { const s = document.forms[0][name]; s.value = value;
  s.dispatchEvent(new Event('input', { bubbles: true })); };
const sorted = () => [...document.querySelectorAll('th[aria-sort]')].map((th) => [
  th.firstElementChild.dataset.key, th.getAttribute('aria-sort')]).filter((s) => s[1] !== 'none');
const state = () => ({ rows: rows().map((row) => row.dataset.id), sorted: sorted(),
  count: document.querySelector('.count').textContent, address: location.hash });
const undo = () => { choose('method', ''); choose('size', ''); choose('others', 'all');
  press('order'); if (rows()[0].dataset.order !== '0') press('order'); };
const out = {};
"""


def browse(text, tmp_path, script=None, fragment=""):
    """The page as headless Chromium has it, after a script; no message on its console."""
    lifted = re.sub(r"script-src '[^']+'", "script-src 'unsafe-inline'", text)
    path = tmp_path / "index.html"
    shown = lifted.replace("</body>", f"<script>{script}</script></body>") if script else text
    path.write_text(shown, encoding="utf-8")
    flags = "--headless --no-sandbox --disable-gpu --disable-background-networking --no-first-run"
    flags += " --disable-component-update --disable-sync --enable-logging=stderr --dump-dom"
    command = [str(CHROMIUM), *flags.split(), f"--user-data-dir={tmp_path / 'profile'}"]
    done = subprocess.run(
        [*command, f"{path.as_uri()}{fragment}"],
        capture_output=True,
        text=True,
        timeout=240,
        check=True,
        env=os.environ,
    )
    assert "CONSOLE" not in done.stderr
    return done.stdout


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium is installed")
def test_browser_sorts_and_filters(board, text, tmp_path):
    steps = "".join(
        f"{action}; out[{json.dumps(name)}] = state(); undo();" for name, action in _ACTIONS.items()
    )
    script = f"""{_HELP}{steps}
    document.body.append(Object.assign(document.createElement('pre'),
      {{textContent: `OU${{'T'}}${{JSON.stringify(out)}}EN${{'D'}}`}}))"""
    dom = browse(text, tmp_path, script)
    found = json.loads(Page(dom).text.split("OUT")[1].split("END")[0])
    built = [page.address(entry) for entry in board.entries]
    best = board.best_control(metric_named(HEADLINE)).id
    first = [one for one in built if not one.startswith("~") or one in ("~human", f"~{best}")]
    assert found["as built"]["rows"] == first
    assert found["by label"]["address"] == "#?others=all"
    assert found["sft only"]["address"] == "#?method=sft&others=all"
    assert found["as built"]["sorted"] == [["order", "ascending"]]
    assert found["as built"]["count"] == "3 systems."
    names = sorted(built, key=lambda i: {"good": HOSTILE, "half": "=1+1|2"}.get(i, i.strip("~")))
    assert found["by name"]["sorted"] == [["name", "ascending"]]
    assert set(found["by name"]["rows"]) == set(names)
    assert found["by name, again"]["rows"] == found["by name"]["rows"][::-1]
    scores = {page.address(e): e.measurements.scores.estimates for e in board.entries}
    for key, name, sign in (
        ("by label", "label_accuracy", -1),
        ("by a guard", "irrelevance_excess", 1),
    ):
        values = [sign * scores[one][name].value for one in found[key]["rows"]]
        assert values == sorted(values)
    references = [one for one in built if one.startswith("~")]
    assert [one for one in found["sft only"]["rows"] if one not in references] == ["half"]
    assert found["sft only"]["count"] == "1 of 3 systems."
    assert [one for one in found["small only"]["rows"] if one not in references] == ["half"]
    assert [one for one in found["unknown size"]["rows"] if one not in references] == ["off"]
    assert found["no controls"]["rows"] == ["good", "half", "off"]


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium is installed")
def test_an_address_keeps_the_filters(text, tmp_path):
    script = f"""{_HELP}document.body.append(Object.assign(document.createElement('pre'),
      {{textContent: `OU${{'T'}}${{JSON.stringify(state())}}EN${{'D'}}`}}))"""
    dom = browse(text, tmp_path, script, fragment="#?method=sft&others=none&size=nonsense")
    found = json.loads(Page(dom).text.split("OUT")[1].split("END")[0])
    assert found["rows"] == ["half"]


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium is installed")
def test_browser_shows_an_entry_at_its_address(board, text, tmp_path):
    dom = browse(text, tmp_path, fragment="#mini-nli/good")
    found = Page(dom)
    assert found.tags["script"] == 2
    assert {row[0] for row in found.rows["metrics"]} >= {"faithful_rate", "copy_excess"}
    assert "1,700,000,000" in found.text
    # Rounded once: the entry shows what the table shows.
    rows = {row[0]: row[2] for row in found.rows["metrics"] if len(row) > 2}
    for name in ("faithful_rate", "attribution_at_1", "explanation_consistency"):
        value = board.systems[0].measurements.scores.estimates[name].value
        assert rows[name].startswith(f"{value:.3f}")
    assert "verified" in found.text
    assert ("div", "id", "boards") in found.attributes
    hidden = [tag for tag, name, _ in found.attributes if name == "hidden"]
    assert hidden == ["div"]


def test_the_page_is_where_it_was_asked_for(board, tmp_path):
    page.write([board], tmp_path / "index.html")
    assert Path(tmp_path / "index.html").read_text(encoding="utf-8") == page.html([board], {})
