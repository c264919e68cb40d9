"""The glue to lm-evaluation-harness: one document is one item, one request per annotator.

With the item as the document, `--limit` keeps whole items and the harness's own bookkeeping counts
what is independent. The YAML files in `tasks/` only name a corpus and a prompt setting.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import datasets

from capo_bench.errors import CapoBenchError
from capo_bench.harness.base import CUE_TOKENS, TOKEN_LIMITS, BenchTask, token_counter, tokenizer_of
from capo_bench.metrics.cells import Prediction, evaluated_cells
from capo_bench.metrics.registry import metrics_of
from capo_bench.prompts.prompter import Form, Prompter, at_most_tokens, task_name
from capo_bench.prompts.responses import complaints, render_target, stop_sequences, truncation
from capo_bench.scoring.cache import score_repeats
from capo_bench.scoring.options import read_options
from capo_bench.scoring.per_response import per_response
from capo_bench.scoring.predictions import SampleTokens
from capo_bench.scoring.scorer import Scores
from capo_bench.stats.resampling import Undefined

_log = logging.getLogger(__name__)

_WHICH = ("item", "annotator")
_LABEL_TOKENS = 16  # of an answer that is a label alone

OWN = "capo_corpus"
"""What the tasks for a corpus file are called."""


class CapoTask(BenchTask):
    """A corpus, a split and a prompt setting as an lm-eval task.

    Args:
        config: The task's configuration; its `metadata` may set the fields of `Options`.

    Raises:
        CapoBenchError: If the corpus or the encoder cannot be had, or an option is wrong; always
            before any text is generated.
    """

    own_examples = "use the icl variant of the task and its k"

    def download(self, *_: Any, **__: Any) -> None:
        """Loads the corpus; the base class would fetch a dataset here."""
        given = dict(self.config.metadata or {})
        self.options = options = read_options(given)
        self._scorer = options.scorer()
        self._corpus = corpus = self._scorer.corpus
        self._scores: Scores | None = None
        self._tokenizer = tokenizer_of(options, given)
        self._count_tokens = (
            token_counter(options, given) if options.setting == "icl" else at_most_tokens
        )
        self.take_form("cue")
        split = options.split
        if split == "train" and options.setting == "icl":
            raise CapoBenchError(
                "icl shows training responses, among which the split train has the answers; choose "
                "another split or setting"
            )
        cells = evaluated_cells(corpus, split)
        if not cells:
            raise CapoBenchError(
                f"split {split} of corpus {corpus.name} has no labelled cells of annotators whom "
                "training responses show, so there is nothing to score"
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
                "min_responses": options.min_responses,
                "min_annotators": options.min_annotators,
                "name": corpus.name,
                "fingerprint": corpus.fingerprint,
                "item": item,
                "text": dict(corpus.by_id[item].text),
                "annotators": asked,
            }
            for item, asked in annotators.items()
        ]
        self.dataset = {split: datasets.Dataset.from_list(documents)}
        self.config.test_split = split
        self.config.metadata = {
            **given,
            **options.as_json(),
            "signature": self._scorer.signature,
        }

    @property
    def task_name(self) -> str:
        """What tables, results and files of samples call it: a corpus of one's own by its name."""
        known = str(self.config.task)
        own = known.startswith(OWN)
        return task_name(self._corpus.name, self.options.setting) if own else known

    def prepare(self) -> None:
        """Has the encoder at hand and everything fitted that depends on the corpus alone."""
        self._scorer.prepare()

    def take_form(self, form: Form) -> None:
        """Asks in a form from now on."""
        super().take_form(form)
        self._prompter = Prompter(
            self._corpus,
            self.options.setting,
            examples=self.options.k,
            example_tokens=self.options.example_tokens,
            count_tokens=self._count_tokens,
            form=form,
        )

    def default_tokens(self) -> int:
        """A tuned model answers at once; others may think first where they can."""
        at_once = self.form == "cue" or self.options.setting == "tag"
        if at_once and self._corpus.task.explanations == "none":
            return _LABEL_TOKENS
        return CUE_TOKENS if at_once else super().default_tokens()

    def stops(self) -> list[str]:
        """Where the model goes on with another item or annotator."""
        return stop_sequences(self._corpus.task)

    def questions(self, doc: Mapping[str, Any]) -> list[dict[str, Any]]:
        """One for each annotator who labelled the item."""
        return [{**doc, "annotator": annotator} for annotator in doc["annotators"]]

    def doc_to_text(self, doc: Mapping[str, Any], doc_to_text: object = None) -> str:
        """The prompt for `doc["annotator"]`, or for the first of the document's annotators."""
        annotator = doc.get("annotator", doc["annotators"][0])
        return self._prompter(self._corpus.by_id[doc["item"]], annotator)

    def doc_to_target(self, doc: Mapping[str, Any], doc_to_target: object = None) -> list[str]:
        """What each of the document's annotators answered first; for the log of samples only."""
        item = self._corpus.by_id[doc["item"]]
        first = [item.cells[annotator][0] for annotator in doc["annotators"]]
        return [render_target(response.labels, response.explanation) for response in first]

    def process_results(
        self, doc: Mapping[str, Any], results: list[str | list[str]]
    ) -> dict[str, Any]:
        """Hands the responses on, with what tells whether the model was cut short."""
        answered = dict(zip(doc["annotators"], results, strict=True))
        generation = self.config.generation_kwargs
        limits = [generation[name] for name in TOKEN_LIMITS if name in generation]
        responses: dict[str, Any] = {
            "item": doc["item"],
            "by_annotator": answered,
            "form": self.form,
            "count": len(answered),
            "max_gen_toks": next((limit for limit in limits if isinstance(limit, int)), None),
        }
        if self._tokenizer is not None:
            responses["tokens"] = {
                annotator: [
                    len(self._tokenizer(text, add_special_tokens=False).input_ids)
                    for text in _several(given)
                ]
                for annotator, given in answered.items()
            }
        return self.handed_on(responses)

    def metric_names(self) -> Sequence[str]:
        """Those that the corpus has."""
        return [metric.name for metric in metrics_of(self._corpus)]

    def higher_is_better(self) -> dict[str, bool]:
        """Direction of every metric."""
        if self.predicts_only:
            return {}
        return {metric.name: metric.higher_is_better for metric in metrics_of(self._corpus)}

    def score(self, documents: list[dict[str, Any]]) -> int:
        """Scores each of the run's repeats.

        Whatever goes wrong here costs metrics, never the responses: the harness writes them down
        afterwards, and `capo-bench score` reads them.
        """
        answered = [
            [
                Prediction(document["item"], annotator, text, lengths.truncated(annotator, repeat))
                for repeat, text in enumerate(_several(given))
            ]
            for document in documents
            for lengths in [SampleTokens.model_validate(document)]
            for annotator, given in document["by_annotator"].items()
        ]
        runs = [list(run) for run in zip(*answered, strict=False)]
        generated = [prediction for given in answered for prediction in given]
        told = complaints(self._corpus.task, (one.response for one in generated))
        told += truncation([one.truncated for one in generated])
        self.config.metadata["complaints"] = told
        for line in told:
            _log.warning("%s: %s", self.task_name, line)
        try:
            scores, spread = score_repeats(self._scorer, runs)
            values = [per_response(self._scorer, run) for run in runs]
        except Exception as error:
            failed = f"scoring failed ({type(error).__name__}: {error}); score the samples again"
            _log.exception("%s: %s", self.task_name, failed)
            undefined = dict.fromkeys(self.metric_names(), failed)
        else:
            self._scores = scores
            self.config.metadata |= spread
            _write_beside(documents, values)
            undefined = {
                name: found.reason
                for name, found in self._scores.estimates.items()
                if isinstance(found, Undefined)
            }
            for name, reason in undefined.items():
                _log.warning("%s: %s is not defined, because %s", self.task_name, name, reason)
        self.config.metadata["undefined"] = undefined
        return len(answered)

    def read(self, name: str, field: str) -> float:
        """A metric's value or standard error; `nan` where it is not defined."""
        found = None if self._scores is None else self._scores.estimates[name]
        return (
            float("nan") if found is None or isinstance(found, Undefined) else getattr(found, field)
        )


def _write_beside(documents: list[dict[str, Any]], runs: list[list[dict[str, Any]]]) -> None:
    """Puts each response's values into its document, by annotator and then generation.

    The harness logs these very documents, after it has aggregated. Where a run has several processes
    it logs copies made before, without values; `capo-bench score --responses` has them then.
    """
    of_item: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for run in runs:
        for row in run:
            values = {name: value for name, value in row.items() if name not in _WHICH}
            of_item.setdefault(row["item"], {}).setdefault(row["annotator"], []).append(values)
    for document in documents:
        document["values"] = of_item[document["item"]]


def _several(given: str | list[str]) -> list[str]:
    return [given] if isinstance(given, str) else given
