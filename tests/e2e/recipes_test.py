"""Recipes as people and LLM Compressor write them, shipped ones by name, and files in which every reader finds what was stored."""
import json
import re
import unittest

from support import EndToEnd, make_llama, make_text, read_checkpoint, read_json, write_safetensors

SMALL = ("--num-calibration-samples", 4, "--max-seq-length", 32, "--no-check")
CLASS = "Linear"


def fits(name, target):
    return re.match(target[3:], name) is not None if target.startswith("re:") else target == name


def chosen(targets, name):
    return next((group for target, group in targets if fits(name, target)), None) or next((group for target, group in targets if target == CLASS), None)


def first_match(config, name):
    """vLLM's rule: names and expressions in the order of the groups, then classes."""
    return chosen([(target, group) for group, scheme in config["config_groups"].items() for target in scheme["targets"]], name)


def exact_first(config, name):
    """compressed-tensors' rule: exact names, then expressions in alphabetic order, then classes."""
    targets = [(target, group) for group, scheme in config["config_groups"].items() for target in scheme["targets"]]
    return chosen(sorted(targets, key=lambda item: ("re:" in item[0], item[0])), name)


def group(bits, *targets):
    return {"targets": list(targets), "weights": {"num_bits": bits, "type": "int", "symmetric": True, "strategy": "group", "group_size": 64}}


