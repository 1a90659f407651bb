package ingest_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/oei-ms/oei-ms/ingest"
	"github.com/oei-ms/oei-ms/store"
)

// rejections returns what is recorded: gateway id, key and reason, one a line.
func (b *testPipeline) rejections() string {
	b.t.Helper()
	const q = `
		SELECT coalesce(string_agg(
			format('%s %s %s', gateway_id, gateway, reason), E'\n' ORDER BY id), '')
		FROM rejections`
	return scan[string](b.t, b.db, q)
}

func TestRejections_BelongToThePublisher(t *testing.T) {
	const bad, good = `nonsense`, `{"value":1}`
	tests := map[string]struct{ as, topic, payload, recorded, counted string }{
		"a sample of its own": {
			"g1", "sensors/g1/new/data", good, "1 g1 unknown_sensor",
			"gateway=1 reason=unknown_sensor",
		},
		"a payload on its own topic": {
			"g1", "sensors/g1/t1/data", bad, "1 g1 malformed", "gateway=1 reason=malformed",
		},
		"a payload on a topic by id": {
			"g1", "sensors/1/t1/data", bad, "1 g1 malformed", "gateway=1 reason=malformed",
		},
		"an unknown topic": {
			"g2", "x", good, "2 g2 unknown_topic", "gateway=2 reason=unknown_topic",
		},
		"a sample of another gateway": {
			"g2", "sensors/g1/t1/data", good, "2 g2 not_owner", "gateway=2 reason=not_owner",
		},
		"a status of another gateway": {
			"g2", "gateways/g1/status", `{"status":"offline"}`, "2 g2 not_owner",
			"gateway=2 reason=not_owner",
		},
		"a status with an old timestamp": {
			"g1", "gateways/g1/status", `{"status":"online","timestamp":1772625608}`,
			"1 g1 too_old", "gateway=1 reason=too_old",
		},
		"a status with an old timestamp, by an external broker": {
			"", "gateways/g2/status", `{"status":"online","timestamp":1772625608}`,
			"2 g2 too_old", "gateway=2 reason=too_old",
		},
		"a sample of an unknown gateway": {
			"g2", "sensors/g9/t1/data", good, "2 g2 unknown_gateway",
			"gateway=2 reason=unknown_gateway",
		},
		"a status of an unknown gateway": {
			"g2", "gateways/g9/status", `{"status":"offline"}`, "2 g2 unknown_gateway",
			"gateway=2 reason=unknown_gateway",
		},
		"a sample by an external broker": {
			"", "sensors/2/new/data", good, "2 g2 unknown_sensor",
			"gateway=2 reason=unknown_sensor",
		},
		"a payload by an external broker": {
			"", "gateways/2/data", bad, "2 g2 malformed", "gateway=2 reason=malformed",
		},
		"a sample by an external broker, of an unknown gateway": {
			"", "sensors/g9/t1/data", good, "0 g9 unknown_gateway",
			"gateway=none reason=unknown_gateway",
		},
		"a status by an external broker, of an unknown gateway": {
			"", "gateways/g9/status", `{"status":"offline"}`, "0 g9 unknown_gateway",
			"gateway=none reason=unknown_gateway",
		},
		"a payload by an external broker, of an unknown gateway": {
			"", "gateways/g9/data", bad, "0 g9 malformed", "gateway=none reason=malformed",
		},
		"an unknown topic, by an external broker": {
			"", "x", good, "0  unknown_topic", "gateway=none reason=unknown_topic",
		},
		"a gateway that was deleted while it is connected": {
			"g8", "sensors/g8/t1/data", bad, "0 g8 malformed", "gateway=none reason=malformed",
		},
	}
	b := newTestPipeline(t, ingest.DefaultConfig())
	for name, tt := range tests {
		if _, err := b.db.ExecContext(t.Context(),
			`TRUNCATE rejections, rejection_counts`); err != nil {
			t.Fatal(err)
		}
		for range 2 { // looked up, and then known
			before := b.rejectedTotal()[tt.counted]
			b.publish(tt.as, tt.topic, tt.payload)
			if got := b.rejections(); got != tt.recorded {
				t.Errorf("%s: recorded: got %q, want %q", name, got, tt.recorded)
			}
			if got := b.rejectedTotal(); got[tt.counted] != before+1 {
				t.Errorf("%s: not counted as %s: %v", name, tt.counted, got)
			}
		}
	}
}

// rejectedTotal returns oei_ingest_rejected_total by its labels.
func (b *testPipeline) rejectedTotal() map[string]int {
	b.t.Helper()
	families, err := b.reg.Gather()
	if err != nil {
		b.t.Fatal(err)
	}
	counts := map[string]int{}
	for _, f := range families {
		if f.GetName() != "oei_ingest_rejected_total" {
			continue
		}
		for _, m := range f.GetMetric() {
			var labels []string
			for _, l := range m.GetLabel() {
				labels = append(labels, l.GetName()+"="+l.GetValue())
			}
			counts[strings.Join(labels, " ")] = int(m.GetCounter().GetValue())
		}
	}
	return counts
}

func TestRejections_OfManyGatewaysShareAMetricLabel(t *testing.T) {
	b := newTestPipeline(t, ingest.DefaultConfig())
	for i := range 110 {
		key := fmt.Sprintf("many-%d", i)
		b.gateway(key)
		b.publish(key, "gateways/"+key+"/data", "nonsense")
		b.publish(key, "gateways/"+key+"/data", "nonsense")
	}
	counts := b.rejectedTotal()
	if len(counts) != 101 || counts["gateway=other reason=malformed"] != 20 ||
		counts["gateway=100 reason=malformed"] == 0 {
		t.Errorf("got %d: %v", len(counts), counts)
	}
	for labels := range counts {
		if strings.Contains(labels, "many") {
			t.Errorf("a name: %s", labels)
		}
	}
}

func TestRejections_TheNewestOfAGatewayAreKept(t *testing.T) {
	cfg := ingest.DefaultConfig()
	cfg.MaxRejections = 5
	b := newTestPipeline(t, cfg)
	for i := range 12 {
		b.publish("g1", "sensors/g1/t1/data", fmt.Sprint("nonsense ", i))
	}
	b.publish("g2", "sensors/g2/u1/data", "nonsense")
	const q = `
		SELECT string_agg(gateway || ' ' || convert_from(payload, 'utf8'), ', ' ORDER BY id)
		FROM rejections`
	const want = "g1 nonsense 7, g1 nonsense 8, g1 nonsense 9, g1 nonsense 10, g1 nonsense 11, " +
		"g2 nonsense"
	if got := scan[string](t, b.db, q); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if err := b.store.DeleteExpiredRejections(t.Context(), cfg.RejectionRetention); err != nil {
		t.Error(err)
	}
	var kept []store.RecordedRejection
	kept, err := b.store.Rejections(t.Context(), store.RejectionFilter{}, nil, 0, 10)
	if err != nil || len(kept) != 0 { // they came in March
		t.Errorf("after the retention: got %v, %v", kept, err)
	}
}
