"""README.md and docs/*.md do what they say: every command runs verbatim, every output has the shape that is shown, every
TOML example is read by the real reader.

How a document marks its fenced blocks:
  ```sh        run, from top to bottom, in one shell a document, in a checkout of its own
  ```text      behind an sh block: what it printed. Compared are the words at the beginning of each line, up to two blanks,
               with numbers and checksums left out; a line "..." stands for any lines
  ```toml      <!-- read by: keyferry --> or <!-- read by: libkeyferry-p11 --> stands before it
  <!-- terminal: WORDS -->       before an sh block: it stays running; ready once it has printed WORDS
  <!-- not run: REASON -->       before an sh block that cannot run here
A block without a language must hold no command.
"""
import os
import pathlib
import re
import shutil
import subprocess
import sys
import unittest

import lab

COMMANDS = re.compile(r"^\s*(\./run|build/\S+/bin/|keyferry(-\w+)? [a-z-]|pkcs11-tool|openssl|sqlite3|p11tool|certutil|keytool|"
                      r"softhsm2-util|sudo|apt-get|export )")
# Pages whose commands another test runs as they stand there; their TOML is the module's.
ELSEWHERE = {"pkcs11-module.md": "tests/p11module"}
PROMPT = "end-of-block-7f3a"


def blocks(document):
    """(line number, language, marker before it, text) of each fenced block."""
    lines = document.read_text().splitlines()
    i, out = 0, []
    while i < len(lines):
        if lines[i].startswith("```"):
            marker = re.match(r"<!-- (.*) -->$", lines[i - 1]) if i else None
            end = next(n for n in range(i + 1, len(lines)) if lines[n].startswith("```"))
            out.append((i + 1, lines[i][3:].strip(), marker.group(1) if marker else "", "\n".join(lines[i + 1:end])))
            i = end
        i += 1
    return out


def shape(line):
    """What must stay the same in a line from run to run."""
    line = re.sub(r"\b[0-9a-f]{12}(\+changes)?\b", "H", line.strip())
    line = re.sub(r"/\S*/(?=\S)", "/", line)                    # folders
    line = re.sub(r" \|#+ ", " | ", line)                      # bars
    line = re.sub(r"\b[0-9A-F]{12,}\b|-?\d[\d.,:]*\d|\d", "0", line)
    if line.startswith("{"):                                   # JSON: its first key
        return line.split('"')[1]
    return re.split(r" {2,}", line)[0]


def has_shape(sample, said):
    """None, or the first line of the sample that is not there in its place."""
    said = [shape(line) for line in said.splitlines() if line.strip()]
    lines = [line for line in sample.splitlines() if line.strip()]
    reached = {0}  # how many lines of `said` the sample so far may stand for
    for line in lines:
        if line.strip() == "...":
            reached = set(range(min(reached), len(said) + 1))
            continue
        want = shape(line)
        now = {at + 1 for at in reached if at < len(said) and said[at] == want}
        if not now:
            there = said[min(reached)] if min(reached) < len(said) else "nothing more"
            return f"{line!r}: expected {want!r}, there is {there!r}"
        reached = now
    return None if len(said) in reached else f"more than is shown: {said[max(reached)]!r}"


