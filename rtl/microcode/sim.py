"""Micro-simulator: executes the encoded words of the microcode on Python integers, as the RTL does it: registers, constants,
Montgomery products with R = 2^W, scalar bits and digits, conditions, loops. No formula of elliptic curves is in here.
"""
import isa


class Setup:
    """What is loaded for a curve: constants, exponents, table, loop counts. R = 2^width; `ladder_blind` and `comb_blind` bits of scalar
    blinding, windows of `w` bits. Scalars come in two shares, k = k0 - k1 modulo n."""

    def __init__(self, c, width=None, ladder_blind=64, comb_blind=128, w=7):
        self.c, self.w = c, w
        bits = c.bits  # of scalars
        self.W = width or bits
        R = 1 << self.W
        p, n = c.p, c.n
        self.mod = {"p": p, "n": n}
        self.R = R
        value = {
            "zero": 0, "unit": 1, "one_p": R % p, "one_n": R % n, "r2_p": R * R % p, "r2_n": R * R % n,
            "a_m": c.a * R % p, "b_m": c.b * R % p, "three_m": 3 * R % p, "half_m": pow(2, -1, p) * R % p,
            "third_m": pow(3 * c.a, -1, p) * R % p, "b3_m": 3 * c.b * R % p,
        }
        self.constants = [value[k] for k in isa.CONSTANTS]
        self.nibbles = -(-bits // 4)
        self.expo = {m: [(v - 2) >> (4 * i) & 15 for i in reversed(range(self.nibbles))] for m, v in self.mod.items()}
        # Ladder of a secret: k' = k0 - k1 + m n with bit L set and no higher one, m odd. So k' = k + m n, or k + (m - 1) n where k0 < k1. A ladder has
        # no answer where a prefix of k' is 0 or -1 modulo n: for keys that are drawn a matter of 2^-190, and given ones come as (k, 0) with
        # the top bit of k clear, where no prefix is. VERIFY's: k' = k + m n, m odd, or (m + 1) n - k where the top bit of k is set, and the sign of
        # the result is turned. Comb: k' odd, below 2^(w windows).
        self.ladder_bits = {"blind": bits + ladder_blind, "public": bits + 1}
        self.ladder_base = {kind: -(-(1 << top) // n) for kind, top in self.ladder_bits.items()}
        self.ladder_base["blind"] += 1
        self.ladder_base["public"] |= 1
        self.windows = {"blind": -(-(bits + comb_blind + 1) // w), "public": max(3, -(-(bits + 1) // w))}
        self.counts = {
            "ladder_blind": self.ladder_bits["blind"], "ladder_public": self.ladder_bits["public"],
            "comb_blind": self.windows["blind"] - 1, "comb_public": self.windows["public"] - 2, "expo": self.nibbles - 1,
        }
        self.ladder_blind, self.comb_blind = ladder_blind, comb_blind
        # What new shares differ by from the old ones: smaller than n whatever is drawn.
        self.refresh_mask = (1 << (n.bit_length() - 1)) - 1
        self._table = None

    def table(self, window, index):
        """(2 index + 1) 2^(w window) G in Montgomery form."""
        if self._table is None:
            c, rows, base = self.c, [], self.c.g
            for _ in range(self.windows["blind"]):
                twice, q, row = c.add(base, base), base, []
                for _ in range(1 << (self.w - 1)):
                    row.append(q)
                    q = c.add(q, twice)
                rows.append(row)
                for _ in range(self.w):
                    base = c.add(base, base)
            self._table = rows
        q = self._table[window][index]
        return (0, 0) if q is None else (q[0] * self.R % self.c.p, q[1] * self.R % self.c.p)

    # ---- the scalar unit

    def negative(self, k):
        return k >> (self.W - 1) & 1

    def ladder_scalar(self, k0, k1, r):
        """Blinded: 0 <= r < 2^ladder_blind; its lowest bit is replaced. The sum has bit ladder_bits['blind'] set, for all shares below n."""
        m = self.ladder_base["blind"] + (r & ~1 | (~self.ladder_base["blind"] & 1))
        v = m * self.c.n + k0 - k1
        assert v >> self.ladder_bits["blind"] == 1, "blinding does not fit this modulus"
        return v

    def ladder_public(self, k):
        m = self.ladder_base["public"]
        v = (m + 1) * self.c.n - k if self.negative(k) else m * self.c.n + k
        assert v >> self.ladder_bits["public"] == 1
        return v

    def comb_scalar(self, k0, k1, r):
        """Blinded: 0 <= r < 2^comb_blind; n or 2 n more, so that it is odd and positive."""
        v = k0 - k1 + r * self.c.n
        return v + (2 * self.c.n if v & 1 else self.c.n)

    def comb_public(self, k):
        return k if k & 1 else k + self.c.n

    def digit(self, scalar, window, windows):
        """(index, negative) of the signed odd digit: the scalar as +-1 bits, from bit 1 on with the top bit set."""
        bits = scalar >> 1 | 1 << (self.w * windows - 1)
        d = bits >> (self.w * window) & ((1 << self.w) - 1)
        low = (1 << (self.w - 1)) - 1
        return (d & low, False) if d >> (self.w - 1) else (~d & low, True)


class Context:
    def __init__(self, inputs):
        self.M = [None] * isa.REGISTERS
        self.A = [None] * isa.REGISTERS
        for i, v in enumerate(inputs):
            self.A[i] = v
        self.status = "not_finished"
        self.ladder = self.comb = None
        self.public = self.negative = False  # negative: of the ladder's public scalar


def run(setup, words, entry, contexts):
    """Executes until halt; returns the number of rounds and of multiplications issued (each for all contexts)."""
    pc, rounds, products = entry, 0, 0
    loop_at = loop_left = loop_i = 0
    mod = "p"
    while True:
        f = isa.decode(words[pc])
        rounds += 1
        m = setup.mod[mod]
        if f["control"] == isa.CONTROL.index("loop") and loop_at != pc:
            loop_at, loop_left, loop_i = pc, setup.counts[isa.COUNTS[f["count"]]], 0
        rinv = pow(setup.R, -1, m)
        for c in contexts:
            step = isa.STEPS[f["step"]]
            swap, index, negative, point = 0, 0, False, None
            if step == "ladder":
                bit = loop_left - 1
                swap = (c.ladder >> bit ^ c.ladder >> (bit + 1)) & 1
            elif step == "ladder_last":
                swap, negative = c.ladder & 1, c.negative
            elif step in ("comb", "comb_first"):
                windows = setup.windows["public" if c.public else "blind"]
                window = 0 if step == "comb_first" else loop_i + 1
                index, negative = setup.digit(c.comb, window, windows)
                point = setup.table(window, index)

            def source(prefix):
                bank, i = f[prefix + "_bank"], f[prefix + "_index"]
                if f[prefix + "_swap"] and swap:
                    bank ^= 1
                if bank == isa.BANK_C:
                    return setup.constants[i]
                if bank == isa.BANK_S:
                    name = isa.SPECIAL[i]
                    if name == "EXP":
                        d = setup.expo[mod][0 if loop_left == 0 else loop_i + 1]
                        return c.M[d] if d else setup.constants[isa.CONSTANTS.index("one_" + mod)]
                    assert point is not None, f"word {pc}: {prefix} reads the table, which was not asked"
                    return point["TX TY".split().index(name)]
                v = (c.M if bank == isa.BANK_M else c.A)[i]
                assert v is not None, f"word {pc}: {prefix} reads an empty register"
                return v

            product = total = None
            if f["mul_en"]:
                a, b = source("mul_a"), source("mul_b")
                assert a < setup.R and b < setup.R
                product = a * b * rinv % m  # one subtraction is enough while a or b is below m
                assert a < m or b < m, f"word {pc}: both factors may be above the modulus"
            if f["add_en"]:
                x, y = source("add_x"), source("add_y")
                assert x < m and y < m, f"word {pc}: an operand of the adder is above the modulus"
                kind = isa.ADD_OPS[f["add_op"]]
                total = (x - y if kind == "sub" or (kind == "sign" and negative) else x + y) % m
            control = isa.CONTROL[f["control"]]
            if control in ("scalar_ladder", "scalar_comb"):
                v = source("mul_a")
                assert v == source("add_x"), f"word {pc}: the two copies of the scalar's row get different numbers"
                if control == "scalar_ladder":
                    c.ladder, c.negative = setup.ladder_public(v), setup.negative(v)
                else:
                    c.comb, c.public = setup.comb_public(v), True
            elif product is not None:
                c.M[f["mul_dst"]] = product
            if total is not None:
                c.A[f["add_dst"]] = total
            cond = isa.CONDITIONS[f["cond"]]
            if cond != "none":
                v = product if cond.startswith("mul") else total
                hit = cond == "finish" or (v == 0) == cond.endswith("_zero")
                if hit and c.status == "not_finished":
                    c.status = isa.STATUS[f["cond_status"]]
        products += f["mul_en"]
        control = isa.CONTROL[f["control"]]
        if control == "halt":
            return rounds, products
        if control in ("mod_p", "mod_n"):
            mod = control[-1]
        if control == "endloop":
            loop_left -= 1
            loop_i += 1
            if loop_left:
                pc = loop_at
                continue
            loop_at = 0
        pc += 1
