"""`keyferry check-config` says what `keyferry serve` would: the same mistakes, all at once, and good only to what starts."""
import re
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
        self.world.serve()
        try:
            self.assertIn(": good", lab.run("keyferry", "check-config", "-c", self.world.config, "--token").stdout)
        finally:
            self.assertEqual(self.world.server.end(), 0)

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
            (('"pki/eum-P-256.pem"', '"pki/eum-P-256.key"'), "pki.eum_certificates", "no certificate"),
            ((cert, 'certificate = "pki/cert-dp-brainpoolP256r1.der"'), "identity[0].certificate", "bad-curve"),
            ((cert, 'certificate = "pki/tls-smdp.pem"'), "identity[0].certificate", "no CERT.DP.ECDSA"),
            ((name, 'uri = "pkcs11:token=%zz"'), "token.uri", "malformed"),
            ((name, 'uri = "token=keyferry"'), "token.uri", "RFC 7512"),
            ((name, 'uri = "pkcs11:token=nobody"'), "token.uri", "no token matches"),
            (('path = "store.db"', 'path = "none.db"'), "store.path", "no such file"),
            (('path = "store.db"', 'path = "smdp.toml"'), "store.path", "not a database"),
            ((f'es3 = "127.0.0.1:{self.world.es3}"', f'es3 = "127.0.0.1:{self.world.es2}"'), "listen.es3", "two ports"),
            ((f'es2 = "127.0.0.1:{self.world.es2}"', f'es2 = "localhost:{self.world.es2}"'), "listen.es2", "no IP address"),
            ((f'es2 = "127.0.0.1:{self.world.es2}"', f'es2 = "192.0.2.1:{self.world.es2}"'), "listen.es2", "192.0.2.1"),
            (('admin_socket = "run/', 'admin_socket = "nowhere/'), "listen.admin_socket", "no such directory"),
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
            (self.tampered(('label = "SK.DP.ECDSA P-256"', 'label = "none"')), "token", "none"),
            (self.tampered(('wrap_key = "Keyferry wrap key"', 'wrap_key = "none"')), "token", "none"),
            (wrong_pin, "token", "PIN"),
        ]:
            with self.subTest(words):
                self.assertIn(": good", lab.run("keyferry", "check-config", "-c", config).stdout)
                self.refused(config, (key, words), token=True)

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
