"""What a model goes on from, built in one place for evaluation and training.

Chat templates of models that think put an empty thought before an answer that is begun for the
model, and none where the model begins it: a context is only the same if it is built the same way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

Template = Callable[..., Any]
"""A model's `apply_chat_template(messages, add_generation_prompt=...)`: it gives text, or messages
where an API applies the template. Without a generation prompt the last message is continued."""


def context(
    prompt: str,
    cue: str | None,
    template: Template | None = None,
    system: str | None = None,
) -> Any:
    """A prompt, the start of the answer, and what a chat template puts around them.

    Args:
        prompt: The prompt.
        cue: The start of the answer, from which the model goes on; `None`: it answers in a message
            of its own.
        template: The model's chat template; `None`: plain text.
        system: A system instruction before the prompt.
    """
    if template is None:
        return "".join((f"{system}\n\n" if system else "", prompt, cue or ""))
    messages = [{"role": "system", "content": system}] if system else []
    messages.append({"role": "user", "content": prompt})
    if cue is not None:
        messages.append({"role": "assistant", "content": cue})
    return template(messages, add_generation_prompt=cue is None)


def template_of(tokenizer: Any, arguments: Mapping[str, Any]) -> Template:
    """A tokenizer's chat template with arguments, as lm-eval's `hf` model applies it.

    Args:
        tokenizer: A tokenizer of transformers with a chat template.
        arguments: For the template, such as `enable_thinking`.
    """

    def apply(messages: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        text: str = tokenizer.apply_chat_template(
            messages,
            tokenize=False,
            add_generation_prompt=add_generation_prompt,
            continue_final_message=not add_generation_prompt,
            **arguments,
        )
        return text

    return apply


def thinks(given: Mapping[str, Any]) -> bool:
    """Whether lm-eval's model arguments switch a model's thinking on."""
    arguments = given.get("chat_template_args")
    nested = arguments.get("enable_thinking") if isinstance(arguments, Mapping) else None
    return bool(given.get("enable_thinking") or nested)
