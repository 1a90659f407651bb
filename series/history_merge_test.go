package series

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// packReading appends r as the database sends it.
func packReading(b []byte, r Reading) []byte {
	b = binary.BigEndian.AppendUint64(b, uint64(r.At))
	b = binary.BigEndian.AppendUint64(b, math.Float64bits(r.Value))
	if r.Good {
		return append(b, 0, 0)
	}
	return append(b, 0, 1)
}

// packRollup appends r as the database sends it for q.
func packRollup(b []byte, r *Rollup, q *HistoryQuery) []byte {
	instant := func(i Instant) { b = binary.BigEndian.AppendUint64(b, uint64(i)) }
	int4 := func(n int64) { b = binary.BigEndian.AppendUint32(b, uint32(n)) }
	float8 := func(v float64) { b = binary.BigEndian.AppendUint64(b, math.Float64bits(v)) }
	instant(r.Bucket)
	for _, n := range []int64{r.Count, r.Good, r.Usable} {
		int4(n)
	}
	for _, v := range []float64{r.Sum, r.M2, r.Min, r.Max} {
		float8(v)
	}
	if q.Ends {
		float8(r.First)
		instant(r.FirstAt)
		float8(r.Last)
		instant(r.LastAt)
		float8(r.Integral)
	}
	if q.Gap > 0 {
		instant(r.Begin)
		instant(r.End)
	}
	if len(q.Percentiles) > 0 {
		int4(int64(len(r.Sketch)))
		b = append(b, r.Sketch...)
	}
	return b
}

// rowsOf returns the rows of readings, in order of time, of which the hours for which isRolledUp is
// true and that no bound splits are rollups.
func rowsOf(
	readings []Reading, q *HistoryQuery, isRolledUp func(hour time.Time) bool,
) (rows []PackedRow) {
	split, _ := q.SplitHours()
	for len(readings) > 0 {
		hour := HourOf(readings[0].At.Time())
		n := slices.IndexFunc(readings,
			func(r Reading) bool { return !r.At.Time().Before(hour.Add(time.Hour)) })
		if n < 0 {
			n = len(readings)
		}
		row := PackedRow{Sensor: 1, Day: hour.Truncate(day)}
		rollup, _, ok := RollUpHour(1, hour, readings[:n])
		isCounted := q.Gap == 0 || rollup.MaxSpacing <= Instant(q.Gap.Microseconds())
		isWhole := !hour.Before(q.Start) && !hour.Add(time.Hour).After(q.End)
		if ok && isCounted && isWhole && isRolledUp(hour) && !slices.Contains(split, hour) {
			row.Rollups = packRollup(nil, &rollup, q)
			rows = append(rows, row)
		} else {
			for _, r := range readings[:n] {
				row.Readings = packReading(row.Readings, r)
			}
			rows = append(rows, row)
		}
		readings = readings[n:]
	}
	return rows
}

func bucketsOf(
	t *testing.T, q HistoryQuery, source Source, rows []PackedRow,
) map[int64][]Bucket {
	t.Helper()
	m := NewHistoryMerger(q, source)
	for i := range rows {
		ok(t, m.Add(&rows[i]))
		clear(rows[i].Rollups) // the caller may overwrite them
		clear(rows[i].Readings)
	}
	found, err := m.Buckets()
	ok(t, err)
	return found
}

// TestHistoryMerger_OfRollupsEqualsThatOfReadings merges the same readings with any of their hours
// rolled up.
func TestHistoryMerger_OfRollupsEqualsThatOfReadings(t *testing.T) {
	for seed := range uint64(200) {
		rnd := rand.New(rand.NewPCG(seed, 2))
		readings := randomReadings(rnd, noon, 50+rnd.IntN(3000))
		start := noon.Add(time.Duration(rnd.IntN(90)) * time.Minute)
		end := start.Add(time.Duration(1+rnd.IntN(100)) * time.Hour)
		width := []string{"15m", "1h", "6h", "1d"}[rnd.IntN(4)]
		place := zone(t, []string{"UTC", "Asia/Kolkata"}[rnd.IntN(2)])
		q := HistoryQuery{
			Start:  start,
			End:    end,
			Bounds: boundsOf(t, width, start, end, place),
			Ends:   rnd.IntN(2) == 0,
			Now:    end.Add(time.Duration(rnd.IntN(600)-300) * time.Minute),
		}
		if rnd.IntN(2) == 0 {
			q.Percentiles = []float64{0.05, 0.5, 0.9}
		}
		if rnd.IntN(2) == 0 {
			q.Gap = time.Duration(1+rnd.IntN(1<<rnd.IntN(13))) * time.Second
		}
		within := slices.DeleteFunc(readings, func(r Reading) bool {
			return r.At < InstantOf(start) || r.At >= InstantOf(end)
		})
		never := func(time.Time) bool { return false }
		sometimes := func(time.Time) bool { return rnd.IntN(2) == 0 }
		want := bucketsOf(t, q, Raw, rowsOf(within, &q, never))
		got := bucketsOf(t, q, ByHour, rowsOf(within, &q, sometimes))
		compareBuckets(t, seed, got[1], want[1])
		for _, b := range got[1] {
			if n := len(b.Percentiles); b.Usable > 0 && n != len(q.Percentiles) {
				t.Errorf("seed %d: got %d percentiles, want %d", seed, n, len(q.Percentiles))
			}
		}
	}
}

