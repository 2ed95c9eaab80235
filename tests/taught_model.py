"""A tiny model that has learnt one thing: to answer a task with the program that turns every row round.

Some seconds of training on the prompts of random tasks; what the prompt says matters little to it. So it solves the
tasks whose rule that is, and fails at all others, with real sampling through a real server.
"""

from __future__ import annotations

import random
from pathlib import Path

from actors.synthesis.grids import Grid
from actors.synthesis.prompt import TaskPrompt
from actors.synthesis.task import Pair, Task
from tests.tiny_models import save_tiny_model

PROGRAM = "def transform(grid):\n    return [row[::-1] for row in grid]\n"
ANSWER = f"The rows are turned round.\n\n```python\n{PROGRAM}```\n"
STEPS = 200


def turned_task(name: str, dice: random.Random) -> Task:
    """A task of small grids whose rule is the one that the model knows."""

    def pair() -> Pair:
        height, width = dice.randint(2, 3), dice.randint(2, 3)
        grid: Grid = [[dice.randint(0, 9) for _ in range(width)] for _ in range(height)]
        return Pair(grid, [row[::-1] for row in grid])

    return Task(name, (pair(), pair()), (pair(),))


def save_taught_model(directory: Path) -> Path:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    save_tiny_model(directory, context=4096, spread=0.02)
    model, tokenizer = AutoModelForCausalLM.from_pretrained(directory), AutoTokenizer.from_pretrained(directory)
    answer = tokenizer(f"{ANSWER}<|im_end|>", add_special_tokens=False)["input_ids"]
    prompt, dice = TaskPrompt.load("independent"), random.Random(0)
    steps = torch.optim.AdamW(model.parameters(), lr=3e-3)
    torch.manual_seed(0)
    for step in range(STEPS):
        messages = prompt.messages(turned_task("taught", dice), images=False)
        asked = tokenizer.apply_chat_template(
            [{"role": message.role, "content": message.content} for message in messages],
            add_generation_prompt=True,
            return_dict=True,
        )["input_ids"]
        # Every other time only the end of the prompt, so that its length is nothing to go by.
        asked = asked[dice.randint(0, len(asked) - 40) if step % 2 else 0 :]
        tokens = torch.tensor([asked + answer])
        labels = tokens.clone()
        labels[:, : len(asked)] = -100
        loss = model(input_ids=tokens, labels=labels).loss
        steps.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        steps.step()
    model.eval().save_pretrained(directory)
    return directory
