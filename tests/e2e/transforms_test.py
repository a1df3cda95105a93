"""Rotations that the reader of a checkpoint computes (transform_config): read, shown, and refused where they would get lost."""
import json
import shutil
import signal
import struct
import unittest

from support import ROOT, EndToEnd, contents, make_llama, make_tokenizer, read_checkpoint, read_json, read_safetensors, run, write_safetensors
from resume_support import Resumed, make_long
from rescale_test import channel_rounding, shifted
from rotate_test import gptq, spin_quant

GOLDEN = ROOT / "tests" / "data" / "eval" / "transforms"


class Reads(EndToEnd):
    def golden(self, name):
        folder = self.folder / name
        shutil.copytree(GOLDEN / name, folder, ignore=shutil.ignore_patterns("io.safetensors"))
        make_tokenizer(folder)
        return folder

    def test_inspect_tells_matrices_from_weights(self):
        described = json.loads(self.assert_succeeds(run("inspect", self.golden("spinquant"), "--json")).stdout)
        self.assertEqual([(t["group"], t["type"], t["location"]) for t in described["transforms"]],
                         [("R3", "random-hadamard", "q_attn"), ("R3", "random-hadamard", "k_cache"), ("R4", "random-hadamard", "input")])
        schemes = {module["name"]: module["scheme"] for module in described["modules"]}
        self.assertEqual(schemes["model.layers.0.mlp.down_proj.R4_input"], "transform")
        self.assertEqual(described["totals"]["quantized_parameters"], 2 * (2 * 24 * 24 + 2 * 8 * 24 + 3 * 24 * 40))
        self.assertEqual(described["totals"]["parameters"], described["totals"]["quantized_parameters"] + 2 * 32 * 24 + 5 * 24 + 2 * (24 + 2 * 8 + 24))
        shown = self.assert_succeeds(run("inspect", self.golden("quip_v"))).stdout
        self.assertIn("v (random-hadamard) on input of Linear", shown)

    def test_what_would_lose_them_is_refused(self):
        model = self.golden("quip_v")
        why = "transform_config has activations multiplied with matrices"
        self.assert_refused(self.compress(model, "--method", "rtn", "--scheme", "W8A16", "--group-size", 8), 2, why, "compress does not carry over")
        self.assert_refused(self.compress(model, "--method", "rtn", "--scheme", "W8A8", "--model-free"), 2, why, "model-free")
        self.assert_refused(run("estimate", model, "--method", "rtn"), 2, why)
        self.assert_refused(run("convert", model, self.out, "--to", "dense"), 2, why, "convert does not carry over")


def quip(**fields):
    return "QuIPModifier", fields


def ones_and_minus_ones(tensor):
    dtype, shape, data = tensor
    values = struct.unpack(f"<{len(data) // (8 if dtype == 'F64' else 4)}{'d' if dtype == 'F64' else 'f'}", data)
    return set(values) == {1.0, -1.0} and len(values) == shape[0] * shape[1]


ONLINE = (spin_quant(rotations=["R4"]), spin_quant(rotations=["R1", "R2", "R3", "R4"], transform_type="random-hadamard", seed=3), quip(),
          quip(rotations=["v", "u"], transform_block_size=8), quip(rotations=["v", "u"], transform_type="random-matrix"))


