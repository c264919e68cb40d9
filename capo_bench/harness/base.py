"""What all tasks of the package share in lm-evaluation-harness.

A document asks several questions (an item's annotators; a block's responses to judge), so that
`--limit` keeps whole documents and the documents are what is independent. Metrics are of the whole
run and wait for `aggregation`. Whatever scoring needs is had before a model is asked anything, and
what a run says of its prompts is taken from the requests that really go out.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from jinja2 import TemplateError
from lm_eval import evaluator_utils
from lm_eval.api.instance import Instance
from lm_eval.api.metrics import stderr_for_metric
from lm_eval.api.task import ConfigurableTask
from transformers import AutoTokenizer

from capo_bench import __version__
from capo_bench.errors import CapoBenchError
from capo_bench.prompts.contexts import Template, context, thinks
from capo_bench.prompts.prompter import Form, at_most_tokens, prompt_hash
from capo_bench.prompts.responses import CHAT_STOP, CUE
from capo_bench.scoring.options import Options

_log = logging.getLogger(__name__)

RESPONSES = "responses"
"""The pseudo-metric that counts the evaluated responses and carries them to the aggregation."""

CUE_TOKENS, CHAT_TOKENS = 128, 4096
"""The most tokens of a response: the answer alone, or with the thought before it."""

TOKEN_LIMITS = ("max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens")


class BenchTask(ConfigurableTask):  # type: ignore[misc]
    """A task whose documents ask several questions and whose metrics are of the whole run.

    A subclass says what a document asks (`questions`, `doc_to_text`), gets ready (`prepare`), names
    its metrics (`metric_names`), scores (`score`) and tells a value (`read`).

    Attributes:
        options: What the task was asked for.
        form: `cue` if the model goes on from the start of its answer, `chat` if it answers in a
            message of its own; known once the requests are built.
        predicts_only: Whether `--predict_only` was given.
        answers_per_question: Requests that a question becomes.
        cue: The start of an answer, from which a model goes on where it can.
        own_examples: What to use instead of `--num_fewshot`, for the message that refuses it.
    """

    options: Options
    form: Form = "cue"
    predicts_only = False
    answers_per_question = 1
    cue = CUE
    own_examples = ""

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__(config={key: value for key, value in config.items() if key != "class"})
        # Which columns of samples loggers such as W&B's show.
        self.config.metric_list = [{"metric": RESPONSES}]
        # Until requests are built: what would be asked of the whole split.
        prompts = (prompt for doc in self.eval_docs for prompt in self._prompts(doc))
        self.config.metadata["prompt_hash"] = prompt_hash(prompts)

    def questions(self, doc: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The document once for each question, with what tells the questions apart."""
        raise NotImplementedError

    def prepare(self) -> None:
        """Gets whatever scoring needs, so that nothing can lack once a model has answered.

        Raises:
            CapoBenchError: If something cannot be had.
        """
        raise NotImplementedError

    def metric_names(self) -> Sequence[str]:
        """The metrics, in the order of tables."""
        raise NotImplementedError

    def score(self, documents: list[dict[str, Any]]) -> int:
        """Scores what `process_results` handed on, for `read`; the number of responses."""
        raise NotImplementedError

    def read(self, name: str, field: str) -> float:
        """A metric's `value` or `stderr`; `nan` where it is not defined."""
        raise NotImplementedError

    def doc_to_prefix(self, doc: Mapping[str, Any]) -> str | None:
        """The start of an answer, where the model goes on from it."""
        return self.cue if self.form == "cue" else None

    def default_tokens(self) -> int:
        """The most tokens of a response, unless the run says so."""
        return CHAT_TOKENS if self.form == "chat" else CUE_TOKENS

    def stops(self) -> list[str]:
        """Where a response is over, in the `cue` form."""
        return []

    def take_form(self, form: Form) -> None:
        """Asks in a form from now on."""
        self.form = form

    def fewshot_context(
        self,
        doc: Mapping[str, Any],
        num_fewshot: int,
        *,
        gen_prefix: str | None = None,
        system_instruction: str | None = None,
        chat_template: Template | None = None,
        **_: Any,
    ) -> list[Any]:
        """One context for each question, as training builds them."""
        if num_fewshot:
            raise CapoBenchError(
                f"{self.config.task}: --num_fewshot would show one annotator's answers for "
                f"another; {self.own_examples}"
            )
        return [
            context(prompt, gen_prefix, chat_template, system_instruction)
            for prompt in self._prompts(doc)
        ]

    def construct_requests(
        self, doc: Mapping[str, Any], ctx: list[str], **kwargs: Any
    ) -> list[Instance]:
        """The requests of all questions, numbered through."""
        build = super().construct_requests
        requests: list[Instance] = []
        for one in ctx:
            built = build(doc, one, **kwargs)
            requests += built if isinstance(built, list) else [built]
        for index, request in enumerate(requests):
            request.idx = index
        return requests

    def build_all_requests(
        self,
        *,
        limit: int | None = None,
        samples: list[int] | None = None,
        chat_template: Template | None = None,
        tokenizer_name: str = "",
        **kwargs: Any,
    ) -> None:
        """Builds the requests in the form that the model can answer, once scoring is prepared.

        The harness's cache of requests knows a task by its name and the tokenizer's; the latter
        carries here whatever else decides what goes out.
        """
        if not self.predicts_only:
            self.prepare()
        probe = _continued(self.cue, chat_template)
        self.take_form(self._form(isinstance(probe, str)))
        if self.OUTPUT_TYPE == "generate_until":
            kwargs_of_generation = self.config.generation_kwargs
            if not kwargs_of_generation.get("until"):
                kwargs_of_generation["until"] = CHAT_STOP if self.form == "chat" else self.stops()
            if not any(key in kwargs_of_generation for key in TOKEN_LIMITS):
                kwargs_of_generation["max_gen_toks"] = self.default_tokens()
        prompts = [prompt for doc in self.eval_docs for prompt in self._prompts(doc)]
        decisive = [
            __version__,
            prompt_hash(prompts),
            self.options.as_json(),
            self.form,
            self.config.generation_kwargs,
            self.config.repeats,
            samples,
            probe,
        ]
        digest = hashlib.sha256(json.dumps(decisive, sort_keys=True, default=str).encode())
        super().build_all_requests(
            limit=limit,
            samples=samples,
            chat_template=chat_template,
            tokenizer_name=f"{tokenizer_name}-{digest.hexdigest()[:16]}",
            **kwargs,
        )
        self.config.metadata = {
            **self.config.metadata,
            "form": self.form,
            **self._sent(limit, samples),
        }

    def override_metric(self, metric_name: str) -> None:
        """What the harness does on `--predict_only`: no metric is computed then."""
        super().override_metric(metric_name)
        self.config.metric_list = [{"metric": RESPONSES}]
        self.predicts_only = True

    def apply_filters(self) -> None:
        """Keeps all generations of a request, where the task's `repeats` asks for several."""
        for request in self.instances:
            several = len(request.resps) > 1
            request.filtered_resps["none"] = list(request.resps) if several else request.resps[0]

    def aggregation(self) -> dict[str, Callable[[list[Any]], float | int | str]]:
        """The first entry scores everything once; the others read from it."""
        if self.predicts_only:
            return {RESPONSES: _count}
        return {
            RESPONSES: self.score,
            **{name: _OfRun(self.read, name) for name in self.metric_names()},
        }

    def handed_on(self, responses: dict[str, Any]) -> dict[str, Any]:
        """What `process_results` returns: the responses; a document alone has no metric."""
        return {RESPONSES: responses, **{n: None for n in self.aggregation() if n != RESPONSES}}

    def _prompts(self, doc: Mapping[str, Any]) -> list[str]:
        return [self.doc_to_text(question) for question in self.questions(doc)]

    def _form(self, continues: bool) -> Form:
        wanted = self.options.form
        if wanted == "cue" and not continues:
            raise CapoBenchError(
                f"{self.config.task}: this model takes messages and cannot go on from the start of "
                'an answer; leave out "form": "cue"'
            )
        if wanted != "auto":
            return wanted
        return "cue" if continues and not thinks(self.config.metadata) else "chat"

    def _sent(self, limit: int | None, samples: list[int] | None) -> dict[str, str]:
        """Hashes of what goes out: the prompts alone, and with all that is put around them.

        The prompts are those of all processes; that they are in the requests is checked for the
        requests of this one.
        """
        asked = [doc for _, doc in self.doc_iterator(limit=limit, samples=samples)]
        contexts = [_text(request.args[0]) for request in self.instances]
        told = prompt_hash(prompt for doc in asked for prompt in self._prompts(doc))
        prompts: dict[int, list[str]] = {}
        for request, text in zip(self.instances, contexts, strict=True):
            if request.doc_id not in prompts:
                prompts[request.doc_id] = self._prompts(request.doc)
            prompt = prompts[request.doc_id][request.idx // self.answers_per_question]
            if " ".join(prompt.split()) not in " ".join(text.split()):
                _log.warning(
                    "%s: the chat template changes the prompts; their hash is that of the requests",
                    self.config.task,
                )
                told = prompt_hash(contexts)
                break
        return {"prompt_hash": told, "request_hash": prompt_hash(contexts)}


def tokenizer_of(options: Options, given: Mapping[str, Any]) -> Any | None:
    """The tokenizer of the evaluated model, where the harness tells which model that is.

    Args:
        options: The task's options.
        given: The task's metadata, which holds the model's arguments.

    Raises:
        CapoBenchError: If the tokenizer that the options name cannot be had.
    """
    name = options.tokenizer or given.get("pretrained")
    if not isinstance(name, str):
        return None
    known = tuple((key, str(given[key])) for key in ("revision", "gguf_file") if key in given)
    try:
        return _tokenizer(name, known)
    except (OSError, ValueError) as error:
        if options.tokenizer is None:  # an API may serve a model under any name
            return None
        raise CapoBenchError(
            f"tokenizer {name} cannot be had: {str(error).splitlines()[0]}"
        ) from error


def token_counter(options: Options, given: Mapping[str, Any]) -> Callable[[str], int]:
    """Counts tokens as the evaluated model does, or gives an upper bound."""
    tokenizer = tokenizer_of(options, given)
    if tokenizer is None:
        return at_most_tokens
    return lambda text: len(tokenizer(text, add_special_tokens=False).input_ids)


@lru_cache(maxsize=4)
def _tokenizer(name: str, known: tuple[tuple[str, str], ...]) -> Any:
    return AutoTokenizer.from_pretrained(name, **dict(known))


def _continued(cue: str, template: Template | None) -> Any:
    """A begun answer as the model would be sent it: no text where it cannot go on from one."""
    try:
        return context("?", cue, template)
    except (ValueError, TemplateError):
        return None


def _text(sent: Any) -> str:
    """The text of a request: a prompt, or the messages that an API is sent."""
    if isinstance(sent, str):
        return sent
    messages = json.loads(sent[0]) if isinstance(sent[0], str) else sent
    return "\n".join(str(message["content"]) for message in messages)


@dataclass(frozen=True)
class _OfRun:
    """A metric of the whole run, as the harness calls an aggregation.

    Attributes:
        read: Tells a metric's `value` or `stderr`.
        name: The metric.
    """

    read: Callable[[str, str], float]
    name: str

    def __call__(self, _: list[Any]) -> float | str:
        return self._told("value")

    def stderr(self, _: list[Any]) -> float | str:
        """The metric's own standard error, which is clustered on the item."""
        return self._told("stderr")

    def _told(self, field: str) -> float | str:
        value = self.read(self.name, field)
        # The harness's own word for a number that does not exist.
        return value if math.isfinite(value) else "N/A"


def _stderr_of(metric: Callable[..., Any], bootstrap_iters: int) -> Callable[..., Any] | None:
    # The harness knows standard errors of its own aggregations only, and takes documents for draws.
    if isinstance(metric, _OfRun):
        return metric.stderr
    found: Callable[..., Any] | None = stderr_for_metric(metric, bootstrap_iters)
    return found


evaluator_utils.stderr_for_metric = _stderr_of


def _count(documents: list[dict[str, Any]]) -> int:
    return sum(document["count"] for document in documents)
