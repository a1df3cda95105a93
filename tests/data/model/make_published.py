"""Counts of parameters in published.json, by transformers from the same configs on the meta device (no weights).

    python make_published.py                           count all rows again
    python make_published.py NAME=TYPE[:CLASS] [...]   add a row of the defaults of a model_type's config class first;
                                                 CLASS: of the model, where that is no causal one

Those defaults are the sizes of a published model (the class's documentation names it). Layers that draft tokens are not counted.
"""
import json
import pathlib
import sys

import torch
import transformers
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText

TABLE = pathlib.Path(__file__).with_name("published.json")
NOISE = {"architectures", "attention_dropout", "attention_probs_dropout_prob", "bos_token_id", "chunk_size_feed_forward", "dtype", "embd_pdrop", "eos_token_id", "hidden_dropout_prob",
         "id2label", "initializer_range", "is_encoder_decoder", "label2id", "output_attentions", "output_hidden_states", "output_router_logits", "pad_token_id", "problem_type", "resid_pdrop",
         "return_dict", "router_aux_loss_coef", "transformers_version", "use_cache", "_name_or_path"}


def without_noise(value):
    return {key: without_noise(x) for key, x in value.items() if key not in NOISE} if isinstance(value, dict) else value


def count(fields):
    fields = dict(fields)
    names = fields.get("architectures")
    config = AutoConfig.for_model(fields.pop("model_type"), **fields)
    with torch.device("meta"):
        if names:
            return sum(parameter.numel() for parameter in getattr(transformers, names[0])(config).parameters())
        try:
            whole = "vision_config" in fields
            model = (AutoModelForImageTextToText if whole else AutoModelForCausalLM).from_config(config)
        except ValueError:
            model = AutoModelForImageTextToText.from_config(config)
    return sum(parameter.numel() for parameter in model.parameters())


def main():
    table = json.loads(TABLE.read_text())
    for name, model_type in (argument.split("=") for argument in sys.argv[1:]):
        model_type, _, model_class = model_type.partition(":")
        config = without_noise(AutoConfig.for_model(model_type).to_dict())
        table[name] = {"config": config | ({"architectures": [model_class]} if model_class else {}), "parameters": 0}
    for name, row in table.items():
        if len(sys.argv) == 1 or row["parameters"] == 0:
            row["parameters"] = count(row["config"])
            print(name, row["parameters"], flush=True)
    write(table)


def write(table):
    rows = ",\n".join(f" {json.dumps(name)}: {json.dumps(table[name], sort_keys=True)}" for name in sorted(table))
    TABLE.write_text("{\n" + rows + "\n}\n")


if __name__ == "__main__":
    main()
