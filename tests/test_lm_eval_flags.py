"""What each flag of lm_eval does to the tasks, through `capo-bench run` and a model that repeats."""

import json
import logging
import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import lm_eval.caching.cache
import pytest
import yaml
from lm_eval.api.model import LM
from lm_eval.api.registry import get_model, model_registry, register_model

from capo_bench.corpus.load import load
from capo_bench.errors import CapoBenchError
from capo_bench.harness import launch as launch_module
from capo_bench.harness.launch import LEAN, launch, with_adapter
from capo_bench.metrics import bertscore
from capo_bench.prompts.prompter import Prompter, prompt_hash
from capo_bench.scoring.predictions import read_predictions

ANSWER = "neutral\nExplanation: It isn't said."
CORPUS = load("mini-nli")


@register_model("repeats")
class Repeats(LM):
    """Answers what it was last told to, and notes what it is asked."""

    answers: ClassVar = [ANSWER]
    requests: ClassVar = []
    made_with: ClassVar = []

    def __init__(self, batch_size=1, device=None, answers=None, **kwargs):
        super().__init__()
        Repeats.made_with.append({"batch_size": batch_size, **kwargs})

    def generate_until(self, requests, disable_tqdm=False):
        Repeats.requests += [request.args for request in requests]
        return [self.answers[place % len(self.answers)] for place in range(len(requests))]

    def loglikelihood(self, requests, disable_tqdm=False):
        raise NotImplementedError

    def loglikelihood_rolling(self, requests, disable_tqdm=False):
        raise NotImplementedError

    tokenizer_name = "repeats"

    def apply_chat_template(self, messages, add_generation_prompt=True):
        text = "".join(f"<{message['role']}>{message['content']}" for message in messages)
        return text + ("<assistant>" if add_generation_prompt else "")

    def chat_template(self, name=False):
        return "a template"


@pytest.fixture(autouse=True)
def fresh(own_tasks, monkeypatch, tmp_path):
    """Nothing is left of the test before."""
    Repeats.answers, Repeats.requests, Repeats.made_with = [ANSWER], [], []
    monkeypatch.setattr(lm_eval.caching.cache, "PATH", str(tmp_path / "requests"))


def run(folder, *flags, task="capo_mini_nli", metadata=None):
    """Results and samples of a run, with two items unless the flags say otherwise."""
    few = () if {"--limit", "--samples"} & set(flags) else ("--limit", "2")
    launch(
        [
            *("--model", "repeats", "--tasks", task, "--log_samples", "--output_path", str(folder)),
            *(("--metadata", json.dumps(metadata)) if metadata else ()),
            *few,
            *flags,
        ]
    )
    (results,) = folder.rglob("results_*.json")
    (samples,) = folder.rglob("samples_*.jsonl")
    rows = [json.loads(line) for line in samples.read_text().splitlines()]
    return json.loads(results.read_text()), rows, samples


def prompts(split="test", setting="zero-shot", items=slice(2), form="cue"):
    prompter = Prompter(CORPUS, setting, form=form)
    return [prompter(i, a) for i in CORPUS.split(split)[items] for a in i.cells if i.cells[a]]


def test_limit_keeps_whole_items(tmp_path):
    results, rows, _ = run(tmp_path, "--limit", "3")
    assert [row["doc"]["item"] for row in rows] == [i.id for i in CORPUS.split("test")[:3]]
    assert results["results"]["capo_mini_nli"]["responses,none"] == len(prompts(items=slice(3)))


def test_samples_chooses_items(tmp_path):
    results, rows, _ = run(tmp_path, "--samples", '{"capo_mini_nli": [5, 7]}')
    assert [row["doc"]["item"] for row in rows] == [
        CORPUS.split("test")[5].id,
        CORPUS.split("test")[7].id,
    ]
    chosen = [CORPUS.split("test")[5], CORPUS.split("test")[7]]
    prompter = Prompter(CORPUS)
    told = prompt_hash(prompter(i, a) for i in chosen for a in i.cells if i.cells[a])
    assert results["configs"]["capo_mini_nli"]["metadata"]["prompt_hash"] == told


def test_prompt_hash_is_of_the_prompts_that_went_out(tmp_path):
    results, _, _ = run(tmp_path)
    metadata = results["configs"]["capo_mini_nli"]["metadata"]
    assert [context for context, _ in Repeats.requests] == [p + "Label:" for p in prompts()]
    assert metadata["prompt_hash"] == prompt_hash(prompts())
    assert metadata["request_hash"] == prompt_hash(p + "Label:" for p in prompts())
    assert metadata["form"] == "cue"


