#!/usr/bin/env python3
"""Microcode against the golden model: random jobs and edge cases on both curves, every scalar and point on tiny curves, one
broken word at a time. Prints seed, rounds per program and what was covered; exit status 0 only when everything agrees.

    test_microcode.py [--seed N] [--jobs N] [--mutations N] [--tiny-step N]
"""
import argparse
import os
import random
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "model"))

import asm  # noqa: E402
import golden  # noqa: E402
import isa  # noqa: E402
import sim  # noqa: E402

PROGRAMS = asm.assemble(open(os.path.join(HERE, "ecc.uc")).read())
WORDS, ENTRY = [], {}
for name, p in PROGRAMS.items():
    ENTRY[name] = len(WORDS)
    WORDS += p.words


def start(s, name, rng, values, ladder=None, comb=None):
    """A context with the inputs of a program; lam and mask are drawn here."""
    def shares(k):
        k1 = rng.randrange(s.c.n)
        return (k + k1) % s.c.n, k1

    if name == "SIGN":
        values = dict(values, **dict(zip(("d0", "d1", "k0", "k1"), shares(values["d"]) + shares(values["k"]))))
    inputs = []
    for n in PROGRAMS[name].inputs:
        inputs.append(values[n] if n in values else rng.randrange(1, s.c.p if n == "lam" else s.c.n))
    c = sim.Context(inputs)
    if ladder is not None:  # a given one comes without a mask (kf_prep), with its top bit clear
        k = s.c.n - ladder if s.negative(ladder) else ladder
        k0, k1 = shares(k) if s.c.bits > 16 and k >> 64 else (k, 0)
        c.ladder = s.ladder_scalar(k0, k1, rng.randrange(1 << s.ladder_blind))
    if comb is not None:
        k0, k1 = (values["k0"], values["k1"]) if name == "SIGN" else shares(comb)
        c.comb = s.comb_scalar(k0, k1, rng.randrange(1 << s.comb_blind))
    return c


def out(name, c):
    values = []
    for bank, i in PROGRAMS[name].outputs.values():
        values.append((c.M if bank == isa.BANK_M else c.A)[i])
    return values


