package mqttsource

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/eclipse/paho.golang/autopaho"
	"github.com/eclipse/paho.golang/paho"
)

// diagnosis is why there is no connection or subscription: the predicate of a sentence about the
// broker, with the setting to look at. It is public (/health), so it contains neither password
// nor user nor share group. It is safe for concurrent use.
type diagnosis struct {
	mu       sync.Mutex
	text     string
	loggedAt time.Time
}

// logInterval is how often the same diagnosis is logged.
const logInterval = time.Minute

// set keeps text and reports whether to log it.
func (d *diagnosis) set(text string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if text == d.text && time.Since(d.loggedAt) < logInterval {
		return false
	}
	d.text, d.loggedAt = text, time.Now()
	return true
}

func (d *diagnosis) String() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.text
}

// Reason codes that have a remedy of their own.
const (
	codeVersionV3            = 0x01 // unacceptable protocol version, of MQTT 3.1.1
	codeUnsupportedVersion   = 0x84
	codeInvalidClientID      = 0x85
	codeBadUserOrPassword    = 0x86
	codeNotAuthorized        = 0x87
	codeServerUnavailable    = 0x88
	codeServerBusy           = 0x89
	codeBanned               = 0x8A
	codeServerShuttingDown   = 0x8B
	codeBadAuthMethod        = 0x8C
	codeSessionTakenOver     = 0x8E
	codeQuotaExceeded        = 0x97
	codeUseAnotherServer     = 0x9C
	codeServerMoved          = 0x9D
	codeNoSharedSubscription = 0x9E
	codeConnectionRate       = 0x9F
	codeNoWildcards          = 0xA2
)

// diagnoseConnect says why there is no connection.
func (c Config) diagnoseConnect(err error) string {
	if refused, ok := errors.AsType[*autopaho.ConnackError](err); ok {
		return c.diagnoseConnack(refused.ReasonCode)
	}
	switch {
	case is[x509.HostnameError](err):
		return "has a certificate for another name: set MQTT_HOST to the name in the certificate"
	case is[*tls.CertificateVerificationError](err):
		return "has a certificate that this system does not trust: " +
			"add its authority to the system's, or name a file with it in SSL_CERT_FILE"
	case is[tls.RecordHeaderError](err):
		return "does not speak TLS on this port: look at MQTT_PORT (8883 is usual for TLS), " +
			"or set OEI_MQTT_TLS=false"
	case is[tls.AlertError](err):
		return "aborts the TLS handshake: look at what it requires of clients, and at OEI_MQTT_TLS"
	case is[*net.DNSError](err):
		return "has an unknown host name: look at MQTT_HOST"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "does not listen there: start it, or look at MQTT_HOST and MQTT_PORT"
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded),
		errors.Is(err, syscall.ETIMEDOUT):
		return "does not answer: look at MQTT_HOST and MQTT_PORT, and at firewalls on the way"
	case errors.Is(err, syscall.ENETUNREACH), errors.Is(err, syscall.EHOSTUNREACH):
		return "cannot be reached: look at MQTT_HOST, and at the network"
	}
	return "does not answer as a broker of MQTT v5: look at MQTT_PORT, " +
		"and at OEI_MQTT_TLS if that port requires TLS"
}

func is[E error](err error) bool {
	_, ok := errors.AsType[E](err)
	return ok
}

// diagnoseConnack says what a broker means that refuses a connection with code.
func (c Config) diagnoseConnack(code byte) string {
	switch code {
	case codeVersionV3, codeUnsupportedVersion:
		return withCode("does not speak MQTT v5: use one that does", code)
	case codeInvalidClientID:
		return withCode("refuses the client id: look at OEI_MQTT_CLIENT_ID", code)
	case codeBadUserOrPassword, codeNotAuthorized, codeBadAuthMethod:
		if c.Username == "" {
			return withCode("requires a user: set MQTT_USERNAME and MQTT_PASSWORD", code)
		}
		return withCode("refuses the user or password: look at MQTT_USERNAME and MQTT_PASSWORD",
			code)
	case codeBanned:
		return withCode("has banned this client: lift the ban there, "+
			"or look at MQTT_USERNAME and OEI_MQTT_CLIENT_ID", code)
	case codeServerUnavailable, codeServerBusy, codeQuotaExceeded, codeConnectionRate:
		return withCode("takes no more connections at present: look at its limits", code)
	case codeUseAnotherServer, codeServerMoved:
		return withCode("redirects to another server: look at MQTT_HOST and MQTT_PORT", code)
	}
	return withCode("refuses the connection: look at its log", code)
}

// diagnoseSubscribe says why a subscription failed. ack is nil when there was no answer.
func diagnoseSubscribe(sub *paho.Subscribe, ack *paho.Suback, err error) string {
	const noSharing = "has no shared subscriptions, or no wildcards in them: use one that has"
	if errors.Is(err, paho.ErrInvalidArguments) { // its CONNACK said so
		return noSharing
	}
	var topics []string
	code := byte(0)
	if ack != nil {
		for i, reason := range ack.Reasons {
			if reason >= 0x80 && i < len(sub.Subscriptions) {
				code = reason
				topics = append(topics, filterWithoutGroup(sub.Subscriptions[i].Topic))
			}
		}
	}
	switch {
	case len(topics) == 0:
		return "does not answer the subscription"
	case code == codeNoSharedSubscription || code == codeNoWildcards:
		return withCode(noSharing, code)
	}
	return withCode("does not allow reading "+strings.Join(topics, ", ")+
		": allow the user of MQTT_USERNAME to subscribe to them by $share", code)
}

// filterWithoutGroup returns the topic filter of a shared subscription.
func filterWithoutGroup(shared string) string {
	parts := strings.SplitN(shared, "/", 3)
	return parts[len(parts)-1]
}

// diagnoseLoss says what is known of a connection that was lost without a DISCONNECT.
func diagnoseLoss(err error) string {
	switch {
	case err == nil, errors.Is(err, io.EOF):
		return "closed the connection without a reason"
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded),
		errors.Is(err, syscall.ETIMEDOUT):
		return "no longer answers"
	}
	return "is lost: " + err.Error()
}

// diagnoseDisconnect says why the broker ended the connection.
func diagnoseDisconnect(code byte) string {
	switch code {
	case codeSessionTakenOver:
		return withCode("gave the session to another connection: "+
			"give each instance an OEI_MQTT_CLIENT_ID of its own", code)
	case codeServerShuttingDown:
		return withCode("is shutting down", code)
	case codeNotAuthorized:
		return withCode("withdrew a permission: "+
			"look at what it allows the user of MQTT_USERNAME", code)
	}
	return withCode("ended the connection", code)
}

// diagnosePublish says why the broker refused a message.
func diagnosePublish(topic string, code byte) string {
	if code == codeNotAuthorized {
		return withCode("does not allow publishing to "+topic+
			": allow it to the user of MQTT_USERNAME", code)
	}
	return withCode("refuses a message to "+topic, code)
}

// withCode puts code between what text says and its remedy.
func withCode(text string, code byte) string {
	what, remedy, _ := strings.Cut(text, ": ")
	what = fmt.Sprintf("%s (0x%02x)", what, code)
	if remedy == "" {
		return what
	}
	return what + ": " + remedy
}
