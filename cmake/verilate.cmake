# kf_core_model(NAME STYLE n II n TEST 0|1): kf_ecc_top as a static library NAME with the class V${NAME}.
#   STYLE  1: written for simulation speed, 0: the pipelined one that is synthesised
#   TEST   1: a test build (TEST_IMPORT: scalars and nonces may come from outside)
#   REACHABLE  every flop and memory can be found by its name (rtl/fault/targets.hpp) and nothing sleeps: slower, for tests
# Verilator's C++ is compiled as one unit: one rule, and the optimiser sees all of it. -O3 whatever the preset says: below that a core
# simulates at two thirds of the speed or less. Its warnings are Verilator's business, so kf_options stays out, but for the hardening.
find_program(KF_VERILATOR verilator REQUIRED)
find_package(Python3 REQUIRED COMPONENTS Interpreter)
execute_process(COMMAND ${KF_VERILATOR} --getenv VERILATOR_ROOT OUTPUT_VARIABLE KF_VERILATOR_ROOT OUTPUT_STRIP_TRAILING_WHITESPACE)
if(NOT EXISTS ${KF_VERILATOR_ROOT}/include/verilated.cpp)
  message(FATAL_ERROR "Verilator's C++ sources are not in ${KF_VERILATOR_ROOT}/include")
endif()

set(kf_rtl ${CMAKE_SOURCE_DIR}/rtl)
set(kf_core_packages ${kf_rtl}/arith/kf_arith_pkg.sv ${kf_rtl}/core/kf_uc.sv ${kf_rtl}/core/kf_curve.sv ${kf_rtl}/shell/kf_regs_pkg.sv) # these come first
file(GLOB kf_core_sources CONFIGURE_DEPENDS ${kf_rtl}/core/*.sv ${kf_rtl}/arith/*.sv ${kf_rtl}/shell/*.sv)
list(REMOVE_ITEM kf_core_sources ${kf_core_packages})
list(PREPEND kf_core_sources ${kf_core_packages})

set(kf_verilated_options -O3 -w)
add_library(kf_verilated STATIC ${KF_VERILATOR_ROOT}/include/verilated.cpp ${KF_VERILATOR_ROOT}/include/verilated_threads.cpp)
target_include_directories(kf_verilated SYSTEM PUBLIC ${KF_VERILATOR_ROOT}/include ${KF_VERILATOR_ROOT}/include/vltstd)
target_compile_options(kf_verilated PRIVATE ${kf_verilated_options})
target_link_libraries(kf_verilated PUBLIC Threads::Threads PRIVATE kf_hardening)

function(kf_core_model name)
  cmake_parse_arguments(A "REACHABLE" "STYLE;II;TEST" "" ${ARGN})
  set(dir ${CMAKE_CURRENT_BINARY_DIR}/${name})
  list(JOIN kf_core_sources "|" sources)
  add_custom_command(OUTPUT ${dir}/all.cpp ${dir}/V${name}.h
    COMMAND ${CMAKE_COMMAND} -DVERILATOR=${KF_VERILATOR} -DNAME=${name} -DSTYLE=${A_STYLE} -DII=${A_II} -DTEST=${A_TEST} -DDIR=${dir} -DREACHABLE=${A_REACHABLE}
            -DPYTHON=${Python3_EXECUTABLE} -DFLOPS=${kf_rtl}/fault/flops.py
            "-DSOURCES=${sources}" -P ${CMAKE_SOURCE_DIR}/cmake/run-verilator.cmake
    DEPENDS ${kf_core_sources} ${CMAKE_SOURCE_DIR}/cmake/run-verilator.cmake ${kf_rtl}/fault/flops.py
    COMMENT "Verilating ${name}" VERBATIM)
  add_library(${name} STATIC ${dir}/all.cpp)
  target_include_directories(${name} SYSTEM PUBLIC ${dir})
  target_compile_options(${name} PRIVATE ${kf_verilated_options})
  target_link_libraries(${name} PUBLIC kf_verilated)
  if(NOT A_REACHABLE)
    target_link_libraries(${name} PRIVATE kf_hardening)
  endif()
endfunction()
