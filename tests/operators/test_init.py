"""`keyferry init` makes a set-up, replaces nothing, and says what it refuses and why."""
import contextlib
import shutil
import sqlite3
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
        for lost in ["token", "store.db", "token/pin", "pki/cert-dp-P-256.der", "pki/ci-P-256.pem", "pki/tls-root.pem"]:
            with self.subTest(lost):
                d = self.world.copy()
                shutil.rmtree(d / lost) if (d / lost).is_dir() else (d / lost).unlink()
                before = everything_in(d)
                r = self.again(d, status=1)
                self.assertIn(str(d / lost), r.stderr)
                self.assertIn("backup", r.stderr)
                self.assertEqual(everything_in(d), before, "nothing may change")

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
            (["--module", "/none.so"], "Your own HSM"),
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
                lab.run("keyferry", "init", "--dir", d, *args)
                self.assertIn("good", lab.run("keyferry", "check-config", "-c", d / "smdp.toml").stdout)


if __name__ == "__main__":
    unittest.main()
