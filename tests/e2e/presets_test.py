"""Every preset, KV cache scheme, head and embedding: compressed, run, inspected, and described as compressed-tensors describes it."""
import concurrent.futures
import json
import struct
import unittest

from support import EndToEnd, ROOT, edit_json, make_llama, make_text, read_checkpoint, read_json, run, write_json

GOLDEN = json.loads((ROOT / "tests" / "data" / "scheme" / "presets.json").read_text())["presets"]
DOWN = "model.layers.0.mlp.down_proj"  # [128, 256], as the golden file's
# Largest relative error of the weights that rounding them may leave: half a step (symmetric integers: 1 / 2^bits of the range; floats: half of
# their last bit) against weights that are spread evenly over their exponents, with some room. By bits of the weight.
ERRORS = {"int": {2: 0.8, 3: 0.35, 4: 0.16, 5: 0.08, 6: 0.04, 7: 0.02, 8: 0.01}, "float": {4: 0.2, 6: 0.08, 8: 0.04}}


class Presets(EndToEnd):
    def setUp(self):
        super().setUp()
        self.source = make_llama(self.folder / "llama")
        self.held = make_text(self.folder / "heldout.jsonl", seed=2, documents=6)

    def data(self):
        return ("-d", self.text, "--num-calibration-samples", 4, "--max-seq-length", 32, "--no-check")

    def recipe(self, text):
        path = self.folder / "recipe.yaml"
        path.write_text("quant_stage:\n  quant_modifiers:\n" + text)
        return ("--recipe", path)

    def check_runs(self, out):
        """eval and inspect take it; returns what inspect says of the modules."""
        evaluated = self.assert_succeeds(run("eval", out, "-d", self.held, "--window", 32, "--max-windows", 4, "--json"))
        self.assertLess(json.loads(evaluated.stdout)["perplexity"], 1000)
        described = json.loads(self.assert_succeeds(run("inspect", out, "--json")).stdout)
        return {m["name"]: m for m in described["modules"]}

    def check_preset(self, name):
        golden = GOLDEN.get(f"{name} (pack-quantized)", GOLDEN.get("W8A8" if name == "INT8" else name))
        out = self.folder / name
        scheme = golden["quantization_config"]["config_groups"]["group_0"]
        inputs = scheme["input_activations"]
        on_data = self.data() if inputs and inputs["dynamic"] is not True else ()
        self.assert_succeeds(self.compress(self.source, "--method", "rtn", "--scheme", name, *on_data, out=out))
        config = read_json(out / "config.json")["quantization_config"]
        self.assertEqual(json.dumps(config), json.dumps(golden["quantization_config"]), "the config, its keys in order")
        stored = {t[len(DOWN) + 1:]: {"dtype": v[0], "shape": v[1]} for t, v in read_checkpoint(out).items() if t.startswith(DOWN)}
        self.assertEqual(stored, golden["down_proj_128x256"])
        modules = self.check_runs(out)
        limit = ERRORS[scheme["weights"]["type"]][scheme["weights"]["num_bits"]]
        quantized = [m for m in modules.values() if m["scheme"] != "float"]
        self.assertEqual(len(quantized), 2 * 7)
        for module in quantized:
            self.assertLess(module["relative_error"], limit, module)

    def test_every_preset(self):
        names = [name for name in GOLDEN if "(" not in name] + ["INT8"]
        self.assertEqual(len(names), 32)  # with UNQUANTIZED all 33
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            for name, result in [(name, pool.submit(self.check_preset, name)) for name in names]:
                with self.subTest(name):
                    result.result()

    def test_unquantized_leaves_nothing_to_do(self):
        self.assert_refused(self.compress(self.source, "--method", "rtn", "--scheme", "UNQUANTIZED"), 2, "nothing to quantize")

    def test_groups_that_do_not_divide_are_found_before_the_run(self):
        narrow = make_llama(self.folder / "narrow", hidden=144, inner=240, layers=1)
        remedies = {"MXFP4A16": "ignore", "W4A16": "use --group-size 16", "FP8_BLOCK": "use FP8_DYNAMIC"}
        for scheme, size in (("NVFP4A16", None), ("MXFP4A16", 32), ("W4A16", 128), ("FP8_BLOCK", 128)):
            result = self.compress(narrow, "--method", "rtn", "--scheme", scheme, out=self.out if size else self.folder / "fits")
            if size is None:
                self.assert_succeeds(result)
                continue
            self.assert_refused(result, 2, f"group size {size}", "q_proj", remedies[scheme])

    # Of weights alone a narrower block at the edge is what readers pad.
    def test_blocks_of_weights_alone_may_be_narrower_at_the_edge(self):
        narrow = make_llama(self.folder / "narrow", hidden=144, inner=240, layers=1)
        recipe = self.folder / "recipe.yaml"
        weights = {"num_bits": 8, "type": "float", "strategy": "block", "block_structure": [128, 128]}
        group = {"targets": ["Linear"], "weights": weights}
        write_json(recipe, {"quant_stage": {"quant_modifiers": {"QuantizationModifier": {"ignore": ["lm_head"], "config_groups": {"group_0": group}}}}})
        self.assert_succeeds(self.compress(narrow, "--recipe", recipe, out=self.folder / "edges"))
        self.check_runs(self.folder / "edges")

    # The same GPTQ for integers, floats and microscales.
    def test_gptq_of_static_fp8_and_nvfp4(self):
        for name in ("FP8", "NVFP4", "MXFP6A8"):
            out = self.folder / f"gptq-{name}"
            self.assert_succeeds(self.compress(self.source, "--scheme", name, *self.data(), out=out))
            self.check_runs(out)
            config = read_json(out / "config.json")["quantization_config"]
            config["config_groups"]["group_0"]["weights"].pop("actorder", None)  # of groups: what GPTQ adds
            self.assertEqual(config, GOLDEN[name]["quantization_config"])

    # What later layers read while calibrating comes through the weights that are solved: of whatever type, they must act as their values.
    # Static input scales tell: absmax / 448, which rounding to 4 bits moves by some percents only.
    def test_activations_go_on_through_the_values_of_every_type(self):
        kinds = {"int8": "{num_bits: 8, strategy: channel}", "int4": "{num_bits: 4, group_size: 32}", "asym": "{num_bits: 4, group_size: 32, symmetric: false}",
                 "mxfp4": "{num_bits: 4, type: float, group_size: 32, scale_dtype: torch.uint8}",
                 "mxfp6": "{num_bits: 6, type: float, group_size: 32, scale_dtype: torch.uint8}",
                 "mxfp8": "{num_bits: 8, type: float, group_size: 32, scale_dtype: torch.uint8}",
                 "nvfp4": "{num_bits: 4, type: float, strategy: tensor_group, group_size: 16, scale_dtype: torch.float8_e4m3fn}",
                 "block": "{num_bits: 8, type: float, strategy: block, block_structure: [128, 128]}"}
        scales = {}
        for kind, weights in kinds.items():
            recipe = self.recipe("    GPTQModifier:\n      ignore: [lm_head]\n      config_groups:\n        group_0: {targets: [Linear], weights: %s, "
                                 "input_activations: {num_bits: 8, type: float, observer: static_minmax}}\n" % weights)
            self.assert_succeeds(self.compress(self.source, *recipe, *self.data(), out=self.folder / kind))
            tensors = read_checkpoint(self.folder / kind)
            scales[kind] = {name: struct.unpack("<f", b"\0\0" + data)[0] for name, (_, _, data) in tensors.items() if name.endswith("input_scale")}
        self.assertEqual(len(scales["int8"]), 14)
        for kind, found in scales.items():
            for name, scale in found.items():
                self.assertLess(abs(scale / scales["int8"][name] - 1), 0.25, f"{kind}: {name}")

    def check_cache(self, strategy, shape):
        out = self.folder / strategy
        args = f"{{num_bits: 8, type: float, symmetric: true, strategy: {strategy}, dynamic: false}}"
        recipe = self.recipe("    QuantizationModifier:\n      ignore: [lm_head]\n      scheme: FP8_DYNAMIC\n      kv_cache_scheme: " + args + "\n")
        self.assert_succeeds(self.compress(self.source, *recipe, *self.data(), out=out))
        config = read_json(out / "config.json")["quantization_config"]
        self.assertEqual(config["kv_cache_scheme"]["strategy"], strategy)
        tensors = read_checkpoint(out)
        for layer in range(2):
            for scale in ("k_scale", "v_scale"):
                self.assertEqual(tensors[f"model.layers.{layer}.self_attn.{scale}"][:2], ("BF16", shape))
        self.check_runs(out)

    def test_kv_cache_by_tensor_and_by_head(self):
        self.check_cache("tensor", [1])
        self.check_cache("attn_head", [2, 1, 1])

    def test_queries_keys_and_values(self):
        """As compressed-tensors stores it: a group for the attention's class behind that of the linears, and kv_cache_scheme beside it."""
        args = "{num_bits: 8, type: float, symmetric: true, strategy: %s}"
        for strategy, queries, keys in (("tensor", [1], [1]), ("attn_head", [4, 1, 1], [2, 1, 1])):
            out = self.folder / f"attention-{strategy}"
            recipe = self.recipe("    QuantizationModifier:\n      ignore: [lm_head]\n      config_groups:\n"
                                 f"        attention: {{targets: [LlamaAttention], input_activations: {args % strategy}}}\n"
                                 "        linears: {targets: [Linear], weights: {num_bits: 8, type: float, strategy: channel}, "
                                 "input_activations: {num_bits: 8, type: float, strategy: token, dynamic: true}}\n")
            self.assert_succeeds(self.compress(self.source, *recipe, *self.data(), out=out))
            config = read_json(out / "config.json")["quantization_config"]
            self.assertEqual([group["targets"] for group in config["config_groups"].values()], [["Linear"], ["LlamaAttention"]])
            attention = config["config_groups"]["group_1"]
            self.assertEqual((attention["format"], attention["weights"], config["format"]), ("dense", None, "float-quantized"))
            self.assertEqual(config["kv_cache_scheme"], attention["input_activations"])
            tensors = read_checkpoint(out)
            for scale, shape in (("q_scale", queries), ("k_scale", keys), ("v_scale", keys)):
                self.assertEqual(tensors[f"model.layers.1.self_attn.{scale}"][:2], ("BF16", shape))
            self.check_runs(out)
            again = self.folder / f"again-{strategy}"
            self.assert_succeeds(self.compress(self.source, "--recipe", out / "recipe.yaml", *self.data(), out=again))
            self.assertEqual(read_checkpoint(again), tensors)

    def test_kv_cache_alone_leaves_the_weights_dense(self):
        recipe = self.recipe("    QuantizationModifier:\n      kv_cache_scheme: {num_bits: 8, type: float, symmetric: true, strategy: tensor}\n")
        self.assert_succeeds(self.compress(self.source, *recipe, *self.data()))
        config = read_json(self.out / "config.json")["quantization_config"]
        self.assertEqual((config["config_groups"], config["format"]), ({}, "dense"))
        before, after = read_checkpoint(self.source), read_checkpoint(self.out)
        self.assertEqual({name: after[name] for name in before}, before)
        self.check_runs(self.out)

    def test_head_and_embedding(self):
        """Both untied tables, in two groups, by RTN and by GPTQ (which rounds the embedding: single inputs make up for nothing)."""
        for modifier in ("QuantizationModifier", "GPTQModifier"):
            out = self.folder / modifier
            weights = "{num_bits: %d, type: int, symmetric: true, strategy: %s}"
            recipe = self.recipe(f"    {modifier}:\n      config_groups:\n"
                                 "        group_0: {targets: [Linear], weights: {num_bits: 4, group_size: 64}}\n"
                                 "        group_1: {targets: [Embedding], weights: {num_bits: 8, strategy: channel}}\n")
            self.assert_succeeds(self.compress(self.source, *recipe, *self.data(), out=out))
            tensors = read_checkpoint(out)
            self.assertEqual(tensors["lm_head.weight_packed"][:2], ("I32", [128, 16]))
            self.assertEqual(tensors["lm_head.weight_scale"][:2], ("BF16", [128, 2]))
            self.assertEqual(tensors["model.embed_tokens.weight_packed"][:2], ("I32", [128, 32]))
            self.assertNotIn("lm_head.weight", tensors)
            self.assertNotIn("model.embed_tokens.weight", tensors)
            config = read_json(out / "config.json")["quantization_config"]
            self.assertEqual(config["ignore"], [])
            # by name too: engines have classes of their own for these two
            self.assertEqual([g["targets"] for g in config["config_groups"].values()], [["Linear", "lm_head"], ["Embedding", "model.embed_tokens"]])
            modules = self.check_runs(out)
            self.assertEqual(modules["lm_head"]["scheme"], "W4A16 g64")
            self.assertEqual(modules["model.embed_tokens"]["scheme"], "W8A16")

    def test_two_groups_make_mixed_precision(self):
        recipe = self.recipe("    QuantizationModifier:\n      ignore: [lm_head]\n      scheme: null\n      config_groups:\n"
                             "        group_0: {targets: [Linear], weights: {num_bits: 4, group_size: 32}}\n"
                             "        group_1: {targets: ['re:.*down_proj$'], weights: {num_bits: 8, type: float, strategy: channel}, "
                             "input_activations: {num_bits: 8, type: float, strategy: token, dynamic: true}}\n")
        self.assert_succeeds(self.compress(self.source, *recipe))
        config = read_json(self.out / "config.json")["quantization_config"]
        self.assertEqual(config["format"], "mixed-precision")
        self.assertEqual([g["format"] for g in config["config_groups"].values()], ["pack-quantized", "float-quantized"])
        modules = self.check_runs(self.out)
        self.assertEqual((modules[DOWN]["scheme"], modules["model.layers.0.mlp.up_proj"]["scheme"]), ("FP8A8", "W4A16 g32"))

    def test_ignore_lists_linears_only(self):
        """Parents of quantized modules, norms and embeddings have no place in it: engines take the strings for prefixes or fail on them."""
        self.assert_succeeds(self.compress(self.source, "--method", "rtn", "--scheme", "W4A16", "--ignore", "lm_head", "--ignore", "re:.*layers.0.*"))
        ignore = read_json(self.out / "config.json")["quantization_config"]["ignore"]
        self.assertEqual(len(ignore), 8)
        linears = {name[:-len(".weight")] for name, (_, shape, _) in read_checkpoint(self.source).items() if len(shape) == 2}
        self.assertLessEqual(set(ignore), linears - {"model.embed_tokens"})


