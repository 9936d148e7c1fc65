; Microcode of the ECC core. One text serves both curves: everything that differs is a loadable constant.
; asm.py explains the language. Names ending in _m are in Montgomery form (v R mod m), inputs and outputs are plain numbers.
;
; Invariants that the programs rely on: every result of a unit is fully reduced; an inversion of 0 gives 0; scalars are put together from their shares,
; blinded and recoded by the scalar unit (ladder: bit L set, comb: odd). Statuses are sticky, the first one stands; the halt word, which the assembler appends, makes
; those contexts ok that have none.

; --------------------------------------------------------------------------------------------------------------------
; GENERATE: (x, y) = k G. k blinded to k + r n; fixed-base windows of signed odd digits, table point = digit 2^(7 i) G.
; lam is random and nonzero: Z = lam. The additions are incomplete; where two points meet, Z becomes 0: status exception.
.program GENERATE
.input lam
.output x=A1 y=A2
.pin Z M1
.pin ytail M2
.pin ytop M3
.pin Y A14
.pin X A15
mod p
lam_m = lam * r2_p
check zero lam_m entropy
lam2 = lam_m * lam_m
lam3 = lam2 * lam_m
round comb_first X0 = TX * lam2 | ty0 = zero +- TY
round Y0 = ty0 * lam3
round Z = lam_m * one_p | X = X0 + zero
round ytop = Y0 * one_p
round ytail = Y0 * zero
loop comb_blind
round zz = Z * Z | Y = ytop - ytail
round comb u2 = TX * zz | ty = zero +- TY
round z3 = Z * zz | h = u2 - X
round s2 = ty * z3
round hh = h * h | r = s2 - Y
round v = X * hh
round hhh = h * hh | v2 = v + v
round rr = r * r | t = hhh + v2
round ytail = Y * hhh | X = rr - t
round Z = Z * h | vx = v - X
round ytop = r * vx
endloop
keepz = Z * one_p
check zero keepz exception
Yj = ytop - ytail
Xj = X + zero
invert zi = Z
zi2 = zi * zi
zi3 = zi2 * zi
x_m = Xj * zi2
y_m = Yj * zi3
oxx = x_m * x_m
oxa = oxx + a_m
oxb = oxa * x_m
orhs = oxb + b_m
oyy = y_m * y_m
odd = oyy - orhs
check nonzero odd fault
xn = x_m * unit
yn = y_m * unit
x = xn + zero
y = yn + zero
; and back: what leaves is what has been checked
xb = x * r2_p
yb = y * r2_p
dx = xb - x_m
dy = yb - y_m
check nonzero dx fault
check nonzero dy fault

