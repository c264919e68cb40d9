"""Runs: systems trained with a seed and evaluated, and the stages that they take.

Each stage is a process of its own, by a command that anyone can repeat.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from capo_bench.errors import CapoBenchError
from capo_bench.experiments.stages import Stage
from capo_bench.harness.paths import tasks_path
from capo_bench.prompts.prompter import Setting, task_name
from capo_bench.train.card import CARD_FILE

Options = Mapping[str, str | int | float | bool]

_FOUND = "results/*/results_*.json"


@dataclass(frozen=True)
class Preset:
    """How large the runs are. Options are those of `capo-bench train` and `capo-bench run`.

    Attributes:
        train: For every training run.
        sft: For supervised fine-tuning.
        capo: For CAPO.
        model: Kind of model that is evaluated.
        model_args: For it, beside `pretrained`.
        evaluate: For the evaluation.
        metadata: For the tasks.
        seeds: Of SFT and CAPO; ablations take the first.
        chat: Whether prompts are wrapped in the model's chat template, without thinking.
        prompted: Whether the untrained model is asked as well.
        capo_cost: What an update of CAPO costs in updates of SFT on as many items; on NLI it reads
            2.9 times the tokens (`plan`).
    """

    train: Options
    sft: Options
    capo: Options
    model: str
    model_args: Options
    evaluate: Options
    metadata: Options = field(default_factory=dict)
    seeds: tuple[int, ...] = (0, 1)
    chat: bool = False
    prompted: bool = True
    capo_cost: float = 3.0


_CPU: Options = {"use_cpu": True, "eval_strategy": "no", "save_strategy": "no"}
_ONE_CORE = Preset(
    train={**_CPU, "per_device_train_batch_size": 4},
    sft={
        "learning_rate": 5e-4,
        "num_train_epochs": 3,
        "eval_strategy": "epoch",
        "save_strategy": "epoch",
        "save_total_limit": 1,
    },
    capo={"learning_rate": 5e-5, "max_steps": 60, "anchor": 0.1},
    model="capo-hf",
    model_args={"dtype": "float32"},
    evaluate={"batch_size": 48, "device": "cpu", "gen_kwargs": "max_gen_toks=64"},
    metadata={"k": 4},
    seeds=(0, 1, 2),
)

PRESETS: Mapping[str, Preset] = {
    # Seconds on a tiny model: does the whole ladder stand?
    "smoke": Preset(
        train={**_CPU, "max_steps": 2, "per_device_train_batch_size": 2, "logging_steps": 1},
        sft={"learning_rate": 1e-3},
        capo={"learning_rate": 1e-3},
        model="capo-hf",
        model_args={"dtype": "float32"},
        evaluate={"batch_size": 32, "device": "cpu", "gen_kwargs": "max_gen_toks=16"},
        metadata={"k": 2},
        seeds=(0,),
    ),
    # A model of some 100 million parameters on one core; `ladder --plan` tells the hours.
    "cpu": _ONE_CORE,
    # The same, in half of the time, where the processor has instructions for bfloat16.
    "cpu-bf16": replace(
        _ONE_CORE, train={**_ONE_CORE.train, "bf16": True}, model_args={"dtype": "bfloat16"}
    ),
    # A model of two million random weights (`train new`) on one core, and a world to learn.
    "scratch": replace(
        _ONE_CORE,
        sft={**_ONE_CORE.sft, "learning_rate": 1.5e-3, "num_train_epochs": 4, "warmup_steps": 100},
        capo={**_ONE_CORE.capo, "learning_rate": 3e-5},
        prompted=False,
    ),
    # A model of a few billion parameters on one accelerator, with LoRA: lengths and rates are what
    # `capo-bench train` takes by default for 3.4 billion.
    "gpu": Preset(
        train={
            "bf16": True,
            "lora_rank": 16,
            "per_device_train_batch_size": 4,
            "eval_strategy": "epoch",
            "save_strategy": "epoch",
        },
        sft={"learning_rate": 2e-4, "num_train_epochs": 3},
        capo={"learning_rate": 2e-5, "num_train_epochs": 1, "anchor": 0.1},
        model="hf",
        model_args={"dtype": "bfloat16"},
        evaluate={"batch_size": "auto", "gen_kwargs": "max_gen_toks=96"},
        metadata={"k": 20},
        seeds=(0, 1, 2),
        chat=True,
    ),
}


@dataclass(frozen=True)
class Run:
    """One system with one seed.

    Attributes:
        system: What it is called in tables, such as `capo-softmax`.
        method: `prompted`, `sft` or `capo`.
        setting: The prompts that it is asked with.
        seed: Of training.
        start: System whose run with the same seed it is trained from, or, without training, whose
            checkpoint is evaluated; `None`: the base model.
        train: Options of `capo-bench train`; empty: it is not trained.
        corpus: Corpus or file that it is trained and evaluated on; `None`: the experiment's.
        evaluate: Options of `capo-bench run` beside the preset's.
        metadata: Of the task, beside the preset's.
    """

    system: str
    method: str
    setting: Setting
    seed: int = 0
    start: str | None = None
    train: Options = field(default_factory=dict)
    corpus: str | None = None
    evaluate: Options = field(default_factory=dict)
    metadata: Options = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Name of its folder."""
        return self.system if self.method == "prompted" else f"{self.system}-{self.seed}"


