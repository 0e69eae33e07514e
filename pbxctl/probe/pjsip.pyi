# What the soft phone uses of pjsua2; names and meanings are PJSIP's own.
from collections.abc import Iterator
from typing import Generic, TypeVar

T = TypeVar("T")

PJSIP_TRANSPORT_UDP: int
PJSIP_TRANSPORT_TCP: int
PJSIP_TRANSPORT_TLS: int
PJSIP_INV_STATE_CALLING: int
PJSIP_INV_STATE_INCOMING: int
PJSIP_INV_STATE_EARLY: int
PJSIP_INV_STATE_CONNECTING: int
PJSIP_INV_STATE_CONFIRMED: int
PJSIP_INV_STATE_DISCONNECTED: int
PJSIP_TP_STATE_CONNECTED: int
PJMEDIA_TYPE_AUDIO: int
PJMEDIA_DIR_DECODING: int
PJMEDIA_SRTP_DISABLED: int
PJMEDIA_SRTP_OPTIONAL: int
PJMEDIA_SRTP_MANDATORY: int
PJSUA_CALL_MEDIA_ACTIVE: int
PJSUA_CALL_MEDIA_LOCAL_HOLD: int
PJSUA_CALL_MEDIA_REMOTE_HOLD: int
PJSUA_CALL_UNHOLD: int
PJSUA_CALL_NO_SDP_OFFER: int
PJSUA_DTMF_METHOD_RFC2833: int
PJSUA_DTMF_METHOD_SIP_INFO: int
PJSUA_100REL_NOT_USED: int
PJSUA_100REL_OPTIONAL: int
PJSUA_SIP_TIMER_INACTIVE: int
PJSUA_SIP_TIMER_OPTIONAL: int
PJMEDIA_TP_PROFILE_SRTP: int

class Error(Exception):
    status: int
    title: str
    reason: str
    def info(self, multi_line: bool = ...) -> str: ...

class Vector(Generic[T]):
    def append(self, x: T) -> None: ...
    def __iter__(self) -> Iterator[T]: ...
    def __len__(self) -> int: ...
    def __getitem__(self, index: int) -> T: ...

class StringVector(Vector[str]): ...

class LogConfig:
    level: int
    consoleLevel: int
    msgLogging: int

class UaConfig:
    maxCalls: int
    threadCnt: int
    mainThreadOnly: bool
    userAgent: str

class MediaConfig:
    clockRate: int
    sndClockRate: int
    noVad: bool
    ecTailLen: int
    threadCnt: int

class EpConfig:
    logConfig: LogConfig
    uaConfig: UaConfig
    medConfig: MediaConfig

class TlsConfig:
    CaListFile: str
    verifyServer: bool

class TransportConfig:
    port: int
    boundAddress: str
    tlsConfig: TlsConfig

class TlsInfo:
    verifyMsgs: Vector[str]

class OnTransportStateParam:
    state: int
    lastError: int
    type: str
    tlsInfo: TlsInfo

class CodecInfo:
    codecId: str
    priority: int

class AudioMedia:
    def startTransmit(self, sink: AudioMedia) -> None: ...
    def stopTransmit(self, sink: AudioMedia) -> None: ...

class AudioMediaPlayer(AudioMedia):
    def createPlayer(self, file_name: str, options: int = ...) -> None: ...

class AudioMediaRecorder(AudioMedia):
    def createRecorder(self, file_name: str) -> None: ...

class AudDevManager:
    def setNullDev(self) -> None: ...
    def getCaptureDevMedia(self) -> AudioMedia: ...

class Endpoint:
    def libCreate(self) -> None: ...
    def libInit(self, config: EpConfig) -> None: ...
    def libStart(self) -> None: ...
    def libDestroy(self) -> None: ...
    def libHandleEvents(self, msec: int) -> int: ...
    def transportCreate(self, type: int, config: TransportConfig) -> int: ...
    def audDevManager(self) -> AudDevManager: ...
    def codecEnum2(self) -> Vector[CodecInfo]: ...
    def codecSetPriority(self, codec: str, priority: int) -> None: ...
    def utilStrError(self, status: int) -> str: ...
    def onTransportState(self, prm: OnTransportStateParam) -> None: ...

class AuthCredInfo:
    def __init__(
        self, scheme: str, realm: str, username: str, data_type: int, data: str
    ) -> None: ...

class AccountSipConfig:
    authCreds: Vector[AuthCredInfo]
    proxies: StringVector
    transportId: int

class AccountRegConfig:
    registrarUri: str
    timeoutSec: int
    retryIntervalSec: int
    firstRetryIntervalSec: int
    registerOnAdd: bool

