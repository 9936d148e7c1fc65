"""Every verb and every text form of every command, against a live server and SM-SR; exit statuses; what --help teaches."""
import json
import os
import re
import signal
import socket
import subprocess
import unittest

import lab

KEYFERRY = [[], ["init"], ["serve"], ["probe"], ["status"], ["token"], ["token", "drain"], ["token", "resume"], ["check-config"], ["profile"],
            ["profile", "import"], ["profile", "list"], ["profile", "sample"], ["profile", "inspect"], ["profile", "release"], ["identity"], ["identity", "show"],
            ["identity", "export-key"], ["identity", "import-certificate"]]
SIM = [[], ["run"], ["eid"], ["operator"], ["operator", "order"], ["operator", "call"]]
BENCH = [[], ["burst"], ["hsm"], ["ecc"], ["scp03t"]]
HELPS = [("keyferry", v) for v in KEYFERRY] + [("keyferry-sim", v) for v in SIM] + [("keyferry-bench", v) for v in BENCH] + \
    [("keyferry-vectors", [])]
KEY = "00112233445566778899AABBCCDDEEFF"


def built(program):
    return (lab.BIN / program).exists()


def subcommands(text):
    """The names below "Subcommands:" of a help text."""
    below = text.split("Subcommands:\n", 1)
    return re.findall(r"^  ([a-z][a-z0-9-]*)", below[1].split("\n\n")[0], re.M) if len(below) == 2 else []


class Help(unittest.TestCase):
    def test_every_verb_and_option_explains_itself(self):
        for program, verb in HELPS:
            if not built(program):
                continue
            with self.subTest([program, *verb]):
                text = lab.run(program, *verb, "--help").stdout
                self.assertRegex(text, r"\S.*\n")
                lines = text.splitlines()
                for i, line in enumerate(lines):
                    option = re.match(r"  (-\S.*)$", line)
                    if not option or line.startswith("  -h,--help"):
                        continue
                    # CLI11 puts what a long option says on the next line.
                    said = re.sub(r"^-\S+( [A-Z]+\S*)*( \.\.\.)?", "", option.group(1)).strip()
                    said = said or (lines[i + 1].strip() if i + 1 < len(lines) and lines[i + 1].startswith(" " * 20) else "")
                    self.assertGreater(len(said), 2, line)

    def test_the_list_of_verbs_is_complete(self):
        known = {(program, *verb) for program, verb in HELPS}
        for program, verb in HELPS:
            if built(program):
                for name in subcommands(lab.run(program, *verb, "--help").stdout):
                    self.assertIn((program, *verb, name), known, "a verb without a test")


