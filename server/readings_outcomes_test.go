package server_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/oapi-codegen/nullable"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/oei-ms/oei-ms/gen/client"
	"github.com/oei-ms/oei-ms/ingest"
	"github.com/oei-ms/oei-ms/internal/pgtest"
	"github.com/oei-ms/oei-ms/server"
	"github.com/oei-ms/oei-ms/store"
)

// startWithIngest is start with the pipeline that messages go through, on a gateway with the
// sensors 1, of the range 0 to 100, 2, and 3, which is not in use.
func startWithIngest(t *testing.T) *system {
	t.Helper()
	dsn := pgtest.DSN(t) + " synchronous_commit=on"
	st := must(store.Open(t.Context(), dsn, store.DefaultConfig(), quiet))
	p := ingest.New(ingest.DefaultConfig(), st, func(ingest.Committed) {}, quiet,
		prometheus.NewRegistry())
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	var running sync.WaitGroup
	running.Go(func() { _ = p.Run(ctx, time.Second) })
	t.Cleanup(func() {
		cancel()
		running.Wait()
		_ = st.Close()
	})
	s := startOn(t, dsn, func(_ *config, d *server.Deps) { d.Write = p.Write })
	g := s.addGateway()
	s.addSensor(g.ID)
	s.addSensor(g.ID)
	s.addSensor(g.ID)
	c := s.as(store.Engineer)
	low, high := nullable.NewNullableWithValue(0.), nullable.NewNullableWithValue(100.)
	must(c.UpdateSensorWithResponse(t.Context(), 1, nil,
		client.SensorUpdate{MinValue: low, MaxValue: high}))
	must(c.UpdateSensorWithResponse(t.Context(), 3, nil, client.SensorUpdate{IsActive: new(false)}))
	return s
}

