"""The one gate for files that come in and the one writer of files that go out."""

import errno
import gc
import os
import random
import subprocess
import sys
import time
import tracemalloc
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
import torch

from capo_bench import files
from capo_bench.errors import CapoBenchError
from capo_bench.files import (
    DEPTH,
    locked,
    opened,
    parse_json,
    read_bytes,
    read_json,
    read_json_lines,
    read_text,
    uncollected,
    write_all,
    write_text,
    writing,
    writing_all,
)
from capo_bench.train.checkpoints import check_state

ROOT = Path(__file__).parents[1]


def refusal(call, *arguments, **named):
    with pytest.raises(CapoBenchError) as caught:
        call(*arguments, **named)
    text = str(caught.value)
    assert "\n" not in text
    return text


def test_links_pipes_and_folders_are_refused_and_a_pipe_does_not_hang(tmp_path):
    (tmp_path / "real").write_text("x")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    (tmp_path / "dangling").symlink_to(tmp_path / "nothing")
    os.mkfifo(tmp_path / "pipe")
    for name in ("link", "dangling", "pipe", "."):
        assert "no regular file" in refusal(read_text, tmp_path / name)
    assert "No such file" in refusal(read_text, tmp_path / "missing")
    assert refusal(read_text, tmp_path / "nul\0l")


def test_what_was_opened_is_what_is_read_whatever_takes_its_name_meanwhile(tmp_path):
    file, secret = tmp_path / "card", tmp_path / "secret"
    file.write_text("mine")
    secret.write_text("secret")
    with opened(file) as stream:
        file.unlink()
        file.symlink_to(secret)
        assert stream.read() == b"mine"


def test_a_file_is_read_up_to_its_limit_and_no_further(tmp_path):
    file = tmp_path / "f"
    file.write_bytes(b"12345")
    assert read_bytes(file, 5) == b"12345"
    assert refusal(read_bytes, file, 4) == f"{file}: has 5 bytes, more than the 4 that are read"


def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path):
    (tmp_path / "f").write_bytes(b"\xef\xbb\xbf{}\n{}")
    assert read_text(tmp_path / "f") == "{}\n{}"
    assert list(read_json_lines(tmp_path / "f")) == [(1, {}), (2, {})]


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (b"\x1f\x8b\x08\0", "gzip"),
        (b"PK\x03\x04", "zip"),
        ("[]".encode("utf-16"), "UTF-16"),
        ("[]".encode("utf-16-le"), "null bytes"),
        (b"ok\n\xff", "line 2: is not UTF-8 text (byte 3)"),
    ],
)
def test_what_is_no_utf_8_text_is_called_what_it_is(tmp_path, content, named):
    (tmp_path / "f").write_bytes(content)
    assert named in refusal(read_text, tmp_path / "f")


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ('[{"a": 1}]', "line 1: an array"),
        ('\n [\n{"a": 1}\n]', "line 1: an array"),
        ('{}\n{"a": 1, "a": 2}', "line 2: not valid JSON (the key 'a' occurs twice"),
        ('{}\n{"a": {"b": ["x", "\\ud83d"]}}', r"line 2: not valid JSON (a.b[1]: half of a surro"),
        ('{"\\udc00": 1}', r"half of a surrogate pair, \udc00"),
        ('{"a":' * (DEPTH + 1) + "1" + "}" * (DEPTH + 1), "nested more than"),
        ('{"a":' + "[" * 100_000, "nested more than"),
        ('{"a": ' + "9" * 5000 + "}", "4300"),
    ],
)
def test_a_faulty_line_is_refused_by_its_number_and_field(tmp_path, content, named):
    (tmp_path / "f").write_text(content)
    said = refusal(list, read_json_lines(tmp_path / "f"))
    assert said.startswith(str(tmp_path / "f"))
    assert named in said


def test_a_line_has_so_many_values_at_most(tmp_path):
    (tmp_path / "f").write_text('{}\n{"a": [' + "[]," * 5_000_001 + "[]]}")
    said = refusal(list, read_json_lines(tmp_path / "f"))
    assert "line 2: not valid JSON (more than 10,000,000 values; divide it)" in said


def test_depth_up_to_the_limit_and_whole_surrogate_pairs_are_read(tmp_path):
    assert parse_json("[" * DEPTH + "1" + "]" * DEPTH)
    assert parse_json('"\\ud83d\\ude00"') == "\N{GRINNING FACE}"
    (tmp_path / "f").write_text('{"a": [1,],}')
    assert read_json(tmp_path / "f", trailing_commas=True) == {"a": [1]}


