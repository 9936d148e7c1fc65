"""`keyferry check-config` says what `keyferry serve` would: the same mistakes, all at once, and good only to what starts."""
import re
import shutil
import unittest

import lab

SOFTHSM = re.compile(r'module = "([^"]*)"')


class CheckConfig(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.world = lab.World()

    def tampered(self, *changes):
        d = self.world.copy()
        lab.edit(d / "smdp.toml", *changes)
        return d / "smdp.toml"

    def refused(self, config, *mistakes, token=False):
        """Each mistake (key, words) on a line of its own, no others; serve ends by itself and names one of them."""
        r = lab.run("keyferry", "check-config", "-c", config, *(["--token"] if token else []), status=2)
        lines = [line for line in r.stderr.splitlines() if not re.search(r": \d+ mistakes?\b", line)]
        self.assertEqual(len(lines), len(mistakes), r.stderr)
        for key, words in mistakes:
            self.assertTrue(any(f": {key}: " in line and words in line for line in lines), f"{key}, {words}:\n{r.stderr}")
        served = lab.run("keyferry", "serve", "-c", config, status=None)
        self.assertIn(served.returncode, (1, 2), served.stderr)
        self.assertTrue(served.stderr.startswith("keyferry: "), served.stderr)

    def test_good(self):
        for more in ([], ["--token"]):
            r = lab.run("keyferry", "check-config", "-c", self.world.config, *more)
            self.assertIn(": good (2 parties, 2 identities, custody strict)", r.stdout)
            self.assertEqual(r.stderr, "")

    def test_good_beside_the_running_server(self):
        another = self.world.copy()
        self.world.serve()
        try:
            r = lab.run("keyferry", "serve", "-c", another / "smdp.toml", status=1)
            self.assertIn(f"smdp.toml: listen.es3: 127.0.0.1:{self.world.es3}: Address already in use", r.stderr)
            self.assertIn(": good", lab.run("keyferry", "check-config", "-c", self.world.config, "--token").stdout)
            # A server is asked and the store is listed whatever else has become of the file since it started.
            socket = self.world.dir / "run" / "admin.sock"
            spoilt = self.tampered(('ca = "pki/tls-root.pem"', 'ca = "pki/none.pem"'), ("workers = 2", "wrokers = 2"),
                                   ('admin_socket = "run/admin.sock"', f'admin_socket = "{socket}"'))
            (spoilt.parent / "pki" / "tls-smsr.pem").unlink()
            for verb in (["status"], ["token", "drain", "keyferry"], ["token", "resume", "keyferry"], ["profile", "list"]):
                lab.run("keyferry", *verb, "-c", spoilt)
            lab.edit(spoilt, ("[tls]", "[tls"))
            self.assertIn("--socket", lab.run("keyferry", "status", "-c", spoilt, status=2).stderr)
            self.assertIn("health     good", lab.run("keyferry", "status", "-c", spoilt, "--socket", socket).stdout)
            self.assertIn("not running", lab.run("keyferry", "status", "--socket", spoilt, status=1).stderr)
        finally:
            self.assertEqual(self.world.server.end(), 0)

    def test_a_tls_certificate_that_every_peer_would_refuse(self):
        def issue(stem, *more, key=("ec", "-pkeyopt", "ec_paramgen_curve:P-256"), usage="serverAuth,clientAuth", clock=()):
            files = [f"{stem}.key", f"{stem}.csr", f"{stem}.pem", f"{stem}.ext"]
            (d / files[3]).write_text(f"extendedKeyUsage={usage}\nsubjectAltName=DNS:localhost,IP:127.0.0.1\n")
            for command in (["req", "-new", "-newkey", *key, "-nodes", "-subj", "/CN=x", "-keyout", files[0], "-out", files[1]],
                            ["x509", "-req", "-in", files[1], "-CA", "pki/tls-root.pem", "-CAkey", "pki/tls-root.key", "-extfile", files[3],
                             "-days", "30", "-out", files[2], *more]):
                lab.run(*clock, "/usr/bin/openssl", *command, cwd=d)
            lab.edit(d / "smdp.toml", ('certificate = "pki/tls-smdp.pem"', f'certificate = "{files[2]}"'), ('key = "pki/tls-smdp.key"', f'key = "{files[0]}"'))

        clock = shutil.which("faketime")
        for words, options in (("lacks serverAuth", {"usage": "clientAuth"}), ("lacks clientAuth", {"usage": "serverAuth"}),
                               ("is on brainpoolP256r1", {"key": ("ec", "-pkeyopt", "ec_paramgen_curve:brainpoolP256r1")}),
                               ("has expired", {"clock": (clock, "2020-01-01")})):
            if options.get("clock", ("x",))[0] is None:
                continue  # faketime is not installed
            with self.subTest(words):
                d = self.world.copy()
                issue("own", **options)
                self.refused(d / "smdp.toml", ("tls.certificate", words))
        d = self.world.copy()
        issue("own")
        self.assertIn(": good", lab.run("keyferry", "check-config", "-c", d / "smdp.toml").stdout)

    def test_a_store_that_cannot_be_written(self):
        # Root may write everywhere but on a file system that takes nothing: a mount of its own, seen by that process alone.
        d = self.world.copy()
        read_only = f"mount --bind {d} {d} && mount -o remount,bind,ro {d} && exec {lab.BIN}/keyferry check-config -c {d}/smdp.toml"
        r = lab.run("/usr/bin/unshare", "-rm", "sh", "-c", read_only, status=None)
        if "unshare" in r.stderr or "mount:" in r.stderr:
            self.skipTest("no mount of its own here: " + r.stderr)
        self.assertEqual(r.returncode, 2, r.stdout + r.stderr)
        self.assertIn("store.path: ", r.stderr)
        self.assertIn("cannot be written: Read-only file system", r.stderr)

    def test_one_mistake_each(self):
        name = "uri = \"pkcs11:token=keyferry\""
        cert = "certificate = \"pki/cert-dp-P-256.der\""
        for change, key, words in [
            (('key = "pki/tls-smdp.key"', 'key = "pki/tls-smsr.key"'), "tls.key", "not the key of"),
            (('key = "pki/tls-smdp.key"', 'key = "pki/tls-smdp.pem"'), "tls.key", "no PEM private key"),
            (('certificate = "pki/tls-smdp.pem"', 'certificate = "pki/tls-smdp.key"'), "tls.certificate", "no PEM"),
            (('ca = "pki/tls-root.pem"', 'ca = "smdp.toml"'), "tls.ca", "no PEM certificates"),
            (('ca = "pki/tls-root.pem"', 'ca = "pki/none.pem"'), "tls.ca", "file not found"),
            (('"pki/ci-P-256.pem"', '"pki/ci-P-256.pem", "pki/tls-smdp.pem"'), "pki.ci_roots", "not the certificate of a"),
            (('"pki/ci-P-256.pem"', '"pki/ci-P-256.pem", "smdp.toml"'), "pki.ci_roots", "no certificate on P-256"),
            (("[custody]", '[core]\nboards = ["pci"]\n[custody]'), "core.boards", "0000:65:00.0"),
            (("[custody]", '[download]\nkey_version = "0x30"\n[custody]'), "download.key_version", "without quotes"),
            (("[custody]", "[download]\nkey_version = 30\n[custody]"), "download.key_version", "0x30 to 0x3F"),
            (('SOFTHSM2_CONF = "token/softhsm2.conf"', 'SOFTHSM2_CONF = "none.conf"'), "token.environment.SOFTHSM2_CONF", "keyferry init"),
            (('"pki/eum-P-256.pem"', '"pki/eum-P-256.key"'), "pki.eum_certificates", "no certificate"),
            ((cert, 'certificate = "pki/cert-dp-brainpoolP256r1.der"'), "identity[0].certificate", "bad-curve"),
            ((cert, 'certificate = "pki/tls-smdp.pem"'), "identity[0].certificate", "no CERT.DP.ECDSA"),
            ((name, 'uri = "pkcs11:token=%zz"'), "token.uri", "malformed"),
            ((name, 'uri = "token=keyferry"'), "token.uri", "RFC 7512"),
            ((name, 'uri = "pkcs11:token=nobody"'), "token.uri", "there: pkcs11:token=keyferry"),
            (('path = "store.db"', 'path = "none.db"'), "store.path", "no such file"),
            (('path = "store.db"', 'path = "smdp.toml"'), "store.path", "not a database"),
            ((f'es3 = "127.0.0.1:{self.world.es3}"', f'es3 = "127.0.0.1:{self.world.es2}"'), "listen.es3", "two ports"),
            ((f'es2 = "127.0.0.1:{self.world.es2}"', f'es2 = "localhost:{self.world.es2}"'), "listen.es2", "no IP address"),
            ((f'es2 = "127.0.0.1:{self.world.es2}"', f'es2 = "192.0.2.1:{self.world.es2}"'), "listen.es2", "192.0.2.1"),
            (('admin_socket = "run/', 'admin_socket = "nowhere/'), "listen.admin_socket", "no such directory"),
            (('admin_socket = "run/admin.sock"', 'admin_socket = "store.db"'), "listen.admin_socket", "no socket"),
            (('admin_socket = "run/admin.sock"', 'admin_socket = "pki"'), "listen.admin_socket", "no socket"),
            (("[custody]", '[log]\nfile = "pki"\n[custody]'), "log.file", "is a directory"),
            (("[custody]", '[log]\nfile = "nowhere/log"\n[custody]'), "log.file", "no such directory"),
            (("[custody]", '[hsm]\nworker = "nowhere"\n[custody]'), "hsm.worker", "no program"),
            (('pin_file = "token/pin"', 'pin_file = "run"'), "token.pin_file", "cannot be read"),
            (('url = "https://127.0.0.1:%d/es3"' % self.world.smsr, 'url = "http://127.0.0.1/es3"'), "party[1].url", "https"),
        ]:
            with self.subTest(change[1]):
                self.refused(self.tampered(change), (key, words))

    def test_a_module_that_is_none(self):
        config = self.tampered()
        module = SOFTHSM.search(config.read_text()).group(1)
        lab.edit(config, (f'module = "{module}"', f'module = "{config.parent}/pki/tls-root.pem"'))
        self.refused(config, ("token.module", "tls-root.pem"))

    def test_what_only_the_token_knows(self):
        wrong_pin = self.tampered()
        (wrong_pin.parent / "token" / "pin").write_text("0000\n")
        for config, key, words in [
            (self.tampered(('label = "SK.DP.ECDSA P-256"', 'label = "none"')), "token", "which has 'SK.DP.ECDSA"),
            (self.tampered(('wrap_key = "Keyferry wrap key"', 'wrap_key = "none"')), "token", "none"),
            (wrong_pin, "token", "PIN"),
        ]:
            with self.subTest(words):
                self.assertIn(": good", lab.run("keyferry", "check-config", "-c", config).stdout)
                self.refused(config, (key, words), token=True)

    def test_several_of_one_kind(self):
        config = self.tampered(('"pki/ci-P-256.pem", "pki/ci-brainpoolP256r1.pem"', '"pki/a.pem", "pki/b.pem", "pki/tls-smdp.pem", "smdp.toml"'))
        self.refused(config, *[("pki.ci_roots", name) for name in ("a.pem", "b.pem", "tls-smdp.pem", "smdp.toml")])
        config = self.tampered(('label = "SK.DP.ECDSA P-256"', 'label = "one"'), ('label = "SK.DP.ECDSA brainpoolP256r1"', 'label = "two"'),
                               ('wrap_key = "Keyferry wrap key"', 'wrap_key = "three"'), ('"pki/tls-root.pem"', '"pki/none.pem"'))
        r = lab.run("keyferry", "check-config", "--token", "-c", config, status=2)
        for words in ("'one'", "'two'", "'three'", "tls.ca: file not found"):  # a mistake elsewhere does not spare the token
            self.assertIn(words, r.stderr)

    def test_no_toml_and_no_file(self):
        config = self.tampered(("[tls]", "[tls\n"))
        r = lab.run("keyferry", "check-config", "-c", config, status=2)
        self.assertRegex(r.stderr, r"smdp\.toml:\d+: no TOML: .*\. Nothing behind this line was read, and nothing was checked\n")
        for verb in ("check-config", "serve", "status"):
            r = lab.run("keyferry", verb, "-c", config.parent, status=2)
            self.assertIn(f"a directory; `-c` takes the file: -c {config}", r.stderr)

    def test_everything_at_once(self):
        config = self.tampered(
            ('key = "pki/tls-smdp.key"', 'key = "pki/tls-smsr.key"'),
            ('"pki/ci-P-256.pem"', '"pki/tls-smdp.pem"'),
            ('certificate = "pki/cert-dp-brainpoolP256r1.der"', 'certificate = "pki/cert-dp-P-256.der"'),
            ('uri = "pkcs11:token=keyferry"', 'uri = "pkcs11:token=nobody"'),
            ('path = "store.db"', 'path = "none.db"'),
            (f'es3 = "127.0.0.1:{self.world.es3}"', f'es3 = "127.0.0.1:{self.world.es2}"'),
            ('oid = "2.999.20"', 'oid = "two"'),
            ("workers = 2", "workers = 0\nwrokers = 3"))
        self.refused(config, ("tls.key", "not the key"), ("pki.ci_roots", "not the certificate"),
                     ("identity[1].certificate", "bad-curve"), ("token.uri", "no token matches"),
                     ("store.path", "no such file"), ("listen.es3", "two ports"), ("smdp.oid", "OID"),
                     ("token.workers", "from 1"), ("token.wrokers", "unknown key"))

    def test_no_configuration(self):
        for verb in (["serve"], ["status"], ["check-config"], ["profile", "list"], ["identity", "show"], ["token", "drain", "x"]):
            with self.subTest(verb):
                r = lab.run("keyferry", *verb, "-c", self.world.dir / "none.toml", status=2)
                self.assertIn("none.toml: no such file", r.stderr)
                self.assertIn("keyferry init", r.stderr)


if __name__ == "__main__":
    unittest.main()
