#!/usr/bin/env python3
"""What the programs that read swage's output make of it: loads, and gives the same perplexity, or refuses.

    bench/consumers.py [--consumer transformers] [--python VENV/bin/python3] [--schemes W4A16,FP8_DYNAMIC] [--write]
    bench/consumers.py --models FOLDER [--only gemma2,phi3] [--schemes W4A16,W8A8] [--write]

For each consumer a throwaway virtual environment is made in a temporary folder (or the one given by --python is taken), and each preset of the matrix
is tried on small random models of several families: swage compresses the model, the consumer loads it, and the perplexity of both on one text is
compared. Prints a line each:

    transformers 5.17.0 / compressed-tensors 0.19.0 | llama | W4A16 | pack-quantized | equal | 99.13 99.08

"equal": within 4 %, since a consumer calculates in bf16 where swage does in float32, so that quantized activations round otherwise.

With --models every tiny checkpoint of a folder (tests/data/model, or the full set of golden models) is compressed, by rounding to nearest in each scheme
and by GPTQ, and logits of one row of ids are compared, float32 on both sides: `swage eval --token-ids` against the consumer. A line each:

    transformers 5.24.0 with compressed-tensors 0.20.0 | gemma2 | W4A16 | equal | 3.1e-06

"equal": the largest difference is at most 1e-3 of the largest logit; with quantized activations 5 %, since one value that rounds otherwise moves all
that follow. Where they differ, the unquantized model is compared too: "differs unquantized" says that it is not the format.

--write puts results and date into swage/scheme/consumers.json, from which the
program and docs/consumers.md speak. A consumer that cannot be installed here (vLLM for GPUs, llama.cpp, which reads GGUF alone) is left as it stands there.
"""
import argparse
import concurrent.futures
import datetime
import json
import pathlib
import random
import re
import shutil
import struct
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "e2e"))
import support  # noqa: E402  (models, texts, and the program)

MATRIX = ROOT / "swage" / "scheme" / "consumers.json"
PACKAGES = {"transformers": ["torch", "transformers", "compressed-tensors", "accelerate"]}
TOLERANCE = 0.04

SIZES = {"vocab_size": 128, "hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 32,
         "max_position_embeddings": 128, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0, "tie_word_embeddings": False}
