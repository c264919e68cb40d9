"""The tasks inside lm-evaluation-harness, with models that need no weights."""

import json
import re
from dataclasses import replace
from pathlib import Path

import lm_eval
import pytest
import yaml
from lm_eval.api.model import LM
from lm_eval.tasks import TaskManager

from capo_bench.corpus.load import DATA_VARIABLE, load
from capo_bench.corpus.readers import jsonl
from capo_bench.errors import CapoBenchError
from capo_bench.harness.dry_run import task_names, validate_task
from capo_bench.harness.paths import tasks_path
from capo_bench.metrics.cells import Prediction
from capo_bench.scoring.options import read_options
from capo_bench.scoring.predictions import read_predictions
from capo_bench.stats.resampling import Undefined


class Parrot(LM):
    """Answers as the annotator whose name stands last in the prompt, or always the same."""

    def __init__(self, constant=None):
        super().__init__()
        self.constant = constant
        self.contexts = []

    def generate_until(self, requests, disable_tqdm=False):
        self.contexts += [request.args[0] for request in requests]
        if self.constant is not None:
            return [self.constant] * len(requests)
        return [f" {self._label(r.args[0])}\nExplanation: Because I say so." for r in requests]

    def _label(self, prompt):
        return "neutral" if "Ann1" in prompt.rsplit("\n", 3)[-2] else "entailment"

    def loglikelihood(self, requests, disable_tqdm=False):
        raise NotImplementedError

    def loglikelihood_rolling(self, requests, disable_tqdm=False):
        raise NotImplementedError


def run(tasks, model, metadata=None, **kwargs):
    manager = TaskManager(
        include_path=str(tasks_path()), include_defaults=False, metadata=metadata or {}
    )
    return lm_eval.simple_evaluate(
        model=model, tasks=tasks, task_manager=manager, bootstrap_iters=100, **kwargs
    )


def test_limit_counts_whole_items_and_every_annotator_is_asked():
    parrot = Parrot()
    results = run(["capo_mini_nli"], parrot, limit=3)
    corpus = load("mini-nli")
    items = corpus.split("test")[:3]
    asked = sum(bool(item.cells[a]) for item in items for a in item.cells)
    assert results["n-samples"]["capo_mini_nli"] == {"original": 24, "effective": 3}
    assert results["results"]["capo_mini_nli"]["responses,none"] == asked == len(parrot.contexts)
    assert all(context.endswith("\nLabel:") for context in parrot.contexts)


def test_numbers_and_errors_are_those_of_the_scorer():
    results = run(["capo_mini_nli"], Parrot())
    found = results["results"]["capo_mini_nli"]
    scorer = read_options({"corpus": "mini-nli"}).scorer()
    predictions = [
        Prediction(s["doc"]["item"], annotator, response)
        for s in results["samples"]["capo_mini_nli"]
        for annotator, response in zip(s["doc"]["annotators"], s["filtered_resps"], strict=True)
    ]
    for name, estimate in scorer.score(predictions).estimates.items():
        if isinstance(estimate, Undefined):
            assert found[f"{name},none"] == "N/A"
            assert name in results["configs"]["capo_mini_nli"]["metadata"]["undefined"]
        else:
            assert found[f"{name},none"] == estimate.value
            assert found[f"{name}_stderr,none"] == estimate.stderr


def test_results_repeat_fingerprint_prompt_hash_and_scorer():
    metadata = run(["capo_mini_paraphrase"], Parrot("Label: 1\nExplanation: a"), limit=2)[
        "configs"
    ]["capo_mini_paraphrase"]["metadata"]
    assert metadata["signature"]["fingerprint"] == load("mini-paraphrase").fingerprint
    assert metadata["signature"]["bertscore"] == "all-MiniLM-L6-v2_L5"
    assert metadata["signature"]["synthetic"] is True
    assert re.fullmatch("[0-9a-f]{16}", metadata["prompt_hash"])


def test_unreadable_answers_stay_in_every_denominator():
    found = run(["capo_mini_nli"], Parrot("I do not know."), limit=5)["results"]["capo_mini_nli"]
    assert found["invalid_rate,none"] == 1
    assert found["label_accuracy,none"] == 0
    assert found["bertscore_f1,none"] == 0
    assert found["attribution_at_1,none"] == 0


def test_the_group_runs_both_tasks():
    results = run(["capo_mini"], Parrot(), limit=1)["results"]
    assert {"capo_mini_nli", "capo_mini_paraphrase"} <= set(results)


def test_examples_do_not_hold_the_answers():
    with pytest.raises(CapoBenchError, match="the split train has the answers"):
        run(["capo_mini_nli_icl"], Parrot(), {"split": "train"}, limit=1)


