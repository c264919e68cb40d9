"""What annotators were asked: the CAPO paper's tasks, LeWiDi-2025's other two, UKPConvArg1."""

from collections.abc import Mapping

from capo_bench.corpus.model import LabelSpace, TaskSpec

NLI = TaskSpec(
    name="nli",
    instruction=(
        "Given the context, is the statement true (entailment), false (contradiction), or could it "
        "be either (neutral)? Choose a label and explain why you chose it."
    ),
    fields={"context": "Context", "statement": "Statement"},
    labels=LabelSpace("multilabel", ("entailment", "neutral", "contradiction")),
    group_by=("context",),
)

PARAPHRASE = TaskSpec(
    name="paraphrase",
    instruction=(
        "Are the two questions paraphrases of each other? Choose a label on the scale from -5 "
        "(completely different in meaning) to 5 (the same in meaning) and explain why you chose it."
    ),
    fields={"question1": "Question 1", "question2": "Question 2"},
    labels=LabelSpace("ordinal", tuple(str(value) for value in range(-5, 6))),
    group_by=("question1", "question2"),
)

CSC = TaskSpec(
    name="csc",
    instruction=(
        "Given the context, how sarcastic is the response? Rate it on the scale from 1 (not at all "
        "sarcastic) to 6 (completely sarcastic)."
    ),
    fields={"context": "Context", "response": "Response"},
    labels=LabelSpace("ordinal", tuple(str(value) for value in range(1, 7))),
    group_by=("context",),
    explanations="none",
)

MP = TaskSpec(
    name="mp",
    instruction="Given the post, is the reply ironic or not?",
    fields={"post": "Post", "reply": "Reply"},
    labels=LabelSpace(
        "nominal", ("not ironic", "ironic"), aliases={"0": "not ironic", "1": "ironic"}
    ),
    group_by=("post",),
    explanations="none",
)

CONVINCING = TaskSpec(
    name="convincing",
    instruction=(
        "Two arguments take the same stance in a debate. Which of them is more convincing: a1 (the "
        "first), a2 (the second), or are they equal? Choose a label and explain why you chose it."
    ),
    fields={
        "debate": "Debate",
        "stance": "Stance",
        "argument1": "Argument a1",
        "argument2": "Argument a2",
    },
    labels=LabelSpace("nominal", ("a1", "a2", "equal")),
    group_by=("debate",),
)

LEWIDI: Mapping[str, TaskSpec] = {task.name: task for task in (NLI, PARAPHRASE, CSC, MP)}
"""LeWiDi-2025's tasks by name."""


def is_lewidi(task: TaskSpec) -> bool:
    """Whether LeWiDi-2025's conventions of scoring were made for this task."""
    known = LEWIDI.get(task.name)
    return known is not None and known.labels == task.labels
