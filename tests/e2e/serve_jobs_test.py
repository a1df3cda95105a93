"""serve --jobs: compressions over HTTP, beside answers: their progress, their end, a restart, and what they may not touch."""
import json
import unittest

from serve_support import GREEDY, Serving


class Jobs(Serving):
    def with_jobs(self, *arguments):
        server = self.server("--jobs", self.folder / "jobs", "--job-models", self.models, "--job-data", self.folder, *arguments, SWAGE_ADMIN_KEY="boss")
        return server, {"Authorization": "Bearer boss"}

    def state_of(self, server, job, key):
        return server.get(f"/v1/compressions/{job}", **key).json["status"]

    def test_compressions_run_beside_answers(self):
        server, key = self.with_jobs()
        body = {"model": "tiny", "options": {"scheme": "W4A16", "method": "rtn", "group_size": 32, "threads": 1} | {"seed": 1}}
        self.refused("/v1/compressions", body, 401, "administrator", server=server)
        self.refused("/v1/compressions", body, 400, "threads", server=server, **key)
        del body["options"]["threads"]
        reply = server.post("/v1/compressions", body, **key)
        self.assertEqual(reply.status, 202, reply.body)
        job = reply.json["id"]
        self.assertEqual(server.post("/v1/completions", GREEDY).status, 200)
        events = server.get(f"/v1/compressions/{job}/events", **key).events
        self.assertEqual(events[-1]["status"], "succeeded", events)
        self.assertEqual(self.state_of(server, job, key), "succeeded")
        self.assertIn("modules", server.get(f"/v1/compressions/{job}/report", **key).json)
        self.assertTrue((self.folder / "jobs" / job / "output" / "model.safetensors").exists())
        self.assertEqual([one["id"] for one in server.get("/v1/compressions", **key).json["data"]], [job])
        uploaded = server.post("/v1/uploads", self.text.read_bytes(), **key).json["id"]
        for data in (uploaded, self.text.name):
            calibrated = {"model": "tiny", "data": data, "options": {"scheme": "W4A16", "group_size": 32, "num_calibration_samples": 4, "max_seq_length": 16}}
            job = server.post("/v1/compressions", calibrated, **key).json["id"]
            self.assertEqual(server.get(f"/v1/compressions/{job}/events", **key).events[-1]["status"], "succeeded")

    def test_compressions_leave_their_folders_alone(self):
        (self.folder / "out").symlink_to("/etc")
        (self.models / "link").symlink_to("/etc")
        self.addCleanup((self.models / "link").unlink)
        server, key = self.with_jobs()
        good = {"model": "tiny", "options": {"method": "rtn"}}
        for change in ({"model": "../tiny"}, {"model": "/etc"}, {"model": "link"}, {"model": ""}, {"model": "absent"}, {"data": "out/passwd"}, {"data": "/etc/passwd"},
                       {"data": "upload-x"}, {"data": "upload-../job.json"}, {"recipe": "../../etc/passwd"}, {"output": "/tmp/x"}, {"options": {"output": "/tmp/x"}},
                       {"options": {"log-file": "/tmp/x"}}, {"options": {"offload_folder": "/tmp"}}, {"options": {"scheme": {}}}, {"options": []}, {"model": 5}):
            self.assertEqual(server.post("/v1/compressions", good | change, **key).status, 400, change)
        for job in ("x", "..", "%2e%2e", "cmp_" + "0" * 24, "..%2f..%2fetc"):
            for path in ("", "/events", "/report", "/other"):
                self.assertEqual(server.get(f"/v1/compressions/{job}{path}", **key).status, 404)
        self.assertEqual(server.get("/v1/compressions", **key).json["data"], [])
        self.assertEqual(self.plain.post("/v1/compressions", good).status, 401)

    def test_a_compression_goes_on_after_a_restart_and_can_be_cancelled(self):
        slow = {"model": "tiny", "data": "builtin", "options": {"scheme": "W4A16", "group_size": 32, "num_calibration_samples": 256, "max_seq_length": 512, "quality": "best"}}
        server, key = self.with_jobs()
        job = server.post("/v1/compressions", slow, **key).json["id"]
        other = server.post("/v1/compressions", slow, **key).json["id"]
        self.wait_until(lambda: server.get(f"/v1/compressions/{job}", **key).json["log"], "the first line")
        self.assertEqual([self.state_of(server, one, key) for one in (job, other)], ["running", "queued"])
        self.assertEqual(server.ask("DELETE", f"/v1/compressions/{other}", **key).json["status"], "cancelled")
        self.assertEqual(server.get(f"/v1/compressions/{job}/report", **key).status, 400)
        self.assertEqual(server.end(), 0)
        self.assertEqual(json.loads((self.folder / "jobs" / job / "job.json").read_text())["status"], "running")
        server, key = self.with_jobs()
        self.wait_until(lambda: self.state_of(server, job, key) == "running" and server.get(f"/v1/compressions/{job}", **key).json["log"], "goes on")
        self.assertEqual(self.state_of(server, other, key), "cancelled")
        server.post(f"/v1/compressions/{job}/cancel", "", **key)
        self.wait_until(lambda: self.state_of(server, job, key) in ("cancelled", "succeeded"), "cancelled", 30)


if __name__ == "__main__":
    unittest.main()
