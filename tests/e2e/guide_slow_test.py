"""LLM Compressor's guide, end to end from a hub: a checkpoint with TinyLlama's published shapes and values (2 of its 22 layers, random weights),
SmoothQuant at 0.8 and GPTQ W8A8 as its recipe has them, open_platypus by name; then the same commands offline, and the result's card and licence."""
import gzip
import json
import math
import random
import struct

from hub_support import Hub
from support import ROOT, read_json, read_safetensors, write_safetensors

REPOSITORY = "TinyLlama/TinyLlama-1.1B-Chat-v1.0"
HIDDEN, INNER, HEADS, KEYS, VOCABULARY, LAYERS = 2048, 5632, 32, 4, 32000, 2
CONFIG = {"architectures": ["LlamaForCausalLM"], "attention_bias": False, "bos_token_id": 1, "eos_token_id": 2, "hidden_act": "silu", "hidden_size": HIDDEN,
          "initializer_range": 0.02, "intermediate_size": INNER, "max_position_embeddings": 2048, "model_type": "llama", "num_attention_heads": HEADS,
          "num_hidden_layers": LAYERS, "num_key_value_heads": KEYS, "pretraining_tp": 1, "rms_norm_eps": 1e-05, "rope_scaling": None, "rope_theta": 10000.0,
          "tie_word_embeddings": False, "torch_dtype": "bfloat16", "transformers_version": "4.35.0", "use_cache": True, "vocab_size": VOCABULARY}
CHAT = ("{% for message in messages %}\n{% if message['role'] == 'user' %}\n{{ '<|user|>\n' + message['content'] + eos_token }}\n{% elif message['role'] == 'system' %}\n"
        "{{ '<|system|>\n' + message['content'] + eos_token }}\n{% elif message['role'] == 'assistant' %}\n{{ '<|assistant|>\n'  + message['content'] + eos_token }}\n"
        "{% endif %}\n{% if loop.last and add_generation_prompt %}\n{{ '<|assistant|>' }}\n{% endif %}\n{% endfor %}")
# As the published file has it, spelling of the number included.
TOKENIZER_CONFIG = '''{"bos_token": "<s>", "chat_template": %s, "clean_up_tokenization_spaces": false, "eos_token": "</s>", "legacy": false,
"model_max_length": 1000000000000000019884624838656, "pad_token": "</s>", "padding_side": "right", "sp_model_kwargs": {}, "tokenizer_class": "LlamaTokenizer",
"unk_token": "<unk>", "use_default_system_prompt": false}''' % json.dumps(CHAT)
RECIPE = """quant_stage:
  quant_modifiers:
    SmoothQuantModifier:
      smoothing_strength: 0.8
    GPTQModifier:
      scheme: W8A8
      targets: Linear
      ignore: [lm_head]
"""


def pieces():
    """(piece, score, type) of Llama 2's vocabulary, by id; types as SentencePiece numbers them."""
    plain = gzip.decompress((ROOT / "tests" / "data" / "tokenizers" / "llama2_pieces.txt.gz").read_bytes()).decode().split("\n")
    special = [("<unk>", 0.0, 2), ("<s>", 0.0, 3), ("</s>", 0.0, 3)] + [(f"<0x{byte:02X}>", 0.0, 6) for byte in range(256)]
    return special + [(piece, -1e9 if i == 0 else -float(i), 1) for i, piece in enumerate(plain)]


def varint(value):
    out = b""
    while value > 127:
        out += bytes([value & 127 | 128])
        value >>= 7
    return out + bytes([value])


def field(number, data):
    return varint(number << 3 | 2) + varint(len(data)) + data


def sentencepiece(vocabulary):
    """tokenizer.model: ModelProto with its pieces, a BPE trainer_spec with byte fallback, and Llama's normalizer."""
    out = b"".join(field(1, field(1, piece.encode()) + b"\x15" + struct.pack("<f", score) + varint(3 << 3) + varint(kind)) for piece, score, kind in vocabulary)
    trainer = varint(3 << 3) + varint(2) + varint(4 << 3) + varint(VOCABULARY) + varint(35 << 3) + varint(1)
    trainer += b"".join(varint(number << 3) + varint(value) for number, value in ((40, 0), (41, 1), (42, 2), (43, (1 << 64) - 1)))
    normalizer = field(1, b"identity") + b"".join(varint(number << 3) + varint(value) for number, value in ((3, 1), (4, 0), (5, 1)))
    return out + field(2, trainer) + field(3, normalizer)


