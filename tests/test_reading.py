"""What chat models write around an answer: read where it says one thing, never guessed."""

import pytest

from capo_bench.corpus.model import LabelSpace, TaskSpec
from capo_bench.corpus.tasks import NLI, PARAPHRASE
from capo_bench.prompts.responses import complaints, parse, truncation

WHY = "It isn't said who left."

ARGUMENTS = TaskSpec(
    name="arguments",
    instruction="Which argument is more convincing?",
    fields={"a1": "Argument 1", "a2": "Argument 2"},
    labels=LabelSpace("nominal", ("a1", "a2", "equal")),
    group_by=(),
)

# Written with LABEL and WHY in the place of a label and an explanation.
FORMS = [
    "Label: LABEL\nExplanation: WHY",
    " LABEL\nExplanation: WHY",
    "LABEL\nWHY",
    "LABEL\n\nWHY",
    "**LABEL**\n\nWHY",
    "LABEL: WHY",
    "LABEL - WHY",
    "LABEL – WHY",
    "**LABEL** — WHY",
    "\n\nLabel: LABEL\n\nExplanation: WHY\n",
    "label: LABEL\nexplanation: WHY",
    "LABEL: LABEL\nEXPLANATION: WHY",
    "**Label:** LABEL\n**Explanation:** WHY",
    "**Label**: LABEL\n\n**Explanation**: WHY",
    "__Label__: LABEL\n__Explanation__: WHY",
    "__Label:__ LABEL\n__Explanation:__ WHY",
    "*Label:* LABEL\n*Explanation:* WHY",
    "_Label:_ _LABEL_\n_Explanation:_ WHY",
    "**Label: LABEL**\n**Explanation: WHY**",
    "### Label: LABEL\n### Explanation: WHY",
    "## Label\nLABEL\n\n## Explanation\nWHY",
    "# Answer\n\n**LABEL**\n\n# Reason\n\nWHY",
    "**Label**\nLABEL\n\n**Explanation**\nWHY",
    "Label:\nLABEL\nExplanation:\nWHY",
    "- Label: LABEL\n- Explanation: WHY",
    "* **Label:** LABEL\n* **Explanation:** WHY",
    "• Label: LABEL\n• Explanation: WHY",
    "1. Label: LABEL\n2. Explanation: WHY",
    "1) **Label:** LABEL\n2) **Explanation:** WHY",
    "> Label: LABEL\n> Explanation: WHY",
    "```\nLabel: LABEL\nExplanation: WHY\n```",
    "```text\nLabel: LABEL\nExplanation: WHY\n```",
    "Here you go:\n\n```\nLabel: LABEL\nExplanation: WHY\n```",
    "Label: LABEL\nExplanation: WHY\n```",
    "Label: `LABEL`\nExplanation: WHY",
    "Label: “LABEL”\nExplanation: WHY",
    "Label: ‘LABEL’\nExplanation: WHY",
    "Label: «LABEL»\nExplanation: WHY",
    "Label: [LABEL]\nExplanation: WHY",
    "Label: (LABEL)\nExplanation: WHY",
    "Label: <LABEL>\nExplanation: WHY",
    "Label: \\boxed{LABEL}\nExplanation: WHY",
    "Label: $\\boxed{\\text{LABEL}}$\nExplanation: WHY",
    "Label: LABEL.\nExplanation: WHY",
    "Label: LABEL;\nExplanation: WHY",
    "Label：LABEL\nExplanation：WHY",
    "Label = LABEL\nExplanation = WHY",
    "Label - LABEL\nExplanation - WHY",
    "Label – LABEL\nExplanation – WHY",
    "Label -> LABEL\nExplanation -> WHY",
    "Label: LABEL Explanation: WHY",
    "Label: LABEL, Explanation: WHY",
    "Label: LABEL. Explanation: WHY",
    "Label: LABEL | Explanation: WHY",
    "Label: LABEL; Reason: WHY",
    "**Label:** LABEL **Explanation:** WHY",
    "Label: LABEL (Explanation: WHY",
    "Label: LABEL - WHY",
    "Label: LABEL. WHY",
    "Label: LABEL\nWHY",
    "Label: LABEL\n\nWHY",
    "Label: LABEL\nReason: WHY",
    "Label: LABEL\nReasoning: WHY",
    "Label: LABEL\nRationale: WHY",
    "Label: LABEL\nJustification: WHY",
    "Label: LABEL\nWhy: WHY",
    "Label: LABEL\nExplanation (one or two sentences): WHY",
    "Label (one of those allowed): LABEL\nExplanation: WHY",
    "Label for Ann1: LABEL\nExplanation: WHY",
    "Answer: LABEL\nExplanation: WHY",
    "Answer: LABEL. WHY",
    "Answer:\nLabel: LABEL\nExplanation: WHY",
    "Answer: Label: LABEL\nExplanation: WHY",
    "Final answer: LABEL\nExplanation: WHY",
    "My label: LABEL\nMy explanation: WHY",
    "Annotator's label: LABEL\nAnnotator's explanation: WHY",
    "Rating: LABEL\nReason: WHY",
    "Verdict: LABEL\nRationale: WHY",
    "The label is LABEL.\nExplanation: WHY",
    "The answer is: LABEL\nExplanation: WHY",
    "Label: I would say LABEL\nExplanation: WHY",
    "Label: It is LABEL.\nExplanation: WHY",
    "Explanation: WHY\nLabel: LABEL",
    "**Explanation:** WHY\n\n**Label:** LABEL",
    "Reasoning: WHY\nFinal answer: LABEL",
    "Sure! Here is the answer:\n\nLabel: LABEL\nExplanation: WHY",
    "Certainly, as annotator Ann1 I would answer:\nLabel: LABEL\nExplanation: WHY",
    "Here is my answer: Label: LABEL\nExplanation: WHY",
    "Okay. Label: LABEL Explanation: WHY",
    "Annotator Ann1:\nLabel: LABEL\nExplanation: WHY",
    "Label: LABEL\nExplanation: WHY\n\nLet me know if you need anything else!",
    "Label: LABEL\nExplanation: WHY\n\n---\nConfidence: high",
    "Label: LABEL\nExplanation: WHY\n\nLabel: LABEL\nExplanation: I said so.",
    "Label: LABEL\nExplanation: WHY\n\nFinal answer: LABEL",
    "<think>\nHm.\n</think>\n\nLabel: LABEL\nExplanation: WHY",
    "<think>\n\n</think>\n\nLabel: LABEL\nExplanation: WHY",
    "Hm, which one?\n</think>\n\nLabel: LABEL\nExplanation: WHY",
    "<think>Label: nonsense</think><think>more</think>Label: LABEL\nExplanation: WHY",
    "<thinking>Hm.</thinking>\n**Label:** LABEL\n**Explanation:** WHY",
    "[THINK]Hm.[/THINK]Label: LABEL\nExplanation: WHY",
    "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>final<|message|>"
    "Label: LABEL\nExplanation: WHY<|return|>",
    "analysisHm, which one?assistantfinalLabel: LABEL\nExplanation: WHY",
    "◁think▷Hm.◁/think▷Label: LABEL\nExplanation: WHY",
    "Label: LABEL\nExplanation: WHY<|im_end|>",
    "Label: LABEL\nExplanation: WHY<end_of_turn>\n<eos>",
    "Label: LABEL\nExplanation: WHY</s>",
    "Label: LABEL\nExplanation: WHY <|eot_id|>",
    "Label: LABEL\nExplanation: WHY<｜end▁of▁sentence｜>",
    "Label: LABEL\nExplanation: WHY<|im_end|>\n<|im_start|>user\nThanks!",
    "<|im_start|>assistant\nLabel: LABEL\nExplanation: WHY<|im_end|>",
    "<|start_header_id|>assistant<|end_header_id|>\n\nLabel: LABEL\nExplanation: WHY<|eot_id|>",
    "<s>[/INST] Label: LABEL\nExplanation: WHY</s>",
    '{"label": "LABEL", "explanation": "WHY"}',
    '{"Label": "LABEL", "Explanation": "WHY"}',
    '{"explanation": "WHY", "label": "LABEL", "confidence": 0.9}',
    '{"label": ["LABEL"], "reason": "WHY"}',
    '{"answer": {"label": "LABEL", "explanation": "WHY"}}',
    '[{"label": "LABEL", "explanation": "WHY"}]',
    '```json\n{\n  "label": "LABEL",\n  "explanation": "WHY"\n}\n```',
    'Sure:\n```json\n{"final_label": "LABEL", "rationale": "WHY"}\n```\nAnything else?',
    "{'label': 'LABEL', 'explanation': \"WHY\"}",
    'Label: LABEL\nExplanation: WHY\n\n{"label": "LABEL", "explanation": "WHY"}',
    "<label>LABEL</label>\n<explanation>WHY</explanation>",
    "<answer>Label: LABEL\nExplanation: WHY</answer>",
    "<reasoning>WHY</reasoning>\n<answer>LABEL</answer>",
    "<b>Label:</b> LABEL<br><b>Explanation:</b> WHY",
    "| Label | Explanation |\n|---|---|\n| LABEL | WHY |",
    "| Label | LABEL |\n| Explanation | WHY |",
    "\ufeffLabel: LABEL\r\nExplanation: WHY\r\n",
    "Label:\N{NO-BREAK SPACE}LABEL\nExplanation: WHY",
    "Context: Somebody left.\nStatement: Ann left.\n\nLabel: LABEL\nExplanation: WHY",
    "Label: LABEL\nExplanation: WHY\n\nAnnotator Ann2:\nLabel: something else\nExplanation: No.",
    '{"label": "LABEL", "explanation": "WHY", "confidence": 0.8, "alternatives": ["none"]}',
    '{"annotator": "Ann1", "label": "LABEL", "explanation": "WHY"}',
    '{"response": {"annotator": "Ann1", "label": "LABEL", "explanation": "WHY"}}',
    '{"answers": [{"label": "LABEL", "explanation": "WHY"}]}',
    '{"Ann1": {"label": "LABEL", "explanation": "WHY"}}',
    '{"label": {"value": "LABEL"}, "explanation": "WHY"}',
    '{\n  label: "LABEL",\n  explanation: "WHY"\n}',
    '{"label": "LABEL", "explanation": "WHY",}',
    '{"label": "LABEL", "explanation": ["WHY"]}',
    '{"label": "LABEL", "explanation": {"text": "WHY"}}',
    "```yaml\nlabel: LABEL\nexplanation: WHY\n```",
    'label: "LABEL"\nexplanation: "WHY"',
    "label: 'LABEL'\nexplanation: >\n  WHY",
    "answer:\n  label: LABEL\n  explanation: WHY",
    "- label: LABEL\n  explanation: WHY",
    "<answer>\n  <label>LABEL</label>\n  <explanation>WHY</explanation>\n</answer>",
    "<response><label>LABEL</label><explanation>WHY</explanation></response>",
    "<label> LABEL </label>\nWHY",
    "<answer>LABEL</answer>\n<explanation>WHY</explanation>",
    "<final_answer>LABEL</final_answer><reason>WHY</reason>",
    "**Answer**: LABEL\n\n**Explanation**: WHY",
    "**Answer: LABEL**\n\nWHY",
    "**Final Answer:** LABEL\n**Reasoning:** WHY",
    "Final Answer: **LABEL**\n\nExplanation: WHY",
    "**Explanation**: WHY\n\n**Answer**: **LABEL**",
    "WHY\n\nTherefore, the label is LABEL.",
    "WHY Therefore, the label is LABEL.",
    "1. **Label**: LABEL\n2. **Explanation**: WHY",
    "1. LABEL\n2. WHY",
    "① Label: LABEL\n② Explanation: WHY",
    "a) Label: LABEL\nb) Explanation: WHY",
    "(1) Label: LABEL\n(2) Explanation: WHY",
    "Step 1: Label: LABEL\nStep 2: Explanation: WHY",
    "Label： LABEL\nExplanation： WHY",
    "Label:LABEL\nExplanation:WHY",
    "**Label**:**LABEL**\n**Explanation**:**WHY**",
    "***Label:*** LABEL\n***Explanation:*** WHY",
    "**Label: LABEL** **Explanation: WHY**",
    "🏷️ Label: LABEL\n📝 Explanation: WHY",
    "🤔 Label: LABEL\n💡 Explanation: WHY",
    "✅ **Label:** LABEL\n\n📌 **Explanation:** WHY",
    "Label: ✅ LABEL\nExplanation: WHY",
    "Label: LABEL ✅\nExplanation: WHY",
    "$\\boxed{LABEL}$\n\nWHY",
    "\\boxed{LABEL}\n\nExplanation: WHY",
    "The final answer is $\\boxed{LABEL}$. Explanation: WHY",
    "Explanation: WHY\n\n$$\\boxed{\\text{LABEL}}$$",
    "Final answer: LABEL. Explanation: WHY",
    "So, the final answer is: LABEL\n\nExplanation: WHY",
    "Label: LABEL\nExplanation: WHY\nLabel: LABEL",
    "Label: LABEL\n\nLabel: LABEL\nExplanation: WHY",
    "Label: LABEL\nExplanation: WHY\n\n**Final Label: LABEL**",
    'The label I would give is "LABEL".\nExplanation: WHY',
    'I would label this as "LABEL".\nExplanation: WHY',
    "As annotator Ann1, I would choose LABEL.\n\nExplanation: WHY",
    "Annotator Ann1 answers: LABEL\nExplanation: WHY",
    "Annotator Ann1: LABEL\nExplanation: WHY",
    "Annotator Ann1 would label this as LABEL.\nExplanation: WHY",
    "Label: LABEL\n\n---\n\nExplanation: WHY",
    "Label: LABEL\n***\nExplanation: WHY",
    "## Label: LABEL\n\n### Explanation\nWHY",
    "# Label\n\n**LABEL**\n\n# Explanation\n\nWHY",
    "| **Label** | **Explanation** |\n|:---|:---|\n| **LABEL** | WHY |",
    "| | |\n|---|---|\n| **Label** | LABEL |\n| **Explanation** | WHY |",
    "| Annotator | Label | Explanation |\n|---|---|---|\n| Ann1 | LABEL | WHY |",
    "Label: LABEL\tExplanation: WHY",
    "Label :LABEL\nExplanation :WHY",
    "- **Label** – LABEL\n- **Explanation** – WHY",
    "[Label] LABEL\n[Explanation] WHY",
    "【Label】LABEL\n【Explanation】WHY",
    '"Label: LABEL"\n"Explanation: WHY"',
    '"LABEL"\n\n"WHY"',
    "`LABEL`\n\nWHY",
    "Label: LABEL\nExplanation:\n\nWHY",
    "Label: LABEL\n\nExplanation:\n- WHY",
    "Label: LABEL\nExplanation: **WHY**",
    "Label: LABEL\nExplanation for Ann1: WHY",
    "Label: LABEL\nExplanation of the label: WHY",
    "Label: LABEL\nExplain: WHY",
    "Label: LABEL\nBecause: WHY",
    "Label: LABEL\n(WHY)",
    "Label: LABEL (WHY)",
    "LABEL (WHY)",
    "LABEL — WHY",
    "LABEL → WHY",
    "LABEL; WHY",
    "Predicted label: LABEL\nExplanation: WHY",
    "Selected label: LABEL\nExplanation: WHY",
    "Relationship: LABEL\nExplanation: WHY",
    "Output: LABEL\nExplanation: WHY",
    "Response: LABEL\nExplanation: WHY",
    "Result: LABEL\nExplanation: WHY",
    "Classification label: LABEL\nExplanation: WHY",
    "Label chosen: LABEL\nExplanation: WHY",
    "Label is LABEL\nExplanation is WHY",
    "Human: no.\nAssistant: Label: LABEL\nExplanation: WHY",
    "assistant: Label: LABEL\nExplanation: WHY",
    "Ok.\n\nLabel: LABEL\nExplanation: WHY\n\nHuman: thanks",
    "Label: LABEL\nExplanation: WHY<|endoftext|>Human: write",
    '<think>\nok\n</think>\n\n{"label": "LABEL", "explanation": "WHY"}',
    "<think>ok</think><answer>Label: LABEL\nExplanation: WHY</answer>",
    "<reasoning>ok</reasoning>\nLabel: LABEL\nExplanation: WHY",
    "<reflection>ok</reflection>\nLabel: LABEL\nExplanation: WHY",
    "<scratchpad>Label: contradiction?</scratchpad>\nLabel: LABEL\nExplanation: WHY",
    "Thought: hm.\nLabel: LABEL\nExplanation: WHY",
    "Thinking: hm\n\nLabel: LABEL\nExplanation: WHY",
    '{"name": "answer", "arguments": {"label": "LABEL", "explanation": "WHY"}}',
    '<tool_call>{"name": "a", "arguments": {"label": "LABEL", "explanation": "WHY"}}</tool_call>',
    "Label: LABEL\nExplanation: WHY\nConfidence: 0.9",
    "Label: LABEL\nConfidence: high\nExplanation: WHY",
    "Confidence: high\nLabel: LABEL\nExplanation: WHY",
]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("task", "label"), [(NLI, "neutral"), (PARAPHRASE, "-3"), (PARAPHRASE, "4"), (ARGUMENTS, "a2")]
)
def test_every_form_says_what_the_asked_one_says(form, task, label):
    text = form.replace("LABEL:", "\0:").replace("LABEL", label).replace("WHY", WHY)
    text = text.replace("\0:", "LABEL:" if form.startswith("LABEL: LABEL") else f"{label}:")
    parsed = parse(task, text)
    assert (parsed.labels, parsed.explanation, parsed.error) == ((label,), WHY, None)


