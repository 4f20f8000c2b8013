"""The CLIP tokenizer of this model's words: byte-level BPE learned from captions, so that every text has tokens."""

import json
import random
from pathlib import Path

from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import CLIPTokenizer

from training.captions import FILLERS, WORDS, caption
from training.scenes import random_scene

VOCABULARY = 1400
CAPTIONS = 30_000
LENGTH = 77
END_OF_WORD = "</w>"


def make_tokenizer(folder: Path) -> None:
    rng = random.Random(0)
    corpus = [caption(random_scene(rng), rng).text for _ in range(CAPTIONS)]
    corpus += [" ".join((*WORDS, *FILLERS))] * 60
    byte_tokens = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = _learned_merges(corpus, byte_tokens)
    tokens = [*byte_tokens, *(each + END_OF_WORD for each in byte_tokens)]
    tokens += dict.fromkeys(a + b for a, b in merges if a + b not in set(tokens))
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    vocabulary = {token: i for i, token in enumerate(tokens)}
    CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=LENGTH).save_pretrained(folder)
    # The two files of the original layout, which other programs read.
    (folder / "vocab.json").write_text(json.dumps(vocabulary, ensure_ascii=False), encoding="utf-8")
    lines = ["#version: 0.2", *(" ".join(merge) for merge in merges)]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _learned_merges(corpus: list[str], byte_tokens: list[str]) -> list[tuple[str, str]]:
    tokenizer = Tokenizer(models.BPE(end_of_word_suffix=END_OF_WORD))
    tokenizer.normalizer = normalizers.Lowercase()
    words = Regex(r"[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(words, behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        initial_alphabet=byte_tokens,
        end_of_word_suffix=END_OF_WORD,
        min_frequency=20,
        special_tokens=[],
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus, trainer)
    return [tuple(merge) for merge in json.loads(tokenizer.to_str())["model"]["merges"]]
