"""Models behind an OpenAI-compatible server: a stand-in with the habits of real ones, and a real one.

The stand-in honours stops, refuses a begun answer, limits rates, drops connections, answers nothing
and dies. The real one is `transformers serve`; its tests are slow and run with `pytest -m slow`.
"""

import contextlib
import hashlib
import json
import socket
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import requests
from lm_eval.models import api_models
from transformers import AutoTokenizer

from capo_bench.corpus.load import load
from capo_bench.errors import CapoBenchError
from capo_bench.harness.launch import TRANSPORT, answers_of, launch
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
    """Answers `content`; `faults` are statuses, or `drop`, that the next requests meet instead.

    After `lives` answers it is dead.
    """

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.content = THOUGHTFUL
        self.faults = []
        self.asked = []
        self.waits = []  # seconds, between one try and the next
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
        text = server.content(body) if callable(server.content) else server.content
        for stop in body["stop"] if text else ():
            text = text.split(stop)[0]
        choice = {"message": {"role": "assistant", "content": text}} if chat else {"text": text}
        self.answer(200, {"choices": [{"index": 0, "finish_reason": "stop", **choice}]})

    def answer(self, status, content):
        data = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        if status == 429:
            self.send_header("Retry-After", "7")
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass


@pytest.fixture
def server(own_tasks, monkeypatch):
    running = Server()
    monkeypatch.setattr("tenacity.nap.time.sleep", running.waits.append)
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
    # What the server asked for, and then longer each time.
    assert server.waits == [7, 1]


def digest_as_answer(body):
    """An answer that no other prompt has."""
    prompt = json.dumps(body["messages"])
    label = CORPUS.task.labels.labels[len(prompt) % 3]
    return f"Label: {label}\nExplanation: {hashlib.sha256(prompt.encode()).hexdigest()}"


def of_run(results, rows):
    """What must not depend on how often a run was interrupted."""
    told = results["configs"]["capo_mini_nli"]["metadata"]
    return (
        results["results"],
        {name: value for name, value in told.items() if name not in TRANSPORT},
        [row["filtered_resps"] for row in rows],
    )


@pytest.mark.parametrize("together", [1, 2])
def test_a_server_that_dies_costs_what_it_had_not_answered(server, tmp_path, monkeypatch, together):
    monkeypatch.setattr(api_models, "wait_exponential", lambda **_: 0)  # asyncio waits, too
    server.content = digest_as_answer
    whole = of_run(*run(server, tmp_path / "whole")[:2])
    asked = {json.dumps(body) for body in server.asked}
    assert len(asked) == len(CELLS)
    server.asked.clear()

    server.lives = 3
    cached = ("--use_cache", str(tmp_path / "answers"))
    kept = rf"failed for good .* nothing is lost: .*{tmp_path}/answers-\w{{8}}_rank0.db, .* goes on"
    with pytest.raises(CapoBenchError, match=kept) as told:
        run(server, tmp_path / "1", *cached, extra=f",num_concurrent={together}")
    assert "\n" not in str(told.value)
    assert len(server.asked) == 3
    server.lives = 10**6
    again = of_run(*run(server, tmp_path / "2", *cached, extra=",max_retries=5")[:2])
    assert {json.dumps(body) for body in server.asked} == asked
    assert len(server.asked) - len(asked) < together  # answers that were under way are asked again
    assert again == whole


def test_answers_of_another_model_are_not_taken(server, tmp_path):
    cached = ("--use_cache", str(tmp_path / "answers"), "--predict_only")
    run(server, tmp_path / "1", *cached)
    run(server, tmp_path / "2", *cached, extra=",timeout=9")
    assert len(server.asked) == len(CELLS)
    run(server, tmp_path / "3", *cached, extra=",model=other")
    assert [body["model"] for body in server.asked] == ["m"] * len(CELLS) + ["other"] * len(CELLS)


def test_answers_are_those_of_the_weights_that_lie_there_now(tmp_path):
    arguments = {"pretrained": str(tmp_path), "dtype": "float32"}
    (tmp_path / "model.safetensors").write_bytes(b"one")
    first = answers_of("answers", "hf", arguments)
    assert answers_of("answers", "hf", dict(reversed(arguments.items()))) == first
    (tmp_path / "model.safetensors").write_bytes(b"two, trained further")
    assert answers_of("answers", "hf", arguments) != first
    assert answers_of("answers", "vllm", arguments) != answers_of("answers", "hf", arguments)


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        ([], "what it has answered is lost; with --use_cache FILE it is kept"),
        (["--use_cache", "F", "--gen_kwargs", "do_sample=True"], "sampled answers are not kept"),
    ],
)
def test_what_is_not_kept_is_said(server, tmp_path, monkeypatch, flags, told):
    monkeypatch.chdir(tmp_path)
    server.lives = 3
    with pytest.raises(CapoBenchError, match=told):
        run(server, tmp_path, *flags)


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
