"""What the end-to-end tests share: the program, tiny models with a tokenizer and texts, safetensors files.

The program is taken from SWAGE_PROGRAM (ctest sets it), else build/swage. Standard library only.
"""
import json
import os
import pathlib
import random
import re
import shutil
import struct
import subprocess
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROGRAM = os.environ.get("SWAGE_PROGRAM", str(ROOT / "build" / "swage"))
MODELS = ROOT / "tests" / "data" / "model"

WORDS = ("the river runs under an old stone bridge and a small boat waits near its bank while grey birds turn over "
         "wide fields where people work with horses until evening light falls on the roofs of their village").split()


# --- safetensors ---------------------------------------------------------------------------------------------------------

def read_safetensors(path):
    """name -> (dtype, shape, bytes)"""
    data = pathlib.Path(path).read_bytes()
    size = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8:8 + size])
    header.pop("__metadata__", None)
    start = 8 + size
    return {name: (t["dtype"], t["shape"], data[start + t["data_offsets"][0]:start + t["data_offsets"][1]]) for name, t in header.items()}


def write_safetensors(path, tensors):
    header, offset = {}, 0
    for name, (dtype, shape, data) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [offset, offset + len(data)]}
        offset += len(data)
    write_raw_safetensors(path, header, b"".join(data for _, _, data in tensors.values()))


def write_raw_safetensors(path, header, payload):
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    pathlib.Path(path).write_bytes(struct.pack("<Q", len(text)) + text + payload)


def read_checkpoint(folder):
    """All tensors of a folder, whether in one file or in shards."""
    out = {}
    for path in sorted(pathlib.Path(folder).glob("*.safetensors")):
        out.update(read_safetensors(path))
    return out


