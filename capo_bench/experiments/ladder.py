"""The paper's comparison as one resumable sequence: prompting, SFT, CAPO and CAPO's ablations.

A *rung* is one system with one seed: at most one training run and one evaluation through lm-eval.
Each runs as a process of its own, by a command that anyone can repeat; what stands is not run again.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from capo_bench.errors import CapoBenchError
from capo_bench.files import write_text
from capo_bench.harness.paths import tasks_path
from capo_bench.prompts.prompter import Setting, task_name
from capo_bench.train.command import CARD_FILE

Options = Mapping[str, str | int | float | bool]
RUNG_FILE = "rung.json"


def execute(command: Sequence[str]) -> int:
    """Runs a command as a process that writes to this one's terminal; its exit status."""
    return subprocess.run(command, check=False).returncode


@dataclass(frozen=True)
class Preset:
    """How large the runs are. Options are those of `capo-bench train` and of `lm_eval run`.

    Attributes:
        train: For every training run.
        sft: For supervised fine-tuning.
        capo: For CAPO.
        model_args: For lm-eval's `hf` model, beside `pretrained`.
        evaluate: For lm-eval.
        metadata: For the tasks.
        seeds: Of SFT and CAPO; ablations take the first.
    """

    train: Options
    sft: Options
    capo: Options
    model_args: Options
    evaluate: Options
    metadata: Options = field(default_factory=dict)
    seeds: tuple[int, ...] = (0, 1)


_CPU: Options = {"use_cpu": True, "eval_strategy": "no", "save_strategy": "no"}

PRESETS: Mapping[str, Preset] = {
    # Seconds on a tiny model: does the whole ladder stand?
    "smoke": Preset(
        train={**_CPU, "max_steps": 2, "per_device_train_batch_size": 2, "logging_steps": 1},
        sft={"learning_rate": 1e-3},
        capo={"learning_rate": 1e-3},
        model_args={"dtype": "float32"},
        evaluate={"batch_size": 32, "device": "cpu", "gen_kwargs": "max_gen_toks=16"},
        metadata={"k": 2},
        seeds=(0,),
    ),
    # A model of some 100 million parameters on one core, about three hours a corpus.
    "cpu": Preset(
        train={**_CPU, "per_device_train_batch_size": 4, "logging_steps": 5},
        sft={"learning_rate": 2e-4, "num_train_epochs": 1, "eval_strategy": "epoch"},
        capo={"learning_rate": 5e-5, "max_steps": 30, "anchor": 0.1},
        model_args={"dtype": "float32"},
        evaluate={"batch_size": 64, "device": "cpu", "gen_kwargs": "max_gen_toks=48"},
        metadata={"k": 4},
        seeds=(0, 1, 2),
    ),
    # A model of a few billion parameters on one accelerator, with LoRA.
    "gpu": Preset(
        train={
            "bf16": True,
            "lora_rank": 16,
            "per_device_train_batch_size": 8,
            "eval_strategy": "epoch",
            "save_strategy": "epoch",
        },
        sft={"learning_rate": 2e-4, "num_train_epochs": 3},
        capo={"learning_rate": 2e-5, "num_train_epochs": 2, "anchor": 0.1},
        model_args={"dtype": "bfloat16"},
        evaluate={"batch_size": "auto", "gen_kwargs": "max_gen_toks=96"},
        metadata={"k": 20},
        seeds=(0, 1, 2),
    ),
}

ABLATIONS: Mapping[str, tuple[str, Options]] = {
    "capo-no-sft": ("base", {}),
    "capo-softmax": ("sft", {"loss": "softmax"}),
    "capo-beta-0.5": ("sft", {"beta": 0.5}),
    "capo-same-label": ("sft", {"rejected": "same-label"}),
    "capo-other-label": ("sft", {"rejected": "other-label"}),
    "capo-no-anchor": ("sft", {"anchor": 0}),
}
"""What CAPO starts from and what differs from the preset's `capo`."""

PROMPTED: tuple[Setting, ...] = ("zero-shot", "icl", "profile")


