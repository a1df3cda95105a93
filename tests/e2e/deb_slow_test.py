"""The .deb: made by cpack, installed by dpkg, run in a root of its own where neither clone nor build are, served from. Needs root (a namespace, overlayfs or a copy)."""
import pathlib
import shutil
import subprocess
import unittest

from support import PROGRAM, ROOT, EndToEnd

BUILD = pathlib.Path(PROGRAM).resolve().parent
# In a namespace of its own: this system below, what dpkg writes above; clone and build are hidden.
INSIDE = """set -e
mkdir -p up work root
mount -t tmpfs tmpfs up 2>/dev/null || true
mkdir -p up/upper up/work
mount -t overlay overlay -o lowerdir=/,upperdir=up/upper,workdir=up/work root
mount -t tmpfs tmpfs root{hidden}
mount --rbind /dev root/dev
mount -t proc proc root/proc
mkdir -p root/model
cp -r model/. root/model
cp swage.deb root/swage.deb
exec chroot root /bin/sh -ec '
  dpkg -i --force-depends /swage.deb >/dev/null
  dpkg -s swage | grep -q "^Status: install ok installed"
  cd /
  test ! -e {clone}/CMakeLists.txt
  swage version
  swage generate /model -p "the river" --max-new-tokens 4 --threads 1
  swage serve /model --unix-socket /swage.sock --threads 1 2>/serve.log &
  server=$!
  for i in $(seq 300); do grep -q "^ready" /serve.log && break; sleep 0.1; done
  curl -sf --unix-socket /swage.sock http://a/v1/completions -d "{{\\"prompt\\": \\"the river\\", \\"max_tokens\\": 4}}"
  kill $server
  wait $server
  test -e /usr/lib/systemd/system/swage.service || test -e /lib/systemd/system/swage.service
  dpkg -r swage >/dev/null
  test ! -e /usr/bin/swage
  echo; echo finished'
"""


class Deb(EndToEnd):
    def test_an_installed_package_runs_and_serves(self):
        made = self.folder / "package"
        done = subprocess.run(["cpack", "-G", "DEB", "-B", made], cwd=BUILD, capture_output=True, text=True, timeout=900)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        package, = made.glob("swage_*_amd64.deb")
        shutil.move(package, self.folder / "swage.deb")
        shutil.rmtree(made)
        shutil.copytree(self.model(), self.folder / "model")
        content = subprocess.run(["dpkg", "-c", self.folder / "swage.deb"], capture_output=True, text=True, check=True).stdout
        for file in ("./usr/bin/swage", "./usr/lib/swage/libswage.so", "./usr/lib/systemd/system/swage.service", "./usr/share/man/man1/swage.1"):
            self.assertIn(file, content)
        self.assertNotIn(str(ROOT), content)
        script = INSIDE.format(hidden=ROOT, clone=ROOT)
        if subprocess.run(["unshare", "-m", "sh", "-c", "mkdir -p a/u a/w b && mount -t tmpfs tmpfs a && mkdir a/u a/w && mount -t overlay o -o lowerdir=/,upperdir=a/u,workdir=a/w b"],
                          cwd=self.folder, capture_output=True).returncode != 0:
            self.skipTest("no namespace with overlayfs here")
        done = subprocess.run(["unshare", "-m", "sh", "-c", script], cwd=self.folder, capture_output=True, text=True, timeout=600,
                              env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/", "LC_ALL": "C.UTF-8"})
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertTrue(done.stdout.endswith("finished\n"), done.stdout)
        self.assertIn('"object":"text_completion"', done.stdout)


if __name__ == "__main__":
    unittest.main()