@pytest.mark.parametrize(("form", "most"), [("cue", 16), ("chat", 4096)])
def test_an_answer_that_is_a_label_alone_is_short_unless_it_is_thought_about(
    form, most, real_data, monkeypatch
):
    monkeypatch.setenv(DATA_VARIABLE, str(real_data))
    asked = []

    class Asked(Parrot):
        def generate_until(self, requests, disable_tqdm=False):
            asked.extend(request.args[1]["max_gen_toks"] for request in requests)
            return ["Label: 0"] * len(requests)

    run(["capo_mp"], Asked(), {"form": form}, limit=1)
    assert set(asked) == {most}


def test_metadata_sets_split_setting_and_examples():
    parrot = Parrot()
    metadata = {"split": "validation", "setting": "icl", "k": 2}
    run(["capo_mini_nli"], parrot, metadata, limit=1)
    corpus = load("mini-nli")
    assert corpus.split("validation")[0].text["statement"] in parrot.contexts[0]
    # Two examples, each with its explanation; the form in the instructions shows one more.
    assert parrot.contexts[0].count("Explanation: ") == 3


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"seting": "icl"}, "did you mean 'setting'"),
        ({"split": "dev"}, "no items in split 'dev'"),
        ({"setting": "shots"}, "metadata key setting: Input should be 'tag'"),
        ({"k": "many"}, r"metadata key k: Input should be a valid integer \(got 'many'\)"),
        ({"min_responses": -1}, "metadata key min_responses: Input should be greater than"),
        ({"corpus": ["nli"]}, "metadata key corpus: Input should be a valid string"),
        ({"valid_only": "yes"}, "metadata key valid_only: Input should be a valid boolean"),
        ({"corpus": "nil"}, "unknown corpus 'nil'"),
        ({"bertscore": "nobert"}, "unknown BERTScore encoder"),
    ],
)
def test_wrong_metadata_is_refused_before_anything_is_generated(metadata, message):
    parrot = Parrot()
    with pytest.raises(CapoBenchError, match=message):
        run(["capo_mini_nli"], parrot, metadata)
    assert parrot.contexts == []


def test_arguments_of_models_are_no_slips():
    given = {"corpus": "mini-nli", "tokenizer_mode": "auto", "max_model_len": 8192}
    assert read_options(given).corpus == "mini-nli"


def test_num_fewshot_is_refused():
    with pytest.raises(CapoBenchError, match="use the icl variant"):
        run(["capo_mini_nli"], Parrot(), num_fewshot=2, limit=1)


@pytest.mark.parametrize("setting", ["", "_tag", "_icl", "_profile"])
@pytest.mark.parametrize("corpus", ["nli", "paraphrase"])
def test_mini_tasks_pass_their_own_validation(corpus, setting):
    assert validate_task(f"capo_mini_{corpus}{setting}", {}) is None


def test_validation_names_what_is_wrong():
    assert "there is no such task" in validate_task("capo_nothing", {})
    assert "no items in split" in validate_task("capo_mini_nli", {"split": "dev"})


def test_broken_yaml_is_found(tmp_path):
    (tmp_path / "broken.yaml").write_text("task: [unclosed")
    with pytest.raises(CapoBenchError, match=r"broken\.yaml cannot be loaded"):
        task_names(tmp_path)


def test_every_task_is_listed_in_the_readme_table():
    readme = (tasks_path() / "README.md").read_text()
    files = [yaml.safe_load(path.read_text()) for path in tasks_path().glob("*.yaml")]
    groups = [content["group"] for content in files]
    for name in [*task_names(), *groups]:
        assert f"`{name}`" in readme


def test_logged_samples_score_again_to_the_same_numbers(tmp_path):
    results = run(["capo_mini_paraphrase"], Parrot("Label: 2\nExplanation: same thing"), limit=12)
    path = Path(tmp_path) / "samples.jsonl"
    rows = results["samples"]["capo_mini_paraphrase"]
    path.write_text("".join(json.dumps(row, default=str) + "\n" for row in rows))
    found = read_predictions(path)
    scores = read_options(found.options).scorer().score(found.predictions)
    for name, estimate in scores.estimates.items():
        if not isinstance(estimate, Undefined):
            shown = results["results"]["capo_mini_paraphrase"]
            assert shown[f"{name},none"] == estimate.value


def test_a_corpus_of_ones_own_goes_by_its_own_name(tmp_path):
    file = tmp_path / "mine.jsonl"
    jsonl.write(replace(load("mini-nli"), name="Müller (2nd round)"), file)
    own = {"corpus": str(file), "bertscore": "minilm"}
    results = run(["capo_corpus_tag"], Parrot(), own, limit=2)
    name = "capo_Müller_2nd_round_tag"
    for part in ("results", "configs", "samples", "versions", "n-samples", "higher_is_better"):
        assert list(results[part]) == [name]
    assert results["results"][name]["alias"] == name
    one = run(["capo_corpus_tag"], Parrot(), own, samples={name: [5]})
    (chosen,) = one["samples"][name]
    assert chosen["doc"]["item"] == load("mini-nli").split("test")[5].id
