#!/usr/bin/env python3
"""Makes drawn.json: the rows that optimum draws of the beginnings of ../data/calib_small.jsonl, which stand in for its data sets.

    python3 make_drawn.py        in an environment with optimum 2.3.0, torch and transformers; ../data/tiny_bpe is the tokenizer

{"texts": [...], "wikitext2": [{"seed", "length", "rows": [[ids]]}], "c4-new": [...]}
"""
import json
import pathlib
import random

from optimum.gptq import data
from transformers import PreTrainedTokenizerFast

HERE = pathlib.Path(__file__).resolve().parent


class Rows(list):
    def __getitem__(self, key):
        return [row["text"] for row in self] if key == "text" else list.__getitem__(self, key)


def main():
    lines = (HERE.parent / "data" / "calib_small.jsonl").read_text().splitlines()
    texts = [" ".join(json.loads(line)["text"].split()[:4 + 2 * (7 * i % 20)]) for i, line in enumerate(lines)]
    texts[3] = ""
    rows = Rows({"text": text} for text in texts)
    data.load_dataset = lambda *arguments, **options: rows
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(HERE.parent / "data" / "tiny_bpe" / "tokenizer.json"))
    lengths = {len(tokenizer(text).input_ids) for text in texts}
    # Of c4 a length that some of the documents are too short for, and none has exactly: optimum would end with an error.
    some = next(length for length in range(40, 80) if length not in lengths)
    out = {"texts": texts}
    for name, length in (("wikitext2", 12), ("c4-new", some)):
        out[name] = []
        for seed in (0, 42, 5_000_000_000):
            drawn = data.get_dataset(name, tokenizer, nsamples=6, seqlen=length, seed=seed) if seed < 2**32 else large_seed(name, tokenizer, length, seed)
            out[name].append({"seed": seed, "length": length, "rows": [row["input_ids"][0].tolist() for row in drawn]})
    (HERE / "drawn.json").write_text(json.dumps(out) + "\n")


def large_seed(name, tokenizer, length, seed):
    """get_dataset() seeds numpy too, which takes 32 bits; it draws from Python's generator alone."""
    random.seed(seed)
    return {"wikitext2": data.get_wikitext2, "c4-new": data.get_c4_new}[name](tokenizer=tokenizer, seqlen=length, nsamples=6)


if __name__ == "__main__":
    main()
