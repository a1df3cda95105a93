"""Broken model folders: said in one line, exit code 1 (2 where the request is at fault), and nothing is left behind."""
import array
import json
import pickle
import struct
import unittest

from support import EndToEnd, edit_json, quoted, read_json, read_safetensors, run, split_checkpoint, write_json, write_raw_safetensors, write_safetensors

Q_PROJ = "model.layers.1.self_attn.q_proj.weight"


class Weights(EndToEnd):
    def setUp(self):
        super().setUp()
        self.source = self.model()
        self.weights = self.source / "model.safetensors"

    def refused(self, *parts, code=1):
        self.assert_refused(self.compress(self.source, *self.calibrated()), code, *parts)

    def read_header(self):
        data = self.weights.read_bytes()
        size = struct.unpack("<Q", data[:8])[0]
        return json.loads(data[8:8 + size]), data[8 + size:]

    def test_truncated_safetensors(self):
        self.weights.write_bytes(self.weights.read_bytes()[:-100])
        self.refused(r"model\.safetensors")
        for command in (("eval", self.source, "-d", self.text), ("generate", self.source, "-p", "a"), ("inspect", self.source)):
            self.assert_refused(run(*command), 1, r"model\.safetensors")

    def test_truncated_header(self):
        self.weights.write_bytes(self.weights.read_bytes()[:50])
        self.refused(r"model\.safetensors")

    def test_overlapping_offsets(self):
        header, payload = self.read_header()
        names = [name for name in header if name != "__metadata__" and name.endswith("q_proj.weight")]
        header[names[1]]["data_offsets"] = header[names[0]]["data_offsets"]
        write_raw_safetensors(self.weights, header, payload)
        self.refused(r"model\.safetensors", "q_proj")

    def test_header_bomb(self):
        self.weights.write_bytes(struct.pack("<Q", 1 << 62) + b"{}")
        self.refused(r"model\.safetensors", "header")

    def test_deeply_nested_header(self):
        bomb = b'{"a":' + b"[" * 100000
        self.weights.write_bytes(struct.pack("<Q", len(bomb)) + bomb)
        self.refused(r"model\.safetensors")

    def test_missing_shard(self):
        names = split_checkpoint(self.source)
        (self.source / names[1]).unlink()
        self.refused(quoted(names[1]))

    def test_index_naming_a_missing_tensor(self):
        split_checkpoint(self.source)
        index = self.source / "model.safetensors.index.json"
        value = read_json(index)
        value["weight_map"]["model.layers.0.extra.weight"] = "model-00001-of-00002.safetensors"
        write_json(index, value)
        self.refused("model.layers.0.extra.weight", "model-00001-of-00002")

    def test_index_outside_the_folder(self):
        split_checkpoint(self.source)
        index = self.source / "model.safetensors.index.json"
        value = read_json(index)
        value["weight_map"][Q_PROJ] = "../../etc/passwd"
        write_json(index, value)
        self.refused(r"index\.json", "passwd")

    def test_missing_tensor(self):
        tensors = read_safetensors(self.weights)
        del tensors[Q_PROJ]
        write_safetensors(self.weights, tensors)
        self.refused(quoted(Q_PROJ), "tensor .* is missing")

    def test_shape_mismatch_with_config(self):
        edit_json(self.source / "config.json", intermediate_size=96)
        self.refused("gate_proj|up_proj|down_proj", "64", "96", r"but config\.json makes it")

    def test_nan_and_inf_weights(self):
        original = self.weights.read_bytes()
        for method in (self.calibrated(), ("--method", "rtn", "--scheme", "W8A8")):
            for bits in (0x7fc0, 0x7f80):  # bfloat16 NaN, infinity
                self.weights.write_bytes(original)
                tensors = read_safetensors(self.weights)
                dtype, shape, data = tensors[Q_PROJ]
                self.assertEqual(dtype, "BF16")
                words = array.array("H", data)
                words[5] = bits
                tensors[Q_PROJ] = (dtype, shape, words.tobytes())
                write_safetensors(self.weights, tensors)
                with self.subTest(method=method[0], bits=hex(bits)):
                    self.assert_refused(self.compress(self.source, *method), 1, quoted(Q_PROJ), "NaN|nan|infinit|finite")

    def test_nan_in_an_untouched_tensor(self):
        tensors = read_safetensors(self.weights)
        dtype, shape, data = tensors["model.layers.1.input_layernorm.weight"]
        tensors["model.layers.1.input_layernorm.weight"] = (dtype, shape, b"\xc0\x7f" + data[2:])
        write_safetensors(self.weights, tensors)
        self.refused(quoted("model.layers.1.input_layernorm.weight"), "NaN|nan|infinit|finite")

    def test_pickle_checkpoint(self):
        self.weights.unlink()
        (self.source / "pytorch_model.bin").write_bytes(pickle.dumps({"a": 1}))
        self.refused(r"pytorch_model\.bin", "safetensors", code=2)  # a format that swage does not read: the request

    def test_folder_without_weights(self):
        self.weights.unlink()
        self.refused(quoted(self.source), "safetensors")

    def test_already_compressed(self):
        first = self.folder / "first"
        self.compress(self.source, *self.calibrated(), out=first)
        self.assert_refused(self.compress(first, *self.calibrated()), 2, "quantized already")

    def test_packed_weight_with_a_wrong_shape(self):
        first = self.folder / "first"
        self.assert_succeeds(self.compress(self.source, "--method", "rtn", "--group-size", "16", out=first))
        weights, shape = first / "model.safetensors", Q_PROJ.removesuffix("weight") + "weight_shape"
        tensors = read_safetensors(weights)
        dtype, size, data = tensors[shape]
        tensors[shape] = (dtype, size, struct.pack("<qq", -1, 1 << 40))
        write_safetensors(weights, tensors)
        self.assert_refused(run("inspect", first), 1, quoted(shape), " is not the shape of a weight")
        tensors[shape] = ("I32", [2], data[:8])
        write_safetensors(weights, tensors)
        self.assert_refused(run("inspect", first), 1, quoted(shape), ": expected I64, two numbers, found ", "I32")
        del tensors[shape]
        write_safetensors(weights, tensors)
        self.assert_refused(run("inspect", first), 1, "weight_packed without an I64 weight_shape of two numbers")