class UsageErrors(unittest.TestCase):
    """Exit status 2 and a line that says what is wrong, everywhere."""

    CASES = [
        ("keyferry", [], "verb"), ("keyferry", ["nonsense"], "nonsense"), ("keyferry", ["init", "--port", "1"], "--port"),
        ("keyferry", ["init", "--es2-port", "x"], "--es2-port"), ("keyferry", ["init", "--custody", "lax"], "lax"),
        ("keyferry", ["profile", "import"], "--owner"), ("keyferry", ["profile", "import", "--owner", "x", "a.der"], "OID"),
        ("keyferry", ["profile", "import", "--owner", "2.999.10"], "packages"),
        ("keyferry", ["profile", "import", "--owner", "2.999.10", "--template", "t.der"], "--csv"),
        ("keyferry", ["profile", "import", "--owner", "2.999.10", "none.der"], "none.der"),
        ("keyferry", ["profile", "import", "--owner", "2.999.10", "a.der", "b.der", "--imsi", "001010000000001"], "--csv"),
        ("keyferry", ["profile", "import", "--owner", "2.999.10", "a.der", "--imsi", "12"], "--imsi"),
        ("keyferry", ["profile", "import", "--owner", "2.999.10", "a.der", "--msisdn", "+x"], "--msisdn"),
        ("keyferry", ["profile", "import", "--owner", "2.999.10", "a.der", "--required-memory", "0"], "--required-memory"),
        ("keyferry", ["profile", "import", "--owner", "2.999.10", "a.der", "--pol2", "DELETE=No"], "--pol2"),
        ("keyferry", ["profile", "release", "--iccid", "1"], "--iccid"), ("keyferry", ["profile", "sample"], "--out"), ("keyferry", ["profile", "inspect", "none.der"], "none.der"),
        ("keyferry", ["identity", "export-key", "--curve", "P-999", "-c", "none.toml"], "P-999"),
        ("keyferry", ["probe"], "--module"), ("keyferry", ["probe", "--module", "x", "--pin", "1"], "--pin"),
        ("keyferry", ["probe", "--module", "x", "--seconds", "99"], "--seconds"), ("keyferry", ["token", "drain"], "token"),
        ("keyferry-sim", [], "verb"), ("keyferry-sim", ["nonsense"], "nonsense"), ("keyferry-sim", ["eid"], "n is required"),
        ("keyferry-sim", ["eid", "-1"], "-1"), ("keyferry-sim", ["eid", "x"], "x"), ("keyferry-sim", ["eid", "1000000000000"], "range"),
        ("keyferry-sim", ["run", "--fault", "slow-radio=abc"], "whole number"), ("keyferry-sim", ["run", "--fault", "none"], "no such fault"),
        ("keyferry-sim", ["run", "--fault", "pe-rejected=-1"], "whole number"), ("keyferry-sim", ["run", "--fault", "memory-full=x"], "eis"),
        ("keyferry-sim", ["run", "--fault", "bad-hex-answer=x"], "odd|nothex"), ("keyferry-sim", ["run", "--fault", "wrong-receipt=1"], "no value"),
        ("keyferry-sim", ["run", "--fault", "eis-stale=x"], "OID"), ("keyferry-sim", ["run", "--fault", "http-500=9"], "function"),
        ("keyferry-sim", ["run", "--radio", "slow"], "lognormal"), ("keyferry-sim", ["run", "--euiccs", "0"], "--euiccs"),
        ("keyferry-sim", ["run", "--hold", "0"], "--hold"), ("keyferry-sim", ["run", "--silence", "0"], "--silence"),
        ("keyferry-sim", ["run", "--curve", "P-999"], "P-999"), ("keyferry-sim", ["run", "--es3-port", "99999"], "--es3-port"),
        ("keyferry-sim", ["operator", "order"], "--eid"), ("keyferry-sim", ["operator", "order", "--eid", "1", "--timeout", "0"], "--timeout"),
        ("keyferry-sim", ["operator", "order", "--eid", "1", "--validity", "0"], "--validity"),
        ("keyferry-sim", ["operator", "order", "--eid", "1", "--pattern", "x"], "--pattern"),
        ("keyferry-sim", ["operator", "call", "Nonsense", "--eid", "1"], "Nonsense"),
        ("keyferry-bench", [], "verb"), ("keyferry-bench", ["nonsense"], "nonsense"),
        ("keyferry-bench", ["burst", "--downloads", "0"], "--downloads"), ("keyferry-bench", ["burst", "--curve", "x"], "--curve"),
        ("keyferry-bench", ["burst", "--set", "nonsense"], "KEY=VALUE"), ("keyferry-bench", ["burst", "--set", "=1"], "KEY=VALUE"),
        ("keyferry-bench", ["burst", "--timeout", "0"], "--timeout"), ("keyferry-bench", ["burst", "--profile", "none.der"], "none.der"),
        ("keyferry-bench", ["burst", "--dir", "DIR", "--set", "limits.speed=9"], "limits.speed: unknown key"),
        ("keyferry-bench", ["burst", "--dir", "DIR", "--set", "limits.crypto_threads=0"], "limits.crypto_threads: must be from"),
        ("keyferry-bench", ["burst", "--dir", "DIR", "--set", "custody.policy=lax"], "custody.policy"),
        ("keyferry-bench", ["burst", "--dir", "DIR", "--set", "nowhere.a.b=1"], "nowhere"),
        ("keyferry-bench", ["burst", "--dir", "DIR", "--fault", "slow-radio=abc"], "whole number"),
        ("keyferry-bench", ["burst", "--dir", "DIR", "--radio", "slow"], "lognormal"),
        ("keyferry-bench", ["hsm", "--kind", "nonsense"], "nonsense"), ("keyferry-bench", ["scp03t", "--engine", "nonsense"], "nonsense"),
        # The word that is wrong, not the one that is missing because of it; and the help of the verb at hand.
        ("keyferry", ["profile", "import", "--ower", "2.999.10", "a.der"], "--ower: no such option of keyferry profile import (keyferry profile import --help)"),
        ("keyferry", ["profile", "release", "--icid=1"], "--icid: no such option of keyferry profile release"),
        ("keyferry", ["profile", "imprt"], "imprt: no such verb (keyferry profile --help)"), ("keyferry", ["profile"], "a verb is missing (keyferry profile --help)"),
        ("keyferry", ["token", "drain", "--force"], "--force: no such option of keyferry token drain"),
        ("keyferry", ["-c", "x.toml", "status"], "-c: no option of keyferry itself; those of a verb follow the verb"),
        ("keyferry", ["status", "now"], "now: one word too many"), ("keyferry", ["status", "-c"], "--config: its value is missing"),
        ("keyferry", ["init", "--es2-port", "70000"], "--es2-port: Value 70000 not in range 1 to 65535"),
        ("keyferry", ["init", "--es2-port", "x"], "--es2-port: Value x"), ("keyferry", ["init", "--es3-port", "-1"], "--es3-port"),
        ("keyferry-sim", ["operator", "order", "--id", "1"], "--id: no such option of keyferry-sim operator order (keyferry-sim operator order --help)"),
        ("keyferry-sim", ["operator", "order", "--eid", "1", "--port", "70000"], "--port: Value 70000 not in range"),
        ("keyferry-sim", ["run", "--memory", "x"], "--memory"), ("keyferry-sim", ["run", "--seed", "x"], "--seed"),
        ("keyferry-sim", ["eid", "--nth", "1"], "--nth: no such option of keyferry-sim eid"),
        ("keyferry-bench", ["burst", "--number", "1"], "--number: no such option of keyferry-bench burst (keyferry-bench burst --help)"),
        ("keyferry-bench", ["hsm", "--number", "1"], "--number"), ("keyferry-bench", ["ecc", "--number", "1"], "--number"),
        ("keyferry-bench", ["scp03t", "--number", "1"], "--number"),
        ("keyferry-vectors", ["--engin", "core"], "--engin: no such option of keyferry-vectors"),
        ("keyferry-ecc-sim", ["--nonsense"], "--nonsense: no such option"), ("keyferry-ecc-sim", ["--seed", "x"], "--seed"),
        ("keyferry-ecc-sim", ["--seed", "1"], "--test-build"), ("keyferry-ecc-sim", [], "not by hand"),
        ("keyferry-hsm-worker", [], "not by hand"), ("keyferry-hsm-worker", ["--help"], "not by hand"),
        ("keyferry-vectors", [], "FILE"), ("keyferry-vectors", ["--engine", "abacus", "x"], "abacus"),
    ]

    def test_they_end_with_2(self):
        directory = str(lab.temporary() / "burst")
        empty = lab.temporary()
        for program, args, words in self.CASES:
            if not built(program):
                continue
            args = [directory if a == "DIR" else a for a in args]
            with self.subTest([program, *args]):
                r = lab.run(program, *args, status=2, cwd=empty)
                self.assertIn(words, r.stderr)
                self.assertTrue(all(line.startswith((program + ": ", "burst  ")) for line in r.stderr.splitlines()), r.stderr)
                self.assertEqual(r.stderr.count(program + ": "), 1, "one line")

    def test_every_verb_names_an_option_it_does_not_know(self):
        for program, verb in HELPS:
            if built(program):
                with self.subTest([program, *verb]):
                    said = lab.run(program, *verb, "--no-such-option", "x", status=2).stderr
                    self.assertIn("--no-such-option: no ", said)
                    self.assertIn("(" + " ".join([program, *verb]) + " --help)\n", said)
                    self.assertEqual(said.count("\n"), 1)


