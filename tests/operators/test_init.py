"""`keyferry init` makes a set-up, replaces nothing, and says what it refuses and why."""
import contextlib
import os
import re
import shutil
import sqlite3
import ssl
import unittest

import lab


def everything_in(d, used=False):
    """Files and what they hold. `used`: the token was opened, which touches SoftHSM's locks and counters, and the store."""
    def kept(p):
        return not (used and (p.name in ("softhsm2.conf", "store.db") or "tokens" in p.parts and (p.suffix != ".object" or p.name == "token.object") or "db-" in p.name))
    files = {str(p.relative_to(d)): hash(p.read_bytes()) for p in d.rglob("*") if p.is_file() and kept(p)}
    if used:  # opening it tidies it up; whose it is stays
        with contextlib.closing(sqlite3.connect(d / "store.db")) as db:
            files["data key"] = db.execute("SELECT value FROM meta WHERE key='data_key'").fetchone()
    return files


def names_in(certificate):
    return [name for _, name in ssl._ssl._test_decode_cert(str(certificate))["subjectAltName"]]  # pylint: disable=protected-access


class Init(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.world = lab.World()

    def again(self, d, *args, status):
        return lab.run("keyferry", "init", "--dir", d, *self.world.init_args, *args, status=status)

    def test_twice_is_once(self):
        d = self.world.copy()
        before = everything_in(d, used=True)
        self.assertIn("nothing to do", self.again(d, status=0).stdout)
        self.assertEqual(everything_in(d, used=True), before)

    def test_lost_parts_are_named_and_nothing_is_replaced(self):
        kept = self.world.copy()
        for lost in ["token", "store.db", "token/pin", "pki/ci-P-256.key", "pki/tls-smsr.key"]:
            with self.subTest(lost):
                d, away = kept, kept.parent / "away"
                (d / lost).rename(away)
                before = everything_in(d)
                r = self.again(d, status=1)
                self.assertIn(str(d / lost), r.stderr)
                self.assertIn("backup", r.stderr)
                self.assertEqual(everything_in(d), before, "nothing may change")
                away.rename(d / lost)

    def test_an_empty_store_is_a_lost_one(self):
        d = self.world.copy()
        (d / "store.db").write_bytes(b"")
        self.assertIn("store.db, which is empty", self.again(d, status=1).stderr)
        self.assertEqual((d / "store.db").stat().st_size, 0)

    def test_keys_of_the_test_ci_are_not_missed_where_a_real_one_has_taken_over(self):
        d = self.world.copy()
        for curve in ("P-256", "brainpoolP256r1"):  # as docs/pki.md says
            (d / "pki" / f"real-{curve}.pem").write_bytes((d / "pki" / f"ci-{curve}.pem").read_bytes())
            lab.edit(d / "smdp.toml", (f'"pki/ci-{curve}.pem"', f'"pki/real-{curve}.pem"'))
            for who in ("ci", "eum"):
                (d / "pki" / f"{who}-{curve}.key").unlink()
        self.assertIn("nothing to do", self.again(d, status=0).stdout)
        self.assertFalse((d / "pki" / "ci-P-256.key").exists())

    def test_a_copy_does_not_use_the_tokens_of_the_original(self):
        a, b = self.world.copy(), self.world.copy()
        conf = (a / "token" / "softhsm2.conf").read_text()
        (b / "token" / "softhsm2.conf").write_text(conf)
        r = lab.run("keyferry", "check-config", "-c", b / "smdp.toml", status=2)
        self.assertIn("not in " + str(b / "token" / "tokens"), r.stderr)
        self.again(b, status=0)
        self.assertIn(": good", lab.run("keyferry", "check-config", "--token", "-c", b / "smdp.toml").stdout)

    def test_half_a_key_pair_is_made_whole(self):
        d = lab.temporary() / "d"
        lab.run("keyferry", "init", "--dir", d, *self.world.init_args)
        os.rename(d / "smdp.toml", d / "away")
        for cert in (d / "pki").glob("cert-dp-*"):
            cert.unlink()
        (d / "store.db").unlink()
        env = {"SOFTHSM2_CONF": str(d / "token" / "softhsm2.conf")}
        module = re.search(r'module = "([^"]*)"', (d / "away").read_text())[1]
        lab.run("/usr/bin/pkcs11-tool", "--module", module, "--login", "--pin", (d / "token" / "pin").read_text().strip(), "--delete-object",
                "--type", "privkey", "--label", "SK.DP.ECDSA P-256", env=env)
        self.assertIn('key "SK.DP.ECDSA P-256" generated', self.again(d, status=0).stdout)
        self.assertIn(": good", lab.run("keyferry", "check-config", "--token", "-c", d / "smdp.toml").stdout)

    def test_the_so_pin_may_be_kept_elsewhere(self):
        d = self.world.copy()
        (d / "token" / "so-pin").unlink()
        self.assertIn("nothing to do", self.again(d, status=0).stdout)
        self.assertFalse((d / "token" / "so-pin").exists(), "a PIN that does not fit the token")

    def test_a_lost_certificate_is_issued_again_for_its_key(self):
        d = self.world.copy()
        for lost in (["tls-smsr.pem", "tls-smdp.pem", "eum-P-256.pem", "cert-dp-P-256.der"], ["ci-P-256.pem", "tls-root.pem"]):
            with self.subTest(lost):
                for name in lost:
                    (d / "pki" / name).unlink()
                before = everything_in(d, used=True)
                said = self.again(d, status=0).stdout
                after = everything_in(d, used=True)
                self.assertEqual({k: v for k, v in after.items() if k in before}, before, "no file that was there has changed")
                for name in lost:
                    self.assertIn(str(d / "pki" / name), said)
                self.assertNotIn("nothing to do", said)
                self.assertIn(": good", lab.run("keyferry", "check-config", "--token", "-c", d / "smdp.toml").stdout)
        # What hangs below them is as good as before: keys of CAs stay, so their names and identifiers do.
        lab.run("/usr/bin/openssl", "verify", "-CAfile", d / "pki" / "tls-root.pem", d / "pki" / "tls-smsr.pem", d / "pki" / "tls-m2m.pem")

    def test_the_way_out_of_a_lost_pair_works(self):
        d = self.world.copy()
        (d / "pki" / "tls-smsr.key").unlink()
        self.assertIn("move " + str(d / "pki" / "tls-smsr.pem") + " away, too", self.again(d, status=1).stderr)
        (d / "pki" / "tls-smsr.pem").rename(d / "old.pem")
        self.assertIn("tls-smsr.pem, with a new key", self.again(d, status=0).stdout)
        self.assertIn(": good", lab.run("keyferry", "check-config", "-c", d / "smdp.toml").stdout)

    def test_a_store_is_made_anew_only_when_asked(self):
        d = self.world.copy()
        self.assertIn("is there", self.again(d, "--new-store", status=1).stderr)
        (d / "store.db").unlink()
        for verb in (["profile", "list"], ["check-config"], ["serve"], ["profile", "release", "--iccid", "89000000000000000012"]):
            r = lab.run("keyferry", *verb, "-c", d / "smdp.toml", status=None)
            self.assertIn("keyferry init --dir", r.stderr, verb)
            self.assertFalse((d / "store.db").exists(), "an empty store in its place would look as if all were well")
        self.assertIn("--new-store", self.again(d, status=1).stderr)
        self.assertIn("store.db", self.again(d, "--new-store", status=0).stdout)
        self.assertIn(": good", lab.run("keyferry", "check-config", "--token", "-c", d / "smdp.toml").stdout)

    def test_a_store_under_a_token_of_your_own(self):
        """docs/configuration.md, "Your own HSM": here it is the SoftHSM of another directory."""
        d, hsm = self.world.copy(), self.world.copy()
        shutil.rmtree(d / "token")
        conf = hsm / "token" / "softhsm2.conf"
        lab.edit(d / "smdp.toml", ('"token/pin"', f'"{hsm}/token/pin"'), ('"token/softhsm2.conf"', f'"{conf}"'))
        self.assertIn("nothing to do", self.again(d, status=0).stdout)
        (d / "store.db").unlink()
        self.assertIn("store.db", self.again(d, "--new-store", status=0).stdout)
        self.assertIn("token, keys and store fit", lab.run("keyferry", "check-config", "--token", "-c", d / "smdp.toml").stdout)
        self.assertIn("of your own", self.again(d, "--force-config", status=2).stderr)

    def test_options_that_come_too_late_are_named(self):
        d = self.world.copy()
        r = self.again(d, "--es2-port", "9", "--host", "smdp.example", "--custody", "hybrid", status=0)
        self.assertIn("nothing to do", r.stdout)
        self.assertRegex(r.stderr, r"not applied: --host, --es2-port, --custody\. .*--force-config")
        r = self.again(d, "--host", "smdp.example", "--force-config", status=0)
        self.assertRegex(r.stderr, r"warning: smdp\.es2_url: .*smdp\.example")
        (d / "pki" / "tls-smdp.pem").rename(d / "old.pem")
        self.assertEqual(self.again(d, status=0).stderr, "", "as the warning says")
        self.assertIn("smdp.example", names_in(d / "pki" / "tls-smdp.pem"))

    def test_a_directory_that_has_moved(self):
        made = self.world.copy()
        d = made.with_name("moved")
        made.rename(d)
        r = lab.run("keyferry", "check-config", "--token", "-c", d / "smdp.toml", status=2)
        self.assertIn(f"keyferry init --dir {d}", r.stderr)
        self.assertIn("softhsm2.conf, which says where the tokens are", self.again(d, status=0).stdout)
        (d / "token" / "softhsm2.conf").unlink()
        for verb in (["check-config"], ["serve"], ["identity", "show"]):
            r = lab.run("keyferry", *verb, "-c", d / "smdp.toml", status=2)
            self.assertIn(f"softhsm2.conf; `keyferry init --dir {d}`", r.stderr)
        self.assertIn("softhsm2.conf", self.again(d, status=0).stdout)
        self.assertIn(": good", lab.run("keyferry", "check-config", "--token", "-c", d / "smdp.toml").stdout)

    def test_a_lost_token_is_noticed_without_a_configuration(self):
        d = self.world.copy()
        (d / "smdp.toml").unlink()
        shutil.rmtree(d / "token")
        before = everything_in(d)
        self.assertIn("tokens", self.again(d, status=1).stderr)
        self.assertEqual(everything_in(d), before)

    def test_parts_of_two_set_ups(self):
        other = lab.World()
        for theirs, words in [("store.db", "does not open"), ("pki/cert-dp-P-256.der", "not the certificate of the key")]:
            with self.subTest(theirs):
                d = self.world.copy()
                shutil.copy(other.dir / theirs, d / theirs)
                before = everything_in(d, used=True)
                self.assertIn(words, self.again(d, status=1).stderr)
                self.assertEqual(everything_in(d, used=True), before)

    def test_an_interrupted_set_up_goes_on(self):
        d = self.world.copy()
        for made_late in ("smdp.toml", "store.db"):
            (d / made_late).unlink()
        self.again(d, status=0)
        self.assertIn("good", lab.run("keyferry", "check-config", "--token", "-c", d / "smdp.toml").stdout)

    def test_not_under_a_running_server(self):
        self.world.serve()
        try:
            for more in ([], ["--force-config"]):
                self.assertIn("a server runs on", self.again(self.world.dir, *more, status=1).stderr)
        finally:
            self.world.server.end()

    def test_options_that_make_no_good_configuration(self):
        d = lab.temporary() / "new"
        for args, words in [
            (["--dir", ""], "--dir"), (["--dir", str(d) + "/" + "long" * 30], "too long"), (["--bind", "localhost"], "--host"),
            (["--bind", "0.0.0.0"], "--host"), (["--es2-port", "0"], "--es2-port"), (["--es2-port", "70000"], "70000"),
            (["--es2-port", "8444"], "two ports"), (["--smsr-url", "http://127.0.0.1/"], "https"), (["--host", "a b"], "--host"),
            (["--module", "/none.so"], "--module: no such option"),
        ]:
            with self.subTest(args):
                given = args if args[0] == "--dir" else ["--dir", d, *args]
                r = lab.run("keyferry", "init", *given, status=2)
                self.assertIn(words, r.stderr)
                self.assertFalse(d.exists(), "nothing was made")

    def test_other_addresses(self):
        for args in (["--bind", "::1"], ["--bind", "0.0.0.0", "--host", "smdp.example"]):
            with self.subTest(args):
                d = lab.temporary() / "new"
                lab.run("keyferry", "init", "--dir", d, *args, "--smsr-url", "https://sr.example:9444/es3")
                r = lab.run("keyferry", "check-config", "-c", d / "smdp.toml")
                self.assertIn("good", r.stdout)
                self.assertEqual(r.stderr, "", "the certificate is for the name in our URLs")
                self.assertEqual("smdp.example" in names_in(d / "pki" / "tls-smdp.pem"), "--host" in args)
                self.assertIn("sr.example", names_in(d / "pki" / "tls-smsr.pem"))
        lab.edit(d / "smdp.toml", ('es3_url = "https://', 'es3_url = "https://another.'))
        r = lab.run("keyferry", "check-config", "-c", d / "smdp.toml")
        self.assertRegex(r.stderr, r"warning: .*smdp\.es3_url: .*another\.smdp\.example")


if __name__ == "__main__":
    unittest.main()