def split_checkpoint(folder):
    """Turns a folder's one weight file into two shards with an index."""
    folder = pathlib.Path(folder)
    tensors = list(read_safetensors(folder / "model.safetensors").items())
    (folder / "model.safetensors").unlink()
    names = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    parts = [dict(tensors[:len(tensors) // 2]), dict(tensors[len(tensors) // 2:])]
    index = {"metadata": {"total_size": sum(len(t[2]) for _, t in tensors)}, "weight_map": {}}
    for name, part in zip(names, parts):
        write_safetensors(folder / name, part)
        index["weight_map"].update({tensor: name for tensor in part})
    write_json(folder / "model.safetensors.index.json", index)
    return names


# --- models and texts ----------------------------------------------------------------------------------------------------

def read_json(path):
    return json.loads(pathlib.Path(path).read_text())


def write_json(path, value):
    pathlib.Path(path).write_text(json.dumps(value, indent=2))


def edit_json(path, **fields):
    value = read_json(path)
    value.update(fields)
    write_json(path, value)


def byte_level_tokenizer():
    """A byte-level BPE of 128 tokens: three special ones, printable ASCII, space and newline, and some merges."""
    letters = [chr(c) for c in range(33, 127)] + ["\u0120", "\u010a"]  # byte-level names of space and newline
    merges = ["t h", "th e", "\u0120 the", "\u0120 a", "e r", "r e", "i n", "a n", "o n", "\u0120 w", "\u0120 o", "e s", "o w", "i t", "an d",
              "\u0120 b", "l l", "e n", "a r", "o r", "e d", "g h", "\u0120 f", "\u0120 u", "\u0120 s", "a t", "l e", "o f", "i r"]
    tokens = ["<pad>", "<s>", "</s>"] + letters
    tokens += [merge.replace(" ", "") for merge in merges]
    assert len(tokens) == len(set(tokens)) == 128, len(tokens)
    special = [{"id": i, "content": tokens[i], "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
               for i in range(3)]
    return {"version": "1.0", "truncation": None, "padding": None, "added_tokens": special, "normalizer": None,
            "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
            "post_processor": None, "decoder": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
            "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None, "end_of_word_suffix": None,
                      "fuse_unk": False, "byte_fallback": False, "vocab": {token: i for i, token in enumerate(tokens)}, "merges": merges}}


def make_tokenizer(folder):
    """The files of a folder beside config and weights."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tokenizer.json").write_text(json.dumps(byte_level_tokenizer()))
    write_json(folder / "tokenizer_config.json", {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": "</s>",
                                                  "add_bos_token": False, "model_max_length": 128})
    write_json(folder / "generation_config.json", {"bos_token_id": 1, "eos_token_id": 2})
    (folder / "LICENSE").write_text("A licence.\n")


def make_model(folder, name="llama32_tied"):
    """A copy of a golden model, completed with a tokenizer."""
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True)
    for file in ("config.json", "model.safetensors"):
        shutil.copyfile(MODELS / name / file, folder / file)
    make_tokenizer(folder)
    return folder


def bf16(draw, *shape):
    """Random bf16 numbers from 2^-9 to 2^-5, of either sign."""
    count = 1
    for size in shape:
        count *= size
    data = bytearray(2 * count)
    data[0::2] = draw.randbytes(count)
    data[1::2] = draw.randbytes(count).translate(bytes((0x3B, 0x3C, 0xBB, 0xBC)[i % 4] for i in range(256)))
    return ("BF16", list(shape), bytes(data))


def make_llama(folder, hidden=128, inner=256, layers=2, tied=False):
    """A random llama whose matrices every preset fits, of the size of compressed-tensors' golden presets, complete with a tokenizer."""
    folder, draw = pathlib.Path(folder), random.Random(7)
    tensors = {"model.embed_tokens.weight": bf16(draw, 128, hidden), "model.norm.weight": ones(hidden)}
    if not tied:
        tensors["lm_head.weight"] = bf16(draw, 128, hidden)
    for layer in range(layers):
        prefix = f"model.layers.{layer}."
        for name, rows, columns in (("self_attn.q_proj", hidden, hidden), ("self_attn.k_proj", hidden // 2, hidden), ("self_attn.v_proj", hidden // 2, hidden),
                                    ("self_attn.o_proj", hidden, hidden), ("mlp.gate_proj", inner, hidden), ("mlp.up_proj", inner, hidden),
                                    ("mlp.down_proj", hidden, inner)):
            tensors[f"{prefix}{name}.weight"] = bf16(draw, rows, columns)
        for name in ("input_layernorm", "post_attention_layernorm"):
            tensors[f"{prefix}{name}.weight"] = ones(hidden)
    make_tokenizer(folder)
    write_safetensors(folder / "model.safetensors", tensors)
    write_json(folder / "config.json", {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "dtype": "bfloat16", "hidden_size": hidden,
                                        "intermediate_size": inner, "num_hidden_layers": layers, "vocab_size": 128, "num_attention_heads": 4,
                                        "num_key_value_heads": 2, "rms_norm_eps": 1e-5, "tie_word_embeddings": tied, "max_position_embeddings": 128,
                                        "hidden_act": "silu"})
    return folder


def ones(size):
    return ("BF16", [size], b"\x80\x3f" * size)


def make_text(path, seed, documents=24):
    draw = random.Random(seed)
    lines = [json.dumps({"text": " ".join(draw.choice(WORDS) for _ in range(60)).capitalize() + "."}) for _ in range(documents)]
    pathlib.Path(path).write_text("\n".join(lines) + "\n")
    return pathlib.Path(path)


# --- running -------------------------------------------------------------------------------------------------------------

def environment():
    """Without anything that could reach a hub or differ between machines."""
    env = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
    env.update(HF_ENDPOINT="http://127.0.0.1:9", HF_HUB_CACHE="/nonexistent", LC_ALL="C.UTF-8")
    return env


def run(*arguments, threads=1, preexec_fn=None, cwd=None, timeout=120):
    """Runs the program; one thread unless told otherwise, since on tiny models more only cost time."""
    command = [PROGRAM, *map(str, arguments)]
    if arguments and arguments[0] in ("compress", "eval", "generate") and threads and "--help" not in arguments:
        command += ["--threads", str(threads)]
    return subprocess.run(command, capture_output=True, text=True, errors="replace", env=environment(), timeout=timeout, preexec_fn=preexec_fn, cwd=cwd)


def without_times(report):
    """A report without what may differ between equal runs: times, memory, where activations lie, the number of threads."""
    varying = {"date", "seconds", "stage_seconds", "peak_rss_bytes", "peak_bytes", "threads", "stages", "activations_in_file", "rows_in_file"}
    if isinstance(report, dict):
        return {key: without_times(value) for key, value in report.items() if key not in varying}
    if isinstance(report, list):
        return [without_times(item) for item in report]
    return report


def contents(folder):
    """File name -> what must be equal between equal runs."""
    out = {}
    for path in sorted(pathlib.Path(folder).iterdir()):
        if path.name == "swage_report.html":  # swage_report.json, for people
            continue
        out[path.name] = without_times(read_json(path)) if path.name == "swage_report.json" else path.read_bytes()
    return out


class EndToEnd(unittest.TestCase):
    """A temporary folder with a text; assertions on what a user sees."""
    maxDiff = 2000

    @classmethod
    def setUpClass(cls):
        if not os.access(PROGRAM, os.X_OK):
            raise RuntimeError(f"{PROGRAM}: no such program; build it, or name it in SWAGE_PROGRAM")

    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="swage-e2e-"))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.text = make_text(self.folder / "calibration.jsonl", seed=1)
        self.out = self.folder / "out"

    def model(self, name="llama32_tied"):
        path = self.folder / name
        return path if path.exists() else make_model(path, name)

    def compress(self, model, *arguments, out=None, **keywords):
        """compress with settings for tiny models; the output folder is self.out."""
        return run("compress", model, "-o", out or self.out, *arguments, **keywords)

    def calibrated(self, *arguments):
        return ("-d", self.text, "--num-calibration-samples", 8, "--max-seq-length", 32, "--group-size", 16, *arguments)

    def assert_succeeds(self, result):
        self.assertEqual(result.returncode, 0, result.stderr)
        return result

    def assert_refused(self, result, code, *parts):
        """One error line with all the parts (regular expressions), the exit code, and nothing left in the folder."""
        self.assertEqual(result.returncode, code, result.stdout + result.stderr)
        errors = [line for line in result.stderr.splitlines() if "error:" in line.lower()]
        self.assertEqual(len(errors), 1, result.stderr)
        self.assertTrue(errors[0].startswith("swage: error: "), errors[0])
        self.assertEqual(result.stderr.rstrip("\n").splitlines()[-1], errors[0], "the error is not the last line")
        for part in parts:
            self.assertRegex(errors[0], part)
        self.assertEqual(result.stdout, "")
        self.assert_nothing_left()

    def assert_nothing_left(self, out=None):
        out = out or self.out
        self.assertFalse(out.exists(), f"{out} was left")
        if out.parent.is_dir():
            self.assertEqual([p.name for p in out.parent.iterdir() if p.name.startswith((out.name, "." + out.name))], [])


def quoted(text):
    return re.escape(str(text))
