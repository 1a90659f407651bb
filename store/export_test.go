package store

import (
	"context"
	"math"
	"testing"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/oei-ms/oei-ms/series"
)

// What tests need of the inside.
var (
	Int32s  = int32s
	Explain = explain
	ID      = parseID
)

// MigrationLock is the advisory lock of an instance that migrates.
const MigrationLock = migrationLock

// Connector is connector without parameters.
var Connector = connector

// RollUpAtOnce has s gather no changes.
func RollUpAtOnce(s *Store) { s.rollupDelay = 0 }

// SetMaxPartitionBytes has s merge partitions into ones of at most so many bytes.
func SetMaxPartitionBytes(s *Store, bytes int64) { s.partitions.maxBytes = bytes }

// SetLockTimeout has s wait for others no longer than this when it compacts.
func SetLockTimeout(s *Store, patience time.Duration) { s.reindexLockTimeout = patience }

// ExpectsRepetition reports whether the next batch is checked for duplicates before it is inserted.
func ExpectsRepetition(s *Store) bool { return s.repetition.isExpected() }

// HistoryOf is History answered from source, without choosing one.
func (s *Store) HistoryOf(
	ctx context.Context, q series.HistoryQuery, source series.Source,
) (map[int64][]series.Bucket, error) {
	return s.history(ctx, q, source)
}

// Slot is the name and bounds of the partition of a size that an instant would have where there is
// none yet.
func Slot(size string, at time.Time) (name string, start, end time.Time) {
	p := newPartition(nil, at, size)
	return p.Name, p.Start, p.End
}

// DownsampleReadings is Downsample with the same bins, answered from readings.
func (s *Store) DownsampleReadings(
	ctx context.Context, q series.DownsampleQuery,
) (map[int64][]Reading, error) {
	p := q.Plan(true)
	p.Source = series.Raw
	return s.downsample(ctx, q, p)
}

// Cut returns the spans of [start, end) where a partition begins at each of starts.
func Cut(starts []time.Time, start, end time.Time, newest, all bool) [][2]time.Time {
	list := make([]partition, len(starts))
	for i, at := range starts {
		list[i].Start = at
	}
	o := oldestFirst
	if newest {
		o = newestFirst
	}
	if all {
		o = whole
	}
	var spans [][2]time.Time
	for _, w := range cut(list, start, end, o) {
		spans = append(spans, [2]time.Time{w.start, w.end})
	}
	return spans
}

// WithTLS is withTLS.
var WithTLS = withTLS

// SampleColumns are columns of each element type, by their type in SQL, and what the server has to
// read.
var SampleColumns = map[string]struct {
	Encoded []byte
	Want    string
}{
	"boolean[]":  {column([]bool{true, false}, asBool, same), "{t,f}"},
	"bytea[]":    {column([][]byte{{0, 255}, {}}, asBytea, same), `{"\\x00ff","\\x"}`},
	"bigint[]":   {column([]int64{1 << 40, -1}, asInt8, same), "{1099511627776,-1}"},
	"smallint[]": {column([]int16{7, -7}, asInt2, same), "{7,-7}"},
	"int4[]":     {column([]int64{7, 1 << 40}, asInt4, same), "{7,0}"},
	"int[]":      {column([]int32{7, 0, -1}, asPositiveInt4, same), "{7,NULL,NULL}"},
	"integer[]":  {column([]uint32{7, 0}, asStatusCode, same), "{7,NULL}"},
	"text[]":     {column([]string{"a b", "", "€"}, asText, same), `{"a b","",€}`},
	"jsonb[]":    {column([]string{`{"a":1}`, "2"}, asJSONB, same), `{"{\"a\": 1}",2}`},
	"float8[]":   {column([]float64{0.5, math.NaN()}, asFloat8, same), "{0.5,NULL}"},
	"timestamptz[]": {
		column([]time.Time{time.Unix(0, 0)}, asTimestamptz, same), `{"1970-01-01 00:00:00+00"}`,
	},
	"_text": {column([]*string{nil, new("x")}, orNull(asText), same), "{NULL,x}"},
}

// The columns that are compared with the server's own reading of their text.
func Int16s(list []int16) []byte         { return column(list, asInt2, same) }
func Float8s(list []float64) []byte      { return column(list, asFloat8, same) }
func StatusCodes(list []uint32) []byte   { return column(list, asStatusCode, same) }
func Timestamps(list []time.Time) []byte { return column(list, asTimestamptz, same) }

func same[V any](v V) V { return v }

// WaitsForAPI returns how often s has waited for a connection of the API.
func WaitsForAPI(s *Store) int64 { return s.api.Stats().WaitCount }

// SessionAPI returns a session of the API's connections, which the next statements of s use too.
func SessionAPI(t *testing.T, s *Store) *sqlx.DB {
	t.Helper()
	s.api.SetMaxOpenConns(1)
	return s.api
}