; --------------------------------------------------------------------------------------------------------------------
; ECKA: x = x(k P), P checked to be on the curve before, k P after. Ladder with invariant P + Q + R = 0 on x differences:
; XQ = x_Q - x_P, XR = x_R - x_P, M slope, Y = y_P, scaled by Z^2, Z^2, Z, Z^3; Z starts as 2 y lam.
; A ladder has no answer where it meets the point at infinity, which is where a prefix of its scalar is 0 or -1 modulo n. For a key that was drawn
; the chance is below 2^-190. One that was given (tests) is kept as n - k where the top bit of k is set (-P has the same x), and the factor of n is odd: then
; no prefix is, for any k.
; At the end x and y are recovered without a division by x_P, which may be 0. With XQ, XR, M, Y scaled by Z^2, Z^2, Z, Z^3:
; XQ + XR + 3 x_P Z^2 = M^2 and XQ XR + 2 Y M = (3 x_P^2 + a) Z^4, so 3 (XQ XR + 2 Y M) - (M^2 - XQ - XR)^2 = 3 a Z^4, whatever x_P is;
; and Z^-2 = Z^4 y_P^2 / Y^2.
.program ECKA
.input xp yp lam
.output x=A1
.pin XQ M0
.pin XR A0
.pin Y M1
.pin Mn A13
.pin xpa A11
.pin ypa A12
mod p
xp_m = xp * r2_p
yp_m = yp * r2_p
xpa = xp_m + zero
ypa = yp_m + zero
lam_m = lam * r2_p
check zero lam_m entropy
ixx = xp_m * xp_m
ixa = ixx + a_m
ixb = ixa * xp_m
irhs = ixb + b_m
iyy = yp_m * yp_m
idd = iyy - irhs
check nonzero idd off_curve
y2 = yp_m + yp_m
y4 = y2 * y2
x3 = xp_m * three_m
ma = x3 * xp_m
m0 = ma + a_m
mm = m0 * m0
xy = x3 * y4
xr0 = mm - xy
y8 = y4 * y4
half = y8 * half_m
lam2 = lam_m * lam_m
lam3 = lam2 * lam_m
xr1 = xr0 * lam2
m1 = m0 * lam_m
round Y = half * lam3 | XR = xr1 + zero
round XQ = lam2 * zero | Mn = m1 + zero
loop ladder_blind
round ladder t = Mn * ~XR | d = ~XR - ~XQ
round G = d * d | yr = t + Y
round ladder F = ~XR * G | D = yr + yr
round Zs = D * d
round D2 = D * D
round E = Zs * Mn
round hh = Y * Zs | s = D2 - E
round H = hh * G | u = s - E
round XQ = u * D2 | Mn = s - F
round F2 = F * F | H2 = H + H
round Y = H * D2 | XR = F2 - H2
endloop
round ladder_last Ym = Y * one_p | xq = ~XR + zero
round ladder_last m2 = Mn * Mn | xr = ~XQ + zero
den = Ym * one_p
check zero den exception
u1 = m2 - xq
u2 = u1 - xr
uu = u2 * u2
rq = xq * xr
ym = Ym * Mn
ym2 = ym + ym
w1 = rq + ym2
w2 = w1 + w1
w3 = w2 + w1
va = w3 - uu
ga = Mn + zero
invert iv = den
ivv = iv * iv
; An inverse of zero would make the peer's own point of the result, which is on the curve.
check zero ivv fault
pyy = ypa * ypa
z4 = va * third_m
zy = z4 * pyy
zi2 = zy * ivv
; XQ + XR = M^2 - 3 x_P Z^2 once more, with the Z that came from a and b: a state of the ladder that a fault has changed, one with XQ = 0 above all, which
; would make the peer's own x of the result, does not have it. Below, x and y take XQ by an operation each, so that an XQ that is lost
; in one of them leaves the curve.
rel = u2 * zi2
xp3 = xpa * three_m
drel = rel - xp3
check nonzero drel fault
xx3 = xq * zi2
xo = xx3 + xpa
x_m = xo * one_p
mq = ga * xq
mqi = mq * iv
one1 = mqi + one_p
y_m = ypa * one1
oxx = x_m * x_m
oxa = oxx + a_m
oxb = oxa * x_m
orhs = oxb + b_m
oyy = y_m * y_m
odd = oyy - orhs
check nonzero odd fault
xn = x_m * unit
x = xn + zero
; and back: what leaves is what has been checked
xb = x * r2_p
dx = xb - x_m
check nonzero dx fault