class Recipes(EndToEnd):
    def setUp(self):
        super().setUp()
        self.source = make_llama(self.folder / "llama", layers=2)

    def recipe(self, modifiers, **stage):
        path = self.folder / "recipe.json"
        path.write_text(json.dumps({"quant_stage": {"quant_modifiers": modifiers, **stage}}))
        return path

    def run_recipe(self, modifiers, *more, out=None, **stage):
        out = out or self.folder / f"made{len(list(self.folder.iterdir()))}"
        result = self.compress(self.source, "--recipe", self.recipe(modifiers, **stage), "-d", self.text, *SMALL, *more, out=out)
        self.assert_succeeds(result)
        return result, out

    # --- what matches nothing -------------------------------------------------------------------------------------------

    def test_ignore_that_matches_nothing_is_a_warning(self):
        result, out = self.run_recipe({"QuantizationModifier": {"ignore": ["lm_head", "re:.*visual.*", "re:.*mlp.gate$"], "scheme": "FP8_DYNAMIC"}})
        self.assertRegex(result.stderr, r"warning: .*ignore matches no module of this model: re:\.\*visual\.\*, re:\.\*mlp\.gate\$")
        self.assertEqual(sum(dtype == "F8_E4M3" for dtype, *_ in read_checkpoint(out).values()), 14)
        self.assertRegex(" ".join(read_json(out / "swage_report.json")["warnings"]), "visual")

    def test_a_group_that_matches_nothing_is_a_warning_where_others_match(self):
        groups = {"a": group(4, "re:.*self_attn.*_proj$"), "b": group(8, "re:.*vision_tower.*")}
        result, _ = self.run_recipe({"QuantizationModifier": {"config_groups": groups}})
        self.assertRegex(result.stderr, r"warning: .*targets matches no module of this model: re:\.\*vision_tower\.\*")

    def test_targets_of_which_none_matches_are_an_error(self):
        for modifiers in ({"QuantizationModifier": {"targets": ["re:.*no_such.*"], "scheme": "W8A8"}}, {"SparseGPTModifier": {"targets": ["re:.*no_such.*"], "sparsity": 0.5}},
                          {"QuantizationModifier": {"config_groups": {"a": group(4, "x"), "b": group(8, "y")}}}):
            self.assert_refused(self.compress(self.source, "--recipe", self.recipe(modifiers), "-d", self.text, *SMALL), 2, "targets matches no module", "no_such|x, y")

    # --- containers -----------------------------------------------------------------------------------------------------

    def pruned_layers(self, out):
        found = set()
        for name, (dtype, _, data) in read_checkpoint(out).items():
            zeros = sum(data[i] == 0 and data[i + 1] & 0x7F == 0 for i in range(0, len(data), 2))
            if dtype == "BF16" and "_proj" in name and zeros > len(data) / 8:
                found.add(name.split(".")[2])
        return found

    def test_pruning_targets_name_containers(self):
        for targets, layers in ((["model.layers.0"], {"0"}), ("__ALL_PRUNABLE__", {"0", "1"}), (["re:model.layers.\\d+$"], {"0", "1"}), ("LlamaDecoderLayer", {"0", "1"})):
            with self.subTest(targets=targets):
                _, out = self.run_recipe({"SparseGPTModifier": {"sparsity": 0.5, "targets": targets, "ignore": ["lm_head"], "sweeps": 0}})
                self.assertEqual(self.pruned_layers(out), layers)

    def test_a_list_of_shares_counts_target_layers(self):
        _, out = self.run_recipe({"SparseGPTModifier": {"sparsity": [0.5, 0.0], "targets": ["model.layers.0", "model.layers.1"], "sweeps": 0}})
        self.assertEqual(self.pruned_layers(out), {"0"})

    def test_a_container_of_quantized_modules_is_stored_by_their_names(self):
        _, out = self.run_recipe({"QuantizationModifier": {"scheme": "W8A8", "targets": ["model.layers.1"]}})
        targets = read_json(out / "config.json")["quantization_config"]["config_groups"]["group_0"]["targets"]
        self.assertEqual(len(targets), 7)
        self.assertTrue(all(name.startswith("model.layers.1.") for name in targets), targets)

    # --- several modifiers ----------------------------------------------------------------------------------------------

    def test_a_gptq_modifier_without_a_scheme(self):
        result, out = self.run_recipe({"QuantizationModifier": {"ignore": ["lm_head"], "config_groups": {"group_0": group(4, CLASS)}}, "GPTQModifier": {"block_size": 128}},
                                      run_type="oneshot")
        self.assertRegex(result.stderr, "run_type says how LLM Compressor runs")
        self.assertEqual(read_json(out / "swage_report.json")["modifier"], "GPTQModifier")

    def test_gptq_then_awq_and_rounding_of_other_modules(self):
        modifiers = {"GPTQModifier": {"targets": "re:.*self_attn.(q|k|v|o)_proj$", "scheme": "W8A8"}, "AWQModifier": {},
                     "QuantizationModifier": {"targets": "re:.*mlp.(gate|up|down)_proj$", "scheme": "W4A16"}}
        loud = read_checkpoint(self.source)
        for name in ("input_layernorm", "post_attention_layernorm"):  # columns that are loud are what AWQ has scales for
            loud[f"model.layers.0.{name}.weight"] = ("BF16", [128], b"\x80\x41" * 8 + b"\x80\x3f" * 120)
        write_safetensors(self.source / "model.safetensors", loud)
        _, out = self.run_recipe(modifiers)
        tensors = read_checkpoint(out)
        norms = [tensors[f"model.layers.0.{name}.weight"][2] for name in ("input_layernorm", "post_attention_layernorm")]
        source = read_checkpoint(self.source)["model.layers.0.input_layernorm.weight"][2]
        self.assertEqual(norms[0], source, "AWQ leaves alone what GPTQ has rounded")
        self.assertNotEqual(norms[1], source)
        self.assertEqual(tensors["model.layers.0.self_attn.q_proj.weight"][0], "I8")
        self.assertIn("model.layers.0.mlp.up_proj.weight_packed", tensors)
        behind = {"GPTQModifier": {"ignore": ["lm_head"], "scheme": "W8A8"}, "SmoothQuantModifier": {}}
        self.assert_refused(self.compress(self.source, "--recipe", self.recipe(behind), "-d", self.text, *SMALL), 2, "SmoothQuantModifier stands behind GPTQModifier")

    def test_smoothquant_alone_keeps_the_model(self):
        _, out = self.run_recipe({"SmoothQuantModifier": {"smoothing_strength": 0.8}})
        before, after = read_checkpoint(self.source), read_checkpoint(out)
        self.assertEqual(before.keys(), after.keys())
        name = "model.layers.0.input_layernorm.weight"
        self.assertNotEqual(before[name], after[name])
        self.assertNotIn("quantization_config", read_json(out / "config.json"))

    def test_pruning_behind_rounding_comes_before_it_with_a_word(self):
        result, out = self.run_recipe({"GPTQModifier": {"ignore": ["lm_head"], "scheme": "W8A8"}, "SparseGPTModifier": {"ignore": ["lm_head"], "sparsity": 0.5}})
        self.assertRegex(result.stderr, "warning: SparseGPTModifier stands behind GPTQModifier")
        codes = read_checkpoint(out)["model.layers.0.mlp.up_proj.weight"][2]
        self.assertGreaterEqual(codes.count(0), len(codes) // 2)

    def test_attention_heads_with_an_observer(self):
        groups = {"attention": {"targets": ["LlamaAttention"], "input_activations": {"num_bits": 8, "type": "float", "strategy": "attn_head", "observer": "minmax"}}}
        _, out = self.run_recipe({"QuantizationModifier": {"config_groups": groups}})
        self.assertEqual(read_checkpoint(out)["model.layers.0.self_attn.q_scale"][1], [4, 1, 1])

    # --- what readers find ----------------------------------------------------------------------------------------------

    def disagreements(self, out):
        config, tensors, wrong = read_json(out / "config.json")["quantization_config"], read_checkpoint(out), []
        for key, (_, shape, _) in tensors.items():
            if not key.endswith(".weight_packed"):
                continue
            name = key.removesuffix(".weight_packed")
            bits = shape[1] * 32 // int.from_bytes(tensors[name + ".weight_shape"][2][8:16], "little")
            for rule in (first_match, exact_first):
                group_found = rule(config, name)
                if group_found is None or config["config_groups"][group_found]["weights"]["num_bits"] != bits:
                    wrong.append((name, bits, rule.__name__, group_found))
        return wrong

    def test_every_reader_finds_the_group_that_was_stored(self):
        attention, o_proj = "re:.*self_attn.(q|k|v|o)_proj$", "model.layers.1.self_attn.o_proj"
        families = {"a name in a pattern": ({"a": group(8, attention), "b": group(4, o_proj)}, o_proj, 4),
                    "a pattern in a pattern": ({"a": group(8, "re:model.*_proj$"), "b": group(4, "re:.*self_attn.*")}, o_proj, 4),
                    "the same in the other order": ({"a": group(4, "re:.*self_attn.*"), "b": group(8, "re:model.*_proj$")}, o_proj, 4),
                    "a class and a pattern": ({"a": group(8, CLASS), "b": group(4, "re:.*self_attn.*")}, o_proj, 4),
                    "a class, a pattern and a name": ({"a": group(8, CLASS), "b": group(2, attention), "c": group(4, o_proj)}, o_proj, 4),
                    "several targets a group": ({"a": group(8, CLASS, "re:.*o_proj$"), "b": group(4, "re:.*layers.1.*", "model.layers.0.mlp.up_proj")}, "model.layers.0.mlp.up_proj", 4)}
        for what, (groups, module, bits) in families.items():
            with self.subTest(what):
                _, out = self.run_recipe({"QuantizationModifier": {"ignore": ["lm_head"], "config_groups": groups}})
                self.assertEqual(self.disagreements(out), [])
                tensors = read_checkpoint(out)
                columns = int.from_bytes(tensors[module + ".weight_shape"][2][8:16], "little")
                self.assertEqual(tensors[module + ".weight_packed"][1][1] * 32 // columns, bits)

    def test_modifiers_that_share_a_class_are_told_apart_by_names(self):
        modifiers = {"GPTQModifier": {"ignore": ["lm_head", "re:.*mlp.*"], "scheme": "W8A16", "group_size": 64, "quality": "fast"},
                     "QuantizationModifier": {"ignore": ["lm_head", "re:.*self_attn.*"], "scheme": "W4A16", "group_size": 64}}
        _, out = self.run_recipe(modifiers)
        self.assertEqual(self.disagreements(out), [])

    # --- what is saved --------------------------------------------------------------------------------------------------

    def test_the_saved_recipe_alone_makes_the_same_bytes(self):
        out, again, other = self.folder / "a", self.folder / "b", self.folder / "c"
        command = ("--scheme", "W4A16", "--group-size", 64, "-d", self.text, "--seed", 5, "--shuffle", *SMALL)
        self.assert_succeeds(self.compress(self.source, *command, out=out))
        saved = (out / "recipe.yaml").read_text()
        for line in ("scale_search: imatrix", "norm: 2", "sweeps: 2", "actorder: static", "weight_observer: null", "quality: balanced", "  seed: 5", "  shuffle: true",
                     "  num_calibration_samples: 4", "  max_seq_length: 32", f"  data: {self.text}", "  version: "):
            self.assertIn(line, saved)
        self.assert_succeeds(self.compress(self.source, "--recipe", out / "recipe.yaml", "--no-check", out=again))
        self.assertEqual(read_checkpoint(out), read_checkpoint(again))
        self.assertEqual((again / "recipe.yaml").read_text(), saved)
        self.assert_succeeds(self.compress(self.source, "--recipe", out / "recipe.yaml", "--no-check", "--num-calibration-samples", 2, out=other))
        self.assertEqual(read_json(other / "swage_report.json")["calibration"]["rows"], 2)
        self.assertNotEqual(read_checkpoint(out), read_checkpoint(other))

    # --- by name, with other fields -------------------------------------------------------------------------------------

    def test_a_shipped_recipe_by_its_name_with_other_fields(self):
        result = self.compress(self.source, "--recipe", "w4a16", "--group-size", 32, "--ignore", "re:.*o_proj$", "--ignore", "lm_head", "-d", self.text, *SMALL, out=self.folder / "a")
        self.assert_succeeds(result)
        tensors = read_checkpoint(self.folder / "a")
        self.assertEqual(tensors["model.layers.0.self_attn.q_proj.weight_scale"][1], [128, 4])
        self.assertIn("model.layers.0.self_attn.o_proj.weight", tensors)
        self.assert_refused(self.compress(self.source, "--recipe", "w4a61", "-d", self.text, out=self.folder / "b"), 1, "w4a61: no such file", "fp8-dynamic, .*w4a16,")
        self.assert_refused(self.compress(self.source, "--recipe", "fp8-dynamic", "--sparsity", 0.5, out=self.folder / "b"), 2, "none of its modifiers has the field sparsity")
        self.assert_refused(self.compress(self.source, "--recipe", "w4a8-rotated", "--scheme", "W8A8", "-d", self.text, out=self.folder / "b"), 2, "spells them out")

    def test_methods_that_prepare_weights_do_the_whole(self):
        text = make_text(self.folder / "t.jsonl", 3)
        for method, modifiers in (("awq", "AWQModifier, QuantizationModifier"), ("smoothquant", "SmoothQuantModifier, GPTQModifier"),
                                  ("spinquant", "SpinQuantModifier, GPTQModifier"), ("quip", "QuIPModifier, GPTQModifier")):
            with self.subTest(method):
                out = self.folder / method
                self.assert_succeeds(self.compress(self.source, "--method", method, *(("--n-grid", 4) if method == "awq" else ()), "-d", text, *SMALL, out=out))
                self.assertEqual(read_json(out / "swage_report.json")["modifier"], modifiers)


if __name__ == "__main__":
    unittest.main()
