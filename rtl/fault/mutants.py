#!/usr/bin/env python3
"""Takes one counter-measure of the engine away at a time and lets the check that is to notice it run: each must fail.

    mutants.py --build FOLDER [--only REGEX] [--jobs N] [--list]

A mutant is a copy of rtl/ with one text replaced by another. Judges: `campaign` (rtl/fault/campaign.cpp finds harm: exit status 1), `engine` (a test of
rtl/test/test_engine.cpp fails), `entropy` (one of test_entropy.cpp) or `shell` (one of rtl/shell/test). A copy that does not build, or a judge that ends in any other way, is a
failure of this program. Exit status 0: every mutant was noticed. A minute or two each.
"""
import argparse
import concurrent.futures
import os
import pathlib
import re
import shutil
import subprocess
import sys
import time

RTL = pathlib.Path(__file__).resolve().parents[1]
TWIN = "assign ctl_differ = state != ctl_state;"
NO_TWIN = "assign ctl_differ = 1'b0 && state != ctl_state;"

# name, file, text, what stands there instead, judge, its arguments
MUTANTS = [
    ("control is not compared", "core/kf_core.sv", TWIN, NO_TWIN, "campaign", "--count 60 --seed 13 --target u_core[.]u_control"),
    ("digits are not compared", "core/kf_core.sv", "assign digit_differ = state != digit_state;", "assign digit_differ = 1'b0 && state != digit_state;",
     "campaign", "--count 800 --seed 13 --program generate --target u_core[.]u_digit"),
    ("preparing is not compared", "core/kf_prep.sv", TWIN, NO_TWIN, "campaign", "--count 80 --seed 14 --to 6000 --target ^u_prep[.]u_control"),
    ("results are not compared", "core/kf_results.sv", TWIN, NO_TWIN, "campaign", "--count 80 --seed 15 --from -500 --target ^u_results[.]u_control"),
    ("the ledger does not vote", "core/kf_voted.sv", "assign q_o = (a & b) | (a & c) | (b & c);", "assign q_o = a;",
     "campaign", "--count 60 --seed 15 --from -500 --no-errors --program generate --target ^u_ledger[.]u_state"),
    ("registers without check words", "core/kf_core.sv", "kf_uc::check_word(point[511:256], 11'd1) != point[575:544]));", "kf_uc::check_word(point[511:256], 11'd1) != point[575:544]));\n    operand_bad_q <= 1'b0;", "engine", "Memories/Faults*/0:Memories/Faults*/1"),
    ("scalar rows without check words", "core/kf_core.sv", "row_bad_q <= step1 != kf_uc::STEP_NONE", "row_bad_q <= 1'b0 && step1 != kf_uc::STEP_NONE", "engine", "Memories/Faults*/2"),
    ("GENERATE's point is not checked", "microcode/ecc.uc", "check nonzero odd fault\nxn = x_m * unit\nyn = y_m * unit", "check nonzero odd ok\nxn = x_m * unit\nyn = y_m * unit",
     "campaign", "--count 80 --seed 16 --program generate --target u_core[.]u_(mul|add)"),
    ("ECKA's point is not checked", "microcode/ecc.uc", "check nonzero odd fault\nxn = x_m * unit\nx = xn + zero", "check nonzero odd ok\nxn = x_m * unit\nx = xn + zero",
     "campaign", "--count 40 --seed 16 --program ecka --target u_core[.]u_(mul|add)"),
    ("SIGN's equation is not checked", "microcode/ecc.uc", "check nonzero fd fault", "check nonzero fd ok", "campaign", "--count 200 --seed 16 --program sign --from -26000 --target u_core[.]u_(mul|add)"),
    ("shares are not locked", "core/kf_prep.sv", ".lock_i(key_lock)", ".lock_i(1'b0)", "engine", "Shares.ASignature*"),
    ("shares stay the same", "core/kf_prep_control.sv", "(doing == DO_KEY_PUT && sub_q == 4'd0 && !fresh)", "(doing == DO_KEY_PUT && sub_q == 4'd0)", "engine", "Shares.AreNew*"),
    ("the nonce is put together", "core/kf_prep_control.sv", "4'd4: rest_of_plan = {DO_SCALAR, SHARE1};", "4'd4: rest_of_plan = {DO_HOLD, NO};", "engine", "Shares.NoRegister*"),
    ("scalars are not blinded", "core/kf_prep_control.sv", "t_q <= {s_word_data, t_q[127:32]};", "t_q <= {s_word_data & 32'd0, t_q[127:32]};", "engine", "Shares.ScalarsAreBlinded"),
    ("nonces without key and message", "core/kf_prep_control.sv", "assign mix_valid_o = working && doing == DO_MIX && !dry;", "assign mix_valid_o = 1'b0;", "engine", "Entropy.Nonces*"),
    ("a key is kept after its ECKA", "core/kf_prep_control.sv", "end else if (doing == DO_KEY_TAKE && share1) begin", "end else if (doing == DO_KEY_TAKE && share1 && abort_i) begin",
     "engine", "Keys.SlotsKeep*"),
    ("generations are not compared", "core/kf_prep_control.sv", "assign key_stale = want_gen_q != 6'd0 && key_was_gen_i != want_gen_q;", "assign key_stale = 1'b0 && key_was_gen_i != want_gen_q;", "engine", "Keys.AStale*"),
    ("registers are not overwritten between batches", "core/kf_core.sv", ".wipe_i(ex_we)", ".wipe_i(ex_we && (ex_load || wiping))", "engine", "Erasure.NothingStays*"),
    ("zeroisation does not reset", "core/kf_ledger.sv", "assign part_rst_o = mode == WIPE;", "assign part_rst_o = mode == WIPE && fault;", "engine", "Erasure.*"),
    ("known answers are not looked at", "core/kf_prep_control.sv", "if (!kat_ok_i) begin", "if (!kat_ok_i && abort_i) begin", "engine", "SelfTest.AWrong*"),
    ("a block of samples may come again", "core/kf_health.sv", "bad_o[2] = ", "bad_o[2] = 1'b0 && ", "engine", "Entropy.ARepeating*"),
    ("the second encryption is not compared", "core/kf_drbg.sv", "(commit && !cond && cipher != first_q)", "(commit && !cond && rst && cipher != first_q)", "entropy", "Flips.*"),
    ("an operand may stay where rows are made", "core/kf_public_row.sv", "      a_q <= '0;\n      kind_q", "      kind_q",
     "campaign", "--zeroise --count 400 --seed 3 --program check --target capture5_o"),
    ("the write of a row is not voted", "core/kf_core.sv", "kf_voted #(.WIDTH(9)) u_row_write (.clk, .d_i({row_we, row_waddr}), .q_o({row_we_q, row_waddr_q}));",
     "always_ff @(posedge clk) {row_we_q, row_waddr_q} <= {row_we, row_waddr};", "campaign", "--zeroise --count 1000 --seed 5 --program sign --target row_w"),
    ("an inverse of zero", "microcode/ecc.uc", "; An inverse of zero would make the peer's own point of the result, which is on the curve.\ncheck zero ivv fault\n", "",
     "campaign", "--count 1500 --seed 6 --from -4000 --program ecka --target u_mul.*now_q"),
    ("a damaged generation is made right", "core/kf_keyslots.sv", "gen_we = (write && req_held_i) || (sweeping_q && hard);", "gen_we = write || (sweeping_q && hard);", "engine", "Keys.ADamaged*"),
    ("the ladder's end is not checked", "microcode/ecc.uc", "rel = u2 * zi2\nxp3 = xpa * three_m\ndrel = rel - xp3\ncheck nonzero drel fault", "rel = u2 * zi2\nxp3 = xpa * three_m\ndrel = rel - xp3\ncheck nonzero drel ok",
     "campaign", "--count 600 --seed 1 --from -25000 --to 231400 --program ecka --target u_add.gen_sim.(en_q|now_q)"),
    ("u1 is not checked", "microcode/ecc.uc", "check nonzero du1 fault", "check nonzero du1 ok", "campaign", "--count 600 --seed 1 --from 22800 --to 24800 --program verify --target u_(add|mul).gen_sim.*(en_q|now_q)"),
    ("rows of public scalars are not compared", "core/kf_core.sv", "assign public_row_differ = cap_v[4] && row_twin != public_row;", "assign public_row_differ = 1'b0 && row_twin != public_row;", "engine",
     "Edges.ASignOfVerify*"),
    ("the table's loading is not summed up", "core/kf_table.sv", "assign right_o = sum_q == kf_curve::TABLE_SUM;", "assign right_o = 1'b1 || sum_q == kf_curve::TABLE_SUM;", "engine", "SelfTest.ALoading*"),
    ("operands come without check words", "core/kf_prep.sv", "v_check_q <= s_job_check;", "v_check_q <= fold(s_job_data);", "engine", "Keys.AnOperand*"),
    ("the shell does not vote", "core/kf_voted.sv", "assign q_o = (a & b) | (a & c) | (b & c);", "assign q_o = (a & b) | (a & c) | a;", "shell", "--only flips --seed 5"),
    ("a changed descriptor is handed on", "shell/kf_sq_dma.sv", "|| check_out != check_of(m_job_data))", "|| (rst && check_out != check_of(m_job_data)))", "shell", "--only changed_beats --seed 5"),
    ("check words of operands come again too soon", "shell/kf_sq_dma.sv", "{1'b0}}, descriptor, beat};", "{1'b0}}, descriptor & {1'b0, {LOG2_AHEAD{1'b1}}}, beat};", "shell", "--only buffer_pointers --seed 5"),
    ("a changed operand gets a new check word", "shell/kf_sq_dma.sv", "m_job_check = blank_i ? check_of(m_job_data) : check_out;", "m_job_check = check_of(m_job_data);", "shell", "--only changed_beats --seed 5"),
    ("the source may be dry", "core/kf_health.sv", "bad_o[3] = waits && (&starve_q);", "bad_o[3] = 1'b0;", "engine", "Entropy.ADry*:Entropy.ASource*"),
]


