#!/usr/bin/env python3
"""Assembler of the ECC core's microcode: packs statements into rounds, allocates registers, checks.

    asm.py ecc.uc --listing ecc.lst --hex ecc.hex --json ecc.json

Source, one statement a line, `;` starts a comment:

    .program ECKA            begins a program
    .input xp yp             bank A, from A0 on, in this order: what the loader writes before the start
    .output x=A0             after the end this name must stand in this register
    .pin XQ M0               fixes the place of a name (needed for what a loop carries)
    mod p | mod n            the modulus from here on; drains the pipe
    v = a * b                multiplication (lands in bank M); squares are written a * a
    v = a + b | a - b        addition (lands in bank A); a +- b: minus where the digit's sign is negative
    check zero v STATUS      the context gets STATUS when v is zero (or nonzero); v is the last result of that name
    scalar ladder v          v becomes the scalar of the ladder (public use only); likewise `scalar comb v`
    loop COUNT / endloop     the rounds between run COUNT times; inside and outside the word `round` packs by hand:
    round [STEP] v = a * b | w = c - d
    invert v = u             u^(modulus - 2) by fixed windows; takes all of bank M, the result stands in M0

Outside loops statements are scheduled automatically: one multiplication and one addition a round, operands ready one round
after their operation. `~` before an operand: banks M and A are exchanged where the ladder's swap bit is set.

Checked: names are defined before use and used after definition, each register holds one live value at a time, pinned places do
not collide with live values, nothing but an output is put where outputs leave, banks fit the units, bank M is free around an inversion, what a loop carries is pinned.
"""
import argparse
import json
import re
import sys

import isa


class Refusal(Exception):
    def __init__(self, line, why):
        super().__init__(f"line {line}: {why}")


class Op:
    """One half of a round: a multiplication or an addition."""

    def __init__(self, line, dst, kind, left, right):
        self.line, self.dst, self.kind, self.left, self.right = line, dst, kind, left, right
        self.unit = "mul" if kind == "mul" else "add"

    def reads(self):
        return [o.lstrip("~") for o in (self.left, self.right)]


# The last word of a program: the one place where a context that has met no objection becomes ok.
HALT = {"control": isa.CONTROL.index("halt"), "cond": isa.CONDITIONS.index("finish"), "cond_status": isa.STATUS.index("ok")}


class Round:
    def __init__(self, mul=None, add=None, step="none", **fields):
        self.mul, self.add, self.step, self.fields = mul, add, step, fields

    def ops(self):
        return [o for o in (self.mul, self.add) if o]


NAME = r"~?[A-Za-z_][A-Za-z0-9_]*"
STATEMENT = re.compile(rf"({NAME})\s*=\s*({NAME})\s*(\*|\+-|\+|-)\s*({NAME})$")
KINDS = {"*": "mul", "+": "add", "-": "sub", "+-": "sign"}


def parse_op(line, text):
    m = STATEMENT.match(text.strip())
    if not m:
        raise Refusal(line, f"not understood: {text.strip()!r}")
    if m[1].startswith("~"):
        raise Refusal(line, "only operands are exchanged, not results")
    return Op(line, m[1], KINDS[m[3]], m[2], m[4])


