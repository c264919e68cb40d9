"""The page on the architecture names the rooms of the import contract and places that exist."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "architecture.md").read_text()


def test_the_rooms_of_the_page_are_those_of_the_contract_in_its_order():
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    layers = contracts["contracts"][0]["layers"]
    rooms = re.findall(r"^\| `(\w+)(?:/|\.py)` \|", PAGE, flags=re.M)
    assert rooms == [layer for layer in layers if layer != "__main__"]


def test_everything_lives_where_the_page_says():
    table = PAGE.partition("## Where things live")[2]
    places = re.findall(r"`([\w/]+/[\w.]*)`", table)
    assert len(places) > 20
    for place in places:
        assert (ROOT / "capo_bench" / place).exists() or (ROOT / place).exists(), place