@dataclass(frozen=True)
class Rung:
    """One system with one seed.

    Attributes:
        system: What it is called in tables, such as `capo-softmax`.
        method: `prompted`, `sft` or `capo`.
        setting: The prompts that it is asked with.
        seed: Of training.
        start: System whose rung with the same seed it is trained from, or, without training, whose
            checkpoint is evaluated; `None`: the base model.
        train: Options of `capo-bench train`; empty: it is not trained.
        corpus: Corpus or file that it is trained and evaluated on; `None`: the ladder's.
        evaluate: Options of `lm_eval run` beside the preset's.
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
        """Folder of the rung."""
        return f"{self.system}-{self.seed}" if self.train else self.system


def rungs(preset: Preset, *, ablations: bool = True) -> tuple[Rung, ...]:
    """All rungs, each after the one that it starts from, the paper's before the ablations."""
    sft, capo = {**preset.train, **preset.sft}, {**preset.train, **preset.capo}
    found = [Rung(setting, "prompted", setting) for setting in PROMPTED]
    for seed in preset.seeds:
        found.append(Rung("sft", "sft", "tag", seed, None, {**sft, "seed": seed}))
        found.append(Rung("capo", "capo", "tag", seed, "sft", {**capo, "seed": seed}))
    for system, (start, changed) in ABLATIONS.items() if ablations else ():
        seed = preset.seeds[0]
        found.append(
            Rung(
                system,
                "capo",
                "tag",
                seed,
                None if start == "base" else start,
                {**capo, **changed, "seed": seed},
            )
        )
    return tuple(found)


@dataclass(frozen=True)
class Step:
    """One process: the training or the evaluation of a rung.

    Attributes:
        rung: The rung.
        kind: `train` or `evaluate`.
        command: What is run.
        done: Whether its result stands.
        seconds: How long it took, if it was measured.
    """

    rung: Rung
    kind: str
    command: tuple[str, ...]
    done: bool
    seconds: float | None