def test_two_settings_through_one_cache_of_requests(tmp_path):
    first, _, _ = run(tmp_path / "1", "--cache_requests", "true")
    again, _, _ = run(tmp_path / "2", "--cache_requests", "true")
    other, rows, _ = run(
        tmp_path / "3",
        *("--cache_requests", "true"),
        metadata={"split": "validation", "setting": "profile"},
    )
    tokens, _, _ = run(tmp_path / "4", "--cache_requests", "true", "--gen_kwargs", "max_gen_toks=7")
    assert len(list((tmp_path / "requests").iterdir())) == 3
    per_run = len(prompts())
    sent = [context.removesuffix("Label:") for context, _ in Repeats.requests]
    assert sent[:per_run] == sent[per_run : 2 * per_run] == prompts()
    expected = prompts("validation", "profile")
    assert sent[2 * per_run : 2 * per_run + len(expected)] == expected
    assert {row["doc"]["split"] for row in rows} == {"validation"}
    hashes = [
        found["configs"]["capo_mini_nli"]["metadata"]["prompt_hash"]
        for found in (first, again, other, tokens)
    ]
    assert hashes[0] == hashes[1] == hashes[3] == prompt_hash(prompts())
    assert hashes[2] == prompt_hash(expected)
    assert Repeats.requests[-1][1]["max_gen_toks"] == 7


def test_use_cache_does_not_ask_twice(tmp_path):
    run(tmp_path / "1", "--use_cache", str(tmp_path / "answers"))
    asked = len(Repeats.requests)
    _, rows, _ = run(tmp_path / "2", "--use_cache", str(tmp_path / "answers"))
    assert len(Repeats.requests) == asked
    assert rows[0]["filtered_resps"][0] == ANSWER


def test_predict_only_needs_no_encoder_and_score_finishes_elsewhere(tmp_path, monkeypatch):
    def never(name):
        raise AssertionError("an encoder was loaded")

    monkeypatch.setattr(bertscore, "load_encoder", never)
    monkeypatch.setattr("capo_bench.scoring.scorer.load_encoder", never)
    results, _, samples = run(
        tmp_path, "--predict_only", metadata={"bertscore": "FOLDER_THAT_IS_NOT_HERE:3"}
    )
    found = results["results"]["capo_mini_nli"]
    assert {key for key in found if "," in key} == {"responses,none", "responses_stderr,none"}
    assert found["responses,none"] == len(prompts())
    assert len(read_predictions(samples).predictions) == len(prompts())


def test_a_missing_encoder_is_noticed_before_the_model_is_made(tmp_path):
    with pytest.raises(CapoBenchError, match="encoder 'FOLDER_THAT_IS_NOT_HERE:3' cannot be"):
        run(tmp_path, metadata={"bertscore": "FOLDER_THAT_IS_NOT_HERE:3"})
    assert Repeats.made_with == []


def test_a_metric_that_fails_costs_no_response(tmp_path, monkeypatch):
    def fails(self, predictions):
        raise ZeroDivisionError("no luck")

    monkeypatch.setattr("capo_bench.scoring.scorer.Scorer.score", fails)
    results, rows, _ = run(tmp_path)
    assert results["results"]["capo_mini_nli"]["rouge_l,none"] == "N/A"
    reason = results["configs"]["capo_mini_nli"]["metadata"]["undefined"]["rouge_l"]
    assert reason.startswith("scoring failed (ZeroDivisionError: no luck)")
    assert rows[0]["filtered_resps"] == [ANSWER] * 4


def test_chat_template_keeps_the_cue_where_the_model_can_go_on_from_it(tmp_path):
    results, _, _ = run(tmp_path, "--apply_chat_template")
    assert [context for context, _ in Repeats.requests] == [
        f"<user>{p}<assistant>Label:" for p in prompts()
    ]
    assert Repeats.requests[0][1]["until"] == ["\nContext:", "\nLabel:", "\nAnnotator "]
    assert Repeats.requests[0][1]["max_gen_toks"] == 128
    metadata = results["configs"]["capo_mini_nli"]["metadata"]
    assert metadata["prompt_hash"] == prompt_hash(prompts())