func compareBuckets(t *testing.T, seed uint64, got, want []Bucket) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("seed %d: got %d buckets, want %d", seed, len(got), len(want))
	}
	for i := range want {
		a, b := got[i], want[i]
		size := max(math.Abs(b.Max), math.Abs(b.Min))
		scale := size * float64(b.Usable)
		for n, p := range b.Percentiles { // exact ones: between two values, each with its error
			if math.Abs(a.Percentiles[n]-p) > a.PercentileError*size+1e-9*size {
				t.Errorf("seed %d: got percentile %v, want %v within %v", seed, a.Percentiles[n], p,
					a.PercentileError)
			}
		}
		if !isNear(a.Sum, b.Sum, scale) || !isNear(a.M2, b.M2, scale*scale) ||
			!isNear(a.TimeWeighted, b.TimeWeighted, size) || a.Readings != b.Readings ||
			a.Good != b.Good || a.Usable != b.Usable || a.Gaps != b.Gaps || a.MaxGap != b.MaxGap ||
			!isNear(a.Min, b.Min, 0) || !isNear(a.Max, b.Max, 0) ||
			!isNear(a.First, b.First, 0) || !isNear(a.Last, b.Last, 0) ||
			!a.Start.Equal(b.Start) || !a.End.Equal(b.End) || !a.FirstAt.Equal(b.FirstAt) ||
			!a.LastAt.Equal(b.LastAt) || len(a.Percentiles) != len(b.Percentiles) {
			t.Errorf("seed %d, bucket %d: got %+v, want %+v", seed, i, a, b)
		}
	}
}

// TestHistoryMerger_WeighsByTime has values that hold from before the range, between buckets and
// until now.
func TestHistoryMerger_WeighsByTime(t *testing.T) {
	at := func(minute int) time.Time { return noon.Add(time.Duration(minute) * time.Minute) }
	q := HistoryQuery{
		Start:  at(0),
		End:    at(120),
		Bounds: []time.Time{at(0), at(60), at(120)},
		Ends:   true,
		Now:    at(90),
	}
	row := PackedRow{Sensor: 1, Day: noon.Truncate(day)}
	for _, r := range []struct {
		minute int
		value  float64
	}{{-10, 4}, {30, 8}, {75, 2}} {
		reading := Reading{At: InstantOf(at(r.minute)), Value: r.value}
		row.Readings = packReading(row.Readings, reading)
	}
	buckets := bucketsOf(t, q, Raw, []PackedRow{row})[1]
	want := []float64{
		(30*4 + 30*8) / 60.0, // 4 carried in, then 8
		(15*8 + 15*2) / 30.0, // until now
	}
	for i, b := range buckets {
		if !isNear(b.TimeWeighted, want[i], 1) {
			t.Errorf("bucket %d: got %v, want %v", i, b.TimeWeighted, want[i])
		}
	}
}

// TestHistoryMerger_RefusesDamagedRows cuts rows anywhere.
func TestHistoryMerger_RefusesDamagedRows(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 3))
	readings := randomReadings(rnd, noon, 20)
	q := HistoryQuery{
		Start:       noon,
		End:         noon.Add(day),
		Bounds:      []time.Time{noon, noon.Add(day)},
		Ends:        true,
		Percentiles: []float64{0.5},
		Gap:         time.Minute,
	}
	rollup, _, ok := RollUpHour(1, noon, readings)
	if !ok {
		t.Fatal("an hour of 20 readings has no rollup")
	}
	rollups := packRollup(nil, &rollup, &q)
	for n := 1; n < len(rollups); n++ {
		row := PackedRow{Sensor: 1, Day: noon, Rollups: rollups[:n]}
		if err := NewHistoryMerger(q, ByHour).Add(&row); err == nil {
			t.Errorf("%d of %d bytes of a rollup were accepted", n, len(rollups))
		}
	}
	reading := packReading(nil, readings[0])
	for n := 1; n < len(reading); n++ {
		row := PackedRow{Sensor: 1, Day: noon, Readings: reading[:n]}
		if err := NewHistoryMerger(q, Raw).Add(&row); err == nil {
			t.Errorf("%d of %d bytes of a reading were accepted", n, len(reading))
		}
	}
}
