"""Block programs from outside: what inspect --program says of a model, and the logits that eval saves of token ids."""
import json
import struct
import unittest

from support import MODELS, EndToEnd, make_model, read_safetensors, run, write_safetensors


class Program(EndToEnd):
    def test_the_program_of_a_model_is_printed(self):
        source = make_model(self.folder / "model")
        text = self.assert_succeeds(run("inspect", source, "--program")).stdout
        for line in ("attention(", "linear(v1) as query   model.layers.N.self_attn.q_proj", "layers 0, 1, 2:", "tied"):
            self.assertIn(line, text)
        found = json.loads(self.assert_succeeds(run("inspect", source, "--program", "--json")).stdout)
        self.assertEqual({t["name"]: t["shape"] for t in found["tensors"]}, {name: t[1] for name, t in read_safetensors(source / "model.safetensors").items()})
        self.assertEqual(found["modules"][-1]["role"], "head")
        self.assertTrue(found["runs"])

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


if __name__ == "__main__":
    unittest.main()