READ = [
    (NLI, "Neutral. It isn't said.", ("neutral",), "It isn't said."),
    (NLI, "Neutral, because it isn't said.", ("neutral",), "because it isn't said."),
    (NLI, "I would say neutral because it is no contradiction.", ("neutral",), None),
    (NLI, "I think it is neutral, since nothing is said.", ("neutral",), None),
    (NLI, "Label: neutral (could be either)\nExplanation: a", ("neutral",), "a"),
    (NLI, "Label: neutral because it isn't entailment", ("neutral",), None),
    (NLI, "Label: NEUTRAL!\nExplanation: a", ("neutral",), "a"),
    (NLI, "Label: entailment and neutral\nExplanation: a", ("entailment", "neutral"), "a"),
    (NLI, "Label: neutral & entailment\nExplanation: a", ("entailment", "neutral"), "a"),
    (NLI, "Labels:\n- neutral\n- entailment\nExplanation: a", ("entailment", "neutral"), "a"),
    (NLI, "Label: [entailment, neutral]\nExplanation: a", ("entailment", "neutral"), "a"),
    (NLI, "Label: “entailment, neutral”\nExplanation: a", ("entailment", "neutral"), "a"),
    (NLI, '{"labels": ["neutral", "entailment"], "why": "a"}', ("entailment", "neutral"), "a"),
    # The explanation may speak of other labels.
    (NLI, "Label: neutral\nExplanation: no contradiction, no entailment", ("neutral",), None),
    (NLI, "Label: neutral\nExplanation: not a contradiction: it\nmay be", ("neutral",), None),
    (NLI, "Label: neutral\nExplanation: a\n\nAn entailment would need more.", ("neutral",), "a"),
    (NLI, '{"label": "neutral", "explanation": "no contradiction"}', ("neutral",), None),
    (NLI, "Label: neutral\nExplanation: a\nContext: b\nLabel: entailment", ("neutral",), "a"),
    (PARAPHRASE, "Label: 3.0\nExplanation: a", ("3",), "a"),
    (PARAPHRASE, "Label: 3/5\nExplanation: a", ("3",), "a"),
    (PARAPHRASE, "Label: 3 out of 5\nExplanation: a", ("3",), "a"),
    (PARAPHRASE, "Label: -3 / 5\nExplanation: a", ("-3",), "a"),
    (PARAPHRASE, "Label: –3\nExplanation: a", ("-3",), "a"),
    (PARAPHRASE, "Label: —3\nExplanation: a", ("-3",), "a"),
    (PARAPHRASE, "Label: ‑3\nExplanation: a", ("-3",), "a"),
    (PARAPHRASE, "Label: +3\nExplanation: a", ("3",), "a"),
    (PARAPHRASE, "Label: minus 3\nExplanation: a", ("-3",), "a"),
    (PARAPHRASE, "Label: three\nExplanation: a", ("3",), "a"),
    (PARAPHRASE, "Label: -0\nExplanation: a", ("0",), "a"),
    (PARAPHRASE, "Label: 3 (on a scale from -5 to 5)\nExplanation: a", ("3",), "a"),
    (PARAPHRASE, "Label: 3 (quite similar)\nExplanation: a", ("3",), "a"),
    (PARAPHRASE, '{"label": 3, "explanation": "a"}', ("3",), "a"),
    (PARAPHRASE, '{"rating": -3.0, "explanation": "a"}', ("-3",), "a"),
    (PARAPHRASE, "Score: -3 - both ask about cats", ("-3",), "both ask about cats"),
]


