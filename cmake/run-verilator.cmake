# One model, at build time: NAME, STYLE, II, TEST, REACHABLE, DIR, SOURCES (separated by |), VERILATOR. The BUILD register gets the first 32 bits of the
# hash of the sources. The names of Verilator's files follow from what is in them and are known only afterwards; all.cpp includes them all.
string(REPLACE "|" ";" SOURCES "${SOURCES}")
set(hashes "")
foreach(file ${SOURCES})
  file(SHA256 ${file} hash)
  string(APPEND hashes "${hash}\n")
endforeach()
string(SHA256 hash "${hashes}")
string(SUBSTRING ${hash} 0 8 build)

set(reachable "")
if(REACHABLE)
  set(reachable --vpi --public-flat-rw -GSLEEP=0)
endif()
file(REMOVE_RECURSE ${DIR})
file(MAKE_DIRECTORY ${DIR})
execute_process(
  COMMAND ${VERILATOR} --cc --prefix V${NAME} --top-module kf_ecc_top -O3 --x-assign fast --x-initial fast --noassert
          -GSTYLE=${STYLE} -GII=${II} "-GTEST_IMPORT=1'b${TEST}" "-GBUILD=32'h${build}" ${reachable} --Mdir ${DIR} ${SOURCES}
  RESULT_VARIABLE status)
if(NOT status EQUAL 0)
  message(FATAL_ERROR "verilator failed on ${NAME}")
endif()
file(GLOB files RELATIVE ${DIR} ${DIR}/*.cpp)
list(SORT files)
set(text "")
foreach(file ${files})
  # Verilator sets the wide temporaries of its functions to zero in every cycle, though each is written before it is read; that costs a fifth
  # of the speed. rtl/test/build.sh does the same, so every test of the engine runs on such code.
  file(READ ${DIR}/${file} code)
  string(REGEX REPLACE "\n    VL_ZERO_W\\([0-9]+, __V(func|dly)[A-Za-z0-9_]*\\);" "" code "${code}")
  file(WRITE ${DIR}/${file} "${code}")
  string(APPEND text "#include \"${file}\"\n")
endforeach()
file(WRITE ${DIR}/all.cpp "${text}")