class Writes(EndToEnd):
    def compress_with(self, model, *modifiers, out=None, more=(), **keywords):
        recipe = self.folder / "recipe.yaml"
        recipe.write_text(json.dumps({"default_stage": {"default_modifiers": dict(modifiers)}}))
        return self.compress(model, "--recipe", recipe, *(more or ("-d", self.text, "--num-calibration-samples", 8, "--max-seq-length", 32)), out=out, **keywords)

    def divergence(self, model, *modifiers, more=()):
        out = self.folder / "compressed"
        self.assert_succeeds(self.compress_with(model, *modifiers, out=out, more=more))
        result = self.assert_succeeds(run("eval", out, "-d", self.text, "--window", 32, "--baseline", model, "--json"))
        shutil.rmtree(out)
        return json.loads(result.stdout)["kl_mean"]

    def test_the_function_stays_as_it_is(self):
        """With 8 bits a row little is lost, so that a rotation that is no identity would stand out."""
        rounding = channel_rounding(8)
        for name in ("llama32_tied", "mixtral", "qwen3_moe_fused"):
            model = self.model(name)
            plain = self.divergence(model, rounding)
            for rotation in ONLINE:
                if name == "qwen3_moe_fused" and rotation[1].get("transform_type", "hadamard") == "hadamard" and "rotations" in rotation[1] and rotation[1]["rotations"] == ["R4"]:
                    continue  # 24 columns inside
                for more in ((), ("--no-check",)):  # calibrated for its text, or without data
                    with self.subTest(f"{name} {rotation} {more}"):
                        self.assertLess(self.divergence(model, rotation, rounding, more=more), 4 * plain + 1e-4)

    def test_what_is_not_quantized_is_rotated_too(self):
        rounding = channel_rounding(8)
        rounding[1]["ignore"] = ["re:.*lm_head", "re:.*[kv]_proj", "re:.*o_proj", "re:.*down_proj"]
        plain = self.divergence(self.model(), channel_rounding(8))
        for rotation in ONLINE:
            self.assertLess(self.divergence(self.model(), rotation, rounding), 4 * plain + 1e-4, rotation)

    def test_opt_and_its_biases(self):
        plain = self.divergence(self.model("opt"), channel_rounding(8))
        for rotation in (spin_quant(rotations=["R2", "R3", "R4"]), quip(rotations=["v", "u"])):
            self.assertLess(self.divergence(self.model("opt"), rotation, channel_rounding(8)), 4 * plain + 1e-4, rotation)

    def test_quantized_activations_see_the_rotated_input(self):
        """Inputs of down_proj with outlier channels, which a rotation spreads over all."""
        model = make_llama(self.folder / "outliers", tied=False)
        tensors = read_safetensors(model / "model.safetensors")
        large, always = (lambda channel: channel % 64 == 5), (lambda _: True)
        for name in list(tensors):
            if name.endswith("up_proj.weight"):
                tensors[name] = shifted(tensors[name], 5, large, always)
        write_safetensors(model / "model.safetensors", tensors)
        for scheme in ("W8A8", "FP8"):  # dynamic scales by token, and static ones
            rounding = ("QuantizationModifier", {"targets": ["re:.*down_proj"], "scheme": scheme})
            plain = self.divergence(model, rounding)
            for rotation in (spin_quant(rotations=["R4"]), quip()):
                self.assertGreater(plain, (2 if scheme == "W8A8" else 0.7) * self.divergence(model, rotation, rounding), (scheme, rotation))

    def test_what_the_files_say(self):
        model = self.model()
        self.assert_succeeds(self.compress(model, *self.calibrated("--rotate", "R3,R4")))
        out, config = read_checkpoint(self.out), read_json(self.out / "config.json")
        groups = config["quantization_config"]["transform_config"]["config_groups"]
        self.assertEqual(list(groups), ["R3", "R4"])
        self.assertEqual([(a["targets"], a["location"], a["inverse"]) for a in groups["R4"]["apply"]], [(["re:.*down_proj$"], "input", False), (["re:.*down_proj$"], "weight_input", True)])
        for name, size in (("model.layers.0.self_attn.R3_q_attn.weight", 8), ("model.layers.0.mlp.down_proj.R4_input.weight", 64)):
            self.assertEqual(out[name][:2], ("F32", [size, size]))
            self.assertTrue(ones_and_minus_ones(out[name]), name)
        self.assertEqual(out["model.embed_tokens.weight"], read_checkpoint(model)["model.embed_tokens.weight"])
        report = read_json(self.out / "swage_report.json")
        self.assertTrue(any("R4 is computed by the reader" in warning for warning in report["warnings"]), report["warnings"])
        described = json.loads(self.assert_succeeds(run("inspect", self.out, "--json")).stdout)
        self.assertEqual(sum(m["scheme"] not in ("float", "transform") for m in described["modules"]), 21)
        self.assertIn("text", json.loads(self.assert_succeeds(run("generate", self.out, "-p", "the river", "--max-new-tokens", 3, "--json")).stdout))
        again = self.folder / "again"  # the recipe that was written says the same
        self.assert_succeeds(self.compress(model, "--recipe", self.out / "recipe.yaml", "-d", self.text, "--num-calibration-samples", 8, "--max-seq-length", 32, out=again))
        self.assertEqual(contents(again), contents(self.out))

    def test_a_matrix_that_a_reader_gets_wrong_is_warned_of(self):
        for kind, warned in (("random-hadamard", False), ("random-matrix", True)):
            self.assert_succeeds(self.compress_with(self.model(), quip(transform_type=kind), channel_rounding(8)))
            self.assertEqual(any("transform_type random-matrix: vLLM" in warning for warning in read_json(self.out / "swage_report.json")["warnings"]), warned, kind)
            shutil.rmtree(self.out)

    def test_precision_is_the_type_of_the_file(self):
        self.assert_succeeds(self.compress_with(self.model(), quip(precision="torch.float64"), channel_rounding(8)))
        out, config = read_checkpoint(self.out), read_json(self.out / "config.json")
        self.assertEqual(config["quantization_config"]["transform_config"]["config_groups"]["v"]["precision"], "torch.float64")
        for name in ("model.layers.0.self_attn.q_proj.v_input.weight", "model.layers.0.mlp.down_proj.v_input.weight"):
            self.assertTrue(ones_and_minus_ones(out[name]) and out[name][0] == "F64", name)

    def test_other_modifiers_follow_in_the_same_pass(self):
        model = self.model()
        for between, left_alone in (([("SmoothQuantModifier", {})], True), ([("AWQModifier", {})], True), ([("SparseGPTModifier", {"sparsity": 0.5, "ignore": ["lm_head"]})], False),
                                    ([("SparseGPTModifier", {"sparsity": 0.5, "ignore": ["lm_head"], "sparsity_profile": "owl", "owl_m": 5, "owl_lmbda": 0.08})], False)):
            with self.subTest(between):
                self.assert_succeeds(self.compress_with(model, quip(), *between, gptq()))
                warnings = read_json(self.out / "swage_report.json")["warnings"]
                self.assertEqual(any("the reader rotates what is between them" in warning for warning in warnings), left_alone)
                shutil.rmtree(self.out)
        self.assert_succeeds(self.compress_with(model, spin_quant(rotations=["R4"]), ("AWQModifier", {}), gptq()))  # all but one pair
        alone = [warning for warning in read_json(self.out / "swage_report.json")["warnings"] if "the reader rotates" in warning]
        self.assertEqual(len(alone), 3)
        self.assertTrue(all("down_proj" in warning for warning in alone), alone)

    def test_a_cache_of_rotated_keys(self):
        cache = {"num_bits": 8, "type": "float", "strategy": "tensor", "dynamic": False, "symmetric": True}
        model = self.model()
        quantizer = ("QuantizationModifier", {"scheme": "W8A16", "group_size": 16, "ignore": ["lm_head"], "kv_cache_scheme": cache})
        plain = self.divergence(model, quantizer)
        self.assertLess(self.divergence(model, spin_quant(rotations=["R3"], transform_type="random-hadamard"), quantizer), 3 * plain)
        self.assert_succeeds(self.compress_with(model, spin_quant(rotations=["R3"], transform_type="random-hadamard"), quantizer))
        scales = {name: data for name, (_, _, data) in read_checkpoint(self.out).items() if name.endswith(("k_scale", "v_scale"))}
        shutil.rmtree(self.out)
        self.assert_succeeds(self.compress_with(model, quantizer))
        other = read_checkpoint(self.out)
        for name, data in scales.items():  # of the keys as they are cached; values are as they were
            self.assertEqual(data == other[name][2], name.endswith("v_scale"), name)

    def test_corrected_targets_budgets_and_groups(self):
        model = self.model()
        for rotation in (quip(), spin_quant(rotations=["R1", "R2", "R4"])):
            for fields in ({"quality": "best"}, {"scheme": "W8A8", "group_size": None}):
                self.assert_succeeds(self.compress_with(model, rotation, gptq(**fields)))
                shutil.rmtree(self.out)
        self.assert_succeeds(self.compress_with(model, quip(), ("GPTQModifier", {"target_bits": 5, "group_size": 16, "ignore": ["lm_head"]})))
        shutil.rmtree(self.out)
        self.assert_succeeds(self.compress_with(model, quip(targets=["re:.*q_proj"]), gptq()))  # one of three linears that read the same

    def test_threads_seeds_and_plans(self):
        model = self.model("mixtral")
        outs = []
        for threads, seed in ((1, 7), (3, 7), (1, 8)):
            out = self.folder / f"out-{threads}-{seed}"
            self.assert_succeeds(self.compress(model, *self.calibrated("--rotate", "R1,R2,R3,R4", "--seed", seed), out=out, threads=threads))
            outs.append(contents(out))
        self.assertEqual(outs[0], outs[1])
        self.assertNotEqual(outs[0]["model.safetensors"], outs[2]["model.safetensors"])

    def test_the_plan_knows_the_matrices(self):
        model = make_llama(self.folder / "tied", tied=True)
        arguments = ("--rotate", "R1,R3,R4", "--group-size", 16, "--num-calibration-samples", 8, "--max-seq-length", 32)
        self.assert_succeeds(self.compress(model, *arguments, "-d", self.text))
        plan = read_json(self.out / "swage_report.json")["plan"]
        size = sum(len(data) for _, _, data in read_checkpoint(self.out).values())
        self.assertEqual(plan["output_bytes"], size)
        estimated = json.loads(self.assert_succeeds(run("estimate", model, *arguments, "--json")).stdout)
        self.assertEqual(estimated["plan"]["output_bytes"], size)
        self.assertEqual(estimated["plan"]["bits_per_weight"], plan["bits_per_weight"])
        self.assertTrue(any("R4 is computed by the reader" in warning for warning in estimated["warnings"]))

    def test_refusals(self):
        model, narrow = self.model(), make_llama(self.folder / "narrow", hidden=48, inner=96)
        bad = [
            (2, narrow, (spin_quant(rotations=["R4"]), channel_rounding(8)), ("rotation R4 of 96 columns", "random-hadamard")),
            (2, model, (spin_quant(rotations=["R4"], transform_block_size=7), gptq()), ("rotation R4: 64 columns of model.layers.0.mlp.down_proj do not split into blocks of 7",)),
            (2, model, (quip(ignore=[]), gptq()), ("lm_head: embedding and head of this model share one table",)),
            (2, model, (quip(randomize=True), gptq()), ("QuIPModifier: randomize",)),
            (2, model, (spin_quant(), quip(), gptq()), ("QuIPModifier stands behind SpinQuantModifier", "rotated once")),
            (2, model, (quip(),), ("quantizes nothing",)),
        ]
        for code, source, modifiers, parts in bad:
            with self.subTest(parts):
                self.assert_refused(self.compress_with(source, *modifiers), code, *parts)


class GoesOn(Resumed):
    def test_a_run_whose_reader_rotates(self):
        model = make_long(self.model(), 4)
        for more in (self.calibrated(), ("--method", "rtn", "--group-size", "16")):
            arguments = [str(argument) for argument in ("--rotate", "R1,R3,R4", *more)]
            with self.subTest(arguments=arguments):
                wanted, _ = self.undisturbed(model, arguments)
                for number in (6, 5):
                    code, err = self.with_faults(model, arguments, "sync", number, "crash", self.folder)
                    self.assertEqual(code, -signal.SIGKILL, err)
                refused = self.compress(model, "--rotate", "R1,R4", *map(str, more))
                self.assertEqual(refused.returncode, 2, refused.stderr)
                self.assertRegex(refused.stderr, "but it is not the same: .*recipe")
                self.assertRegex(self.go_on(model, arguments, wanted), "gone on with")
                shutil.rmtree(self.out)


if __name__ == "__main__":
    unittest.main()