class Program:
    def __init__(self, name, line):
        self.name, self.line = name, line
        self.inputs, self.outputs, self.pins = [], {}, {}
        self.rounds = []
        self.pending = []  # statements that wait for the scheduler: Op, or ("check", ...)
        self.words = []
        self.places = []  # of each round: {name: (bank, index)} as written there

    # ---- rounds

    def flush(self):
        """Schedules what is pending: greedy, longest path to the end first."""
        ops = [o for o in self.pending if isinstance(o, Op)]
        checks = [c for c in self.pending if not isinstance(c, Op)]
        self.pending = []
        if not ops:
            if checks:
                raise Refusal(checks[0][1], "a check follows its operation directly")
            return
        maker, users = {}, {id(o): [] for o in ops}
        needs = {id(o): [] for o in ops}
        for o in ops:
            for r in o.reads():
                if r in maker:
                    needs[id(o)].append(maker[r])
                    users[id(maker[r])].append(o)
            if o.dst in maker:
                raise Refusal(o.line, f"{o.dst} is defined twice in one stretch")
            maker[o.dst] = o
        height = {}
        for o in reversed(ops):
            height[id(o)] = 1 + max((height[id(u)] for u in users[id(o)]), default=0)
        watch = {}
        for _, line, name, cond, status in checks:
            if name not in maker:
                raise Refusal(line, f"check of {name}, which is not computed in this stretch")
            watch.setdefault(id(maker[name]), []).append((line, cond, status))
        done = {}
        left = list(ops)
        # A pinned name is written only when nobody in this stretch still reads what was there before.
        first_def = {o.dst: i for i, o in enumerate(ops)}

        def ready(o, now):
            if any(done.get(id(n), now) >= now for n in needs[id(o)]):
                return False
            earlier = [x for x in left if x is not o and o.dst in x.reads() and ops.index(x) < first_def[o.dst]]
            return all(done.get(id(x), now) <= now and id(x) in done for x in earlier)

        now = 0
        start = len(self.rounds)
        while left:
            r = Round()
            for unit in ("mul", "add"):
                can = [o for o in left if o.unit == unit and ready(o, now)]
                # Two checked results in one round would need two conditions.
                if r.ops() and any(id(x) in watch for x in r.ops()):
                    can = [o for o in can if id(o) not in watch]
                if not can:
                    continue
                best = max(can, key=lambda o: height[id(o)])
                setattr(r, unit, best)
                done[id(best)] = now
            for o in r.ops():
                left.remove(o)
                for line, cond, status in watch.get(id(o), []):
                    if r.fields:
                        raise Refusal(line, "one check a result")
                    r.fields = {"cond": isa.CONDITIONS.index(f"{o.unit}_{cond}"), "cond_status": isa.STATUS.index(status)}
            self.rounds.append(r)
            now += 1
            if now > 10_000:
                raise Refusal(left[0].line, "cannot be scheduled (a cycle?)")
        return start

    # ---- registers

    def allocate(self):
        """Linear scan over the rounds; pinned names stand where they were pinned."""
        rounds = self.rounds
        loops, open_at = [], None
        for i, r in enumerate(rounds):
            if r.fields.get("control") == isa.CONTROL.index("loop"):
                open_at = i
            if r.fields.get("control") == isa.CONTROL.index("endloop"):
                loops.append((open_at, i))
        # Values: (name, born, uses). A name defined again is a new value unless it is pinned.
        values, current = [], {}
        for k, name in enumerate(self.inputs):
            current[name] = {"name": name, "born": -1, "last": -1, "place": (isa.BANK_A, k), "line": self.line}
            values.append(current[name])
        self.read_value = []
        for i, r in enumerate(rounds):
            seen = {}
            for o in r.ops():
                for text in (o.left, o.right):
                    n = text.lstrip("~")
                    if n in isa.CONSTANTS or n in isa.SPECIAL:
                        continue
                    if n not in current:
                        raise Refusal(o.line, f"{n} is used before it is defined")
                    current[n]["last"] = max(current[n]["last"], i)
                    seen[(id(o), n)] = current[n]
                    if text.startswith("~"):  # may read the other bank: what stands there is needed as well
                        place = self.pins.get(n)
                        other = place and next((x for x, q in self.pins.items() if q == (place[0] ^ 1, place[1])), None)
                        if not other or other not in current:
                            raise Refusal(o.line, f"~{n}: no name is pinned to the same register of the other bank")
                        current[other]["last"] = max(current[other]["last"], i)
            self.read_value.append(seen)
            for o in r.ops():
                bank = isa.BANK_M if o.unit == "mul" else isa.BANK_A
                pin = self.pins.get(o.dst)
                if pin and pin[0] != bank:
                    raise Refusal(o.line, f"{o.dst} is pinned to bank {isa.BANK_NAMES[pin[0]]}, but this unit writes bank {isa.BANK_NAMES[bank]}")
                v = {"name": o.dst, "born": i, "last": i, "place": pin, "bank": bank, "line": o.line, "op": o}
                if pin and o.dst in current:  # the same place again: one life
                    old = current[o.dst]
                    old["until"] = i
                current[o.dst] = v
                values.append(v)
        for name, place in self.outputs.items():
            if name not in current:
                raise Refusal(self.line, f"output {name} is never computed")
            current[name]["last"] = len(rounds)
            if current[name]["place"] not in (None, place):
                raise Refusal(self.line, f"output {name} is pinned elsewhere")
            current[name]["place"] = place
        # What lives into a loop and is read in it lives to its end; what a loop carries must be pinned.
        for first, last in loops:
            for v in values:
                if v["born"] < first and first <= v["last"] <= last:
                    v["last"] = last
                if first <= v["born"] <= last:
                    carried = any(
                        seen.get((id(o), v["name"])) is not None and seen[(id(o), v["name"])]["born"] < v["born"]
                        for k in range(first, v["born"] + 1)
                        for seen in [self.read_value[k]]
                        for o in rounds[k].ops()
                        if v["name"] in o.reads()
                    )
                    if (carried or v["last"] > last) and not v["place"]:
                        raise Refusal(v["line"], f"{v['name']} is carried by the loop and must be pinned")
                    if carried:
                        v["last"] = max(v["last"], last)
        taken = {}  # place -> list of (born, last, name)

        def free(place, v):
            return all(v["born"] >= last or v["last"] <= born for born, last, _ in taken.get(place, []))

        for v in sorted(values, key=lambda v: (v["place"] is None, v["born"])):
            if v["place"] is None:
                bank = v["bank"]
                for k in range(isa.REGISTERS):
                    if free((bank, k), v) and (bank, k) not in self.outputs.values():
                        v["place"] = (bank, k)
                        break
                else:
                    raise Refusal(v["line"], f"no register of bank {isa.BANK_NAMES[bank]} is free for {v['name']}")
            else:
                clash = [n for b, l, n in taken.get(v["place"], []) if not (v["born"] >= l or v["last"] <= b) and n != v["name"]]
                if clash:
                    raise Refusal(v["line"], f"{v['name']} at {isa.BANK_NAMES[v['place'][0]]}{v['place'][1]} would overwrite {clash[0]}, which is still needed")
            taken.setdefault(v["place"], []).append((v["born"], v["last"], v["name"]))
            if v["born"] >= 0 and v["last"] == v["born"] and v["name"] not in self.pins:
                checked = rounds[v["born"]].fields.get("cond") or rounds[v["born"]].fields.get("keep")
                if not checked:
                    raise Refusal(v["line"], f"{v['name']} is never used")
        self.values = values
        self.high_water = {b: 1 + max((p[1] for p in taken if p[0] == b), default=-1) for b in (isa.BANK_M, isa.BANK_A)}

    def operand(self, text, o, i):
        n = text.lstrip("~")
        swap = int(text.startswith("~"))
        if n in isa.CONSTANTS:
            place = (isa.BANK_C, isa.CONSTANTS.index(n))
        elif n in isa.SPECIAL:
            place = (isa.BANK_S, isa.SPECIAL.index(n))
        else:
            place = self.read_value[i][(id(o), n)]["place"]
        if swap and place[0] not in (isa.BANK_M, isa.BANK_A):
            raise Refusal(o.line, f"~{n}: only banks M and A are exchanged")
        return {"index": place[1], "bank": place[0], "swap": swap}

    def encode(self):
        by_op = {id(v["op"]): v for v in self.values if "op" in v}
        for i, r in enumerate(self.rounds):
            f = {k: v for k, v in r.fields.items() if k != "keep"}
            f["step"] = isa.STEPS.index(r.step)
            for o, unit, names in ((r.mul, "mul", "ab"), (r.add, "add", "xy")):
                if not o:
                    continue
                f[f"{unit}_en"] = 1
                f[f"{unit}_dst"] = by_op[id(o)]["place"][1]
                if unit == "add":
                    f["add_op"] = isa.ADD_OPS.index(o.kind)
                for letter, text in zip(names, (o.left, o.right)):
                    for k, v in self.operand(text, o, i).items():
                        f[f"{unit}_{letter}_{k}"] = v
            self.words.append(isa.encode(f))