def build_and_judge(mutant, out):
    name, file, text, instead, judge, arguments = mutant
    begin = time.monotonic()
    folder = out / re.sub(r"\W+", "_", name)
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(RTL, folder / "rtl")
    victim = folder / "rtl" / file
    before = victim.read_text()
    if before.count(text) != 1:
        return name, f"{file} has {before.count(text)} times {text!r}", False, 0
    victim.write_text(before.replace(text, instead))
    if file.endswith(".uc"):
        subprocess.run([sys.executable, "-B", folder / "rtl/microcode/gen.py"], check=True)
    kind = {"campaign": "fault", "engine": "test", "entropy": "entropy", "shell": "test_shell"}[judge]
    if judge == "shell":
        (folder / "drivers").symlink_to(RTL.parent / "drivers")  # of which the bench has the register map
        build = [folder / "rtl/shell/test/build.sh", folder / "b"]
    else:
        build = [folder / "rtl/test/build.sh", kind, folder / "b", "1" if judge == "entropy" else "4"]
    made = subprocess.run(build, capture_output=True, text=True, check=False)
    if made.returncode:
        return name, "does not build: " + made.stderr[-300:], False, 0
    b = folder / "b"
    if judge == "shell":
        command, env = [b / kind, *arguments.split()], {}
    elif judge == "campaign":
        command, env = [b / "fault", "--table", b / "table.bin", *arguments.split()], {}
    else:
        command, env = [b / kind, f"--gtest_filter={arguments}"], {"KF_TABLE": str(b / "table.bin"), "KF_SEED": "5", "KF_VECTORS": str(RTL / "test/vectors/ctr_drbg.txt")}
    run = subprocess.run(command, env={**os.environ, **env}, capture_output=True, text=True, errors="replace", timeout=1800, check=False)
    (folder / "judge.log").write_text(run.stdout + run.stderr)
    sign = {"campaign": " flips in ", "shell": "FAILED "}.get(judge, "FAILED TEST")
    noticed = run.returncode == 1 and sign in run.stdout
    last = [line for line in run.stdout.splitlines() if " flips in " in line or line.startswith("FAILED ") or "FAILED  ]" in line or "PASSED  ]" in line]
    if noticed:
        shutil.rmtree(folder)
    return name, (last[-1].strip() if last else (run.stdout + run.stderr)[-200:]), noticed, time.monotonic() - begin


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--build", type=pathlib.Path, help="folder for the copies")
    ap.add_argument("--only", default="", help="regular expression: mutants with such a name")
    ap.add_argument("--jobs", type=int, default=2)
    ap.add_argument("--list", action="store_true")
    a = ap.parse_args()
    try:
        mutants = [m for m in MUTANTS if re.search(a.only, m[0])]
    except re.error as e:
        ap.error(f"--only {a.only}: no regular expression: {e}")
    if not mutants:
        ap.error(f"--only {a.only}: no mutant has such a name (--list shows them)")
    if a.list:
        print("\n".join(f"{m[0]}: {m[1]}, {m[4]} {m[5]}" for m in mutants))
        return 0
    if a.build is None:
        ap.error("--build FOLDER is missing")
    missed = 0
    with concurrent.futures.ThreadPoolExecutor(a.jobs) as pool:
        try:
            for done in concurrent.futures.as_completed([pool.submit(build_and_judge, m, a.build.resolve()) for m in mutants]):
                name, said, noticed, spent = done.result()
                print(f"{'noticed' if noticed else 'MISSED '} {name}: {said} ({spent:.0f} s)", flush=True)
                missed += not noticed
        except KeyboardInterrupt:
            pool.shutdown(cancel_futures=True)
            print("interrupted", file=sys.stderr)
            return 130
    print(f"{len(mutants)} mutants, {missed} missed")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
