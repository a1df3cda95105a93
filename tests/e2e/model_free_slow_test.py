"""Model-free runs on tensors larger than the memory they may take, and killed in the middle. Slow: they write up to 700 MB."""
import json
import signal
import struct
import subprocess
import unittest

from support import PROGRAM, EndToEnd, environment, read_json, write_json

MEBIBYTE = 1 << 20


def make_large(folder):
    """1.3 GB of zeros in two tensors, one of them 3-D; a hole in the file where the file system can."""
    shapes = {"block.0.wide.weight": [150000, 2048], "block.0.experts.gate_up_proj": [64, 2 * 768, 2048], "block.0.experts.down_proj": [64, 2048, 768],
              "block.0.huge_rows.weight": [64, 1 << 20]}
    header, offset = {}, 0
    for name, shape in shapes.items():
        size = 2
        for dim in shape:
            size *= dim
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    folder.mkdir()
    with open(folder / "model.safetensors", "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + offset)
    write_json(folder / "config.json", {"model_type": "gizmo"})
    return folder


class Memory(EndToEnd):
    def test_stays_under_500_megabytes(self):
        model = make_large(self.folder / "large")
        for scheme in ("FP8_DYNAMIC", "W4A16_ASYM"):
            with self.subTest(scheme=scheme):
                self.assert_succeeds(self.compress(model, "--method", "rtn", "--scheme", scheme, "--overwrite", threads=2))
                report = read_json(self.out / "swage_report.json")
                self.assertLess(report["peak_rss_bytes"], 500e6)
                self.assertLess(report["peak_rss_bytes"], report["plan"]["peak_bytes"] + 64 * MEBIBYTE)
                self.assertEqual(len(report["modules"]), 2 + 3 * 64)


class Killed(EndToEnd):
    def test_kill_leaves_no_output_and_the_next_run_goes_on(self):
        model = make_large(self.folder / "large")
        arguments = ("--method", "rtn", "--scheme", "W4A16", "--model-free")
        command = [PROGRAM, "compress", str(model), "-o", str(self.out), *arguments, "--threads", "1"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment())
        for said in process.stderr:
            if said.startswith("writing "):
                break
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=60)
        self.assertEqual(process.returncode, -signal.SIGKILL)
        self.assertFalse(self.out.exists())
        self.assert_succeeds(self.compress(model, *arguments, threads=2))
        self.assertEqual([p.name for p in self.folder.iterdir() if p.name.startswith(".out")], [])


if __name__ == "__main__":
    unittest.main()
