package ingest

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"testing"
)

// FuzzFastDecode holds the scanner against the strict decoder: what it takes, the other takes too,
// and means the same.
func FuzzFastDecode(f *testing.F) {
	files, err := filepath.Glob("testdata/decode/*.json")
	if err != nil || len(files) == 0 {
		f.Fatalf("golden cases: got %d, %v", len(files), err)
	}
	for _, file := range files {
		payload, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(payload)
	}
	for _, payload := range []string{
		`{"value":1,"value":2}`, `{"value":01}`, `{"value":1.}`, `{"value":-}`, `{"value":1e999}`,
		`{"value":1} `, `{"value":1}x`, `[]`, `[{"value":1},]`,
		`{"value":1,"timestamp":"2026-02-29T00:00:00Z"}`,
		`{"value":1,"timestamp":"0000-01-01T00:00:00Z"}`,
		`{"value":1,"timestamp":"2026-01-01T24:00:00Z"}`,
		`{"value":1,"timestamp":"2026-01-01T00:00:60Z"}`,
		`{"value":1,"timestamp":"2026-01-01T00:00:00.1234567899Z"}`, `{"value":1,"timestamp":00}`,
		`{"value":1,"timestamp":253402300799999}`, `{"value":1,"timestamp":253402300800000}`,
		`{"value":-0,"status_code":4294967296}`,
		`[{"sensor":"t1","value":1.5e3,"quality":"bad","status_code":2147483648}]`,
		`{"sensor":"12","value":null}`, "{\"value\":1,\"sensor\":\"\xff\"}",
	} {
		f.Add([]byte(payload))
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		for _, topic := range []Topic{
			{SensorData, "g1", "t1"}, {Kind: GatewayData, Gateway: "g1"},
		} {
			got, ok := fastDecodeSamples(payload, topic)
			if !ok {
				continue
			}
			want, err := decodeSamples(payload, topic)
			if err != nil || len(got) != len(want) {
				t.Fatalf("%q: got %d samples, the decoder %d, %v", payload, len(got), len(want),
					err)
			}
			for i := range got {
				if g, w := meaning(&got[i]), meaning(&want[i]); g != w {
					t.Fatalf("%q: sample %d: got %s, the decoder %s", payload, i, g, w)
				}
			}
		}
	})
}

// meaning is all that a sample says.
func meaning(s *sample) string {
	fault := ""
	if s.invalid != nil {
		fault = s.invalid.reason + ": " + s.invalid.detail
	}
	return fmt.Sprintf("%q %s %x %v %d %q %s", s.sensor, s.timestamp, math.Float64bits(s.value),
		s.quality, s.statusCode, s.raw, fault)
}

func TestFastDecode_AcceptsUsualMessages(t *testing.T) {
	for _, payload := range []string{
		`{"value": 21.5, "timestamp": "2026-01-02T03:04:05.678Z", "quality": "good"}`,
		`{"value":-1e-3,"timestamp":1767322445678}`,
		`{"value": null, "quality": "bad", "status_code": 2147483648}`,
		`[{"value":1},{"value":2,"timestamp":"2026-01-02T03:04:05Z"}]`,
	} {
		if _, ok := fastDecodeSamples([]byte(payload), Topic{SensorData, "g1", "t1"}); !ok {
			t.Errorf("%s: the scanner does not know it", payload)
		}
	}
	if _, ok := fastDecodeSamples([]byte(`[{"sensor": "t1", "value": 1}]`),
		Topic{Kind: GatewayData, Gateway: "g1"}); !ok {
		t.Error("a gateway's batch: the scanner does not know it")
	}
}

func BenchmarkDecode(b *testing.B) {
	one := `{"value": 21.5, "timestamp": "2026-01-02T03:04:05.678Z", "quality": "good"}`
	hundred := "[" + one
	for range 99 {
		hundred += "," + one
	}
	hundred += "]"
	topic := Topic{SensorData, "g1", "t1"}
	for name, payload := range map[string]string{"one": one, "hundred": hundred} {
		b.Run(name+"/scan", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, ok := fastDecodeSamples([]byte(payload), topic); !ok {
					b.Fatal("not scanned")
				}
			}
		})
		b.Run(name+"/strict", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := decodeSamples([]byte(payload), topic); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
