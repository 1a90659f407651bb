package ingest

import (
	"encoding/json"
	"flag"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/oei-ms/oei-ms/store"
)

var update = flag.Bool("update", false, "write testdata/decode/*.want")

// received is when the messages of these tests arrive.
var received = time.Date(2026, 1, 2, 3, 4, 6, 0, time.UTC)

// topics are what the names of the golden cases begin with.
var topics = map[string]string{
	"single": "sensors/g1/t1/data", "gateway": "gateways/g1/data", "status": "gateways/g1/status",
}

// decoded is a message as it is understood, one line for each sample.
func decoded(topic string, payload []byte) string {
	j := newEntry(Message{Topic: topic, Payload: payload, Received: received}, DefaultConfig())
	var b strings.Builder
	switch {
	case j.reason != "":
		fmt.Fprintf(&b, "all rejected, %s: %s\n", j.reason, j.detail)
	case j.status != nil:
		fmt.Fprintf(&b, "%s%s\n", j.status.state, at(j.status.timestamp))
	}
	for i := range j.samples {
		s := &j.samples[i]
		if s.invalid != nil {
			fmt.Fprintf(&b, "rejected, %s: %s\n", s.invalid.reason, s.invalid.detail)
			continue
		}
		fmt.Fprintf(&b, "%s = %v %v", s.sensor, s.value, s.quality)
		if s.statusCode != 0 {
			fmt.Fprintf(&b, " %#08x", s.statusCode)
		}
		fmt.Fprintf(&b, "%s\n", at(s.timestamp))
	}
	return b.String()
}

func at(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return " at " + t.Format(time.RFC3339Nano)
}

func TestDecode(t *testing.T) {
	files, err := filepath.Glob("testdata/decode/*.json")
	if err != nil || len(files) < 100 {
		t.Fatalf("golden cases: got %d, %v", len(files), err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".json")
		t.Run(name, func(t *testing.T) {
			payload, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			kind, _, _ := strings.Cut(name, "-")
			got, golden := decoded(topics[kind], payload), strings.TrimSuffix(file, ".json")+".want"
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("got\n%swant\n%s", got, want)
			}
		})
	}
}

func TestDecode_BySize(t *testing.T) {
	samples := func(n int) []byte {
		return []byte("[" + strings.Repeat(`{"value":1},`, n-1) +
			`{"value":1}]`)
	}
	tests := map[string]struct {
		payload []byte
		reason  string
		samples int
	}{
		"as many samples as may be": {samples(maxSamples), "", maxSamples},
		"one sample more":           {samples(maxSamples + 1), tooLarge, 0},
		"a payload as large as may be": {
			[]byte(`{"value":1}` + strings.Repeat(" ", DefaultConfig().MaxPayload-11)), "", 1,
		},
		"a byte more": {
			[]byte(`{"value":1}` + strings.Repeat(" ", DefaultConfig().MaxPayload-10)), tooLarge, 0,
		},
		"the most samples that bytes could carry": {
			[]byte("[0" + strings.Repeat(",0", DefaultConfig().MaxPayload/2-2) + "]"), tooLarge, 0,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			j := newEntry(Message{Topic: topics["single"], Payload: tt.payload}, DefaultConfig())
			if j.reason != tt.reason || len(j.samples) != tt.samples {
				t.Errorf("got %q, %d samples", j.reason, len(j.samples))
			}
			if j.size > DefaultConfig().MaxBytes/4 ||
				len(j.message.Payload) > DefaultConfig().MaxPayload {
				t.Errorf("it takes %d bytes", j.size)
			}
		})
	}
}

func TestTopic(t *testing.T) {
	tests := map[string]Topic{
		"sensors/g1/t1/data":       {SensorData, "g1", "t1"},
		"sensors/1/2/data":         {SensorData, "1", "2"},
		"sensors/G_1.a-b/T.1/data": {SensorData, "G_1.a-b", "T.1"},
		"sensors/00:1b:44:11:3a:b7/356938035643809/data": {
			SensorData, "00:1b:44:11:3a:b7", "356938035643809",
		},
		"gateways/g1/data":   {GatewayData, "g1", ""},
		"gateways/g1/status": {StatusReport, "g1", ""},
		"gateways/" + strings.Repeat("x", 64) +
			"/data": {GatewayData, strings.Repeat("x", 64), ""},
		"gateways/" + strings.Repeat("x", 65) + "/data": {},
		"":                          {},
		"/":                         {},
		"sensors":                   {},
		"sensors/g1/t1":             {},
		"sensors/g1/t1/data/":       {},
		"sensors/g1/t1/data/x":      {},
		"/sensors/g1/t1/data":       {},
		"sensors//t1/data":          {},
		"sensors/g1//data":          {},
		"sensors/g1/t1/Data":        {},
		"Sensors/g1/t1/data":        {},
		"gateways/g1":               {},
		"gateways/g1/commands":      {},
		"gateways/g1/data/x":        {},
		"gateways/+/data":           {},
		"gateways/#":                {},
		"gateways/g 1/data":         {},
		"gateways/g\x00/data":       {},
		"gateways/gä/data":          {},
		"$SYS/broker/version":       {},
		"$share/x/gateways/g1/data": {},
		"gateways/../data":          {GatewayData, "..", ""}, // a key like any other
		"sensors/" + strings.Repeat("a/", 20000) + "/t1/t2/data": {},
	}
	for name, want := range tests {
		if got := ParseTopic(name); got != want {
			t.Errorf("%.60q: got %+v, want %+v", name, got, want)
		}
	}
}

