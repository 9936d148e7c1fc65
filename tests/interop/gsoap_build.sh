#!/bin/sh
# gsoap_build.sh WSDL OUT-DIR NAME [DEFINE...]: generates a client from a description and compiles gsoap_es2.cpp with it,
# to OUT-DIR/NAME.
set -e
here=$(cd "$(dirname "$0")" && pwd)
wsdl=$1 out=$2 name=$3
shift 3
work=$out/$name.d
mkdir -p "$work"
cd "$work"
wsdl2h -c++11 -t /usr/share/gsoap/WS/typemap.dat -I "$(dirname "$wsdl")" -o es2.h "$wsdl" >wsdl2h.log 2>&1
soapcpp2 -C -CL -j -2 -c++11 -w -x -I/usr/share/gsoap/import:/usr/share/gsoap es2.h >soapcpp2.log 2>&1
header=$(ls soap*Proxy.h)
proxy=${header#soap}
for file in soapC.cpp "${header%.h}.cpp" "$here/gsoap_es2.cpp"; do
  g++ -O0 -w -std=c++17 -I. -DWITH_OPENSSL -DPROXY_HEADER="\"$header\"" -DNSMAP="\"$(ls *.nsmap)\"" -DPROXY="${proxy%.h}" \
    "$@" -c "$file" -o "$(basename "$file" .cpp).o" &
done
wait
g++ ./*.o -lgsoapssl++ -lssl -lcrypto -o "$out/$name"
