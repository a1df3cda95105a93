"""Numbers at the edge: values near the end of their type, inputs of zeros, one row, vocabularies with padding, embeddings."""
import struct
import unittest

from support import EndToEnd, edit_json, make_llama, read_checkpoint, read_json, run, write_safetensors

ROW = ("--num-calibration-samples", 1, "--max-seq-length", 32)


def bf16(value):
    return struct.pack("<f", value)[2:]


class EdgeNumbers(EndToEnd):
    def changed(self, change, **fields):
        """A llama of one layer after change(name, dtype, shape, bytes) -> (dtype, shape, bytes)."""
        source = make_llama(self.folder / f"llama{len(list(self.folder.iterdir()))}", layers=1)
        tensors = {name: change(name, *tensor) for name, tensor in read_checkpoint(source).items()}
        write_safetensors(source / "model.safetensors", tensors)
        edit_json(source / "config.json", **fields)
        return source

    def test_what_is_written_of_the_largest_numbers_can_be_read(self):
        # 3e38 in bf16, and the largest number of it: scales that are rounded up make the largest code infinite.
        for value in (3e38, 3.3895e38):
            def spike(name, dtype, shape, data):
                return (dtype, shape, bf16(value) + bf16(-value) + data[4:]) if "_proj" in name else (dtype, shape, data)
            source = self.changed(spike)
            for scheme in ("MXFP4A16", "MXFP6A16", "MXFP8A16", "NVFP4A16", "W4A16", "W8A16", "FP8_DYNAMIC", "FP8_BLOCK"):
                with self.subTest(scheme=scheme, value=value):
                    out = self.folder / f"{scheme}-{value}"
                    self.assert_succeeds(self.compress(source, "--method", "rtn", "--scheme", scheme, out=out))
                    self.assert_succeeds(run("convert", out, self.folder / f"{scheme}-{value}-dense", "--to", "dense", "--dtype", "bf16"))

    def test_the_same_of_f16(self):
        def halves(name, dtype, shape, data):
            count = len(data) // 2
            values = [struct.unpack("<f", b"\0\0" + data[2 * i:2 * i + 2])[0] for i in range(count)]
            if "_proj" in name:
                values[0:4] = [65504, -65504, 6e-8, 0]
                values[32:64] = [0] * 32      # a group of zeros
                values[64:96] = [6e-8] * 32   # and one of the least that f16 holds
            return "F16", shape, struct.pack(f"<{count}e", *values)
        source = self.changed(halves, dtype="float16")
        for scheme in ("MXFP4A16", "MXFP8A16", "W4A16", "W8A16", "FP8_DYNAMIC"):
            with self.subTest(scheme):
                out = self.folder / f"{scheme}-f16"
                self.assert_succeeds(self.compress(source, "--method", "rtn", "--scheme", scheme, out=out))
                dense = self.folder / f"{scheme}-f16-dense"
                self.assert_succeeds(run("convert", out, dense, "--to", "dense", "--dtype", "f32"))
                if scheme == "MXFP4A16":  # exponents as of the same numbers in f32: those of 65504, of zeros and of 2^-24
                    scales = read_checkpoint(out)["model.layers.0.self_attn.q_proj.weight_scale"][2]
                    self.assertEqual(list(scales[:3]), [127 + 16 - 2, 0, 127 - 24 - 2])
                    values = read_checkpoint(dense)["model.layers.0.self_attn.q_proj.weight"][2]
                    self.assertEqual(struct.unpack("<2f", values[4 * 32:4 * 34]), (0, 0))
                    self.assertEqual(struct.unpack("<f", values[4 * 64:4 * 65])[0], 2.0 ** -24)

    def test_inputs_of_zeros(self):
        source = self.changed(lambda name, dtype, shape, data: (dtype, shape, bytes(len(data)) if "embed" in name else data))
        for method in (("--method", "gptq", "--scheme", "W4A16", "--group-size", 32), ("--method", "rtn", "--scheme", "FP8"), ("--method", "awq", "--group-size", 32),
                       ("--method", "smoothquant"), ("--method", "sparsegpt", "--sparsity", 0.5), ("--method", "rtn", "--scheme", "NVFP4")):
            with self.subTest(method):
                out = self.folder / "-".join(map(str, method[1:4])).strip("-")
                self.assert_succeeds(self.compress(source, *method, "-d", self.text, *ROW, "--no-check", out=out))
                for name, (dtype, _, data) in read_checkpoint(out).items():
                    if name.endswith("scale") and dtype in ("F32", "BF16"):
                        size = 4 if dtype == "F32" else 2
                        values = [struct.unpack("<f", bytes(4 - size) + data[i:i + size])[0] for i in range(0, len(data), size)]
                        self.assertTrue(all(0 < value < float("inf") for value in values), name)
                self.assert_succeeds(run("eval", out, "-d", self.text, "--window", 32, "--max-windows", 1, "--json"))

    def test_one_row_of_calibration(self):
        source = make_llama(self.folder / "llama", layers=1)
        self.assert_succeeds(self.compress(source, "--scheme", "W4A16", "-d", self.text, *ROW))
        self.assertLess(read_json(self.out / "swage_report.json")["check"]["output_perplexity"], float("inf"))

    def test_a_vocabulary_with_padding(self):
        def padded(name, dtype, shape, data):
            grows = "embed" in name or "lm_head" in name
            return (dtype, [shape[0] + 32, shape[1]], data + bytes(64 * shape[1])) if grows else (dtype, shape, data)
        source = self.changed(padded, vocab_size=160)
        self.assert_succeeds(self.compress(source, "--scheme", "W4A16", "-d", self.text, *ROW))
        self.assertEqual(read_checkpoint(self.out)["model.embed_tokens.weight"][1], [160, 128])
        every = self.folder / "every"
        recipe = self.folder / "r.yaml"
        recipe.write_text("q_modifiers: {QuantizationModifier: {scheme: W8A16, targets: [Linear, Embedding]}}")
        self.assert_succeeds(self.compress(source, "--recipe", recipe, out=every))
        self.assertEqual(read_checkpoint(every)["lm_head.weight_scale"][1], [160, 1])
        self.assert_succeeds(run("eval", every, "-d", self.text, "--window", 32, "--max-windows", 1, "--json"))

    def test_tied_embeddings(self):
        source = make_llama(self.folder / "tied", layers=1, tied=True)
        self.assert_refused(self.compress(source, "--method", "rtn", "--scheme", "W8A16", "--targets", "Linear", "--targets", "Embedding", "--ignore", "nothing_of_it"), 2,
                            "embedding and head of this model share one table")
        self.assert_succeeds(self.compress(source, "--method", "rtn", "--scheme", "W8A16"))
        self.assertNotIn("lm_head.weight", read_checkpoint(self.out))
        self.assert_succeeds(run("eval", self.out, "-d", self.text, "--window", 32, "--max-windows", 1, "--json"))


if __name__ == "__main__":
    unittest.main()