def task_for(corpus: str, setting: Setting) -> str | None:
    """The task that asks a corpus, or a corpus file, in a setting; `None` where there is none."""
    name = task_name("corpus" if is_file(corpus) else corpus, setting)
    return name if any(tasks_path().glob(f"*/{name}.yaml")) else None


def is_file(corpus: str) -> bool:
    """Whether it is the file of a corpus, and not the name of one."""
    return corpus.endswith(".jsonl")


@dataclass(frozen=True)
class Experiment:
    """Runs of one model on one corpus, in one folder.

    Attributes:
        model: A folder, a hub name or a `.gguf` file, as `capo-bench train` takes it.
        corpus: A corpus that has tasks of its own, such as `nli`, or a corpus file.
        output: Folder of all results; a run has a folder of its own in it.
        preset: How large the runs are.
        runs: What is run, each after the one that it starts from.
        kept: What of the corpus: `min_responses`, `min_annotators`.

    Raises:
        CapoBenchError: If the corpus has no tasks.
    """

    model: str
    corpus: str
    output: Path
    preset: Preset
    runs: tuple[Run, ...]
    kept: Options = field(default_factory=dict)

    def __post_init__(self) -> None:
        if task_for(self.corpus, "zero-shot") is None:
            raise CapoBenchError(
                f"corpus {self.corpus} has no tasks; experiments run on a corpus that has some, "
                "such as nli, paraphrase or convincing, and on .jsonl files"
            )

    def folder(self, run: Run) -> Path:
        """Where a run's checkpoint and results lie."""
        return self.output / run.name

    def results(self, run: Run) -> Path | None:
        """The run's latest file of lm-eval results, once there is one; its name ends in the date."""
        return max(self.folder(run).glob(_FOUND), default=None)

    def stages(self, run: Run | None = None) -> list[Stage]:
        """The processes that a run takes, or all runs one after the other."""
        if run is None:
            return [stage for one in self.runs for stage in self.stages(one)]
        trained = self._training(run)
        asked = Stage(
            self.folder(run), "evaluate", "evaluate", self._evaluate(run), _FOUND, start=trained
        )
        return [trained, asked] if trained and run.train else [asked]

    def _training(self, run: Run) -> Stage | None:
        """The stage that makes the checkpoint which a run asks; `None`: it asks the base model."""
        start = self._start(run)
        before = self._training(start) if start else None
        if not run.train:
            return before
        return Stage(
            self.folder(run),
            "train",
            f"train {run.method}",
            self._train(run),
            f"model/{CARD_FILE}",
            ("--resume_from_checkpoint", "auto"),
            before,
        )

    def _checkpoint(self, run: Run) -> Path:
        return self.folder(run) / "model"

    def _started(self, run: Run) -> str:
        start = self._start(run)
        return str(self._checkpoint(start)) if start else self.model

    def _start(self, run: Run) -> Run | None:
        if run.start is None:
            return None
        return next(r for r in self.runs if (r.system, r.seed) == (run.start, run.seed))

    def _train(self, run: Run) -> tuple[str, ...]:
        options = {
            "model": self._started(run),
            "corpus": run.corpus or self.corpus,
            **self.kept,
            "setting": run.setting,
            "output": str(self._checkpoint(run)),
            **({"apply_chat_template": True, "enable_thinking": False} if self.preset.chat else {}),
            **run.train,
        }
        return (sys.executable, "-m", "capo_bench.train", run.method, *_flags(options))

    def _evaluate(self, run: Run) -> tuple[str, ...]:
        checkpoint = str(self._checkpoint(run)) if run.train else self._started(run)
        arguments: dict[str, str | int | float | bool]
        if checkpoint == self.model:
            arguments = self._base()
        elif self.preset.train.get("lora_rank"):
            arguments = {**self._base(), "peft": checkpoint}
        else:
            arguments = {"pretrained": checkpoint}
        arguments |= self.preset.model_args
        chat = self.preset.chat
        if chat:
            arguments["enable_thinking"] = False
        file = run.corpus or (self.corpus if is_file(self.corpus) else None)
        corpus = {**({"corpus": file} if file else {}), **self.kept}
        task = task_for(self.corpus, run.setting)
        if task is None:
            raise CapoBenchError(f"corpus {self.corpus} has no task for the setting {run.setting}")
        options = {
            "model": self.preset.model,
            "model_args": ",".join(f"{key}={value}" for key, value in arguments.items()),
            "tasks": task,
            "metadata": json.dumps({**self.preset.metadata, **corpus, **run.metadata}),
            "output_path": str(self.folder(run) / "results"),
            "seed": run.seed,
            **self.preset.evaluate,
            **run.evaluate,
        }
        flags = [*_flags(options), "--log_samples", *(["--apply_chat_template"] if chat else [])]
        return (sys.executable, "-m", "capo_bench", "run", *flags)

    def _base(self) -> dict[str, str | int | float | bool]:
        file = Path(self.model)
        if file.suffix == ".gguf":
            return {"pretrained": str(file.parent), "gguf_file": file.name}
        return {"pretrained": self.model}


def _flags(options: Options) -> list[str]:
    return [part for name, value in options.items() for part in (f"--{name}", _text(value))]


def _text(value: str | int | float | bool) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