; --------------------------------------------------------------------------------------------------------------------
; SIGN: (r, s) with a fresh k. Key and nonce come in shares, d = d0 - d1 and k = k0 - k1 modulo n, and are never put together: with a random mask b,
; s = (b k0 - b k1)^-1 (b e + (b r) d0 - (b r) d1). At the end s k = e + r d is checked with the operands fetched and converted once more, times another
; mask c = b lam. No register holds d, k, r d or their negatives, in whatever form (rtl/test/test_engine.cpp watches all of them).
.program SIGN
; Where outputs leave (A1, A2) stand lam and the mask before: nothing that would tell the key. Inputs follow one another through the same registers, so
; the two shares of a number never stand side by side.
.input d0 lam mask d1 k0 e k1
.output rn=A1 sn=A2
.pin Z M1
.pin ytail M2
.pin ytop M3
.pin Y A14
.pin X A15
mod p
lam_m = lam * r2_p
check zero lam_m entropy
lam2 = lam_m * lam_m
lam3 = lam2 * lam_m
round comb_first X0 = TX * lam2 | ty0 = zero +- TY
round Y0 = ty0 * lam3
round Z = lam_m * one_p | X = X0 + zero
round ytop = Y0 * one_p
round ytail = Y0 * zero
loop comb_blind
round zz = Z * Z | Y = ytop - ytail
round comb u2 = TX * zz | ty = zero +- TY
round z3 = Z * zz | h = u2 - X
round s2 = ty * z3
round hh = h * h | r = s2 - Y
round v = X * hh
round hhh = h * hh | v2 = v + v
round rr = r * r | t = hhh + v2
round ytail = Y * hhh | X = rr - t
round Z = Z * h | vx = v - X
round ytop = r * vx
endloop
keepz = Z * one_p
check zero keepz exception
Yj = ytop - ytail
Xj = X + zero
invert zi = Z
zi2 = zi * zi
zi3 = zi2 * zi
x_m = Xj * zi2
y_m = Yj * zi3
oxx = x_m * x_m
oxa = oxx + a_m
oxb = oxa * x_m
orhs = oxb + b_m
oyy = y_m * y_m
odd = oyy - orhs
check nonzero odd fault
xn = x_m * unit
xa = xn + zero
xb = xa * r2_p
dx = xb - x_m
check nonzero dx fault
mod n
r_m = xa * r2_n
check zero r_m exception
ra = r_m + zero
b_m1 = mask * r2_n
check zero b_m1 entropy
ba = b_m1 + zero
k0_m = k0 * r2_n
k1_m = k1 * r2_n
bk0 = k0_m * b_m1
bk1 = k1_m * b_m1
bk = bk0 - bk1
invert bi = bk
e_m = e * r2_n
be = e_m * ba
br = ba * ra
d0_m = d0 * r2_n
d1_m = d1 * r2_n
brd0 = d0_m * br
brd1 = d1_m * br
sum0 = be + brd0
sum = sum0 - brd1
s_m = sum * bi
check zero s_m exception
; once more, with the other mask
lam_n = lam * r2_n
c_m = lam_n * ba
check zero c_m entropy
k0_2 = k0 * r2_n
k1_2 = k1 * r2_n
ck0 = k0_2 * c_m
ck1 = k1_2 * c_m
ck = ck0 - ck1
csk = s_m * ck
e_2 = e * r2_n
ce = e_2 * c_m
cr = ra * c_m
d0_2 = d0 * r2_n
d1_2 = d1 * r2_n
crd0 = d0_2 * cr
crd1 = d1_2 * cr
csum0 = ce + crd0
csum = csum0 - crd1
fd = csk - csum
check nonzero fd fault
ru = ra * unit
su = s_m * unit
rn = ru + zero
sn = su + zero
; and back: what leaves is what has been checked, and r is x modulo n
rb = rn * r2_n
sb = sn * r2_n
xr = xa * r2_n
dr = rb - ra
ds = sb - s_m
dxr = xr - ra
check nonzero dr fault
check nonzero ds fault
check nonzero dxr fault