// TestWriteReadings_Outcomes goes through the table of outcomes in docs/concepts.md.
func TestWriteReadings_Outcomes(t *testing.T) {
	const at = `"timestamp":"2026-03-04T03:00:00Z"`
	tests := map[string]struct {
		readings []string // one request each, of one or more readings
		results  string   // of all of them
		// sensor, time of day, value, quality, status code; in order of sensor and time
		stored string
	}{
		"a reading is stored": {
			[]string{`{"sensor_id":2,"value":21.5,` + at + `,"quality":"good"}`},
			"stored",
			"2 03:00:00 21.5 good",
		},
		"the same sensor, instant and value is a duplicate": {
			[]string{
				`{"sensor_id":2,"value":1,` + at + `}`,
				`{"sensor_id":2,"value":1.0,"timestamp":"2026-03-04T04:00:00.000+01:00"}`,
			}, "stored duplicate", "2 03:00:00 1 good",
		},
		"the same sensor and instant with another value is a conflict": {
			[]string{
				`{"sensor_id":2,"value":1,` + at + `}`, `{"sensor_id":2,"value":2,` + at + `}`,
				`{"sensor_id":2,"value":null,` + at + `}`,
			}, "stored conflict conflict", "2 03:00:00 1 good",
		},
		"finer than a microsecond is cut before keying": {
			[]string{
				`{"sensor_id":2,"value":1,"timestamp":"2026-03-04T03:00:00.1234561Z"},` +
					`{"sensor_id":2,"value":1,"timestamp":"2026-03-04T03:00:00.123456999Z"}`,
			}, "stored duplicate", "2 03:00:00.123456 1 good",
		},
		"repeats in one request": {
			[]string{
				`{"sensor_id":2,"value":1,` + at + `},{"sensor_id":2,"value":1,` + at +
					`},{"sensor_id":2,"value":2,` + at + `}`,
			}, "stored duplicate conflict", "2 03:00:00 1 good",
		},
		"a late one is stored": {
			[]string{`{"sensor_id":2,"value":1,"timestamp":"2017-01-01T01:00:00Z"}`},
			"stored",
			"2 01:00:00 1 good",
		},
		"one older than what is kept": {
			[]string{`{"sensor_id":2,"value":1,"timestamp":"1970-01-01T00:00:00Z"}`},
			"rejected:too_old", "",
		},
		"the oldest there is": {
			[]string{`{"sensor_id":2,"value":1,"timestamp":"0001-01-01T00:00:00Z"}`},
			"rejected:too_old", "",
		},
		"more than five minutes ahead": {
			[]string{
				`{"sensor_id":2,"value":1,"timestamp":"AHEAD"}`,
				`{"sensor_id":2,"value":1,"timestamp":"9999-12-31T23:59:59Z"}`,
			},
			"rejected:future_timestamp rejected:future_timestamp", "",
		},
		"null is no value of bad quality": {
			[]string{`{"sensor_id":2,"value":null,"quality":"good",` + at + `}`},
			"stored",
			"2 03:00:00 null bad",
		},
		"bad and uncertain quality is stored": {
			[]string{
				`{"sensor_id":1,"value":1e6,"quality":"bad",` + at +
					`},{"sensor_id":2,"value":1,"quality":"uncertain",` + at + `}`,
			},
			"stored stored", "1 03:00:00 1e+06 bad, 2 03:00:00 1 uncertain",
		},
		"a status code is kept": {
			[]string{`{"sensor_id":2,"value":1,"status_code":2158166016,` + at + `}`},
			"stored",
			"2 03:00:00 1 bad 0x80a30000",
		},
		"a status code that the quality contradicts": {
			[]string{
				`{"sensor_id":2,"value":1,"status_code":2147483648,"quality":"good",` + at + `}`,
			},
			"rejected:invalid_quality", "",
		},
		"a status code of 0 is none": {
			[]string{`{"sensor_id":2,"value":1,"status_code":0,"quality":"bad",` + at + `}`},
			"stored", "2 03:00:00 1 bad",
		},
		"outside the measuring range good becomes uncertain": {
			[]string{`{"sensor_id":1,"value":100,"timestamp":"2026-03-04T03:00:01Z"},` +
				`{"sensor_id":1,"value":100.1,"timestamp":"2026-03-04T03:00:02Z"},
				{"sensor_id":1,"value":-0.1,"timestamp":"2026-03-04T03:00:03Z"},
				{"sensor_id":1,"value":101,"quality":"bad","timestamp":"2026-03-04T03:00:04Z"}`},
			"stored stored stored stored",
			"1 03:00:01 100 good, 1 03:00:02 100.1 uncertain 0x40940000, 1 03:00:03 -0.1 " +
				"uncertain 0x40940000, 1 03:00:04 101 bad",
		},
		"an unknown sensor is refused and not made": {
			[]string{`{"sensor_id":99,"value":1}`, `{"sensor_id":99,"value":1}`},
			"rejected:unknown_sensor rejected:unknown_sensor", "",
		},
		"a sensor that is not in use": {
			[]string{`{"sensor_id":3,"value":1}`}, "rejected:inactive", "",
		},
		"one bad reading among good ones is refused alone": {
			[]string{
				`{"sensor_id":1,"value":1,` + at +
					`},{"sensor_id":99,"value":1},{"sensor_id":2,"value":2,` + at + `}`,
			}, "stored rejected:unknown_sensor stored", "1 03:00:00 1 good, 2 03:00:00 2 good",
		},
		"a body that is not as the contract has it is refused as a whole": {[]string{
			`{"sensor_id":1,"value":1},{"sensor_id":1,"value":1e309}`,
			`{"sensor_id":1,"value":"NaN"}`, `{"sensor_id":1,"value":NaN}`,
			`{"sensor_id":1,"Value":1}`,
			`{"sensor_id":1,"value":1,"value":1}`,
			`{"sensor_id":1,"value":1,"timestamp":"yesterday"}`,
			`{"sensor_id":1,"value":1}]} {"x":[`, `{"sensor_id":1}`, ``,
		}, strings.TrimSpace(strings.Repeat("400 ", 9)), ""},
	}
	s := startWithIngest(t)
	c := s.as(store.Engineer)
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			defer s.deleteReadings(1, 2, 3)
			var results []string
			for _, readings := range tt.readings {
				readings = strings.ReplaceAll(readings, "AHEAD",
					time.Now().Add(5*time.Minute+30*time.Second).UTC().Format(time.RFC3339))
				body := strings.NewReader(`{"readings":[` + readings + `]}`)
				res := must(c.WriteReadingsWithBodyWithResponse(t.Context(), nil,
					"application/json",
					body))
				if res.JSON200 == nil {
					results = append(results, fmt.Sprint(res.StatusCode()))
					continue
				}
				for _, r := range res.JSON200.Results {
					result := string(r.Status)
					if r.Reason != nil {
						result += ":" + string(*r.Reason)
					}
					results = append(results, result)
					if (r.Reason == nil) != (r.Detail == nil) {
						t.Errorf("got %+v", r)
					}
				}
			}
			if got := strings.Join(results, " "); got != tt.results {
				t.Errorf("results: got %s, want %s", got, tt.results)
			}
			if got := s.readings(1, 2, 3); got != tt.stored {
				t.Errorf("stored: got %s, want %s", got, tt.stored)
			}
			if rejections := must(s.as(store.Engineer).ListRejectionsWithResponse(t.Context(),
				nil)); len(*rejections.JSON200) != 0 {
				t.Errorf("rejections of a write over HTTP are recorded: %s", rejections.Body)
			}
		})
	}
}

