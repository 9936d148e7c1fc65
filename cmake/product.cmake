# kf_product(TARGET): what users get, and no test equipment. tests/house looks for the hardening of each.
set_property(GLOBAL PROPERTY KF_PRODUCTS "")
function(kf_product target)
  set_property(GLOBAL APPEND PROPERTY KF_PRODUCTS ${target})
endfunction()