class Configs(EndToEnd):
    def setUp(self):
        super().setUp()
        self.source = self.model()
        self.config = self.source / "config.json"

    def refused(self, *parts, code=1):
        self.assert_refused(self.compress(self.source, *self.calibrated()), code, *parts)

    def test_unknown_model_type_lists_the_supported(self):
        edit_json(self.config, model_type="gizmo", architectures=["GizmoForCausalLM"])
        self.refused("gizmo", "llama", "opt", "mixtral", "--method rtn", code=2)

    def test_missing_config(self):
        self.config.unlink()
        self.refused(r"config\.json")

    def test_config_that_is_not_json(self):
        self.config.write_text('{"model_type": "llama",')
        self.refused(r"config\.json")

    def test_config_that_is_not_an_object(self):
        self.config.write_text("[1, 2]")
        self.refused(r"config\.json", "object")

    def test_bad_fields_are_named(self):
        original = read_json(self.config)
        for field, value in (("hidden_size", "32"), ("hidden_size", -32), ("hidden_size", 0), ("hidden_size", 1 << 62), ("hidden_size", None),
                             ("num_attention_heads", 0), ("num_attention_heads", 5), ("num_hidden_layers", -1), ("num_hidden_layers", 10**12),
                             ("num_key_value_heads", 3), ("vocab_size", 0), ("rms_norm_eps", "small"), ("hidden_act", "sine"), ("head_dim", 7),
                             ("rope_parameters", {"rope_type": "spiral", "rope_theta": 1e4}), ("tie_word_embeddings", "yes"),
                             ("max_position_embeddings", -1)):
            with self.subTest(field=field, value=value):
                write_json(self.config, {**original, field: value})
                # A size that contradicts the tensors shows as a wrong shape.
                self.refused(f"{field}|shape|spiral|heads|tensor", code=2 if "sine" in str(value) or "spiral" in str(value) else 1)

    def test_missing_tokenizer(self):
        (self.source / "tokenizer.json").unlink()
        self.refused(r"tokenizer\.json")
        self.assert_refused(run("eval", self.source, "-d", self.text), 1, r"tokenizer\.json")

    def test_broken_tokenizer(self):
        (self.source / "tokenizer.json").write_text('{"model": {"type": "Magic"}}')
        self.refused(r"tokenizer\.json")

    def test_tokenizer_with_more_tokens_than_the_model(self):
        tokenizer = read_json(self.source / "tokenizer.json")
        vocabulary = tokenizer["model"]["vocab"]
        vocabulary["\u0120a"], vocabulary["zz"] = 5000, vocabulary["\u0120a"]
        write_json(self.source / "tokenizer.json", tokenizer)
        self.refused("5000", "config.json's vocab_size is 128")

    def test_no_such_model(self):
        self.assert_refused(self.compress(self.folder / "absent", *self.calibrated()), 1, "absent")
        self.assert_refused(run("inspect", self.folder / "absent"), 1, "absent")

    def test_model_that_is_a_file(self):
        self.assert_refused(self.compress(self.text, *self.calibrated()), 2, r"calibration\.jsonl")


if __name__ == "__main__":
    unittest.main()