@pytest.mark.parametrize(("task", "text", "labels", "explanation"), READ)
def test_ways_of_writing_a_label(task, text, labels, explanation):
    parsed = parse(task, text)
    assert (parsed.labels, parsed.error) == (labels, None)
    assert parsed.explanation == explanation or explanation is None


REFUSED = [
    (NLI, "Label: entailment or neutral\nExplanation: a"),
    (NLI, "Entailment: no\nNeutral: yes\nContradiction: no\nExplanation: a"),
    (NLI, "Entailment: no\nExplanation: a"),
    (NLI, "entailment\nneutral\ncontradiction\nExplanation: a"),
    (NLI, "Label: neutral 70%, entailment 30%\nExplanation: a"),
    (NLI, "Label: ~~entailment~~ neutral\nExplanation: a"),
    (NLI, "- [ ] entailment\n- [x] neutral\nExplanation: a"),
    (NLI, "Label: contradiction? No. Label: neutral\nExplanation: a"),
    (NLI, "Label: entailment/neutral\nExplanation: a"),
    (NLI, "Label: not entailment\nExplanation: a"),
    (NLI, "Label: non-entailment\nExplanation: a"),
    (NLI, "Label: not neutral, contradiction\nExplanation: a"),
    (NLI, "Label: either neutral or contradiction\nExplanation: a"),
    (NLI, "Label: neutral or maybe contradiction\nExplanation: a"),
    (NLI, "Label: neutral? contradiction?\nExplanation: a"),
    (NLI, "Label: neutral (or contradiction)\nExplanation: a"),
    (NLI, "Label: neutral. Or contradiction\nExplanation: a"),
    (NLI, "Label: neutral - but contradiction is possible\nExplanation: a"),
    (NLI, "Label: neutral rather than entailment\nExplanation: a"),
    (NLI, "Label: neutral as well as entailment\nExplanation: a"),
    (NLI, "Label: leaning neutral\nExplanation: a"),
    (NLI, "Label: neutral-ish\nExplanation: a"),
    (NLI, "Label: neutrality\nExplanation: a"),
    (NLI, "Label: contradictory\nExplanation: a"),
    (NLI, "Label: entailed\nExplanation: a"),
    (NLI, "Label: N\nExplanation: a"),
    (NLI, "Label: unknown\nExplanation: neutral"),
    (NLI, "Label: ...\nExplanation: neutral"),
    (NLI, "Label: <label>\nExplanation: neutral"),
    (NLI, "Label: entailment/neutral/contradiction\nExplanation: ..."),
    (NLI, "Label: neutral\nExplanation: ..."),
    (NLI, "I would not say contradiction because nothing is said."),
    (NLI, "I would not say this: Label: contradiction\nExplanation: a"),
    (NLI, "It's not neutral. Explanation: a"),
    (NLI, "The label is not neutral.\nExplanation: a"),
    (NLI, "The label is neutral or entailment.\nExplanation: a"),
    (NLI, "Neither entailment nor contradiction.\nExplanation: a"),
    (NLI, "Neutral? No, contradiction, because it is wrong."),
    (NLI, "Neutral. Or maybe contradiction. It isn't said."),
    (NLI, "Neutral - contradiction would be wrong, too."),
    (NLI, "This is a hard one. One could say neutral, but it isn't said."),
    (NLI, "The explanation is neutral in tone."),
    (NLI, "Explanation: it is neutral"),
    (NLI, "Explanation: it is neutral because nothing is said"),
    (NLI, "Label: neutral\nExplanation: a\n\nLabel: contradiction\nExplanation: b"),
    (NLI, "Label: neutral Explanation: a Label: contradiction Explanation: b"),
    (NLI, "Label: neutral\nExplanation: a\n\nFinal answer: contradiction"),
    (NLI, "Label: neutral\nExplanation: a\n\nOn reflection:\n**Label:** contradiction"),
    (NLI, "Answer: neutral\nLabel: contradiction\nExplanation: a"),
    (NLI, "1. Label: neutral\n2. Label: contradiction\nExplanation: a"),
    (NLI, "neutral\nExplanation: a\n\nLabel: contradiction"),
    (NLI, "<think>Label: neutral\nExplanation: a</think>"),
    (NLI, "<think>Label: neutral\nExplanation: a</think>\n\n"),
    (NLI, "<think>Label: neutral\nExplanation: a"),
    (NLI, "<think>The label is neutral.</think>I cannot answer that."),
    (NLI, "Label: neutral</think>I do not know."),
    (NLI, '{"label": "neutral or entailment", "explanation": "a"}'),
    (NLI, '{"label": "neutral"}'),
    (NLI, '{"label": "neutral", "explanation": "a"}\n{"label": "entailment", "explanation": "a"}'),
    (
        NLI,
        '{"Ann1": {"label": "neutral", "why": "a"}, "Ann2": {"label": "entailment", "why": "a"}}',
    ),
    (NLI, '{"label": "neutral", "answer": "entailment", "explanation": "a"}'),
    (NLI, '{"label": "neutral", "explanation": "a"}\nFinal answer: contradiction'),
    (NLI, '{"label": {"neutral": 0.6, "entailment": 0.4}, "explanation": "a"}'),
    (NLI, '{"label": null, "explanation": "neutral"}'),
    (NLI, "| Label | Explanation |\n|---|---|\n| neutral | a |\n| entailment | b |"),
    (NLI, "<label>neutral</label><label>entailment</label><explanation>a</explanation>"),
    (NLI, "I'm sorry, but I can't help with that."),
    (NLI, "neutral"),
    (NLI, "neutral contradiction entailment"),
    (NLI, "neutral\nStatement: Ann left."),
    (NLI, "neutral\nFor the item above, annotator Ann2 answers:"),
    (PARAPHRASE, "Label: 2.5\nExplanation: a"),
    (PARAPHRASE, "Label: 3-4\nExplanation: a"),
    (PARAPHRASE, "Label: 3–4\nExplanation: a"),
    (PARAPHRASE, "Label: 3 to 4\nExplanation: a"),
    (PARAPHRASE, "Label: 3 or 4\nExplanation: a"),
    (PARAPHRASE, "Label: between 3 and 4\nExplanation: a"),
    (PARAPHRASE, "Label: 3, 4\nExplanation: a"),
    (PARAPHRASE, "Label: 3 and 4\nExplanation: a"),
    (PARAPHRASE, "Label: 3 (or 4)\nExplanation: a"),
    (PARAPHRASE, "Label: 3/10\nExplanation: a"),
    (PARAPHRASE, "Label: 3 (out of 10)\nExplanation: a"),
    (PARAPHRASE, "Label: 3 (on a scale from 1 to 10)\nExplanation: a"),
    (PARAPHRASE, "Label: 3 (2.5 to 3.5)\nExplanation: a"),
    (PARAPHRASE, "Label: 3±1\nExplanation: a"),
    (PARAPHRASE, "Label: 6\nExplanation: a"),
    (PARAPHRASE, "Label: 30\nExplanation: a"),
    (PARAPHRASE, "Label: 3%\nExplanation: a"),
    (PARAPHRASE, "Label: > 3\nExplanation: a"),
    (PARAPHRASE, "Label: at least 3\nExplanation: a"),
    (PARAPHRASE, "Label: not 3\nExplanation: a"),
    (PARAPHRASE, "Label: -5 to 5\nExplanation: a"),
    (PARAPHRASE, "1. Both ask about cats. 2. One asks about dogs."),
    (PARAPHRASE, "2 questions are shown. They differ."),
    (PARAPHRASE, "3\n4\nBoth are possible."),
    (PARAPHRASE, '{"label": 2.5, "explanation": "a"}'),
    (ARGUMENTS, "Label: a1 and a2\nExplanation: a"),
    (ARGUMENTS, "Label: a1, a2\nExplanation: a"),
    (ARGUMENTS, "Label: a1 > a2\nExplanation: a"),
    (ARGUMENTS, "a1 is better than a2."),
    (ARGUMENTS, "Label: not equal\nExplanation: a"),
    (NLI, "I would choose neutral over contradiction because nothing is said."),
    (NLI, "I would choose neutral if nobody left, otherwise contradiction."),
    (NLI, "If I had to guess, I would choose neutral."),
    (NLI, "I would choose neutral. But contradiction fits better."),
    (NLI, "Annotator Ann2 would say contradiction. I would choose neutral."),
    (NLI, "Annotator Ann1: neutral\nAnnotator Ann2: contradiction\nExplanation: a"),
    (
        NLI,
        "Annotator A:\nLabel: neutral\nReason: a\nAnnotator B:\nLabel: entailment\nReason: b",
    ),
    (NLI, "Sure! Happy to help with that.\n\nLabel: neutral"),
    (NLI, "Context: Ann left the house.\nStatement: She left.\n\nLabel: neutral"),
    (NLI, "Label: neutral\n\nLet me know if you need anything else!"),
    (NLI, "First we look at it.\n\nThen we think about it.\n\nLabel: neutral"),
    (NLI, "❌ Label: contradiction\nExplanation: a"),
    (NLI, "Label: ❌ contradiction\nExplanation: a"),
    (NLI, "Not the label: neutral\nExplanation: a"),
    (NLI, "Wrong answer: contradiction\nExplanation: a"),
    (NLI, "Output: neutral\nLabel: contradiction\nExplanation: a"),
    (NLI, "Relation: neutral or entailment\nExplanation: a"),
    (NLI, "The label is hard to say. I would not choose neutral."),
    (NLI, "Therefore, the label is not neutral."),
    (NLI, "Therefore, the label is neutral or entailment."),
    (NLI, "I would say neutral, maybe contradiction."),
    (NLI, "\\boxed{neutral}\n\\boxed{contradiction}\nExplanation: a"),
    (NLI, "1. neutral\n2. contradiction"),
    (NLI, "1. neutral\n2. entailment\n3. contradiction"),
    (NLI, "Label: neutral (or else contradiction as she left)\nExplanation: a"),
    (NLI, "neutral (contradiction would need that nobody left)"),
    (NLI, "I would label this as neutral. Explanation: a. I would label this as contradiction."),
    (NLI, "~~Label: neutral~~\nLabel: contradiction\nExplanation: a"),
    (
        NLI,
        "<answer><label>neutral</label><label>contradiction</label><explanation>a</explanation></answer>",
    ),
    (NLI, '{"label": {"value": "neutral or entailment"}, "explanation": "a"}'),
    (
        NLI,
        '{"answers": [{"label": "neutral", "why": "a"}, {"label": "entailment", "why": "b"}]}',
    ),
    (NLI, "The answer is neutral? No, it is contradiction."),
    (NLI, "I would choose neutral! Just kidding: contradiction."),
    (NLI, "One annotator would choose neutral. It isn't said who left."),
    (NLI, "I cannot choose. The label is unclear."),
    (PARAPHRASE, "1. 3\n2. 4"),
    (PARAPHRASE, "Output: 3 or 4\nExplanation: a"),
    (PARAPHRASE, "I would rate this as 3 to 4. Both ask about cats."),
    (PARAPHRASE, "I would give this a 3, or 4."),
    (PARAPHRASE, "Rating: 3 (could also be a 4)\nExplanation: a"),
    (PARAPHRASE, "The answer to both questions is 3."),
    (PARAPHRASE, "I would give 2 reasons. Both ask about cats."),
    (PARAPHRASE, "I would say 3 of the words differ. Both ask."),
]


