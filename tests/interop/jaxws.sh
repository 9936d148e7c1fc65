#!/bin/sh
# jaxws.sh CLASS WSDL WORK-DIR CERT KEY CA ARGUMENT...: generates classes from a description with wsimport, compiles
# CLASS.java with them and runs it; STORE among the arguments becomes the PKCS #12 file of certificate, key and CA.
set -e
here=$(cd "$(dirname "$0")" && pwd)
class=$1 wsdl=$2 work=$3 cert=$4 key=$5 ca=$6
shift 6
mkdir -p "$work/source" "$work/classes"
# -extension: SOAP 1.2 over the usual transport name is an extension for it.
wsimport -quiet -extension -Xnocompile -keep -s "$work/source" "$wsdl" >"$work/wsimport.log" 2>&1 || {
  cat "$work/wsimport.log"
  exit 1
}
path=$work/classes:/usr/share/java/jaxws-rt.jar:/usr/share/java/jaxb-runtime.jar
find "$work/source" -name '*.java' >"$work/files"
javac -nowarn -cp "$path" -d "$work/classes" "@$work/files" "$here/$class.java"
# keytool writes the mark without which Java trusts no certificate in a PKCS #12 file.
keytool -importcert -noprompt -alias ca -file "$ca" -keystore "$work/store.p12" -storetype PKCS12 -storepass keyferry \
  >"$work/keytool.log" 2>&1
openssl pkcs12 -export -in "$cert" -inkey "$key" -name me -passout pass:keyferry -out "$work/me.p12"
keytool -importkeystore -noprompt -srckeystore "$work/me.p12" -srcstorepass keyferry -destkeystore "$work/store.p12" \
  -deststorepass keyferry >>"$work/keytool.log" 2>&1
for argument in "$@"; do
  [ "$argument" = STORE ] && argument=$work/store.p12
  set -- "$@" "$argument"
  shift
done
exec java -cp "$path" "$class" "$@"
