kf_fuzz(fuzz_soap SOURCES fuzz_soap.cpp ROOMS kf_es)
