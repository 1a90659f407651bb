package broker

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/oei-ms/oei-ms/internal/asyncapitest"
)

// TestAsyncAPI_HasEverySubscription compares the topics that a gateway may subscribe to with the
// channels that it publishes nothing to.
func TestAsyncAPI_HasEverySubscription(t *testing.T) {
	document := asyncapitest.Read(t)
	published, channels, filters := map[string]bool{}, map[string]bool{}, map[string]bool{}
	for _, operation := range document.Operations {
		if operation.Action == "receive" {
			published[operation.Channel.Last()] = true
		}
	}
	s := &session{gateway: Gateway{Key: "press-1"}}
	for name, channel := range document.Channels {
		if !channel.IsMQTT() || published[name] {
			continue
		}
		channels[channel.Filter] = true
		topic := strings.NewReplacer("{gateway}", "press-1", "{sensor}", "t1").
			Replace(channel.Address)
		other := strings.Replace(topic, "press-1", "press-2", 1)
		if !s.maySubscribe(topic) || s.maySubscribe(other) {
			t.Errorf("%s: got %v, want true; %s: got %v, want false", topic, s.maySubscribe(topic),
				other, s.maySubscribe(other))
		}
		below := strings.HasSuffix(channel.Filter, "/#")
		if got := s.maySubscribe(topic + "/a/b"); got != below {
			t.Errorf("%s/a/b: got %v, want %v", topic, got, below)
		}
	}
	for _, filter := range SubscriptionFilters {
		filters[filter] = true
	}
	for _, line := range asyncapitest.Differences(channels, filters) {
		t.Error("subscriptions: " + line)
	}
}

// TestAsyncAPI_HasEveryReasonCode compares the codes of CONNACK, DISCONNECT and SUBACK with the
// constants of this package, and with those of the MQTT library that it uses.
func TestAsyncAPI_HasEveryReasonCode(t *testing.T) {
	document := asyncapitest.Read(t)
	constants := map[string]int{
		"codeMalformed":         codeMalformed,
		"codeProtocolError":     codeProtocolError,
		"codeInternal":          codeInternal,
		"codeBadVersion":        codeBadVersion,
		"codeBadClientID":       codeBadClientID,
		"codeBadCredential":     codeBadCredential,
		"codeNotAuthorized":     codeNotAuthorized,
		"codeUnavailable":       codeUnavailable,
		"codeShuttingDown":      codeShuttingDown,
		"codeBadAuthentication": codeBadAuthentication,
		"codeKeepAlive":         codeKeepAlive,
		"codeTakenOver":         codeTakenOver,
		"codeReceiveMaximum":    codeReceiveMaximum,
		"codeTopicAlias":        codeTopicAlias,
		"codeTooLarge":          codeTooLarge,
		"codeQuota":             codeQuota,
		"codeRetain":            codeRetain,
		"codeQoS":               codeQoS,
		"codeTooManyAttempts":   codeTooManyAttempts,
	}
	asyncapitest.CheckConstants(t, "^code[A-Z]", slices.Collect(maps.Keys(constants)), nil)
	library := map[string]packets.Code{
		"ErrServerUnavailable":                 packets.ErrServerUnavailable,
		"ErrUnspecifiedError":                  packets.ErrUnspecifiedError,
		"ErrSharedSubscriptionsNotSupported":   packets.ErrSharedSubscriptionsNotSupported,
		"ErrNotAuthorized":                     packets.ErrNotAuthorized,
		"ErrWildcardSubscriptionsNotSupported": packets.ErrWildcardSubscriptionsNotSupported,
		"ErrQuotaExceeded":                     packets.ErrQuotaExceeded,
		"ErrReceiveMaximum":                    packets.ErrReceiveMaximum,
		"ErrImplementationSpecificError":       packets.ErrImplementationSpecificError,
		"ErrClientIdentifierNotValid":          packets.ErrClientIdentifierNotValid,
		"ErrConnectionRateExceeded":            packets.ErrConnectionRateExceeded,
		"ErrBadUsernameOrPassword":             packets.ErrBadUsernameOrPassword,
		"ErrSessionTakenOver":                  packets.ErrSessionTakenOver,
	}
	used := asyncapitest.Selectors(t, "packets", "^Err")
	delete(used, "ErrRejectPacket") // not on the wire
	for _, line := range asyncapitest.Differences(library, used) {
		t.Error("codes of the library: " + strings.Replace(line, "asyncapi.yaml", "this test", 1))
	}
	codes, documented := map[int]bool{}, map[int]bool{}
	for _, code := range constants {
		codes[code] = true
	}
	for _, code := range library {
		codes[int(code.Code)] = true
	}
	for _, packet := range []string{"CONNACK", "DISCONNECT", "SUBACK"} {
		for code := range document.Codes(t, packet+" code") {
			documented[code] = documented[code] || code >= 0x80
		}
	}
	maps.DeleteFunc(documented, func(_ int, isError bool) bool { return !isError })
	for _, line := range asyncapitest.Differences(documented, codes) {
		t.Error("reason codes (decimal): " + line)
	}
	for code, row := range document.Codes(t, "CONNACK code") {
		older := strconv.Itoa(int(returnCode(byte(code))))
		if older == "0" {
			older = "closed"
		}
		if row[3] != older && row[3] != "–" {
			t.Errorf("CONNACK code %#x for older clients: got %s, want %s", code, row[3], older)
		}
	}
}

