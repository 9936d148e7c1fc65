"""What the tests of this folder share: programs, a set-up made once, ports, processes that end with the test."""
import atexit
import contextlib
import fcntl
import os
import pathlib
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time

SOURCE = pathlib.Path(os.environ["KF_SOURCE"])
BIN = pathlib.Path(os.environ["KF_BIN"])
PATIENCE = 240  # seconds: no test judges speed, and the machine may be busy

_dirs = []


def own_network():
    """A network of this process's own, so that the ports that documents name are free. False: the kernel allows none."""
    if os.environ.get("KF_OWN_NETWORK"):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            fcntl.ioctl(s, 0x8914, struct.pack("16sH14s", b"lo", 0x41, b""))  # SIOCSIFFLAGS: IFF_UP, IFF_RUNNING
        return True
    if subprocess.run(["unshare", "-rn", "true"], stderr=subprocess.DEVNULL, check=False).returncode != 0:
        return False
    os.environ["KF_OWN_NETWORK"] = "1"
    os.execvp("unshare", ["unshare", "-rn", sys.executable, "-B", *sys.argv])


def temporary():
    d = pathlib.Path(tempfile.mkdtemp(prefix="kf-op-"))
    _dirs.append(d)
    return d


@atexit.register
def _clean():
    for d in _dirs:
        shutil.rmtree(d, ignore_errors=True)


def run(*args, status=0, stdin=None, cwd=None, env=None):
    """A program to its end. `status`: what it must end with; None: anything. First argument: a name in BIN or a path."""
    args = [str(a) for a in args]
    if args[0].startswith("keyferry"):
        args[0] = str(BIN / args[0])
    r = subprocess.run(args, input=stdin, capture_output=True, text=True, timeout=PATIENCE, cwd=cwd, check=False,
                       env={**os.environ, **(env or {})})
    if status is not None and r.returncode != status:
        raise AssertionError(f"{' '.join(args)}\nexit status {r.returncode}, expected {status}\n{r.stdout}\n{r.stderr}")
    return r


def free_ports(n):
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(n)]
        for s in sockets:
            s.bind(("127.0.0.1", 0))
        return [s.getsockname()[1] for s in sockets]


def wait_for(what, happened, process=None):
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if happened():
            return
        if process is not None and process.poll() is not None:
            raise AssertionError(f"{what}: the program ended with {process.returncode}\n{process.log()}")
        time.sleep(0.02)
    raise AssertionError(f"{what}: not within {PATIENCE} s" + ("\n" + process.log() if process else ""))


class Process(subprocess.Popen):
    """A program in the background that dies with this one; what it prints goes to a file."""

    def __init__(self, *args, cwd=None, env=None):
        args = [str(a) for a in args]
        if args[0].startswith("keyferry"):
            args[0] = str(BIN / args[0])
        self.file = temporary() / "log"
        with open(self.file, "wb") as f:
            super().__init__(args, stdout=f, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, cwd=cwd, env=env)
        atexit.register(self.end)

    def log(self):
        return self.file.read_text(errors="replace")

    def end(self):
        if self.poll() is None:
            self.send_signal(signal.SIGTERM)
            try:
                self.wait(40)
            except subprocess.TimeoutExpired:
                self.kill()
                self.wait()
        return self.returncode


class World:
    """A directory made by `keyferry init` on free ports, and the server and SM-SR on it."""

    def __init__(self, *init_args):
        self.dir = temporary() / "world"
        self.es2, self.es3, self.smsr, self.operator, self.control = free_ports(5)
        self.init_args = ["--es2-port", self.es2, "--es3-port", self.es3, "--smsr-url",
                          f"https://127.0.0.1:{self.smsr}/es3", "--operator-url",
                          f"https://127.0.0.1:{self.operator}/es2/callback", *init_args]
        self.config = self.dir / "smdp.toml"
        self.said = run("keyferry", "init", "--dir", self.dir, *self.init_args).stdout

    def serve(self):
        self.server = Process("keyferry", "serve", "-c", self.config)
        wait_for("keyferry serve", lambda: run("keyferry", "status", "-c", self.config, "--json", status=None).stdout,
                 self.server)
        return self.server

    def sim(self, *args):
        self.simulator = Process("keyferry-sim", "run", "--pki", self.dir / "pki", "--es3-port", self.smsr, "--control-port",
                                 self.control, "--smdp-url", f"https://127.0.0.1:{self.es3}", *args)
        wait_for("keyferry-sim", lambda: "control_port" in self.simulator.log(), self.simulator)
        return self.simulator

    def copy(self):
        """Another directory with the same files, for a test that changes them."""
        d = temporary() / "world"
        shutil.copytree(self.dir, d, ignore=shutil.ignore_patterns("*.sock"))
        edit(d / "token" / "softhsm2.conf", (str(self.dir), str(d)))  # its tokens are its own
        return d


def edit(file, *changes):
    """Replaces text in a file; each piece must be there."""
    text = pathlib.Path(file).read_text()
    for old, new in changes:
        assert old in text, f"{file} has no {old!r}"
        text = text.replace(old, new, 1)
    pathlib.Path(file).write_text(text)


@contextlib.contextmanager
def checking():
    """Collects failures so that one run shows them all."""
    failures = []
    yield failures
    if failures:
        print("\n".join(failures), file=sys.stderr)
        sys.exit(1)
