"""A run that was killed, interrupted or failed is gone on with by the same command, and the result is the same, byte for byte."""
import json
import random
import shutil
import signal
import time
import unittest

from resume_support import Resumed, make_long
from support import contents, edit_json, make_text, read_safetensors


def with_name(files, name, instead):
    """Contents of an output that speak of another file."""
    renamed = {}
    for file, value in files.items():
        if isinstance(value, bytes):
            renamed[file] = value.replace(name.encode(), instead.encode())
        else:
            renamed[file] = json.loads(json.dumps(value).replace(name, instead))
    return renamed


class GoesOn(Resumed):
    def stop(self, model, arguments, number, after="layer 3/"):
        """Sends the signal when that layer was reported; exit code and what was said afterwards."""
        process = self.start(model, arguments)
        for line in process.stderr:
            if after in line:
                break
        process.send_signal(number)
        return self.finish(process)

    def test_every_way_of_running(self):
        for way in self.WAYS:
            with self.subTest(way=way):
                shutil.rmtree(self.folder / "llama32_tied", ignore_errors=True)
                model = make_long(self.model(), 5)
                arguments = self.arguments(way)
                wanted, _ = self.undisturbed(model, arguments)
                code, err = self.with_faults(model, arguments, "sync", 0, "count", self.folder, self.folder / "count")
                self.assertEqual(code, 0, err)
                self.remove_output()
                syncs = int((self.folder / "count").read_text())
                code, err = self.with_faults(model, arguments, "sync", max(5, syncs // 2), "crash", self.folder)
                self.assertEqual(code, -signal.SIGKILL, err)
                self.assertFalse(self.out.exists())
                self.assertRegex(self.go_on(model, arguments, wanted), "an interrupted run is gone on with")
                shutil.rmtree(self.out)

    def test_experts_and_quantized_heads(self):
        recipe = self.folder / "recipe.yaml"
        recipe.write_text("quant_stage:\n  quant_modifiers:\n    GPTQModifier: {targets: [Linear], scheme: W4A16, group_size: 8}\n")
        for name in ("qwen3_moe_fused", "mixtral"):
            for more in ((), ("--moe-routed",)):
                with self.subTest(model=name, more=more):
                    model = self.model(name)
                    arguments = ["-d", str(self.text), "--num-calibration-samples", "8", "--max-seq-length", "32", "--recipe", str(recipe), *more]
                    wanted, _ = self.undisturbed(model, arguments)
                    self.assertIn(b"lm_head.weight_packed", wanted["model.safetensors"])
                    for number in (5, 4):  # the second one is counted from where the first run was
                        code, err = self.with_faults(model, arguments, "sync", number, "crash", self.folder)
                        self.assertEqual(code, -signal.SIGKILL, err)
                    self.assertRegex(self.go_on(model, arguments, wanted), "gone on with")
                    shutil.rmtree(self.out)

    def test_recipes_that_rescale(self):
        """The output of a layer is saved there, because rescaled weights do not give it back."""
        recipe = self.folder / "recipe.yaml"
        quantize = "Modifier: {targets: [Linear], ignore: [lm_head], scheme: W4A16_ASYM, group_size: 16}\n"
        for rescale, method in (("SmoothQuantModifier: {smoothing_strength: 0.7}", "GPTQ"), ("AWQModifier: {}", "Quantization")):
            with self.subTest(rescale=rescale):
                recipe.write_text(f"quant_stage:\n  quant_modifiers:\n    {rescale}\n    {method}{quantize}")
                shutil.rmtree(self.folder / "llama32_tied", ignore_errors=True)
                model = make_long(self.model(), 5)
                arguments = ["-d", str(self.text), "--num-calibration-samples", "16", "--max-seq-length", "64", "--recipe", str(recipe)]
                wanted, _ = self.undisturbed(model, arguments)
                for number in (11, 7):
                    code, err = self.with_faults(model, arguments, "sync", number, "crash", self.folder)
                    self.assertEqual(code, -signal.SIGKILL, err)
                self.assertRegex(self.go_on(model, arguments, wanted), "gone on with")
                shutil.rmtree(self.out)

    def test_damaged_activations_are_not_gone_on_with(self):
        recipe = self.folder / "recipe.yaml"
        recipe.write_text("quant_stage:\n  quant_modifiers:\n    SmoothQuantModifier: {smoothing_strength: 0.7}\n"
                          "    GPTQModifier: {targets: [Linear], ignore: [lm_head], scheme: W8A8}\n")
        model = make_long(self.model(), 12)
        arguments = ["-d", str(self.text), "--num-calibration-samples", "16", "--max-seq-length", "64", "--recipe", str(recipe)]
        self.stop(model, arguments, signal.SIGKILL)
        for path in (self.folder / ".out.partial").glob("activations-*"):
            data = bytearray(path.read_bytes())
            data[-1] ^= 1
            path.write_bytes(data)
        code, err = self.finish(self.start(model, arguments))
        self.assertEqual(code, 1, err)
        self.assertRegex(err, r"does not hold the activations of layer \d+ as they were saved")  # CorruptData

    def test_interrupts_keep_what_is_finished(self):
        model = make_long(self.model(), 12)
        arguments = self.arguments("gptq")
        wanted, _ = self.undisturbed(model, arguments)
        for number in (signal.SIGINT, signal.SIGTERM):
            code, err = self.stop(model, arguments, number)
            self.assertEqual(code, 130, err)
            self.assertRegex(err.splitlines()[-1], r"^swage: error: what is finished is kept in .*\.out\.partial: the same command goes on from there: .*interrupted")
            self.assertFalse(self.out.exists())
        said = self.go_on(model, arguments, wanted)
        self.assertRegex(said, "resuming")
        self.assertNotRegex(said, r"calibrating *layer [12]/")

    def test_what_may_change_and_what_may_not(self):
        model = make_long(self.model(), 12)
        arguments = self.arguments("gptq")
        wanted, _ = self.undisturbed(model, arguments)
        self.stop(model, arguments, signal.SIGKILL)
        other = make_text(self.folder / "other.jsonl", seed=9)
        refused = {
            r"seed \(was 42, is 43\)": ["--seed", "43"],
            r"recipe": ["--dampening-frac", "0.02"],
            r"calibration text": ["--shuffle"],
            r"held-out text": ["-d", str(other)],
            r"max-shard-size": ["--max-shard-size", "0.001"],
            r"moe-routed \(was false, is true\)": ["--moe-routed"],
        }
        for what, change in refused.items():
            with self.subTest(change=change):
                kept = arguments if change[0] != "-d" else [a for a in arguments if a not in ("-d", str(self.text))]
                code, err = self.finish(self.start(model, kept + change))
                self.assertEqual(code, 2, err)
                self.assertRegex(err.splitlines()[-1], rf"^swage: error: .*an unfinished run .* is kept in .*but it is not the same: .*{what}.*--restart throws it away")
        code, err = self.finish(self.start(model, arguments + ["--no-resume"]))
        self.assertEqual(code, 2, err)
        self.assertRegex(err, "without --no-resume goes on with it")
        moved = self.folder / "moved.jsonl"
        shutil.move(self.text, moved)  # its text is the same: nothing of the output is another but the name
        arguments[arguments.index(str(self.text))] = str(moved)
        code, err = self.finish(self.start(model, arguments + ["--overwrite"]))
        self.assertEqual(code, 0, err)
        self.assertRegex(err, "gone on with")
        self.assert_same(with_name(contents(self.out), moved.name, self.text.name), wanted)

    def test_a_changed_model_is_named(self):
        model = make_long(self.model(), 12)
        arguments = self.arguments("gptq")
        self.stop(model, arguments, signal.SIGKILL)
        edit_json(model / "config.json", rope_theta=20000.0)
        code, err = self.finish(self.start(model, arguments))
        self.assertEqual(code, 2, err)
        self.assertRegex(err, r"not the same: .*source: config\.json")
        code, err = self.finish(self.start(model, arguments + ["--restart"]))
        self.assertEqual(code, 0, err)
        self.assertNotRegex(err, "gone on with")
        self.assertEqual(self.left_over(), [])

    def test_damaged_work_is_not_gone_on_with(self):
        model = make_long(self.model(), 12)
        arguments = self.arguments("gptq")
        wanted, _ = self.undisturbed(model, arguments)
        self.stop(model, arguments, signal.SIGKILL)
        path = self.folder / ".out.partial" / "output" / "model.safetensors"
        whole = path.read_bytes()
        packed = read_safetensors(path)["model.layers.0.mlp.up_proj.weight_packed"][2]
        path.write_bytes(whole.replace(packed, bytes([packed[0] ^ 1]) + packed[1:]))
        code, err = self.finish(self.start(model, arguments))
        self.assertEqual(code, 1, err)
        self.assertRegex(err, r"layer 0: .*up_proj is not what the interrupted run wrote")  # CorruptData
        self.assertEqual(self.left_over(), [])
        self.go_on(model, arguments, wanted)

    def test_a_bit_budget_keeps_what_it_has_measured(self):
        model = make_long(self.model(), 12)
        arguments = ["--target-bits", "5", *self.arguments("gptq")]
        wanted, _ = self.undisturbed(model, arguments)
        probes = self.folder / ".out.partial" / "probes"
        for _ in range(2):  # the second one goes on with what the first one kept
            process = self.start(model, arguments)
            for line in process.stderr:
                if "measuring layer" in line and probes.exists():
                    break
            process.send_signal(signal.SIGKILL)
            self.finish(process)
            self.assertTrue(probes.exists())
        code, err = self.finish(self.start(model, [*arguments, "--no-resume"]))
        self.assertEqual(code, 2, err)
        self.assertRegex(self.go_on(model, arguments, wanted), r"measuring goes on after layer \d+ of 12")
        self.remove_output()
        process = self.start(model, arguments)
        while not probes.exists() and process.poll() is None:
            time.sleep(0.001)
        process.send_signal(signal.SIGTERM)
        code, err = self.finish(process)
        self.assertEqual(code, 130, err)
        self.assertRegex(err.splitlines()[-1], "the same command goes on from there")
        code, err = self.finish(self.start(model, [*arguments, "--restart"]))
        self.assertEqual(code, 0, err)
        self.assertNotIn("measuring goes on", err)
        self.assert_same(contents(self.out), wanted)
        self.assertEqual(self.left_over(), [])

    def test_no_resume_keeps_nothing(self):
        model = make_long(self.model(), 12)
        code, err = self.stop(model, self.arguments("gptq") + ["--no-resume"], signal.SIGTERM)
        self.assertEqual(code, 130, err)
        self.assertRegex(err.splitlines()[-1], r"^swage: error: nothing was kept.*interrupted")
        self.assert_nothing_left()

    def test_two_runs_on_one_output(self):
        model = make_long(self.model(), 12)
        arguments = self.arguments("gptq")
        first = self.start(model, arguments)
        for line in first.stderr:
            if "layer 1/" in line:
                break
        first.send_signal(signal.SIGSTOP)
        try:
            code, err = self.finish(self.start(model, arguments))
            self.assertEqual(code, 2, err)
            self.assertRegex(err.splitlines()[-1], rf"^swage: error: .*another run is at work on this output folder \(host and process \S+ {first.pid}\)")
        finally:
            first.send_signal(signal.SIGCONT)
        self.assertEqual(self.finish(first)[0], 0)
        self.assertEqual(self.left_over(), [])


class Killed(Resumed):
    def test_at_random_instants(self):
        draw = random.Random(7)
        for way in ("gptq", "rtn"):
            with self.subTest(way=way):
                done, _, _ = self.kill_at_random(way, draw, kills=5, layers=12)
                self.assertEqual(done, 5)


if __name__ == "__main__":
    unittest.main()