@pytest.mark.parametrize(("task", "text"), REFUSED)
def test_nothing_is_accepted_that_would_be_a_guess(task, text):
    parsed = parse(task, text)
    assert parsed.error is not None
    assert parsed.reading is None


def test_only_the_form_that_was_asked_for_is_strict():
    assert parse(NLI, "Label: neutral\nExplanation: a").reading == "strict"
    assert parse(NLI, " neutral\nExplanation: a").reading == "strict"
    assert parse(NLI, "**Label:** neutral\n\n**Explanation:** a").reading == "strict"
    assert parse(NLI, "Label: neutral\nExplanation: a<|im_end|>").reading == "readable"
    assert parse(NLI, "<think></think>Label: neutral\nExplanation: a").reading == "readable"
    assert parse(NLI, "- Label: neutral\n- Explanation: a").reading == "readable"


def test_a_special_token_that_no_tokenizer_here_has_is_cut_and_reported():
    parsed = parse(NLI, "Label: neutral\nExplanation: a<|new_mark|>")
    assert (parsed.explanation, parsed.unknown_mark) == ("a", "<|new_mark|>")
    assert parse(NLI, "Label: neutral\nExplanation: a <3").explanation == "a <3"
    (line,) = complaints(NLI, ["Label: neutral\nExplanation: a<|new_mark|>"])
    assert "1 of 1 responses end with an unknown special token, such as <|new_mark|>" in line


