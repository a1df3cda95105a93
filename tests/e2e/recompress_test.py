"""A checkpoint that is quantized already as the input of compress: the values of its weights count, and nothing else of its quantization stays."""
import json
import unittest

from support import EndToEnd, contents, make_llama, make_text, read_checkpoint, read_json, run

DOWN, EMBEDDING = "model.layers.0.mlp.down_proj", "model.embed_tokens"


class Recompress(EndToEnd):
    def setUp(self):
        super().setUp()
        self.source = make_llama(self.folder / "llama", layers=1)

    def rtn(self, source, scheme, out, *more):
        self.assert_succeeds(self.compress(source, "--method", "rtn", "--scheme", scheme, "--no-check", *more, out=out))
        return read_checkpoint(out)

    def converted(self, source, to, out):
        self.assert_succeeds(run("convert", source, out, "--to", to))
        return out

    def runs(self, out):
        held = make_text(self.folder / "heldout.jsonl", seed=2, documents=6)
        self.assert_succeeds(run("eval", out, "-d", held, "--window", 32, "--max-windows", 4, "--json"))

    def same_as_of_its_dense_form(self, first):
        """The second rounding of a checkpoint and of the dense checkpoint of its values in float32, which are the same numbers."""
        dense = self.folder / "dense"
        self.assert_succeeds(run("convert", first, dense, "--to", "dense", "--dtype", "f32"))
        direct, through = self.rtn(first, "W8A16", self.out), self.rtn(dense, "W8A16", self.folder / "through")
        module = DOWN + ".weight_packed"
        # Scales are stored in bf16 here and in float32 there, so codes may differ by the scale's rounding, 2^-9 of up to 127 steps.
        codes = [list(t[module][2]) for t in (direct, through)]
        self.assertLessEqual(max(abs(a - b) for a, b in zip(*codes)), 1)
        self.assertEqual(direct[DOWN + ".weight_scale"][0], "BF16")
        self.runs(self.out)

    def test_formats_of_compressed_tensors(self):
        for scheme in ("W4A16", "W8A8", "FP8_BLOCK", "NVFP4A16", "MXFP4"):
            with self.subTest(scheme):
                first, second = self.folder / scheme, self.folder / f"{scheme}-again"
                before = self.rtn(self.source, scheme, first)
                after = self.rtn(first, "W4A16_ASYM", second)
                config = read_json(second / "config.json")["quantization_config"]
                self.assertEqual(config["format"], "pack-quantized")
                self.assertFalse(config["config_groups"]["group_0"]["weights"]["symmetric"])
                self.assertEqual({name.rpartition(".")[2] for name in after if name.startswith(DOWN)},
                                 {"weight_packed", "weight_scale", "weight_zero_point", "weight_shape"})
                self.assertEqual(after[EMBEDDING + ".weight"], before[EMBEDDING + ".weight"])
                self.runs(second)

    def test_values_are_those_of_the_dense_form(self):
        first = self.folder / "first"
        self.rtn(self.source, "W4A16", first)
        self.same_as_of_its_dense_form(first)

    def test_gptq_and_awq_folders(self):
        packed = self.folder / "packed"
        self.rtn(self.source, "W4A16_ASYM", packed, "--group-size", 64)
        for to in ("gptq_v2", "awq"):
            first = self.converted(packed, to, self.folder / to)
            for settings_only in (False, True):
                out = self.folder / f"{to}-{settings_only}"
                if settings_only:  # as old files have it: quantize_config.json alone
                    config = read_json(first / "config.json")
                    quantization = config.pop("quantization_config")
                    (first / "config.json").write_text(json.dumps(config))
                    (first / "quantize_config.json").write_text(json.dumps(quantization))
                after = self.rtn(first, "FP8_DYNAMIC", out)
                self.assertEqual({name.rpartition(".")[2] for name in after if name.startswith(DOWN)}, {"weight", "weight_scale"})
                self.assertFalse((out / "quantize_config.json").exists())
                self.runs(out)

    def test_gptq_calibrates_on_the_dequantized_model_and_static_scales_go(self):
        first = self.folder / "fp8"
        data = ("-d", self.text, "--num-calibration-samples", 4, "--max-seq-length", 32)
        recipe = self.folder / "recipe.yaml"
        recipe.write_text("quant_stage:\n  quant_modifiers:\n    QuantizationModifier:\n      ignore: [lm_head]\n      scheme: FP8\n"
                          "      kv_cache_scheme: {num_bits: 8, type: float, symmetric: true, strategy: tensor}\n")
        self.assert_succeeds(self.compress(self.source, "--recipe", recipe, *data, "--no-check", out=first))
        result = self.assert_succeeds(self.compress(first, "--scheme", "W4A16", *data))
        self.assertIn("is quantized already (FP8A8)", result.stderr + result.stdout)
        after = read_checkpoint(self.out)
        self.assertEqual([name for name in after if name.endswith(("input_scale", "k_scale", "v_scale"))], [])
        self.assertIsNone(read_json(self.out / "config.json")["quantization_config"]["kv_cache_scheme"])
        self.runs(self.out)

    def test_what_is_not_quantized_again_becomes_dense(self):
        first = self.folder / "first"
        self.rtn(self.source, "W8A16", first)
        after = self.rtn(first, "W4A16", self.out, "--ignore", "lm_head", "--ignore", "re:.*down_proj$")
        self.assertEqual(after[DOWN + ".weight"][:2], ("BF16", [128, 256]))
        self.assertNotIn(DOWN + ".weight_packed", after)
        dense = read_checkpoint(self.converted(first, "dense", self.folder / "dense"))
        self.assertEqual(after[DOWN + ".weight"], dense[DOWN + ".weight"])
        self.assertIn(DOWN, read_json(self.out / "config.json")["quantization_config"]["ignore"])
        self.runs(self.out)

    def test_the_same_again_is_refused(self):
        first = self.folder / "first"
        self.rtn(self.source, "W4A16", first)
        self.assert_refused(self.compress(first, "--method", "rtn", "--scheme", "W4A16"), 2, r"quantized already \(W4A16 g128\)", "gains nothing")

    def test_threads_do_not_change_the_bytes(self):
        first = self.folder / "first"
        self.rtn(self.source, "W8A16", first)
        outs = []
        for threads in (1, 2):
            out = self.folder / f"threads{threads}"
            self.assert_succeeds(self.compress(first, "--method", "rtn", "--scheme", "W4A16", "--no-check", out=out, threads=threads))
            outs.append(contents(out))
        self.assertEqual(outs[0], outs[1])


if __name__ == "__main__":
    unittest.main()
