# Compiler settings and the third-party packages (Debian 12), in one place.
find_package(Threads REQUIRED)
find_package(OpenSSL 3.0 REQUIRED)
find_package(Boost 1.81 REQUIRED)
find_package(pugixml REQUIRED)
find_package(fmt REQUIRED)
find_package(spdlog REQUIRED)
find_package(nlohmann_json REQUIRED)
find_package(CLI11 REQUIRED)
find_package(SQLite3 REQUIRED)
find_package(GTest REQUIRED)
find_package(benchmark REQUIRED)
find_package(PkgConfig REQUIRED)
pkg_check_modules(TOMLPP REQUIRED IMPORTED_TARGET tomlplusplus)
pkg_check_modules(P11KIT REQUIRED IMPORTED_TARGET p11-kit-1)

add_library(kf_options INTERFACE)
target_include_directories(kf_options INTERFACE ${CMAKE_SOURCE_DIR} ${CMAKE_BINARY_DIR})
# A seventh of the time to compile; the release build has said it all, and with sanitizers GCC warns of code that is not ours.
if(KEYFERRY_SANITIZE)
  target_compile_options(kf_options INTERFACE -fno-omit-frame-pointer -w)
else()
  target_compile_options(kf_options INTERFACE -Wall -Wextra -Wpedantic -Wshadow -Wnon-virtual-dtor -Wold-style-cast -Wcast-qual -Woverloaded-virtual
                                              -fno-omit-frame-pointer)
  if(KEYFERRY_WERROR)
    target_compile_options(kf_options INTERFACE -Werror)
  endif()
endif()
# The EC_* calls that OpenSSL 3 marks as deprecated are not used; say so if one creeps in.
target_compile_definitions(kf_options INTERFACE OPENSSL_API_COMPAT=30000 OPENSSL_NO_DEPRECATED
                                                BOOST_ASIO_NO_DEPRECATED SPDLOG_FMT_EXTERNAL)
if(KEYFERRY_SANITIZE)
  target_compile_options(kf_options INTERFACE -fsanitize=${KEYFERRY_SANITIZE} -fno-sanitize-recover=all)
  target_link_options(kf_options INTERFACE -fsanitize=${KEYFERRY_SANITIZE})
endif()
# Hardening of all that is optimised: tests are not (kf_test), and _FORTIFY_SOURCE needs it. tests/house/test_hardening.cpp looks for it in the
# product's binaries. Sanitizers look for the same faults themselves. CET: code says where it may be entered; Debian 12's C start-up code does
# not, so no program is marked as a whole, and one that will be linked with a newer one has what it needs.
add_library(kf_hardening INTERFACE)
if(NOT KEYFERRY_SANITIZE)
  include(CheckPIESupported)
  check_pie_supported() # CMAKE_POSITION_INDEPENDENT_CODE then reaches the linker, too
  set(kf_hardened $<NOT:$<BOOL:$<TARGET_PROPERTY:KF_UNOPTIMISED>>>)
  target_compile_options(kf_hardening INTERFACE $<${kf_hardened}:-fstack-protector-strong> $<${kf_hardened}:-fstack-clash-protection>)
  if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64|i.86")
    target_compile_options(kf_hardening INTERFACE $<${kf_hardened}:-fcf-protection=full>)
  endif()
  set(kf_optimised $<AND:$<CONFIG:Release,RelWithDebInfo,MinSizeRel>,${kf_hardened}>)
  target_compile_options(kf_hardening INTERFACE $<${kf_optimised}:-U_FORTIFY_SOURCE> $<${kf_optimised}:-D_FORTIFY_SOURCE=3>)
  target_link_options(kf_hardening INTERFACE -Wl,-z,relro -Wl,-z,now -Wl,-z,noexecstack)
endif()
target_link_libraries(kf_options INTERFACE kf_hardening)
# Sanitizers make compiling slow: optimised, a unit of the services takes 81 s of a processor, as below 33 s. So
#   the equipment (tests, bench) and the trunk, which moves values about, are not optimised under any sanitizer;
#   UBSan's checks before every access (null, alignment, vptr: 40 % of the time) stay in the leaves, which work on octets and raw memory.
# object-size repeats what AddressSanitizer sees.
set(kf_dir $<TARGET_PROPERTY:SOURCE_DIR>)
set(kf_trunk "")
foreach(folder tests bench host/server host/main host/download host/store hsm/engine hsm/probe hsm/setup)
  list(APPEND kf_trunk $<PATH:IS_PREFIX,${CMAKE_SOURCE_DIR}/${folder},${kf_dir}>)
endforeach()
list(JOIN kf_trunk "," kf_trunk)
set(kf_trunk $<OR:${kf_trunk}>)
if(KEYFERRY_SANITIZE)
  target_compile_options(kf_options INTERFACE $<${kf_trunk}:-O0>)
endif()
if(KEYFERRY_SANITIZE MATCHES "undefined")
  target_compile_options(kf_options INTERFACE -fno-sanitize=object-size $<${kf_trunk}:-fno-sanitize=null,alignment,vptr>)
endif()
target_link_libraries(kf_options INTERFACE Threads::Threads)
# GCC 12 reports false -Wmaybe-uninitialized inside Boost.Asio coroutines and std::variant, false -Wrestrict on string
# concatenation, and does not know std::atomic_thread_fence under TSan (Boost.Asio has its own annotations).
target_compile_options(kf_options INTERFACE $<$<CXX_COMPILER_ID:GNU>:-Wno-maybe-uninitialized;-Wno-restrict>)
# Within a unit of several files "another file's unnamed namespace" means nothing.
if(KEYFERRY_UNITY)
  target_compile_options(kf_options INTERFACE $<$<CXX_COMPILER_ID:GNU>:-Wno-subobject-linkage>)
endif()
if(KEYFERRY_SANITIZE STREQUAL "thread")
  target_compile_options(kf_options INTERFACE -Wno-tsan)
endif()