class Shell:
    """A shell that is kept from block to block."""

    def __init__(self, cwd, env):
        self.errors = lab.temporary() / "stderr"
        with open(self.errors, "wb") as f:
            self.process = subprocess.Popen(["bash", "--norc"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=f,
                                            text=True, cwd=cwd, env=env)

    def run(self, text):
        # Each block as people paste it; the first command that fails is the block's status.
        self.process.stdin.write(f"kf_status=0; trap 'kf_status=$?' ERR\n{text}\ntrap - ERR\nprintf '\\n%s %s\\n' {PROMPT} $kf_status\n")
        self.process.stdin.flush()
        said = []
        for line in self.process.stdout:
            if line.startswith(PROMPT):
                return int(line.split()[1]), "".join(said).removesuffix("\n")
            said.append(line)
        raise AssertionError("the shell ended:\n" + "".join(said) + self.errors.read_text())

    def end(self):
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait()


def checkout():
    """What a clone is after ./run build: everything that git keeps, and the programs this test was started with."""
    d = lab.temporary() / "keyferry"
    d.mkdir()
    for entry in lab.SOURCE.iterdir():
        if entry.name not in ("build", "var", ".git"):
            (d / entry.name).symlink_to(entry)
    (d / "run").unlink()
    shutil.copy(lab.SOURCE / "run", d / "run")
    (d / "build" / "release").mkdir(parents=True)
    (d / "build" / "release" / "bin").symlink_to(lab.BIN)
    if (lab.BIN.parent / "lib").exists():
        (d / "build" / "release" / "lib").symlink_to(lab.BIN.parent / "lib")
    return d


class Documents(unittest.TestCase):
    documents = sorted([lab.SOURCE / "README.md", *(lab.SOURCE / "docs").rglob("*.md")], key=lambda p: (p.name != "README.md", p))

    def test_blocks_say_what_they_are(self):
        for document in self.documents:
            for line, language, marker, text in blocks(document):
                with self.subTest(f"{document.name}:{line}"):
                    if not language and document.name not in ELSEWHERE:
                        command = next((t for t in text.splitlines() if COMMANDS.match(t)), None)
                        self.assertIsNone(command, "a command: mark the block ```sh, or ```text when it is output")
                    if language == "toml" and document.name not in ELSEWHERE:
                        self.assertIn(marker, ("read by: keyferry", "read by: libkeyferry-p11"))
                    if marker.startswith("not run:"):
                        self.assertGreater(len(marker), 20, "the reason")

    def test_commands_and_outputs(self):
        home = checkout()
        env = {**os.environ, "HOME": str(home), "KEYFERRY_NO_BUILD": "1"}
        ran, terminals = 0, []
        for document in self.documents:  # README.md first: the others build upon its first hour
            if document.name in ELSEWHERE:
                continue
            shell, said = Shell(home, env), ""
            shell.run('export PATH="$PWD/build/release/bin:$PATH"')
            for line, language, marker, text in blocks(document):
                where = f"{document.name}:{line}"
                if language == "sh" and marker.startswith("terminal: "):
                    terminal = lab.Process("bash", "-c", "exec " + text.strip(), cwd=home, env=env)
                    terminals.append(terminal)
                    lab.wait_for(where, lambda t=terminal, words=marker[10:]: words in t.log(), terminal)
                    ran += 1
                elif language == "sh" and not marker.startswith("not run:"):
                    status, said = shell.run(text)
                    self.assertEqual(status, 0, f"{where}\n{text}\n{said}\n{shell.errors.read_text()}")
                    ran += 1
                elif language == "text" and not marker.startswith("not run:") and said:
                    wrong = has_shape(text, said)
                    self.assertIsNone(wrong, f"{where}: {wrong}\nIt printed:\n{said}")
                    said = ""
            shell.end()
        for terminal in terminals:
            terminal.end()
        self.assertGreater(ran, 6, "the blocks were not found")

    def test_the_simulator_s_own_help(self):
        """"Try it" of keyferry-sim --help, verbatim, with an SM-DP set up as it says."""
        home = checkout()
        env = {**os.environ, "PATH": f"{lab.BIN}:{os.environ['PATH']}"}
        tries = re.findall(r"^  ((?:keyferry-sim|curl) .*)$", lab.run("keyferry-sim", "--help").stdout.split("Try it")[1], re.M)
        self.assertEqual(len(tries), 3)
        (home / "s.csv").write_text("iccid,imsi,ki,opc\n89000000000000000012,001010000000001,{0},{0}\n".format("00" * 16))
        lab.run("keyferry", "init", "--dir", "var", cwd=home)
        lab.run("keyferry", "profile", "sample", "--out", "s.der", cwd=home)
        lab.run("keyferry", "profile", "import", "--owner", "2.999.10", "--template", "s.der", "--csv", "s.csv", cwd=home)
        server = lab.Process("keyferry", "serve", cwd=home)
        lab.wait_for("serve", lambda: "serves ES2" in server.log(), server)
        sim = lab.Process("bash", "-c", "exec " + tries[0], cwd=home, env=env)
        lab.wait_for(tries[0], lambda: '"ready":true' in sim.log(), sim)
        said = lab.run("/bin/bash", "-c", tries[1], cwd=home, env=env).stdout
        self.assertIn('"outcome":"EXECUTED_SUCCESS"', said)
        self.assertIn("HandleProfileEnabledNotification", said, "notifications reach the Operator")
        if shutil.which("curl"):
            self.assertIn('"verified":1', lab.run("/bin/bash", "-c", tries[2], cwd=home, env=env).stdout)
        sim.end()
        self.assertEqual(server.end(), 0)

    def test_toml(self):
        read = 0
        for document in self.documents:
            for line, language, marker, text in blocks(document):
                if language != "toml":
                    continue
                read += 1
                with self.subTest(f"{document.name}:{line}"):
                    reader = "libkeyferry-p11" if document.name in ELSEWHERE else marker.removeprefix("read by: ")
                    self.read_toml(reader, text)
        self.assertGreater(read, 0)

    def read_toml(self, reader, text):
        d = lab.temporary()
        if reader == "keyferry":  # a section or several: in place of those that init has written
            lab.run("keyferry", "init", "--dir", d)
            config = d / "smdp.toml"
            given = set(re.findall(r"^(\[+[a-z_]+\]+)", text, re.M))
            kept = [s for s in re.split(r"^(?=\[)", config.read_text(), flags=re.M) if s.split("\n")[0] not in given]
            config.write_text("".join(kept) + "\n" + text)
            lab.run("keyferry", "check-config", "-c", config)
            return
        module = lab.BIN.parent / "lib" / "libkeyferry-p11.so"
        if not module.exists():
            self.skipTest("libkeyferry-p11.so is not built")
        if not shutil.which("pkcs11-tool"):
            self.skipTest("pkcs11-tool is not installed")
        (d / "p11.toml").write_text(text)
        r = lab.run("/usr/bin/pkcs11-tool", "--module", module, "-L", status=None, env={"KEYFERRY_P11_CONF": str(d / "p11.toml")})
        self.assertEqual(r.returncode, 0, r.stderr)


class Shapes(unittest.TestCase):
    def test_they_tell_outputs_apart(self):
        said = "made  key 1\nmade  key 2\nrate   123.4/s over 1.2 s\ndone in /a/b/c\n"
        self.assertIsNone(has_shape("made  this\n...\nrate   9/s\ndone in /x/c", said))
        self.assertIsNone(has_shape("...\ndone in /y/c", said))
        self.assertIsNotNone(has_shape("made  this\nrate   9/s\ndone in /x/c", said))
        self.assertIsNotNone(has_shape("made  this\n...\nspeed  9/s\n...", said))
        self.assertIsNotNone(has_shape("made  this\nmade  that\nrate  1", said))


if __name__ == "__main__":
    lab.own_network()
    unittest.main()
