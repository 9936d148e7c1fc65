kf_fuzz(opener SOURCES fuzz_opener.cpp ROOMS kf_base kf_crypto kf_seal)
