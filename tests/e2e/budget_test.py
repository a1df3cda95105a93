"""Mixed precision by a bit budget: the budget is kept, fused linears stay together, the output reads back, and what cannot be is refused."""
import json
import unittest

from resume_support import Resumed, make_long
from support import EndToEnd, contents, make_llama, read_checkpoint, read_json, run

CALIBRATION = ("--num-calibration-samples", 8, "--max-seq-length", 32)
CODES = {bits: f"W{bits}A16 g32" for bits in (3, 4, 5, 6, 8)}


def stored_bits(folder, modules):
    """Bits a weight of all tensors that belong to the modules."""
    tensors, taken, weights = read_checkpoint(folder), 0, 0
    for module in modules:
        for name, (_, shape, data) in tensors.items():
            if name.startswith(module + "."):
                taken += 8 * len(data)
        rows, columns = (int.from_bytes(tensors[module + ".weight_shape"][2][i:i + 8], "little") for i in (0, 8))
        weights += rows * columns
    return taken / weights


class Budget(EndToEnd):
    def setUp(self):
        super().setUp()
        self.source = make_llama(self.folder / "llama", layers=3)

    def mixed(self, *arguments, out="out", threads=1, model=None):
        out = self.folder / out
        result = self.compress(model or self.source, "-d", self.text, *CALIBRATION, "--group-size", 32, *arguments, out=out, threads=threads)
        self.assert_succeeds(result)
        return out

    def groups(self, out):
        """Module -> bits, as quantization_config has it."""
        config = read_json(out / "config.json")["quantization_config"]
        self.assertEqual(config["format"], "pack-quantized")
        return {module: group["weights"]["num_bits"] for group in config["config_groups"].values() for module in group["targets"]}

    def test_the_budget_is_kept_and_used(self):
        for bits in (3.9, 4.6, 6.0):
            with self.subTest(bits=bits):
                out = self.mixed("--target-bits", bits, "--overwrite")
                report = read_json(out / "swage_report.json")
                of_module = self.groups(out)
                self.assertEqual(len(of_module), 21)
                stored = stored_bits(out, of_module)
                self.assertLessEqual(stored, bits)
                self.assertGreater(stored, bits - 0.25)
                self.assertAlmostEqual(stored, report["bit_budget"]["bits_per_weight"], places=9)
                self.assertGreater(len(set(of_module.values())), 1)
                for module in report["modules"]:
                    self.assertEqual(module["scheme"], CODES[of_module[module["name"]]])

    def test_fused_linears_have_one_scheme(self):
        of_module = self.groups(self.mixed("--target-bits", 4.4))
        for layer in range(3):
            prefix = f"model.layers.{layer}."
            self.assertEqual(len({of_module[f"{prefix}self_attn.{name}_proj"] for name in "qkv"}), 1)
            self.assertEqual(len({of_module[f"{prefix}mlp.{name}_proj"] for name in ("gate", "up")}), 1)

    def test_experts_of_a_layer_have_one_scheme(self):
        out = self.folder / "mixture"
        self.assert_succeeds(self.compress(self.model("mixtral"), "-d", self.text, *CALIBRATION, "--group-size", 8, "--target-bits", 5.5, out=out))
        of_module = self.groups(out)
        for layer in {module.split(".")[2] for module in of_module}:
            experts = {bits for module, bits in of_module.items() if f"layers.{layer}." in module and ".experts." in module}
            self.assertEqual(len(experts), 1)

    def test_the_output_reads_back(self):
        out = self.mixed("--target-bits", 4.6, "--json")
        of_module = self.groups(out)
        modules = json.loads(self.assert_succeeds(run("inspect", out, "--json")).stdout)["modules"]
        found = {module["name"]: module.get("scheme") for module in modules}
        for module, bits in of_module.items():
            self.assertEqual(found[module], CODES[bits])
        evaluated = self.assert_succeeds(run("eval", out, "-d", self.text, "--window", 32, "--json", "--baseline", self.source))
        self.assertLess(json.loads(evaluated.stdout)["kl_mean"], 0.1)
        page = (out / "swage_report.html").read_text()
        for part in ("Bits by layer", "W4A16 g32 everywhere", "chosen"):
            self.assertIn(part, page)

    def test_the_frontier_falls_and_lies_below_every_uniform_choice(self):
        budget = read_json(self.mixed("--target-bits", 4.5) / "swage_report.json")["bit_budget"]
        losses = [point["predicted_loss"] for point in budget["frontier"]]
        self.assertEqual(losses, sorted(losses, reverse=True))
        self.assertLessEqual(budget["lower_bound"], budget["predicted_loss"])
        uniform = {point["scheme"]: point for point in budget["uniform"]}
        self.assertAlmostEqual(losses[0], uniform["W3A16 g32"]["predicted_loss"], delta=1e-9 * losses[0])
        self.assertAlmostEqual(losses[-1], uniform["W8A16 g32"]["predicted_loss"], delta=1e-9 * losses[0])
        self.assertLess(budget["predicted_loss"], uniform["W3A16 g32"]["predicted_loss"])

    def test_a_size_is_that_of_the_weight_files(self):
        out = self.mixed("--target-size", "315KB")
        taken = sum(path.stat().st_size for path in out.glob("*.safetensors"))
        self.assertLessEqual(taken, 315000)
        self.assertGreater(taken, 305000)

    def test_candidates_of_other_formats(self):
        out = self.mixed("--target-bits", 4.7, "--candidates", "W4A16,NVFP4A16", "--candidates", "W6A16")
        config = read_json(out / "config.json")["quantization_config"]
        formats = {group["format"] for group in config["config_groups"].values()}
        self.assertLessEqual(formats, {"pack-quantized", "nvfp4-pack-quantized"})
        self.assertEqual(config["format"], formats.pop() if len(formats) == 1 else "mixed-precision")
        self.assert_succeeds(run("eval", out, "-d", self.text, "--window", 32))

    def test_rounding_to_nearest_too_and_the_saved_recipe(self):
        out = self.mixed("--method", "rtn", "--target-bits", 4.5)
        again = self.folder / "again"
        self.assert_succeeds(self.compress(self.source, "-d", self.text, *CALIBRATION, "--recipe", out / "recipe.yaml", out=again))
        self.assertEqual(contents(out), contents(again))

    def test_same_bytes_for_any_number_of_threads(self):
        one, two = (self.mixed("--target-bits", 4.5, out=f"out{threads}", threads=threads) for threads in (1, 2))
        self.assertEqual(contents(one), contents(two))

    def test_a_dry_run_and_an_estimate_know_the_size(self):
        planned = json.loads(self.assert_succeeds(self.compress(self.source, "-d", self.text, *CALIBRATION, "--target-bits", 4.5, "--group-size", 32, "--dry-run", "--json")).stdout)
        self.assert_nothing_left()
        estimated = json.loads(self.assert_succeeds(run("estimate", self.source, "--target-bits", 4.5, "--group-size", 32, *CALIBRATION, "--json")).stdout)
        for report in (planned, estimated):
            self.assertLessEqual(report["plan"]["bits_per_weight"], 4.5)
            self.assertGreater(report["plan"]["bits_per_weight"], 4.25)

    def test_what_cannot_be_is_refused(self):
        refused = [
            (("--target-bits", 2), "target_bits 2: with W3A16 g32, W4A16 g32, W5A16 g32, W6A16 g32, W8A16 g32 these modules take from 3\\.5\\d* to 8\\.5\\d* bits"),
            (("--target-bits", 9), "target_bits 9: .* from 3\\.5\\d* to 8\\.5\\d* bits"),
            (("--target-bits", -1), "target_bits -1: expected a positive number"),
            (("--target-size", "100KB"), "target_size 100KB: .* from \\d+ to \\d+ bytes"),
            (("--target-size", "1GB"), "target_size 1GB: .* from \\d+ to \\d+ bytes"),
            (("--target-size", "large"), "target_size.*expected a size"),
            (("--target-bits", 4, "--target-size", "1GB"), "target_bits or target_size, not both"),
            (("--target-bits", 4, "--scheme", "W4A16"), "scheme: a budget chooses the schemes"),
            (("--target-bits", 4, "--candidates", "W4A16"), "two schemes or more"),
            (("--target-bits", 4, "--candidates", "W4A16,W4A16"), "W4A16 is there twice"),
            (("--target-bits", 4, "--candidates", "W4A16,W8A8"), "W8A8 quantizes activations"),
            (("--target-bits", 4, "--candidates", "W4A16,UNQUANTIZED"), "UNQUANTIZED leaves weights as they are"),
            (("--target-bits", 4, "--candidates", "W4A16,W9A16"), "unknown scheme \"W9A16\""),
            (("--candidates", "W3A16,W4A16"), "candidates is for a budget"),
            (("--target-bits", 4, "--group-size", 48), "group size 48 does not divide"),
        ]
        for arguments, message in refused:
            with self.subTest(arguments=arguments):
                group_size = () if "--group-size" in arguments else ("--group-size", 32)
                self.assert_refused(self.compress(self.source, "-d", self.text, *CALIBRATION, *group_size, *arguments), 2, message)
        self.assert_refused(self.compress(self.source, "--target-bits", 4.5, "--method", "rtn"), 2, "bit budget needs calibration text")
        self.assert_refused(self.compress(self.source, "--target-bits", 4.5, "--method", "rtn", "--model-free"), 2, "model-free: a bit budget measures errors on data")

    def test_the_head_is_refused(self):
        recipe = self.folder / "recipe.yaml"
        recipe.write_text("default_stage:\n  default_modifiers:\n    GPTQModifier: {target_bits: 4.5, group_size: 32}\n")
        self.assert_refused(self.compress(self.source, "-d", self.text, *CALIBRATION, "--recipe", recipe), 2, "lm_head: a bit budget is for the layers")


class GoesOn(Resumed):
    def test_a_killed_run_goes_on_and_another_budget_does_not(self):
        model = make_long(self.model(), 5)
        arguments = ["-d", str(self.text), *map(str, self.GPTQ), "--target-bits"]
        wanted, _ = self.undisturbed(model, [*arguments, "5.5"])
        code, err = self.with_faults(model, [*arguments, "5.5"], "sync", 4, "kill", "/journal")
        self.assertLess(code, 0, err)
        code, err = self.finish(self.start(model, [*arguments, "6"]))
        self.assertEqual(code, 2, err)
        self.assertRegex(err, "it is not the same: .*recipe")
        said = self.go_on(model, [*arguments, "5.5"], wanted)
        self.assertRegex(said, "gone on with")
        self.assertNotIn("measuring", said)  # what the candidates cost is kept


if __name__ == "__main__":
    unittest.main()