def tokenizer_json(vocabulary):
    """The same as transformers converts it: merges are all ways to make a piece of two others, best pieces first."""
    ids = {piece: i for i, (piece, _, _) in enumerate(vocabulary)}
    merges = []
    for piece, score, kind in vocabulary:
        if kind != 1:
            continue
        halves = [(piece[:i], piece[i:], score) for i in range(1, len(piece)) if piece[:i] in ids and piece[i:] in ids]
        merges += sorted(halves, key=lambda half: (ids[half[0]], ids[half[1]]))
    merges.sort(key=lambda half: (half[2], len(half[0]), len(half[1])), reverse=True)
    special = [{"id": i, "content": vocabulary[i][0], "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True} for i in range(3)]
    template = [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}]
    return {"version": "1.0", "truncation": None, "padding": None, "added_tokens": special,
            "normalizer": {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "\u2581"}, {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"}]},
            "pre_tokenizer": None,
            "post_processor": {"type": "TemplateProcessing", "single": template, "pair": template + [{"SpecialToken": {"id": "<s>", "type_id": 1}}, {"Sequence": {"id": "B", "type_id": 1}}],
                               "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}}},
            "decoder": {"type": "Sequence", "decoders": [{"type": "Replace", "pattern": {"String": "\u2581"}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"},
                                                         {"type": "Strip", "content": " ", "start": 1, "stop": 0}]},
            "model": {"type": "BPE", "dropout": None, "unk_token": "<unk>", "continuing_subword_prefix": None, "end_of_word_suffix": None, "fuse_unk": True,
                      "byte_fallback": True, "vocab": ids, "merges": [f"{left} {right}" for left, right, _ in merges]}}


def weights():
    draw = random.Random(11)
    block = draw.randbytes(1 << 22)
    signs = block.translate(bytes((0x3B, 0x3C, 0xBB, 0xBC)[i % 4] for i in range(256)))  # bf16 from 2^-9 to 2^-5, of either sign

    def matrix(rows, columns):
        count, start = rows * columns, draw.randrange(1 << 20)
        data = bytearray(2 * count)
        low, high = block[start:] + block[:start], signs[start:] + signs[:start]
        data[0::2] = (low * (count // len(low) + 1))[:count]
        data[1::2] = (high * (count // len(high) + 1))[:count]
        return ("BF16", [rows, columns], bytes(data))

    out = {"model.embed_tokens.weight": matrix(VOCABULARY, HIDDEN), "lm_head.weight": matrix(VOCABULARY, HIDDEN), "model.norm.weight": ("BF16", [HIDDEN], b"\x80\x3f" * HIDDEN)}
    head = HIDDEN // HEADS
    for layer in range(LAYERS):
        for name, rows, columns in (("self_attn.q_proj", HIDDEN, HIDDEN), ("self_attn.k_proj", KEYS * head, HIDDEN), ("self_attn.v_proj", KEYS * head, HIDDEN),
                                    ("self_attn.o_proj", HIDDEN, HIDDEN), ("mlp.gate_proj", INNER, HIDDEN), ("mlp.up_proj", INNER, HIDDEN), ("mlp.down_proj", HIDDEN, INNER)):
            out[f"model.layers.{layer}.{name}.weight"] = matrix(rows, columns)
        for name in ("input_layernorm", "post_attention_layernorm"):
            out[f"model.layers.{layer}.{name}.weight"] = ("BF16", [HIDDEN], b"\x80\x3f" * HIDDEN)
    return out


class Guide(Hub):
    ROWS, LENGTH = 2, 64  # of the guide's 512 x 2048: the time is that of the solver on these shapes, two minutes of one core, whatever the rows
    TIMEOUT = 600

    def publish_tinyllama(self):
        folder, vocabulary = self.folder / "tinyllama", pieces()
        folder.mkdir()
        self.assertEqual(len(vocabulary), VOCABULARY)
        (folder / "config.json").write_text(json.dumps(CONFIG))
        (folder / "generation_config.json").write_text(json.dumps({"bos_token_id": 1, "eos_token_id": 2, "max_length": 2048, "pad_token_id": 0}))
        (folder / "tokenizer.json").write_text(json.dumps(tokenizer_json(vocabulary), ensure_ascii=False))
        (folder / "tokenizer.model").write_bytes(sentencepiece(vocabulary))
        (folder / "tokenizer_config.json").write_text(TOKENIZER_CONFIG)
        (folder / "special_tokens_map.json").write_text(json.dumps({"bos_token": "<s>", "eos_token": "</s>", "pad_token": "</s>", "unk_token": "<unk>"}))
        (folder / "README.md").write_text("---\nlicense: apache-2.0\n---\n# TinyLlama\n")
        write_safetensors(folder / "model.safetensors", weights())
        return self.hub.add_folder(REPOSITORY, folder)

    def publish_platypus(self):
        draw = random.Random(5)
        words = "the tide comes in twice a day and small boats swing round on their chains while birds wait along the wall for fish".split()
        rows = [{"input": "" if i % 2 else "Wind: north.", "output": " ".join(draw.choice(words) for _ in range(90)), "instruction": f"Question {i}: when does the tide turn?",
                 "data_source": "scienceqa"} for i in range(40)]
        self.hub.add("garage-bAInd/Open-Platypus", {"data/train-00000-of-00001.jsonl": "".join(json.dumps(row) + "\n" for row in rows)}, kind="datasets")

    def compress_guide(self, out, *arguments, **variables):
        return self.swage("compress", REPOSITORY, "-o", out, "--recipe", self.recipe(), "-d", "open_platypus", "--num-calibration-samples", self.ROWS,
                          "--max-seq-length", self.LENGTH, *arguments, **variables)

    def test_tinyllama_smoothquant_gptq_open_platypus(self):
        commit = self.publish_tinyllama()
        self.publish_platypus()
        self.assert_succeeds(self.swage("estimate", REPOSITORY, "--recipe", self.recipe(), "--rates", "gemm=100G,copy=5G,disk=1G"))
        ranges = [headers.get("range") for headers in self.hub.headers_of("/blobs/")]
        self.assertTrue(ranges and all(ranges), "an estimate fetches headers alone")
        result = self.assert_succeeds(self.compress_guide(self.out))
        report, config = read_json(self.out / "swage_report.json"), read_json(self.out / "config.json")
        calibration = report["calibration"]
        self.assertEqual((calibration["rows"], calibration["tokens_per_row"], calibration["data"]["form"]), (self.ROWS, self.LENGTH, "open_platypus"))
        self.assertEqual(report["source"], REPOSITORY)
        self.assertEqual(len(report["modules"]), 7 * LAYERS)
        self.assertTrue(any("little calibration" in warning for warning in report["warnings"]))
        self.assertEqual(config["quantization_config"]["format"], "int-quantized")
        self.assertIn("1000000000000000019884624838656", (self.out / "tokenizer_config.json").read_text())
        tensors = read_safetensors(self.out / "model.safetensors")
        self.assertEqual(tensors["model.layers.1.mlp.down_proj.weight"][:2], ("I8", [HIDDEN, INNER]))
        self.assertEqual(tensors["model.layers.0.self_attn.k_proj.weight"][:2], ("I8", [HIDDEN // HEADS * KEYS, HIDDEN]))
        self.assertTrue(math.isfinite(report["check"]["output_perplexity"]))
        self.assertTrue((self.snapshot(commit, REPOSITORY) / "README.md").exists())
        self.assertRegex(result.stdout, f"calibrated +on {self.ROWS} rows of {self.LENGTH} tokens")
        asked = len(self.hub.requests)
        self.assert_succeeds(self.compress_guide(self.folder / "again", "--dry-run", HF_HUB_OFFLINE="1"))
        self.assertEqual(len(self.hub.requests), asked)

    def recipe(self):
        (self.folder / "recipe.yaml").write_text(RECIPE)
        return self.folder / "recipe.yaml"