func FuzzTopic(f *testing.F) {
	for _, name := range []string{
		"sensors/g1/t1/data", "gateways/g1/data", "gateways/g1/status", "gateways/+/data", "",
		"///", "sensors/g1/t1/data/x",
	} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		topic := ParseTopic(name)
		back := map[Kind]string{
			SensorData:   "sensors/" + topic.Gateway + "/" + topic.Sensor + "/data",
			GatewayData:  "gateways/" + topic.Gateway + "/data",
			StatusReport: "gateways/" + topic.Gateway + "/status",
		}
		switch {
		case topic.Kind == None:
			if topic != (Topic{}) {
				t.Errorf("%q: got %+v", name, topic)
			}
		case back[topic.Kind] != name || !IsKey(topic.Gateway) || topic.Kind == SensorData &&
			!IsKey(topic.Sensor):
			t.Errorf("%q: got %+v", name, topic)
		}
	})
}

func FuzzDecode(f *testing.F) {
	files, err := filepath.Glob("testdata/decode/*.json")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		payload, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		for kind := range topics {
			f.Add(kind[0], payload)
		}
	}
	f.Fuzz(func(t *testing.T, kind byte, payload []byte) {
		topic := topics["single"]
		switch kind {
		case 'g':
			topic = topics["gateway"]
		case 's' + 1:
			topic = topics["status"]
		}
		before := string(payload)
		j := newEntry(Message{Topic: topic, Payload: payload, Received: received}, DefaultConfig())
		if string(payload) != before {
			t.Fatal("the payload was changed")
		}
		if j.reason != "" {
			if j.samples != nil || j.status != nil || len(j.detail) > 4*maxDetail {
				t.Fatalf("rejected, but with %d samples, status %v, detail %q", len(j.samples),
					j.status, j.detail)
			}
			return
		}
		if !json.Valid(payload) {
			t.Fatalf("taken though it is not JSON: %q", payload)
		}
		if strings.ContainsRune(string(payload), 0) {
			t.Fatalf("taken with a NUL: %q", payload)
		}
		for i := range j.samples {
			checkSample(t, &j.samples[i], topic)
		}
	})
}

// checkSample checks that a sample that was taken means what its own bytes say, and that it says
// the same when it is sent again.
func checkSample(t *testing.T, s *sample, topic string) {
	if s.invalid != nil {
		return
	}
	if math.IsInf(s.value, 0) || math.IsNaN(s.value) && s.quality != store.Bad ||
		s.quality < store.Good || s.quality > store.Bad {
		t.Fatalf("taken: %v %v", s.value, s.quality)
	}
	if !IsKey(s.sensor) || s.timestamp.Nanosecond()%1000 != 0 ||
		s.timestamp.Location() != time.UTC {
		t.Fatalf("taken: sensor %q at %v", s.sensor, s.timestamp)
	}
	var raw struct {
		Value any `json:"value"`
	}
	if err := json.Unmarshal(s.raw, &raw); err != nil {
		t.Fatalf("its bytes: %q: %v", s.raw, err)
	}
	if v, number := raw.Value.(float64); number && v != s.value || !number && !math.IsNaN(s.value) {
		t.Fatalf("value: got %v, sent %v", s.value, raw.Value)
	}
	again := map[string]any{"sensor": s.sensor, "value": s.value, "quality": s.quality.String()}
	if math.IsNaN(s.value) {
		again["value"] = nil
	}
	if s.statusCode != 0 {
		again["status_code"] = s.statusCode
	}
	if !s.timestamp.IsZero() {
		again["timestamp"] = s.timestamp.Format(time.RFC3339Nano)
	}
	payload, err := json.Marshal(again)
	if err != nil {
		t.Fatal(err)
	}
	b := newEntry(Message{Topic: topic, Payload: payload, Received: received}, DefaultConfig())
	if b.reason != "" || len(b.samples) != 1 {
		t.Fatalf("%s: rejected: %s", payload, b.detail)
	}
	g := b.samples[0]
	if g.invalid != nil || g.sensor != s.sensor || g.value != s.value && !math.IsNaN(s.value) ||
		g.quality != s.quality ||
		g.statusCode != s.statusCode || !g.timestamp.Equal(s.timestamp) {
		t.Fatalf("%s: got %+v, want %+v", payload, g, *s)
	}
}
