"""Validates recorded SOAP envelopes: validate.py SCHEMAS FOLDER. Prints what is wrong, and how many were looked at.

SCHEMAS is ours (docs/interfaces/messages.xsd), or the folder of the published schemas. Messages that the published ones do
not have at all, ES4 where ours are asked, MakeConnection and faults are counted as skipped.
"""
import glob
import os
import sys

from lxml import etree

import schemas

# Functions of later versions of SGP.02, and our own two ways to the ES3 functions of that name (docs/interfaces/README.md).
NOT_PUBLISHED = {
    "ES2-AuditEISRequest", "ES2-AuditEISResponse",
    "ES2-UpdateConnectivityParametersRequest", "ES2-UpdateConnectivityParametersResponse",
    "ES3-HandleProfileDownloadedNotification", "ES4-HandleProfileDownloadedNotification",
}
ENV = "http://www.w3.org/2003/05/soap-envelope"


def main():
    where, folder = sys.argv[1:3]
    by_interface = {}
    checked = skipped = wrong = 0
    seen = set()
    for file in sorted(glob.glob(os.path.join(folder, "**", "*.xml"), recursive=True)):
        body = etree.parse(file).getroot().find("{%s}Body" % ENV)[0]
        name = etree.QName(body)
        if name.namespace != schemas.NS:
            skipped += 1
            continue
        interface = name.localname[:3]
        if name.localname in NOT_PUBLISHED and not os.path.isfile(where):
            skipped += 1
            continue
        if interface == "ES4" and os.path.isfile(where):
            skipped += 1
            continue
        if interface not in by_interface:
            by_interface[interface] = schemas.load(where, interface)
        checked += 1
        seen.add(name.localname)
        if not by_interface[interface].validate(etree.fromstring(etree.tostring(body))):
            wrong += 1
            if wrong <= 20:
                print("%s %s: %s" % (os.path.basename(file), name.localname, by_interface[interface].error_log.last_error))
    print("%d checked, %d skipped, %d wrong, %d kinds" % (checked, skipped, wrong, len(seen)))
    return 1 if wrong or not checked else 0


if __name__ == "__main__":
    sys.exit(main())