def jobs(s, rng, n):
    """(program, context, check of the finished context) for n random jobs of each kind and all edge cases."""
    c = s.c
    point = lambda: c.mul(rng.randrange(1, c.n), c.g)  # noqa: E731
    scalars = [rng.randrange(1, c.n) for _ in range(n)] + [1, 2, 3, 5, c.n - 1, c.n - 2, c.n - 3, (c.n - 1) // 2, (c.n + 1) // 2]
    for k in scalars:

        def generated(x, k=k):
            return x.status == "ok" and tuple(out("GENERATE", x)) == c.mul(k, c.g)

        yield "GENERATE", start(s, "GENERATE", rng, {}, comb=k), generated
        q = point()

        def agreed(x, k=k, q=q):
            if x.status == "exception":  # the blinded ladder of a tiny curve passes the point at infinity now and then
                return c.bits < 16
            return x.status == "ok" and out("ECKA", x)[0] == c.mul(k, q)[0]

        yield "ECKA", start(s, "ECKA", rng, {"xp": q[0], "yp": q[1]}, ladder=k), agreed
        bad = (q[0], (q[1] + rng.randrange(1, c.p)) % c.p)
        if not c.on_curve(bad):
            yield "ECKA", start(s, "ECKA", rng, {"xp": bad[0], "yp": bad[1]}, ladder=k), lambda x: x.status == "off_curve"
            yield "CHECK", start(s, "CHECK", rng, {"x": bad[0], "y": bad[1]}), lambda x: x.status == "off_curve"
        yield "CHECK", start(s, "CHECK", rng, {"x": q[0], "y": q[1]}), lambda x: x.status == "ok"
        d, e = rng.randrange(1, c.n), rng.choice([rng.randrange(s.R), 0, 1, c.n, s.R - 1])
        want = golden.ecdsa_sign(c, d, e, k)

        def signed(x, want=want):
            return (x.status == "exception") if want is None else (x.status == "ok" and tuple(out("SIGN", x)) == want)

        yield "SIGN", start(s, "SIGN", rng, {"e": e, "d": d, "k": k}, comb=k), signed
        if want is None:
            continue
        q = c.mul(d, c.g)
        for r, sv, ev in [want + (e,), (want[0], c.n - want[1], e), want + (e ^ 1,), (rng.randrange(1, c.n), rng.randrange(1, c.n), e), (5 % c.n, 5 % c.n, e)]:
            expect = golden.ecdsa_verify(c, q, ev, r, sv)
            def verified(x, expect=expect):
                if x.status == "exception":
                    return c.bits < 16  # partial sums of tiny curves meet often
                return x.status == ("ok" if expect else "bad_signature")

            rr = r + c.n if r + c.n < c.p else r
            values = {"xq": q[0], "yq": q[1], "ein": ev, "rin": r, "sin": sv, "rrin": rr}
            yield "VERIFY", start(s, "VERIFY", rng, values), verified


def edges(s, rng):
    """What the formulas must have an answer for, on the real curves: points with x = 0 or 3 x^2 + a = 0 under every kind of scalar, and sums of
    VERIFY that meet, made by choosing u1 and u2."""
    c, n, p = s.c, s.c.n, s.c.p
    root = lambda v: pow(v, (p + 1) // 4, p)  # noqa: E731
    flat = root(-c.a * pow(3, -1, p) % p)
    points = [c.mul(rng.randrange(1, n), c.g)]
    for x in (0, flat, p - flat):
        y = root((x**3 + c.a * x + c.b) % p)
        points += [q for q in ((x, y), (x, p - y)) if c.on_curve(q)]
    for q in points:
        for k in (1, 2, 3, 4, 8, 63, 64, n - 1, n - 2, n - 3, n - 4, n - 64, (1 << 255) - 1, 1 << 255, rng.randrange(1, n)):
            want = c.mul(k, q)[0]
            yield "ECKA", start(s, "ECKA", rng, {"xp": q[0], "yp": q[1]}, ladder=k), lambda x, want=want: x.status == "ok" and out("ECKA", x)[0] == want
    d = rng.randrange(1, n)
    q = c.mul(d, c.g)
    windows = s.windows["public"]
    sums = []
    for u1 in [0, 1, n - 1, rng.randrange(n)] + [(2 * w * 2**252 - t * n) % n for w, t in ((15, 1), (47, 3), (11, 1), (21, 2))]:
        sums += [(u1, u2) for u2 in (1, 2, 3, 4, n - 1, n - 2, n - 3, rng.randrange(1, n))]
        index, negative = s.digit(s.comb_public(u1), windows - 1, windows)
        last = (-1 if negative else 1) * (2 * index + 1) << (s.w * (windows - 1))
        for part in (last, s.comb_public(u1) - last, u1):  # u2 Q meets the last window, the others, all of them
            sums += [(u1, sign * part * pow(d, -1, n) % n) for sign in (1, -1)]
    for u1, u2 in sums:
        total = c.add(c.mul(u1, c.g), c.mul(u2, q))
        r = total[0] % n if total else rng.randrange(1, n)
        if not u2 or not r:
            continue
        sv = r * pow(u2, -1, n) % n
        for e in (u1 * sv % n, (u1 * sv + 1) % n):
            want = "ok" if golden.ecdsa_verify(c, q, e, r, sv) else "bad_signature"
            values = {"xq": q[0], "yq": q[1], "ein": e, "rin": r, "sin": sv, "rrin": r + n if r + n < p else r}
            yield "VERIFY", start(s, "VERIFY", rng, values), lambda x, want=want: x.status == want


def run_jobs(s, words, rng, n):
    """Failures by program; every context of one kind runs in lockstep."""
    kinds = {}
    todo = list(jobs(s, rng, n)) + (list(edges(s, rng)) if s.c.bits == 256 and n > 1 else [])
    for name, context, check in todo:
        kinds.setdefault(name, []).append((context, check))
    bad, facts = [], {}
    for name, list_ in kinds.items():
        facts[name] = sim.run(s, words, ENTRY[name], [x for x, _ in list_]) + (len(list_),)
        bad += [(name, x.status) for x, check in list_ if not check(x)]
    return bad, facts


def tiny(rng, step):
    """Every `step`-th scalar and the last on every point of a tiny curve through ECKA; every scalar through GENERATE."""
    c = golden.tiny_curve(8)
    s = sim.Setup(c, width=8, ladder_blind=8, comb_blind=8, w=3)
    wrong = flagged = 0
    scalars = sorted({*range(1, c.n, step), c.n - 1})
    for k in scalars:
        todo = golden.points(c)
        contexts = [start(s, "ECKA", rng, {"xp": q[0], "yp": q[1]}, ladder=k) for q in todo]
        sim.run(s, WORDS, ENTRY["ECKA"], contexts)
        for q, x in zip(todo, contexts):
            if x.status == "ok":
                wrong += out("ECKA", x)[0] != c.mul(k, q)[0]
            elif x.status == "exception":
                flagged += 1
            else:
                wrong += 1
    contexts = [start(s, "GENERATE", rng, {}, comb=k) for k in range(1, c.n) for _ in range(4)]
    sim.run(s, WORDS, ENTRY["GENERATE"], contexts)
    met = 0
    for i, x in enumerate(contexts):
        if x.status == "ok":
            wrong += tuple(out("GENERATE", x)) != c.mul(1 + i // 4, c.g)
        else:
            met += 1
    print(f"tiny curve {c.name}: {len(scalars) * len(golden.points(c))} ECKA, {flagged} flagged; {len(contexts)} GENERATE, {met} flagged; {wrong} wrong")
    return wrong == 0 and met < len(contexts)


def mutations(rng, count):
    """Breaks one field of one word at a time: the tests must notice. First with many jobs on a tiny curve, then, because its exponents
    do not use every register, with one job of each kind on brainpoolP256r1."""
    small = sim.Setup(golden.tiny_curve(10), width=10, ladder_blind=8, comb_blind=8, w=3)
    large = sim.Setup(golden.BRAINPOOL)
    missed = []
    used = []
    for i, w in enumerate(WORDS):
        f = isa.decode(w)
        scalar = isa.CONTROL[f["control"]].startswith("scalar")  # its product goes nowhere
        used += [(i, "mul", x) for x in (["mul_a_index", "mul_b_index"] + ([] if scalar else ["mul_dst"])) if f["mul_en"]]
        plain = f["add_y_bank"] == isa.BANK_C and isa.CONSTANTS[f["add_y_index"]] == "zero"  # minus zero is plus zero
        used += [(i, "add", x) for x in ["add_x_index", "add_y_index", "add_dst"] + ([] if plain else ["add_op"]) if f["add_en"]]
    # One random number is as good as another: nobody can notice.
    used = [u for u in used if not (u[2] == "mul_a_index" and isa.STATUS[isa.decode(WORDS[u[0]])["cond_status"]] == "entropy")]
    for at, unit, field in rng.sample(used, min(count, len(used))):
        f = isa.decode(WORDS[at])
        f[field] ^= rng.choice([2, 3]) if field != "add_op" else 1
        if f["add_op"] >= len(isa.ADD_OPS):
            f["add_op"] = 0
        words = list(WORDS)
        words[at] = isa.encode(f)

        def noticed(s, n):
            try:
                return bool(run_jobs(s, words, random.Random(7), n)[0])
            except (AssertionError, IndexError, TypeError):
                return True

        if not noticed(small, 25) and not noticed(large, 1):
            missed.append((at, field, asm.show(WORDS[at]), asm.show(words[at])))
    print(f"mutations: {min(count, len(used))} of {len(used)} single-field changes tried, {len(missed)} not noticed")
    for m in missed:
        print("  not noticed: word %d %s: %s -> %s" % m)
    # Some changes change nothing (a register that holds the same value by chance of the allocation, a mask for a mask); the rest must
    # be seen.
    return len(missed) <= max(1, count // 10)


def main():
    ap = argparse.ArgumentParser(description="microcode against the golden model")
    ap.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(4), "big"))
    ap.add_argument("--jobs", type=int, default=20, help="random jobs of each kind and curve")
    ap.add_argument("--mutations", type=int, default=30, help="words to break, one at a time")
    ap.add_argument("--tiny-step", type=int, default=1, help="on the tiny curve only every N-th scalar through ECKA")
    a = ap.parse_args()
    print(f"seed {a.seed}, {len(WORDS)} words of {isa.WIDTH} bits")
    rng = random.Random(a.seed)
    good = True
    for c in (golden.P256, golden.BRAINPOOL):
        bad, facts = run_jobs(sim.Setup(c), WORDS, rng, a.jobs)
        for name, (rounds, products, n) in facts.items():
            print(f"{c.name:16} {name:9} {n:5} jobs, {rounds:5} rounds, multiplier used in {100 * products / rounds:.1f} %")
        for name, status in bad:
            print(f"WRONG: {c.name} {name} ended with {status}")
        good = good and not bad
    good = tiny(rng, a.tiny_step) and good
    good = mutations(random.Random(a.seed), a.mutations) and good
    print("all agree" if good else "FAILED")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