func TestAsyncAPI_HasTheLimits(t *testing.T) {
	cfg, limits := DefaultConfig(), asyncapitest.CodeLimits{}
	limits.Setting("bytes of a packet", cfg.MaxPacket, "OEI_BROKER_MAX_PACKET")
	limits.Fixed("bytes of a CONNECT with its will", maxConnect)
	limits.Fixed("bytes of a client id", maxClientID)
	limits.Fixed("characters of a key", maxKey)
	limits.Fixed("bytes that a connection may send before login, TLS included", maxBeforeLogin)
	limits.Fixed("connections of a gateway, and sessions that outlive their connection",
		maxSessions)
	limits.Setting("connections in all", cfg.MaxConnections, "OEI_BROKER_MAX_CONNECTIONS")
	limits.Setting("connections from an address", cfg.MaxConnectionsPerAddress,
		"OEI_BROKER_MAX_CONNECTIONS_PER_ADDRESS")
	limits.Setting("unacknowledged messages of a connection (Receive Maximum)", cfg.ReceiveMaximum,
		"OEI_BROKER_RECEIVE_MAXIMUM")
	limits.Fixed("messages of QoS 1 sent to a connection and not acknowledged by it",
		maxUnacknowledged)
	limits.Fixed("subscriptions of a session", maxSubscriptions)
	limits.Fixed("bytes of a topic filter", maxFilter)
	limits.Fixed("seconds of the session expiry interval", maxSessionExpiry)
	limits.Fixed("seconds of the keep-alive", maxKeepAlive)
	limits.Setting("seconds from the connection to the CONNECT",
		int(cfg.ConnectTimeout/time.Second), "OEI_BROKER_CONNECT_TIMEOUT")
	limits.Setting("seconds that a client may not read", int(cfg.WriteTimeout/time.Second),
		"OEI_BROKER_WRITE_TIMEOUT")
	document := asyncapitest.Read(t)
	document.CheckLimits(t, "MQTT limit", limits,
		"bytes of a payload", "samples of a message", // the test in ingest compares these
		"bytes of a response topic or of correlation data",
		"rejected samples that a receipt lists", "days that a timestamp may be old",
		"seconds that a timestamp may be ahead of the server's clock")
	asyncapitest.CheckConstants(t, "^max[A-Z]",
		[]string{
			"maxConnect", "maxClientID", "maxKey", "maxSubscriptions", "maxFilter", "maxKeepAlive",
			"maxSessionExpiry", "maxBeforeLogin", "maxSessions", "maxUnacknowledged",
		},
		[]string{
			"maxLogLines", "maxLogKinds", "maxQueuedWrites", "maxRecorded", "maxHTTPHeader",
			"maxOutgoing", "maxSharedBeforeLogin", "maxOverLimit",
		})
	for name, server := range document.Servers {
		if got := server.Bindings.MQTT.MaximumPacketSize; got != cfg.MaxPacket && name != "live" {
			t.Errorf("server %s: maximum packet size %d, want %d", name, got, cfg.MaxPacket)
		}
	}
}
