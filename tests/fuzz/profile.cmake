kf_fuzz(fuzz_package SOURCES fuzz_package.cpp ROOMS kf_profile)
kf_fuzz(fuzz_csv SOURCES fuzz_csv.cpp ROOMS kf_profile)
