"""The two tasks that the CAPO paper studies, as their annotators were asked."""

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
