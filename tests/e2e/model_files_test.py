"""One door for every file of a model: only regular files are read, none without bound, and no link brings a stranger's file into the output."""
import array
import json
import os
import pathlib
import random
import resource
import shutil
import struct
import subprocess
import time
import unittest

from support import PROGRAM, EndToEnd, environment, make_llama, read_checkpoint, read_safetensors, run, write_safetensors

RTN = ("--method", "rtn", "--group-size", 16)


class ModelFiles(EndToEnd):
    def setUp(self):
        super().setUp()
        self.source = make_llama(self.folder / "m")

    def polite(self, *arguments, seconds=20, mib=1024):
        """The program with bounded memory: ends in time, by itself, with one short line if it fails. (exit code, stderr)"""
        limit = lambda: resource.setrlimit(resource.RLIMIT_AS, (12 << 30,) * 2)
        if arguments[0] != "inspect":
            arguments += ("--threads", 1) if arguments[0] in ("compress", "eval", "generate") else ()
        start = time.monotonic()
        process = subprocess.Popen([PROGRAM, *map(str, arguments)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, env=environment(), preexec_fn=limit)
        try:
            err = process.communicate(timeout=seconds)[1].decode(errors="replace")
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            self.fail(f"{arguments}: waits for ever")
        self.assertGreaterEqual(process.returncode, 0, f"{arguments}: {err}")
        self.assertLess(time.monotonic() - start, seconds)
        if process.returncode:
            lines = [line for line in err.splitlines() if "error:" in line]
            self.assertEqual(len(lines), 1, err)
            self.assertLess(len(lines[0]), 2500)
        self.assertNotIn("\x1b", err)
        return process.returncode, err

    def commands(self, number):
        return (("inspect", self.source), ("eval", self.source, "-d", self.text, "--window", 32), ("compress", self.source, "-o", self.folder / f"out{number}", *RTN))

    @staticmethod
    def make_kinds(outside):
        """What may stand in a file's place, by name."""
        def huge(path):
            with open(path, "wb") as file:
                file.truncate(1 << 40)
        return {"pipe": os.mkfifo, "device": lambda path: path.symlink_to("/dev/zero"), "folder": lambda path: path.mkdir(), "dangling": lambda path: path.symlink_to("nowhere"),
                "loop": lambda path: path.symlink_to(path.name), "huge": huge}

    def test_files_that_are_read(self):
        number = 0
        for name in ("config.json", "quantize_config.json", "tokenizer.json", "tokenizer_config.json", "generation_config.json", "chat_template.jinja",
                     "model.safetensors.index.json", "model.safetensors"):
            for kind, make in self.make_kinds(self.folder).items():
                path = self.source / name
                kept = path.read_bytes() if path.exists() else None
                if kept is not None:
                    path.unlink()
                make(path)
                for command in self.commands(number)[:1 if name.startswith("model") else 3]:
                    with self.subTest(name=name, kind=kind, command=command[0]):
                        code, err = self.polite(*command)
                        if code:
                            self.assertIn(name, err)
                number += 1
                path.rmdir() if kind == "folder" else path.unlink()
                if kept is not None:
                    path.write_bytes(kept)

    def test_files_that_are_only_copied(self):
        for kind, make in self.make_kinds(self.folder).items():
            make(self.source / f"NOTES-{kind}.txt")
        code, err = self.polite("compress", self.source, "-o", self.out, *RTN)
        self.assertEqual(code, 0, err)
        for kind in ("pipe", "device", "dangling", "loop", "huge"):
            self.assertRegex(err, rf"warning: NOTES-{kind}\.txt is left out of the output")
        self.assertEqual([path.name for path in self.out.iterdir() if path.name.startswith("NOTES")], [])

    def test_recipes_and_data(self):
        pipe = self.folder / "pipe.jsonl"
        os.mkfifo(pipe)
        os.mkfifo(self.folder / "pipe.parquet")
        (self.folder / "zero.parquet").symlink_to("/dev/zero")
        compress = ("compress", self.source, "-o", self.out, "--max-seq-length", 64)
        for more in (("--recipe", "/dev/zero"), ("--recipe", pipe), ("--recipe", self.folder), ("-d", pipe), ("-d", "/dev/zero"), ("-d", self.folder / "pipe.parquet"),
                     ("-d", self.folder / "zero.parquet")):
            with self.subTest(more=more):
                code, err = self.polite(*compress, *more)
                self.assertIn(code, (1, 2), err)
                self.assertIn(str(more[1]), err)

    def test_links_out_of_the_folder(self):
        secret = self.folder / "private" / "key.txt"
        secret.parent.mkdir()
        secret.write_text("SECRET")
        (self.folder / "private" / "docker.json").write_text(json.dumps({"auths": "SECRET", "model_type": "x"}))
        (self.source / "NOTES.md").symlink_to(secret)
        (self.source / "chat_template.jinja").symlink_to("../private/key.txt")
        (self.source / "door").symlink_to("../private")
        (self.source / "vocab.txt").symlink_to("door/key.txt")
        (self.source / "inner.txt").symlink_to("LICENSE")
        for way in ((), ("--model-free",)):
            result = self.assert_succeeds(self.compress(self.source, *RTN, *way, "--overwrite"))
            self.assertEqual([path.name for path in self.out.iterdir() if b"SECRET" in path.read_bytes()], [])
            for name in ("NOTES.md", "chat_template.jinja", "vocab.txt"):
                self.assertRegex(result.stderr, rf"warning: {name} is left out of the output: it is a link")
            self.assertEqual((self.out / "inner.txt").read_text(), "A licence.\n")
        dense = self.folder / "dense"
        self.out.joinpath("more.txt").symlink_to(secret)
        self.assertRegex(self.assert_succeeds(run("convert", self.out, dense, "--to", "dense")).stderr, "warning: more.txt is left out")
        self.assertEqual([path.name for path in dense.iterdir() if b"SECRET" in path.read_bytes()], [])
        shutil.rmtree(self.out)
        (self.source / "config.json").unlink()
        (self.source / "config.json").symlink_to("../private/docker.json")
        self.assert_refused(self.compress(self.source, *RTN, "--model-free"), 1, r"config\.json: is a link to a file that is no part of the model's folder")

    def test_links_of_the_hubs_cache(self):
        blobs = self.folder / "models--a--b" / "blobs"
        snapshot = self.folder / "models--a--b" / "snapshots" / "1"
        blobs.mkdir(parents=True)
        snapshot.mkdir(parents=True)
        for number, path in enumerate(sorted(self.source.iterdir())):
            shutil.copy(path, blobs / str(number))
            (snapshot / path.name).symlink_to(f"../../blobs/{number}")
        self.assertNotIn("left out", self.assert_succeeds(self.compress(snapshot, *RTN)).stderr)
        self.assertEqual((self.out / "tokenizer.json").read_bytes(), (self.source / "tokenizer.json").read_bytes())

    def test_a_stray_file_costs_nothing(self):
        """Its header claims nearly all of it, and nobody asked for it."""
        with open(self.source / "stray.safetensors", "wb") as file:
            file.write(struct.pack("<Q", (64 << 30) - 8))
            file.truncate(64 << 30)
        os.mkfifo(self.source / "other.safetensors")
        code, err = self.polite("compress", self.source, "-o", self.out, *RTN)
        self.assertEqual(code, 0, err)

    def test_names_cannot_steer_the_terminal(self):
        evil = "model.\x1b[2J\x1b]0;owned\x07\u202e.weight"
        tensors = read_safetensors(self.source / "model.safetensors")
        write_safetensors(self.source / "model.safetensors", {**tensors, evil: ("BF16", [16, 16], bytes(512))})
        for command in (("inspect", self.source), ("compress", self.source, "-o", self.out, *RTN, "--model-free"), ("eval", self.source, "-d", self.text, "--window", 32)):
            result = self.assert_succeeds(run(*command))
            for stream in (result.stdout, result.stderr):
                self.assertEqual([c for c in "\x1b\x07\u202e" if c in stream], [], command)
        (self.source / "config.json").write_text('{"model_type": "\\u001b[31m' + "x" * 1_700_000 + '"}')
        code, err = self.polite("compress", self.source, "-o", self.folder / "out2", *RTN, "-d", self.text)
        self.assertEqual(code, 2, err)
        self.assertRegex(err, 'model_type ".{,130}" is not supported. If the model is built like llama')

    def test_time_grows_with_the_size_and_no_faster(self):
        """Each took minutes once, by its square."""
        recipe, config = self.folder / "recipe.yaml", self.source / "config.json"
        group = "q_stage:\n  q_modifiers:\n    QuantizationModifier:\n      targets: [Linear]\n      scheme: W4A16\n      group_size: 16\n      ignore: ["
        patterns = [f"re:(lm_head|model[.]layers[.]{number % 2}[.]mlp[.].*|nothing{number})$" for number in range(1000)]
        recipe.write_text(group + ", ".join(f'"{pattern}"' for pattern in [*patterns, "re:lm_head"]) + "]\n")
        code, err = self.polite("compress", self.source, "-o", self.out, "--recipe", recipe, "--no-check")
        self.assertEqual(code, 0, err)
        recipe.write_text("".join(f"key{number}: {number}\n" for number in range(200_000)))
        code, err = self.polite("compress", self.source, "-o", self.out, "--overwrite", "--recipe", recipe)
        self.assertEqual(code, 2, err)
        fields = "q_stage:\n  q_modifiers:\n    QuantizationModifier:\n      scheme: W4A16\n"  # keys of a modifier are looked at one by one
        recipe.write_text(fields + "".join(f"      key{number}: {number}\n" for number in range(200_000)))
        code, err = self.polite("compress", self.source, "-o", self.out, "--overwrite", "--recipe", recipe)
        self.assertEqual(code, 2, err)
        self.assertIn('unknown field "key0"', err)
        value = json.loads(config.read_text())
        value.update({f"k{number}": number for number in range(300_000)})
        config.write_text(json.dumps(value))
        code, err = self.polite("compress", self.source, "-o", self.out, "--overwrite", *RTN)
        self.assertEqual(code, 0, err)
        self.assertEqual(json.loads((self.out / "config.json").read_text())["k299999"], 299_999)

    def test_many_tokens_and_many_tensors(self):
        config, weights = self.source / "tokenizer_config.json", self.source / "model.safetensors"
        tokens = {str(1000 + number): {"content": f"<y{number}>", "special": True} for number in range(50_000)}
        config.write_text(json.dumps({"added_tokens_decoder": tokens}))
        code, err = self.polite("compress", self.source, "-o", self.out, "--method", "rtn", "--group-size", 16, "-d", self.text, "--num-calibration-samples", 1, "--max-seq-length", 16)
        self.assertEqual(code, 0, err)
        config.write_text(json.dumps({f"k{number}_token": f"<z{number}>" for number in range(50_000)}))
        code, err = self.polite("generate", self.source, "-p", "x", "--max-new-tokens", 1)
        self.assertEqual(code, 1, err)
        self.assertRegex(err, r"tokenizer_config\.json: more than 4096 special tokens with names")
        tensors = read_safetensors(weights)
        write_safetensors(weights, {**tensors, **{f"junk.{number}.x": ("F32", [1], bytes(4)) for number in range(50_000)}})
        for command, seconds in (("inspect", 5), ("schemes", 60)):  # the latter opens the model for each preset
            code, err = self.polite(command, self.source, seconds=seconds)
            self.assertEqual(code, 0, err)

    def test_sources_of_doubles(self):
        draw = random.Random(3)
        path = self.source / "model.safetensors"
        values = array.array("d", [draw.gauss(0, 0.02) for _ in range(128 * 128)])
        singles = array.array("f", values)
        name = "model.layers.0.self_attn.q_proj.weight"
        tensors = read_safetensors(path)
        for way in (RTN, self.calibrated(), ("--method", "rtn", "--scheme", "FP8_DYNAMIC"), (*RTN, "--model-free"), ("--model-free", "--method", "rtn", "--scheme", "NVFP4A16")):
            written = []
            for dtype, data in (("F64", values), ("F32", singles)):
                write_safetensors(path, {**tensors, name: (dtype, [128, 128], data.tobytes())})
                self.assert_succeeds(self.compress(self.source, *way, "--overwrite"))
                written.append(read_checkpoint(self.out))
            differing = [tensor for tensor in sorted({*written[0], *written[1]}) if written[0].get(tensor) != written[1].get(tensor)]
            self.assertEqual(differing, [], way)


if __name__ == "__main__":
    unittest.main()
