"""The file against the config: tensors that contradict it are used or named, never passed over."""
import json
import random
import shutil
import unittest

from support import EndToEnd, bf16, edit_json, make_llama, read_checkpoint, read_json, read_safetensors, run, split_checkpoint, write_safetensors

RTN = ("--method", "rtn", "--group-size", 16)
HEAD, TABLE = "lm_head.weight", "model.embed_tokens.weight"


class FileAgainstConfig(EndToEnd):
    def setUp(self):
        super().setUp()
        self.untied = make_llama(self.folder / "untied")
        self.tied = make_llama(self.folder / "m")
        edit_json(self.tied / "config.json", tie_word_embeddings=True)

    def perplexity(self, model):
        result = self.assert_succeeds(run("eval", model, "-d", self.text, "--window", 32, "--json"))
        return json.loads(result.stdout)["perplexity"], result.stderr

    def generated(self, model):
        return self.assert_succeeds(run("generate", model, "-p", "the river", "--max-new-tokens", 8)).stdout

    def test_a_head_of_its_own_is_used(self):
        """Every command computes what the untied model does, and the output says what it is."""
        wanted, said = self.perplexity(self.untied)
        self.assertNotIn("warning", said)
        found, said = self.perplexity(self.tied)
        self.assertEqual(found, wanted)
        self.assertRegex(said, r"warning: .*tie_word_embeddings.*lm_head\.weight.*model\.embed_tokens\.weight")
        self.assertEqual(self.generated(self.tied), self.generated(self.untied))
        for way in (RTN, self.calibrated(), (*RTN, "--model-free")):
            result = self.assert_succeeds(self.compress(self.tied, *way, "--overwrite"))
            self.assertRegex(result.stderr, r"warning: .*tie_word_embeddings.*lm_head\.weight")
            self.assertRegex(" ".join(read_json(self.out / "swage_report.json")["warnings"]), "lm_head.weight")
            self.assertFalse(read_json(self.out / "config.json")["tie_word_embeddings"])
            self.assert_succeeds(self.compress(self.untied, *way, out=self.folder / "wanted"))
            self.assertEqual(read_checkpoint(self.out), read_checkpoint(self.folder / "wanted"))
            shutil.rmtree(self.folder / "wanted")
        self.assert_succeeds(run("convert", self.out, self.folder / "dense", "--to", "dense"))
        self.assertFalse(read_json(self.folder / "dense" / "config.json")["tie_word_embeddings"])

    def test_a_head_that_repeats_the_embedding_is_one_table(self):
        path = self.tied / "model.safetensors"
        tensors = read_safetensors(path)
        write_safetensors(path, {**tensors, HEAD: tensors[TABLE]})
        once = make_llama(self.folder / "once", tied=True)
        del tensors[HEAD]
        write_safetensors(once / "model.safetensors", tensors)
        found, said = self.perplexity(self.tied)
        self.assertEqual(found, self.perplexity(once)[0])
        self.assertNotIn("warning", said)
        for way in (RTN, (*RTN, "--model-free")):
            for model, out in ((self.tied, self.out), (once, self.folder / "wanted")):
                self.assert_succeeds(self.compress(model, *way, "--overwrite", out=out))
                self.assertTrue(read_json(out / "config.json")["tie_word_embeddings"])
            self.assertNotIn(HEAD, read_checkpoint(self.out))
            self.assertEqual(read_checkpoint(self.out), read_checkpoint(self.folder / "wanted"))

    def test_an_index_beside_a_single_file_is_named(self):
        whole = (self.untied / "model.safetensors").read_bytes()
        wanted, _ = self.perplexity(self.untied)
        split_checkpoint(self.untied)
        shards = {path.name: read_safetensors(path) for path in self.untied.glob("*.safetensors")}
        for name, tensors in shards.items():  # other weights: the index's model is another one
            draw = random.Random(1)
            write_safetensors(self.untied / name, {key: bf16(draw, *shape) if len(shape) == 2 else (dtype, shape, data) for key, (dtype, shape, data) in tensors.items()})
        (self.untied / "model.safetensors").write_bytes(whole)
        found, said = self.perplexity(self.untied)
        self.assertEqual(found, wanted)
        self.assertRegex(said, r"warning: model\.safetensors is read, and model\.safetensors\.index\.json beside it, which names other files")

    def test_weights_that_nothing_names_are_named(self):
        for split in (False, True):
            source = make_llama(self.folder / f"m{split}")
            if split:
                split_checkpoint(source)
            write_safetensors(source / "extra.safetensors", {"x": ("F32", [1], bytes(4))})
            words = "extra.safetensors.* lies beside the weights and is not read: model.safetensors" + (".index.json" if split else "") + " is all of the model"
            out, back = self.folder / f"out{split}", self.folder / f"back{split}"
            result = self.assert_succeeds(self.compress(source, "--method", "rtn", "--group-size", 16, out=out))
            self.assertRegex(result.stderr, "warning: .*" + words)
            self.assertFalse((out / "extra.safetensors").exists())
            result = self.assert_succeeds(run("inspect", source))
            self.assertRegex(result.stderr, words)
            self.assertRegex(json.loads(run("inspect", source, "--json").stdout)["warnings"][0], words)
            write_safetensors(out / "extra.safetensors", {"x": ("F32", [1], bytes(4))})
            self.assertRegex(self.assert_succeeds(run("convert", out, back, "--to", "dense")).stderr, "extra.safetensors.* is not read")

    def test_tensors_that_nobody_reads_are_named(self):
        path = self.untied / "model.safetensors"
        wanted, _ = self.perplexity(self.untied)
        draw = random.Random(2)
        more = {"model.layers.2.mlp.up_proj.weight": bf16(draw, 16, 16), "adapter.weight": bf16(draw, 16, 16),
                "model.layers.0.self_attn.rotary_emb.inv_freq": ("F32", [4], bytes(16))}
        write_safetensors(path, {**read_safetensors(path), **more})
        found, said = self.perplexity(self.untied)
        self.assertEqual(found, wanted)
        self.assertRegex(said, r"warning: 2 tensors of the file belong to no module .*: adapter\.weight, model\.layers\.2\.mlp\.up_proj\.weight")
        self.assertRegex(self.assert_succeeds(self.compress(self.untied, *RTN)).stderr, "warning: 2 tensors of the file belong to no module")


if __name__ == "__main__":
    unittest.main()