def invert_rounds(p, line, dst, src):
    """src^(m-2), m the current modulus: table M1..M15, accumulator M0, the digits of the exponent from the most significant."""
    one = "one_p" if p.modulus == "p" else "one_n"
    names = [None, f"{dst}_t1"] + [f"{dst}_t{k}" for k in range(2, 16)]
    acc = dst
    if p.pins.get(dst) not in (None, (isa.BANK_M, 0)):
        raise Refusal(line, f"the result of an inversion stands in M0, {dst} is pinned elsewhere")
    p.pins[acc] = (isa.BANK_M, 0)
    for k in range(1, 16):
        p.pins[names[k]] = (isa.BANK_M, k)
    out = [Round(Op(line, names[1], "mul", src, one))]
    for k in range(2, 16):
        left, right = (names[k // 2], names[k // 2]) if k % 2 == 0 else (names[k - 1], names[1])
        out.append(Round(Op(line, names[k], "mul", left, right)))
    out.append(Round(Op(line, acc, "mul", "EXP", one), step="expo"))
    body = [Round(Op(line, acc, "mul", acc, acc)) for _ in range(4)] + [Round(Op(line, acc, "mul", acc, "EXP"), step="expo")]
    body[0].fields = {"control": isa.CONTROL.index("loop"), "count": isa.COUNTS.index("expo")}
    body[-1].fields = {"control": isa.CONTROL.index("endloop")}
    return out + body, names[1:]


def assemble(text):
    programs, p = {}, None
    in_loop = None
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.split(";")[0].strip()
        if not line:
            continue
        word, _, rest = line.partition(" ")
        rest = rest.strip()
        if word == ".program":
            p = Program(rest, number)
            p.modulus = "p"
            if rest in programs:
                raise Refusal(number, f"program {rest} twice")
            programs[rest] = p
            continue
        if p is None:
            raise Refusal(number, "a program begins with .program NAME")
        if word == ".input":
            p.inputs += rest.split()
        elif word == ".output":
            for item in rest.split():
                name, place = item.split("=")
                p.outputs[name] = (isa.BANK_NAMES.index(place[0]), int(place[1:]))
        elif word == ".pin":
            name, place = rest.split()
            p.pins[name] = (isa.BANK_NAMES.index(place[0]), int(place[1:]))
        elif word == "mod":
            p.flush()
            p.modulus = rest
            p.rounds.append(Round(control=isa.CONTROL.index(f"mod_{rest}")))
        elif word == "check":
            cond, name, status = rest.split()
            if cond not in ("zero", "nonzero") or status not in isa.STATUS:
                raise Refusal(number, f"check {rest}: zero or nonzero, a name, one of {', '.join(isa.STATUS)}")
            p.pending.append(("check", number, name, cond, status))
        elif word == "scalar":
            kind, name = rest.split()
            p.flush()
            # Both units read it: the two copies of what makes its row take it from an operand register each.
            p.rounds.append(Round(mul=Op(number, f"{name}_s", "mul", name, "unit"), add=Op(number, f"{name}_t", "add", name, "zero"), control=isa.CONTROL.index(f"scalar_{kind}"), keep=1))
        elif word == "loop":
            p.flush()
            if in_loop is not None:
                raise Refusal(number, "loops do not nest")
            in_loop = (len(p.rounds), rest)
        elif word == "endloop":
            first, count = in_loop
            if len(p.rounds) - first < 2:
                raise Refusal(number, "a loop has at least two rounds")
            p.rounds[first].fields.update(control=isa.CONTROL.index("loop"), count=isa.COUNTS.index(count))
            p.rounds[-1].fields.update(control=isa.CONTROL.index("endloop"))
            in_loop = None
        elif word == "round":
            p.flush()
            step = "none"
            if rest.split(" ")[0] in isa.STEPS:
                step, _, rest = rest.partition(" ")
            r = Round(step=step)
            for half in rest.split("|"):
                if half.strip() in ("", "-"):
                    continue
                o = parse_op(number, half)
                if getattr(r, o.unit):
                    raise Refusal(number, f"two operations for the {o.unit} unit in one round")
                setattr(r, o.unit, o)
            p.rounds.append(r)
        elif word == "invert":
            p.flush()
            o = re.match(rf"({NAME})\s*=\s*({NAME})$", rest)
            if not o:
                raise Refusal(number, "invert v = u")
            rounds, _ = invert_rounds(p, number, o[1], o[2])
            p.rounds += rounds
        else:
            if in_loop is not None:
                raise Refusal(number, "inside a loop every line is a round")
            p.pending.append(parse_op(number, line))
    for p in programs.values():
        p.flush()
        if not p.rounds:
            raise Refusal(p.line, f"program {p.name} is empty")
        p.rounds.append(Round(**HALT))
        p.allocate()
        p.encode()
    return programs


def show(word):
    f = isa.decode(word)

    def operand(prefix):
        bank, index = f[prefix + "_bank"], f[prefix + "_index"]
        name = isa.CONSTANTS[index] if bank == isa.BANK_C else isa.SPECIAL[index] if bank == isa.BANK_S else f"{isa.BANK_NAMES[bank]}{index}"
        return ("~" if f[prefix + "_swap"] else "") + name

    mul = f"M{f['mul_dst']} = {operand('mul_a')} * {operand('mul_b')}" if f["mul_en"] else "-"
    sign = {"add": "+", "sub": "-", "sign": "+-"}[isa.ADD_OPS[f["add_op"]]]
    add = f"A{f['add_dst']} = {operand('add_x')} {sign} {operand('add_y')}" if f["add_en"] else "-"
    extra = [isa.STEPS[f["step"]]] if f["step"] else []
    if f["cond"]:
        extra.append(f"{isa.CONDITIONS[f['cond']]}: {isa.STATUS[f['cond_status']]}")
    if f["control"]:
        c = isa.CONTROL[f["control"]]
        extra.append(c + (" " + isa.COUNTS[f["count"]] if c == "loop" else ""))
    return f"{mul:24} | {add:24} {' ; '.join(extra)}".rstrip()


def main():
    ap = argparse.ArgumentParser(description="assembles the ECC core's microcode")
    ap.add_argument("source")
    ap.add_argument("--listing", help="write what each word does")
    ap.add_argument("--hex", help="write the words for $readmemh")
    ap.add_argument("--json", help="write entry points, inputs, outputs, words")
    a = ap.parse_args()
    try:
        programs = assemble(open(a.source).read())
    except Refusal as e:
        print(f"{a.source}: {e}", file=sys.stderr)
        return 1
    except OSError as e:
        print(f"{a.source}: {e.strerror}", file=sys.stderr)
        return 1
    entry, words, listing = {}, [], []
    for p in programs.values():
        entry[p.name] = len(words)
        listing.append(f"{p.name}: {len(p.words)} words, registers M {p.high_water[isa.BANK_M]} A {p.high_water[isa.BANK_A]}")
        listing += [f"{len(words) + k:5} {w:0{(isa.WIDTH + 3) // 4}x}  {show(w)}" for k, w in enumerate(p.words)]
        words += p.words
    if a.listing:
        open(a.listing, "w").write("\n".join(listing) + "\n")
    if a.hex:
        open(a.hex, "w").write("".join(f"{w:0{(isa.WIDTH + 3) // 4}x}\n" for w in words))
    if a.json:
        out = {
            p.name: {"entry": entry[p.name], "words": len(p.words), "inputs": p.inputs, "outputs": {n: f"{isa.BANK_NAMES[b]}{i}" for n, (b, i) in p.outputs.items()}}
            for p in programs.values()
        }
        json.dump({"width": isa.WIDTH, "programs": out, "words": [f"{w:x}" for w in words]}, open(a.json, "w"), indent=1)
    print("\n".join(x for x in listing if not x.startswith(" ")))
    return 0


if __name__ == "__main__":
    sys.exit(main())
