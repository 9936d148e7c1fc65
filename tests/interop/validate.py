"""Validates recorded SOAP envelopes: validate.py SCHEMAS FOLDER. Prints what is wrong, and how many were looked at.

SCHEMAS is ours (docs/interfaces/messages.xsd), or the folder of the published schemas. Messages that the published ones do
not have at all, ES4 where ours are asked, MakeConnection and faults are counted as skipped.

Headers of all of them are held against the schema of WS-Addressing 1.0 beside the others, and against what its Core says
beyond a schema: one of each, an Action always, a MessageID in what may be answered, and a RelatesTo that is the MessageID of
something recorded.
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
WSA = "http://www.w3.org/2005/08/addressing"


def addressing(where):
    ours = os.path.join(os.path.dirname(where), "addressing.xsd")
    return etree.XMLSchema(etree.parse(ours if os.path.isfile(where) else os.path.join(where, "import", "ws-addr.xsd")))


def wrong_header(root, schema, message_ids):
    """None, or what is wrong."""
    blocks = [b for b in root.find("{%s}Header" % ENV) if b.tag.startswith("{%s}" % WSA)]
    names = [etree.QName(b).localname for b in blocks]
    for b in blocks:
        block = etree.fromstring(etree.tostring(b))
        if not schema.validate(block):
            return str(schema.error_log.last_error)
    if len(set(names)) != len(names):
        return "twice: %s" % names
    body = etree.QName(root.find("{%s}Body" % ENV)[0]).localname
    if "Action" not in names or ("MessageID" not in names and not body.endswith("Response") and body != "Fault"):
        return "%s: only %s" % (body, names)
    relates = root.findtext("{%s}Header/{%s}RelatesTo" % (ENV, WSA))
    if body.endswith("Response") and relates is None:
        return "no RelatesTo"
    if relates is not None and relates not in message_ids:
        return "RelatesTo %s is the MessageID of nothing" % relates
    return None


def main():
    where, folder = sys.argv[1:3]
    by_interface = {}
    checked = skipped = wrong = 0
    seen = set()
    files = [(f, etree.parse(f).getroot()) for f in sorted(glob.glob(os.path.join(folder, "**", "*.xml"), recursive=True))]
    message_ids = {root.findtext("{%s}Header/{%s}MessageID" % (ENV, WSA)) for _, root in files}
    wsa = addressing(where)
    for file, root in files:
        bad = wrong_header(root, wsa, message_ids)
        if bad:
            wrong += 1
            if wrong <= 20:
                print("%s, Header: %s" % (os.path.basename(file), bad))
        body = root.find("{%s}Body" % ENV)[0]
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