EXPERTS = {"num_experts": 4, "num_local_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 256}
# What a family's config has beside those sizes.
FAMILIES = {"llama": {}, "mistral": {}, "qwen2": {}, "qwen3": {}, "phi3": {}, "gemma2": {"query_pre_attn_scalar": 32}, "granite": {}, "olmo2": {}, "smollm3": {}, "starcoder2": {},
            "opt": {"ffn_dim": 256, "word_embed_proj_dim": 128}, "mixtral": EXPERTS, "qwen3_moe": EXPERTS | {"norm_topk_prob": True}}

# Runs inside of an environment with transformers: random models. Weights are so large that layers matter and predictions are not uniform; else
# any weights at all would give the same perplexity.
MAKE = """
import json, sys, torch, transformers
request = json.load(sys.stdin)
for name, fields in request["families"].items():
    torch.manual_seed(7)
    model = transformers.AutoModelForCausalLM.from_config(transformers.AutoConfig.for_model(name, **fields), dtype=torch.bfloat16)
    with torch.no_grad():
        for parameter, value in model.named_parameters():
            if value.dim() > 1 and "embed" not in parameter:
                value.normal_(0, 1.5 / value.shape[-1] ** 0.5)
    model.save_pretrained(request["folder"] + "/" + name)
"""

# Runs inside of the consumer's environment: perplexities of models on windows of the tokens of a text.
PROBE = """
import json, sys, torch, tokenizers, transformers, compressed_tensors
request = json.load(sys.stdin)
version = f"{transformers.__version__} with compressed-tensors {compressed_tensors.__version__}"
for name in request["models"]:
    out = {"model": name, "version": version}
    try:
        documents = [json.loads(line)["text"] for line in open(request["text"])]
        tokens = tokenizers.Tokenizer.from_file(name + "/tokenizer.json").encode("\\n\\n".join(documents), add_special_tokens=False).ids
        ids = torch.tensor([tokens[i * 32:(i + 1) * 32] for i in range(8)])
        model = transformers.AutoModelForCausalLM.from_pretrained(name, dtype=torch.bfloat16)
        with torch.no_grad():
            logits = model(ids).logits.float()
        out["perplexity"] = float(torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten()).exp())
    except Exception as e:
        out["error"] = f"{type(e).__name__}: {str(e).splitlines()[0][:160] if str(e) else ''}"
    print("RESULT " + json.dumps(out), flush=True)
"""


def environment_for(consumer, folder):
    python = folder / "venv" / "bin" / "python3"
    subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
    subprocess.run([python, "-m", "pip", "install", "-q", *PACKAGES[consumer]], check=True)
    return python


def make_families(python, folder, names):
    """name -> folder of a random model whose matrices every preset fits, made by transformers itself."""
    request = {"folder": str(folder), "families": {name: SIZES | FAMILIES[name] for name in names}}
    subprocess.run([python, "-c", MAKE], input=json.dumps(request), text=True, check=True)
    for name in names:
        support.make_tokenizer(folder / name)
    return {name: folder / name for name in names}


def compress(model, scheme, folder, text):
    """(folder, format, perplexity by swage), or the reason why there is none."""
    out = folder / f"out-{model.name}-{scheme}"
    made = support.run("compress", model, "-o", out, "--method", "rtn", "--scheme", scheme, "-d", text, "--num-calibration-samples", 8, "--max-seq-length", 32, "--overwrite")
    if made.returncode != 0:
        return made.stderr.strip().splitlines()[-1]
    own = json.loads(support.run("eval", out, "-d", text, "--window", 32, "--max-windows", 8, "--json").stdout)["perplexity"]
    return out, support.read_json(out / "config.json")["quantization_config"]["format"], own


def read_all(python, folders, text):
    """folder -> what the consumer made of it"""
    request = json.dumps({"models": [str(folder) for folder in folders], "text": str(text)})
    run = subprocess.run([python, "-c", PROBE], input=request, capture_output=True, text=True)
    results = [json.loads(line[7:]) for line in run.stdout.splitlines() if line.startswith("RESULT ")]
    if len(results) < len(folders):
        print(f"the consumer died: {(run.stderr.strip().splitlines() or ['?'])[-1]}", file=sys.stderr)
    return {result["model"]: result for result in results}


# Runs inside of the consumer's environment: logits of models on the ids of a file.
LOGITS = """
import json, sys, torch, transformers, compressed_tensors
from safetensors.torch import load_file, save_file
request = json.load(sys.stdin)
version = f"{transformers.__version__} with compressed-tensors {compressed_tensors.__version__}"
for name, ids, saved in request["models"]:
    out = {"model": name, "version": version}
    try:
        architecture = json.load(open(name + "/config.json"))["architectures"][0]
        model, info = getattr(transformers, architecture).from_pretrained(name, dtype=torch.float32, attn_implementation="eager", output_loading_info=True)
        lacking = sorted(info["missing_keys"]) + sorted(info["unexpected_keys"])
        with torch.no_grad():
            logits = model.eval()(input_ids=load_file(ids)["input_ids"], use_cache=False).logits.float()
        own = load_file(saved)["logits"]
        out["difference"] = float((logits - own).abs().max() / own.abs().max())
        if lacking:
            out["lacking"] = f"{len(lacking)} tensors are not matched, as {lacking[0]}"
    except Exception as e:
        out["error"] = f"{type(e).__name__}: {(str(e).strip().splitlines() or [''])[0][:160]}"
    print("RESULT " + json.dumps(out), flush=True)
"""


def widened(dtype, shape, data):
    """bf16 as float32, so that scales are, too: transformers dequantizes fused experts in the type of their scales."""
    if dtype != "BF16":
        return dtype, shape, data
    out = bytearray(2 * len(data))
    out[2::4], out[3::4] = data[0::2], data[1::2]
    return "F32", shape, bytes(out)


def prepare_model(source, folder):
    """A golden model in float32 with a tokenizer, and ids that mean no image, end or padding."""
    folder.mkdir()
    tensors = support.read_safetensors(source / "model.safetensors")
    support.write_safetensors(folder / "model.safetensors", {name: widened(*tensor) for name, tensor in tensors.items()})
    (folder / "config.json").write_text((source / "config.json").read_text().replace('"bfloat16"', '"float32"'))
    support.make_tokenizer(folder)
    special = {value for text in re.findall(r'_id": (\[?[^\]\n]*)', (folder / "config.json").read_text()) for value in map(int, re.findall(r"\d+", text))}
    usable = [token for token in range(3, 100) if token not in special]
    draw = random.Random(3)
    ids = [draw.choice(usable) for _ in range(20)]
    support.write_safetensors(folder / "ids.safetensors", {"input_ids": ("I64", [1, len(ids)], struct.pack(f"<{len(ids)}q", *ids))})
    return folder


def compress_variant(model, variant, text):
    """A folder of what swage makes of a model, with its own logits beside it; or why there is none."""
    method, scheme = variant
    out = model.parent / f"{model.name}-{method}-{scheme}"
    data = ["-d", text, "--num-calibration-samples", 4, "--max-seq-length", 16] if method != "rtn" else []
    command = ["compress", model, "-o", out, "--method", method, "--scheme", scheme, *data]
    sizes = ["--group-size", 32] if scheme.startswith("W4A16") else []
    made = support.run(*command, *sizes)
    fitting = re.search(r"use --group-size (-?\d+)", made.stderr)
    if made.returncode != 0 and fitting:
        made = support.run(*command, "--group-size", fitting[1])
    if made.returncode == 0:
        made = save_logits(out, model)
    return out if made.returncode == 0 else made.stderr.strip().splitlines()[-1].split("; supported are")[0]


def save_logits(folder, model):
    return support.run("eval", folder, "--token-ids", model / "ids.safetensors", "--save-logits", folder / "logits.bin")


def compare_logits(python, folders, model_of):
    """folder -> what the consumer made of it"""
    request = json.dumps({"models": [[str(folder), str(model_of[folder] / "ids.safetensors"), str(folder / "logits.bin")] for folder in folders]})
    run = subprocess.run([python, "-c", LOGITS], input=request, capture_output=True, text=True)
    results = [json.loads(line[7:]) for line in run.stdout.splitlines() if line.startswith("RESULT ")]
    if len(results) < len(folders):
        print(f"the consumer died: {(run.stderr.strip().splitlines() or ['?'])[-1]}", file=sys.stderr)
    return {pathlib.Path(result["model"]): result for result in results}


def word_of(result, scheme):
    if result is None:
        return "refused: it died"
    if "error" in result:
        return "refused: " + result["error"]
    limit = 0.05 if "A8" in scheme or scheme.startswith("FP8") else 1e-3
    word = "equal" if result["difference"] <= limit else "differs"
    return word + (": " + result["lacking"] if "lacking" in result else "")


def try_some(names, arguments, variants, folder, python):
    """(name, variant) -> what the consumer made of it with its "word"; all in one process of the consumer, whose start takes seconds."""
    models = {name: prepare_model(pathlib.Path(arguments.models) / name, folder / name) for name in names}
    text = support.make_text(folder / "text.jsonl", seed=5)
    tasks = [(name, variant) for name in names for variant in variants]
    with concurrent.futures.ThreadPoolExecutor(arguments.jobs) as pool:
        made = dict(zip(tasks, pool.map(lambda task: compress_variant(models[task[0]], task[1], text), tasks)))
    model_of = {out: models[name] for (name, _), out in made.items() if not isinstance(out, str)}
    found = compare_logits(python, list(model_of), model_of)
    results = {task: dict(found.get(out, {}), word=word_of(found.get(out), task[1][1])) if out in model_of else {"word": "not made: " + out} for task, out in made.items()}
    doubtful = {models[name] for (name, _), result in results.items() if result["word"].startswith(("differs", "refused"))}
    doubtful = [model for model in doubtful if save_logits(model, model).returncode == 0]
    sources = compare_logits(python, doubtful, {model: model for model in doubtful}) if doubtful else {}
    for (name, _), result in results.items():
        source = word_of(sources[models[name]], "") if models[name] in sources else "equal"
        if source != "equal" and result["word"].startswith(("differs", "refused")):
            result["word"] = "the unquantized model: " + source
    for path in folder.iterdir():
        if path.name.startswith(tuple(names)):
            shutil.rmtree(path)
    return results


def try_models(arguments, folder, python):
    """(name, variant) -> result, printed as they come"""
    schemes = (arguments.schemes or "W4A16,W8A8").split(",")
    variants = [("rtn", scheme) for scheme in schemes] + ([] if arguments.data_free else [("gptq", schemes[0])])
    names = arguments.only.split(",") if arguments.only else sorted(path.parent.name for path in pathlib.Path(arguments.models).glob("*/model.safetensors"))
    results = {}
    for start in range(0, len(names), 16):
        for (name, variant), result in try_some(names[start:start + 16], arguments, variants, folder, python).items():
            results[name, variant] = result
            difference = f"{result['difference']:.1e}" if "difference" in result else "-"
            print(f"{result.get('version', '-')} | {name} | {' '.join(variant)} | {result['word']} | {difference}", flush=True)
    return results


def state_of(result, own):
    if result is None:
        return "refused: it died"
    if "error" in result:
        return "refused: " + result["error"]
    return "equal" if abs(result["perplexity"] / own - 1) < TOLERANCE else "loaded"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--consumer", default="transformers", choices=sorted(PACKAGES))
    parser.add_argument("--python", help="python of an environment that has the consumer, instead of a throwaway one")
    parser.add_argument("--schemes", help="with commas; without it those of the matrix")
    parser.add_argument("--families", default="llama", help=f"of {', '.join(FAMILIES)}; with commas")
    parser.add_argument("--models", help="a folder of tiny checkpoints: compares logits of each instead")
    parser.add_argument("--only", help="of these models; with commas")
    parser.add_argument("--data-free", action="store_true", help="of these models: without GPTQ")
    parser.add_argument("--jobs", type=int, default=2, help="runs of swage at once")
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    matrix = json.loads(MATRIX.read_text())
    schemes = arguments.schemes.split(",") if arguments.schemes else [row["scheme"] for row in matrix["schemes"]]
    with tempfile.TemporaryDirectory(prefix="swage-consumers-") as name:
        folder = pathlib.Path(name)
        python = arguments.python or environment_for(arguments.consumer, folder)
        if arguments.models:
            try_models(arguments, folder, python)
            return
        names = arguments.families.split(",")
        models, text = make_families(python, folder, names), support.make_text(folder / "text.jsonl", seed=5)
        version = None
        states = {scheme: {} for scheme in schemes}
        for family in names:
            made = {scheme: compress(models[family], scheme, folder, text) for scheme in schemes}
            read = read_all(python, [one[0] for one in made.values() if not isinstance(one, str)], text)
            for scheme, one in made.items():
                if isinstance(one, str):
                    print(f"{family} | {scheme} | - | not made: {one}")
                    continue
                out, form, own = one
                result = read.get(str(out))
                version = result["version"] if result else version
                states[scheme][family] = state_of(result, own)
                figures = f"{own:.3f} {result['perplexity']:.3f}" if result and "perplexity" in result else f"{own:.3f}"
                print(f"{arguments.consumer} {version} | {family} | {scheme} | {form} | {states[scheme][family]} | {figures}", flush=True)
        for scheme in schemes:
            if arguments.write and states[scheme]:
                record(matrix, arguments.consumer, scheme, states[scheme])
        if arguments.write:
            for one in matrix["consumers"]:
                if one["name"] == arguments.consumer and version:
                    one["version"] = version
            matrix["date"] = datetime.date.today().isoformat()
            MATRIX.write_text(dump(matrix))


def record(matrix, consumer, scheme, states):
    row = next((row for row in matrix["schemes"] if row["scheme"] == scheme), None)
    if row is None:
        return
    words = {state.split(":")[0] for state in states.values()}
    row[consumer] = "refused" if "refused" in words else "loaded" if words != {"equal"} else "equal"
    row.setdefault("families", {})[consumer] = sorted(family for family, state in states.items() if state in ("equal", "loaded"))
    refusals = sorted({state for state in states.values() if state.startswith("refused")})
    if refusals and consumer + "_note" not in row:
        row[consumer + "_note"] = refusals[0].split(": ", 1)[1]


def dump(matrix):
    """One row a line, so that a change shows as one."""
    lines = []
    for key, value in matrix.items():
        if isinstance(value, list):
            lines.append(f'  {json.dumps(key)}: [\n' + ",\n".join("    " + json.dumps(item) for item in value) + "\n  ]")
        else:
            lines.append(f"  {json.dumps(key)}: {json.dumps(value)}")
    return "{\n" + ",\n".join(lines) + "\n}\n"


if __name__ == "__main__":
    main()
