"""Many kills at random instants, and a loss of power at every sync and rename. Slow."""
import random
import shutil
import signal
import unittest

from resume_support import Resumed, make_long

KILLS = 30  # tools/soak counts them in hundreds: docs/reliability.md


class Killed(Resumed):
    def test_at_random_instants(self):
        draw = random.Random(20)
        ways = ("gptq", "rtn", "smoothquant_gptq", "w8a8", "model_free")
        total = 0
        for way in ways:
            with self.subTest(way=way):
                done, resumed, finished = self.kill_at_random(way, draw, KILLS // len(ways), layers=24)
                self.assertGreater(resumed, 0)
                print(f"{way}: {done} kills, {resumed} runs went on with an earlier one, {finished} outputs", flush=True)
                total += done
        self.assertGreaterEqual(total, 25)


class PowerLost(Resumed):
    """What was written since a file's last sync is gone."""

    def lose_power_at_every(self, call, way):
        shutil.rmtree(self.folder / "llama32_tied", ignore_errors=True)
        model = make_long(self.model(), 3)
        arguments = self.arguments(way)
        wanted, _ = self.undisturbed(model, arguments)
        number = 0
        while True:
            number += 1
            code, err = self.with_faults(model, arguments, call, number, "crash", self.folder)
            if code == 0:
                self.remove_output()
                break
            self.assertEqual(code, -signal.SIGKILL, err)
            self.go_on(model, arguments, wanted)
            shutil.rmtree(self.out)
        print(f"{way}: {number - 1} times at a {call}", flush=True)
        return number - 1

    def test_at_every_sync(self):
        for way in ("gptq", "rtn", "smoothquant_gptq", "model_free"):
            with self.subTest(way=way):
                self.assertGreater(self.lose_power_at_every("sync", way), 6)

    def test_at_every_rename_and_write(self):
        for call in ("rename", "write"):
            with self.subTest(call=call):
                self.assertGreater(self.lose_power_at_every(call, "rtn"), 0)


if __name__ == "__main__":
    unittest.main()
