package server

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"strings"

	"github.com/oei-ms/oei-ms/gen/api"
	"github.com/oei-ms/oei-ms/store"
)

// sensorSummaries returns the summaries of the sensors ids, or nil unless the request includes
// them.
func (s *Server) sensorSummaries(
	ctx context.Context, include *api.IncludedMember, ids []int64,
) (map[int64]store.SensorSummary, error) {
	if include == nil {
		return nil, nil
	}
	return s.store.SensorSummaries(ctx, ids)
}

// sensorMembers returns the JSON member of each sensor for answers with include=sensor; nil without
// include.
func (s *Server) sensorMembers(
	ctx context.Context, include *api.IncludedMember, ids []int64,
) (map[int64]string, error) {
	summaries, err := s.sensorSummaries(ctx, include, ids)
	return formatSummaries(summaries, func(v store.SensorSummary) string {
		return `,"sensor":` + jsonText(api.SensorSummary(v))
	}), err
}

// formatSummaries formats each of summaries once: answers repeat them with each reading.
func formatSummaries(
	summaries map[int64]store.SensorSummary, format func(store.SensorSummary) string,
) map[int64]string {
	if summaries == nil {
		return nil
	}
	texts := make(map[int64]string, len(summaries))
	for id, v := range summaries {
		texts[id] = format(v)
	}
	return texts
}

// ndjsonSummary formats v as the last members of a line of NDJSON.
func ndjsonSummary(v store.SensorSummary) string {
	return `,"sensor_key":` + jsonText(v.Key) + `,"sensor_name":` + jsonText(v.Name) +
		`,"unit":` + jsonText(v.Unit)
}

// csvSummary formats v as the last cells of a line of CSV.
func csvSummary(v store.SensorSummary) string {
	var b strings.Builder
	w := csv.NewWriter(&b)
	// A strings.Builder does not fail.
	_ = w.Write([]string{"", csvText(v.Key), csvText(v.Name), csvText(v.Unit)})
	w.Flush()
	return strings.TrimSuffix(b.String(), "\n")
}

// csvText escapes s so that a spreadsheet does not read it as a formula.
func csvText(s string) string {
	if s != "" && strings.ContainsRune("=+-@", rune(s[0])) {
		return "'" + s
	}
	return s
}

func jsonText(v any) string {
	b, _ := json.Marshal(v) // texts do not fail
	return string(b)
}
