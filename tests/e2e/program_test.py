"""Block programs from outside: what inspect --program says of a model, and the logits that eval saves of token ids."""
import json
import struct
import unittest

from support import MODELS, EndToEnd, edit_json, make_llama, make_model, read_json, read_safetensors, run, write_json, write_safetensors


class Program(EndToEnd):
    def test_the_program_of_a_model_is_printed(self):
        source = make_model(self.folder / "model")
        text = self.assert_succeeds(run("inspect", source, "--program")).stdout
        for line in ("attention(", "linear(v1) as query   model.layers.N.self_attn.q_proj", "layers 0, 1, 2:", "tied"):
            self.assertIn(line, text)
        found = json.loads(self.assert_succeeds(run("inspect", source, "--program", "--json")).stdout)
        self.assertEqual({t["name"]: t["shape"] for t in found["tensors"]}, {name: t[1] for name, t in read_safetensors(source / "model.safetensors").items()})
        self.assertEqual(found["modules"][-1]["role"], "head")

    def test_a_config_alone_is_enough(self):
        config = make_model(self.folder / "model") / "config.json"
        self.assertIn("rms_norm", self.assert_succeeds(run("inspect", config, "--program")).stdout)

    def test_logits_of_token_ids_are_the_golden_ones(self):
        source, golden = make_model(self.folder / "model"), read_safetensors(MODELS / "llama32_tied" / "io.safetensors")
        (source / "tokenizer.json").unlink()  # not needed
        ids, out = self.folder / "ids.safetensors", self.folder / "logits.safetensors"
        write_safetensors(ids, {"input_ids": golden["input_ids"]})
        self.assert_succeeds(run("eval", source, "--token-ids", ids, "--save-logits", out))
        dtype, shape, data = read_safetensors(out)["logits"]
        self.assertEqual((dtype, shape), ("F32", golden["logits"][1]))
        count = len(data) // 4
        found, expected = struct.unpack(f"<{count}f", data), struct.unpack(f"<{count}f", golden["logits"][2])
        most = max(abs(x) for x in expected)
        self.assertLessEqual(max(abs(a - b) for a, b in zip(found, expected)), 1e-4 * most)  # two float32 forward passes

    def test_ids_that_are_none_are_refused(self):
        source, ids = make_model(self.folder / "model"), self.folder / "ids.safetensors"
        write_safetensors(ids, {"input_ids": ("F32", [1, 2], bytes(8))})
        self.assertIn("token ids are int64", run("eval", source, "--token-ids", ids, "--save-logits", self.folder / "out").stderr)
        write_safetensors(ids, {"a": ("I64", [1, 1], bytes(8)), "b": ("I64", [1, 1], bytes(8))})
        self.assertIn("none of them called input_ids", run("eval", source, "--token-ids", ids, "--save-logits", self.folder / "out").stderr)
        write_safetensors(ids, {"input_ids": ("I64", [1, 1], struct.pack("<q", 4000))})
        self.assertIn("outside the model's vocabulary", run("eval", source, "--token-ids", ids, "--save-logits", self.folder / "out").stderr)
        self.assertFalse((self.folder / "out").exists())
        self.assertIn("--save-logits", run("eval", source, "--token-ids", ids).stderr)


class Architecture(EndToEnd):
    """A model_type that swage does not know, of a model that is built like one that it does."""

    def setUp(self):
        super().setUp()
        self.source = self.model()
        self.known = read_json(self.source / "config.json")["model_type"]
        edit_json(self.source / "config.json", model_type=f"{self.known}_next")

    def test_the_nearest_is_named_and_tried(self):
        self.assert_refused(self.compress(self.source, *self.calibrated()), 2, f"is not supported. If the model is built like {self.known}, --architecture {self.known} tries that")
        self.assert_succeeds(self.compress(self.source, *self.calibrated(), "--architecture", self.known))
        self.assertEqual(read_json(self.out / "config.json")["model_type"], f"{self.known}_next")
        evaluated = ("eval", self.out, "-d", self.text, "--window", 32)
        self.assertEqual(run(*evaluated).returncode, 2)
        with_it = self.assert_succeeds(run(*evaluated, "--json", "--architecture", self.known))
        edit_json(self.out / "config.json", model_type=self.known)
        perplexity = [json.loads(result.stdout)["perplexity"] for result in (with_it, self.assert_succeeds(run(*evaluated, "--json")))]
        self.assertEqual(*perplexity)

    def test_another_that_does_not_fit_is_refused_by_a_tensor(self):
        for command in (("compress", self.source, "-o", self.out, *self.calibrated()), ("eval", self.source, "-d", self.text, "--window", 32)):
            result = run(*command, "--architecture", "gpt_neox")
            self.assertEqual(result.returncode in (1, 2), True, result.stderr)
            self.assertRegex(result.stderr, "gpt_neox|config.json|tensor")
        self.assertFalse(self.out.exists())

    def test_what_is_no_architecture(self):
        self.assert_refused(self.compress(self.source, *self.calibrated(), "--architecture", "gizmo"), 2, 'model_type "gizmo" is not supported')


class Readers(EndToEnd):
    def test_what_is_copied_is_ignored_by_the_names_of_readers_too(self):
        """A LLaVA in the layout of before: transformers 5 has other names for its modules, and compares `ignore` with these."""
        source = make_llama(self.folder / "model")
        tensors = {f"language_model.{name}": tensor for name, tensor in read_safetensors(source / "model.safetensors").items()}
        aside = ("vision_tower.encoder.layers.0.mlp.fc1", "multi_modal_projector.linear_1")
        tensors |= {f"{name}.weight": ("BF16", [16, 16], bytes(512)) for name in aside}
        write_safetensors(source / "model.safetensors", tensors)
        write_json(source / "config.json", {"model_type": "llava", "text_config": read_json(source / "config.json"), "vision_config": {"model_type": "clip_vision_model"}})
        self.assert_succeeds(self.compress(source, "--method", "rtn", "--scheme", "W8A8", "--no-check"))
        ignored = read_json(self.out / "config.json")["quantization_config"]["ignore"]
        for name in (*aside, *(f"model.{name}" for name in aside), "language_model.lm_head", "lm_head"):
            self.assertIn(name, ignored)


if __name__ == "__main__":
    unittest.main()