class Live(unittest.TestCase):
    """One server, one SM-SR, every verb in the order of an operator's day."""

    @classmethod
    def setUpClass(cls):
        cls.world = lab.World()
        cls.files = lab.temporary()
        cls.world.serve()
        cls.world.sim("--euiccs", "8")
        cls.eids = [lab.run("keyferry-sim", "eid", n).stdout.strip() for n in range(8)]

    def keyferry(self, *args, status=0):
        return lab.run("keyferry", *args, "-c", self.world.config, status=status)

    def operator(self, *args, status=0):
        r = lab.run("keyferry-sim", "operator", *args, "--smdp-url", f"https://127.0.0.1:{self.world.es2}/es2", "--pki", self.world.dir / "pki",
                    "--port", self.world.operator, status=status)
        return [json.loads(line) for line in r.stdout.splitlines()]

    def test_a_profiles(self):
        f = self.files
        self.assertRegex(lab.run("keyferry", "profile", "sample", "--out", f / "s.der").stdout, r"^wrote \d+ bytes to ")
        said = lab.run("keyferry", "profile", "inspect", f / "s.der").stdout
        self.assertRegex(said, r'^\d+ bytes, SAIP \d\.\d, type "Keyferry sample profile", ICCID \d+\n')
        self.assertIn("personal  ki", said)
        rows = "".join(f"8900000000{n:08d}0{luhn(f'8900000000{n:08d}0')},0010100000000{n:02d},{KEY},{KEY}\n" for n in range(1, 7))
        (f / "s.csv").write_text("iccid,imsi,ki,opc\n" + rows)
        self.assertEqual(self.keyferry("profile", "import", "--owner", "2.999.10", "--template", f / "s.der", "--csv", f / "s.csv").stdout,
                         "imported 6 profiles of 2.999.10\n")
        said = self.keyferry("profile", "import", "--owner", "2.999.10", "--template", f / "s.csv", "--csv", f / "s.csv", status=1).stderr
        self.assertIn("s.csv: text, not a profile package", said)
        said = self.keyferry("profile", "import", "--owner", "2.999.10", self.world.dir / "pki" / "cert-dp-P-256.der", status=1).stderr
        self.assertIn("cert-dp-P-256.der: not a profile package (DER", said)
        (f / "zeros.csv").write_text(f"iccid,imsi,ki,opc\n89000000000000000012,1010000000001,{KEY},{KEY}\n8.9E+19,001010000000002,{KEY},{KEY}\n")
        said = self.keyferry("profile", "import", "--owner", "2.999.10", "--template", f / "s.der", "--csv", f / "zeros.csv", status=1).stderr
        self.assertRegex(said, r"zeros\.csv: line 2: imsi: .*13 found: spreadsheets drop zeros")
        self.assertRegex(said, r"zeros\.csv: line 3: iccid: .*rounded the number")
        again = self.keyferry("profile", "import", "--owner", "2.999.10", "--template", f / "s.der", "--csv", f / "s.csv", status=1)
        self.assertIn("s.csv: line 2: ICCID", again.stderr)
        self.assertIn("nothing was imported", again.stderr)
        self.assertEqual(self.keyferry("profile", "import", "--owner", "2.999.10", "--type", "whole", "--msisdn", "+99970000001", f / "s.der").stdout,
                         "imported 1 profile of 2.999.10\n")
        for name, why in (("a" * 401, "longer than 400 bytes"), ("a\nb", "no order can carry")):
            self.assertIn(why, self.keyferry("profile", "import", "--owner", "2.999.10", "--type", name, f / "s.der", status=1).stderr)
        self.assertRegex(self.keyferry("profile", "list").stdout, r"owner +profile type +free +reserved +installed")
        listed = self.keyferry("profile", "list", "--rows").stdout
        self.assertEqual(len(re.findall(r"^\d{20} +free +2\.999\.10 ", listed, re.M)), 7)

        free = re.search(r"^(\d{20}) +free", listed, re.M).group(1)
        self.assertIn("is not uncertain; nothing was changed", self.keyferry("profile", "release", "--iccid", free, "--yes", status=1).stderr)
        self.assertIn("not in the inventory", self.keyferry("profile", "release", "--iccid", "89000000000000999999", status=1).stderr)

    def test_b_orders(self):
        for n, pattern in enumerate(["sync", "callback", "polling"]):
            told = self.operator("order", "--eid", self.eids[n], "--type", "Keyferry sample profile", "--pattern", pattern, "--enable",
                                 "--linger", "1")
            self.assertEqual([t["outcome"] for t in told if "outcome" in t], ["EXECUTED_SUCCESS"])
        told = self.operator("order", "--eid", self.eids[3], "--type", "whole", "--validity", "600", "--call-id", "mine")
        self.assertEqual((told[0]["outcome"], told[0]["call"]), ("EXECUTED_SUCCESS", "mine"))
        self.assertEqual(self.operator("order", "--eid", self.eids[4], "--type", "nothing", status=3)[0]["http"], 200)
        eis = self.operator("call", "GetEIS", "--eid", self.eids[0])[0]
        self.assertEqual(eis["profiles"][-1]["state"], "Enabled")
        iccid = eis["profiles"][-1]["iccid"]
        for function in ("DisableProfile", "EnableProfile", "DisableProfile", "DeleteProfile"):
            told = self.operator("call", function, "--eid", self.eids[0], "--iccid", iccid)
            self.assertEqual([t["outcome"] for t in told if "outcome" in t], ["EXECUTED_SUCCESS"], function)

    def test_c_status_and_tokens(self):
        said = self.keyferry("status").stdout
        for words in (r"^keyferry \d+\.\d+\.\d+ \(", r"custody strict", r"^downloads +accepted [4-9]", r"^latency +p50 \d+ ms", r"^routes ",
                      r"^engine +hsm sign: [4-9]"):
            self.assertRegex(said, re.compile(words, re.M))
        self.assertGreaterEqual(json.loads(self.keyferry("status", "--json").stdout)["downloads"]["completed"], 4)
        for verb, state in (("drain", "drain"), ("resume", "up")):
            said = self.keyferry("token", verb, "keyferry").stdout
            self.assertIn(state, said)
        r = self.keyferry("token", "drain", "nobody", status=2)
        self.assertIn("no token of that name", r.stderr)

    def test_d_identity(self):
        said = self.keyferry("identity", "show").stdout
        self.assertRegex(said, r'(?m)^P-256\n  key    "SK.DP.ECDSA P-256" 04[0-9A-F]{128}\n')
        self.assertIn("brainpoolP256r1", said)
        pem = self.keyferry("identity", "export-key").stdout
        self.assertTrue(pem.startswith("-----BEGIN PUBLIC KEY-----"))
        self.keyferry("identity", "export-key", "--out", self.files / "key.pem", "--curve", "P-256")
        self.assertEqual((self.files / "key.pem").read_text(), pem)
        cert = self.world.dir / "pki" / "cert-dp-P-256.der"
        (self.files / "cert.hex").write_text(cert.read_bytes().hex())
        self.assertIn("checked and stored", self.keyferry("identity", "import-certificate", self.files / "cert.hex").stdout)
        self.assertIn("refused", self.keyferry("identity", "import-certificate", self.world.dir / "pki" / "cert-dp-brainpoolP256r1.der",
                                               status=1).stderr)

    def test_e_probe(self):
        module = re.search(r'module = "([^"]*)"', self.world.config.read_text()).group(1)
        conf = f"SOFTHSM2_CONF={self.world.dir}/token/softhsm2.conf"
        said = lab.run("keyferry", "probe", "--module", module, "--seconds", "0", "--env", conf).stdout
        self.assertIn("Keyferry probe of", said)
        said = lab.run("keyferry", "probe", "--module", module, "--env", conf, "--token", "pkcs11:token=keyferry", "--pin-file",
                       self.world.dir / "token" / "pin", "--seconds", "0", "--report-json", self.files / "p.json", "--report-html",
                       self.files / "p.html").stdout
        self.assertRegex(said, r"strict  +yes, on P-256")
        self.assertTrue(json.loads((self.files / "p.json").read_text()))
        self.assertIn("</html>", (self.files / "p.html").read_text())

        # What is no file is written to, and a link stays one.
        (self.files / "real.json").write_text("{}")
        (self.files / "link.json").symlink_to("real.json")
        probe = ["probe", "--module", module, "--seconds", "0", "--env", conf, "--report-json"]
        lab.run("keyferry", *probe, self.files / "link.json")
        self.assertTrue((self.files / "link.json").is_symlink())
        self.assertIn("module", json.loads((self.files / "real.json").read_text()))
        os.mkfifo(self.files / "pipe")
        with lab.Process("keyferry", *probe, self.files / "pipe") as p, open(self.files / "pipe", encoding="utf-8") as f:
            self.assertIn("module", json.loads(f.read()))
            self.assertEqual(p.wait(lab.PATIENCE), 0)
        self.assertTrue((self.files / "pipe").is_fifo())

    def test_e_the_disk_behind_the_output_is_full(self):
        for program, *words in (["keyferry", "profile", "list", "-c", self.world.config], ["keyferry", "status", "-c", self.world.config],
                                ["keyferry", "identity", "export-key", "-c", self.world.config], ["keyferry-sim", "eid", "1"]):
            with open("/dev/full", "w", encoding="utf-8") as full:
                r = subprocess.run([lab.BIN / program, *words], stdout=full, stderr=subprocess.PIPE, text=True, timeout=lab.PATIENCE, check=False)
            self.assertEqual(r.returncode, 1, words)
            self.assertIn("No space left on device", r.stderr)

    def test_e_a_server_that_stands_still(self):
        self.world.server.send_signal(signal.SIGSTOP)
        try:
            r = self.keyferry("status", status=1)
            init = lab.run("keyferry", "init", "--dir", self.world.dir, status=1)
        finally:
            self.world.server.send_signal(signal.SIGCONT)
        self.assertIn("did not answer within 10 s", r.stderr)
        self.assertIn("a server runs", init.stderr)

    def test_f_an_option_given_twice(self):
        r = lab.run("keyferry", "profile", "list", "-c", "none.toml", "-c", self.world.config)
        self.assertIn("profile type", r.stdout)
        r = lab.run("keyferry-sim", "run", "--hold", "7", "--hold", "5", "--fault", "wrong-receipt", "--fault", "none", status=2)
        self.assertIn("'none'", r.stderr, "of options that may be repeated every one counts")

    def test_g_nobody_answers(self):
        self.assertEqual(self.world.simulator.end(), 0)
        with socket.create_server(("127.0.0.1", self.world.smsr)):  # an SM-SR that says nothing, so that an order stays in flight
            lab.Process("keyferry-sim", "operator", "order", "--eid", self.eids[6], "--type", "Keyferry sample profile", "--smdp-url",
                        f"https://127.0.0.1:{self.world.es2}/es2", "--pki", self.world.dir / "pki")
            lab.wait_for("an order in flight", lambda: json.loads(self.keyferry("status", "--json").stdout)["downloads"]["in_flight"] == 1)
            self.assertNotIn("stopping", self.keyferry("status").stdout)
            self.world.server.send_signal(signal.SIGTERM)
            lab.wait_for("draining", lambda: json.loads(self.keyferry("status", "--json").stdout)["state"] == "draining")
            self.assertIn("stopping   no new orders; 1 download in flight may end", self.keyferry("status").stdout)
            self.world.server.send_signal(signal.SIGTERM)
            self.assertEqual(self.world.server.wait(lab.PATIENCE), 0)
        for verb in (["status"], ["status", "--json"], ["token", "drain", "keyferry"]):
            self.assertIn("not running", self.keyferry(*verb, status=1).stderr)
        told = self.operator("order", "--eid", self.eids[5], "--type", "x", "--timeout", "2", status=1)
        self.assertIn("net-connect", told[0]["outcome"])


