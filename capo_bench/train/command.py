"""`capo-bench train sft|capo`: one command from a model and a corpus to a checkpoint.

`train new` makes a model to start from.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import re
import shlex
import shutil
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NoReturn

from transformers import HfArgumentParser, set_seed
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from capo_bench.caches import cache_folder
from capo_bench.corpus.model import Corpus
from capo_bench.display import say, visible
from capo_bench.errors import CapoBenchError, exit_status, listed
from capo_bench.files import locked, parse_json, read_text, read_yaml
from capo_bench.prompts.prompter import Prompter, prompt_hash
from capo_bench.scoring.options import READING
from capo_bench.scoring.options import Options as Asked
from capo_bench.train.capo_config import CapoConfig
from capo_bench.train.capo_trainer import CapoTrainer
from capo_bench.train.card import CARD_FILE, Card, render
from capo_bench.train.checkpoints import cut_short, last_whole
from capo_bench.train.dataset import Dataset, Encoder, Options, build
from capo_bench.train.defaults import undertrained
from capo_bench.train.fresh import write_new
from capo_bench.train.kernel import emulates_bf16
from capo_bench.train.models import load_model, longest, with_lora
from capo_bench.train.options import NewOptions, RunConfig
from capo_bench.train.packed_config import PackedConfig
from capo_bench.train.packed_trainer import PackedTrainer
from capo_bench.train.sft_config import SftConfig
from capo_bench.train.sft_trainer import SftTrainer

CONFIGS: dict[str, type[PackedConfig]] = {"sft": SftConfig, "capo": CapoConfig}
RENAMED = {"--form": "--layout"}


_NO = ("false", "no")


class _Parser(HfArgumentParser):  # type: ignore[misc]
    def error(self, message: str) -> NoReturn:
        raise CapoBenchError(f"{message}; `{self.prog} --help` lists the options")


def main(argv: Sequence[str]) -> int:
    """Runs the command; prints what goes wrong in one line and returns the exit status."""
    return exit_status(lambda: run(argv))


def run(argv: Sequence[str]) -> None:
    """Trains as the arguments say.

    Args:
        argv: `sft` or `capo` and its options: those of `RunConfig`, of the method's config, and
            with it every option of `transformers.TrainingArguments`. Or `new` and `NewOptions`'.

    Raises:
        CapoBenchError: On bad input, a full disk or a loss that is not finite.
    """
    if argv and argv[0] == "new":
        _new(argv[1:])
        return
    if not argv or argv[0] not in CONFIGS:
        raise CapoBenchError("expected `train sft ...` or `train capo ...`; add --help for options")
    start, args = _parse(argv)
    keep_freed_memory()
    corpus = Asked(start.corpus, **_reading(start)).load()
    if not start.per_annotator:
        with _alone(args):
            _train(argv, start, args, corpus, start.target)
        return
    for annotator in start.target or corpus.annotator_ids:
        folder = Path(args.output_dir) / folder_name(annotator)
        own = [*argv, "--output_dir", str(folder)]
        resumes = str(args.resume_from_checkpoint or "no").lower() not in _NO
        own_start, own_args = _parse([*own, *(["--resume_from_checkpoint", "auto"] * resumes)])
        with _alone(own_args):
            if resumes and (folder / CARD_FILE).exists():
                _check_same_command(folder / CARD_FILE, _command(argv, args))
                _say(args, f"annotator {annotator} is done already")
            else:
                _train(argv, own_start, own_args, corpus, [annotator])


def folder_name(annotator: str) -> str:
    """What an annotator's folder is called: like them, if that is a name that leads nowhere else.

    Else by what is left of the id and a digest, so that no two annotators share a folder.
    """
    plain = re.sub(r"[^\w.-]", "_", annotator)[:60].lstrip(".-")
    if plain and plain == annotator:
        return annotator
    return f"{plain or '_'}-{hashlib.sha256(annotator.encode()).hexdigest()[:8]}"


def keep_freed_memory() -> None:
    """Has glibc keep the large tensors' memory when they are freed, for the next ones.

    It would hand it back to the system, and the system would clear every page again on the next
    step: 15 % of a step on a CPU. Elsewhere than on glibc nothing is done.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        m_trim_threshold, m_mmap_max = -1, -4  # malloc.h
        mallopt(m_mmap_max, 0)
        mallopt(m_trim_threshold, 2**31 - 1)


