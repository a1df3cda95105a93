#!/usr/bin/env python3
"""Makes the files of this folder: rows with the columns of the data sets that LLM Compressor knows by name, and the texts that it makes of them.

    python3 make.py        in an environment with llmcompressor 0.14.0.1, transformers and pyarrow; ../data/tiny_bpe is the tokenizer

rows of each set      NAME.parquet (open_platypus.jsonl too: the same rows)
texts of each set     texts.json: {"NAME": [...], "NAME without template": [...]}
"""
import json
import pathlib

import pyarrow
import pyarrow.parquet

HERE = pathlib.Path(__file__).resolve().parent
TURN = "the tide comes in twice a day and the boats swing round on their chains"

ROWS = {
    "open_platypus": [
        {"input": "", "output": f"Twice a day, because {TURN}.", "instruction": "How often does the tide come in?", "data_source": "scienceqa"},
        {"input": "Wind: north. Tide: out.", "output": "Stay in the harbour: the wind is against you.", "instruction": "Should a small boat leave?\nGive a reason.", "data_source": "ARB"},
        {"input": "", "output": "", "instruction": "Say nothing at all, and say it {well}.", "data_source": "leetcode_ne"},
        {"input": " ", "output": "Über den Wolken \u2013 \U0001F30A.", "instruction": "Translate: above the clouds \u2013 wave.", "data_source": "reclor"},
    ],
    "gsm8k": [
        {"question": "A boat carries 4 people and makes 6 trips. How many people cross?", "answer": "4 * 6 = <<4*6=24>>24 people cross.\n#### 24"},
        {"question": "A rope of 12 metres is cut in 3. How long is a piece?", "answer": "12 / 3 = <<12/3=4>>4\n#### 4"},
        {"question": "How many sides has a square?", "answer": ""},
    ],
    "cnn_dailymail": [
        {"article": f"LONDON, England -- {TURN}. Nobody was hurt.", "highlights": "Tide comes in twice a day .\nNobody was hurt .", "id": "42c027e4ff9730fbb3de84c1af0d2c50"},
        {"article": "A second article.", "highlights": "A second summary .", "id": "ee8871b15c50d0db17b0179a6d2beab3"},
    ],
    "evolcodealpaca": [
        {"instruction": "Write a function that adds two numbers.", "output": "def add(a, b):\n    return a + b\n"},
        {"instruction": "Print the output of 2 + 3.", "output": "print(5)\n"},
        {"instruction": "Write a loop.\nInput: n\nOutput: n lines", "output": "for i in range(n): print(i)"},
    ],
    "ultrachat_200k": [
        {"prompt": "When is high tide?", "prompt_id": "a1", "messages": [{"content": "When is high tide?", "role": "user"}, {"content": f"Soon: {TURN}.", "role": "assistant"}]},
        {"prompt": "Again?", "prompt_id": "b2", "messages": [{"content": "Be brief.", "role": "system"}, {"content": "Again?", "role": "user"}, {"content": "Yes.", "role": "assistant"},
                                                             {"content": "Why?", "role": "user"}, {"content": "The moon.", "role": "assistant"}]},
    ],
    "perfectblend": [
        {"conversations": [{"from": "human", "value": "Name a knot."}, {"from": "gpt", "value": "The bowline."}], "source": "meta-math"},
        {"conversations": [{"from": "system", "value": "You tie knots."}, {"from": "human", "value": "Another?"}, {"from": "gpt", "value": f"The clove hitch; {TURN}."}], "source": "orca"},
    ],
    "wikitext": [{"text": text} for text in ("", " = Harbour = \n", "", f" A harbour is a place where {TURN} . \n", " It has <unk> walls . \n", "", " = = Walls = = \n")],
    "c4": [{"text": f"Harbour news. {TURN.capitalize()}.", "timestamp": "2019-04-25T12:57:54Z", "url": "https://example.org/a"},
           {"text": "A short note.\nOn two lines.", "timestamp": "2019-04-22T02:04:40Z", "url": "https://example.org/b"}],
}


def write_rows():
    for name, rows in ROWS.items():
        columns = {key: [row[key] for row in rows] for key in rows[0]}
        pyarrow.parquet.write_table(pyarrow.table(columns), HERE / f"{name}.parquet", compression="snappy")
    (HERE / "open_platypus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS["open_platypus"]))


def texts():
    from llmcompressor.args import DatasetArguments
    from llmcompressor.transformers.data import TextGenerationDataset
    from transformers import PreTrainedTokenizerFast
    out = {}
    for name, rows in ROWS.items():
        for suffix in ("", " without template"):
            config = json.loads((HERE.parent / "data" / "tiny_bpe" / "tokenizer_config.json").read_text())
            special = {key: value if isinstance(value, str) else value["content"] for key, value in config.items() if key in ("bos_token", "eos_token")}
            tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(HERE.parent / "data" / "tiny_bpe" / "tokenizer.json"), **special)
            tokenizer.chat_template = None if suffix else config["chat_template"]
            manager = TextGenerationDataset.load_from_registry(name, dataset_args=DatasetArguments(dataset=name), split="train", processor=tokenizer)
            made = [json.loads(json.dumps(row)) for row in rows]
            if manager.preprocess is not None:
                made = [{**row, **manager.preprocess(row)} for row in made]
            out[name + suffix] = [row["text"] for row in made]
    out["wikitext2"] = ["".join([" \n" if row["text"] == "" else row["text"] for row in ROWS["wikitext"]][:1000])]  # optimum/gptq/data.py, get_wikitext2
    (HERE / "texts.json").write_text(json.dumps(out, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    write_rows()
    texts()
