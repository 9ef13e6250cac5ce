"""A real tokenizer without a download: one token a byte, and special tokens for turns."""

from typing import Any

CHATML = (
    "{% for m in messages %}<|start|>{{ m['role'] }}\n{{ m['content'] }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant\n{% endif %}"
)
BOS = "<s>"
END = "<|end|>"


def tiny_tokenizer(chat_template: str | None = CHATML, *, special: tuple[str, ...] = ()) -> Any:
    """Byte-level tokenizer whose end token is <|end|>; further special tokens in `special`."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    core = Tokenizer(models.BPE({char: n for n, char in enumerate(alphabet)}, []))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    core.add_special_tokens([BOS, "<|start|>", END, *special])
    # Like many models' own: a plain call puts BOS first, and a chat template has it too.
    core.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", special_tokens=[(BOS, core.token_to_id(BOS))]
    )
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, bos_token=BOS, eos_token=END)
    tokenizer.chat_template = chat_template
    return tokenizer