class AccountCallConfig:
    prackUse: int
    timerUse: int

class AccountMediaConfig:
    transportConfig: TransportConfig
    srtpUse: int
    srtpSecureSignaling: int

class AccountConfig:
    idUri: str
    sipConfig: AccountSipConfig
    regConfig: AccountRegConfig
    callConfig: AccountCallConfig
    mediaConfig: AccountMediaConfig

class SipRxData:
    wholeMsg: str

class OnRegStateParam:
    status: int
    code: int
    reason: str
    expiration: int

class OnIncomingCallParam:
    callId: int
    rdata: SipRxData

class OnInstantMessageParam:
    fromUri: str
    msgBody: str

class OnInstantMessageStatusParam:
    toUri: str
    code: int
    reason: str

class SendInstantMessageParam:
    content: str

class Account:
    def create(self, config: AccountConfig, make_default: bool = ...) -> None: ...
    def setRegistration(self, renew: bool) -> None: ...
    def shutdown(self) -> None: ...
    def onRegState(self, prm: OnRegStateParam) -> None: ...
    def onIncomingCall(self, prm: OnIncomingCallParam) -> None: ...
    def onInstantMessage(self, prm: OnInstantMessageParam) -> None: ...
    def onInstantMessageStatus(self, prm: OnInstantMessageStatusParam) -> None: ...

class BuddyConfig:
    uri: str
    subscribe: bool

class Buddy:
    def create(self, account: Account, config: BuddyConfig) -> None: ...
    def sendInstantMessage(self, prm: SendInstantMessageParam) -> None: ...

class SipHeader:
    hName: str
    hValue: str

class SipHeaderVector(Vector[SipHeader]): ...

class SipTxOption:
    headers: SipHeaderVector

class CallSetting:
    flag: int
    audioCount: int
    videoCount: int

class CallOpParam:
    def __init__(self, use_default_call_setting: bool = ...) -> None: ...
    opt: CallSetting
    statusCode: int
    reason: str
    txOption: SipTxOption

class CallSendDtmfParam:
    method: int
    digits: str

class CallMediaInfo:
    index: int
    type: int
    dir: int
    status: int

class CallInfo:
    state: int
    lastStatusCode: int
    lastReason: str
    callIdString: str
    remoteUri: str
    localUri: str
    media: Vector[CallMediaInfo]

class StreamInfo:
    proto: int
    codecName: str
    codecClockRate: int

class MathStat:
    last: int
    mean: int

class RtcpStreamStat:
    pkt: int
    loss: int
    jitterUsec: MathStat

class RtcpStat:
    txStat: RtcpStreamStat
    rxStat: RtcpStreamStat
    rttUsec: MathStat

class StreamStat:
    rtcp: RtcpStat

class OnCallStateParam: ...
class OnCallMediaStateParam: ...

class OnDtmfDigitParam:
    digit: str

class OnCallTransferRequestParam:
    dstUri: str
    statusCode: int
    newCall: Call

class OnCallTransferStatusParam:
    statusCode: int
    reason: str
    finalNotify: bool
    cont: bool

class OnCallReplaceRequestParam:
    statusCode: int

class OnCallReplacedParam:
    newCallId: int
    newCall: Call

class Call:
    def __init__(self, account: Account, call_id: int = ...) -> None: ...
    def getId(self) -> int: ...
    def getInfo(self) -> CallInfo: ...
    def getAudioMedia(self, med_idx: int) -> AudioMedia: ...
    def getStreamInfo(self, med_idx: int) -> StreamInfo: ...
    def getStreamStat(self, med_idx: int) -> StreamStat: ...
    def makeCall(self, dst_uri: str, prm: CallOpParam) -> None: ...
    def answer(self, prm: CallOpParam) -> None: ...
    def hangup(self, prm: CallOpParam) -> None: ...
    def setHold(self, prm: CallOpParam) -> None: ...
    def reinvite(self, prm: CallOpParam) -> None: ...
    def xfer(self, dest: str, prm: CallOpParam) -> None: ...
    def xferReplaces(self, dest_call: Call, prm: CallOpParam) -> None: ...
    def sendDtmf(self, param: CallSendDtmfParam) -> None: ...
    def onCallState(self, prm: OnCallStateParam) -> None: ...
    def onCallMediaState(self, prm: OnCallMediaStateParam) -> None: ...
    def onDtmfDigit(self, prm: OnDtmfDigitParam) -> None: ...
    def onCallTransferRequest(self, prm: OnCallTransferRequestParam) -> None: ...
    def onCallTransferStatus(self, prm: OnCallTransferStatusParam) -> None: ...
    def onCallReplaced(self, prm: OnCallReplacedParam) -> None: ...
