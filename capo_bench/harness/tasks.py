"""The glue to lm-evaluation-harness: one document is one item, one request per annotator.

With the item as the document, `--limit` keeps whole items and the harness's own bookkeeping counts
what is independent. The YAML files in `tasks/` only name a corpus and a prompt setting; everything
else is here and in the package below.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import datasets
from lm_eval.api.instance import Instance
from lm_eval.api.task import ConfigurableTask
from transformers import AutoTokenizer

from capo_bench.errors import CapoBenchError
from capo_bench.metrics.cells import Prediction, evaluated_cells
from capo_bench.metrics.registry import metrics_of
from capo_bench.prompts.prompter import Prompter, at_most_tokens, prompt_hash
from capo_bench.prompts.responses import CUE, render_target, stop_sequences
from capo_bench.scoring.options import Options, read_options
from capo_bench.scoring.scorer import Scores
from capo_bench.stats.resampling import Undefined

_log = logging.getLogger(__name__)

RESPONSES = "responses"
"""The pseudo-metric that counts the evaluated responses and carries them to the aggregation."""


class CapoTask(ConfigurableTask):  # type: ignore[misc]
    """A corpus, a split and a prompt setting as an lm-eval task.

    Args:
        config: The task's configuration; its `metadata` may set the fields of `Options`.

    Raises:
        CapoBenchError: If the corpus or the encoder cannot be had, or an option is wrong; always
            before any text is generated.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__(config={key: value for key, value in config.items() if key != "class"})

    def download(self, *_: Any, **__: Any) -> None:
        """Loads the corpus; the base class would fetch a dataset here."""
        given = dict(self.config.metadata or {})
        options = read_options(given)
        self._scorer = options.scorer()
        self._corpus = corpus = self._scorer.corpus
        self._scores: Scores | None = None
        self._prompter = Prompter(
            corpus,
            options.setting,
            examples=options.k,
            example_tokens=options.example_tokens,
            count_tokens=token_counter(options, given)
            if options.setting == "icl"
            else at_most_tokens,
        )
        split = options.split
        cells = evaluated_cells(corpus, split)
        if not cells:
            raise CapoBenchError(
                f"split {split} of corpus {corpus.name} has no labelled cells to score"
            )
        annotators: dict[str, list[str]] = {}
        for item, annotator in cells:
            annotators.setdefault(item.id, []).append(annotator)
        documents = [
            {
                # The options that say what was answered, so that a sample can be scored on its own.
                "corpus": options.corpus,
                "splits": options.splits,
                "split": split,
                "valid_only": options.valid_only,
                "fingerprint": corpus.fingerprint,
                "item": item,
                "text": dict(corpus.by_id[item].text),
                "annotators": asked,
            }
            for item, asked in annotators.items()
        ]
        self.config.generation_kwargs["until"] = stop_sequences(corpus.task)
        self.dataset = {split: datasets.Dataset.from_list(documents)}
        self.config.test_split = split
        self.config.metadata = {
            **given,
            **options.as_json(),
            "prompt_hash": prompt_hash(self._prompter(item, a) for item, a in cells),
            "signature": self._scorer.signature,
        }

    def doc_to_text(self, doc: Mapping[str, Any], doc_to_text: object = None) -> str:
        """The prompt for `doc["annotator"]`, or for the first of the document's annotators."""
        annotator = doc.get("annotator", doc["annotators"][0])
        return self._prompter(self._corpus.by_id[doc["item"]], annotator)

    def doc_to_target(self, doc: Mapping[str, Any], doc_to_target: object = None) -> list[str]:
        """What each of the document's annotators answered first; for the log of samples only."""
        item = self._corpus.by_id[doc["item"]]
        first = [item.cells[annotator][0] for annotator in doc["annotators"]]
        return [render_target(response.labels, response.explanation) for response in first]

    def doc_to_prefix(self, doc: Mapping[str, Any]) -> str:
        """The start of the response, after the chat template's opening if there is one."""
        return CUE

    def fewshot_context(self, doc: Mapping[str, Any], num_fewshot: int, **kwargs: Any) -> list[str]:
        """One context per annotator, each as the base class builds one."""
        if num_fewshot:
            raise CapoBenchError(
                f"{self.config.task}: --num_fewshot would show one annotator's answers for "
                "another; use the icl variant of the task and its k"
            )
        build = super().fewshot_context
        return [build({**doc, "annotator": a}, num_fewshot=0, **kwargs) for a in doc["annotators"]]

    def construct_requests(
        self, doc: Mapping[str, Any], ctx: list[str], **kwargs: Any
    ) -> list[Instance]:
        """One generation request per annotator."""
        build = super().construct_requests
        requests = [build(doc, context, **kwargs) for context in ctx]
        for index, request in enumerate(requests):
            request.idx = index
        return requests

    def process_results(self, doc: Mapping[str, Any], results: list[str]) -> dict[str, Any]:
        """Hands the responses on; metrics are of the whole corpus and wait for `aggregation`."""
        answered = dict(zip(doc["annotators"], results, strict=True))
        return {
            RESPONSES: {"item": doc["item"], "by_annotator": answered},
            **{name: doc["item"] for name in self.aggregation() if name != RESPONSES},
        }

    def aggregation(self) -> dict[str, Callable[[list[Any]], float | int | str]]:
        """The first entry scores everything once; the others read from it.

        A metric `<name>_stderr` fills the harness's column of standard errors, which would
        otherwise take the annotators of one item for independent.
        """
        names = [metric.name for metric in metrics_of(self._corpus)]
        return {
            RESPONSES: self._score,
            **{
                f"{name}{suffix}": partial(self._read, name, field)
                for name in names
                for suffix, field in (("", "value"), ("_stderr", "stderr"))
            },
        }

    def higher_is_better(self) -> dict[str, bool]:
        """Direction of every metric."""
        return {metric.name: metric.higher_is_better for metric in metrics_of(self._corpus)}

    def _score(self, documents: list[dict[str, Any]]) -> int:
        predictions = [
            Prediction(document["item"], annotator, response)
            for document in documents
            for annotator, response in document["by_annotator"].items()
        ]
        self._scores = self._scorer.score(predictions)
        undefined = {
            name: found.reason
            for name, found in self._scores.estimates.items()
            if isinstance(found, Undefined)
        }
        for name, reason in undefined.items():
            _log.warning("%s: %s is not defined, because %s", self.config.task, name, reason)
        self.config.metadata["undefined"] = undefined
        return len(predictions)

    def _read(self, name: str, field: str, documents: list[Any]) -> float | str:
        assert self._scores is not None  # the harness aggregates in the order of process_results
        found = self._scores.estimates[name]
        value = math.nan if isinstance(found, Undefined) else getattr(found, field)
        # The harness's own word for a number that does not exist.
        return value if math.isfinite(value) else "N/A"


def token_counter(options: Options, given: Mapping[str, Any]) -> Callable[[str], int]:
    """Counts tokens as the evaluated model does, where the harness tells which model that is."""
    name = options.tokenizer or given.get("pretrained")
    if not isinstance(name, str):
        return at_most_tokens
    known = {key: given[key] for key in ("revision", "gguf_file") if key in given}
    tokenizer = AutoTokenizer.from_pretrained(name, **known)
    return lambda text: len(tokenizer(text, add_special_tokens=False).input_ids)
