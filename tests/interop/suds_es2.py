"""An Operator made by python3-suds from the description that the SM-DP serves: functions of ES2 against a running SM-DP.

suds_es2.py URL CERT KEY CA SMSR-OID EID ICCID. One line a call; exit status 0 when everything was as expected.
"""
import ssl
import sys
import urllib.request
import uuid

import suds.bindings.binding
import suds.client
import suds.transport.http
from suds.sax.element import Element

# suds reads descriptions of SOAP 1.2 and goes on to write envelopes of SOAP 1.1; this is where it keeps the namespace.
suds.bindings.binding.envns = ("env", "http://www.w3.org/2003/05/soap-envelope")
WSA = ("wsa", "http://www.w3.org/2005/08/addressing")

url, cert, key, ca, smsr, eid, iccid = sys.argv[1:]


class MutualTls(suds.transport.http.HttpTransport):
    def u2handlers(self):
        context = ssl.create_default_context(cafile=ca)
        context.load_cert_chain(cert, key)
        return [urllib.request.HTTPSHandler(context=context)]


client = suds.client.Client(url + "?wsdl", location=url, cache=None, transport=MutualTls(timeout=120),
                            headers={"Content-Type": "application/soap+xml; charset=utf-8"})


def call(function, action, **values):
    client.set_options(soapheaders=[
        Element("To", ns=WSA).setText(url),
        Element("MessageID", ns=WSA).setText("urn:uuid:%s" % uuid.uuid4()),
        Element("Action", ns=WSA).setText("http://gsma.com/ES2/" + action)])
    answer = getattr(client.service, "ES2-" + function)(FunctionCallIdentifier=str(uuid.uuid4()), Eid=eid, **values)
    status = answer.FunctionExecutionStatus.Status
    print(function, status, flush=True)
    if status != "EXECUTED_SUCCESS":
        sys.exit("FAILED %s: %s" % (function, answer))
    return answer


def expect_states(wanted):
    eis = call("GetEIS", "DataPreparation/ES2-GetEISRequest", **first).Eis
    states = [p.State for p in getattr(eis, "ProfileInfo", [])]
    if states != wanted:
        sys.exit("FAILED the EIS shows %s and not %s" % (states, wanted))


first, second = {"Smsr-id": smsr}, {"SmSr-id": smsr}  # either spelling, as the description has it
rule = {"Subject": "PROFILE", "Action": "DISABLE", "Qualification": "Not-Allowed"}
call("DownloadProfile", "ProfileManagement/ES2-DownloadProfile", Iccid=iccid, EnableProfile=False, **second)
expect_states(["Disabled"])
call("EnableProfile", "PlatformManagement/ES2-EnableProfile", Iccid=iccid, **second)
expect_states(["Enabled"])
call("DisableProfile", "PlatformManagement/ES2-DisableProfile", Iccid=iccid, **first)
for rules in ([rule], []):
    call("UpdatePolicyRules", "ProfileManagement/ES2-UpdatePolicyRulesRequest", Iccid=iccid, pol2={"Rule": rules}, **first)
call("DeleteProfile", "PlatformManagement/ES2-DeleteProfile", Iccid=iccid, **first)
expect_states([])
print("all six")
