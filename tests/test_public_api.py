"""The public names are whole, light, and used in the docs as they work."""

import ast
import contextlib
import io
import re
import subprocess
import sys
from pathlib import Path

import pytest

import capo_bench

ROOT = Path(__file__).parents[1]


def test_every_public_name_is_there_and_no_other():
    tree = ast.parse((ROOT / "capo_bench" / "__init__.py").read_text())
    (typed,) = (node for node in tree.body if isinstance(node, ast.If))
    imported = {alias.name for node in typed.body for alias in node.names}
    assert sorted(imported | {"__version__"}) == capo_bench.__all__
    for name in capo_bench.__all__:
        assert getattr(capo_bench, name) is not None
    assert set(capo_bench.__all__) <= set(dir(capo_bench))


def test_a_name_that_is_not_there_is_no_attribute():
    with pytest.raises(AttributeError, match="no attribute 'scores'"):
        capo_bench.scores  # noqa: B018


def test_the_import_brings_none_of_the_libraries():
    script = (
        "import sys, capo_bench; print(sorted({'numpy', 'pydantic', 'torch'} & {*sys.modules}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"


def test_types_are_shipped():
    assert (ROOT / "capo_bench" / "py.typed").is_file()


def test_the_examples_of_the_docs_print_what_they_say(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "docs" / "python.md").read_text()
    examples = re.findall(r"```python\n(.*?)```\n\n```text\n(.*?)```", text, flags=re.S)
    assert len(examples) == text.count("```python") > 0
    names: dict[str, object] = {}
    for code, expected in examples:
        with contextlib.redirect_stdout(io.StringIO()) as out:
            exec(code, names)
        assert out.getvalue() == expected