def _parse(argv: Sequence[str]) -> tuple[RunConfig, PackedConfig]:
    method, *rest = argv
    parser = _Parser((RunConfig, CONFIGS[method]), prog=f"capo-bench train {method}")
    for place, argument in enumerate(rest):
        if argument == "--config" or argument.startswith("--config="):
            file = argument.partition("=")[2] or "".join(rest[place + 1 : place + 2])
            rest = [*_from_yaml(Path(file)), *rest]
            break
    for name in (argument.partition("=")[0] for argument in rest):
        if name in RENAMED:
            raise CapoBenchError(f"{name} is called {RENAMED[name]} now")
    # transformers' name of the option is the longer one.
    rest = [
        f"--output_dir{a[8:]}" if a == "--output" or a.startswith("--output=") else a for a in rest
    ]
    if "--help" not in rest and not any(a.startswith("--output") for a in rest):
        raise CapoBenchError("no output folder; give one with --output DIR")
    try:
        start, args = parser.parse_args_into_dataclasses(args=rest, look_for_args_file=False)
    except (ValueError, ImportError) as error:  # deepspeed or a tracker, asked for and not there
        raise CapoBenchError(" ".join(str(error).split())) from error
    return start, args


def _new(argv: Sequence[str]) -> None:
    parser = _Parser(NewOptions, prog="capo-bench train new")
    try:
        (options,) = parser.parse_args_into_dataclasses(args=list(argv), look_for_args_file=False)
    except ValueError as error:
        raise CapoBenchError(str(error)) from error
    weights = write_new(Asked(options.corpus).load(), options, Path(options.output))
    say(f"{options.output}: {weights:,} random weights; train them with capo-bench train sft")


def _from_yaml(file: Path) -> list[str]:
    """The options of a YAML file as command-line arguments, so that both are read alike."""
    values, _ = read_yaml(file)
    if not isinstance(values, dict):
        raise CapoBenchError("expected a line `option: value` for each option", file=file)
    arguments: list[str] = []
    for name, value in values.items():
        given = value if isinstance(value, list) else [value]
        if value is not None:
            texts = (json.dumps(one) if isinstance(one, dict) else str(one) for one in given)
            arguments += [f"--{name}", *texts]
    return arguments


def _alone(args: PackedConfig) -> AbstractContextManager[None]:
    # Of several processes of one run the first speaks for all.
    return locked(Path(args.output_dir)) if args.process_index == 0 else nullcontext()


def _train(
    argv: Sequence[str], start: RunConfig, args: PackedConfig, corpus: Corpus, targets: list[str]
) -> None:
    method = argv[0]
    resume = _resume(args)
    _check_output(Path(args.output_dir), resume)
    model, tokenizer = load_model(start.model, dtype=start.dtype, attention=start.attention)
    set_seed(args.seed)
    if start.lora_rank:
        model = with_lora(
            model, rank=start.lora_rank, alpha=start.lora_alpha, targets=start.lora_targets
        )
    arguments = _template_arguments(args)
    encoder = Encoder(tokenizer, chat=args.apply_chat_template, arguments=arguments)
    prompter = Prompter(corpus, start.setting, form=encoder.form)
    asked = [(i, a) for i in corpus.split("train") for a, responses in i.cells.items() if responses]
    if asked:
        encoder.check(prompter(*asked[0]))
    train, validation = _datasets(start, args, corpus, prompter, encoder, targets, longest(model))
    prompts = prompt_hash(encoder.text(prompter(item, annotator)) for item, annotator in asked)
    if args.load_best_model_at_end is None:
        args.load_best_model_at_end = (
            validation is not None and args.eval_strategy == args.save_strategy == "epoch"
        )
    if args.load_best_model_at_end and args.metric_for_best_model is None:
        args.metric_for_best_model, args.greater_is_better = "loss", False
    trainer = _trainer(method, model, args, train, validation, tokenizer)
    items = f"{len({group.item for group in train.groups})} of {len(corpus.split('train'))}"
    _say(args, f"{items} training items, {len(train.groups)} groups, {trainer.layout} layout")
    _say(args, f"memory: {trainer.memory.text(trainer.pass_tokens)}")
    if emulates_bf16(trainer.model, bf16=args.bf16):
        _say(
            args,
            "this processor has no instructions for bfloat16: a step takes many times as long as in "
            "float32; leave --bf16 and a --dtype of bfloat16 out",
        )
    try:
        result = trainer.train(resume_from_checkpoint=resume)
    except KeyboardInterrupt:
        raise CapoBenchError(
            f"interrupted after step {trainer.state.global_step}; last good checkpoint: "
            f"{last_whole(Path(args.output_dir)) or 'none'}; go on with "
            "--resume_from_checkpoint true"
        ) from None
    short = undertrained(trainer.state.log_history)
    if short:
        _say(args, f"this run looks undertrained: {short}")
    facts = {
        "corpus": f"{corpus.name}, fingerprint {corpus.fingerprint}"
        + (" (synthetic)" if corpus.synthetic else ""),
        "annotators": ", ".join(targets) or f"all, jointly ({listed(corpus.annotator_ids, 12)})",
        "prompts": f"{start.setting}, hash {prompts}",
        "training items": items,
        "training groups": f"{trainer.run['data']} ({len(train.groups)})",
        "left out": "; ".join(train.notes) or "nothing",
        "layout": trainer.layout,
        "training loss": f"{result.training_loss:.4f} after {result.global_step} steps",
        **_validation_facts(trainer),
        **({"undertrained": short} if short else {}),
    }
    _save(trainer, argv, start, args, facts, targets or list(corpus.annotator_ids))


