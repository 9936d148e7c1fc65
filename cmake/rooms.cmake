# kf_room(NAME SOURCES ... ROOMS ... LIBS ... PRIVATE ...): one folder, one static library.
#   ROOMS    rooms of this project that its headers include; whoever uses this room may include them, too
#   LIBS     third-party targets
#   PRIVATE  of both kinds what only its .cpp files include
# ROOMS and PRIVATE are the allowed edges; tests/house holds them against the #includes.
# kf_test(NAME SOURCES ... ROOMS ... [LABELS ...] [TIMEOUT seconds]): one GoogleTest program, registered with ctest.
#   The label `threads` marks what has threads of its own: the tsan preset builds and runs just that (target tests_threads).
#   What is labelled `measure`, `soak` or `equipment` (it tests nothing of the product) is not built with sanitizers unless it is named.
include(CMakeParseArguments)

# Whoever names rooms is remembered: a name that is no target would otherwise become a library that the linker does not find.
set_property(GLOBAL PROPERTY KF_NAMED "")
function(kf_names name)
  foreach(room ${ARGN})
    set_property(GLOBAL APPEND PROPERTY KF_NAMED "${name}|${room}")
  endforeach()
endfunction()
function(kf_check_rooms) # once all folders are read
  get_property(named GLOBAL PROPERTY KF_NAMED)
  set(wrong "")
  foreach(pair ${named})
    string(REPLACE "|" ";" pair ${pair})
    list(GET pair 1 room)
    if(NOT TARGET ${room})
      list(GET pair 0 name)
      string(APPEND wrong "\n  ${room}, which ${name} names, is no room")
    endif()
  endforeach()
  if(wrong)
    message(FATAL_ERROR "ROOMS:${wrong}")
  endif()
endfunction()

set_property(GLOBAL PROPERTY KF_EDGES "")
add_custom_target(tests_threads)

function(kf_unity name)
  if(KEYFERRY_UNITY)
    set_target_properties(${name} PROPERTIES UNITY_BUILD ON UNITY_BUILD_BATCH_SIZE 6)
  endif()
endfunction()

function(kf_room name)
  cmake_parse_arguments(A "" "" "SOURCES;ROOMS;LIBS;PRIVATE" ${ARGN})
  set(private_rooms ${A_PRIVATE})
  list(FILTER private_rooms INCLUDE REGEX "^kf_")
  kf_names(${name} ${A_ROOMS} ${private_rooms})
  if(A_SOURCES)
    add_library(${name} STATIC ${A_SOURCES})
    kf_unity(${name})
    target_link_libraries(${name} PUBLIC kf_options ${A_ROOMS} ${A_LIBS} PRIVATE ${A_PRIVATE})
  else()
    add_library(${name} INTERFACE)
    target_link_libraries(${name} INTERFACE kf_options ${A_ROOMS} ${A_LIBS})
  endif()
  file(RELATIVE_PATH dir ${CMAKE_SOURCE_DIR} ${CMAKE_CURRENT_SOURCE_DIR})
  string(REPLACE ";" "," rooms "${A_ROOMS}")
  string(REPLACE ";" "," private_rooms "${private_rooms}")
  set_property(GLOBAL APPEND PROPERTY KF_EDGES "${name}|${dir}|${rooms}|${private_rooms}")
endfunction()

function(kf_program name)
  cmake_parse_arguments(A "" "" "SOURCES;ROOMS;LIBS" ${ARGN})
  kf_names(${name} ${A_ROOMS})
  add_executable(${name} ${A_SOURCES})
  kf_unity(${name})
  target_link_libraries(${name} PRIVATE kf_options ${A_ROOMS} ${A_LIBS})
endfunction()

function(kf_test name)
  cmake_parse_arguments(A "" "TIMEOUT" "SOURCES;ROOMS;LIBS;LABELS" ${ARGN})
  kf_names(${name} ${A_ROOMS})
  add_executable(${name} ${A_SOURCES})
  kf_unity(${name})
  target_link_libraries(${name} PRIVATE kf_options ${A_ROOMS} ${A_LIBS} GTest::gtest GTest::gtest_main)
  # The optimiser would take longer over a test than the test takes; what it calls is optimised. What measures is, too.
  if(NOT A_LABELS MATCHES "measure|soak")
    target_compile_options(${name} PRIVATE -O0)
    set_target_properties(${name} PROPERTIES KF_UNOPTIMISED TRUE)
  endif()
  target_compile_definitions(${name} PRIVATE KF_SOURCE_DIR="${CMAKE_SOURCE_DIR}" KF_BIN_DIR="${CMAKE_BINARY_DIR}/bin")
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
  add_test(NAME ${name} COMMAND ${name} WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
  if("threads" IN_LIST A_LABELS)
    add_dependencies(tests_threads ${name})
  endif()
  if(KEYFERRY_SANITIZE AND A_LABELS MATCHES "measure|soak|equipment") # not run there: ./run
    set_target_properties(${name} PROPERTIES EXCLUDE_FROM_ALL TRUE)
  endif()
  if(NOT A_TIMEOUT)
    set(A_TIMEOUT 300)
  endif()
  set_tests_properties(${name} PROPERTIES TIMEOUT ${A_TIMEOUT} LABELS "${A_LABELS}" SKIP_RETURN_CODE 77)
endfunction()
