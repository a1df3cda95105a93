"""Checkpoints of quant_method fp8, as DeepSeek, Qwen and Mistral publish them and AutoFP8 and FBGEMM write them: read bit for bit, compressed, run.
And those of libraries that only they themselves can read: refused by name, with the way out."""
import json
import random
import struct
import unittest

from support import EndToEnd, edit_json, make_llama, read_checkpoint, read_json, run, write_safetensors

HIDDEN, INNER = 96, 160  # 128 divides neither


def e4m3(code):
    sign, exponent, fraction = code >> 7, code >> 3 & 15, code & 7
    return (-1) ** sign * (fraction / 8 * 2.0 ** -6 if exponent == 0 else (1 + fraction / 8) * 2.0 ** (exponent - 7))


VALUES = [e4m3(code) for code in range(256)]


def f32(value):
    return struct.unpack("<f", struct.pack("<f", value))[0]


def bf16_bytes(value):
    """Of a number that bf16 holds."""
    return struct.pack("<f", value)[2:]


class Fp8Sources(EndToEnd):
    def make(self, config, suffix="weight_scale_inv", block=None, per_row=False, scale_type="F32", activation=None):
        """A llama whose linears are random codes under random scales; and the value of every weight."""
        source, draw = make_llama(self.folder / f"fp8-{len(list(self.folder.iterdir()))}", hidden=HIDDEN, inner=INNER, layers=1), random.Random(5)
        stored, values = {}, {}
        for name, (dtype, shape, data) in read_checkpoint(source).items():
            if "_proj" not in name:
                stored[name] = (dtype, shape, data)
                continue
            rows, columns = shape
            tall, wide = block or (1 if per_row else rows, columns)
            grid = (-(-rows // tall), -(-columns // wide))
            # Powers of two for types that hold no others; else any float32.
            exponents = [[draw.randint(-14, -10) for _ in range(grid[1])] for _ in range(grid[0])]
            scales = [[f32(2.0 ** e * (1 if scale_type == "F8_E8M0" else 1.5 if scale_type == "BF16" else draw.uniform(1, 2))) for e in row] for row in exponents]
            codes = bytes(draw.choice((0, 128)) + draw.randrange(127) for _ in range(rows * columns))
            pack = {"F32": lambda s: struct.pack("<f", s), "BF16": bf16_bytes, "F8_E8M0": lambda s: bytes([struct.unpack("<I", struct.pack("<f", s))[0] >> 23])}[scale_type]
            stored[name] = ("F8_E4M3", shape, codes)
            scale_shape = list(grid) if block else [rows, 1] if per_row else []
            stored[name.replace("weight", suffix)] = (scale_type, scale_shape, b"".join(pack(s) for row in scales for s in row))
            if activation:
                stored[name.replace("weight", activation)] = ("F32", [], struct.pack("<f", 0.05))
            values[name] = b"".join(struct.pack("<f", VALUES[codes[r * columns + c]] * scales[r // tall][c // wide]) for r in range(rows) for c in range(columns))
        write_safetensors(source / "model.safetensors", stored)
        edit_json(source / "config.json", quantization_config=config)
        return source, values

    def check(self, source, values):
        out, dense = self.folder / f"{source.name}-q", self.folder / f"{source.name}-dense"
        self.assert_succeeds(run("convert", source, dense, "--to", "dense", "--dtype", "f32"))
        tensors = read_checkpoint(dense)
        for name, expected in values.items():
            self.assertEqual(tensors[name][2], expected, name)
        self.assertNotIn("quantization_config", read_json(dense / "config.json"))
        result = self.assert_succeeds(self.compress(source, "--method", "rtn", "--scheme", "W8A16", "--group-size", 32, "-d", self.text, "--max-seq-length", 32, out=out))
        self.assertRegex(result.stderr, "the source is quantized already")
        written = read_checkpoint(out)
        self.assertIn("model.layers.0.mlp.down_proj.weight_packed", written)
        self.assertFalse([name for name in written if name.endswith(("scale_inv", "activation_scale", "input_scale"))])
        self.assert_succeeds(run("eval", source, "-d", self.text, "--window", 32, "--max-windows", 2, "--json"))

    def test_a_compressed_source_is_its_compressed_dequantization(self):
        """In the model's own type, as transformers and compressed-tensors dequantize it: then every byte is the same."""
        config = {"quant_method": "fp8", "activation_scheme": "dynamic"}
        for more, how in (({"weight_block_size": [128, 128]}, {"block": (128, 128)}), ({}, {"suffix": "weight_scale"}), ({"quant_method": "fbgemm_fp8"}, {"suffix": "weight_scale", "per_row": True})):
            with self.subTest(more):
                source, _ = self.make({**config, **more}, **how)
                dense = self.folder / f"{source.name}-dense"
                self.assert_succeeds(run("convert", source, dense, "--to", "dense"))
                written = []
                for model in (source, dense):
                    self.assert_succeeds(self.compress(model, *self.calibrated(), out=self.folder / f"{model.name}-out"))
                    written.append(read_checkpoint(self.folder / f"{model.name}-out"))
                self.assertEqual(*written)

    def test_blocks_of_deepseek_and_qwen(self):
        config = {"quant_method": "fp8", "fmt": "e4m3", "activation_scheme": "dynamic", "weight_block_size": [128, 128]}
        for scale_type in ("F32", "BF16", "F8_E8M0"):
            with self.subTest(scale_type):
                source, values = self.make(config, block=(128, 128), scale_type=scale_type)
                self.check(source, values)
        inspected = run("inspect", source, "--json").stdout
        self.assertIn("FP8", inspected)

    def test_one_scale_a_tensor(self):
        config = {"quant_method": "fp8", "activation_scheme": "static", "weight_block_size": None, "modules_to_not_convert": ["lm_head"]}
        self.check(*self.make(config, activation="activation_scale"))
        self.check(*self.make({"quant_method": "fp8", "activation_scheme": "static", "ignored_layers": ["lm_head"]}, suffix="weight_scale", activation="input_scale"))
        self.check(*self.make({"quant_method": "fp8", "activation_scheme": "dynamic"}, suffix="weight_scale"))

    def test_one_scale_a_row(self):
        self.check(*self.make({"quant_method": "fbgemm_fp8", "activation_scale_ub": 1200.0, "modules_to_not_convert": ["lm_head"]}, suffix="weight_scale", per_row=True))

    def test_what_makes_no_sense(self):
        block = {"quant_method": "fp8", "activation_scheme": "dynamic", "weight_block_size": [128, 128]}
        source, _ = self.make(block | {"weight_block_size": [64, 128]}, block=(128, 128))
        self.assert_refused(self.compress(source, "--method", "rtn", "--scheme", "W8A8"), 1, "weight_scale: expected shape")
        for change, part in (({"fmt": "e5m2"}, "fmt .e5m2. is not supported"), ({"weight_block_size": [0, 128]}, "weight_block_size: expected two positive sizes"),
                             ({"activation_scheme": "weekly"}, "activation_scheme: expected dynamic or static")):
            edit_json(source / "config.json", quantization_config=block | change)
            self.assert_refused(self.compress(source, "--method", "rtn", "--scheme", "W8A8"), 2 if "supported" in part else 1, "config.json|fp8-", part)
        edit_json(source / "config.json", quantization_config=block)
        self.assert_refused(self.compress(source, "--method", "rtn", "--scheme", "W8A8", "--model-free"), 2, "swage convert --to dense")

    def test_other_libraries_are_refused_by_name(self):
        source = make_llama(self.folder / "other", layers=1)
        for config, part in (({"quant_method": "bitsandbytes", "load_in_4bit": True}, "bitsandbytes"), ({"load_in_8bit": True}, "bitsandbytes"), ({"quant_method": "hqq"}, "hqq"),
                             ({"quant_method": "eetq"}, "eetq"), ({"quant_method": "aqlm"}, "aqlm"), ({"quant_method": "quanto"}, "quanto")):
            with self.subTest(config):
                edit_json(source / "config.json", quantization_config=config)
                self.assert_refused(self.compress(source, "--method", "rtn", "--scheme", "W8A8"), 2, f'quant_method "{part}": only {part} itself can read its weights', "save_pretrained")

    def test_modelopt_is_known_by_its_own_file(self):
        """Older checkpoints of it say nothing in config.json; a file that names no algorithm is of a plain model, and not copied."""
        source = make_llama(self.folder / "modelopt", layers=1)
        for quantization, code in (({"quant_algo": "FP8", "kv_cache_quant_algo": None}, 2), ({"quant_algo": None, "kv_cache_quant_algo": "FP8"}, 2), ({"quant_algo": None}, 0)):
            (source / "hf_quant_config.json").write_text(json.dumps({"producer": {"name": "modelopt"}, "quantization": quantization}))
            for command in (("inspect", source), ("compress", source, "-o", self.out, "--method", "rtn", "--group-size", 16), ("eval", source, "-d", self.text, "--window", 16)):
                result = run(*command)
                if code:
                    self.assert_refused(result, code, "hf_quant_config.json: a checkpoint of modelopt is not supported")
                else:
                    self.assert_succeeds(result)
        self.assertFalse((self.out / "hf_quant_config.json").exists())


if __name__ == "__main__":
    unittest.main()