func TestWriteReadings_LateOneDoesNotReplaceLatest(t *testing.T) {
	s := startWithIngest(t)
	c := s.as(store.Engineer)
	value := func(v float64) nullable.Nullable[float64] { return nullable.NewNullableWithValue(v) }
	earlier := at3.Add(-time.Hour)
	must(c.WriteReadingsWithResponse(t.Context(), nil,
		client.ReadingsWriteRequest{
			Readings: []client.ReadingCreate{{SensorID: 2, Timestamp: &at3, Value: value(2)}},
		}))
	must(c.WriteReadingsWithResponse(t.Context(), nil,
		client.ReadingsWriteRequest{
			Readings: []client.ReadingCreate{{SensorID: 2, Timestamp: &earlier, Value: value(1)}},
		}))
	latest := must(c.ListLatestReadingsWithResponse(t.Context(), nil))
	if l := *latest.JSON200; len(l) != 1 || !l[0].Timestamp.Equal(at3) ||
		l[0].Value.MustGet() != 2 {
		t.Errorf("got %s", latest.Body)
	}
}

// deleteReadings deletes all readings of sensors.
func (s *system) deleteReadings(sensors ...int64) {
	s.t.Helper()
	for _, id := range sensors {
		all := client.DeleteReadingsParams{
			SensorID: id,
			Start:    time.Unix(0, 0).UTC(),
			End:      time.Now().Add(time.Hour).UTC(),
		}
		if res := must(s.as(store.Admin).DeleteReadingsWithResponse(s.t.Context(),
			&all)); res.JSON200 == nil {
			s.t.Errorf("delete the readings of sensor %d: %s", id, res.Body)
		}
	}
}

// readings is what is stored of sensors.
func (s *system) readings(sensors ...int64) string {
	s.t.Helper()
	order := client.SortOrderAsc
	var all []string
	for _, id := range sensors {
		res := must(s.as(store.Viewer).ListReadingsWithResponse(s.t.Context(),
			&client.ListReadingsParams{SensorID: []int64{id}, Order: &order}))
		for _, r := range *res.JSON200 {
			value, code := "null", ""
			if !r.Value.IsNull() {
				value = fmt.Sprint(r.Value.MustGet())
			}
			if r.StatusCode != nil {
				code = fmt.Sprintf(" %#08x", *r.StatusCode)
			}
			all = append(all,
				fmt.Sprintf("%d %s %s %s%s", r.SensorID, r.Timestamp.Format("15:04:05.999999"),
					value, r.Quality, code))
		}
	}
	return strings.Join(all, ", ")
}
