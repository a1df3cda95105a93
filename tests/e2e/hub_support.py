"""What the tests of the hub share: the program, pointed at a hub on this machine, with a cache of its own."""
import json
import subprocess

from hub_server import HubServer
from support import PROGRAM, EndToEnd, environment, make_model

TOKEN = "hf_goodtoken"


class Hub(EndToEnd):
    TIMEOUT = 100  # seconds that a command may take

    def setUp(self):
        super().setUp()
        self.hub = HubServer()
        self.addCleanup(self.hub.close)
        self.cache = self.folder / "cache"
        self.source = make_model(self.folder / "source")
        (self.source / "README.md").write_text("---\nlicense: mit\n---\nA card.\n")

    def publish(self, name="org/model", **how):
        return self.hub.add_folder(name, self.source, **how)

    def environment(self, **variables):
        env = {**environment(), "HF_ENDPOINT": self.hub.endpoint, "HF_HUB_CACHE": str(self.cache), "HF_TOKEN": "", **variables}
        return {key: value for key, value in env.items() if value is not None}

    def swage(self, *arguments, **variables):
        return subprocess.run([PROGRAM, *map(str, arguments)], capture_output=True, text=True, env=self.environment(**variables), timeout=self.TIMEOUT)

    def fetch(self, name="org/model", **variables):
        """compress fetches everything."""
        return self.swage("compress", name, "-o", self.out, "--method", "rtn", "--scheme", "W8A16", "--group-size", 16, "--overwrite", "--threads", 1, **variables)

    def repository(self, name="org/model"):
        return self.cache / ("models--" + name.replace("/", "--"))

    def snapshot(self, commit, name="org/model"):
        return self.repository(name) / "snapshots" / commit

    def blobs(self):
        return {path.name for path in (self.repository() / "blobs").iterdir()}