def test_a_model_that_thinks_is_asked_in_a_message_of_its_own(tmp_path):
    thought = "<think>\nLabel: contradiction?\n</think>\n\nLabel: neutral\nExplanation: Not said."
    Repeats.answers = [thought]
    results, rows, _ = run(
        tmp_path, "--apply_chat_template", "--model_args", "enable_thinking=True"
    )
    expected = prompts(form="chat")
    assert [context for context, _ in Repeats.requests] == [
        f"<user>{p}<assistant>" for p in expected
    ]
    assert expected[0].endswith(
        "one line that begins with `Label:` and one that begins with `Explanation:`."
    )
    assert Repeats.requests[0][1] == {
        "until": ["<|endoftext|>"],
        "do_sample": False,
        "max_gen_toks": 4096,
    }
    metadata = results["configs"]["capo_mini_nli"]["metadata"]
    assert (metadata["form"], metadata["prompt_hash"]) == ("chat", prompt_hash(expected))
    assert rows[0]["filtered_resps"][0] == thought  # as it was said
    assert rows[0]["responses"]["form"] == "chat"
    assert results["results"]["capo_mini_nli"]["invalid_rate,none"] == 0


def test_form_can_be_chosen(tmp_path):
    run(tmp_path, metadata={"form": "chat", "setting": "tag"})
    assert [context for context, _ in Repeats.requests] == prompts(setting="tag")
    assert Repeats.requests[0][1]["max_gen_toks"] == 128  # tuned models answer at once


def test_system_instruction_stands_before_the_prompt(tmp_path):
    run(tmp_path / "1", "--system_instruction", "Be brief.")
    assert Repeats.requests[0][0] == f"Be brief.\n\n{prompts()[0]}Label:"
    Repeats.requests.clear()
    run(tmp_path / "2", "--system_instruction", "Be brief.", "--apply_chat_template")
    assert Repeats.requests[0][0] == f"<system>Be brief.<user>{prompts()[0]}<assistant>Label:"


def test_gen_kwargs_go_to_the_model_and_into_the_results(tmp_path):
    results, _, _ = run(
        tmp_path, "--gen_kwargs", "max_gen_toks=9,temperature=0.5,do_sample=True,until=['\\n\\n']"
    )
    sent = Repeats.requests[0][1]
    assert sent == {"until": ["\n\n"], "do_sample": True, "temperature": 0.5, "max_gen_toks": 9}
    assert results["configs"]["capo_mini_nli"]["generation_kwargs"] == sent


def test_seed_and_batch_size_are_recorded(tmp_path):
    results, _, _ = run(tmp_path, "--seed", "7", "--batch_size", "5")
    assert results["config"]["torch_seed"] == 7
    assert Repeats.made_with[0]["batch_size"] == "5"


def test_include_path_adds_to_our_tasks(tmp_path):
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "own.yaml").write_text(
        "task: own_nli\n"
        "class: !function capo_bench.harness.tasks.CapoTask\n"
        "output_type: generate_until\n"
        "generation_kwargs: {until: []}\n"
        "metadata: {version: 1.0, corpus: mini-nli, setting: tag}\n"
    )
    launch(
        [
            *("--model", "repeats", "--tasks", "own_nli,capo_mini_nli", "--limit", "1"),
            *("--include_path", str(theirs), "--output_path", str(tmp_path / "out")),
        ]
    )
    sent = [context.removesuffix("Label:") for context, _ in Repeats.requests]
    assert sent == prompts(setting="tag", items=slice(1)) + prompts(items=slice(1))


def test_a_config_file_is_read(tmp_path):
    file = tmp_path / "run.yaml"
    file.write_text(
        yaml.safe_dump(
            {
                "model": "repeats",
                "tasks": ["capo_mini_nli"],
                "limit": 1,
                "metadata": {"split": "validation"},
                "output_path": str(tmp_path / "out"),
            }
        )
    )
    launch(["--config", str(file)])
    assert [c.removesuffix("Label:") for c, _ in Repeats.requests] == prompts(
        "validation", items=slice(1)
    )


def test_repeats_are_all_scored_and_their_spread_reported(tmp_path):
    own = tmp_path / "theirs"
    own.mkdir()
    (own / "own.yaml").write_text(
        "task: twice\n"
        "class: !function capo_bench.harness.tasks.CapoTask\n"
        "output_type: generate_until\n"
        "repeats: 2\n"
        "generation_kwargs: {until: []}\n"
        "metadata: {version: 1.0, corpus: mini-nli, setting: zero-shot}\n"
    )
    Repeats.answers = [ANSWER, "no answer"]  # of each request the first and the second
    results, rows, samples = run(tmp_path / "out", "--include_path", str(own), task="twice")
    assert rows[0]["filtered_resps"][0] == [ANSWER, "no answer"]
    found = results["results"]["twice"]
    assert found["responses,none"] == len(prompts())
    assert found["invalid_rate,none"] == 0.5
    metadata = results["configs"]["twice"]["metadata"]
    assert metadata["repeats"] == 2
    assert metadata["spread"]["invalid_rate"] == pytest.approx(0.5**0.5)  # of 0 and 1
    read = read_predictions(samples)
    assert [len(repeat) for repeat in read.repeats] == [len(prompts())] * 2
    assert {p.response for p in read.repeats[1]} == {"no answer"}


