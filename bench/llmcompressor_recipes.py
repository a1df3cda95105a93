"""Counts how many recipes swage accepts: a dry run of each on a tiny model of the architecture nearest to its name.

    python3 bench/llmcompressor_recipes.py FOLDER [--program build/swage] [-v]

FOLDER holds .yaml files, in folders of its own or not: LLM Compressor's examples and tests as people write them and as it saves them (the recipes
of docs/status.md are those of its repository at ab1ba3e). Standard library only.
"""
import argparse
import collections
import pathlib
import random
import re
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests/e2e"))
from support import bf16, make_text, make_tokenizer, ones, write_json, write_safetensors  # noqa: E402

HIDDEN, INNER, LAYERS, EXPERTS, VOCABULARY = 128, 256, 6, 4, 128
# An error that is right, and why.
FOREIGN = ((r"swage has no AutoRoundModifier", "AutoRound"), (r"targets? .*matches no module", "modules of an architecture that the model is not of"),
           (r"seq\.fc1", "a model of the test itself"), (r"attention is called|class for|scheme of activations alone", "attention of another architecture"),
           (r'kv_cache_scheme: type: "type": expected a string, found an object', "a text whose braces a Python program fills in"),
           (r"REAPPruningModifier: .*experts", "a mixture of experts that the model is not"))


def make_model(folder, kind):
    """A random model of `kind` (llama, mixtral, qwen3_moe) whose matrices every group size of a preset divides."""
    draw = random.Random(3)
    tensors = {"model.embed_tokens.weight": bf16(draw, VOCABULARY, HIDDEN), "model.norm.weight": ones(HIDDEN), "lm_head.weight": bf16(draw, VOCABULARY, HIDDEN)}
    names = ("w1", "w3", "w2") if kind == "mixtral" else ("gate_proj", "up_proj", "down_proj")
    mlp = {"llama": "mlp", "mixtral": "block_sparse_moe", "qwen3_moe": "mlp"}[kind]
    for layer in range(LAYERS):
        prefix = f"model.layers.{layer}."
        for name, rows in (("q_proj", HIDDEN), ("k_proj", HIDDEN // 2), ("v_proj", HIDDEN // 2), ("o_proj", HIDDEN)):
            tensors[f"{prefix}self_attn.{name}.weight"] = bf16(draw, rows, HIDDEN)
        owners = [f"{prefix}{mlp}"] if kind == "llama" else [f"{prefix}{mlp}.experts.{e}" for e in range(EXPERTS)]
        for owner in owners:
            for name, rows, columns in zip(names, (INNER, INNER, HIDDEN), (HIDDEN, HIDDEN, INNER)):
                tensors[f"{owner}.{name}.weight"] = bf16(draw, rows, columns)
        if kind != "llama":
            tensors[f"{prefix}{mlp}.gate.weight"] = bf16(draw, EXPERTS, HIDDEN)
        if kind == "qwen3_moe":
            for name in ("q_norm", "k_norm"):
                tensors[f"{prefix}self_attn.{name}.weight"] = ones(HIDDEN // 4)
        for name in ("input_layernorm", "post_attention_layernorm"):
            tensors[f"{prefix}{name}.weight"] = ones(HIDDEN)
    config = {"model_type": kind, "architectures": [{"llama": "Llama", "mixtral": "Mixtral", "qwen3_moe": "Qwen3Moe"}[kind] + "ForCausalLM"],
              "dtype": "bfloat16", "hidden_size": HIDDEN, "intermediate_size": INNER, "num_hidden_layers": LAYERS, "vocab_size": VOCABULARY,
              "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": HIDDEN // 4, "rms_norm_eps": 1e-5, "tie_word_embeddings": False,
              "max_position_embeddings": 128, "hidden_act": "silu"}
    if kind != "llama":
        config |= {"num_experts": EXPERTS, "num_local_experts": EXPERTS, "num_experts_per_tok": 2, "moe_intermediate_size": INNER,
                   "norm_topk_prob": True, "decoder_sparse_step": 1, "mlp_only_layers": []}
    make_tokenizer(folder)
    write_safetensors(folder / "model.safetensors", tensors)
    write_json(folder / "config.json", config)
    return folder


def nearest(name):
    if "mixtral" in name:
        return "mixtral"
    return "qwen3_moe" if re.search(r"moe|a3b|a22b|reap|qwen3_next|glm5|deepseek", name) else "llama"


def outcome(result):
    """"accepted", a reason that is right, or "refused"."""
    if result.returncode == 0:
        return "accepted"
    return next((why for pattern, why in FOREIGN if re.search(pattern, result.stderr)), "refused")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--program", default=str(ROOT / "build/swage"))
    parser.add_argument("-v", action="store_true", help="also what was refused rightly")
    arguments = parser.parse_args()
    counts = collections.defaultdict(collections.Counter)
    with tempfile.TemporaryDirectory() as work:
        work = pathlib.Path(work)
        text = make_text(work / "text.jsonl", 1)
        models = {kind: make_model(work / kind, kind) for kind in ("llama", "mixtral", "qwen3_moe")}
        for recipe in sorted(arguments.folder.rglob("*.yaml")):
            command = [arguments.program, "compress", models[nearest(recipe.name.lower())], "-o", work / "out", "--recipe", recipe, "-d", text,
                       "--num-calibration-samples", "4", "--max-seq-length", "32", "--dry-run"]
            result = subprocess.run(list(map(str, command)), capture_output=True, text=True)
            found = outcome(result)
            counts[recipe.parent.name][found] += 1
            if found == "refused" or (arguments.v and found != "accepted"):
                print(f"{recipe.parent.name}/{recipe.name}: {found}: {result.stderr.strip().splitlines()[-1] if result.stderr.strip() else result.returncode}")
    for folder, of_folder in sorted(counts.items()):
        print(f"{folder}: {sum(of_folder.values())} recipes: " + ", ".join(f"{count} {what}" for what, count in of_folder.most_common()))
    return any(of_folder["refused"] for of_folder in counts.values())


if __name__ == "__main__":
    sys.exit(main())
