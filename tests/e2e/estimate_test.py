"""swage estimate: what a run would take, from a config or from headers, as text and as JSON; and what it refuses."""
import json
import math
import shutil
import unittest

from support import EndToEnd, ROOT, edit_json, make_llama, quoted, read_json, read_safetensors, run

CONFIGS = ROOT / "tests" / "data" / "pipeline"
RATES = ("--rates", "gemm=100G,copy=10G,disk=1G")
MEBIBYTE = 1 << 20


class Estimate(EndToEnd):
    def estimate(self, model, *arguments):
        result = self.assert_succeeds(run("estimate", model, *arguments, "--json"))
        return json.loads(result.stdout)

    def test_a_config_alone_is_enough(self):
        for model in (CONFIGS / "llama3_8b", CONFIGS / "llama3_8b" / "config.json"):
            report = self.estimate(model, "--num-calibration-samples", 16, "--max-seq-length", 64, *RATES)
            self.assertEqual(report["parameters"], 8030261248)
            self.assertEqual(report["from"], "config.json")
            self.assertEqual(report["plan"]["quantized_modules"], 224)
            self.assertEqual([stage["name"] for stage in report["plan"]["stages"]], ["copy", "embed", "calibrate", "check"])
            self.assertGreater(report["plan"]["seconds"], 0)

    def test_headers_say_the_same_as_the_config(self):
        model = self.model()
        edit_json(model / "config.json", torch_dtype="float32")
        options = ("--group-size", 16, "--num-calibration-samples", 8, "--max-seq-length", 32, *RATES)
        whole = self.estimate(model, *options)
        self.assertEqual(whole["from"], "headers of the shards")
        config = self.folder / "config"
        config.mkdir()
        shutil.copy(model / "config.json", config)
        alone = self.estimate(config, *options)
        for report in (whole, alone):
            report.pop("from")
        self.assertEqual(whole["parameters"], alone["parameters"])
        self.assertEqual(whole["plan"]["quantized_modules"], alone["plan"]["quantized_modules"])
        self.assertEqual(whole["plan"]["stages"][2]["forward_flops"], alone["plan"]["stages"][2]["forward_flops"])

    def test_the_plan_is_that_of_the_run_and_holds(self):
        model = make_llama(self.folder / "llama", hidden=512, inner=1024)
        for method, calibration in (("rtn", ()), ("gptq", ("--num-calibration-samples", 32, "--max-seq-length", 128))):
            planned = self.estimate(model, "--method", method, *calibration, *RATES)["plan"]
            more = ("-d", self.text, *calibration) if calibration else ()
            result = self.compress(model, "--method", method, *more, "--json", "--overwrite")
            report = json.loads(self.assert_succeeds(result).stdout)
            self.assertEqual(report["plan"]["output_bytes"], planned["output_bytes"])
            self.assertLessEqual(report["peak_rss_bytes"], 1.1 * report["plan"]["peak_bytes"], method)
            self.assertLessEqual(report["plan"]["peak_bytes"], 1.3 * report["peak_rss_bytes"], method)
            self.assertIn("plan: memory is largest in ", result.stderr)

    def test_text_for_people(self):
        text = self.assert_succeeds(run("estimate", CONFIGS / "llama3_8b", "--num-calibration-samples", 16, "--max-seq-length", 64, *RATES)).stdout
        for part in (r"^llama, 8\.03 B parameters, 32 layers", r"(?m)^  calibrate +[\d.]+ GiB", r"(?m)^  peak, host +[\d.]+ GiB$", r"(?m)^  time +about ",
                     "as given"):
            self.assertRegex(text, part)
        device = self.assert_succeeds(run("estimate", CONFIGS / "llama3_8b", "--device", "cuda", *RATES)).stdout
        self.assertRegex(device, r"(?m)^  peak, device +[\d.]+ GiB$")

    def test_measuring_this_machine_takes_two_seconds_at_most(self):
        rates = self.estimate(self.model(), "--method", "rtn", "--group-size", 16)["rates"]
        for name in ("gemm_flops", "integer_flops", "gram_flops", "copy_bytes", "disk_bytes"):
            self.assertGreater(rates[name], 0, name)
        self.assertLess(rates["measured_seconds"], 4)  # twice the limit: on a busy machine a single product can take long

    def test_a_vision_tower_counts_beside_the_text_model(self):
        report = self.estimate(CONFIGS / "qwen2_5_vl_7b", "--num-calibration-samples", 16, "--max-seq-length", 64, *RATES)
        self.assertAlmostEqual(report["parameters"] / 8.292e9, 1, delta=1e-4)

    def test_deepseek_v3_is_planned_as_it_runs(self):
        report = self.estimate(CONFIGS / "deepseek_r1", "--num-calibration-samples", 16, "--max-seq-length", 64, *RATES)
        self.assertAlmostEqual(report["parameters"] / 684.49e9, 1, delta=1e-4)

    def test_a_recipe_is_planned(self):
        recipe = self.folder / "recipe.yaml"
        recipe.write_text("quant_stage:\n  quant_modifiers:\n    AWQModifier: {}\n    QuantizationModifier: {scheme: W4A16, ignore: [lm_head]}\n")
        report = self.estimate(CONFIGS / "llama3_8b", "--recipe", recipe, "--num-calibration-samples", 16, "--max-seq-length", 64, *RATES)
        self.assertEqual(report["modifier"], "AWQModifier, QuantizationModifier")
        calibrate = report["plan"]["stages"][2]
        self.assertGreater(calibrate["gram_flops"], 0)
        self.assertGreater(calibrate["written_bytes"], 32 * 16 * 64 * 4096 * 4)  # the residual stream is saved after each layer

    def test_a_model_free_run_is_planned_as_it_is_done(self):
        model = self.model()
        options = ("--method", "rtn", "--group-size", 16)
        edit_json(model / "config.json", model_type="gizmo")
        self.assert_refused(run("estimate", model, *options, "--max-memory", "cpu=1MiB", *RATES), 2, "the smallest that would do is cpu=")
        self.assert_refused(run("estimate", model, "--model-free", *RATES), 2, "GPTQModifier", "cannot run model-free")
        self.assert_refused(run("estimate", CONFIGS / "llama3_8b", *options, "--model-free", *RATES), 2, "headers of the shards", "there are none")
        for chosen in ((), ("--model-free",)):  # by itself, where swage knows no model and no sizes
            report = self.estimate(model, *options, *chosen, *RATES)
            self.assertTrue(report["model_free"])
        plan = report["plan"]
        done = json.loads(self.assert_succeeds(self.compress(model, *options, "--json")).stdout)["plan"]
        for key in ("output_bytes", "source_bytes", "quantized_modules", "bits_per_weight", "read_bytes", "written_bytes"):
            self.assertEqual(plan[key], done[key], key)
        sizes = {folder: sum(path.stat().st_size for path in folder.glob("*.safetensors")) for folder in (model, self.out)}
        self.assertLess(sizes[self.out] - plan["written_bytes"], 16384)  # headers
        self.assertGreaterEqual(sizes[self.out], plan["written_bytes"])
        self.assertEqual([stage["name"] for stage in plan["stages"]], ["quantize"])
        self.assertEqual(plan["stages"][0]["host_bytes"], plan["peak_bytes"])
        disk = (plan["read_bytes"] + plan["written_bytes"]) / 1e9  # seconds, at the rates given
        self.assertAlmostEqual(plan["seconds"], max(disk, plan["stages"][0]["moved_bytes"] / 10e9), delta=1e-9)
        numbers = sum(math.prod(shape) for _, shape, _ in read_safetensors(model / "model.safetensors").values())
        self.assertEqual(report["parameters"], numbers)
        said = self.assert_succeeds(run("estimate", model, *options, *RATES)).stdout
        self.assertTrue(said.startswith(f"gizmo, {numbers} parameters (headers of the shards, model-free)\n"), said)

    def test_a_device_map_is_planned(self):
        llama = CONFIGS / "llama3_8b"
        said = self.assert_succeeds(run("estimate", llama, "--device-map", "cuda", *RATES)).stdout
        self.assertRegex(said, r"(?m)^device map cuda: computed on the GPU; .*device memory [\d.]+ GiB$")
        tight = ("--num-calibration-samples", 256, "--max-seq-length", 512, "--max-memory", "cpu=10GiB", *RATES)
        self.assertTrue(self.estimate(llama, "--device-map", "auto_offload", *tight)["plan"]["activations_in_file"])
        self.assert_refused(run("estimate", llama, "--device-map", "auto", *tight), 2, "with auto_offload cpu=.* would do")

    def test_refusals(self):
        self.assert_refused(run("estimate", self.folder / "absent"), 1, "absent")
        empty = self.folder / "empty"
        empty.mkdir()
        self.assert_refused(run("estimate", empty), 1, quoted(empty / "config.json"), "an estimate needs a model's config.json")
        config = read_json(CONFIGS / "llama3_8b" / "config.json")
        for change, code, parts in (({"model_type": "gizmo"}, 2, ('"gizmo"', "is not supported. If the model is built like llama.*deepseek_v3")),
                                    ({"model_type": None}, 1, ("model_type",)),
                                    ({"intermediate_size": None}, 1, ("intermediate_size",))):
            (empty / "config.json").write_text(json.dumps({**config, **change}))
            self.assert_refused(run("estimate", empty, *RATES), code, *parts)
        llama = CONFIGS / "llama3_8b"
        self.assert_refused(run("estimate", llama, "--rates", "gemm=fast"), 2, "gemm=fast")
        self.assert_refused(run("estimate", llama, "--scheme", "W4A17"), 2, "W4A17")
        self.assert_refused(run("estimate", llama, "--max-memory", "cpu=1GiB", *RATES), 2, "the smallest that would do is cpu=")
        self.assert_refused(run("estimate", llama, "--group-size", 100, *RATES), 2, "group size 100")


if __name__ == "__main__":
    unittest.main()