class Observers(EndToEnd):
    def compressed(self, name, fields, data=False):
        path, out = self.folder / f"{name}.yaml", self.folder / name
        path.write_text("quant_stage:\n  quant_modifiers:\n    " + fields)
        source = self.folder / "llama"
        if not source.exists():
            make_llama(source, layers=1)
        on_data = ("-d", self.text, "--num-calibration-samples", 4, "--max-seq-length", 32) if data else ()
        self.assert_succeeds(self.compress(source, "--recipe", path, *on_data, "--no-check", out=out))
        return read_checkpoint(out), read_json(out / "config.json")["quantization_config"]["config_groups"]["group_0"]

    def test_of_weights(self):
        plain, _ = self.compressed("plain", "QuantizationModifier: {scheme: W4A16, ignore: [lm_head]}")
        mse, group = self.compressed("mse", "QuantizationModifier: {scheme: W4A16, ignore: [lm_head], weight_observer: mse}")
        both, _ = self.compressed("both", "QuantizationModifier: {scheme: W4A16, ignore: [lm_head], weight_observer: mse, scale_search: absmax}")
        imatrix, _ = self.compressed("imatrix", "QuantizationModifier: {scheme: W4A16, ignore: [lm_head], observer: {weights: imatrix_mse}}", data=True)
        self.assertEqual(group["weights"]["observer"], "mse")
        self.assertEqual(both, plain, "a search that is asked for counts before the observer")
        scale = f"{DOWN}.weight_scale"
        self.assertNotEqual(mse[scale], plain[scale])
        self.assertNotIn(imatrix[scale], (mse[scale], plain[scale]))

    def test_of_gptq(self):
        pnorm, _ = self.compressed("pnorm", "GPTQModifier: {scheme: W4A16, ignore: [lm_head], sweeps: 0}", data=True)
        mse, _ = self.compressed("mse", "GPTQModifier: {scheme: W4A16, ignore: [lm_head], sweeps: 0, weight_observer: mse}", data=True)
        rtn, _ = self.compressed("rtn", "QuantizationModifier: {scheme: W4A16, ignore: [lm_head], weight_observer: mse}")
        scale = f"{DOWN}.weight_scale"
        self.assertNotEqual(mse[scale], pnorm[scale])
        self.assertEqual(mse[scale], rtn[scale])

    def test_of_inputs(self):
        scales = [self.compressed(name, "QuantizationModifier: {scheme: FP8, ignore: [lm_head], input_observer: %s}" % name, data=True)[0][f"{DOWN}.input_scale"]
                  for name in ("static_minmax", "minmax", "percentile", "mse")]
        preset, group = self.compressed("preset", "QuantizationModifier: {scheme: FP8, ignore: [lm_head]}", data=True)
        self.assertEqual(preset[f"{DOWN}.input_scale"], scales[0])
        self.assertEqual(group["input_activations"]["observer"], "static_minmax")
        self.assertEqual(len({scale[2] for scale in scales[:3]}), 3)

    def test_what_makes_no_sense_is_refused(self):
        source = make_llama(self.folder / "llama", layers=1)
        for fields, text in (("weight_observer: median", "median.*memoryless_minmax"), ("observer: {weight: mse}", "weight.*weights, input or output"),
                             ("observer: {weights: mse}, input_observer: mse", "give observer"), ("input_observer: imatrix_mse", "imatrix")):
            path = self.folder / "recipe.yaml"
            path.write_text("quant_stage:\n  quant_modifiers:\n    QuantizationModifier: {scheme: FP8, ignore: [lm_head], %s}" % fields)
            self.assert_refused(self.compress(source, "--recipe", path, "-d", self.text), 2, text)

    def test_types_of_scales_and_zero_points(self):
        groups = "QuantizationModifier: {ignore: [lm_head], config_groups: {group_0: {targets: [Linear], %s weights: {num_bits: 8, group_size: 64, %s}}}}"
        for dtype, stored in (("float32", "F32"), ("torch.float16", "F16"), ("torch.bfloat16", "BF16")):
            tensors, group = self.compressed(f"scale-{dtype}", groups % ("", f"scale_dtype: {dtype}"))
            self.assertEqual(tensors[f"{DOWN}.weight_scale"][:2], (stored, [128, 4]))
            self.assertEqual(group["weights"]["scale_dtype"], "torch." + dtype.removeprefix("torch."))
            self.assert_succeeds(run("eval", self.folder / f"scale-{dtype}", "-d", self.text, "--window", 32, "--max-windows", 2))
        path = self.folder / "recipe.yaml"
        path.write_text("quant_stage:\n  quant_modifiers:\n    " + groups % ("format: int-quantized,", "symmetric: false, zp_dtype: torch.int32"))
        result = self.compress(self.folder / "llama", "--recipe", path)
        self.assert_refused(result, 2, "zp_dtype torch.int32: int-quantized stores zero points as torch.int8")

    def test_what_no_engine_runs_is_refused(self):
        source = make_llama(self.folder / "llama", layers=1)
        args = "{num_bits: 8, type: float, strategy: tensor}"
        for group, code, text in (("targets: [Linear], input_activations: %s" % args, 2, "activations alone is for attention"),
                                  ("targets: [Linear], weights: %s, output_activations: %s" % (args, args), 2, "output_activations"),
                                  ("targets: [MistralAttention], input_activations: %s" % args, 2, "matches no module.*LlamaAttention")):
            path = self.folder / "recipe.yaml"
            path.write_text("quant_stage:\n  quant_modifiers:\n    QuantizationModifier: {ignore: [lm_head], config_groups: {group_0: {%s}}}" % group)
            self.assert_refused(self.compress(source, "--recipe", path, "-d", self.text), code, text)

    def test_act_order_of_a_group_counts_before_the_default(self):
        groups = "config_groups: {group_0: {targets: [Linear], weights: {num_bits: 4, group_size: 32, actorder: %s}}}"
        own, group = self.compressed("own", "GPTQModifier: {ignore: [lm_head], %s}" % (groups % "group"), data=True)
        self.assertEqual(group["weights"]["actorder"], "group")
        self.assertIn(f"{DOWN}.weight_g_idx", own)
        path = self.folder / "recipe.yaml"
        path.write_text("quant_stage:\n  quant_modifiers:\n    GPTQModifier: {ignore: [lm_head], actorder: static, %s}" % (groups % "group"))
        self.assert_refused(self.compress(self.folder / "llama", "--recipe", path, "-d", self.text), 2, "actorder static.*group_0 has group")


if __name__ == "__main__":
    unittest.main()