class Ladder:
    """The rungs of one model on one corpus, in one folder.

    Args:
        model: A folder, a hub name or a `.gguf` file, as `capo-bench train` takes it.
        corpus: A corpus that has tasks of its own: `nli`, `paraphrase`, `mini-nli`, ...
        output: Folder of all results; a rung has a folder of its own in it.
        preset: How large the runs are.
        rungs: What is run, each rung after the one that it starts from.
        run: Runs a command and returns its exit status.

    Raises:
        CapoBenchError: If the corpus has no tasks.
    """

    def __init__(
        self,
        model: str,
        corpus: str,
        output: Path,
        preset: Preset,
        rungs: Sequence[Rung],
        *,
        run: Callable[[Sequence[str]], int] = execute,
    ) -> None:
        if not list(tasks_path().glob(f"*/{task_name(corpus, 'zero-shot')}.yaml")):
            raise CapoBenchError(
                f"corpus {corpus} has no tasks; the ladder climbs nli, paraphrase, mini-nli and "
                "mini-paraphrase"
            )
        self.model, self.corpus, self.output, self.preset = model, corpus, output, preset
        self.rungs = tuple(rungs)
        self._execute = run

    def folder(self, rung: Rung) -> Path:
        """Where a rung's checkpoint, results and `rung.json` lie."""
        return self.output / rung.name

    def results(self, rung: Rung) -> Path | None:
        """The rung's folder of lm-eval results, once they are there."""
        found = sorted(self.folder(rung).glob("results/*/results_*.json"))
        return found[-1].parent if found else None

    def steps(self) -> list[Step]:
        """Every process that the ladder takes, in order, and whether it has run.

        Raises:
            CapoBenchError: If a result stands that another command made.
        """
        found = []
        for rung in self.rungs:
            known = self._known(rung)
            commands = {"train": self._train(rung)} if rung.train else {}
            commands["evaluate"] = self._evaluate(rung)
            for kind, command in commands.items():
                done = kind in known and self._stands(rung, kind)
                if done and known[kind]["command"] != list(command):
                    raise CapoBenchError(
                        f"{self.folder(rung) / RUNG_FILE}: {kind} ran with other settings than this "
                        "preset has; delete the rung's folder, or choose another --output"
                    )
                found.append(Step(rung, kind, command, done, known.get(kind, {}).get("seconds")))
        return found

    def climb(self) -> Iterator[tuple[Step, float | None]]:
        """Runs what does not stand yet.

        Yields:
            Each step before it runs, and the seconds that all that is left is expected to take, by
            the mean of the steps of its kind that have run; `None` where there is no such step.

        Raises:
            CapoBenchError: If a process fails.
        """
        while True:
            steps = self.steps()
            step = next((step for step in steps if not step.done), None)
            if step is None:
                return
            yield step, _left(steps)
            self._run(step)

    def _run(self, step: Step) -> None:
        self.folder(step.rung).mkdir(parents=True, exist_ok=True)
        start = time.monotonic()
        status = self._execute(step.command)
        if status:
            raise CapoBenchError(
                f"{step.rung.name}: {step.kind} stopped with status {status}; its command was "
                f"{shlex.join(step.command)}; the same ladder goes on from here"
            )
        if not self._stands(step.rung, step.kind):
            raise CapoBenchError(f"{step.rung.name}: {step.kind} left no result; see above why")
        known = self._known(step.rung)
        known[step.kind] = {
            "command": list(step.command),
            "seconds": round(time.monotonic() - start, 1),
        }
        write_text(self.folder(step.rung) / RUNG_FILE, json.dumps(known, indent=1) + "\n")

    def _known(self, rung: Rung) -> dict[str, Any]:
        file = self.folder(rung) / RUNG_FILE
        if not file.is_file():
            return {}
        try:
            known: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        except ValueError as error:
            raise CapoBenchError(f"{file} is damaged ({error}); delete its folder") from error
        return known

    def _stands(self, rung: Rung, kind: str) -> bool:
        if kind == "train":
            # The model card is what training writes last.
            return (self._checkpoint(rung) / CARD_FILE).is_file()
        return self.results(rung) is not None

    def _checkpoint(self, rung: Rung) -> Path:
        return self.folder(rung) / "model"

    def _started(self, rung: Rung) -> str:
        if rung.start is None:
            return self.model
        start = next(r for r in self.rungs if (r.system, r.seed) == (rung.start, rung.seed))
        return str(self._checkpoint(start))

    def _train(self, rung: Rung) -> tuple[str, ...]:
        options = {
            "model": self._started(rung),
            "corpus": rung.corpus or self.corpus,
            "setting": rung.setting,
            "output": str(self._checkpoint(rung)),
            **rung.train,
        }
        return (sys.executable, "-m", "capo_bench.train", rung.method, *_flags(options))

    def _evaluate(self, rung: Rung) -> tuple[str, ...]:
        checkpoint = str(self._checkpoint(rung)) if rung.train else self._started(rung)
        arguments: dict[str, str | int | float | bool]
        if checkpoint == self.model:
            arguments = self._base()
        elif self.preset.train.get("lora_rank"):
            arguments = {**self._base(), "peft": checkpoint}
        else:
            arguments = {"pretrained": checkpoint}
        arguments |= self.preset.model_args
        corpus = {"corpus": rung.corpus} if rung.corpus else {}
        options = {
            "include_path": str(tasks_path()),
            "model": "hf",
            "model_args": ",".join(f"{key}={value}" for key, value in arguments.items()),
            "tasks": task_name(self.corpus, rung.setting),
            "metadata": json.dumps({**self.preset.metadata, **corpus, **rung.metadata}),
            "output_path": str(self.folder(rung) / "results"),
            "seed": rung.seed,
            **self.preset.evaluate,
            **rung.evaluate,
        }
        return (sys.executable, "-m", "lm_eval", "run", *_flags(options), "--log_samples")

    def _base(self) -> dict[str, str | int | float | bool]:
        file = Path(self.model)
        if file.suffix == ".gguf":
            return {"pretrained": str(file.parent), "gguf_file": file.name}
        return {"pretrained": self.model}


def climb_shown(ladder: Ladder, console: Console) -> None:
    """Runs what does not stand yet; before each step a line says which it is and what is left."""
    for step, seconds in ladder.climb():
        steps = ladder.steps()
        place = sum(other.done for other in steps) + 1
        left = f", about {seconds / 60:.0f} min left" if seconds is not None else ""
        console.rule(f"{place} of {len(steps)}: {step.kind} {step.rung.name}{left}")


def _left(steps: Sequence[Step]) -> float | None:
    """Seconds that the steps that have not run are expected to take."""
    total = 0.0
    for step in (step for step in steps if not step.done):
        alike = [
            other.seconds
            for other in steps
            if other.seconds is not None
            and (other.kind, other.rung.method) == (step.kind, step.rung.method)
        ]
        if not alike:
            return None
        total += sum(alike) / len(alike)
    return total


def _flags(options: Options) -> list[str]:
    return [part for name, value in options.items() for part in (f"--{name}", _text(value))]


def _text(value: str | int | float | bool) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
