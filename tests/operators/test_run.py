"""./run in its own words: the caller's relative paths, options given twice, copied checkouts, and what clean leaves."""
import os
import shutil
import subprocess
import unittest

import lab

# Stands in for each program: says where it runs and what it was given. What the programs do with it is tested elsewhere.
ECHO = '#!/bin/sh\nprintf "%s in %s:" "${0##*/}" "$PWD"; printf " <%s>" "$@"; echo\n'
# Stands in for cmake and ninja: leaves what they leave.
CMAKE = '#!/bin/sh\necho "cmake in $PWD" >&2\nmkdir -p build/release\necho "CMAKE_HOME_DIRECTORY:INTERNAL=$PWD" >build/release/CMakeCache.txt\n' \
        'touch build/release/build.ninja\n'
NINJA = '#!/bin/sh\necho "ninja $*" >&2\n'


class Run(unittest.TestCase):
    def setUp(self):
        self.root = lab.temporary() / "checkout"
        self.make_checkout(self.root)
        self.elsewhere = lab.temporary()
        self.tools = lab.temporary()
        for name, text in (("cmake", CMAKE), ("ninja", NINJA)):
            (self.tools / name).write_text(text)
            (self.tools / name).chmod(0o755)
        (self.tools / "dpkg-query").write_text("#!/bin/sh\nfor p; do :; done\nsed 's/$/ installed/' cmake/packages.txt\n")
        (self.tools / "dpkg-query").chmod(0o755)

    def make_checkout(self, root):
        (root / "cmake").mkdir(parents=True)
        shutil.copy(lab.SOURCE / "run", root / "run")
        (root / "cmake" / "packages.txt").write_text("none\n")
        bin_dir = root / "build" / "release" / "bin"
        bin_dir.mkdir(parents=True)
        for program in ("keyferry", "keyferry-sim", "keyferry-bench"):
            (bin_dir / program).write_text(ECHO)
            (bin_dir / program).chmod(0o755)

    def run_it(self, *args, cwd=None, root=None, status=0, no_build="1"):
        env = {**os.environ, "PATH": f"{self.tools}:{os.environ['PATH']}", "KEYFERRY_NO_BUILD": no_build}
        r = subprocess.run([(root or self.root) / "run", *args], cwd=cwd or self.elsewhere, env=env, capture_output=True,
                           text=True, timeout=lab.PATIENCE, check=False)
        self.assertEqual(r.returncode, status, r.stdout + r.stderr)
        return r.stdout + r.stderr

    def test_relative_paths_are_the_callers(self):
        for verb, program in ((["burst", "--profile", "mine.der"], "keyferry-bench"), (["bench", "hsm", "x.json"], "keyferry-bench"),
                              (["serve", "-c", "my.toml"], "keyferry"), (["sim", "--audit", "log"], "keyferry-sim")):
            with self.subTest(verb):
                said = self.run_it(*verb).splitlines()[-1]
                self.assertIn(f"{program} in {self.elsewhere.resolve()}:", said)
                self.assertTrue(said.endswith(f"<{verb[-1]}>"), said)
                self.assertNotIn("<var", said, "its own paths lie in the checkout")
        self.assertIn(f"<{self.root}/var/burst/report.json>", self.run_it("burst"))
        self.assertIn("<var/burst/report.json>", self.run_it("burst", cwd=self.root))

    def test_an_option_of_a_verb_may_be_given_again(self):
        said = self.run_it("burst", "--report-json", "mine.json")
        self.assertLess(said.index("report.json>"), said.index("<mine.json>"), "the caller's comes last")

    def test_a_copied_checkout_is_configured_anew(self):
        self.assertIn("configuring build/release", self.run_it("build", "programs", no_build=""))
        self.assertNotIn("configuring", self.run_it("build", "programs", no_build=""))
        copy = lab.temporary() / "copy"
        shutil.copytree(self.root, copy)
        said = self.run_it("build", "programs", root=copy, no_build="")
        self.assertIn(f"belongs to {self.root}: configuring anew", said)
        self.assertIn(f"cmake in {copy}", (copy / "build" / "configure-release.log").read_text())
        self.assertIn("ninja -C build/release", said)
        moved = self.root.with_name("moved")
        self.root.rename(moved)
        self.assertIn("configuring anew", self.run_it("build", "programs", root=moved, no_build=""))

    def test_build(self):
        said = self.run_it("build", "programs", no_build="")
        self.assertRegex(said, r"ninja -C build/release .*keyferry keyferry-hsm-worker .*keyferry-sim keyferry-bench")
        self.assertIn("programs, or a preset", self.run_it("build", "everything", status=2))

    def test_clean_keeps_keys(self):
        key = self.root / "var" / "token" / "key"
        key.parent.mkdir(parents=True)
        key.write_text("secret")
        self.run_it("clean")
        self.assertTrue(key.exists())
        self.assertFalse((self.root / "build").exists())
        self.assertIn("only --var", self.run_it("clean", "all", status=2))
        self.assertTrue(key.exists())
        self.run_it("clean", "--var")
        self.assertFalse(key.exists())

    def test_set_up_knows_where_the_tokens_are(self):
        token = self.root / "var" / "token"
        token.mkdir(parents=True)
        (self.root / "var" / "smdp.toml").write_text("")
        conf = token / "softhsm2.conf"
        conf.write_text(f"directories.tokendir = {self.root}/var/token/tokens\n")
        self.assertNotIn("<init>", self.run_it("serve"))
        conf.write_text("directories.tokendir = /old/place/var/token/tokens\n")
        self.assertIn("<init> <--dir> <var>", self.run_it("serve"))

    def test_help_and_mistakes(self):
        for verb in ("burst", "test", "soak", "bench", "synth", "serve", "sim", "build", "lint", "format", "clean", "help"):
            self.assertIn(f"\n  {verb} ", self.run_it("help"))
        self.assertIn("unknown verb: nonsense", self.run_it("nonsense", status=2))
        for mistake in (["build", "programs", "release"], ["format", "run"], ["clean", "--var", "build"], ["test", "--preset"], ["test", "--preset", "x"]):
            self.assertIn("run: " + mistake[0] if mistake[0] != "test" else "run: --preset", self.run_it(*mistake, status=2))


if __name__ == "__main__":
    unittest.main()
