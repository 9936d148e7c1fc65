// An SM-SR made by JAX-WS RI (wsimport) from our description of ES3: it demands WS-Addressing, judges every header as JAX-WS
// does, and POSTs an answer to ReplyTo by itself where that is an address. It has no cards: GetEIS fails, the rest succeeds.
//
// JaxwsSmsr PORT CERTIFICATES.p12: prints "ready", then one line a request.
import com.sun.net.httpserver.HttpsConfigurator;
import com.sun.net.httpserver.HttpsServer;
import java.io.FileInputStream;
import java.net.InetSocketAddress;
import java.security.KeyStore;
import java.util.concurrent.Executors;
import javax.jws.WebService;
import javax.net.ssl.HttpsURLConnection;
import javax.net.ssl.KeyManagerFactory;
import javax.net.ssl.SSLContext;
import javax.net.ssl.TrustManagerFactory;
import javax.xml.ws.BindingType;
import javax.xml.ws.Endpoint;
import javax.xml.ws.soap.Addressing;
import javax.xml.ws.soap.SOAPBinding;
import org.gsma.namespaces.esim_messaging._3.*;

@WebService(endpointInterface = "org.gsma.namespaces.esim_messaging._3.Es3SmSr",
            targetNamespace = "http://namespaces.gsma.org/esim-messaging/3", serviceName = "SmSr", portName = "Es3")
@BindingType(SOAPBinding.SOAP12HTTP_BINDING)
@Addressing(enabled = true, required = true)
public class JaxwsSmsr implements Es3SmSr {
  static <R extends Response> R answered(Request q, R r, String status) {
    ExecutionStatus s = new ExecutionStatus();
    s.setStatus(status);
    r.setFunctionExecutionStatus(s);
    System.out.println("served " + q.getClass().getSimpleName());
    System.out.flush();
    return r;
  }
  static <R extends Response> R done(Request q, R r) { return answered(q, r, "EXECUTED_SUCCESS"); }

  public ES3GetEISResponse es3GetEIS(ES3GetEISRequest q) { return answered(q, new ES3GetEISResponse(), "FAILED"); }
  public ES3AuditEISResponse es3AuditEIS(ES3AuditEISRequest q) { return done(q, new ES3AuditEISResponse()); }
  public ES3CreateISDPResponse es3CreateISDP(ES3CreateISDPRequest q) { return done(q, new ES3CreateISDPResponse()); }
  public ES3SendDataResponse es3SendData(ES3SendDataRequest q) { return done(q, new ES3SendDataResponse()); }
  public ES3ProfileDownloadCompletedResponse es3ProfileDownloadCompleted(ES3ProfileDownloadCompletedRequest q) {
    return done(q, new ES3ProfileDownloadCompletedResponse());
  }
  public ES3UpdatePolicyRulesResponse es3UpdatePolicyRules(ES3UpdatePolicyRulesRequest q) {
    return done(q, new ES3UpdatePolicyRulesResponse());
  }
  public ES3UpdateSubscriptionAddressResponse es3UpdateSubscriptionAddress(ES3UpdateSubscriptionAddressRequest q) {
    return done(q, new ES3UpdateSubscriptionAddressResponse());
  }
  public ES3EnableProfileResponse es3EnableProfile(ES3EnableProfileRequest q) { return done(q, new ES3EnableProfileResponse()); }
  public ES3DisableProfileResponse es3DisableProfile(ES3DisableProfileRequest q) {
    return done(q, new ES3DisableProfileResponse());
  }
  public ES3DeleteISDPResponse es3DeleteISDP(ES3DeleteISDPRequest q) { return done(q, new ES3DeleteISDPResponse()); }
  public ES3UpdateConnectivityParametersResponse es3UpdateConnectivityParameters(ES3UpdateConnectivityParametersRequest q) {
    return done(q, new ES3UpdateConnectivityParametersResponse());
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
    HttpsURLConnection.setDefaultSSLSocketFactory(tls.getSocketFactory());  // for its POSTs to ReplyTo
    HttpsServer server = HttpsServer.create(new InetSocketAddress("127.0.0.1", Integer.parseInt(args[0])), 0);
    server.setHttpsConfigurator(new HttpsConfigurator(tls));
    server.setExecutor(Executors.newFixedThreadPool(4));
    Endpoint.create(new JaxwsSmsr()).publish(server.createContext("/es3"));
    server.start();
    System.out.println("ready");
    System.out.flush();
  }
}
