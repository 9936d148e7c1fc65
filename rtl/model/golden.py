#!/usr/bin/env python3
"""Golden model of the ECC core: textbook affine arithmetic on Python integers.

Shares no formula with the RTL or the microcode: no projective coordinates, no Montgomery form, no ladder, no windows, no
blinding. Slow and plain on purpose. Used by the microcode tests and by the vector generator.
"""
from dataclasses import dataclass


@dataclass(frozen=True)
class Curve:
    """y^2 = x^3 + a x + b over GF(p), base point (gx, gy) of prime order n, cofactor 1."""

    name: str
    p: int
    a: int
    b: int
    gx: int
    gy: int
    n: int

    @property
    def g(self):
        return (self.gx, self.gy)

    @property
    def bits(self):
        return self.p.bit_length()

    def on_curve(self, q):
        """True for an affine point with canonical coordinates; infinity (None) is not a valid input anywhere."""
        if q is None:
            return False
        x, y = q
        return 0 <= x < self.p and 0 <= y < self.p and (y * y - x * x * x - self.a * x - self.b) % self.p == 0

    def add(self, q, r):
        if q is None:
            return r
        if r is None:
            return q
        if q[0] == r[0]:
            if (q[1] + r[1]) % self.p == 0:
                return None
            slope = (3 * q[0] * q[0] + self.a) * pow(2 * q[1], -1, self.p)
        else:
            slope = (r[1] - q[1]) * pow(r[0] - q[0], -1, self.p)
        x = (slope * slope - q[0] - r[0]) % self.p
        return (x, (slope * (q[0] - x) - q[1]) % self.p)

    def mul(self, k, q):
        """k q for any integer k >= 0, bit by bit from the lowest."""
        acc = None
        while k:
            if k & 1:
                acc = self.add(acc, q)
            q = self.add(q, q)
            k >>= 1
        return acc


P256 = Curve(
    "P-256",
    0xFFFFFFFF00000001000000000000000000000000FFFFFFFFFFFFFFFFFFFFFFFF,
    0xFFFFFFFF00000001000000000000000000000000FFFFFFFFFFFFFFFFFFFFFFFC,
    0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B,
    0x6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296,
    0x4FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5,
    0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551,
)
BRAINPOOL = Curve(
    "brainpoolP256r1",
    0xA9FB57DBA1EEA9BC3E660A909D838D726E3BF623D52620282013481D1F6E5377,
    0x7D5A0975FC2C3057EEF67530417AFFE7FB8055C126DC5C6CE94A4B44F330B5D9,
    0x26DC5C6CE94A4B44F330B5D9BBD77CBF958416295CF7E1CE6BCCDC18FF8C07B6,
    0x8BD2AEB9CB7E57CB2C4B482FFC81B7AFB9DE27E1E3BD23C23A4453BD9ACE3262,
    0x547EF835C3DAC4FD97F8461A14611DC9C27745132DED8E545C1D54C72F046997,
    0xA9FB57DBA1EEA9BC3E660A909D838D718C397AA3B561A6F7901E0E82974856A7,
)


def _is_prime(m):
    return m > 1 and all(m % d for d in range(2, int(m**0.5) + 1))


def tiny_curve(bits, skip=0):
    """The first curve (in a fixed order of search) over a prime of `bits` bits whose group order n is a prime of the same
    length, n != p, with p = 3 mod 4. `skip` takes a later one. For tests over every scalar and every point."""
    for p in range((1 << bits) - 1, 1 << (bits - 1), -1):
        if p % 4 != 3 or not _is_prime(p):
            continue
        root = {}
        for y in range(p):
            root.setdefault(y * y % p, y)
        for a in range(1, 40):
            for b in range(1, 6):
                if (4 * a**3 + 27 * b * b) % p == 0:
                    continue
                n, first = 1, None
                for x in range(p):
                    v = (x**3 + a * x + b) % p
                    if v in root:
                        n += 1 if v == 0 else 2
                        if first is None and v:
                            first = (x, root[v])
                if n == p or n.bit_length() != bits or not _is_prime(n):
                    continue
                if skip == 0:
                    return Curve(f"tiny{bits}_{p}_{a}_{b}", p, a, b, first[0], first[1], n)
                skip -= 1
    raise ValueError(f"no tiny curve of {bits} bits")


def points(c):
    """Every affine point of a tiny curve."""
    return [(x, y) for x in range(c.p) for y in range(c.p) if (y * y - x**3 - c.a * x - c.b) % c.p == 0]


def ecka(c, d, q):
    """ShS: the x coordinate of d q (SGP.02, BSI TR-03111 4.3.1); None where the operation has no answer."""
    if not c.on_curve(q) or not 1 <= d < c.n:
        return None
    s = c.mul(d, q)
    return None if s is None else s[0]


def ecdsa_sign(c, d, e, k):
    """(r, s) over the integer e (the leftmost bits of the hash) with nonce k; None where r or s is 0."""
    r = c.mul(k, c.g)[0] % c.n
    s = pow(k, -1, c.n) * (e + r * d) % c.n
    return (r, s) if r and s else None


def ecdsa_verify(c, q, e, r, s):
    if not c.on_curve(q) or not (1 <= r < c.n and 1 <= s < c.n):
        return False
    w = pow(s, -1, c.n)
    v = c.add(c.mul(e * w % c.n, c.g), c.mul(r * w % c.n, q))
    return v is not None and v[0] % c.n == r