def _reading(start: RunConfig) -> dict[str, Any]:
    return {name: getattr(start, name) for name in READING}


def _trainer(
    method: str,
    model: Any,
    args: PackedConfig,
    train: Dataset,
    validation: Dataset | None,
    tokenizer: Any,
) -> PackedTrainer:
    groups = validation.groups if validation else None
    if method == "sft":
        return SftTrainer(model, args, train.groups, groups, processing_class=tokenizer)
    cache = cache_folder() / "reference"
    return CapoTrainer(model, args, train.groups, groups, cache=cache, processing_class=tokenizer)


def _datasets(
    start: RunConfig,
    args: PackedConfig,
    corpus: Corpus,
    prompter: Prompter,
    encoder: Encoder,
    targets: list[str],
    most: int | None,
) -> tuple[Dataset, Dataset | None]:
    options = Options(
        **_comparisons(args),
        balance=args.balance,
        max_length=min(args.max_length, most or args.max_length),
        max_trie_tokens=args.max_trie_tokens,
        drop_overlong=args.drop_overlong,
        seed=args.seed,
        items=start.train_items,
    )
    train = build(corpus, "train", prompter, encoder, options, targets=targets or None)
    for note in train.notes:
        _say(args, f"train: {note}")
    if args.eval_strategy == "no":
        return train, None
    if not any(item.split == "validation" for item in corpus.items):
        _say(args, f"corpus {corpus.name} has no validation split: no evaluation")
        args.eval_strategy = "no"
        return train, None
    # Of whom nothing was learned there is nothing to validate, nor a profile to ask with.
    learned = {one.annotator for group in train.groups for one in group.comparisons}
    options = replace(options, items=None)
    validation = build(
        corpus, "validation", prompter, encoder, options, targets=learned, required=False
    )
    for note in validation.notes:
        _say(args, f"validation: {note}")
    if not validation.groups:
        _say(args, "nobody who was trained on answered the validation split: no evaluation")
        args.eval_strategy = "no"
        return train, None
    return train, validation


def _comparisons(args: PackedConfig) -> dict[str, Any]:
    if not isinstance(args, CapoConfig):
        return {"rejected": None}
    return {
        "rejected": args.rejected,
        "divisible": args.loss == "sigmoid",
        "rejected_per_target": args.rejected_per_target,
    }


def _resume(args: PackedConfig) -> bool | str | None:
    value = args.resume_from_checkpoint
    if value is None or str(value).lower() in _NO:
        return None
    if str(value).lower() == "auto":
        return True if last_whole(Path(args.output_dir)) else None
    return True if str(value).lower() in ("true", "yes") else str(value)


