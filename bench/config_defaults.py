"""What transformers takes for a field that a config.json leaves out: swage/model/config_defaults.json.

    pip install transformers            # in a throwaway environment; PyTorch is not needed
    python bench/config_defaults.py     # writes the table anew

For each model_type of swage's tables the defaults of the fields of its config class (numbers, flags, texts and lists of them; fields whose default is nothing are
derived from others and are the business of the architecture), the base of its rotary embedding, and other names of its fields.
"""
import dataclasses
import json
import math
import pathlib
import re

import transformers
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

ROOT = pathlib.Path(__file__).resolve().parents[1]
ARCHITECTURES = [ROOT / "swage/model/arch" / name for name in ("arch_table.cpp", "vision_language.cpp")]
TABLE = ROOT / "swage/model/config_defaults.json"
# Fields that say nothing of what a model computes.
OTHER = {field.name for field in dataclasses.fields(transformers.PretrainedConfig)} | {
    "attention_dropout", "attention_probs_dropout_prob", "attn_pdrop", "bos_token_id", "embd_pdrop", "eos_token_id", "hidden_dropout_prob", "initializer_factor", "initializer_range",
    "output_router_logits", "pad_token_id", "pretraining_tp", "resid_pdrop", "router_aux_loss_coef", "router_jitter_noise", "use_cache"}


def is_plain(value):
    if isinstance(value, (list, tuple)):
        return all(is_plain(item) for item in value)
    return isinstance(value, (bool, int, str)) or (isinstance(value, float) and math.isfinite(value))


def defaults_of(config_class):
    own = config_class.attribute_map  # a field by another name is kept under its own
    out = {own.get(field.name, field.name): field.default for field in dataclasses.fields(config_class)
           if field.name not in OTHER and field.default is not dataclasses.MISSING and is_plain(field.default)}
    if "rope_parameters" in {field.name for field in dataclasses.fields(config_class)}:
        rope = config_class().rope_parameters or {}
        if rope.get("rope_type") == "default":
            out |= {key: value for key, value in rope.items() if key != "rope_type"}
        elif any(part.get("rope_type", "default") != "default" for part in (rope, *(x for x in rope.values() if isinstance(x, dict)))):
            out["rope_parameters"] = rope
    return out


def class_of(model_type):
    if model_type in CONFIG_MAPPING:
        return CONFIG_MAPPING[model_type]
    for wrapper in list(CONFIG_MAPPING.values()):  # of a part alone: its wrapper knows it
        for part in getattr(wrapper, "sub_configs", {}).values():
            if getattr(part, "model_type", "") == model_type:
                return part
    raise KeyError(model_type)


def main():
    table = {}
    for model_type in set(re.findall(r'\{"([a-z0-9_-]+)", (?:describe|")', "".join(path.read_text() for path in ARCHITECTURES))):
        config_class = class_of(model_type)
        row = {"defaults": defaults_of(config_class)}
        if config_class.attribute_map:
            row["aliases"] = config_class.attribute_map
        table[model_type] = row
    rows = ",\n".join(f" {json.dumps(name)}: {json.dumps(row, sort_keys=True)}" for name, row in sorted(table.items()))
    TABLE.write_text(f'{{"transformers": "{transformers.__version__}", "model_types": {{\n{rows}\n}}}}\n')


if __name__ == "__main__":
    main()
