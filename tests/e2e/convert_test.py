"""What convert writes: bit for bit the same weights in every format, configurations as the libraries have them, and refusals."""
import json
import random
import re
import struct
import unittest

from support import EndToEnd, edit_json, make_model, make_text, read_checkpoint, read_json, run, split_checkpoint, write_json, write_safetensors

HIDDEN, HEADS, LAYERS, MIDDLE = 64, 2, 2, 96  # multiples of 32, which gptq needs


def bf16(values):
    return b"".join(struct.pack("<f", v)[2:] for v in values)


def f32(data):
    """Values of little-endian bf16."""
    return [struct.unpack("<f", b"\0\0" + data[i:i + 2])[0] for i in range(0, len(data), 2)]


def make_wide_model(folder):
    """A random Llama whose linears are large enough for every format."""
    make_model(folder)
    edit_json(folder / "config.json", hidden_size=HIDDEN, intermediate_size=MIDDLE, num_hidden_layers=LAYERS, num_attention_heads=HEADS,
              num_key_value_heads=HEADS, head_dim=32, dtype="bfloat16", tie_word_embeddings=True)
    draw = random.Random(5)
    shapes = {"model.embed_tokens.weight": [128, HIDDEN], "model.norm.weight": [HIDDEN]}
    for i in range(LAYERS):
        layer = f"model.layers.{i}."
        shapes.update({layer + f"self_attn.{p}_proj.weight": [HIDDEN, HIDDEN] for p in "qkvo"})
        shapes.update({layer + "mlp.gate_proj.weight": [MIDDLE, HIDDEN], layer + "mlp.up_proj.weight": [MIDDLE, HIDDEN],
                       layer + "mlp.down_proj.weight": [HIDDEN, MIDDLE], layer + "input_layernorm.weight": [HIDDEN],
                       layer + "post_attention_layernorm.weight": [HIDDEN]})
    tensors = {}
    for name, shape in shapes.items():
        count = shape[0] * (shape[1] if len(shape) > 1 else 1)
        values = [1.0] * count if "norm" in name else [draw.gauss(0, 0.1) for _ in range(count)]
        tensors[name] = ("BF16", shape, bf16(values))
    write_safetensors(folder / "model.safetensors", tensors)
    return folder


