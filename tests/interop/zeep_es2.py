"""An Operator made by python3-zeep from an interface description: six functions of ES2 against a running SM-DP.

Every function is called in each pattern that the description allows: on the same connection, by callback to a server of
this program, and polled with MakeConnection. What comes back is validated against the schemas beside the description.
Prints one line a call; exit status 0 when everything was as expected.
"""
import argparse
import http.server
import queue
import ssl
import sys
import threading
import time
import uuid

import requests
import zeep
import zeep.transports
from lxml import etree

import schemas

NS = "http://namespaces.gsma.org/esim-messaging/3"
ENV = "http://www.w3.org/2003/05/soap-envelope"
WSA = "http://www.w3.org/2005/08/addressing"
WSMC = "http://docs.oasis-open.org/ws-rx/wsmc/200702"
ANONYMOUS = WSA + "/anonymous"


class Failure(Exception):
    pass


class Sink:
    """The Operator's own HTTPS server: whatever is POSTed lands in a queue."""

    def __init__(self, args):
        arrived = self.arrived = queue.Queue()

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                arrived.put((self.headers["Content-Type"], self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(202)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(args.cert, args.key)
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", args.sink_port), Handler)
        self.server.daemon_threads = True
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = "https://127.0.0.1:%d/answers" % self.server.server_address[1]


class Operator:
    def __init__(self, args):
        self.args = args
        self.session = requests.Session()
        self.session.cert = (args.cert, args.key)
        self.session.verify = args.ca
        self.session.trust_env = False  # no bundle of CAs, no proxy of this machine's
        source = args.wsdl or args.url + "?wsdl"
        self.client = zeep.Client(source, transport=zeep.transports.Transport(session=self.session, operation_timeout=120))
        binding = next(iter(next(iter(self.client.wsdl.services.values())).ports.values())).binding
        self.operations = binding._operations
        self.service = self.client.create_service(str(binding.name), args.url)
        self.schema = schemas.load(args.xsd, "ES2") if args.xsd else None
        self.sink = Sink(args)
        self.waiting = {}

    def check(self, envelope, function, message_id):
        body = envelope.find("{%s}Body" % ENV)
        response = body[0]
        if response.tag != "{%s}%sResponse" % (NS, function):
            raise Failure("%s: answered with %s: %s" % (function, response.tag, etree.tostring(response)[:500]))
        relates = envelope.findtext("{%s}Header/{%s}RelatesTo" % (ENV, WSA))
        if relates != message_id:
            raise Failure("%s: RelatesTo is %s" % (function, relates))
        if self.schema is not None and not self.schema.validate(etree.fromstring(etree.tostring(response))):
            raise Failure("%s: %s\n%s" % (function, self.schema.error_log, etree.tostring(response).decode()[:3000]))
        status = response.findtext("{%s}FunctionExecutionStatus/{%s}Status" % (NS, NS))
        if status != "EXECUTED_SUCCESS":
            raise Failure("%s: %s" % (function, etree.tostring(response).decode()))
        # And as zeep sees it.
        self.client.get_element(response.tag).parse(response, self.client.wsdl.types)
        return response

    def callback(self, message_id):
        deadline = time.time() + 60
        while message_id not in self.waiting:
            media, octets = self.sink.arrived.get(timeout=max(0.1, deadline - time.time()))
            if not media.startswith("application/soap+xml"):
                raise Failure("media type of a callback: " + media)
            envelope = etree.fromstring(octets)
            self.waiting[envelope.findtext("{%s}Header/{%s}RelatesTo" % (ENV, WSA))] = envelope
        return self.waiting.pop(message_id)

    def polled(self, address):
        ask = """<s:Envelope xmlns:s="%s" xmlns:a="%s" xmlns:c="%s"><s:Header>
          <a:Action>%s/MakeConnection</a:Action><a:To>%s</a:To><a:MessageID>urn:uuid:%s</a:MessageID></s:Header>
          <s:Body><c:MakeConnection><c:Address>%s</c:Address></c:MakeConnection></s:Body></s:Envelope>"""
        for _ in range(600):
            answer = self.session.post(
                self.args.url, data=ask % (ENV, WSA, WSMC, WSMC, self.args.url, uuid.uuid4(), address),
                headers={"Content-Type": "application/soap+xml; charset=utf-8"})
            if answer.status_code == 200:
                return etree.fromstring(answer.content)
            if answer.status_code != 202:
                raise Failure("MakeConnection: HTTP %d %s" % (answer.status_code, answer.text))
            time.sleep(0.1)
        raise Failure("nothing to poll")

    def call(self, function, pattern, **values):
        reply_to = None
        if pattern == "callback":
            reply_to = "%s?EntityId=%s" % (self.sink.url, self.args.oid)
        elif pattern == "polling":
            reply_to = "%s/anonymous?id=%s" % (WSMC, uuid.uuid4())
        # zeep fills in Action, MessageID and To by itself, from what the description says.
        headers = {"From": {"Address": "%s?EntityId=%s" % (self.sink.url, self.args.oid)}}
        if reply_to:
            headers["ReplyTo"] = {"Address": reply_to}
        seen = Recorder()
        self.client.plugins[:] = [seen]
        try:
            getattr(self.service, function)(
                FunctionCallIdentifier="zeep-%s" % uuid.uuid4(), _soapheaders=headers, **values)
        except zeep.exceptions.Fault as e:
            raise Failure("%s: %s %s" % (function, e.code, e.message))
        message_id = seen.sent.findtext("{%s}Header/{%s}MessageID" % (ENV, WSA))
        if pattern == "sync":
            envelope = seen.received
        elif pattern == "callback":
            envelope = self.callback(message_id)
        else:
            envelope = self.polled(reply_to)
        response = self.check(envelope, function, message_id)
        print("%-28s %-9s EXECUTED_SUCCESS" % (function, pattern), flush=True)
        return response

    def patterns(self, function):
        binding_input = self.operations[function].input
        has_reply_to = binding_input.header is not None and "ReplyTo" in str(binding_input.header.signature())
        answers = self.operations[function].output is not None
        return (["sync"] if answers else []) + (["callback", "polling"] if has_reply_to else [])


class Recorder(zeep.Plugin):
    sent = received = None

    def egress(self, envelope, http_headers, operation, binding_options):
        self.sent = envelope
        return envelope, http_headers

    def ingress(self, envelope, http_headers, operation):
        self.received = envelope
        return envelope, http_headers


def main():
    p = argparse.ArgumentParser()
    for name in ("--wsdl", "--xsd"):
        p.add_argument(name, default="")
    for name in ("--url", "--cert", "--key", "--ca", "--oid", "--smdp-oid", "--smsr-oid"):
        p.add_argument(name, required=True)
    p.add_argument("--sink-port", type=int, required=True, help="of the server for answers, registered at the SM-DP")
    p.add_argument("--card", action="append", required=True, help="EID,ICCID: one for each pattern")
    args = p.parse_args()
    op = Operator(args)
    used = 0
    for wanted in ("sync", "callback", "polling"):
        def how(function):
            possible = op.patterns(function)
            return wanted if wanted in possible else possible[0]
        if not any(how(f) == wanted for f in ("ES2-DownloadProfile", "ES2-EnableProfile")):
            continue
        eid, iccid = args.card[used].split(",")
        used += 1
        named = dict(Eid=eid, Iccid=iccid)
        smsr = {"Smsr-id": args.smsr_oid}
        smsr_2 = {"SmSr-id": args.smsr_oid}

        def run(function, **values):
            return op.call(function, how(function), **values)

        run("ES2-GetEIS", Eid=eid, **smsr)
        run("ES2-DownloadProfile", EnableProfile=False, **named, **smsr_2)
        run("ES2-EnableProfile", **named, **smsr_2)
        eis = run("ES2-GetEIS", Eid=eid, **smsr)
        states = eis.xpath("//*[local-name()='ProfileInfo']/*[local-name()='State']/text()")
        if states != ["Enabled"]:
            raise Failure("the EIS shows %s" % states)
        run("ES2-DisableProfile", **named, **smsr)
        run("ES2-UpdatePolicyRules", pol2={"Rule": [
            {"Subject": "PROFILE", "Action": "DISABLE", "Qualification": "Not-Allowed"}]}, **named, **smsr)
        run("ES2-UpdatePolicyRules", pol2={"Rule": []}, **named, **smsr)
        run("ES2-UpdateSubscriptionAddress", newSubscriptionAddress={"Imsi": "240011234567890"}, **named, **smsr)
        run("ES2-DeleteProfile", **named, **smsr)
    print("%d cards" % used)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Failure as e:
        print("FAILED %s" % e)
        sys.exit(1)