@pytest.mark.parametrize(
    "text",
    [
        "*" * 19_000,
        "{" * 19_000,
        "Label: " + "(" * 19_000,
        "<label>" * 2_700,
        "neutral or " * 1_700,
    ],
)
def test_long_runs_of_decoration_are_no_answer_and_end_soon(text):
    assert parse(NLI, text).labels == ()


def test_a_text_without_end_is_no_answer():
    assert parse(NLI, "Label: neutral\nExplanation: " + "a " * 10_000).error == (
        "an answer of more than 20,000 characters"
    )


def test_what_can_be_read_of_an_invalid_answer_is_kept():
    assert parse(NLI, "Label: neutral").labels == ("neutral",)
    assert parse(NLI, "Label: maybe\nExplanation: a").explanation == "a"


def test_complaints_count_reasons_and_show_one_example_each():
    good, bad = "Label: neutral\nExplanation: a", "Label: maybe\nExplanation: a"
    assert complaints(NLI, [good] * 19 + [bad]) == []  # a twentieth is no cause for alarm
    assert complaints(NLI, [good] * 17 + [bad, bad, ""]) == [
        "2 of 20 responses are invalid, unknown label, such as 'Label: maybe Explanation: a'",
        "1 of 20 responses are invalid, no text, such as ''",
    ]


