kf_fuzz(fuzz_card SOURCES fuzz_card.cpp ROOMS kf_sim_card)
