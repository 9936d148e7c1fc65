"""XML Schemas to validate messages of ES2, ES3 and ES4 against: ours, or the published ones."""
import os

from lxml import etree

NS = "http://namespaces.gsma.org/esim-messaging/3"


def load(path, interface):
    """`path`: messages.xsd itself, or the folder of the published schemas, which have no namespace of their own and come
    one file an interface."""
    if os.path.isfile(path):
        return etree.XMLSchema(etree.parse(path))
    wrapper = """<xs:schema xmlns:xs="http://www.w3.org/2001/XMLSchema" targetNamespace="%s"
      elementFormDefault="qualified"><xs:include schemaLocation="%s"/></xs:schema>"""
    file = os.path.join(os.path.abspath(path), "euicc.request.%s.xsd" % interface)
    return etree.XMLSchema(etree.fromstring(wrapper % (NS, file)))