YES_NO = LabelSpace("nominal", ("ironic", "not ironic"), aliases={"1": "ironic", "0": "not ironic"})
PERCENT = LabelSpace("interval", range=(0, 100), step=5)
LEVELS = LabelSpace("ordinal", ("disagree", "neither", "agree"))


@pytest.mark.parametrize(
    ("space", "text", "labels"),
    [
        (YES_NO, "Label: not ironic", ("not ironic",)),
        (YES_NO, "not ironic", ("not ironic",)),
        (YES_NO, "**Label:** 1", ("ironic",)),
        (YES_NO, '{"label": 0}', ("not ironic",)),
        (YES_NO, "Label: ironic\n\nThe reply says the opposite.", ("ironic",)),
        (YES_NO, "Label: ironic or not ironic", ()),
        (YES_NO, "It is not easy to say.", ()),
        (PERCENT, "Label: 85/100", ("85",)),
        (PERCENT, "Label: 85.0", ("85",)),
        (PERCENT, "Label: 83", ()),
        (PERCENT, "Label: 80 to 85", ()),
        (LEVELS, "<think>agree</think>\n- Label: **Disagree**.", ("disagree",)),
        (LEVELS, "Label: agree or neither", ()),
    ],
)
def test_corpora_of_labels_alone_need_no_explanation(space, text, labels):
    task = TaskSpec("t", "Which?", {"text": "Text"}, space, explanations="none")
    parsed = parse(task, text)
    assert (parsed.labels, parsed.explanation, parsed.error is None) == (labels, "", bool(labels))


def test_many_responses_at_the_token_limit_are_told():
    assert truncation([True] + [False] * 19) == []  # a twentieth is no cause for alarm
    assert truncation([None] * 20) == []
    (line,) = truncation([True, True] + [False] * 18)
    assert line.startswith("2 of 20 responses ended at the token limit; give more room")
