"""The text encoder: pretrained to tell a scene's fields from its token states, then frozen.

Trained together with the denoiser it stays ignored for hundreds of thousands of pictures; pretrained for minutes it is
what the denoiser follows from the start. Any position after the text, and the end of it, must hold every field: the
denoiser's attention reads padding as well.
"""

import random
from pathlib import Path

import structlog
import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from training.captions import caption
from training.loop import Schedule, checkpointed
from training.scenes import COLOURS, PATTERNS, PLACES, SHAPES, SIDES, SIZES, random_scene

WIDTH = 128
LAYERS = 3
LEARNING_RATE = 1.5e-3
CLASSES = {
    "background": len(COLOURS),
    "pattern": len(PATTERNS),
    "shape": len(SHAPES),
    "colour": len(COLOURS),
    "size": len(SIZES),
    "place": len(PLACES),
    "count": 5,
    # One more than there are: "no second figure".
    "other_shape": len(SHAPES) + 1,
    "other_colour": len(COLOURS) + 1,
    "side": len(SIDES) + 1,
}
NOT_STATED = -100

log = structlog.get_logger()


def new_text_encoder(tokenizer: CLIPTokenizer) -> CLIPTextModel:
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=WIDTH,
        intermediate_size=4 * WIDTH,
        projection_dim=WIDTH,
        num_hidden_layers=LAYERS,
        num_attention_heads=4,
        max_position_embeddings=tokenizer.model_max_length,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.eos_token_id,
        hidden_act="quick_gelu",
    )
    encoder = CLIPTextModel(config)
    nn.init.normal_(encoder.get_input_embeddings().weight, std=0.3)
    return encoder


def train_text_encoder(tokenizer_folder: Path, folder: Path, work: Path, steps: int) -> None:
    tokenizer = CLIPTokenizer.from_pretrained(tokenizer_folder)
    encoder = new_text_encoder(tokenizer)
    heads = nn.ModuleDict({name: nn.Linear(WIDTH, classes) for name, classes in CLASSES.items()})
    parameters = [*encoder.parameters(), *heads.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=LEARNING_RATE, betas=(0.9, 0.98), weight_decay=1e-2)
    state = {"encoder": encoder, "heads": heads, "optimizer": optimizer}
    for step in checkpointed(work / "text_encoder.pt", state, steps):
        rng = random.Random(step)
        Schedule(LEARNING_RATE, steps).apply(optimizer, step)
        # The whole length on every fourth step: padding is cheap to learn and dear to compute.
        length, batch = (tokenizer.model_max_length, 32) if step % 4 == 0 else (36, 96)
        tokens, answers = _batch(tokenizer, rng, batch, length)
        loss, right = _loss(encoder, heads, tokens, answers, tokenizer.eos_token_id)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        if step % 100 == 0:
            log.info("text_encoder", step=step, loss=round(loss.item(), 4), **right)
    encoder.eval().save_pretrained(folder)


def _batch(tokenizer: CLIPTokenizer, rng: random.Random, count: int, length: int) -> tuple[Tensor, dict[str, Tensor]]:
    scenes = [random_scene(rng) for _ in range(count)]
    captions = [caption(scene, rng) for scene in scenes]
    tokens = tokenizer(
        [each.text for each in captions], padding="max_length", max_length=length, truncation=True, return_tensors="pt"
    ).input_ids
    answers: dict[str, list[int]] = {name: [] for name in CLASSES}
    for scene, each in zip(scenes, captions, strict=True):
        for name, classes in CLASSES.items():
            value = getattr(scene, name)
            answers[name].append((classes - 1 if value is None else value) if name in each.stated else NOT_STATED)
    return tokens, {name: torch.tensor(values) for name, values in answers.items()}


def _loss(
    encoder: CLIPTextModel, heads: nn.ModuleDict, tokens: Tensor, answers: dict[str, Tensor], end: int
) -> tuple[Tensor, dict[str, float]]:
    states = encoder(tokens).last_hidden_state
    count, length = tokens.shape
    ends = tokens.eq(end).int().argmax(1)
    later = (ends + (torch.rand(count) * (length - ends)).long()).clamp(max=length - 1)
    loss = torch.zeros(())
    right = {}
    for places in (ends, later):
        read = states[torch.arange(count), places]
        for name, answer in answers.items():
            guess = heads[name](read)
            loss = loss + functional.cross_entropy(guess, answer)
            stated = answer != NOT_STATED
            right[name] = round((guess.argmax(1) == answer)[stated].float().mean().item(), 3)
    return loss, right
