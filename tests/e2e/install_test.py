"""make install: what is installed runs from another place, without the build and without the clone's libraries."""
import os
import pathlib
import shutil
import subprocess
import unittest

from support import PROGRAM, ROOT, EndToEnd

BUILD = pathlib.Path(PROGRAM).resolve().parent


class Install(EndToEnd):
    def test_an_installed_program_runs_anywhere(self):
        staged, moved = self.folder / "stage", self.folder / "elsewhere"
        subprocess.run(["cmake", "--install", BUILD, "--prefix", "/opt/swage"], check=True, capture_output=True, env={**os.environ, "DESTDIR": str(staged)})
        shutil.move(staged / "opt" / "swage", moved)
        program = moved / "bin" / "swage"
        bare = {"PATH": "/usr/bin:/bin", "HF_HUB_CACHE": "/nonexistent"}  # no LD_LIBRARY_PATH
        about = subprocess.run([program, "version", "-v"], capture_output=True, text=True, env=bare)
        self.assertEqual(about.returncode, 0, about.stderr)
        self.assertIn("libtorch", about.stdout)
        loaded = subprocess.run([program, "eval", self.model(), "-d", self.text, "--window", "32", "--max-windows", "1", "--threads", "1"], capture_output=True, text=True, env=bare)
        self.assertEqual(loaded.returncode, 0, loaded.stderr)
        self.assertIn("perplexity", loaded.stdout)
        needed = subprocess.run(["ldd", moved / "lib" / "swage" / "libswage.so"], capture_output=True, text=True, check=True, env=bare).stdout
        self.assertNotIn("not found", needed)
        self.assertNotIn(str(ROOT), needed)
        self.assertTrue((moved / "share/man/man1/swage.1").read_text().startswith(".TH SWAGE 1"))
        for file in ("share/bash-completion/completions/swage", "share/zsh/site-functions/_swage", "share/fish/vendor_completions.d/swage.fish"):
            self.assertIn("compress", (moved / file).read_text())
        self.assertEqual({p.name for p in (moved / "share/swage/recipes").iterdir()}, {p.name for p in (ROOT / "recipes").glob("*.yaml")})
        self.uses_the_headers(moved, bare)

    def uses_the_headers(self, installed, env):
        source, binary = self.folder / "uses.cpp", self.folder / "uses"
        source.write_text('#include "swage/swage.h"\n#include <cstdio>\nint main() { std::puts(swage::about().get_string("libtorch", "").c_str()); }\n')
        library = installed / "lib" / "swage"
        subprocess.run(["g++", "-std=c++20", "-O0", f"-I{installed / 'include'}", source, "-o", binary, f"-L{library}", "-lswage", f"-Wl,-rpath,{library}", "-Wl,--disable-new-dtags"],
                       check=True, timeout=120)
        self.assertRegex(subprocess.run([binary], capture_output=True, text=True, check=True, env=env).stdout, r"^\d+\.\d+")


if __name__ == "__main__":
    unittest.main()
