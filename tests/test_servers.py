"""Models behind an OpenAI-compatible server: a stand-in with the habits of real ones, and a real one.

The stand-in honours stops, refuses a begun answer, limits rates, drops connections, answers nothing
and dies. The real one is `transformers serve`; its tests are slow and run with `pytest -m slow`.
"""

import contextlib
import json
import socket
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import lm_eval.tasks
import pytest
import requests
from transformers import AutoTokenizer

from capo_bench.corpus.load import load
from capo_bench.errors import CapoBenchError
from capo_bench.harness.launch import launch
from capo_bench.prompts.prompter import Prompter
from capo_bench.scoring.predictions import read_predictions
from tests.train import tiny

CORPUS = load("mini-nli")
ITEMS = CORPUS.split("test")[:2]
CELLS = [(item, annotator) for item in ITEMS for annotator in item.cells if item.cells[annotator]]
THOUGHTFUL = (
    "<think>\nLabel: contradiction would be wrong.\n\nContext: see above.\n</think>\n\n"
    "Sure, here is the answer:\n\n**Label:** neutral\n\n**Explanation:** It isn't said."
)


class Server(ThreadingHTTPServer):
    """Answers `content`; `faults` are statuses, or `drop`, that the next requests meet instead."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.content = THOUGHTFUL
        self.faults = []
        self.asked = []
        self.lives = 10**6
        self.together = None

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/v1"


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        server = self.server
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if server.together is not None:
            server.together.wait(10)
        if server.faults or server.lives <= 0:
            fault = server.faults.pop(0) if server.faults else "drop"
            if fault == "drop":
                self.close_connection = True
                self.connection.close()
                return
            return self.answer(fault, {"error": {"message": "slower, please"}})
        chat = self.path.endswith("/chat/completions")
        if chat and body["messages"][-1]["role"] == "assistant":
            return self.answer(400, {"error": {"message": "prefilled answers are not supported"}})
        server.asked.append(body)
        server.lives -= 1
        text = server.content
        for stop in body["stop"] if text else ():
            text = text.split(stop)[0]
        choice = {"message": {"role": "assistant", "content": text}} if chat else {"text": text}
        self.answer(200, {"choices": [{"index": 0, "finish_reason": "stop", **choice}]})

    def answer(self, status, content):
        data = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch):
    whole = lm_eval.tasks.TaskManager.__init__
    monkeypatch.setattr(
        lm_eval.tasks.TaskManager,
        "__init__",
        lambda self, *a, include_defaults=True, **k: whole(self, *a, include_defaults=False, **k),
    )
    monkeypatch.setattr("tenacity.nap.time.sleep", lambda seconds: None)
    running = Server()
    thread = threading.Thread(target=running.serve_forever, daemon=True)
    thread.start()
    yield running
    running.shutdown()
    running.server_close()


def run(server, folder, *flags, model="local-chat-completions", extra=""):
    place = "chat/completions" if "chat" in model else "completions"
    launch(
        [
            *("--model", model, "--tasks", "capo_mini_nli", "--limit", str(len(ITEMS))),
            "--model_args",
            f"model=m,base_url={server.url}/{place},tokenizer_backend=None,max_retries=3{extra}",
            *("--log_samples", "--output_path", str(folder)),
            *flags,
        ]
    )
    (results,) = folder.rglob("results_*.json")
    (samples,) = folder.rglob("samples_*.jsonl")
    rows = [json.loads(line) for line in samples.read_text().splitlines()]
    return json.loads(results.read_text()), rows, samples


def test_a_model_that_takes_messages_is_asked_without_a_begun_answer(server, tmp_path):
    results, rows, samples = run(server, tmp_path)
    prompter = Prompter(CORPUS, form="chat")
    assert [body["messages"] for body in server.asked] == [
        [{"role": "user", "content": prompter(item, a)}] for item, a in CELLS
    ]
    assert server.asked[0]["stop"] == ["<|endoftext|>"]
    assert server.asked[0]["max_tokens"] == 4096
    found = results["results"]["capo_mini_nli"]
    assert (found["invalid_rate,none"], found["strict_invalid_rate,none"]) == (0, 1)
    assert results["configs"]["capo_mini_nli"]["metadata"]["form"] == "chat"
    assert rows[0]["filtered_resps"][0] == THOUGHTFUL  # whole, as it was said
    assert len(read_predictions(samples).predictions) == len(CELLS)


def test_a_model_that_goes_on_is_asked_from_the_cue(server, tmp_path):
    server.content = " neutral\nExplanation: It isn't said.\nContext: Another item."
    results, rows, _ = run(server, tmp_path, model="local-completions")
    assert all(body["prompt"].endswith("\nLabel:") for body in server.asked)
    assert server.asked[0]["stop"] == ["\nContext:", "\nLabel:", "\nAnnotator "]
    assert rows[0]["filtered_resps"][0] == " neutral\nExplanation: It isn't said."
    assert results["results"]["capo_mini_nli"]["strict_invalid_rate,none"] == 0


def test_null_content_is_an_empty_response(server, tmp_path):
    server.content = None
    results, rows, _ = run(server, tmp_path)
    assert rows[0]["filtered_resps"] == [""] * len(rows[0]["doc"]["annotators"])
    assert results["results"]["capo_mini_nli"]["invalid_rate,none"] == 1
    (line,) = results["configs"]["capo_mini_nli"]["metadata"]["complaints"]
    assert "no text" in line


def test_rate_limits_and_dropped_connections_are_tried_again(server, tmp_path):
    server.faults = [429, "drop"]
    results, _, _ = run(server, tmp_path)
    assert results["results"]["capo_mini_nli"]["invalid_rate,none"] == 0
    assert len(server.asked) == len(CELLS)


def test_a_server_that_dies_costs_what_it_had_not_answered(server, tmp_path):
    server.lives = 3
    cached = ("--use_cache", str(tmp_path / "answers"))
    with pytest.raises(CapoBenchError, match=r"the server failed for good .* goes on from there"):
        run(server, tmp_path / "1", *cached)
    assert len(server.asked) == 3
    server.lives = 10**6
    _, rows, _ = run(server, tmp_path / "2", *cached)
    assert len(server.asked) == len(CELLS)
    assert all(text == THOUGHTFUL for row in rows for text in row["filtered_resps"])


def test_num_concurrent_asks_together(server, tmp_path):
    server.together = threading.Barrier(len(CELLS))  # nobody is answered before all have asked
    _, rows, _ = run(server, tmp_path, extra=f",num_concurrent={len(CELLS)}")
    assert sum(len(row["filtered_resps"]) for row in rows) == len(CELLS)


def test_a_cue_that_the_model_cannot_go_on_from_is_refused(server, tmp_path):
    with pytest.raises(CapoBenchError, match="takes messages and cannot go on"):
        run(server, tmp_path, "--metadata", '{"form": "cue"}')
    assert server.asked == []


@pytest.fixture(scope="module")
def serving(tmp_path_factory):
    """`transformers serve` with a tiny random model."""
    folder = tmp_path_factory.mktemp("model")
    tiny.folder(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.chat_template = (
        "{% for m in messages %}<{{ m.role }}>{{ m.content }}</>{% endfor %}<assistant>"
    )
    tokenizer.save_pretrained(folder)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = ["transformers", "serve", str(folder), "--device", "cpu", "--port", str(port)]
    process = subprocess.Popen([Path(sys.executable).parent / command[0], *command[1:]])
    for _ in range(120):
        with contextlib.suppress(requests.ConnectionError):
            if requests.get(f"http://127.0.0.1:{port}/health", timeout=5).ok:
                break
        time.sleep(1)
    yield f"http://127.0.0.1:{port}/v1", folder
    process.terminate()
    process.wait()


@pytest.mark.slow
@pytest.mark.parametrize("model", ["local-chat-completions", "local-completions"])
def test_a_real_server_answers_every_request(serving, tmp_path, model):
    url, weights = serving
    place = "chat/completions" if "chat" in model else "completions"
    launch(
        [
            *("--model", model, "--tasks", "capo_mini_nli", "--limit", "1"),
            *("--gen_kwargs", "max_gen_toks=8", "--log_samples", "--output_path", str(tmp_path)),
            "--model_args",
            f"model={weights},base_url={url}/{place},tokenizer_backend=None",
        ]
    )
    (samples,) = tmp_path.rglob("samples_*.jsonl")
    (row,) = [json.loads(line) for line in samples.read_text().splitlines()]
    assert len(row["filtered_resps"]) == 4
    assert row["responses"]["form"] == ("chat" if "chat" in model else "cue")