; --------------------------------------------------------------------------------------------------------------------
; VERIFY: x(u1 G + u2 Q) = r mod n, public data only. u1, u2 go to the scalar unit (u1 made odd by + n; u2 as in ECKA, its sign comes back
; with ladder_last). rr is r + n where that is below p, else r. The sums that can meet, whatever the signature, are complete (Renes,
; Costello, Batina 2016, "Complete addition formulas for prime order elliptic curves", with Z2 = 1): u2 Q to all windows of u1 G but the last one, then the last one. Before that
; no sum of odd digits can be 0 or the next point: it is smaller than that, and both are smaller than n.
.program VERIFY
.input xq yq ein rin sin rrin lam
.output ok=A1
.pin Z M1
.pin ytail M2
.pin ytop M3
.pin Y A14
.pin X A15
.pin XQ M0
.pin XR A0
.pin Yl M4
.pin Mn A13
.pin xpa A11
.pin ypa A12
mod n
ss_m = sin * r2_n
invert w = ss_m
uu1 = ein * w
uu2 = rin * w
ua1 = uu1 + zero
ua2 = uu2 + zero
; u1 s = e and u2 s = r, with the operands fetched and converted once more: a digest, an s or an inverse that was wrong once decides nothing
ssb = sin * r2_n
us1 = ua1 * ssb
us2 = ua2 * ssb
e_m = ein * r2_n
e_n = e_m * unit
r_m = rin * r2_n
r_n = r_m * unit
du1 = us1 - e_n
du2 = us2 - r_n
check nonzero du1 fault
check nonzero du2 fault
scalar comb ua1
scalar ladder ua2
mod p
xp_m = xq * r2_p
yp_m = yq * r2_p
xpa = xp_m + zero
ypa = yp_m + zero
ixx = xp_m * xp_m
ixa = ixx + a_m
ixb = ixa * xp_m
irhs = ixb + b_m
iyy = yp_m * yp_m
idd = iyy - irhs
check nonzero idd off_curve
y2 = yp_m + yp_m
y4 = y2 * y2
x3 = xp_m * three_m
ma = x3 * xp_m
m0 = ma + a_m
mm = m0 * m0
xy = x3 * y4
xr0 = mm - xy
y8 = y4 * y4
round Yl = y8 * half_m | XR = xr0 + zero
round XQ = y8 * zero | Mn = m0 + zero
loop ladder_public
round ladder t = Mn * ~XR | d = ~XR - ~XQ
round G = d * d | yr = t + Yl
round ladder F = ~XR * G | D = yr + yr
round Zs = D * d
round D2 = D * D
round E = Zs * Mn
round hh = Yl * Zs | s = D2 - E
round H = hh * G | u = s - E
round XQ = u * D2 | Mn = s - F
round F2 = F * F | H2 = H + H
round Yl = H * D2 | XR = F2 - H2
endloop
round ladder_last Ym = Yl * one_p | xq = ~XR + zero
round ladder_last m2 = Mn * Mn | xr = ~XQ + zero
den = Ym * one_p
check zero den exception
u1 = m2 - xq
u2l = u1 - xr
uu = u2l * u2l
rq = xq * xr
ym = Ym * Mn
ym2 = ym + ym
w1 = rq + ym2
w2 = w1 + w1
w3 = w2 + w1
va = w3 - uu
ga = Mn + zero
invert iv = den
ivv = iv * iv
; As in ECKA: else Q would stand for u2 Q.
check zero ivv fault
pyy = ypa * ypa
z4 = va * third_m
zy = z4 * pyy
zi2 = zy * ivv
rel = u2l * zi2
xp3 = xpa * three_m
drel = rel - xp3
check nonzero drel fault
xx3 = xq * zi2
xo = xx3 + xpa
mq = ga * xq
mqi = mq * iv
one1 = mqi + one_p
yo = ypa * one1
oxx = xo * xo
oxa = oxx + a_m
oxb = oxa * xo
orhs = oxb + b_m
oyy = yo * yo
odd = oyy - orhs
check nonzero odd fault
round ladder_last yoa = zero +- yo
lam_m = lam * r2_p
check zero lam_m entropy
lam2 = lam_m * lam_m
lam3 = lam2 * lam_m
round comb_first X0 = TX * lam2 | ty0 = zero +- TY
round Y0 = ty0 * lam3
round Z = lam_m * one_p | X = X0 + zero
round ytop = Y0 * one_p
round ytail = Y0 * zero
loop comb_public
round zz = Z * Z | Y = ytop - ytail
round comb u2 = TX * zz | ty = zero +- TY
round z3 = Z * zz | h = u2 - X
round s2 = ty * z3
round hh = h * h | r = s2 - Y
round v = X * hh
round hhh = h * hh | v2 = v + v
round rr = r * r | t = hhh + v2
round ytail = Y * hhh | X = rr - t
round Z = Z * h | vx = v - X
round ytop = r * vx
endloop
keepz = Z * one_p
check zero keepz exception
Yj = ytop - ytail
round comb tx = TX * one_p | ty = zero +- TY
; homogeneous, plus u2 Q
hzz = Z * Z
hx = X * Z
hz = hzz * Z
ma = hx * xo
mb = Yj * yoa
md1 = hx * yoa
md2 = Yj * xo
md = md1 + md2
me1 = hz * xo
me = me1 + hx
mf1 = hz * yoa
mf = mf1 + Yj
ms1 = me * a_m
ms2 = hz * b3_m
ms = ms1 + ms2
mg = mb - ms
mh = mb + ms
mk1 = hz * a_m
mk2 = ma - mk1
mk3 = mk2 * a_m
mk4 = me * b3_m
mk = mk3 + mk4
ml2 = ma + ma
ml3 = ml2 + ma
ml = ml3 + mk1
mx1 = md * mg
mx2 = mf * mk
mx = mx1 - mx2
my1 = ml * mk
my2 = mh * mg
my = my1 + my2
mz1 = mf * mh
mz2 = md * ml
mz = mz1 + mz2
; plus the last window
na = mx * tx
nb = my * ty
nd1 = mx * ty
nd2 = my * tx
nd = nd1 + nd2
ne1 = mz * tx
ne = ne1 + mx
nf1 = mz * ty
nf = nf1 + my
ns1 = ne * a_m
ns2 = mz * b3_m
ns = ns1 + ns2
ng = nb - ns
nh = nb + ns
nk1 = mz * a_m
nk2 = na - nk1
nk3 = nk2 * a_m
nk4 = ne * b3_m
nk = nk3 + nk4
nl2 = na + na
nl3 = nl2 + na
nl = nl3 + nk1
nx1 = nd * ng
nx2 = nf * nk
nx = nx1 - nx2
nz1 = nf * nh
nz2 = nd * nl
nz = nz1 + nz2
; infinity has no x, which is looked at twice as well
check zero nz bad_signature
nzm = nz * one_p
check zero nzm bad_signature
r_p = rin * r2_p
rr_p = rrin * r2_p
c1 = r_p * nz
c2 = rr_p * nz
f1 = nx - c1
f2 = nx - c2
ff = f1 * f2
check nonzero ff bad_signature
; decided twice, from differences of their own: a zero that a fault made is not enough
g1 = c1 - nx
g2 = c2 - nx
gg = g1 * g2
check nonzero gg bad_signature
ok = gg + zero

; --------------------------------------------------------------------------------------------------------------------
; CHECK: is (x, y) on the curve? Range is checked before.
.program CHECK
.input x y
.output
mod p
x_m = x * r2_p
y_m = y * r2_p
xx = x_m * x_m
xa = xx + a_m
xb = xa * x_m
rhs = xb + b_m
yy = y_m * y_m
dd = yy - rhs
check nonzero dd off_curve
; Once more from the beginning: a product that was wrong once does not make a point of it.
x_m2 = x * r2_p
y_m2 = y * r2_p
xx2 = x_m2 * x_m2
xa2 = xx2 + a_m
xb2 = xa2 * x_m2
rhs2 = xb2 + b_m
yy2 = y_m2 * y_m2
ee = rhs2 - yy2
check nonzero ee off_curve
