#!/usr/bin/env python3
"""Writes data/core-ecdh-point.json and data/core-ecdsa-p1363.json: the cases in which curve formulas, range checks or encodings break, on both
curves, in Wycheproof's schemas. Every value comes from the golden model (rtl/model/golden.py) and SHA-256.

    make_core_vectors.py           writes the two files
    make_core_vectors.py --check   exit status 1 when they are not what would be written
"""
import hashlib
import json
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "..", "rtl", "model"))
import golden  # noqa: E402

ORIGIN = "made by tests/vectors/make_core_vectors.py from the golden model rtl/model/golden.py"
CURVES = ((golden.P256, "secp256r1"), (golden.BRAINPOOL, "brainpoolP256r1"))


def number(label, below):
    """A number from 1 to below - 1 that follows from the label."""
    i = 0
    while True:
        v = int.from_bytes(hashlib.sha256(f"{label} {i}".encode()).digest(), "big")
        if 1 <= v < below:
            return v
        i += 1


def digest(msg):
    return int.from_bytes(hashlib.sha256(msg).digest(), "big")


def hex32(v):
    return f"{v:064x}"


def encoded(q):
    return "04" + hex32(q[0]) + hex32(q[1])


def negative(c, q):
    return (q[0], -q[1] % c.p)


def lift(c, x):
    """A point with that x, or None: both primes are 3 mod 4."""
    v = (x**3 + c.a * x + c.b) % c.p
    y = pow(v, (c.p + 1) // 4, c.p)
    return (x, y) if y * y % c.p == v else None


def first_point(c, x, step=1):
    while True:
        q = lift(c, x % c.p)
        if q:
            return q
        x += step


class File:
    def __init__(self, algorithm, schema, about):
        self.head = {"algorithm": algorithm, "schema": schema, "numberOfTests": 0, "header": [about, ORIGIN]}
        self.groups = []
        self.count = 0

    def group(self, head):
        self.groups.append({**head, "tests": []})

    def test(self, comment, fields, result):
        self.count += 1
        self.groups[-1]["tests"].append({"tcId": self.count, "comment": comment, **fields, "result": result, "flags": []})

    def text(self):
        self.head["numberOfTests"] = self.count
        return json.dumps({**self.head, "testGroups": self.groups}, indent=1) + "\n"


def ecdh():
    f = File("ECDH", "ecdh_ecpoint_test_schema.json", "ECDH on P-256 and brainpoolP256r1 where formulas, ranges and encodings end")
    for c, name in CURVES:
        f.group({"type": "EcdhEcpointTest", "curve": name, "encoding": "ecpoint"})
        d = number(name + " d", c.n)
        q = c.mul(number(name + " peer", c.n), c.g)

        def good(comment, d, q):
            z = golden.ecka(c, d, q)
            assert z is not None
            f.test(comment, {"public": encoded(q), "private": f"{d:x}".zfill(66), "shared": hex32(z)}, "valid")

        def bad(comment, public, d=d):
            f.test(comment, {"public": public, "private": f"{d:x}".zfill(66), "shared": ""}, "invalid")

        good("random", d, q)
        for what, k in (
            ("1", 1), ("2", 2), ("3", 3), ("n - 1", c.n - 1), ("n - 2", c.n - 2), ("n - 3", c.n - 3), ("(n - 1) / 2", (c.n - 1) // 2),
            ("(n + 1) / 2", (c.n + 1) // 2), ("a power of two", 1 << 254), ("all ones", (1 << 255) - 1),
        ):
            good(f"scalar {what}", k, q)
        for what, k in (("1", 1), ("n - 1", c.n - 1), ("n - 2", c.n - 2), ("random", d)):
            good(f"base point, scalar {what}", k, c.g)
        good("negative of the base point", d, negative(c, c.g))
        zero = lift(c, 0)
        if zero:
            good("point with x = 0", d, zero)
            good("the other point with x = 0", d, negative(c, zero))
            good("point with x = 0, scalar 1: the shared secret is 0", 1, zero)
            good("point with x = 0, scalar n - 2", c.n - 2, zero)
            bad("x = p for x = 0", "04" + hex32(c.p) + hex32(zero[1]))
        good("smallest x", d, first_point(c, 1))
        good("largest x", d, first_point(c, c.p - 1, -1))
        # A peer for which the shared point has x = 0: d^-1 times that point.
        if zero:
            good("shared secret 0", d, c.mul(pow(d, -1, c.n), zero))

        bad("infinity", "00")
        bad("infinity with zeros", "04" + "00" * 64)
        bad("infinity as zeros without a first byte", "00" * 65)
        bad("y off by one", encoded((q[0], q[1] ^ 1)))
        bad("x off by one", encoded((q[0] ^ 1, q[1])))
        bad("x and y exchanged", encoded((q[1], q[0])))
        twist = next(x for x in range(1, 100) if lift(c, x) is None)
        bad("x of the twist", encoded((twist, 1)))
        bad("y = 0", encoded((q[0], 0)))
        small = first_point(c, 1)
        bad("x + p", "04" + hex32(small[0] + c.p) + hex32(small[1]))
        bad("y = p", "04" + hex32(q[0]) + hex32(c.p))
        bad("x of all ones", "04" + "ff" * 32 + hex32(q[1]))
        bad("y of all ones", "04" + hex32(q[0]) + "ff" * 32)
        other = CURVES[1][0] if c is golden.P256 else golden.P256
        bad("base point of the other curve", encoded(other.g))
        bad("compressed", ("02" if q[1] % 2 == 0 else "03") + hex32(q[0]))
        bad("hybrid", ("06" if q[1] % 2 == 0 else "07") + encoded(q)[2:])
        bad("one byte short", encoded(q)[:-2])
        bad("one byte long", encoded(q) + "00")
        bad("nothing", "")
        bad("scalar 0", encoded(q), 0)
        bad("scalar n", encoded(q), c.n)
        bad("scalar n + 1", encoded(q), c.n + 1)
        bad("scalar of all ones", encoded(q), (1 << 256) - 1)
    return f.text()


def ecdsa():
    f = File(
        "ECDSA", "ecdsa_p1363_verify_schema_v1.json", "ECDSA on P-256 and brainpoolP256r1 with SHA-256 where formulas, ranges and encodings end"
    )
    for c, name in CURVES:
        msg = b"keyferry"
        e = digest(msg)

        def key(q):
            f.group({
                "type": "EcdsaP1363Verify",
                "publicKey": {"type": "EcPublicKey", "curve": name, "keySize": 256, "uncompressed": encoded(q)}, "sha": "SHA-256",
            })
            return q

        def test(comment, q, r, s, m=msg, raw=None):
            """The verdict is the golden model's."""
            valid = raw is None and golden.ecdsa_verify(c, q, digest(m), r, s)
            f.test(comment, {"msg": m.hex(), "sig": raw if raw is not None else hex32(r) + hex32(s)}, "valid" if valid else "invalid")
            return valid

        def good(*a):
            assert test(*a), a[0]

        def bad(*a, **k):
            assert not test(*a, **k), a[0]

        def key_for(r_point, r, s, m=msg):
            """The public key under which (r, s) with s k G = s R is a signature: Q = (s R - e G) / r."""
            sr = c.mul(s, r_point)
            eg = negative(c, c.mul(digest(m) % c.n, c.g))
            return c.mul(pow(r, -1, c.n), c.add(sr, eg))

        d = number(name + " signer", c.n)
        q = key(c.mul(d, c.g))
        r, s = golden.ecdsa_sign(c, d, e, number(name + " k", c.n))
        good("random", q, r, s)
        good("the other s", q, r, c.n - s)
        r2, s2 = golden.ecdsa_sign(c, d, digest(b""), number(name + " k2", c.n))
        good("empty message", q, r2, s2, b"")
        long = next(b"message %d" % i for i in range(1000) if digest(b"message %d" % i) >= c.n or c is golden.P256)
        r3, s3 = golden.ecdsa_sign(c, d, digest(long), number(name + " k3", c.n))
        good("hash not below the order" if digest(long) >= c.n else "another message", q, r3, s3, long)
        for what, k in (("1", 1), ("2", 2), ("n - 1", c.n - 1), ("n - 2", c.n - 2)):
            good(f"nonce {what}", q, *golden.ecdsa_sign(c, d, e, k))
        bad("another message", q, r, s, b"keyferrz")
        for what, a, b in (
            ("r and s exchanged", s, r), ("r + 1", r + 1, s), ("s + 1", r, s + 1), ("r = 0", 0, s), ("s = 0", r, 0), ("both 0", 0, 0), ("r = n", c.n, s),
            ("s = n", r, c.n), ("both n", c.n, c.n), ("r = n + 1", c.n + 1, s), ("s = n + 1", r, c.n + 1), ("r = p", c.p, s), ("s = p", r, c.p),
            ("r of all ones", (1 << 256) - 1, s), ("s of all ones", r, (1 << 256) - 1), ("r = 1, s = 1", 1, 1), ("r = 1, s = n - 1", 1, c.n - 1),
            ("r = n - 1, s = 1", c.n - 1, 1), ("r = 1, s = 0", 1, 0), ("r = 0, s = 1", 0, 1),
        ):
            bad(what, q, a, b)
        plain = hex32(r) + hex32(s)
        for what, raw in (
            ("nothing", ""), ("one byte short", plain[:-2]), ("one byte long", plain + "00"), ("r alone", plain[:64]), ("r and s twice", plain * 2),
            ("zeros in front of both", "00" + plain[:64] + "00" + plain[64:]),
        ):
            bad(what, q, 0, 0, raw=raw)

        bad("key of another signature", key(c.mul(d + 1, c.g)), r, s)
        good("key = base point", key(c.g), *golden.ecdsa_sign(c, 1, e, number(name + " k4", c.n)))
        good("key = negative of the base point", key(negative(c, c.g)), *golden.ecdsa_sign(c, c.n - 1, e, number(name + " k5", c.n)))

        # Small s, and s + n, which is the same modulo n.
        k = number(name + " k6", c.n)
        point = c.mul(k, c.g)
        q = key(key_for(point, point[0] % c.n, 5))
        good("s = 5", q, point[0] % c.n, 5)
        bad("s = 5 + n", q, point[0] % c.n, 5 + c.n)

        # The x of R lies between n and p: r is x - n. (On brainpoolP256r1 and P-256 alike n < p.)
        over = first_point(c, c.n)
        assert c.n <= over[0] < c.p
        r = over[0] - c.n
        if r == 0:
            over = first_point(c, c.n + 1)
            r = over[0] - c.n
        q = key(key_for(over, r, number(name + " s7", c.n)))
        good("x of R is not below n", q, r, number(name + " s7", c.n))
        bad("r = x where x is not below n", q, over[0], number(name + " s7", c.n))
        # r is small and x of R is r itself: x + n would be the wrong alias.
        under = first_point(c, 1)
        q = key(key_for(under, under[0], number(name + " s8", c.n)))
        good("x of R is small", q, under[0], number(name + " s8", c.n))

        # u2 = r / s and u1 = e / s where ladders, combs and additions have their exceptions.
        r = point[0] % c.n
        for u2 in (1, 2, c.n - 1, c.n - 2):
            s = r * pow(u2, -1, c.n) % c.n
            good(f"u2 = {u2 if u2 < 3 else f'n - {c.n - u2}'}", key(key_for(point, r, s)), r, s)
        for u1 in (1, 2, c.n - 1, c.n - 2):
            s = e * pow(u1, -1, c.n) % c.n
            good(f"u1 = {u1 if u1 < 3 else f'n - {c.n - u1}'}", key(key_for(point, r, s)), r, s)
        # u1 G = u2 Q: the last addition is a doubling.
        t = number(name + " t", c.n)
        double = c.mul(2 * t % c.n, c.g)
        r = double[0] % c.n
        s = e * pow(t, -1, c.n) % c.n
        good("u1 G = u2 Q", key(c.mul(e * pow(r, -1, c.n) % c.n, c.g)), r, s)
        # u1 G = - u2 Q: the sum is infinity, which has no x.
        bad("u1 G + u2 Q is infinity", key(c.mul(-e * pow(r, -1, c.n) % c.n, c.g)), r, s)
    return f.text()


def main():
    different = []
    for name, make in (("core-ecdh-point.json", ecdh), ("core-ecdsa-p1363.json", ecdsa)):
        path, text = os.path.join(HERE, "data", name), make()
        if "--check" in sys.argv[1:]:
            if not os.path.exists(path) or open(path, encoding="ascii").read() != text:
                different.append(path)
        else:
            with open(path, "w", encoding="ascii") as f:
                f.write(text)
    for path in different:
        print(f"{path} is not what make_core_vectors.py would write", file=sys.stderr)
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())
