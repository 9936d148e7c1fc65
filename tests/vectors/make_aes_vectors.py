#!/usr/bin/env python3
"""Writes data/wycheproof-aes-cbc-pkcs5.json and data/wycheproof-aes-wrap.json: the project's own cases in those schemas
of Wycheproof's. What is right is computed by the openssl command; what is wrong is a right case with one fault.

    make_aes_vectors.py           writes the files
    make_aes_vectors.py --check   exit status 1 when they are not what would be written
"""
import hashlib
import json
import pathlib
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
HEADER = ["made by tests/vectors/make_aes_vectors.py with OpenSSL's AES; keys and messages are hashes of their names"]


def octets(name, n):
    out = b""
    while len(out) < n:
        out += hashlib.sha256(f"{name} {len(out)}".encode()).digest()
    return out[:n]


def openssl(*arguments, data):
    return subprocess.run(["openssl", "enc", *arguments], input=data, check=True, capture_output=True).stdout


def cbc(key, iv, data, padded=True):
    more = [] if padded else ["-nopad"]
    return openssl(f"-aes-{8 * len(key)}-cbc", "-K", key.hex(), "-iv", iv.hex(), *more, data=data)


def wrap(key, data):
    return openssl(f"-id-aes{8 * len(key)}-wrap", "-K", key.hex(), "-iv", "a6" * 8, data=data)


class Cases:
    def __init__(self):
        self.n = 0

    def case(self, comment, result, **values):
        self.n += 1
        texts = {name: value.hex() for name, value in values.items()}
        return {"tcId": self.n, "comment": comment, **texts, "result": result, "flags": []}


def flipped(data, bit):
    out = bytearray(data)
    out[bit // 8] ^= 1 << bit % 8
    return bytes(out)


def cbc_file():
    cases, groups = Cases(), []
    for size in (16, 24, 32):
        tests = []
        for length in (0, 1, 8, 15, 16, 17, 31, 32, 33, 64, 100, 255):
            key, iv, msg = (octets(f"cbc {what} {size} {length}", n)
                            for what, n in (("key", size), ("iv", 16), ("msg", length)))
            tests.append(cases.case(f"{length} octets", "valid", key=key, iv=iv, msg=msg, ct=cbc(key, iv, msg)))
        key, iv = octets(f"cbc bad key {size}", size), octets(f"cbc bad iv {size}", 16)
        good = octets(f"cbc bad msg {size}", 20)
        bad = {
            "padding of zero": bytes(16),
            "padding longer than a block": bytes(15) + b"\x11",
            "padding that differs in its first octet": good[:12] + b"\x03\x04\x04\x04",
            "padding that differs in its middle": good[:8] + b"\x08\x08\x08\x09\x08\x08\x08\x08",
            "no padding": good[:15] + b"\xff",
        }
        for comment, blocks in bad.items():
            tests.append(cases.case(comment, "invalid", key=key, iv=iv, msg=good, ct=cbc(key, iv, blocks, False)))
        whole = cbc(key, iv, good)
        tests.append(cases.case("empty", "invalid", key=key, iv=iv, msg=b"", ct=b""))
        tests.append(cases.case("cut in a block", "invalid", key=key, iv=iv, msg=good, ct=whole[:-1]))
        tests.append(cases.case("last block missing", "invalid", key=key, iv=iv, msg=good, ct=whole[:-16]))
        tests.append(cases.case("another message", "invalid", key=key, iv=flipped(iv, 3), msg=good, ct=whole))
        groups.append({"type": "IndCpaTest", "keySize": 8 * size, "ivSize": 128, "tests": tests})
    return {"algorithm": "AES-CBC-PKCS5", "schema": "ind_cpa_test_schema.json", "numberOfTests": cases.n,
            "header": HEADER, "testGroups": groups}


def wrap_file():
    cases, groups = Cases(), []
    for size in (16, 24, 32):
        tests = []
        for length in (16, 24, 32, 40, 64, 128):
            key, msg = octets(f"wrap key {size} {length}", size), octets(f"wrap msg {size} {length}", length)
            ct = wrap(key, msg)
            tests.append(cases.case(f"{length} octets", "valid", key=key, msg=msg, ct=ct))
            for bit in (0, 63, 64, 8 * len(ct) - 1):
                tests.append(cases.case(f"bit {bit} flipped", "invalid", key=key, msg=msg, ct=flipped(ct, bit)))
        tests.append(cases.case("another key", "invalid", key=flipped(key, 0), msg=msg, ct=ct))
        tests.append(cases.case("eight octets less", "invalid", key=key, msg=msg, ct=ct[:-8]))
        tests.append(cases.case("cut in a block", "invalid", key=key, msg=msg, ct=ct[:-1]))
        tests.append(cases.case("one block", "invalid", key=key, msg=b"", ct=ct[:16]))
        tests.append(cases.case("empty", "invalid", key=key, msg=b"", ct=b""))
        groups.append({"type": "KeywrapTest", "keySize": 8 * size, "tests": tests})
    return {"algorithm": "AES-WRAP", "schema": "keywrap_test_schema.json", "numberOfTests": cases.n,
            "header": HEADER, "testGroups": groups}


def main():
    status = 0
    for name, make in (("wycheproof-aes-cbc-pkcs5.json", cbc_file), ("wycheproof-aes-wrap.json", wrap_file)):
        path, text = HERE / "data" / name, json.dumps(make(), indent=1) + "\n"
        if sys.argv[1:] != ["--check"]:
            path.write_text(text)
        elif path.read_text() != text:
            print(f"{path} is not what make_aes_vectors.py would write", file=sys.stderr)
            status = 1
    return status


if __name__ == "__main__":
    sys.exit(main())
