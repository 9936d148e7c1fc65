#!/usr/bin/env python3
"""What the assembler refuses, and that it says where and why."""
import sys

import asm
import isa

GOOD = ".program P\n.input x\n.output y=A1\nmod p\na = x * r2_p\nb = a * a\ny = b + zero\n"
BAD = [
    ("used before it is defined", GOOD.replace("b = a * a", "b = a * c")),
    ("never used", GOOD.replace("y = b", "c = b + b\ny = b")),
    ("pinned to bank M, but this unit writes bank A", GOOD.replace("mod p", ".pin y M3\nmod p")),
    ("is pinned elsewhere", GOOD.replace("mod p", ".pin y A3\nmod p")),
    ("would overwrite x", GOOD.replace("mod p", ".pin q A0\nmod p").replace("b = a * a", "round q = a + a\nc = q * a\nd = c * x\nb = d * a")),
    ("output y is never computed", GOOD.replace("y = b", "w = b").replace("zero\n", "zero\nv = w * w\ncheck zero v fault\n")),
    ("no register of bank M is free", ".program P\n.input x\nmod p\n" + "".join(f"round v{i} = x * r2_p\n" for i in range(17)) + "".join(f"round w{i} = v{i} * v0\n" for i in range(17))),
    ("carried by the loop and must be pinned", ".program P\n.input x\nmod p\na = x * r2_p\nloop expo\nround b = a * a\nround a = b * b\nendloop\nc = a + zero\ncheck zero c fault\n"),
    ("loops do not nest", ".program P\nmod p\nloop expo\nloop expo\n"),
    ("inside a loop every line is a round", ".program P\n.input x\nmod p\nloop expo\na = x * x\nendloop\n"),
    ("two operations for the mul unit", GOOD.replace("b = a * a", "round b = a * a | c = a * x")),
    ("not understood", GOOD.replace("a * a", "a / a")),
    ("a program begins with", "a = b * c\n"),
    ("twice", GOOD + GOOD),
    ("no name is pinned to the same register of the other bank", GOOD.replace("a * a", "~a * a")),
    ("check zero zz", GOOD + "check zero zz nonsense\n"),
]


def main():
    failed = 0
    asm.assemble(GOOD)
    for words, text in BAD:
        try:
            asm.assemble(text)
            print(f"accepted: {words}")
            failed += 1
        except asm.Refusal as e:
            if words not in str(e) or not str(e).startswith("line "):
                print(f"expected {words!r}, got {e}")
                failed += 1
    # Every field comes back as it was put in, and nothing fits that is too wide.
    ones = {n: (1 << w) - 1 for n, w in isa.FIELDS}
    failed += isa.decode(isa.encode(ones)) != ones
    for n, w in isa.FIELDS:
        try:
            isa.encode({n: 1 << w})
            failed += 1
            print(f"field {n} took a value too wide")
        except ValueError:
            pass
    print(f"{len(BAD)} mistakes refused, {len(isa.FIELDS)} fields" if not failed else f"FAILED: {failed}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
