package ingest

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

// trouble is what stands between us and the broker, as the end of a sentence that begins with the
// broker, with the setting to look at. Anybody may read it: it holds neither password nor user nor
// share group. It is safe for concurrent use.
type trouble struct {
	mu   sync.Mutex
	text string
	told time.Time
}

// tellAgain is how often the same trouble is worth a line in the log.
const tellAgain = time.Minute

// set keeps text and reports whether it is news.
func (t *trouble) set(text string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if text == t.text && time.Since(t.told) < tellAgain {
		return false
	}
	t.text, t.told = text, time.Now()
	return true
}

func (t *trouble) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.text
}

// Reason codes of MQTT v5 that have a remedy of their own, besides those that we give ourselves.
const (
	codeOldVersion    = 0x01 // of MQTT 3.1.1
	codeVersion       = 0x84
	codeClientID      = 0x85
	codeLogin         = 0x86
	codeUnavailable   = 0x88
	codeBusy          = 0x89
	codeBanned        = 0x8A
	codeShuttingDown  = 0x8B
	codeLoginMethod   = 0x8C
	codeTakenOver     = 0x8E
	codeTooMuch       = 0x97
	codeAnotherServer = 0x9C
	codeServerMoved   = 0x9D
	codeNoSharing     = 0x9E
	codeTooOften      = 0x9F
	codeNoWildcards   = 0xA2
)

// ofConnecting says why there is no connection.
func (c SourceConfig) ofConnecting(err error) string {
	if refused, ok := errors.AsType[*autopaho.ConnackError](err); ok {
		return c.ofConnack(refused.ReasonCode)
	}
	switch {
	case is[x509.HostnameError](err):
		return "shows a certificate of another name: set MQTT_HOST to the name that the certificate has"
	case is[*tls.CertificateVerificationError](err):
		return "shows a certificate that this system does not trust: add its authority to the system's, or name a file with it in SSL_CERT_FILE"
	case is[tls.RecordHeaderError](err):
		return "does not speak TLS on this port: look at MQTT_PORT (with TLS 8883 is usual), or set OEI_MQTT_TLS=false"
	case is[tls.AlertError](err):
		return "breaks off TLS: look at what it asks of its clients, and at OEI_MQTT_TLS"
	case is[*net.DNSError](err):
		return "has a name that is not known: look at MQTT_HOST"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "is not there: start it, or look at MQTT_HOST and MQTT_PORT"
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded),
		errors.Is(err, syscall.ETIMEDOUT):
		return "does not answer: look at MQTT_HOST and MQTT_PORT, and at firewalls on the way"
	case errors.Is(err, syscall.ENETUNREACH), errors.Is(err, syscall.EHOSTUNREACH):
		return "cannot be reached: look at MQTT_HOST, and at the network"
	}
	return "does not answer as a broker of MQTT v5: look at MQTT_PORT, and at OEI_MQTT_TLS if it wants TLS there"
}

func is[E error](err error) bool {
	_, ok := errors.AsType[E](err)
	return ok
}

// ofConnack says what a broker means by refusing a connection with code.
func (c SourceConfig) ofConnack(code byte) string {
	said := ""
	switch code {
	case codeOldVersion, codeVersion:
		said = "does not speak MQTT v5: use one that does"
	case codeClientID:
		said = "refuses our client id: look at OEI_MQTT_CLIENT_ID"
	case codeLogin, codeNotAuthorized, codeLoginMethod:
		said = "refuses this user or password: look at MQTT_USERNAME and MQTT_PASSWORD"
		if c.Username == "" {
			said = "lets nobody in without a user: set MQTT_USERNAME and MQTT_PASSWORD"
		}
	case codeBanned:
		said = "has banned this client: lift that there, or look at MQTT_USERNAME and OEI_MQTT_CLIENT_ID"
	case codeUnavailable, codeBusy, codeTooMuch, codeTooOften:
		said = "takes no connection just now: look at its limits"
	case codeAnotherServer, codeServerMoved:
		said = "sends us to another server: look at MQTT_HOST and MQTT_PORT"
	default:
		said = "refuses the connection: look at its log"
	}
	return withCode(said, code)
}

// ofSubscribing says why nothing is sent to us. ack is nil when there was no answer.
func ofSubscribing(sub *paho.Subscribe, ack *paho.Suback, err error) string {
	if errors.Is(err, paho.ErrInvalidArguments) { // by what its CONNACK said
		return "has no shared subscriptions, or no wildcards in them: use one that has"
	}
	var topics []string
	code := byte(0)
	if ack != nil {
		for i, reason := range ack.Reasons {
			if reason >= 0x80 && i < len(sub.Subscriptions) {
				code = reason
				topics = append(topics, plainFilter(sub.Subscriptions[i].Topic))
			}
		}
	}
	switch {
	case len(topics) == 0:
		return "does not answer our subscription"
	case code == codeNoSharing || code == codeNoWildcards:
		return withCode("has no shared subscriptions, or no wildcards in them: use one that has",
			code)
	}
	return withCode("does not let us read "+strings.Join(topics, ", ")+": allow the user of MQTT_USERNAME to subscribe to them by $share", code)
}

// plainFilter is a shared subscription's filter without its group.
func plainFilter(shared string) string {
	parts := strings.SplitN(shared, "/", 3)
	return parts[len(parts)-1]
}

// ofLoss says what is known of a connection that was lost without a word of the broker.
func ofLoss(err error) string {
	switch {
	case err == nil, errors.Is(err, io.EOF):
		return "has closed the connection without saying why"
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded),
		errors.Is(err, syscall.ETIMEDOUT):
		return "does not answer any more"
	}
	return "is lost: " + err.Error()
}

// ofDisconnect says why the broker ends a connection.
func ofDisconnect(code byte) string {
	switch code {
	case codeTakenOver:
		return withCode("has given our session to another connection: give each instance an OEI_MQTT_CLIENT_ID of its own", code)
	case codeShuttingDown:
		return withCode("is shutting down", code)
	case codeNotAuthorized:
		return withCode("does not let us go on: look at what it allows the user of MQTT_USERNAME",
			code)
	}
	return withCode("has ended the connection", code)
}

// ofPublishing says why a broker does not take a message of ours.
func ofPublishing(topic string, code byte) string {
	if code == codeNotAuthorized {
		return withCode(fmt.Sprintf(
			"does not let us write %s: allow it to the user of MQTT_USERNAME", topic,
		), code)
	}
	return withCode("refuses a message to "+topic, code)
}

func withCode(said string, code byte) string {
	what, remedy, _ := strings.Cut(said, ": ")
	what = fmt.Sprintf("%s (0x%02x)", what, code)
	if remedy == "" {
		return what
	}
	return what + ": " + remedy
}
