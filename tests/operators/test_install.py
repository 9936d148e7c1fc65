"""`cmake --install`: the installed tree works by itself, wherever it lies."""
import os
import shutil
import unittest

import lab

BUILD = os.environ["KF_BUILD"]


def install(*args, **env):
    return lab.run("cmake", "--install", BUILD, "--strip", *args, env=env)


class Install(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        # Moved afterwards: nothing in it may depend on where it was put.
        first = lab.temporary() / "first"
        install("--prefix", first)
        cls.prefix = lab.temporary() / "keyferry"
        shutil.move(first, cls.prefix)
        cls.keyferry = cls.prefix / "bin" / "keyferry"

    def test_what_is_there(self):
        files = {str(p.relative_to(self.prefix)) for p in self.prefix.rglob("*") if p.is_file()}
        pages = {f for f in files if f.startswith("share/doc/keyferry/")}
        self.assertEqual(files - pages, {"bin/keyferry", "libexec/keyferry/keyferry-hsm-worker",
                                         "libexec/keyferry/keyferry-ecc-sim", "lib/libkeyferry-p11.so"})
        for page in ("README.md", "CHANGELOG.md", "LICENSE", "docs/configuration.md", "docs/interfaces/es2-smdp.wsdl"):
            self.assertIn("share/doc/keyferry/" + page, pages)

    def test_it_says_what_it_is(self):
        built = lab.run("keyferry", "--version").stdout
        self.assertEqual(lab.run(self.keyferry, "--version").stdout, built)
        self.assertIn("keyferry init", lab.run(self.keyferry, "--help").stdout)

    def test_it_finds_its_worker(self):
        d = lab.temporary() / "world"
        lab.run(self.keyferry, "init", "--dir", d)
        self.assertIn("fit", lab.run(self.keyferry, "check-config", "--token", "-c", d / "smdp.toml").stdout)
        # Not one of the build's, found by chance.
        worker = self.prefix / "libexec" / "keyferry" / "keyferry-hsm-worker"
        worker.rename(worker.with_suffix(".away"))
        try:
            said = lab.run(self.keyferry, "check-config", "--token", "-c", d / "smdp.toml", status=None)
            self.assertNotEqual(said.returncode, 0)
            self.assertIn(f"keyferry-hsm-worker is not in {self.prefix}/bin", said.stderr)
        finally:
            worker.with_suffix(".away").rename(worker)

    @unittest.skipIf(os.environ["KF_SANITIZE"], "no simulated core is built with sanitizers")
    def test_the_module_finds_its_core(self):
        said = lab.run(self.keyferry, "probe", "--module", self.prefix / "lib" / "libkeyferry-p11.so", "--seconds", "0")
        self.assertIn("SIMULATED", said.stdout)

    def test_for_packagers(self):
        stage = lab.temporary()
        install("--prefix", "/usr", DESTDIR=str(stage))
        self.assertEqual([p.name for p in stage.iterdir()], ["usr"])
        self.assertTrue((stage / "usr" / "bin" / "keyferry").exists())


if __name__ == "__main__":
    unittest.main()
