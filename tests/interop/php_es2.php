<?php
// An Operator made of PHP's ext-soap from the description that the SM-DP serves: functions of ES2 against a running SM-DP.
// php_es2.php URL CERT KEY CA OID SMDP-OID SMSR-OID EID ICCID. One line a call; exit status 0 when everything was as expected.
[, $url, $cert, $key, $ca, $oid, $smdp, $smsr, $eid, $iccid] = $argv;
const WSA = 'http://www.w3.org/2005/08/addressing';

ini_set('default_socket_timeout', '120');
$client = new SoapClient("$url?wsdl", [
    'soap_version' => SOAP_1_2,
    'cache_wsdl' => WSDL_CACHE_NONE,
    'location' => $url,
    'trace' => true,
    'stream_context' => stream_context_create(['ssl' => ['local_cert' => $cert, 'local_pk' => $key, 'cafile' => $ca]]),
]);

function call(string $function, string $action, array $values)
{
    global $client, $url, $oid, $smdp, $smsr, $eid;
    static $calls = 0;
    ++$calls;
    $from = new SoapVar(['Address' => new SoapVar("https://operator.example/es2?EntityId=$oid", XSD_STRING, null, null, 'Address', WSA)],
        SOAP_ENC_OBJECT);
    $headers = [
        new SoapHeader(WSA, 'From', $from),
        new SoapHeader(WSA, 'To', "$url?EntityId=$smdp", true),
        new SoapHeader(WSA, 'MessageID', "//$oid/php-" . getmypid() . "-$calls"),
        new SoapHeader(WSA, 'Action', "http://gsma.com/ES2/$action", true),
    ];
    $request = ['FunctionCallIdentifier' => "php-$calls", 'Eid' => hex2bin($eid)] + $values;
    $back = [];
    try {
        $answer = $client->__soapCall("ES2-$function", [$request], null, $headers, $back);
    } catch (SoapFault $f) {
        echo "FAILED $function: {$f->faultcode} {$f->getMessage()}\n", $client->__getLastRequest(), "\n", $client->__getLastResponse(), "\n";
        exit(1);
    }
    $status = $answer->FunctionExecutionStatus->Status;
    echo "$function $status\n";
    if ($status !== 'EXECUTED_SUCCESS' || ($back['RelatesTo']->_ ?? $back['RelatesTo'] ?? '') !== "//$oid/php-" . getmypid() . "-$calls") {
        echo "FAILED $function\n", $client->__getLastResponse(), "\n";
        exit(1);
    }
    return $answer;
}

function expect_state(?string $wanted)
{
    global $smsr;
    $eis = call('GetEIS', 'DataPreparation/ES2-GetEISRequest', ['Smsr-id' => $smsr])->Eis;
    $profiles = $eis->ProfileInfo ?? [];
    $state = is_array($profiles) ? ($profiles[0]->State ?? null) : $profiles->State;
    if ($state !== $wanted) {
        echo "FAILED the EIS shows ", var_export($state, true), " and not ", var_export($wanted, true), "\n";
        exit(1);
    }
}

call('DownloadProfile', 'ProfileManagement/ES2-DownloadProfile', ['SmSr-id' => $smsr, 'Iccid' => $iccid, 'EnableProfile' => false]);
expect_state('Disabled');
call('EnableProfile', 'PlatformManagement/ES2-EnableProfile', ['SmSr-id' => $smsr, 'Iccid' => $iccid]);
expect_state('Enabled');
call('DisableProfile', 'PlatformManagement/ES2-DisableProfile', ['Smsr-id' => $smsr, 'Iccid' => $iccid]);
call('UpdatePolicyRules', 'ProfileManagement/ES2-UpdatePolicyRulesRequest', ['Iccid' => $iccid, 'Smsr-id' => $smsr,
    'pol2' => ['Rule' => [['Subject' => 'PROFILE', 'Action' => 'DISABLE', 'Qualification' => 'Not-Allowed']]]]);
call('UpdatePolicyRules', 'ProfileManagement/ES2-UpdatePolicyRulesRequest', ['Iccid' => $iccid, 'Smsr-id' => $smsr, 'pol2' => []]);
call('DeleteProfile', 'PlatformManagement/ES2-DeleteProfile', ['Iccid' => $iccid, 'Smsr-id' => $smsr]);
expect_state(null);
echo "all six\n";
