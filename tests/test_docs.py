"""What README and docs show is what happens, with the package installed from its wheel.

In a fenced block `console`, a line that begins with `$ ` is a command, which may go on after a
backslash or, as in a shell, behind `> `; the lines below it are its whole standard output, in which
`...` stands for anything. The blocks of a page run one after the other in one empty folder. Those
below a comment `<!-- long -->` take longer than a test should, and run with `make docs-check`.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from capo_bench.cli.app import app

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "tasks" / "README.md"]
BLOCK = re.compile(r"(<!-- long -->\n)?^```console\n(.*?)^```$", flags=re.S | re.M)
FAILED = (2, 70, 126, 127)  # bad input, a fault of the program, not a command


def commands(block):
    """The commands of a block, each with the output that is expected of it."""
    found = []
    for line in block.splitlines():
        going_on = found and found[-1][0].endswith("\\") and not found[-1][1]
        if line.startswith("$ "):
            found.append((line[2:], ""))
        elif going_on:
            found[-1] = (f"{found[-1][0]}\n{line}", "")
        elif line.startswith("> "):
            found[-1] = (f"{found[-1][0]}\n{line[2:]}", "")
        else:
            found[-1] = (found[-1][0], f"{found[-1][1]}{line.rstrip()}\n")
    return found


def agrees(expected, output):
    told = "".join(f"{line.rstrip()}\n" for line in output.splitlines() if line.strip())
    wanted = "".join(f"{line}\n" for line in expected.splitlines() if line.strip())
    pattern = re.escape(wanted).replace(re.escape("...\n"), r"(?:.*\n)?")
    return re.fullmatch(pattern.replace(re.escape("..."), ".*?"), told, flags=re.S) is not None


@pytest.fixture(scope="session")
def installed(tmp_path_factory):
    """Environment variables with which `capo-bench` and `python` are those of the wheel."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    build = ["wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder), str(ROOT)]
    subprocess.run([*pip, *build], check=True)
    (wheel,) = folder.glob("*.whl")
    subprocess.run(
        [*pip, "install", "--no-deps", "--target", str(folder / "site"), str(wheel)], check=True
    )
    paths = [str(folder / "site" / "bin"), str(Path(sys.executable).parent), os.environ["PATH"]]
    return {
        **os.environ,
        "PATH": os.pathsep.join(paths),
        "PYTHONPATH": str(folder / "site"),
        "XDG_CACHE_HOME": str(folder / "cache"),
        "COLUMNS": "100",
    }


def check(page, folder, installed, *, long):
    ran = 0
    for marked, block in BLOCK.findall(page.read_text()):
        if marked and not long:
            continue
        for command, expected in commands(block):
            done = subprocess.run(
                ["bash", "-c", command],
                check=False,
                cwd=folder,
                env=installed,
                capture_output=True,
                text=True,
            )
            said = f"$ {command}\n{done.stdout}{done.stderr}"
            assert done.returncode not in FAILED, said
            assert agrees(expected, done.stdout), f"{said}\nexpected:\n{expected}"
            ran += 1
    return ran


def paged(pages):
    return pytest.mark.parametrize("page", pages, ids=lambda page: page.stem)


@paged([page for page in PAGES if any(not marked for marked, _ in BLOCK.findall(page.read_text()))])
def test_what_a_page_shows_is_what_happens(page, tmp_path, installed):
    assert check(page, tmp_path, installed, long=False)


@pytest.mark.slow
@paged([page for page in PAGES if any(marked for marked, _ in BLOCK.findall(page.read_text()))])
def test_what_a_page_shows_is_what_happens_long_ones_too(page, tmp_path, installed):
    assert check(page, tmp_path, installed, long=True)


def shown_commands(page):
    """The lines of a page's blocks that call `capo-bench`, without comments and redirections."""
    blocks = re.findall(r"^```(?:sh|bash|console)\n(.*?)^```$", page.read_text(), flags=re.S | re.M)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    found = [re.match(r"(?:\$ )?\s*capo-bench ([a-z].*?)(?:\s#.*|\s>.*)?$", line) for line in lines]
    return [match[1].split() for match in found if match]


def the_command(words):
    """The innermost command that the words name."""
    command = typer.main.get_command(app)
    for word in words:
        below = hasattr(command, "get_command") and command.get_command(None, word)
        if not below:
            break
        command = below
    return command


@paged([page for page in PAGES if shown_commands(page)])
def test_every_command_that_a_page_names_has_the_flags_that_it_shows(page):
    for words in shown_commands(page):
        command = the_command(words)
        assert not hasattr(command, "get_command"), words  # a group: no command of it is named
        if command.context_settings.get("ignore_unknown_options"):  # another program's
            continue
        known = {
            name for option in command.params for name in (*option.opts, *option.secondary_opts)
        }
        assert {word.partition("=")[0] for word in words if word.startswith("--")} <= known, words


def test_output_is_compared_with_anything_for_three_points():
    assert agrees("a\n...\nd\n", "a\nb\nc\nd\n")
    assert agrees("a\n...\nb\n", "a\nb\n")
    assert agrees("p ... q\n", "p 0.5 q   \n")
    assert not agrees("a\n...\nd\n", "a\nb\n")
    assert not agrees("a\n", "a\nb\n")


def test_commands_go_on_after_a_backslash_and_behind_an_angle():
    block = "$ a \\\n    --b\nout\n$ cat <<E\n> x\n> E\nx\n"
    assert commands(block) == [("a \\\n    --b", "out\n"), ("cat <<E\nx\nE", "x\n")]


def test_the_readme_stays_short():
    assert (ROOT / "README.md").stat().st_size <= 10_000


def test_the_site_has_no_broken_link(tmp_path):
    build = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    done = subprocess.run(build, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "experiments" / "index.html").is_file()
