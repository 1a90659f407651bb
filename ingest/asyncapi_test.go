package ingest

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/oei-ms/oei-ms/internal/asyncapitest"
)

// TestAsyncAPI_HasEveryTopic compares the topics that the pipeline understands with the channels
// that a gateway publishes to.
func TestAsyncAPI_HasEveryTopic(t *testing.T) {
	document := asyncapitest.Read(t)
	channels, filters := map[string]bool{}, map[string]bool{}
	for _, operation := range document.Operations {
		channel := document.Channels[operation.Channel.Last()]
		if operation.Action != "receive" || !channel.IsMQTT() {
			continue
		}
		channels[channel.Filter] = true
		topic := strings.NewReplacer("{gateway}", "press-1", "{sensor}", "t1").
			Replace(channel.Address)
		if ParseTopic(topic).Kind == None {
			t.Errorf("%s is no topic of the pipeline", topic)
		}
	}
	for _, filter := range Filters {
		filters[filter] = true
	}
	for _, line := range asyncapitest.Differences(channels, filters) {
		t.Error("topics: " + line)
	}
}

// TestAsyncAPI_HasEveryReasonCode compares the table of PUBACK codes, and the reasons of
// openapi.yaml, with the code.
func TestAsyncAPI_HasEveryReasonCode(t *testing.T) {
	document := asyncapitest.Read(t)
	documented := map[string]string{"unsupported_qos": ""} // ends the connection
	for code, row := range document.Codes(t, "PUBACK code") {
		if code == 0 {
			continue
		}
		for reason := range strings.SplitSeq(strings.ReplaceAll(row[2], "`", ""), ", ") {
			documented[reason] = row[0]
			if want := fmt.Sprintf("0x%02X", reasonCode(reason)); row[0] != want {
				t.Errorf("PUBACK code of %s: got %s, want %s", reason, row[0], want)
			}
		}
	}
	reasons, shared := map[string]bool{}, map[string]bool{}
	for name, text := range asyncapitest.Constants(t, ".") {
		if text != "" && name != "online" && !strings.HasPrefix(name, "NoReceipt") {
			reasons[text] = true
		}
	}
	for _, reason := range document.Schema(t, "RejectionReason").Enum {
		shared[reason.(string)] = true
	}
	for _, line := range asyncapitest.Differences(documented, reasons) {
		t.Error("reasons: " + line)
	}
	for _, line := range asyncapitest.Differences(documented, shared) {
		t.Error("reasons of openapi.yaml: " + line)
	}
}

func TestAsyncAPI_HasTheLimits(t *testing.T) {
	cfg := DefaultConfig()
	document := asyncapitest.Read(t)
	limits := document.Limits(t, "MQTT limit")
	for name, want := range map[string]asyncapitest.Limit{
		"bytes of a payload": {
			Default: cfg.MaxPayload,
			Setting: "OEI_INGEST_MAX_PAYLOAD",
		},
		"samples of a message":                             {Default: maxSamples},
		"bytes of a response topic or of correlation data": {Default: maxEcho},
		"rejected samples that a receipt lists":            {Default: maxItemized},
		"seconds that a timestamp may be ahead of the server's clock": {
			Default: int(cfg.MaxAhead / time.Second),
			Setting: "OEI_INGEST_MAX_AHEAD",
		},
		"days that a timestamp may be old": {
			Default: int(cfg.MaxAge / (24 * time.Hour)),
			Setting: "OEI_INGEST_MAX_AGE",
		},
	} {
		if limits[name] != want {
			t.Errorf("limit of %s: asyncapi.yaml has %+v, the code %+v", name, limits[name], want)
		}
	}
	asyncapitest.CheckConstants(t, "^max[A-Z]",
		[]string{"maxSamples", "maxEcho", "maxItemized"},
		[]string{
			"maxRecordedPayload", "maxDetail", "maxLabelledGateways", "maxEvaluations",
			"maxOverloads", "maxBackoff", "maxFailures", "maxCachedSensors", "maxSilence",
			"maxFutile",
		})
	for name, payload := range map[string]string{
		"SensorDataPayload": "samples of a message", "GatewayDataPayload": "samples of a message",
	} {
		array := document.Schema(t, name).OneOf[1].Value
		if array.MaxItems == nil || int(*array.MaxItems) != limits[payload].Default {
			t.Errorf("%s: got at most %v items, want %d", name, array.MaxItems, maxSamples)
		}
	}
	rejected := document.Schema(t, "Receipt").Properties["rejected"].Value
	if rejected.MaxItems == nil || *rejected.MaxItems != maxItemized {
		t.Errorf("Receipt: got at most %v rejected samples, want %d", rejected.MaxItems,
			maxItemized)
	}
}
