kf_fuzz(fuzz_url SOURCES fuzz_url.cpp ROOMS kf_net)
kf_fuzz(fuzz_http SOURCES fuzz_http.cpp ROOMS kf_net)
kf_fuzz(fuzz_media_type SOURCES fuzz_media_type.cpp ROOMS kf_net SECONDS 1)
