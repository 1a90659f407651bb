package ingest_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/oei-ms/oei-ms/ingest"
)

// step is a message and the receipt it must get.
type step struct {
	as, topic, payload string
	code               byte
	counts             string // accepted, duplicates, rejected
	says               string // part of the reason string; empty: there is none
}

const (
	t1      = "sensors/g1/t1/data"
	gateway = "gateways/g1/data"
	at3     = `"timestamp":"2026-03-04T03:00:00Z"`
)

func TestOutcomes(t *testing.T) {
	tests := map[string]struct {
		steps    []step
		stored   string
		recorded string
	}{
		"a reading is stored": {
			[]step{
				{
					"g1", t1,
					`{"value":21.5,"timestamp":"2026-03-04T03:04:05.678Z","quality":"good"}`, 0,
					"1 0 0", "",
				},
			},
			"t1 2026-03-04T03:04:05.678 21.5 good", "",
		},
		"without a timestamp the time of receipt counts": {
			[]step{{"g1", t1, `{"value":21.5}`, 0, "1 0 0", ""}},
			"t1 2026-03-04T12:00:00 21.5 good", "",
		},
		"gateway and sensor may be named by id": {
			[]step{
				{"g1", "sensors/1/1/data", `{"value":1,` + at3 + `}`, 0, "1 0 0", ""},
				{
					"g1", "gateways/1/data",
					`[{"sensor":2,"value":2,` + at3 + `},{"sensor":"t1","value":1,` + at3 + `}]`, 0,
					"1 1 0", "",
				},
			}, "t1 2026-03-04T03:00:00 1 good\nt2 2026-03-04T03:00:00 2 good", "",
		},
		"an external broker vouches for the gateway": {
			[]step{{"", t1, `{"value":1,` + at3 + `}`, 0, "1 0 0", ""}},
			"t1 2026-03-04T03:00:00 1 good", "",
		},
		"the same sensor, instant and value is a duplicate": {
			[]step{
				{"g1", t1, `{"value":1,` + at3 + `}`, 0, "1 0 0", ""},
				{
					"g1", t1, `{"value":1.0,"timestamp":"2026-03-04T04:00:00.000+01:00"}`, 0,
					"0 1 0", "",
				},
				{
					"g1", gateway, `[{"sensor":"t1","value":1,"timestamp":1772593200000}]`, 0,
					"0 1 0", "",
				},
			}, "t1 2026-03-04T03:00:00 1 good", "",
		},
		"the same sensor and instant with another value is a conflict": {
			[]step{
				{"g1", t1, `{"value":1,` + at3 + `}`, 0, "1 0 0", ""},
				{"g1", t1, `{"value":2,` + at3 + `}`, 0x83, "0 0 1", "conflict: another value"},
				{"g1", t1, `{"value":null,` + at3 + `}`, 0x83, "0 0 1", "conflict: another value"},
			}, "t1 2026-03-04T03:00:00 1 good", "g1 sensors/g1/t1/data conflict 1\n" +
				"g1 sensors/g1/t1/data conflict 1",
		},
		"finer than a microsecond is cut before keying": {
			[]step{
				{
					"g1", t1, `{"value":1,"timestamp":"2026-03-04T03:00:00.1234561Z"}`, 0, "1 0 0",
					"",
				},
				{
					"g1", t1, `{"value":1,"timestamp":"2026-03-04T03:00:00.123456999Z"}`, 0,
					"0 1 0", "",
				},
			}, "t1 2026-03-04T03:00:00.123456 1 good", "",
		},
		"a late one is stored": {
			[]step{{"g1", t1, `{"value":1,"timestamp":"2017-01-01T00:00:00Z"}`, 0, "1 0 0", ""}},
			"t1 2017-01-01T00:00:00 1 good", "",
		},
		"a reading older than its retention is rejected": {
			[]step{
				{
					"g1", t1, `{"value":1,"timestamp":0}`, 0x83, "0 0 1",
					"too_old: timestamp 1970-01-01T00:00:00.000000Z is more than 3650 days old, " +
						"which is OEI_INGEST_MAX_AGE",
				},
			}, "", "g1 sensors/g1/t1/data too_old 1",
		},
		"one older than its sensor's retention is rejected": {
			[]step{
				{
					"g1", "sensors/g1/week/data",
					`{"value":1,"timestamp":"2026-02-25T11:59:59.999999Z"}`, 0x83, "0 0 1",
					"too_old: timestamp 2026-02-25T11:59:59.999999Z is more than 7 days old, " +
						"for which this sensor's readings are kept by its retention_days",
				},
				{
					"g1", gateway,
					`[{"sensor":"week","value":1,"timestamp":"2026-02-25T12:00:00Z"},` +
						`{"sensor":"t2","value":1,"timestamp":"2026-02-25T11:59:59Z"}]`,
					0, "2 0 0", "",
				},
			},
			"t2 2026-02-25T11:59:59 1 good\nweek 2026-02-25T12:00:00 1 good",
			"g1 sensors/g1/week/data too_old 1",
		},
		"five minutes ahead are stored, more is rejected": {
			[]step{
				{"g1", t1, `{"value":1,"timestamp":"2026-03-04T12:05:00Z"}`, 0, "1 0 0", ""},
				{
					"g1", t1, `{"value":1,"timestamp":"2026-03-04T12:05:00.000001Z"}`, 0x83,
					"0 0 1",
					"future_timestamp: timestamp 2026-03-04T12:05:00.000001Z is 5m0s ahead",
				},
				{
					"g1", t1, `{"value":1,"timestamp":"9999-12-31T23:59:59Z"}`, 0x83, "0 0 1",
					"future_timestamp",
				},
			}, "t1 2026-03-04T12:05:00 1 good", "g1 sensors/g1/t1/data future_timestamp 1\n" +
				"g1 sensors/g1/t1/data future_timestamp 1",
		},
		"null and NaN are stored without a value, with bad quality": {
			[]step{
				{"g1", t1, `{"value":null,"quality":"good",` + at3 + `}`, 0, "1 0 0", ""},
				{"g1", "sensors/g1/t2/data", `{"value":"NaN",` + at3 + `}`, 0, "1 0 0", ""},
			}, "t1 2026-03-04T03:00:00 NaN bad\nt2 2026-03-04T03:00:00 NaN bad", "",
		},
		"infinity is rejected": {
			[]step{
				{
					"g1", t1, `{"value":1e309}`, 0x99, "0 0 1",
					"invalid_value: value 1e309 is beyond",
				},
				{"g1", t1, `{"value":"-Infinity"}`, 0x99, "0 0 1", "invalid_value"},
				{"g1", t1, `{"value":Infinity}`, 0x99, "0 0 1", "malformed"},
			}, "", "g1 sensors/g1/t1/data invalid_value 1\ng1 sensors/g1/t1/data invalid_value " +
				"1\ng1 sensors/g1/t1/data malformed 1",
		},
		"bad and uncertain quality are stored": {
			[]step{
				{
					"g1", gateway,
					`[{"sensor":"t1","value":1e6,"quality":"bad",` + at3 +
						`},{"sensor":"t2","value":1,"quality":"uncertain",` + at3 + `}]`,
					0, "2 0 0", "",
				},
			},
			"t1 2026-03-04T03:00:00 1e+06 bad\nt2 2026-03-04T03:00:00 1 uncertain", "",
		},
		"a status code is kept": {
			[]step{{"g1", t1, `{"value":1,"status_code":2158166016,` + at3 + `}`, 0, "1 0 0", ""}},
			"t1 2026-03-04T03:00:00 1 bad 0x80a30000", "",
		},
		"outside the measuring range good becomes uncertain": {
			[]step{
				{
					"g1", t1,
					`[{"value":100,"timestamp":1772593200001},{"value":100.1,` +
						`"timestamp":1772593200002},{"value":-0.1,"timestamp":1772593200003},` +
						`{"value":101,"quality":"bad","timestamp":1772593200004}]`,
					0, "4 0 0", "",
				},
			},
			"t1 2026-03-04T03:00:00.001 100 good\nt1 2026-03-04T03:00:00.002 100.1 uncertain " +
				"0x40940000\nt1 2026-03-04T03:00:00.003 -0.1 uncertain 0x40940000\n" +
				"t1 2026-03-04T03:00:00.004 101 bad", "",
		},
		"an unknown sensor is rejected and not created": {
			[]step{
				{
					"g1", "sensors/g1/new/data", `{"value":1}`, 0x83, "0 0 1",
					`unknown_sensor: gateway "g1" has no sensor "new"`,
				},
			}, "", "g1 sensors/g1/new/data unknown_sensor 1",
		},
		"an unknown gateway is rejected": {
			[]step{
				{
					"", "sensors/g9/t1/data", `{"value":1}`, 0x87, "0 0 1",
					`unknown_gateway: there is no gateway "g9"`,
				},
				{
					"", "gateways/g9/status", `{"status":"online"}`, 0x87, "0 0 1",
					`unknown_gateway: there is no gateway "g9"`,
				},
			}, "", "g9 sensors/g9/t1/data unknown_gateway 1\ng9 gateways/g9/status " +
				"unknown_gateway 1",
		},
		"another gateway's topic or sensor is rejected": {
			[]step{
				{
					"g2", t1, `{"value":1}`, 0x87, "0 0 1",
					`not_owner: "g2" published for gateway "g1"`,
				},
				{
					"g2", "gateways/1/data", `[{"sensor":"t1","value":1}]`, 0x87, "0 0 1",
					`not_owner: "g2" published for gateway "g1"`,
				},
				{
					"g2", "gateways/g1/status", `{"status":"offline"}`, 0x87, "0 0 1",
					`not_owner: "g2" published for gateway "g1"`,
				},
				{
					"g1", "sensors/g1/4/data", `{"value":1}`, 0x87, "0 0 1",
					"not_owner: sensor 4 is another gateway's",
				},
				{
					"g1", gateway, `[{"sensor":4,"value":1},{"sensor":"t2","value":1,` + at3 + `}]`,
					0, "1 0 1", "1 of 2 rejected, the first: not_owner",
				},
			},
			"t2 2026-03-04T03:00:00 1 good",
			"g2 sensors/g1/t1/data not_owner 1\ng2 gateways/1/data not_owner 1\n" +
				"g2 gateways/g1/status not_owner 1\ng1 sensors/g1/4/data not_owner 1\n" +
				"g1 gateways/g1/data not_owner 1",
		},
		"a sensor that is not in use is rejected": {
			[]step{
				{"g1", "sensors/g1/off/data", `{"value":1}`, 0x87, "0 0 1", "inactive"},
				{"idle", "sensors/idle/i1/data", `{"value":1}`, 0x87, "0 0 1", "inactive"},
			}, "", "g1 sensors/g1/off/data inactive 1\nidle sensors/idle/i1/data inactive 1",
		},
		"a payload that is not strict JSON is rejected as a whole": {
			[]step{
				{"g1", t1, `value=1`, 0x99, "0 0 1", "malformed"},
				{"g1", t1, `{"value":1,"value":2}`, 0x99, "0 0 1", "malformed"},
				{"g1", t1, `{"Value":1}`, 0x99, "0 0 1", "malformed"},
				{"g1", t1, "{\"value\":1}\x00", 0x99, "0 0 1", "malformed"},
				{
					"g1", t1, "[{\"value\":1},{\"value\":2,\"x\":\"\xff\"}]", 0x99, "0 0 1",
					"malformed",
				},
				{"g1", t1, ``, 0x99, "0 0 1", "malformed: it is empty"},
				{
					"g1", gateway, `[{"sensor":"t1","value":1},{"sensor":"t1","value":1}`, 0x99,
					"0 0 1", "malformed",
				},
				{"g1", "gateways/g1/status", `{"status":"gone"}`, 0x99, "0 0 1", "malformed"},
			}, "", strings.Repeat("g1 sensors/g1/t1/data malformed 1\n",
				6) + "g1 gateways/g1/data malformed 1\ng1 gateways/g1/status malformed 1",
		},
		"one over the size is rejected": {
			[]step{
				{
					"g1", t1, `{"value":1}` + strings.Repeat(" ", 1<<20), 0x99, "0 0 1",
					"too_large: it has 1048587 bytes",
				},
			}, "", "g1 sensors/g1/t1/data too_large 1",
		},
		"an unknown topic is rejected": {
			[]step{
				{"g1", "plant/line/4", `{"value":1}`, 0x83, "0 0 1", "unknown_topic"},
				{"g1", "$SYS/broker", `{"value":1}`, 0x83, "0 0 1", "unknown_topic"},
				{"", "a\x00b\xff", `{"value":1}`, 0x83, "0 0 1", "unknown_topic"},
				{
					"g1", strings.Repeat("x/\u00e4/", 15000), `{"value":1}`, 0x83, "0 0 1",
					"unknown_topic",
				},
			}, "", "g1 plant/line/4 unknown_topic 1\ng1 $SYS/broker unknown_topic 1\n " +
				"a\ufffdb\ufffd unknown_topic 1\ng1 " + strings.Repeat("x/\u00e4/", 102) +
				"x/ unknown_topic 1",
		},
		"one invalid sample is rejected alone": {
			[]step{
				{
					"g1", gateway,
					`[{"sensor":"t1","value":1,` + at3 +
						`},{"sensor":"t1","value":"x"},{"sensor":"a\u0000b","value":1},` +
						`{"sensor":"nope","value":1},{"value":1},7,{"sensor":"t2","value":2,` +
						at3 + `}]`,
					0, "2 0 5", "5 of 7 rejected, the first: invalid_value",
				},
			},
			"t1 2026-03-04T03:00:00 1 good\nt2 2026-03-04T03:00:00 2 good",
			"g1 gateways/g1/data invalid_sensor 1\ng1 gateways/g1/data invalid_sensor 1\n" +
				"g1 gateways/g1/data invalid_value 1\ng1 gateways/g1/data invalid_value 1\n" +
				"g1 gateways/g1/data unknown_sensor 1",
		},
		"all samples invalid is a rejection": {
			[]step{
				{
					"g1", gateway, `[{"sensor":"x","value":1},{"sensor":"y","value":1}]`, 0x83,
					"0 0 2", "all 2 rejected, the first: unknown_sensor",
				},
			},
			"", "g1 gateways/g1/data unknown_sensor 1\ng1 gateways/g1/data unknown_sensor 1",
		},
		"repeats inside an array": {
			[]step{
				{
					"g1", t1,
					`[{"value":1,` + at3 + `},{"value":1,` + at3 + `},{"value":2,` + at3 + `}]`, 0,
					"1 1 1", "1 of 3 rejected, the first: conflict",
				},
			},
			"t1 2026-03-04T03:00:00 1 good", "g1 sensors/g1/t1/data conflict 1",
		},
		"the same rejection again is counted": {
			[]step{
				{"g1", t1, `nonsense`, 0x99, "0 0 1", "malformed"},
				{"g1", t1, `nonsense`, 0x99, "0 0 1", "malformed"},
				{"g1", t1, `nonsense`, 0x99, "0 0 1", "malformed"},
			}, "", "g1 sensors/g1/t1/data malformed 3",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			b := newTestPipeline(t, ingest.DefaultConfig())
			for _, s := range tt.steps {
				r := b.publish(s.as, s.topic, s.payload)
				if counts := fmt.Sprint(r.Accepted, r.Duplicates,
					r.RejectedTotal); r.Code != s.code ||
					counts != s.counts ||
					!strings.Contains(r.Text, s.says) || (s.says == "") != (r.Text == "") ||
					len(r.Text) > 2000 {
					t.Errorf("%.80s %.80s: got %#02x, %s, %q; want %#02x, %s, %q", s.topic,
						s.payload, r.Code, counts, r.Text, s.code, s.counts, s.says)
				}
			}
			if got := b.stored(); got != tt.stored {
				t.Errorf("stored: got\n%s\nwant\n%s", got, tt.stored)
			}
			if got := b.recorded(); got != tt.recorded {
				t.Errorf("recorded: got\n%s\nwant\n%s", got, tt.recorded)
			}
			b.stop()
			var lines []string
			for _, c := range b.committed {
				for _, r := range c.Readings {
					lines = append(lines, b.line(r))
					if r.GatewayID == 0 || !r.Received.Equal(noon) {
						t.Errorf("notified: got %+v", r)
					}
				}
			}
			if got := strings.Join(lines, "\n"); len(got) != len(tt.stored) {
				t.Errorf("notified: got\n%s\nwant\n%s", got, tt.stored)
			}
		})
	}
}
