package push

import (
	"strings"
	"testing"
	"time"

	"github.com/oei-ms/oei-ms/internal/asyncapitest"
)

// TestAsyncAPI_HasEveryMessageType compares the messages of both directions with the types that the
// source reads and writes, and with the schemas of openapi.yaml.
func TestAsyncAPI_HasEveryMessageType(t *testing.T) {
	document := asyncapitest.Read(t)
	received, sent := document.Directions(false)
	read, written := asyncapitest.MessageTypes(t)
	for direction, pair := range map[string][2]map[string]bool{
		"received": {received, read}, "sent": {sent, written},
	} {
		types := map[string]bool{}
		for name := range pair[0] {
			message := document.Components.Messages[name]
			types[message.Name] = true
			schema := document.Schema(t, message.Payload.Schema.Last())
			if got := schema.Properties["type"].Value.Enum; len(got) != 1 ||
				got[0] != message.Name {
				t.Errorf("message %s has a schema of the type %v", name, got)
			}
		}
		for _, line := range asyncapitest.Differences(types, pair[1]) {
			t.Errorf("%s messages: %s", direction, line)
		}
	}
	for name, channel := range document.Channels {
		if channel.IsMQTT() {
			continue
		}
		for message := range document.Components.Messages {
			if _, ok := channel.Messages[message]; ok != strings.HasPrefix(message, "Ws") {
				t.Errorf("channel %s: message %s is there: %v", name, message, ok)
			}
		}
	}
}

func TestAsyncAPI_HasEveryCloseCode(t *testing.T) {
	codes := map[string]int{
		"CloseGoingAway":        CloseGoingAway,
		"CloseTooBig":           CloseTooBig,
		"CloseTryLater":         CloseTryLater,
		"CloseProtocol":         CloseProtocol,
		"CloseNotAuthenticated": CloseNotAuthenticated,
		"CloseForbidden":        CloseForbidden,
		"CloseAuthTimeout":      CloseAuthTimeout,
		"CloseBehind":           CloseBehind,
		"CloseOverLimit":        CloseOverLimit,
	}
	names, values := []string{}, map[int]bool{}
	for name, code := range codes {
		names, values[code] = append(names, name), true
	}
	asyncapitest.CheckConstants(t, "^Close", names, nil)
	documented := asyncapitest.Read(t).Codes(t, "close code")
	for code, row := range documented {
		if row[1] != "server" {
			delete(documented, code)
		}
	}
	for _, line := range asyncapitest.Differences(documented, values) {
		t.Error("close codes: " + line)
	}
}

func TestAsyncAPI_HasEveryErrorCode(t *testing.T) {
	documented, codes := map[string]bool{}, map[string]bool{}
	for _, code := range asyncapitest.Read(t).Schema(t, "WsError").Properties["code"].Value.Enum {
		documented[code.(string)] = true
	}
	for _, code := range asyncapitest.Constants(t, "^code[A-Z]") {
		codes[code] = true
	}
	for _, line := range asyncapitest.Differences(documented, codes) {
		t.Error("error codes: " + line)
	}
}

func TestAsyncAPI_HasEveryTopic(t *testing.T) {
	rows := asyncapitest.Read(t).Table(t, "topic of WebSocket")
	kinds := map[Kind]bool{}
	for _, row := range rows {
		name := strings.NewReplacer("`", "", "{id}", "12", "{type}", "temperature", "{severity}",
			"major").Replace(row[0])
		topic, err := ParseTopic(name)
		if err != nil {
			t.Errorf("topic %s: %v", name, err)
		}
		kinds[topic.Kind] = true
	}
	if len(kinds) != int(anyAlarms)-1 {
		t.Errorf("asyncapi.yaml has topics of %d kinds, the code of %d", len(kinds), anyAlarms-1)
	}
}

func TestAsyncAPI_HasTheLimits(t *testing.T) {
	cfg, limits := DefaultConfig(), asyncapitest.CodeLimits{}
	limits.Setting("connections in all", cfg.MaxConnections, "OEI_PUSH_MAX_CONNECTIONS")
	limits.Setting("connections of a user or API key", cfg.MaxConnectionsPerUser,
		"OEI_PUSH_MAX_CONNECTIONS_PER_USER")
	limits.Setting("connections from an address", cfg.MaxConnectionsPerAddress,
		"OEI_PUSH_MAX_CONNECTIONS_PER_ADDRESS")
	limits.Setting("handshakes per second", cfg.HandshakesPerSecond,
		"OEI_PUSH_HANDSHAKES_PER_SECOND")
	limits.Setting("handshakes at once", cfg.HandshakeBurst, "OEI_PUSH_HANDSHAKE_BURST")
	limits.Setting("topics of a connection", cfg.MaxTopics, "OEI_PUSH_MAX_TOPICS")
	limits.Setting("bytes of a frame of the client", cfg.MaxFrameBytes, "OEI_PUSH_MAX_FRAME_BYTES")
	limits.Fixed("bytes of a frame before login", maxAuthFrame)
	limits.Setting("frames of the client per second", cfg.FramesPerSecond,
		"OEI_PUSH_FRAMES_PER_SECOND")
	limits.Setting("frames of the client at once", cfg.FrameBurst, "OEI_PUSH_FRAME_BURST")
	limits.Fixed("frames over that rate in a row, until 4429", maxOverRate)
	limits.Fixed("messages that cannot be understood, until 4400", maxBadFrames)
	limits.Setting("readings that wait for a client before they conflate", cfg.QueueSize,
		"OEI_PUSH_QUEUE_SIZE")
	limits.Setting("alarm events that wait for a client, until 4413", cfg.AlarmQueueSize,
		"OEI_PUSH_ALARM_QUEUE_SIZE")
	limits.Fixed("readings of a snapshot", maxSnapshot)
	limits.Fixed("readings or alarms in a frame of a snapshot", maxSnapshotFrame)
	limits.Fixed("characters of an `id`", maxRequestID)
	limits.Fixed("characters of a sensor type in a topic", maxTypeName)
	limits.Fixed("seconds until login", int(authTimeout/time.Second))
	limits.Fixed("seconds between WebSocket pings", int(pingInterval/time.Second))
	limits.Fixed("seconds of silence of the client, until 1013", int(silenceTimeout/time.Second))
	limits.Fixed("seconds between `ping` messages", int(pingFrameInterval/time.Second))
	document := asyncapitest.Read(t)
	document.CheckLimits(t, "WebSocket limit", limits)
	asyncapitest.CheckConstants(t, "^max[A-Z]",
		[]string{
			"maxAuthFrame", "maxOverRate", "maxBadFrames", "maxSnapshot", "maxSnapshotFrame",
			"maxRequestID", "maxTypeName", "maxInterval", // of the schema WsSubscribe
		},
		[]string{"maxPart", "maxReplies", "maxSessionChecks", "maxQueries"})
	interval := document.Schema(t, "WsSubscribe").Properties["interval_ms"].Value
	if *interval.Min != minInterval || *interval.Max != maxInterval ||
		interval.Default != float64(defaultInterval) {
		t.Errorf("interval_ms: got %v to %v, default %v, want %d to %d, default %d", *interval.Min,
			*interval.Max, interval.Default, minInterval, maxInterval, defaultInterval)
	}
}