def test_write_out_shows_a_prompt(tmp_path, caplog):
    # Whatever lm_eval's own handlers are by now, and whether its messages reach the root.
    logger = logging.getLogger("lm_eval")
    logger.addHandler(caplog.handler)
    try:
        run(tmp_path, "--write_out")
    finally:
        logger.removeHandler(caplog.handler)
    assert prompts()[0] in caplog.text


def test_samples_hold_what_tells_a_cut_response(tmp_path):
    results, rows, _ = run(tmp_path, "--gen_kwargs", "max_gen_toks=9")
    told = rows[0]["responses"]
    assert (told["max_gen_toks"], told["count"]) == (9, 4)
    assert "tokens" not in told  # no tokenizer is known of this model
    reason = results["configs"]["capo_mini_nli"]["metadata"]["undefined"]["truncated_rate"]
    assert reason.endswith(f"limit is known of 0 of {len(prompts())}")


def test_responses_that_ended_at_the_token_limit_are_counted(tmp_path, monkeypatch, caplog):
    def words(text, **_):
        return SimpleNamespace(input_ids=text.split())

    monkeypatch.setattr("capo_bench.harness.tasks.tokenizer_of", lambda *_: words)
    # Words for tokens: five, and the limit's six.
    Repeats.answers = [ANSWER, ANSWER, ANSWER, "neutral\nExplanation: It isn't said and"]
    results, _, samples = run(tmp_path, "--gen_kwargs", "max_gen_toks=6", "--limit", "5")
    assert results["results"]["capo_mini_nli"]["truncated_rate,none"] == pytest.approx(4 / 19)
    told = "4 of 19 responses ended at the token limit"
    assert told in caplog.text
    assert results["configs"]["capo_mini_nli"]["metadata"]["complaints"][-1].startswith(told)
    assert sum(p.truncated is True for p in read_predictions(samples).predictions) == 4


def test_samples_hold_the_values_of_each_response_and_results_no_doubled_keys(tmp_path):
    results, rows, samples = run(tmp_path, "--limit", "6")
    found = results["results"]["capo_mini_nli"]
    assert not [key for key in found if "_stderr_stderr" in key]
    assert found["rouge_l_stderr,none"] > 0
    values = [row["responses"]["values"] for row in rows]
    assert [list(one) for one in values] == [row["doc"]["annotators"] for row in rows]
    each = [one for of_item in values for (one,) in of_item.values()]  # of one generation
    assert sum(one["rouge_l"] for one in each) / len(each) == pytest.approx(found["rouge_l,none"])
    agree = [one["label_agrees"] for one in each]
    assert sum(agree) / len(agree) == pytest.approx(found["label_accuracy,none"])
    assert {row["label_accuracy"] for row in rows} == {None}  # a document alone has none
    assert len(read_predictions(samples).predictions) == len(each)


def test_our_model_stands_beside_those_of_lm_eval():
    assert {"capo-hf", "hf", "vllm", "local-chat-completions"} <= set(model_registry.keys())


def test_our_model_is_the_one_that_we_declare_to_lm_eval():
    told = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())
    group = "lm_eval.models"
    ((name, value),) = told["project"]["entry-points"][group].items()
    declared = EntryPoint(name, value, group).load()
    assert issubclass(declared, LM)
    assert get_model(LEAN) is declared
    assert name == LEAN


def test_without_log_samples_nothing_is_logged(tmp_path):
    launch(
        [
            *("--model", "repeats", "--tasks", "capo_mini_nli", "--limit", "1"),
            *("--output_path", str(tmp_path)),
        ]
    )
    assert list(tmp_path.rglob("results_*.json"))
    assert not list(tmp_path.rglob("samples_*"))


