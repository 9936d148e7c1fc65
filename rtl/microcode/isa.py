"""The instruction word of the ECC core, in one place: fields, banks, conditions. Assembler, micro-simulator and the
generated SystemVerilog package all come from here.

One word is one round: every context issues the same multiplication and the same addition, context after context. Results of a round
are visible in the next one. No field depends on data.
"""

BANK_M, BANK_A, BANK_C, BANK_S = range(4)  # written by the multiplier, by the adder, shared constants, special sources
BANK_NAMES = "MACS"
REGISTERS = 16  # of bank M and of bank A, for each context

# Constants of a curve, bank C. *_m: Montgomery form; third_m is 1 / 3a, b3_m is 3b.
CONSTANTS = ["zero", "unit", "one_p", "one_n", "r2_p", "r2_n", "a_m", "b_m", "three_m", "half_m", "third_m", "b3_m"]
SPECIAL = ["TX", "TY", "EXP"]  # table point of this window; M[digit] of the exponent, or one where the digit is 0

ADD_OPS = ["add", "sub", "sign"]  # sign: x + y, or x - y where the sign of this window's digit, or in ladder_last of the scalar, is negative
CONDITIONS = ["none", "mul_zero", "mul_nonzero", "add_zero", "add_nonzero", "finish"]  # finish: in the halt word alone, for every context
STATUS = ["ok", "off_curve", "exception", "entropy", "bad_signature", "fault"]
CONTROL = ["none", "loop", "endloop", "halt", "mod_p", "mod_n", "scalar_ladder", "scalar_comb"]
COUNTS = ["ladder_blind", "ladder_public", "comb_blind", "comb_public", "expo"]
STEPS = ["none", "ladder", "ladder_last", "comb_first", "comb", "expo"]  # which bit or digit the operands of this round see

# name, width; from the lowest bit
OPERAND = [("index", 4), ("bank", 2), ("swap", 1)]
FIELDS = (
    [("mul_en", 1), ("mul_dst", 4)]
    + [(f"mul_{o}_{f}", w) for o in "ab" for f, w in OPERAND]
    + [("add_en", 1), ("add_op", 2), ("add_dst", 4)]
    + [(f"add_{o}_{f}", w) for o in "xy" for f, w in OPERAND]
    + [("cond", 3), ("cond_status", 3), ("control", 3), ("count", 3), ("step", 3)]
)
WIDTH = sum(w for _, w in FIELDS)


def encode(values):
    word, at = 0, 0
    for name, width in FIELDS:
        v = values.get(name, 0)
        if not 0 <= v < 1 << width:
            raise ValueError(f"field {name}: {v} does not fit {width} bits")
        word |= v << at
        at += width
    unknown = set(values) - {n for n, _ in FIELDS}
    if unknown:
        raise ValueError(f"unknown fields {sorted(unknown)}")
    return word


def decode(word):
    out = {}
    for name, width in FIELDS:
        out[name] = word & ((1 << width) - 1)
        word >>= width
    if word:
        raise ValueError("word longer than the instruction")
    return out