def _check_output(output: Path, resume: bool | str | None) -> None:
    short = cut_short(output)
    if resume is None and set(output.glob(f"{PREFIX_CHECKPOINT_DIR}-*")) - set(short):
        raise CapoBenchError(
            f"{output} holds the checkpoints of a run; add --resume_from_checkpoint true to go on "
            "with it, or choose another folder"
        )
    for folder in short:
        shutil.rmtree(folder)


def _template_arguments(args: PackedConfig) -> dict[str, Any]:
    try:
        arguments = parse_json(args.chat_template_args or "{}")
    except ValueError as error:
        raise CapoBenchError(f"--chat_template_args is no JSON: {error}") from error
    if not isinstance(arguments, dict):
        raise CapoBenchError("--chat_template_args must be a JSON object")
    if args.enable_thinking is not None:
        arguments["enable_thinking"] = args.enable_thinking
    return arguments


def _validation_facts(trainer: PackedTrainer) -> dict[str, str]:
    evaluated = [entry for entry in trainer.state.log_history if "eval_nll" in entry]
    if not evaluated:
        return {}
    best = trainer.args.load_best_model_at_end
    last = min(evaluated, key=lambda entry: entry["eval_loss"]) if best else evaluated[-1]
    shown = {
        name.removeprefix("eval_"): value
        for name, value in last.items()
        if name.startswith("eval_") and name.removeprefix("eval_") in trainer.metrics
    }
    text = ", ".join(f"{name} {value:.4f}" for name, value in shown.items())
    return {"validation": f"{text} at step {last['step']}"}


def _save(
    trainer: PackedTrainer,
    argv: Sequence[str],
    start: RunConfig,
    args: PackedConfig,
    facts: dict[str, str],
    annotators: list[str],
) -> None:
    trainer.save_all(lambda: render(_card(trainer, argv, start, args, facts, annotators)))
    _say(args, f"saved in {args.output_dir}")


def _card(
    trainer: PackedTrainer,
    argv: Sequence[str],
    start: RunConfig,
    args: PackedConfig,
    facts: dict[str, str],
    annotators: list[str],
) -> Card:
    """The result's card; made last, as asking transformers for its defaults forgets the processes."""
    adapter = hasattr(trainer.model, "peft_config")
    base = start.model
    if adapter:
        base = trainer.model.peft_config["default"].base_model_name_or_path or base
    defaults = type(args)(output_dir=args.output_dir).to_dict()
    changed = {k: v for k, v in args.to_dict().items() if v != defaults.get(k)}
    return Card(
        method=argv[0],
        base=base,
        output=args.output_dir,
        adapter=adapter,
        annotators=tuple(annotators),
        facts=facts,
        settings={**asdict(start), **changed},
        command=_command(argv, args),
        chat=args.apply_chat_template,
        template_arguments=_template_arguments(args),
        setting=start.setting,
        corpus=start.corpus,
        reading=_reading(start),
    )


def _command(argv: Sequence[str], args: PackedConfig) -> str:
    return f"capo-bench train {shlex.join(_without_secrets(argv, args))}"


def _check_same_command(card: Path, command: str) -> None:
    """Refuses to take another command's result for this one's; resuming is no other command.

    Raises:
        CapoBenchError: If the card was written by another command.
    """
    of_resuming = re.compile(r" --resume_from_checkpoint[ =]\S+")
    known = [of_resuming.sub("", line) for line in read_text(card).splitlines()]
    if of_resuming.sub("", visible(command)) not in known:
        raise CapoBenchError(
            "was trained by another command; repeat that one, or choose another --output", file=card
        )


def _without_secrets(argv: Sequence[str], args: PackedConfig) -> list[str]:
    """The arguments as a card may show them, without tokens of a hub, by whichever option given."""
    secrets = {str(v) for k, v in vars(args).items() if k.endswith("_token") and v}
    shown = list(argv)
    for place, argument in enumerate(argv):
        name, equals, value = argument.partition("=")
        if argument in secrets:
            shown[place] = "..."
        elif equals and value in secrets:
            shown[place] = f"{name}=..."
    return shown


def _say(args: PackedConfig, text: str) -> None:
    if args.should_save:
        say(text, file=sys.stderr)
