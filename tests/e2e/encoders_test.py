"""Encoders and encoder-decoders from outside: golden logits and hidden states of stored inputs, masked-token perplexity, compression, and what is refused."""
import json
import struct
import unittest

from support import MODELS, EndToEnd, byte_level_tokenizer, edit_json, make_model, read_checkpoint, read_json, read_safetensors, run, write_json, write_safetensors


def floats(tensor):
    return struct.unpack(f"<{len(tensor[2]) // 4}f", tensor[2])


def make_encoder(folder, name="bert"):
    """A golden encoder with a tokenizer that puts <s> and </s> around a text and has a mask token."""
    make_model(folder, name)
    tokenizer = byte_level_tokenizer()
    text = json.dumps(tokenizer).replace("<pad>", "[MASK]")
    tokenizer = json.loads(text)
    special = {token: {"id": token, "ids": [i], "tokens": [token]} for token, i in (("<s>", 1), ("</s>", 2))}
    tokenizer["post_processor"] = {"type": "TemplateProcessing", "special_tokens": special, "pair": [],
                                   "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
                                              {"SpecialToken": {"id": "</s>", "type_id": 0}}]}
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    edit_json(folder / "tokenizer_config.json", mask_token="[MASK]")
    return folder


def make_body(folder):
    """The same without prefix and head, with a pooler, as sentence encoders are published."""
    make_encoder(folder)
    tensors = {name[len("bert."):]: tensor for name, tensor in read_safetensors(folder / "model.safetensors").items() if name.startswith("bert.")}
    tensors["pooler.dense.weight"] = ("F32", [32, 32], bytes(4 * 32 * 32))
    tensors["pooler.dense.bias"] = ("F32", [32], bytes(4 * 32))
    tensors["embeddings.position_ids"] = ("I64", [1, 64], struct.pack("<64q", *range(64)))
    write_safetensors(folder / "model.safetensors", tensors)
    edit_json(folder / "config.json", architectures=["BertModel"])
    return folder