def test_hub_log_arguments_write_here_first_and_lose_nothing_offline(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    pushed = "push_results_to_hub=True,push_samples_to_hub=True,hub_results_org=us,token=t"
    with pytest.raises(CapoBenchError, match=f"offline mode .* nothing is lost: .* {tmp_path}"):
        run(tmp_path, "--hf_hub_log_args", pushed)
    (results,) = tmp_path.rglob("results_*.json")
    found = json.loads(results.read_text())["results"]["capo_mini_nli"]
    assert found["responses,none"] == len(prompts())
    (samples,) = tmp_path.rglob("samples_*.jsonl")
    assert len(read_predictions(samples).predictions) == len(prompts())


def test_wandb_offline_holds_results_and_samples(tmp_path, monkeypatch):
    wandb = pytest.importorskip("wandb")
    logged, log = {}, wandb.Run.log

    def noted(self, data, **kwargs):
        logged.update(data)
        log(self, data, **kwargs)

    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setattr(wandb.Run, "log", noted)
    results, rows, _ = run(tmp_path / "out", "--wandb_args", f"project=tried,dir={tmp_path}")
    assert list(tmp_path.glob("wandb/offline-run-*/run-*.wandb"))
    found = results["results"]["capo_mini_nli"]
    assert logged["capo_mini_nli/label_accuracy"] == found["label_accuracy,none"]
    shown = logged["capo_mini_nli_eval_results"].loc[0, "responses"]
    assert shown["by_annotator"] == rows[0]["responses"]["by_annotator"]


def test_unreadable_responses_are_explained(tmp_path, caplog):
    Repeats.answers = ["Label: maybe\nExplanation: who knows"]
    results, _, _ = run(tmp_path)
    line = f"{len(prompts())} of {len(prompts())} responses are invalid, unknown label, such as"
    assert line in caplog.text
    assert results["configs"]["capo_mini_nli"]["metadata"]["complaints"][0].startswith(line)
    assert results["results"]["capo_mini_nli"]["invalid_rate,none"] == 1


def test_a_folder_with_an_adapter_is_loaded_on_its_base(tmp_path, monkeypatch):
    (tmp_path / "adapter_config.json").write_text('{"base_model_name_or_path": "BASE"}')
    given = {"pretrained": str(tmp_path), "dtype": "float32"}
    assert with_adapter("hf", given) == {
        "pretrained": "BASE",
        "peft": str(tmp_path),
        "dtype": "float32",
    }
    assert with_adapter("vllm", given)["lora_local_path"] == str(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert with_adapter("local-chat-completions", {"model": "gpt"}) == {"model": "gpt"}
    (tmp_path / "adapter_config.json").write_text('{"base_model_name_or_path": "BASE", "r": 64}')
    assert with_adapter("vllm", given)["max_lora_rank"] == 64
    for nothing in ("{}", '{"base_model_name_or_path": ["BASE"]}'):
        (tmp_path / "adapter_config.json").write_text(nothing)
        with pytest.raises(CapoBenchError, match="base_model_name_or_path"):
            with_adapter("hf", given)
    (tmp_path / "adapter_config.json").write_text('{"base_model_name_or_path": "~nobody/x"}')
    with pytest.raises(CapoBenchError, match="pretrained: ~nobody/x does not exist"):
        launch(["--model", "hf", "--model_args", f"pretrained={tmp_path}", "--tasks", "capo_mini"])


def test_a_model_that_neither_a_folder_nor_the_hub_has_is_bad_input(monkeypatch):
    def execute(*_):
        raise OSError("no/such is not a local folder\nand is not listed")

    monkeypatch.setattr(launch_module.HarnessCLI, "execute", execute)
    with pytest.raises(CapoBenchError, match="cannot be loaded: no/such is not a local folder and"):
        launch(["--model", "repeats", "--tasks", "capo_mini_nli"])


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (
            ["--tasks", "capo_mini_nlii"],
            "unknown task 'capo_mini_nlii'; did you mean 'capo_mini_nli'",
        ),
        (
            ["--model", "hff", "--tasks", "capo_mini_nli"],
            "unknown --model 'hff'; did you mean 'hf'",
        ),
        ([], "no task is named; choose with --tasks: capo_"),
        (
            ["--tasks", "capo_mini_nli", "--model_args", "pretrained=/no/such/folder"],
            "/no/such/folder does not exist",
        ),
        (["--tasks", "capo_mini_nli", "--log_samples"], "Specify --output_path"),
        (
            ["--tasks", "capo_mini_nli", "--metadata", '{"form": "cues"}'],
            "metadata key form: .* 'auto', 'cue' or 'chat'",
        ),
        (["--tasks", "capo_mini_nli", "--num_fewshot", "2"], "use the icl variant"),
        (
            ["--tasks", "capo_mini_nli", "--hf_hub_log_args", "push_results_to_hub=True"],
            "hf_hub_log_args: Hugging Face token is not defined",
        ),
        (
            ["--tasks", "capo_mini_nli", "--gen_kwargs", "temperature=0.7"],
            "samples only with do_sample=True",
        ),
    ],
)
def test_wrong_flags_are_one_line(flags, message):
    with pytest.raises(CapoBenchError, match=message):
        launch(["--model", "repeats", *flags])
