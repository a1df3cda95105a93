"""What the package's tests share: the package of this tree, and the end-to-end tests' models, texts and program."""
import hashlib
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "python"), str(ROOT / "tests" / "e2e")]

import support  # noqa: E402


def weights(folder):
    """Digests of all weight files of a checkpoint, by name."""
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(pathlib.Path(folder).glob("*.safetensors"))}


def has(*packages):
    """Whether all of these can be imported; does not import them."""
    import importlib.util
    return all(importlib.util.find_spec(package) is not None for package in packages)


class PackageTest(support.EndToEnd):
    """With a folder of its own, a tiny model and a text."""

    ROWS = {"num_calibration_samples": 8, "max_seq_length": 32}

    def by_program(self, model, *arguments):
        """Folder that the program made with the same rows."""
        out = self.folder / "by_program"
        result = support.run("compress", model, "-o", out, "-d", self.text, "--num-calibration-samples", 8, "--max-seq-length", 32, *arguments)
        self.assert_succeeds(result)
        return out