class Convert(EndToEnd):
    def setUp(self):
        super().setUp()
        self.source = make_wide_model(self.folder / "source")

    def quantized(self, *arguments, name="packed"):
        out = self.folder / name
        self.assert_succeeds(self.compress(self.source, "--method", "rtn", *arguments, out=out))
        return out

    def convert(self, source, to, *arguments, out=None):
        out = out or self.folder / f"{source.name}-{to}"
        self.assert_succeeds(run("convert", source, out, "--to", to, "--threads", 1, *arguments))
        return out

    def assert_same_tensors(self, a, b):
        left, right = read_checkpoint(a), read_checkpoint(b)
        self.assertEqual(sorted(left), sorted(right))
        for name, tensor in left.items():
            self.assertEqual(tensor, right[name], name)

    def perplexity(self, folder):
        text = make_text(self.folder / "heldout.jsonl", seed=2, documents=6)
        return json.loads(self.assert_succeeds(run("eval", folder, "-d", text, "--window", 32, "--max-windows", 4, "--json")).stdout)["perplexity"]

    def around(self, *arguments, formats):
        """Through all formats and back: every tensor as it was, every stop the same model."""
        first = folder = self.quantized(*arguments)
        before = self.perplexity(first)
        for to in formats:
            folder = self.convert(folder, to)
            self.assertEqual(self.perplexity(folder), before, to)
        self.assert_same_tensors(first, folder)
        return first

    def test_symmetric_through_all_formats_and_back(self):
        self.around("--scheme", "W4A16", "--group-size", 32, formats=["gptq", "awq", "gptq_v2", "awq", "pack-quantized"])

    def test_asymmetric_through_all_formats_and_back(self):
        self.around("--scheme", "W4A16_ASYM", "--group-size", 32, formats=["gptq_v2", "awq", "pack-quantized"])

    def test_eight_bits_one_scale_a_row(self):
        first = self.around("--scheme", "W8A16", "--group-size", -1, formats=["gptq", "gptq_v2", "pack-quantized"])
        self.assertEqual(read_json(self.convert(first, "gptq", out=self.folder / "x") / "config.json")["quantization_config"]["group_size"], -1)

    def test_other_tensors_and_files_are_copied(self):
        packed = self.quantized("--group-size", 32)
        split_checkpoint(packed)
        out = self.convert(packed, "gptq", "--max-shard-size", 0.00002)
        self.assertGreater(len(list(out.glob("*.safetensors"))), 1)
        before, after = read_checkpoint(self.source), read_checkpoint(out)
        for name in ("model.embed_tokens.weight", "model.norm.weight", "model.layers.1.input_layernorm.weight"):
            self.assertEqual(before[name], after[name])
        for name in ("tokenizer.json", "tokenizer_config.json", "generation_config.json", "LICENSE"):
            self.assertEqual((self.source / name).read_bytes(), (out / name).read_bytes())
        self.assertFalse((out / "swage_report.json").exists())
        stored = after["model.layers.0.mlp.down_proj.qweight"]
        self.assertEqual(stored[:2], ("I32", [MIDDLE // 8, HIDDEN]))
        self.assertEqual(after["model.layers.0.mlp.down_proj.scales"][:2], ("F16", [MIDDLE // 32, HIDDEN]))
        self.assertEqual(set(after["model.layers.0.mlp.down_proj.qzeros"][2]), {0x77})

    def test_configurations(self):
        packed = self.quantized("--group-size", 32)
        gptq = self.convert(packed, "gptq")
        config = read_json(gptq / "config.json")["quantization_config"]
        self.assertEqual(config, read_json(gptq / "quantize_config.json"))
        self.assertEqual({k: v for k, v in config.items() if k != "meta"},
                         {"bits": 4, "group_size": 32, "desc_act": False, "lm_head": False, "method": "gptq", "quant_method": "gptq", "format": "gptq",
                          "checkpoint_format": "gptq", "pack_dtype": "int32", "sym": True})
        awq = self.convert(gptq, "awq")
        self.assertFalse((awq / "quantize_config.json").exists())
        self.assertEqual(read_json(awq / "config.json")["quantization_config"],
                         {"quant_method": "awq", "zero_point": True, "group_size": 32, "bits": 4, "version": "gemm", "modules_to_not_convert": None})
        back = read_json(self.convert(awq, "pack-quantized") / "config.json")
        self.assertEqual(back["quantization_config"]["config_groups"]["group_0"]["weights"],
                         {"dynamic": False, "group_size": 32, "num_bits": 4, "strategy": "group", "symmetric": True, "type": "int"})
        self.assertEqual(back["quantization_config"]["ignore"], ["lm_head"])
        self.assertEqual(list(back)[:-1], [k for k in read_json(packed / "config.json") if k != "quantization_config"])

    def test_modules_left_and_modules_of_other_precision(self):
        recipe = self.folder / "recipe.yaml"
        recipe.write_text("""
quant_stage:
  quant_modifiers:
    QuantizationModifier:
      config_groups:
        attention: {targets: ["re:.*self_attn.*"], weights: {num_bits: 8, type: int, symmetric: true, strategy: channel}}
        mlp: {targets: ["re:.*(up|gate)_proj"], weights: {num_bits: 4, type: int, symmetric: false, strategy: group, group_size: 32}}
      ignore: ["lm_head", "re:.*down_proj"]
""")
        packed = self.folder / "packed"
        self.assert_succeeds(run("compress", self.source, "-o", packed, "--recipe", recipe))
        gptq = self.convert(packed, "gptq_v2")
        dynamic = read_json(gptq / "config.json")["quantization_config"]["dynamic"]
        self.assertEqual(dynamic["-:^model\\.layers\\.1\\.mlp\\.down_proj$"], {})
        self.assertEqual(dynamic["+:^model\\.layers\\.0\\.mlp\\.up_proj$"], {"bits": 4, "group_size": 32, "desc_act": False, "sym": False})
        self.assertEqual(self.perplexity(gptq), self.perplexity(packed))
        self.assert_same_tensors(self.convert(gptq, "pack-quantized"), packed)
        self.assert_refused(run("convert", packed, self.out, "--to", "awq"), 2, "self_attn.k_proj", "8 bits, but awq holds 4 only", "pack-quantized")

    def test_sorted_groups_stay_in_gptq_and_are_refused_by_awq(self):
        packed = self.folder / "packed"
        self.assert_succeeds(run("compress", self.source, "-o", packed, "-d", self.text, "--num-calibration-samples", 8, "--max-seq-length", 32,
                                 "--group-size", 32, "--actorder", "group"))
        gptq = self.convert(packed, "gptq")
        self.assertTrue(read_json(gptq / "config.json")["quantization_config"]["desc_act"])
        self.assertEqual(self.perplexity(gptq), self.perplexity(packed))
        result = run("convert", gptq, self.folder / "again", "--to", "pack-quantized")
        self.assertIn("sorted columns", self.assert_succeeds(result).stderr)
        self.assert_same_tensors(packed, self.folder / "again")
        self.assert_refused(run("convert", gptq, self.out, "--to", "awq"), 2, "g_idx", "gptq_v2")

    def test_dense_is_the_dequantized_weight(self):
        packed = self.quantized("--scheme", "W4A16_ASYM", "--group-size", 32)
        name = "model.layers.1.mlp.down_proj"
        stored = read_checkpoint(self.convert(packed, "awq"))
        order = [0, 4, 1, 5, 2, 6, 3, 7]  # the nibble of each output
        words, zeros = (struct.unpack(f"<{len(d) // 4}I", d) for d in (stored[f"{name}.qweight"][2], stored[f"{name}.qzeros"][2]))
        scales = struct.unpack(f"<{len(stored[name + '.scales'][2]) // 2}e", stored[f"{name}.scales"][2])
        expected = []
        for n in range(HIDDEN):
            for k in range(MIDDLE):
                code = words[k * HIDDEN // 8 + n // 8] >> 4 * order[n % 8] & 15
                zero = zeros[k // 32 * HIDDEN // 8 + n // 8] >> 4 * order[n % 8] & 15
                expected.append((code - zero) * scales[k // 32 * HIDDEN + n])
        dense = self.convert(packed, "dense", "--dtype", "f32")
        dtype, shape, data = read_checkpoint(dense)[f"{name}.weight"]
        self.assertEqual((dtype, shape), ("F32", [HIDDEN, MIDDLE]))
        self.assertEqual(list(struct.unpack(f"<{HIDDEN * MIDDLE}f", data)), expected)
        config = read_json(dense / "config.json")
        self.assertNotIn("quantization_config", config)
        self.assertEqual(config["dtype"], "float32")
        self.assertAlmostEqual(self.perplexity(dense) / self.perplexity(packed), 1, delta=1e-5)  # products on codes see activations of 16 bits
        rounded = read_checkpoint(self.convert(packed, "dense", out=self.folder / "plain"))[f"{name}.weight"]
        self.assertEqual(rounded[0], "BF16")
        for value, exact in zip(f32(rounded[2]), expected):
            self.assertLessEqual(abs(value - exact), abs(exact) * 2 ** -8)  # half an ulp of bf16

    def test_dense_of_other_schemes(self):
        for scheme in ("W8A8", "FP8_DYNAMIC"):
            packed = self.quantized("--scheme", scheme, name=scheme)
            dense = self.convert(packed, "dense", "--dtype", "f32")
            self.assertEqual(sorted(read_checkpoint(dense)), sorted(read_checkpoint(self.source)))
            self.assert_refused(run("convert", packed, self.out, "--to", "gptq"), 2, "model.layers.0.mlp.down_proj", "activations|float")

    def test_inspect_and_generate(self):
        gptq = self.convert(self.quantized("--group-size", 32), "gptq")
        awq = self.convert(gptq, "awq")
        for folder, method in ((gptq, "gptq"), (awq, "awq")):
            described = json.loads(self.assert_succeeds(run("inspect", folder, "--json")).stdout)
            self.assertEqual(described["quant_method"], method)
            module = next(m for m in described["modules"] if m["name"] == "model.layers.0.mlp.down_proj")
            self.assertEqual(module["shape"], [HIDDEN, MIDDLE])
            self.assertRegex(module["scheme"], "W4A16.* g32")
            self.assert_succeeds(run("generate", folder, "-p", "the river", "--max-new-tokens", 3, "--json"))

    def test_old_settings_file(self):
        gptq = self.convert(self.quantized("--group-size", 32), "gptq")
        before = self.perplexity(gptq)
        config = read_json(gptq / "config.json")
        config.pop("quantization_config")
        write_json(gptq / "config.json", config)
        self.assertEqual(self.perplexity(gptq), before)

    def test_report(self):
        packed = self.quantized("--group-size", 32)
        result = self.assert_succeeds(run("convert", packed, self.out, "--to", "gptq", "--json"))
        report = json.loads(result.stdout)
        self.assertEqual((report["from"], report["to"], report["modules"], report["warnings"]), ("pack-quantized", "gptq", 7 * LAYERS, []))
        text = self.assert_succeeds(run("convert", packed, self.folder / "text", "--to", "awq")).stdout
        self.assertRegex(text, "pack-quantized -> awq")

    def test_same_bytes_whatever_the_threads(self):
        packed = self.quantized("--group-size", 32)
        for to in ("gptq", "awq"):
            one, two = self.folder / f"{to}1", self.folder / f"{to}2"
            for out, threads in ((one, 1), (two, 2)):
                self.assert_succeeds(run("convert", packed, out, "--to", to, "--threads", threads))
            self.assertEqual((one / "model.safetensors").read_bytes(), (two / "model.safetensors").read_bytes())

    # --- refusals --------------------------------------------------------------------------------------------------------

    def refused(self, source, to, code, *parts, options=()):
        self.assert_refused(run("convert", source, self.out, "--to", to, *options), code, *parts)

    def edit_tensor(self, folder, name, change):
        path = folder / "model.safetensors"
        tensors = read_checkpoint(folder)
        dtype, shape, data = tensors[name]
        tensors[name] = change(dtype, shape, bytearray(data))
        write_safetensors(path, tensors)

    def test_requests_that_make_no_sense(self):
        packed = self.quantized("--group-size", 32)
        self.refused(packed, "gguf", 2, "--to gguf", "pack-quantized, gptq, gptq_v2, awq or dense")
        self.refused(packed, "gptq", 2, "--dtype f32", "only --to dense", options=("--dtype", "f32"))
        self.refused(packed, "dense", 2, "--dtype f64", "bf16, f16 or f32", options=("--dtype", "f64"))
        self.refused(self.source, "gptq", 2, "no quantized weights", "swage compress")
        self.refused(packed, "gptq", 2, "max-shard-size", options=("--max-shard-size", 0))
        self.assert_refused(run("convert", self.folder / "absent", self.out, "--to", "gptq"), 1, "absent")
        before = read_checkpoint(packed)
        result = run("convert", packed, packed, "--to", "gptq", "--overwrite")
        self.assertEqual(result.returncode, 2)
        self.assertRegex(result.stderr, "holds the source model")
        self.assertEqual(read_checkpoint(packed), before)

    def test_an_existing_folder_is_replaced_only_on_request(self):
        packed = self.quantized("--group-size", 32)
        gptq = self.convert(packed, "gptq")
        result = run("convert", packed, gptq, "--to", "awq")
        self.assertEqual(result.returncode, 2)
        self.assertRegex(result.stderr, "--overwrite replaces it")
        self.convert(packed, "awq", "--overwrite", out=gptq)
        self.assertEqual(read_json(gptq / "config.json")["quantization_config"]["quant_method"], "awq")

    def test_what_formats_cannot_hold(self):
        three = self.folder / "three"
        recipe = self.folder / "recipe.yaml"
        recipe.write_text("quant_stage: {quant_modifiers: {QuantizationModifier: {ignore: [lm_head], config_groups: {a: {targets: [Linear], "
                          "weights: {num_bits: 5, type: int, symmetric: true, strategy: group, group_size: 32}}}}}}")
        self.assert_succeeds(run("compress", self.source, "-o", three, "--recipe", recipe))
        self.refused(three, "gptq", 2, "model.layers.0.mlp.down_proj", "5 bits", "--to pack-quantized")
        tiny = self.folder / "tiny"  # k_proj has 16 outputs
        self.assert_succeeds(self.compress(self.model(), "--method", "rtn", "--group-size", 32, out=tiny))
        self.refused(tiny, "gptq", 2, "k_proj", "16 outputs", "multiples of 32")
        self.convert(tiny, "awq")

    def test_a_zero_point_of_zero_needs_version_two(self):
        packed = self.quantized("--scheme", "W4A16_ASYM", "--group-size", 32)
        v2 = self.convert(packed, "gptq_v2")
        self.edit_tensor(v2, "model.layers.1.mlp.up_proj.qzeros", lambda d, s, data: (d, s, bytes([data[0] & 0xF0]) + bytes(data[1:])))
        self.refused(v2, "gptq", 2, "model.layers.1.mlp.up_proj", "zero point of 0", "--to gptq_v2")
        self.convert(v2, "awq")

    def test_scales_that_f16_does_not_hold(self):
        packed = self.quantized("--group-size", 32)
        name = "model.layers.0.self_attn.q_proj.weight_scale"
        # 2^-20 (1 + 2^-7) needs more bits than a subnormal f16 has
        self.edit_tensor(packed, name, lambda d, s, data: (d, s, bf16([2.0 ** -20 * (1 + 2 ** -7)]) + bytes(data[2:])))
        self.refused(packed, "gptq", 2, re.escape(name), "9.6\\d*e-07", "--allow-rounding")
        self.convert(packed, "gptq", "--allow-rounding")
        self.edit_tensor(packed, name, lambda d, s, data: (d, s, bf16([-0.5]) + bytes(data[2:])))
        self.refused(packed, "awq", 2, re.escape(name), "-0.5", "negative scale")
        self.edit_tensor(packed, name, lambda d, s, data: (d, s, bf16([float("inf")]) + bytes(data[2:])))
        self.refused(packed, "awq", 1, re.escape(name), "NaN or infinity")
        self.refused(packed, "dense", 1, "q_proj", "NaN or infinity")
        self.edit_tensor(packed, name, lambda d, s, data: ("I16", s, bytes(data)))
        self.refused(packed, "gptq", 1, "q_proj: weight_scale or scales of floats is missing")

    def test_broken_sources(self):
        packed = self.quantized("--group-size", 32)
        gptq = self.convert(packed, "gptq")
        name = "model.layers.0.self_attn.o_proj"
        edit = read_checkpoint(gptq)
        config = read_json(gptq / "config.json")

        def broken(message, tensors=None, to="awq", code=1, **fields):
            write_safetensors(gptq / "model.safetensors", {**edit, **(tensors or {})})
            write_json(gptq / "config.json", {**config, "quantization_config": {**config["quantization_config"], **fields}})
            self.refused(gptq, to, code, message)
        broken("bits: expected 2 to 8, found 40", bits=40)
        broken("down_proj: scales: expected shape \\[6, 64\\], found \\[3, 64\\]", to="dense", group_size=16)
        broken("marlin", code=2, format="marlin", checkpoint_format="marlin")
        broken("configuration says symmetric", format="gptq_v2", checkpoint_format="gptq_v2")
        broken(name + ": qweight: expected a matrix", {f"{name}.qweight": ("I32", [8 * HIDDEN], edit[f"{name}.qweight"][2])})
        broken(name + ".*g_idx: input 0 in group 9 of 2", {f"{name}.g_idx": ("I32", [HIDDEN], struct.pack("<64i", *[9] * 64))},
               to="gptq_v2", desc_act=True)
        write_safetensors(gptq / "model.safetensors", {k: v for k, v in edit.items() if "qweight" not in k})
        write_json(gptq / "config.json", config)
        self.refused(gptq, "awq", 1, "no module stores a qweight")

    def test_help_teaches(self):
        text = self.assert_succeeds(run("convert", "--help")).stdout
        for word in ("pack-quantized", "gptq_v2", "awq", "dense", "--allow-rounding", "Examples"):
            self.assertIn(word, text)


if __name__ == "__main__":
    unittest.main()