@unittest.skipUnless(built("keyferry-bench"), "keyferry-bench is not built")
class Burst(unittest.TestCase):
    def test_report(self):
        d = lab.temporary()
        r = lab.run("keyferry-bench", "burst", "--dir", d / "burst", "--downloads", "4", "--concurrency", "2", "--floor-repetitions", "16",
                    "--set", "limits.crypto_threads=1", "--set", "timeouts.card_s=60", "--report-json", "first.json", "--report-json",
                    d / "last.json", "--report-html", d / "r.html", cwd=d)
        self.assertFalse((d / "first.json").exists(), "the last one given wins")
        j = json.loads((d / "last.json").read_text())
        self.assertEqual(j["schema"], 2)
        self.assertEqual(j["downloads"]["euicc_verified"], 4)
        self.assertEqual(j["command_line"][1:4], ["burst", "--dir", str(d / "burst")])
        self.assertEqual(j["configuration"]["settings"], ["limits.crypto_threads=1", "timeouts.card_s=60"])
        self.assertGreaterEqual(j["machine"]["other_cpus_busy"], 0)
        self.assertRegex(r.stdout, r"other programs +kept [0-9.]+ CPUs busy during the run")

    def test_a_limit_that_is_too_low(self):
        # Where not even root may raise a limit: in a user namespace.
        if subprocess.run(["unshare", "-r", "true"], stderr=subprocess.DEVNULL, check=False).returncode != 0:
            self.skipTest("no user namespaces here")
        d = lab.temporary()
        r = subprocess.run(["unshare", "-r", "bash", "-c", 'ulimit -n 300; exec "$0" "$@"', lab.BIN / "keyferry-bench", "burst", "--dir", d / "burst",
                            "--downloads", "5000", "--concurrency", "5000"], capture_output=True, text=True, timeout=lab.PATIENCE, check=False)
        self.assertEqual(r.returncode, 2, r.stderr)
        self.assertRegex(r.stderr, r"--concurrency 5000: .* file descriptors .* 300")
        self.assertIn("ulimit -n", r.stderr)


def luhn(digits):
    total = 0
    for i, c in enumerate(reversed(digits)):
        d = int(c) * (2 if i % 2 == 0 else 1)
        total += d - 9 if d > 9 else d
    return (10 - total % 10) % 10


if __name__ == "__main__":
    unittest.main()
