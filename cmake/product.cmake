# kf_product(TARGET FOLDER): what users get, and no test equipment; `cmake --install` puts it into FOLDER. tests/house looks for the hardening
# of each, tests/operators for an installation that works.
include(GNUInstallDirs)
set(KF_LIBEXEC ${CMAKE_INSTALL_LIBEXECDIR}/keyferry) # programs that nobody starts by hand; found by host/os/programs.hpp
set_property(GLOBAL PROPERTY KF_PRODUCTS "")
function(kf_product target folder)
  set_property(GLOBAL APPEND PROPERTY KF_PRODUCTS ${target})
  install(TARGETS ${target} DESTINATION ${folder})
endfunction()

install(FILES README.md CHANGELOG.md LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR})
install(DIRECTORY docs DESTINATION ${CMAKE_INSTALL_DOCDIR} FILES_MATCHING PATTERN "*.md" PATTERN "*.wsdl" PATTERN "*.xsd")