def test_lines_are_read_one_by_one(tmp_path):
    # One character beyond the basic plane makes each of a text's take four bytes.
    (tmp_path / "f").write_bytes('{"a": "\U0001f600"}\n'.encode() + b'{"a": "x"}\n' * 20_000)
    size = (tmp_path / "f").stat().st_size
    tracemalloc.start()
    try:
        assert sum(1 for _ in read_json_lines(tmp_path / "f", size)) == 20_001
        assert tracemalloc.get_traced_memory()[1] < 2 * size
    finally:
        tracemalloc.stop()


def test_a_file_appears_whole_or_not_at_all(tmp_path):
    file = tmp_path / "below" / "f"
    write_text(file, "old")
    with suppress(KeyError), writing(file) as partial:
        partial.write_text("half")
        raise KeyError
    assert file.read_text() == "old"
    assert os.listdir(file.parent) == ["f"]


def test_a_name_that_is_no_text_is_written_as_an_escape(tmp_path):
    name = os.fsdecode(b"b\xff")
    write_text(tmp_path / "f", name)
    write_all(tmp_path, {tmp_path / "g": name})
    assert (tmp_path / "f").read_text() == (tmp_path / "g").read_text() == "b\\udcff"


def test_a_folder_appears_whole_or_not_at_all_and_replaces_none_that_is_in_use(tmp_path):
    with suppress(KeyError), writing(tmp_path / "d", folder=True) as partial:
        (partial / "a").write_text("1")
        raise KeyError
    assert os.listdir(tmp_path) == []
    with writing(tmp_path / "d", folder=True) as partial:
        (partial / "a").write_text("1")
    assert os.listdir(tmp_path / "d") == ["a"]
    with pytest.raises(CapoBenchError), writing(tmp_path / "d", folder=True):
        pass
    assert os.listdir(tmp_path) == ["d"]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_a_full_or_read_only_disk_is_one_line_and_leaves_what_was_there(tmp_path, code):
    write_all(tmp_path, {tmp_path / "a": "old", tmp_path / "b": "old"})

    def full():
        with writing(tmp_path / "a") as partial:
            partial.write_text("new")
            raise OSError(code, os.strerror(code))

    assert refusal(full) == f"{tmp_path / 'a'}: cannot be written: {os.strerror(code)}"
    assert sorted(os.listdir(tmp_path)) == ["a", "b"]
    assert (tmp_path / "a").read_text() == "old"


def test_files_that_belong_together_are_replaced_together(tmp_path, monkeypatch):
    names = [tmp_path / name for name in "abc"]
    write_all(tmp_path, dict.fromkeys(names, "old"))
    write = files.Path.write_bytes

    def fills_up(path, content):
        if path.name == "c":
            raise OSError(errno.ENOSPC, "full")
        return write(path, content)

    monkeypatch.setattr(files.Path, "write_bytes", fills_up)
    assert "full" in refusal(write_all, tmp_path, dict.fromkeys(names, "new"))
    assert {name.read_text() for name in names} == {"old"}
    monkeypatch.undo()
    write_all(tmp_path, dict.fromkeys(names, "new"))
    assert {name.read_text() for name in names} == {"new"}
    assert len(os.listdir(tmp_path)) == 3


def test_of_a_folder_that_is_written_whole_nothing_else_stays(tmp_path):
    for name in ("a", "whole/b", "whole/c", "whole/below/d", "untouched/e"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("old")
    with writing_all(tmp_path, whole=[Path("whole"), Path("untouched")]) as staged:
        write_text(staged / "whole" / "c", "new")
    left = {path.name: path.read_text() for path in tmp_path.rglob("*") if path.is_file()}
    assert left == {"a": "old", "c": "new", "e": "old"}


def child(code, *arguments):
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)], stdout=subprocess.PIPE, text=True
    )


def test_what_a_killed_process_left_half_written_is_swept_away(tmp_path):
    hangs = (
        "import sys, time, pathlib\n"
        "from capo_bench.files import writing\n"
        "with writing(pathlib.Path(sys.argv[1])) as partial:\n"
        "    partial.write_text('half'); print('ready', flush=True); time.sleep(60)\n"
    )
    process = child(hangs, tmp_path / "a")
    process.stdout.readline()
    files._sweep.cache_clear()
    write_text(tmp_path / "b", "1")
    assert len(os.listdir(tmp_path)) == 2  # it lives: its part is left alone
    process.kill()
    process.communicate()
    files._sweep.cache_clear()
    write_text(tmp_path / "c", "1")
    assert sorted(os.listdir(tmp_path)) == ["b", "c"]


HOLDS = (
    "import sys, time, pathlib\n"
    "from capo_bench.files import locked\n"
    "with locked(pathlib.Path(sys.argv[1])):\n"
    "    print('ready', flush=True); time.sleep(60)\n"
)


