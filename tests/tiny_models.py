"""Models of a few thousand weights that are real in every other way: config, tokenizer, chat template, safetensors.

`save_tiny_model` makes one with random weights in about a second. It has learnt nothing; what it says is noise, and
the same noise for the same seed.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
# Refuses a system's turn, as Gemma's does.
WITHOUT_SYSTEM = (
    "{% for message in messages %}{% if message.role == 'system' %}{{ raise_exception('System role not supported') }}"
    "{% endif %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
# Leaves a system's turn out without a word.
SILENT_ABOUT_SYSTEM = (
    "{% for message in messages %}{% if message.role != 'system' %}<|im_start|>{{ message.role }}\n"
    "{{ message.content }}<|im_end|>\n{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
VOCABULARY = 512
Kind = Literal["llama", "qwen2"]


def save_tiny_model(
    directory: Path,
    kind: Kind = "llama",
    *,
    seed: int = 0,
    context: int = 256,
    chat_template: str | None = CHATML,
    spread: float = 0.3,
    generation: dict[str, Any] | None = None,
) -> Path:
    """A model in the Hugging Face layout. `spread` is the weights' standard deviation: the larger, the surer it is.

    `generation` is written as its generation_config.json, besides the tokens that end an answer.
    """
    import torch
    from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

    tokenizer = tiny_tokenizer(chat_template)
    tokenizer.model_max_length = context
    tokenizer.save_pretrained(directory)
    sizes: dict[str, Any] = {
        "vocab_size": VOCABULARY,
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        # Heads of 32: the narrowest that vLLM's kernels for CPUs know.
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "max_position_embeddings": context,
        "initializer_range": spread,
        "tie_word_embeddings": False,
        "bos_token_id": None,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    torch.manual_seed(seed)
    model = LlamaForCausalLM(LlamaConfig(**sizes)) if kind == "llama" else Qwen2ForCausalLM(Qwen2Config(**sizes))
    ends = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    model.generation_config = GenerationConfig(**ends | (generation or {}))
    model.eval().save_pretrained(directory)
    return directory


def tiny_tokenizer(chat_template: str | None = CHATML) -> Any:
    """A byte-level BPE tokenizer, trained on this file and what is said in it: every text goes through it and back."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    core.train_from_iterator(Path(__file__).read_text().splitlines(), trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=["<|im_start|>"],
        clean_up_tokenization_spaces=False,
    )
    tokenizer.chat_template = chat_template
    return tokenizer


def changed(directory: Path, name: str, **values: Any) -> None:
    """Set keys of one of a model's JSON files."""
    path = directory / name
    path.write_text(json.dumps(json.loads(path.read_text()) | values))
