# cmake -DFROM=FOLDER -DOUT=FILE -P embed.cmake: the WSDL and XSD files of FOLDER as C++ strings, one
# {"name", R"(text)"} a line, to be included into a table.
file(GLOB files ${FROM}/*.wsdl ${FROM}/*.xsd)
list(SORT files)
set(text "")
foreach(file ${files})
  get_filename_component(name ${file} NAME)
  file(READ ${file} content)
  string(APPEND text "{\"${name}\", R\"kf(${content})kf\"},\n")
endforeach()
file(WRITE ${OUT} "${text}")
