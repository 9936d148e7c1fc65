"""What the core holds besides logic, made from the microcode and two curves: microcode words, constants, loop counts, tables.

One `Image` is the source of the generated SystemVerilog (gen.py) and of the files a host or a test bench loads.
"""
import hashlib
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "model"))

import asm  # noqa: E402
import golden  # noqa: E402
import isa  # noqa: E402
import sim  # noqa: E402

PROGRAMS = ["IDLE", "GENERATE", "ECKA", "SIGN", "VERIFY", "CHECK"]  # IDLE: a job that only carries a status
R_BITS = 256
WINDOW = 7
# Bits of scalar blinding. The comb's costs rounds of GENERATE and SIGN by the window: 65 windows of 6 bits would be 10 more of 11 rounds each. The ladder's costs
# 11 rounds of ECKA a bit; each of its scalars is used once (docs/ecc-core.md).
LADDER_BLIND = 64
COMB_BLIND = 128
TABLE_WINDOWS = 64  # of a curve in the table memory: 64 x 64 entries
# The scalar of the known-answer job: every nibble once, then again the other way round.
KAT_SCALAR = 0x0123456789ABCDEFFEDCBA98765432100F1E2D3C4B5A69788796A5B4C3D2E1F0


# Part of every check word: a word of zeros, or of ones, is never right.
CHECK_KEY = 0x96C35AA5


def check32(v, bits=256):
    """The check word of constants: exclusive or of the 32-bit words and the key. Memories that are written add the place."""
    out = CHECK_KEY
    for i in range(0, bits, 32):
        out ^= v >> i & 0xFFFFFFFF
    return out


class CurveImage:
    def __init__(self, curve):
        self.curve = curve
        self.setup = s = sim.Setup(curve, width=R_BITS, ladder_blind=LADDER_BLIND, comb_blind=COMB_BLIND, w=WINDOW)
        self.constants = s.constants
        self.kat_k = KAT_SCALAR % (curve.n - 3) + 2
        self.kat_point = curve.mul(self.kat_k, curve.g)

    def table(self):
        """(x, y) in Montgomery form by (window, index); None where the table of this curve has no entry."""
        s = self.setup
        out = {}
        for w in range(s.windows["blind"]):
            for i in range(1 << (WINDOW - 1)):
                out[(w, i)] = s.table(w, i)
        return out


class Image:
    def __init__(self, curves=(golden.P256, golden.BRAINPOOL)):
        source = open(os.path.join(HERE, "ecc.uc"), encoding="ascii").read()
        programs = asm.assemble(source)
        self.words, self.entry, self.outputs, self.inputs = [isa.encode(asm.HALT)], {"IDLE": 0}, {"IDLE": []}, {"IDLE": []}
        for name in PROGRAMS[1:]:
            p = programs[name]
            self.entry[name] = len(self.words)
            self.words += p.words
            self.outputs[name] = list(p.outputs.values())
            self.inputs[name] = p.inputs
        for w in self.words:  # the core has the paths of TX and TY at one port each
            f = isa.decode(w)
            for port in ("mul_a", "mul_b", "add_x", "add_y"):
                if f[port + "_bank"] == isa.BANK_S:
                    name = isa.SPECIAL[f[port + "_index"]]
                    if port not in {"TX": ["mul_a"], "TY": ["add_y"], "EXP": ["mul_a", "mul_b"]}[name]:
                        raise ValueError(f"{name} as {port}")
        self.curves = [CurveImage(c) for c in curves]
        self.build = hashlib.sha256(source.encode() + repr(curves).encode()).hexdigest()[:8]

    def rounds(self, program, curve):
        """Rounds from the first word to halt, both included: the cycle gate of the core."""
        counts = self.curves[curve].setup.counts
        pc, n, left, at = self.entry[program], 0, 0, None
        while True:
            f = isa.decode(self.words[pc])
            n += 1
            control = isa.CONTROL[f["control"]]
            if control == "loop" and at != pc:
                at, left = pc, counts[isa.COUNTS[f["count"]]]
            if control == "halt":
                return n
            if control == "endloop":
                left -= 1
                if left:
                    pc = at
                    continue
                at = None
            pc += 1

    def table_file(self):
        """The table memory as a host loads it: per curve 64 windows x 64 entries of 64 bytes, x then y, little-endian."""
        out = bytearray()
        for c in self.curves:
            t = c.table()
            for w in range(TABLE_WINDOWS):
                for i in range(1 << (WINDOW - 1)):
                    x, y = t.get((w, i), (0, 0))
                    out += x.to_bytes(32, "little") + y.to_bytes(32, "little")
        return bytes(out)

    def table_sum(self):
        """What kf_table's running sum is after the whole table."""
        total = 0
        table = self.table_file()
        for place in range(len(table) // 64):
            x, y = (int.from_bytes(table[64 * place + o:64 * place + o + 32], "little") for o in (0, 32))
            y = check32(y) ^ 1  # its check word has a place of its own
            total = (total << 1 & 0xFFFFFFFF) ^ (0x04C11DB7 if total >> 31 else 0) ^ check32(x) ^ (y >> 1 | (y & 1) << 31) ^ place
        return total
