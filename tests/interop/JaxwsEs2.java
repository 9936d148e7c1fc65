// An Operator made by JAX-WS RI (wsimport) from our description: functions of ES2 against a running SM-DP. WS-Addressing is
// that of JAX-WS: it fills in Action, To, MessageID and ReplyTo by itself and checks what comes back.
//
// JaxwsEs2 URL CERTIFICATES.p12 SMSR-OID EID ICCID: the store holds key, certificate and the CA, password "keyferry".
import java.io.FileInputStream;
import java.security.KeyStore;
import javax.net.ssl.KeyManagerFactory;
import javax.net.ssl.SSLContext;
import javax.net.ssl.TrustManagerFactory;
import javax.xml.ws.BindingProvider;
import javax.xml.ws.soap.AddressingFeature;
import org.gsma.namespaces.esim_messaging._3.*;

public class JaxwsEs2 {
  static Es2SmDp port;
  static String smsr, iccid;
  static byte[] eid;
  static int calls;

  static <R extends Request> R made(R r) {
    r.setFunctionCallIdentifier("jaxws-" + ++calls);
    return r;
  }

  static void expectSuccess(String function, Response r) {
    String status = r.getFunctionExecutionStatus().getStatus();
    System.out.println(function + " " + status);
    if (!status.equals("EXECUTED_SUCCESS")) throw new IllegalStateException(function + " " + status);
  }

  static void expectState(String wanted) {
    ES2GetEISRequest q = made(new ES2GetEISRequest());
    q.setEid(eid);
    q.setSmsrId(smsr);
    ES2GetEISResponse a = port.es2GetEIS(q);
    expectSuccess("GetEIS", a);
    String state = a.getEis().getProfileInfo().isEmpty() ? "" : a.getEis().getProfileInfo().get(0).getState();
    if (!wanted.equals(state)) throw new IllegalStateException("the EIS shows " + state + " and not " + wanted);
  }

  static void updatePolicy(boolean rule) {
    ES2UpdatePolicyRulesRequest q = made(new ES2UpdatePolicyRulesRequest());
    q.setEid(eid);
    q.setIccid(iccid);
    q.setSmsrId(smsr);
    q.setPol2(new Pol2());
    if (rule) {
      Pol2.Rule x = new Pol2.Rule();
      x.setSubject("PROFILE");
      x.setAction("DISABLE");
      x.setQualification("Not-Allowed");
      q.getPol2().getRule().add(x);
    }
    expectSuccess("UpdatePolicyRules", port.es2UpdatePolicyRules(q));
  }

  public static void main(String[] args) throws Exception {
    char[] password = "keyferry".toCharArray();
    KeyStore store = KeyStore.getInstance("PKCS12");
    store.load(new FileInputStream(args[1]), password);
    KeyManagerFactory keys = KeyManagerFactory.getInstance("PKIX");
    keys.init(store, password);
    TrustManagerFactory trusted = TrustManagerFactory.getInstance("PKIX");
    trusted.init(store);
    SSLContext tls = SSLContext.getInstance("TLS");
    tls.init(keys.getKeyManagers(), trusted.getTrustManagers(), null);
    smsr = args[2];
    eid = java.util.HexFormat.of().parseHex(args[3]);
    iccid = args[4];

    port = new KeyferryEs2().getEs2SmDpPort(new AddressingFeature(true, true));
    BindingProvider b = (BindingProvider) port;
    b.getRequestContext().put(BindingProvider.ENDPOINT_ADDRESS_PROPERTY, args[0]);
    b.getRequestContext().put("com.sun.xml.ws.transport.https.client.SSLSocketFactory", tls.getSocketFactory());
    {
      ES2DownloadProfileRequest q = made(new ES2DownloadProfileRequest());
      q.setEid(eid);
      q.setSmSrId(smsr);
      q.setIccid(iccid);
      expectSuccess("DownloadProfile", port.es2DownloadProfile(q));
    }
    expectState("Disabled");
    {
      ES2EnableProfileRequest q = made(new ES2EnableProfileRequest());
      q.setEid(eid);
      q.setSmSrId(smsr);
      q.setIccid(iccid);
      expectSuccess("EnableProfile", port.es2EnableProfile(q));
    }
    expectState("Enabled");
    {
      ES2DisableProfileRequest q = made(new ES2DisableProfileRequest());
      q.setEid(eid);
      q.setSmsrId(smsr);
      q.setIccid(iccid);
      expectSuccess("DisableProfile", port.es2DisableProfile(q));
    }
    updatePolicy(true);
    updatePolicy(false);
    {
      ES2DeleteProfileRequest q = made(new ES2DeleteProfileRequest());
      q.setEid(eid);
      q.setIccid(iccid);
      q.setSmsrId(smsr);
      expectSuccess("DeleteProfile", port.es2DeleteProfile(q));
    }
    expectState("");
    System.out.println("all six");
  }
}