class Encoders(EndToEnd):
    def eval_ids(self, source, tensors, *outputs):
        ids = self.folder / "ids.safetensors"
        write_safetensors(ids, tensors)
        return run("eval", source, "--token-ids", ids, *outputs)

    def assert_close(self, found, expected, counted=None):
        """Relative to the largest number; two float32 forward passes. `counted`: numbers that are compared."""
        self.assertEqual(found[:2], ("F32", expected[1]))
        pairs = [pair for i, pair in enumerate(zip(floats(found), floats(expected))) if counted is None or counted(i)]
        most = max(abs(b) for _, b in pairs)
        self.assertLessEqual(max(abs(a - b) for a, b in pairs), 1e-4 * most)

    def test_logits_and_hidden_states_are_the_golden_ones(self):
        for name in ("bert", "modernbert", "deberta_v2_conv", "t5"):
            with self.subTest(name):
                source, golden = make_model(self.folder / name, name), read_safetensors(MODELS / name / "io.safetensors")
                inputs = {key: golden[key] for key in ("input_ids", "token_type_ids", "decoder_input_ids") if key in golden}
                logits, hidden = self.folder / "logits.safetensors", self.folder / "hidden.safetensors"
                self.assert_succeeds(self.eval_ids(source, inputs, "--save-logits", logits, "--save-hidden", hidden))
                self.assert_close(read_safetensors(logits)["logits"], golden["logits"])
                if name != "t5":  # transformers scales T5's before the head, here the logits are
                    self.assert_close(read_safetensors(hidden)["last_hidden_state"], golden["last_hidden_state"])

    def test_padded_rows_give_what_transformers_gives(self):
        for name in ("bert", "modernbert", "deberta_v2_conv", "t5"):
            with self.subTest(name):
                source, golden = make_model(self.folder / name, name), read_safetensors(MODELS / name / "io.safetensors")
                inputs = {key: golden["padded." + key] for key in ("input_ids", "attention_mask")}
                inputs.update({key: golden[key] for key in ("token_type_ids", "decoder_input_ids") if key in golden})
                out = self.folder / "logits.safetensors"
                self.assert_succeeds(self.eval_ids(source, inputs, "--save-logits", out))
                mask = struct.unpack(f"<{len(inputs['attention_mask'][2]) // 8}q", inputs["attention_mask"][2])
                self.assertIn(0, mask)
                counted = None if name == "t5" else lambda i: mask[i // 128] == 1
                self.assert_close(read_safetensors(out)["logits"], golden["padded.logits"], counted)

    def test_masked_rows_and_inputs_that_do_not_fit_are_refused(self):
        source, out = make_model(self.folder / "bert", "bert"), self.folder / "out.safetensors"
        ids = ("I64", [1, 3], struct.pack("<3q", 5, 6, 7))
        for tensors, reason in (({"input_ids": ids, "attention_mask": ("I64", [1, 3], struct.pack("<3q", 1, 0, 1))}, "masked tokens between others"),
                                ({"input_ids": ids, "attention_mask": ("I64", [1, 3], bytes(24))}, "all padding"),
                                ({"input_ids": ids, "attention_mask": ("I64", [1, 2], bytes(16))}, "not of the shape of input_ids"),
                                ({"input_ids": ids, "token_type_ids": ("I64", [1, 3], struct.pack("<3q", 0, 1, 2))}, "token type is outside"),
                                ({"input_ids": ids, "decoder_input_ids": ids}, "model without a decoder")):
            self.assertIn(reason, self.eval_ids(source, tensors, "--save-logits", out).stderr)
        t5 = make_model(self.folder / "t5", "t5")
        self.assertIn("decoder_input_ids are missing", self.eval_ids(t5, {"input_ids": ids}, "--save-logits", out).stderr)
        llama = make_model(self.folder / "llama")
        self.assertIn("not padded", self.eval_ids(llama, {"input_ids": ids, "attention_mask": ids}, "--save-logits", out).stderr)
        self.assertFalse(out.exists())

    def masked_perplexity(self, model, *arguments):
        result = self.assert_succeeds(run("eval", model, "-d", self.text, "--window", 32, "--max-windows", 8, "--json", *arguments))
        return json.loads(result.stdout)

    def test_masked_tokens_have_a_perplexity_that_is_the_same_each_time(self):
        source = make_encoder(self.folder / "bert")
        first, second = self.masked_perplexity(source), self.masked_perplexity(source)
        self.assertEqual(first["predicts"], "masked tokens")
        self.assertEqual(first["tokens"], 8 * 5)  # 15 % of 30, rounded
        self.assertEqual(first["perplexity"], second["perplexity"])
        same = self.masked_perplexity(source, "--baseline", source)
        self.assertEqual((same["kl_mean"], same["same_top1"]), (0, 1))
        edit_json(source / "tokenizer_config.json", mask_token=None)
        (source / "tokenizer.json").write_text((source / "tokenizer.json").read_text().replace("[MASK]", "<pad>"))
        self.assertIn("needs its mask token", run("eval", source, "-d", self.text, "--window", 32).stderr)

    def test_compressed_encoders_keep_their_heads_and_are_checked(self):
        source = make_encoder(self.folder / "bert")
        for scheme in ("W4A16", "W8A8"):
            with self.subTest(scheme):
                group = ("--group-size", 16) if scheme == "W4A16" else ()
                self.assert_succeeds(self.compress(source, "-d", self.text, "--num-calibration-samples", 8, "--max-seq-length", 32, "--scheme", scheme, *group,
                                                   "--overwrite"))
                config = read_json(self.out / "config.json")["quantization_config"]
                self.assertIn("cls.predictions.transform.dense", config["ignore"])
                before, after = read_checkpoint(source), read_checkpoint(self.out)
                for name in ("bert.embeddings.word_embeddings.weight", "cls.predictions.bias", "cls.predictions.transform.dense.weight"):
                    self.assertEqual(before[name], after[name])
                self.assertIn("source_perplexity", read_json(self.out / "swage_report.json")["check"])
                self.assertLess(self.masked_perplexity(self.out, "--baseline", source)["kl_mean"], 0.5)  # random weights: far from uniform would be more

    def test_a_body_alone_is_compressed_and_runs_but_predicts_nothing(self):
        source, hidden = make_body(self.folder / "body"), self.folder / "hidden.safetensors"
        result = self.assert_succeeds(self.compress(source, *self.calibrated("--scheme", "W4A16")))
        self.assertNotIn("not used", result.stderr)  # neither pooler nor position ids
        self.assertEqual(read_json(self.out / "config.json")["quantization_config"]["ignore"], ["pooler.dense"])
        self.assertEqual(read_checkpoint(self.out)["pooler.dense.weight"], read_checkpoint(source)["pooler.dense.weight"])
        golden = read_safetensors(MODELS / "bert" / "io.safetensors")
        inputs = {key: golden[key] for key in ("input_ids", "token_type_ids")}
        self.assert_succeeds(self.eval_ids(source, inputs, "--save-hidden", hidden))
        self.assert_close(read_safetensors(hidden)["last_hidden_state"], golden["last_hidden_state"])
        self.assert_succeeds(self.eval_ids(self.out, inputs, "--save-hidden", hidden))
        self.assertIn("has no head", self.eval_ids(source, inputs, "--save-logits", hidden).stderr)
        self.assertIn("encoder without a head", run("eval", source, "-d", self.text, "--window", 32).stderr)

    def test_encoder_decoders_are_compressed_without_data(self):
        source, golden, out = make_model(self.folder / "t5", "t5"), read_safetensors(MODELS / "t5" / "io.safetensors"), self.folder / "logits.safetensors"
        self.assert_succeeds(self.compress(source, "--method", "rtn", "--scheme", "W8A16", "--group-size", 16))
        self.assert_succeeds(self.eval_ids(self.out, {key: golden[key] for key in ("input_ids", "decoder_input_ids")}, "--save-logits", out))
        pairs = list(zip(floats(read_safetensors(out)["logits"]), floats(golden["logits"])))
        most = max(abs(b) for _, b in pairs)
        self.assertLess(max(abs(a - b) for a, b in pairs), 0.1 * most)  # 8 bits a weight: steps of 2^-8, through five layers
        self.assertGreater(max(abs(a - b) for a, b in pairs), 1e-4 * most)  # and they are steps

    def test_what_encoders_do_not_do_is_refused_by_name(self):
        source, t5 = make_encoder(self.folder / "bert"), make_model(self.folder / "t5", "t5")
        self.assertIn("the model is an encoder,", run("generate", source, "-p", "the river").stderr)
        self.assertIn("the model is an encoder-decoder,", run("generate", t5, "-p", "the river").stderr)
        recipe = self.folder / "recipe.yaml"
        recipe.write_text("quant_stage:\n  quant_modifiers:\n    QuantizationModifier:\n      scheme: FP8_DYNAMIC\n      kv_cache_scheme: "
                          "{num_bits: 8, type: float, strategy: tensor, symmetric: true}\n")
        self.assert_refused(self.compress(source, "--recipe", recipe, "-d", self.text, "--num-calibration-samples", 8, "--max-seq-length", 32), 2, "kept in no cache")
        self.assert_refused(self.compress(t5, *self.calibrated()), 2, "encoder-decoder")

    def test_programs_and_estimates(self):
        bert, t5 = make_encoder(self.folder / "bert"), make_model(self.folder / "t5", "t5")
        text = self.assert_succeeds(run("inspect", bert, "--program")).stdout
        for line in ("attention both ways(", "stream += token types   bert.embeddings.token_type_embeddings", "before the head:", "tied   cls.predictions.decoder"):
            self.assertIn(line, text)
        self.assertIn("the source's rows", self.assert_succeeds(run("inspect", t5, "--program")).stdout)
        for source in (bert, t5):
            found = json.loads(self.assert_succeeds(run("estimate", source, "--method", "rtn", "--scheme", "W8A16", "--group-size", 16, "--json")).stdout)
            parameters = sum(len(data) // {"F32": 4, "BF16": 2}[dtype] for dtype, _, data in read_checkpoint(source).values())
            self.assertEqual(found["parameters"], parameters)


class Rows(EndToEnd):
    def test_they_are_as_long_as_the_model_takes(self):
        source = make_encoder(self.folder / "model")
        result = self.assert_succeeds(run("estimate", source, "--group-size", 32, "--json"))
        self.assertEqual(json.loads(result.stdout)["plan"]["tokens_per_row"], 64)
        self.assertIn("rows of 64 tokens: the model takes no more", result.stderr)
        self.assert_refused(run("estimate", source, "--group-size", 32, "--max-seq-length", 65), 2, "max-seq-length 65: the model takes 64 tokens")
        self.assert_succeeds(self.compress(source, "--group-size", 32, "-d", self.text, "--num-calibration-samples", 2))


if __name__ == "__main__":
    unittest.main()