@pytest.fixture(scope="module")
def busy(tmp_path_factory):
    """A folder that another process writes."""
    folder = tmp_path_factory.mktemp("busy") / "out"
    process = child(HOLDS, folder)
    process.stdout.readline()
    yield folder
    process.kill()
    process.communicate()


def test_a_folder_has_one_writer_and_a_killed_one_leaves_it_free(tmp_path):
    process = child(HOLDS, tmp_path / "out")
    process.stdout.readline()
    said = refusal(locked(tmp_path / "out").__enter__)
    assert "is being written by another process" in said
    process.kill()
    process.communicate()
    with locked(tmp_path / "out"):
        pass


@pytest.mark.parametrize(
    "command",
    [
        ("leaderboard", "build", "OUT"),
        ("study", "build", "OUT"),
        ("report", "none.jsonl", "--output", "OUT", "--force"),
        ("analyse", "mini-nli", "--output", "OUT", "--force"),
        ("controls", "--corpus", "mini-nli", "--force", "--output", "OUT"),
        ("train", "sft", "--model", "none", "--corpus", "mini-nli", "--output", "OUT"),
    ],
    ids=lambda command: " ".join(command[:2]),
)
def test_a_command_is_told_that_another_writes_its_folder(tmp_path, call, busy, command):
    status, _, err = call(*(busy if part == "OUT" else part for part in command))
    assert status == 2
    assert err.splitlines()[-1].startswith(f"capo-bench: {busy}: is being written by another")
    assert [file.name for file in busy.iterdir()] == [files.LOCK]


def test_whoever_is_killed_at_any_change_leaves_old_or_new_and_the_next_puts_it_right():
    done = subprocess.run(
        [sys.executable, "-m", "tests.kills"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    found = dict(line.split(", ", 1) for line in done.stdout.splitlines())
    assert list(found) == ["one", "together", "whole", "folder"], done.stderr
    assert found["one"].startswith("old ")
    assert "taking places 3" in found["together"]  # of four files, after the first three
    assert all("taking places" not in found[name] for name in ("one", "folder"))


def test_a_stage_ends_with_the_process_that_runs_it(tmp_path):
    code = (
        "import sys\n"
        "from capo_bench.experiments.stages import execute\n"
        "execute([sys.executable, '-c', 'import os, time; print(os.getpid(), flush=True); "
        "time.sleep(60)'])\n"
    )
    process = child(code)
    stage = int(process.stdout.readline())
    process.kill()
    process.wait()
    for _ in range(100):
        if not psutil.pid_exists(stage) or psutil.Process(stage).status() == "zombie":
            break
        time.sleep(0.1)
    else:
        pytest.fail("it still runs")


def test_damaged_or_missing_states_of_a_checkpoint_are_named(tmp_path):
    state = {"a": torch.arange(100.0), "b": [1, 2]}
    names = ["optimizer.pt", "scheduler.pt", "rng_state.pth"]
    for name in names:
        torch.save(state, tmp_path / name)
    check_state(tmp_path)
    rng = random.Random(0)
    for name in names:
        whole = (tmp_path / name).read_bytes()
        weights = whole.index(torch.arange(100.0).numpy().tobytes())
        for place in [weights + rng.randrange(400) for _ in range(30)]:
            damaged = bytearray(whole)
            damaged[place] ^= 1 << rng.randrange(8)
            (tmp_path / name).write_bytes(damaged)
            assert f"{name}: is damaged" in refusal(check_state, tmp_path)
        (tmp_path / name).write_bytes(whole[: len(whole) // 2])
        assert f"{name}: is damaged" in refusal(check_state, tmp_path)
        # Bits that say that a part is encrypted, and where the last one begins.
        for place in (whole.rindex(b"PK\1\2") + 8, whole.rindex(b"PK\1\2") + 45):
            damaged = bytearray(whole)
            damaged[place] ^= 1
            (tmp_path / name).write_bytes(damaged)
            assert f"{name}: is damaged" in refusal(check_state, tmp_path)
        (tmp_path / name).unlink()
        assert name[:5] in refusal(check_state, tmp_path)
        (tmp_path / name).write_bytes(whole)


def test_what_is_read_is_not_searched_for_garbage():
    frozen = gc.get_freeze_count()
    with uncollected():
        assert not gc.isenabled()
        with uncollected():
            made = [[] for _ in range(1000)]
        assert not gc.isenabled()
    assert gc.isenabled()
    assert gc.get_freeze_count() >= frozen + len(made)
    with suppress(ZeroDivisionError), uncollected():
        1 / 0  # noqa: B018
    assert gc.isenabled()
