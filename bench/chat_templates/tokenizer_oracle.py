#!/usr/bin/env python3
"""Token ids as transformers makes them of a folder without tokenizer.json, or with tokens beside it; for swage/data/tokenizer_files_test.cpp.

    tokenizer_oracle.py tests/data/data        # needs transformers (5.24 or newer), sentencepiece, protobuf
"""
import json
import pathlib
import sys

from transformers import AutoTokenizer

EXTRA = ["", " ", "  two  spaces ", "a\nb\n\n\tc\r\n", "Grüße aus São Paulo — “quoted”, 3.14159", "日本語のテキスト 🚤🚤", "<s>x</s> <unk>", "foo<|extra|>bar <|x|> <|end|>",
         "x" * 60, "12 345 6789", "don't we'll I'M", "\u00e9 e\u0301 \ufb01", "\x00\x7f", "<0x41>", "▁under▁score", "tab\tend ", "UPPER lower MiXeD"]


def texts(folder):
    rows = [json.loads(line)["text"] for line in (folder / "calib_small.jsonl").read_text().splitlines()]
    return EXTRA + [piece for row in rows for piece in row.split("\n")][:280]


def main():
    folder = pathlib.Path(sys.argv[1])
    out = {"texts": texts(folder), "tokenizers": {}}
    for path in sorted((folder / "tokenizers").iterdir()):
        tokenizer = AutoTokenizer.from_pretrained(path)
        out["tokenizers"][path.name] = {
            "ids": [tokenizer(text)["input_ids"] for text in out["texts"]],
            "decoded": [tokenizer.decode(tokenizer(text)["input_ids"]) for text in EXTRA],
            "special": {k: v for k, v in tokenizer.special_tokens_map.items() if isinstance(v, str)}}
    (folder / "tokenizers_oracle.json").write_text(json.dumps(out, ensure_ascii=False, separators=(",", ":")) + "\n")


main()
